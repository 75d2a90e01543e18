"""Copies over Kafka, and how soon an answer is there."""
import os
import statistics
import subprocess
import tempfile
import time

from bed import BUILD, TOP, ask, save, spread, usage_of
from kafka_bed import Kafka, ours_copy, output, raw_copy


def streams_copy(kafka, source, records):
    jars = os.path.join(BUILD, "streams")
    with output(kafka, records) as to:
        begin = time.monotonic()
        peer = subprocess.Popen(["java", "-Xmx2g", "-cp", jars + "/*:" + jars + "/classes", "PassThrough",
                                 kafka.servers, source, to, "app-" + to, os.path.join(kafka.top, to)],
                                stderr=subprocess.DEVNULL)
        while kafka.written(to) < records:
            assert time.monotonic() - begin < 300 and peer.poll() is None
            time.sleep(0.2)
        seconds = time.monotonic() - begin
        peer.terminate()
        return usage_of(peer, records, seconds)


def build_streams():
    jars = os.path.join(BUILD, "streams")
    if os.path.isdir(jars + "/classes"):
        return
    subprocess.run(["mvn", "-B", "-q", "-f", os.path.join(TOP, "bench/streams/pom.xml"),
                    "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
                    "-DincludeScope=runtime", "-DoutputDirectory=" + jars], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["javac", "-cp", jars + "/*", "-d", jars + "/classes",
                    os.path.join(TOP, "bench/streams/PassThrough.java")], check=True)


def kafka_table(runs):
    """The first side is the bare loop; what a side is of another comes from runs one after the other."""
    def of(name, value, form="%.2f"):
        return spread([value(run[name], run) for run in runs], form)

    def cost_of_streams(side, run):
        return run["Kafka Streams"][1] / side[1]

    base, *_ = runs[0]
    has_streams = "Kafka Streams" in runs[0]
    text = "| | records/s | of the loop's | CPU s per million | peak RSS MiB | of the loop's |"
    text += " records per CPU s, of Kafka Streams' |\n" if has_streams else "\n"
    text += "|---|" + "---|" * (6 if has_streams else 5) + "\n"
    for name in runs[0]:
        text += "| %s | %.0f | %s | %.2f | %.0f | %s |" % (
            name, statistics.median(run[name][0] for run in runs), of(name, lambda s, r: s[0] / r[base][0]),
            statistics.median(run[name][1] for run in runs), statistics.median(run[name][2] for run in runs),
            of(name, lambda s, r: s[2] / r[base][2]))
        text += " %s |\n" % of(name, cost_of_streams) if has_streams else "\n"
    return text


# As many messages as riffle lets wait to be written.
SHORT_QUEUE = 50000


def passthrough_parts(kafka):
    """(title, what the source holds, its sides) for each of the tables."""
    return {
        "full": ("Equal headers, `encoding = raw`", "full", {
            "bare loop": lambda *work: raw_copy(kafka, *work, "full"),
            "bare loop, short queue": lambda *work: raw_copy(kafka, *work, "full", SHORT_QUEUE),
            "riffle": lambda *work: ours_copy(kafka, *work),
            "Kafka Streams": lambda *work: streams_copy(kafka, *work)}),
        "value": ("Values only, `encoding = raw`", "value", {
            "bare loop": lambda *work: raw_copy(kafka, *work, "value"),
            "bare loop, short queue": lambda *work: raw_copy(kafka, *work, "value", SHORT_QUEUE),
            "riffle": lambda *work: ours_copy(kafka, *work)}),
        "events": ("Raw in, CloudEvents out: each record gets an envelope", "full", {
            "bare loop": lambda *work: raw_copy(kafka, *work, "events"),
            "bare loop, short queue": lambda *work: raw_copy(kafka, *work, "events", SHORT_QUEUE),
            "riffle": lambda *work: ours_copy(kafka, *work, writes="cloudevents")}),
        "both": ("CloudEvents in, CloudEvents out: the envelope is taken off and put on", "events", {
            "bare loop": lambda *work: raw_copy(kafka, *work, "full"),
            "bare loop, short queue": lambda *work: raw_copy(kafka, *work, "full", SHORT_QUEUE),
            "riffle": lambda *work: ours_copy(kafka, *work, reads="cloudevents", writes="cloudevents")}),
    }


