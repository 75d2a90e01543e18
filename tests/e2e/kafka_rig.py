"""What the suites over Kafka share: a broker of their own, or the one of $KAFKA_BOOTSTRAP; topics; kcat."""
import collections
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from exactly_once import Left
from rig import BUILD, LIMIT_S, SRC, Instance, section

TOOL = os.path.join(BUILD, "tests/kafka/kafka-tool")
CLIENT = os.path.join(BUILD, "tests/kafka/kafka-client")
BROKER = os.path.join(SRC, "tests/kafka/broker")
Record = collections.namedtuple("Record", "partition offset key value headers time")


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=2 * LIMIT_S, **options)
    if done.returncode != 0:
        raise AssertionError("%s: exit %d\n%s%s" % (" ".join(words), done.returncode, done.stdout, done.stderr))
    return done.stdout


def records_of(lines):
    """What kafka-client prints, by topic."""
    records = collections.defaultdict(list)
    for line in lines:
        topic, partition, offset, time_ms, key, headers, value = line.rstrip("\n").split("\t", 6)
        records[topic].append(Record(int(partition), int(offset), key, value,
                                     [tuple(h.split("=", 1)) for h in headers.split(";") if h], int(time_ms)))
    return records


def left_of(records):
    """What functions answered, as the judge takes it; pane-headers = yes."""
    for r in records:
        headers = dict(r.headers)
        yield Left((int(headers["riffle-window-start"]), int(headers["riffle-window-end"])), r.key,
                   headers["riffle-id"], r.value)


class Bytes:
    """Reads what Kafka packs into its internal topics."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, form):
        value = struct.unpack_from(">" + form, self.data, self.at)[0]
        self.at += struct.calcsize(">" + form)
        return value

    def text(self):
        length = self.take("h")
        self.at += length
        return self.data[self.at - length:self.at].decode()

    def varint(self):
        shift = value = 0
        more = 128
        while more:
            byte = self.take("B")
            value |= (byte & 127) << shift
            shift, more = shift + 7, byte & 128
        return value >> 1 ^ -(value & 1)

    def part(self):
        length = self.varint()
        if length < 0:
            return None
        self.at += length
        return Bytes(self.data[self.at - length:self.at])

    def record(self):
        """(key, value); headers are passed over."""
        end = self.varint() + self.at
        self.take("B")
        self.varint()
        self.varint()
        key, value = self.part(), self.part()
        self.at = end
        return key, value


def free_port():
    """None that the kernel gives to whoever connects: the port is free still when its server comes back."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as given:
        first = int(given.read().split()[0])
    while True:
        port = random.randrange(min(20000, first - 8000), first)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


BESIDE = """
listeners=PLAINTEXT://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CPORT@,FAR://127.0.0.1:{inner}
advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@,FAR://127.0.0.1:{outer}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,FAR:PLAINTEXT
"""


def behind(proxy, more=""):
    """What a Broker is made with so that it can be reached through the proxy too."""
    proxy.target = free_port()

    def extra(where):
        with open(os.path.join(where, "extra.properties"), "w") as out:
            out.write(BESIDE.format(inner=proxy.target, outer=proxy.port) + more)
    return extra


