"""Exactly-once sessions on a real broker whose positions have no room for which records are in open ones: the set goes
to a compacted topic. The daemon is killed, a second one comes and takes over partitions with their checkpoints; a
client that reads what is committed finds each record in the output of its session, once."""
import collections
import os
import random
import subprocess
import time

from busy import Log, judge
from kafka_rig import CLIENT, Broker, instance, run
from rig import main, section, stream

KILLS = int(os.environ.get("RIFFLE_KILLS", "3"))
SEED = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
PARTITIONS = 2
PHASES, BATCHES, BATCH = 2, 8, 1000
# Topics keep what lies in the past for a week.
BEGIN_MS = int(time.time() * 1000) // 1000 * 1000 - 3600000
TEXT = {"content_type": "text/plain", "provider": "franz", "partitions": PARTITIONS}
broker = None


def config(cleanup="compact"):
    return (stream("in", **TEXT) + stream("out", encoding="raw", **TEXT) +
            section("stream ckpt", {"provider": "franz", "topic.cleanup.policy": cleanup}) +
            section("function pass", {"invoker": "passthrough"}) +
            section("processor sessions", {
                "function": "pass", "input": "in@earliest", "output": "out", "window": "session gap 25s max 1h",
                "by": "key", "time": "record", "max-disorder": "1s", "idle-after": "1h", "close-after-idle": "never",
                "guarantee": "exactly-once", "pane-headers": "yes", "checkpoint": "ckpt"}))


def publish(topic, log, records):
    """(topic, partition, key, time, value)"""
    lines = "".join("0\t%d\t%s\t%d\t%d\n" % (log.partition, key, t, n) for n, key, t in records)
    subprocess.run([CLIENT, "write", broker.servers, topic], input=lines, text=True, check=True,
                   stdout=subprocess.DEVNULL)


def outputs(topic):
    """{(key, start): how often each record is there}"""
    have = collections.defaultdict(collections.Counter)
    for r in broker.dump(topic)[topic]:
        have[r.key, int(dict(r.headers)["riffle-window-start"])][int(r.value)] += 1
    return have


def checkpoints(topic):
    """The sizes of the values there; -1 is none."""
    return [int(line) for line in run("kcat", "-b", broker.servers, "-C", "-t", topic, "-o", "beginning", "-e", "-q",
                                      "-X", "isolation.level=read_committed", "-f", "%S\n").splitlines()]


def tasks(i):
    done = i.run("processor", "status", "sessions")
    return i.status("sessions")["tasks"] if done.returncode == 0 else []


def each_record_is_in_its_session_once():
    space = broker.name()
    randomness = random.Random(SEED)
    topic, logs = space + "_in", [Log(p, PARTITIONS, BEGIN_MS) for p in range(PARTITIONS)]
    keys = {"rdkafka.session.timeout.ms": "6000", "rdkafka.heartbeat.interval.ms": "500"}
    made = [instance(broker, space, config(), {"instance": "i%d" % n}, keys) for n in range(2)]
    try:
        made[0].start()
        for phase in range(PHASES):
            for batch in range(BATCHES):
                for log in logs:
                    publish(topic, log, log.batch(BATCH))
                if phase == 0 and batch > 2 and batch - 2 <= KILLS:
                    time.sleep(randomness.uniform(0, 1.5))
                    made[0].daemon.kill()
                    made[0].daemon.wait()
                    made[0].start(ready=False)
                if phase == 1 and batch == 5:
                    made[1].start(ready=False)
                    made[1].wait_for("each has a partition", lambda: [len(tasks(i)) for i in made] == [1, 1])
                if phase == 1 and batch == 6:
                    made[0].daemon.kill()
                    made[0].daemon.wait()
                    made[1].wait_for("the second one has both", lambda: len(tasks(made[1])) == 2)
            for log in logs:
                log.pause()
        for log in logs:
            log.records.append((-1 - log.partition, "end", log.time_ms))
            publish(topic, log, log.records[-1:])
        count = sum(len(log.records) - 1 for log in logs)
        out = space + "_out"
        made[1].wait_for("all sessions are out", lambda: (
            sum(broker.ends(out, p)[1] for p in range(PARTITIONS)) >= count and
            sum(sum(c.values()) for c in outputs(out).values()) >= count))
        assert made[1].stop() == 0
        sizes = checkpoints(space + "_ckpt")
        have = outputs(out)
        doubled, wrong = judge(logs, have)
        print("# %d kills, %d sessions, %d records; %d checkpoints, the largest of %d bytes; %d doubled, %d sessions "
              "wrong (seed %d)" % (KILLS + 1, len(have), count, sum(1 for size in sizes if size > 0),
                                   max(sizes), len(doubled), len(wrong), SEED))
        assert not doubled and not wrong, (doubled[:5], wrong[:5])
        assert max(sizes) > 4096, "no set was larger than a position"
        for i in made:
            assert "T001" not in i.logged(), i.logged()[-3000:]
    finally:
        for i in made:
            i.__exit__()


def a_topic_that_is_not_compacted_is_refused():
    with instance(broker, broker.name(), config("delete")) as i:
        i.start(ready=False)
        i.wait_for("it is refused", lambda: "stream ckpt is not compacted" in i.logged())


def a_topic_that_loses_what_rests_is_refused():
    with instance(broker, broker.name(), config("compact,delete")) as i:
        i.start(ready=False)
        i.wait_for("it is refused", lambda: "stream ckpt has a retention beside its compaction" in i.logged())


with Broker() as broker:
    only = os.environ.get("RIFFLE_ONLY", "").split()
    cases = [each_record_is_in_its_session_once, a_topic_that_is_not_compacted_is_refused,
             a_topic_that_loses_what_rests_is_refused]
    main([case for case in cases if not only or case.__name__ in only])