def passthrough_table(kafka, part, records, runs):
    title, holds, sides = part
    source = kafka.topic()
    subprocess.run(kafka.raw("load", source, records, holds), check=True)
    sides["bare loop"](source, records)
    done = [{name: side(source, records) for name, side in sides.items()} for _ in range(runs)]
    kafka.tool("remove", source)
    return "\n## %s\n\n%d records, %d runs.\n\n%s" % (title, records, runs, kafka_table(done))


def kafka_passthrough(options):
    build_streams()
    only = " --only " + " ".join(options.only) if options.only else ""
    text = KAFKA_HEAD.format(records=options.records, runs=options.runs, only=only, cores=os.cpu_count())
    with tempfile.TemporaryDirectory(dir=BUILD) as top:
        kafka = Kafka(top)
        try:
            parts = passthrough_parts(kafka)
            for name in options.only or parts:
                is_long = name in ("full", "value")
                much = (options.records, options.runs) if is_long else (options.records // 4, options.runs * 2)
                text += passthrough_table(kafka, parts[name], *much)
        finally:
            kafka.stop()
    save("-".join(["kafka-passthrough", *(options.only or [])]), text)


KAFKA_HEAD = """# Pass-through over Kafka

`bench/run kafka-passthrough --records {records} --runs {runs}{only}` on one machine with {cores} cores, in one run: one broker and its
client on the same cores, 2 partitions to 2, records of 100 bytes (with a 16-byte key and two headers, but for values only),
uncompressed, at least once, committed each second. Time is from the start of the process to the last commit (Kafka
Streams: to the last record). One more run of the bare loop goes before each table, for the broker's compiler.
Medians, from and to in brackets; a ratio is that of two runs one after the other.

The bare loop lets a million messages or 64 MiB wait to be written, and stops to flush them before each commit; with the
short queue it lets 50000 wait, as riffle does, which stops for nothing.
"""
LATENCY_HEAD = """# Latency over Kafka

`bench/run latency --runs {runs}` on one machine with {cores} cores, in one run: 20,000 records/s for 8 s after 3 s that do not count,
linger 2 ms, a broker, a writer, a reader and the loop on the same cores; from when a record should have been sent to
when it is read. One more run of each goes before, for the broker's compiler. Medians of the runs' percentiles (from,
to), in milliseconds; a ratio is that of two runs one after the other.

| | p50 | p99 | p99.9 | p50, of the loop's | p99, of the loop's |
|---|---|---|---|---|---|
"""


def probe(kafka, source, to):
    words = subprocess.run(kafka.raw("probe", source, to, 20000, 11), check=True, capture_output=True,
                           text=True).stdout.split()
    return [float(w) for w in words]


def raw_latency(kafka):
    source, to = kafka.topic(), kafka.topic()
    relay = subprocess.Popen(kafka.raw("relay", source, to, 40))
    time.sleep(1)
    try:
        return probe(kafka, source, to)
    finally:
        relay.kill()
        relay.wait()


def ours_latency(kafka):
    source, to = kafka.topic(), kafka.topic()
    daemon, socket = kafka.daemon(source, to, linger="2ms", start="latest")
    while len(ask(socket)) < 2:
        time.sleep(0.05)
    try:
        return probe(kafka, source, to)
    finally:
        daemon.terminate()
        daemon.wait()


def latency(options):
    with tempfile.TemporaryDirectory(dir=BUILD) as top:
        kafka = Kafka(top)
        try:
            sides = {"bare loop, a thread for commits": raw_latency, "riffle": ours_latency}
            for side in sides.values():
                side(kafka)
            runs = [{name: side(kafka) for name, side in sides.items()} for _ in range(options.runs)]
        finally:
            kafka.stop()
    text = LATENCY_HEAD.format(runs=options.runs, cores=os.cpu_count())
    base = next(iter(sides))
    for name in sides:
        text += "| %s | %s | %s |\n" % (
            name, " | ".join(spread([run[name][k] for run in runs], "%.2f") for k in range(3)),
            " | ".join(spread([run[name][k] / run[base][k] for run in runs], "%.2f") for k in range(2)))
    save("latency", text)
