"""A broker for a benchmark, and a topic copied to a topic by the bare library and by riffle."""
import contextlib
import os
import subprocess
import time

from bed import BUILD, TOP, ask, usage_of

# The values that most benchmarks give to what is in braces.
USUAL = {"reads": "raw", "writes": "raw", "type": "application/octet-stream", "linger": "5ms", "start": "earliest"}

FROM_TOPIC_TO_TOPIC = """
[runtime]
admin = unix:{dir}/s
namespace = {space}
[provider franz]
type = kafka
bootstrap-servers = {servers}
[stream in]
provider = franz
topic = {source}
partitions = 2
encoding = {reads}
content-type = {type}
[stream out]
provider = franz
topic = {to}
partitions = 2
encoding = {writes}
content-type = {type}
linger = {linger}
[processor copy]
function = f
input = in@{start}
output = out
window = none
"""

# What comes behind it belongs to the processor.
KAFKA = """
[function f]
invoker = passthrough
""" + FROM_TOPIC_TO_TOPIC


class Kafka:
    """A broker, the programs that use it, and topics that nobody else has."""

    def __init__(self, top):
        self.top = top
        self.dir = os.path.join(top, "broker")
        self.env = dict(os.environ, RIFFLE_KAFKA=os.path.join(BUILD, "kafka"), RIFFLE_KAFKA_HEAP="1g")
        subprocess.run([os.path.join(TOP, "tests/kafka/broker"), "start", self.dir], check=True, env=self.env)
        with open(os.path.join(self.dir, "bootstrap")) as address:
            self.servers = address.read().strip()
        self.made = 0

    def stop(self):
        subprocess.run([os.path.join(TOP, "tests/kafka/broker"), "stop", self.dir], check=True, env=self.env)

    def tool(self, verb, *arguments):
        return subprocess.run([os.path.join(BUILD, "tests/kafka/kafka-tool"), verb, self.servers, *map(str, arguments)],
                              check=True, capture_output=True, text=True).stdout

    def topic(self):
        self.made += 1
        name = "bench%d" % self.made
        self.tool("create", name, 2, "retention.ms=-1")
        return name

    def written(self, topic):
        return sum(int(self.tool("ends", topic, n).split()[1]) for n in range(2))

    def raw(self, *words):
        return [os.path.join(BUILD, "bench/raw_kafka"), words[0], self.servers, *map(str, words[1:])]

    def daemon(self, source, to, config=KAFKA, **keys):
        """(process, the path of its socket)"""
        self.made += 1
        top = os.path.join(self.top, "i%d" % self.made)
        os.mkdir(top)
        with open(os.path.join(top, "riffle.ini"), "w") as out:
            out.write(config.format(dir=top, servers=self.servers, source=source, to=to, space="b%d" % self.made,
                                   **{**USUAL, **keys}))
        plugins = ":".join(os.path.join(BUILD, d) for d in ("plugins/kafka/.libs", "plugins/invoker-grpc/.libs", "bench/.libs"))
        env = dict(os.environ, RIFFLE_PLUGIN_DIR=plugins, STATE_DIRECTORY=os.path.join(top, "state"))
        log = open(os.path.join(top, "log"), "wb")
        return subprocess.Popen([os.path.join(BUILD, "riffle"), "run", "-c", os.path.join(top, "riffle.ini")],
                                env=env, stderr=log), os.path.join(top, "s")


@contextlib.contextmanager
def output(kafka, records):
    """A topic to copy to, which must then hold all records; it goes when they were counted."""
    to = kafka.topic()
    yield to
    assert kafka.written(to) == records, (kafka.written(to), records)
    kafka.tool("remove", to)


def raw_copy(kafka, source, records, mode, messages=1000000):
    with output(kafka, records) as to:
        begin = time.monotonic()
        loop = subprocess.Popen(kafka.raw("run", source, to, records, mode, messages), stdout=subprocess.DEVNULL)
        os.waitid(os.P_PID, loop.pid, os.WEXITED | os.WNOWAIT)
        return usage_of(loop, records, time.monotonic() - begin)


def ours_copy(kafka, source, records, until="committed", **keys):
    with output(kafka, records) as to:
        begin = time.monotonic()
        daemon, socket = kafka.daemon(source, to, **keys)
        while True:
            tasks = ask(socket)
            seconds = time.monotonic() - begin
            done = (sum(task["recordsOut"] for task in tasks) if until == "recordsOut"
                    else sum(lane["committed"] for task in tasks for lane in task["lanes"]))
            if done == records:
                break
            assert seconds < 300 and daemon.poll() is None, tasks
            time.sleep(0.01)
        daemon.terminate()
        return usage_of(daemon, records, seconds)
