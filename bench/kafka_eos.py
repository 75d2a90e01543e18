"""Copies over Kafka in transactions."""
import os
import subprocess
import tempfile
import time

from bed import BUILD, ask, save, spread, usage_of
from kafka_bed import KAFKA, USUAL, Kafka
from kafka_copy import kafka_table


class Copy:
    """A copy under exactly-once that may be begun again: riffle's, or the bare loop's."""

    def __init__(self, kafka, source, records):
        self.kafka, self.source, self.records = kafka, source, records
        self.to = kafka.topic()
        self.process = None

    def start(self):
        self.begun = time.monotonic()
        self.process = self.spawn()

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class BareCopy(Copy):
    def spawn(self):
        return subprocess.Popen([os.path.join(BUILD, "bench/raw_kafka_txn"), "run", self.kafka.servers, self.source,
                                 self.to, "raw-" + self.to, str(self.records)], stdout=subprocess.DEVNULL)

    def finish(self):
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return time.monotonic() - self.begun


class OurCopy(Copy):
    def __init__(self, kafka, source, records):
        super().__init__(kafka, source, records)
        self.top = os.path.join(kafka.top, "eos-" + self.to)
        os.mkdir(self.top)
        with open(self.top + "/riffle.ini", "w") as out:
            out.write(KAFKA.format(dir=self.top, servers=kafka.servers, source=source, to=self.to, space=self.to, **USUAL) +
                      "guarantee = exactly-once\n")

    def spawn(self):
        plugins = ":".join(os.path.join(BUILD, d) for d in ("plugins/kafka/.libs", "bench/.libs"))
        env = dict(os.environ, RIFFLE_PLUGIN_DIR=plugins, STATE_DIRECTORY=self.top + "/state")
        return subprocess.Popen([os.path.join(BUILD, "riffle"), "run", "-c", self.top + "/riffle.ini"], env=env,
                                stderr=subprocess.DEVNULL)

    def finish(self):
        lanes = []
        while sum(lane["committed"] for lane in lanes) < self.records:
            assert time.monotonic() - self.begun < 300 and self.process.poll() is None, lanes
            time.sleep(0.01)
            lanes = [lane for task in ask(self.top + "/s") for lane in task["lanes"]]
        seconds = time.monotonic() - self.begun
        self.process.terminate()
        return seconds


def eos_copy(copy):
    """(records a second, CPU seconds per million, peak MiB), from the start of the process to the last commit."""
    copy.start()
    try:
        seconds = copy.finish()
        return usage_of(copy.process, copy.records, seconds)
    finally:
        copy.process.poll()
        copy.kill()


def eos_restart(copy):
    """Seconds from the start after a kill -9 in the middle to the first output that is committed."""
    watch = subprocess.Popen([os.path.join(BUILD, "bench/raw_kafka_txn"), "watch", copy.kafka.servers, copy.to],
                             stdout=subprocess.PIPE, text=True)
    try:
        copy.start()
        assert watch.stdout.readline().startswith("first")
        # In the middle of a transaction, as it is nearly all the time.
        time.sleep(0.55)
        copy.kill()
        assert watch.stdout.readline() == "quiet\n"
        copy.start()
        return int(watch.stdout.readline().split()[1]) / 1e6 - copy.begun
    finally:
        copy.kill()
        watch.kill()
        watch.wait()


EOS_HEAD = """# Exactly once over Kafka

`bench/run kafka-eos --records {records} --runs {runs}` on one machine with {cores} cores, in one run: one broker and its
client on the same cores, 2 partitions to 2, records of a 16-byte key, 100 bytes and two headers, uncompressed, outputs
and positions in a transaction each 100 ms; against a loop over librdkafka 2.0 that does the same and stops reading
while it commits. Time is from the start of the process to the last commit. Medians; a ratio is that of two runs one
after the other.

"""


def kafka_eos(options):
    options.records = options.records or 8000000
    with tempfile.TemporaryDirectory(dir=BUILD) as top:
        kafka = Kafka(top)
        try:
            source = kafka.topic()
            subprocess.run(kafka.raw("load", source, options.records, "full"), check=True)
            sides = {"bare transactional loop": BareCopy, "riffle": OurCopy}
            runs = [{name: eos_copy(side(kafka, source, options.records)) for name, side in sides.items()}
                    for _ in range(options.runs)]
            restarts = [{name: eos_restart(side(kafka, source, options.records)) for name, side in sides.items()}
                        for _ in range(options.runs)]
        finally:
            kafka.stop()
    text = EOS_HEAD.format(records=options.records, runs=options.runs, cores=os.cpu_count())
    text += kafka_table(runs)
    text += "\n## From the start after kill -9, in the middle of a transaction, to the first output that is committed\n\n"
    text += "| | seconds | more than the loop |\n|---|---|---|\n"
    for name in sides:
        text += "| %s | %s | %s |\n" % (name, spread([r[name] for r in restarts], "%.2f"), spread(
            [r[name] - r["bare transactional loop"] for r in restarts], "%.2f"))
    save("kafka-eos", text)
