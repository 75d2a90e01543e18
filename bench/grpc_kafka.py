"""From a topic through a function of riff's rpc to a topic."""
import os
import socket
import statistics
import subprocess
import tempfile
import time

from bed import BUILD, TOP, free_port, save, spread, usage_of
from kafka_bed import FROM_TOPIC_TO_TOPIC, Kafka, ours_copy

RIFF = """
[function f]
invoker = grpc
address = 127.0.0.1:{port}
replies = one-per-record
in-flight = {in_flight}
""" + FROM_TOPIC_TO_TOPIC + "max-records = {batch}\n"


def raw_riff(kafka, source, records, port, in_flight, kind):
    to = kafka.topic()
    begin = time.monotonic()
    loop = subprocess.Popen([os.path.join(BUILD, "bench/raw_kafka_riff"), kafka.servers, source, to, str(records),
                             str(port), str(in_flight), kind])
    os.waitid(os.P_PID, loop.pid, os.WEXITED | os.WNOWAIT)
    result = usage_of(loop, records, time.monotonic() - begin)
    assert kafka.written(to) == records
    return result


def wait_for_port(port):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nothing listens on port %d" % port)


class Function:
    """A function's server: the echo in C, or the same in riff's Node invoker."""

    def __init__(self, top, name):
        if name == "C":
            self.process = subprocess.Popen([os.path.join(BUILD, "bench/raw_grpc"), "serve"], stdout=subprocess.PIPE,
                                            text=True)
            self.port = int(self.process.stdout.readline())
            return
        invoker = subprocess.run([os.path.join(TOP, "scripts/node-invoker"), os.path.join(BUILD, "node")], check=True,
                                 capture_output=True, text=True).stdout.strip()
        with open(os.path.join(top, "same.js"), "w") as out:
            out.write("module.exports = (x) => x;\n")
        self.port = free_port()
        env = dict(os.environ, GRPC_PORT=str(self.port), FUNCTION_URI=out.name)
        self.process = subprocess.Popen(["node", invoker], env=env, stdout=subprocess.DEVNULL)
        wait_for_port(self.port)

    def __enter__(self):
        return self.port

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


GRPC_KAFKA_HEAD = """# Kafka to a function of riff's rpc to Kafka, the function {function}

`bench/run {bench} --records {records} --runs {runs}` on one machine with {cores} cores, in one run: one broker, the function's
server and its client on the same cores, 2 partitions to 2, values that are JSON strings of 100 bytes, at least once,
committed each second. The bare loop is librdkafka, the C core and protobuf-c in one thread with one call for everything,
{in_flight} records in flight; riffle has `window = none`, one call per batch of up to {batch} records, `replies = one-per-record`.
The function answers each record with itself. Time is from the start of the process until all was written and acknowledged,
CPU that of the client. Medians; a ratio is that of two runs one after the other.
Load average of the machine meanwhile: {load:.1f}.

| | records/s | of the loop's (from, to) | CPU us a record | peak RSS MiB |
|---|---|---|---|---|
"""


def grpc_kafka_with(bench, function, options):
    in_flight, batch, kind = options.in_flight, options.batch[0], "application/json"
    with tempfile.TemporaryDirectory(dir=BUILD) as top:
        kafka = Kafka(top)
        try:
            source = kafka.topic()
            subprocess.run(kafka.raw("load", source, options.records, "value"), check=True)
            with Function(top, function) as port:
                runs = [(raw_riff(kafka, source, options.records, port, in_flight, kind),
                         ours_copy(kafka, source, options.records, until="recordsOut", config=RIFF, port=port, type=kind,
                                   batch=batch, in_flight=in_flight)) for _ in range(options.runs)]
        finally:
            kafka.stop()
    text = GRPC_KAFKA_HEAD.format(
        bench=bench, records=options.records, runs=options.runs, cores=os.cpu_count(), in_flight=in_flight, batch=batch,
        function={"C": "a server on the C core", "Node": "in riff's Node invoker"}[function], load=os.getloadavg()[0])
    for k, side in enumerate(("bare loop", "riffle")):
        text += "| %s | %.0f | %s | %.2f | %.0f |\n" % (
            side, statistics.median(run[k][0] for run in runs), spread([run[k][0] / run[0][0] for run in runs], "%.2f"),
            *(statistics.median(run[k][i] for run in runs) for i in (1, 2)))
    save(bench, text)


def grpc_kafka(options):
    grpc_kafka_with("grpc-kafka", "C", options)


def grpc_kafka_node(options):
    grpc_kafka_with("grpc-kafka-node", "Node", options)