class Hanging:
    """Somebody else's transaction, open with one record in the topic as long as the body of `with` lasts."""

    def __init__(self, broker, topic):
        self.process = subprocess.Popen([TOOL, "hang", broker.servers, topic], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def __enter__(self):
        assert self.process.stdout.readline() == b"hanging\n"
        return self

    def __exit__(self, *_):
        self.process.communicate()
        assert self.process.returncode == 0, self.process.returncode


class Broker:
    """A broker that may be killed and come back; without a directory of its own it is somebody else's."""

    def __init__(self, given=None, extra=None):
        self.dir = None
        self.servers = given
        if given is None:
            self.dir = tempfile.mkdtemp(prefix="riffle-kafka-")
            if extra is not None:
                extra(self.dir)
            run(BROKER, "start", self.dir)
            with open(os.path.join(self.dir, "bootstrap")) as address:
                self.servers = address.read().strip()
        self.made = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.dir is not None:
            run(BROKER, "stop", self.dir)
            shutil.rmtree(self.dir)

    def pid(self):
        with open(os.path.join(self.dir, "pid")) as pid:
            return int(pid.read())

    def logged(self):
        with open(os.path.join(self.dir, "logs", "server.log"), errors="replace") as log:
            return log.read()

    def do(self, what):
        """start, stop, kill or restart it."""
        run(BROKER, what, self.dir)

    def tool(self, verb, *arguments):
        return run(TOOL, verb, self.servers, *(str(a) for a in arguments))

    def name(self):
        """A namespace that nobody else has."""
        self.made += 1
        return "t%d-%d-%d" % (os.getpid(), self.made, int(time.time()) % 100000)

    def produce(self, topic, *arguments, **options):
        return run("kcat", "-b", self.servers, "-P", "-t", topic, *arguments, **options)

    def ends(self, topic, partition=0):
        return tuple(int(n) for n in self.tool("ends", topic, partition).split())

    def committed(self, topic, group, partition=0):
        """(offset, metadata); the offset is -1 where nothing is committed."""
        offset, _, metadata = self.tool("committed", topic, partition, group).rstrip("\n").partition(" ")
        return int(offset), metadata

    def consume(self, topic, *arguments):
        """All records that are committed now, by a client that is not ours."""
        out = run("kcat", "-b", self.servers, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J",
                  "-X", "isolation.level=read_committed", *arguments)
        records = [json.loads(line) for line in out.splitlines()]
        return [Record(r["partition"], r["offset"], r["key"], r["payload"],
                       list(zip(r.get("headers", [])[::2], r.get("headers", [])[1::2])), r["ts"]) for r in records]

    def dump(self, *topics):
        """All records that are committed now, by topic."""
        return records_of(run(CLIENT, "dump", self.servers, *topics).splitlines())

    def groups(self):
        """([(group, topic, partition, offset, metadata)] as committed one after the other, {group: generation})."""
        commits, generations = self.positions()
        return last_of_transactions(commits), generations

    def positions(self):
        """The same, of each commit (transaction, commit), with what does not count."""
        commits, generations = [], {}
        for txn, key, value in self.group_log():
            version, group = key.take("h"), key.text()
            form = value.take("h")
            if version == 2:
                value.text()
                generations[group] = max(generations.get(group, 0), value.take("i"))
                continue
            topic, partition, offset = key.text(), key.take("i"), value.take("q")
            if form == 3:
                value.take("i")
            commits.append((txn, (group, topic, partition, offset, value.text())))
        return commits, generations

    def group_log(self):
        """(transaction, key, value) of what is committed in the log of groups; the transaction is None without one."""
        records, ended = [], {}
        with open(os.path.join(self.dir, "data", "__consumer_offsets-0", "%020d.log" % 0), "rb") as log:
            data = log.read()
        at = 0
        numbers = collections.Counter()
        while at + 61 <= len(data):
            length, = struct.unpack_from(">i", data, at + 8)
            attributes, = struct.unpack_from(">h", data, at + 21)
            producer, _, _, count = struct.unpack_from(">qhii", data, at + 43)
            assert attributes & 7 == 0, "it is compressed"
            txn = (producer, numbers[producer]) if attributes & 16 else None
            batch = Bytes(data, at + 61)
            for _ in range(count):
                key, value = batch.record()
                if attributes & 32:
                    ended[txn] = key.take("i") == 1
                    numbers[producer] += 1
                elif value is not None:
                    records.append((txn, key, value))
            at += 12 + length
        return [record for record in records if record[0] is None or ended.get(record[0])]


def last_of_transactions(commits):
    """What a transaction commits of a partition is the last that stands in it. Positions whose answer was lost are sent
    again; and a copy that was held up on its way may come as late as in the next transaction, before that one's own."""
    last = {(txn, commit[:3]): n for n, (txn, commit) in enumerate(commits)}
    return [commit for n, (txn, commit) in enumerate(commits) if txn is None or last[txn, commit[:3]] == n]


def provider(broker, name="franz", **keys):
    return section("provider " + name, {"type": "kafka", "bootstrap-servers": broker.servers, **keys})


def far(proxy):
    """Keys of a provider that reaches its broker through the proxy."""
    return {"bootstrap-servers": "127.0.0.1:%d" % proxy.port}


def runtime(namespace, **keys):
    return section("runtime", {"namespace": namespace, **keys})


def instance(broker, namespace, text, runtime_keys=None, provider_keys=None, **options):
    return Instance(runtime(namespace, **(runtime_keys or {})) +
                    provider(broker, **(provider_keys or {})) + text, **options)
