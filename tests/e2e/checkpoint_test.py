"""Exactly-once sessions whose positions have no room for which records are in open ones: thousands of sessions are
open among others that are over, so that the set goes to a checkpoint stream, and back into the position when all are
over. The daemon is killed at random moments; each record is in the output of its session, once."""
import collections
import json
import os
import random
import re
import threading
import time

from busy import Log, judge
from rig import BUILD, LOCAL, PLUGINS, Instance, main, section, stream

KILLS = int(os.environ.get("RIFFLE_KILLS", "15"))
SEED = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
PARTITIONS = 2
BASE_MS = 1704067200000
PHASES, BATCHES, BATCH = 3, 10, 800


def config(checkpoint="ckpt", cleanup="compact"):
    text = LOCAL + section("function pass", {"invoker": "passthrough"})
    for name in ("in", "out"):
        text += stream(name, content_type="application/json", partitions=PARTITIONS)
    text += stream("ckpt", cleanup=cleanup)
    keys = {"function": "pass", "input": "in@earliest", "output": "out", "window": "session gap 25s max 1h",
            "by": "json:$.k", "time": "json:$.t ms", "max-disorder": "1s", "idle-after": "1h",
            "close-after-idle": "never", "guarantee": "exactly-once", "pane-headers": "yes",
            "commit-interval": "20ms"}
    if checkpoint:
        keys["checkpoint"] = checkpoint
    return text + section("processor sessions", keys)


def publish(instance, log, records):
    lines = [json.dumps({"n": n, "k": k, "t": t}) for n, k, t in records]
    instance.publish("in", lines, "--partition", str(log.partition))


class Load(threading.Thread):
    def __init__(self, instance, logs):
        super().__init__()
        self.instance, self.logs, self.failure = instance, logs, None

    def run(self):
        try:
            for _ in range(PHASES):
                for _ in range(BATCHES):
                    for log in self.logs:
                        publish(self.instance, log, log.batch(BATCH))
                for log in self.logs:
                    log.pause()
            for log in self.logs:
                log.records.append((-1 - log.partition, "end", log.time_ms))
                publish(self.instance, log, log.records[-1:])
        except Exception as error:  # told by the thread that waits for this one
            self.failure = error


def outputs(instance):
    """{(key, start): how often each record is there}"""
    have = collections.defaultdict(collections.Counter)
    for r in instance.read_all("out"):
        one, h = json.loads(r["payload"]), r["headers"]
        have[one["k"], int(h["riffle-window-start"])][one["n"]] += 1
    return have


def wait_for_outputs(instance, count):
    def all_there():
        return sum(sum(c.values()) for c in outputs(instance).values()) >= count
    instance.wait_for("%d records are written" % count, all_there)


def checkpoints(instance):
    """How many values the stream has, and how many records that take one back."""
    values = [r["payload"] for r in instance.read_all("ckpt")]
    return sum(1 for v in values if v), sum(1 for v in values if not v)


def each_record_is_in_its_session_once():
    randomness = random.Random(SEED)
    with Instance(config()) as i:
        i.start()
        logs = [Log(p, PARTITIONS, BASE_MS) for p in range(PARTITIONS)]
        load = Load(i, logs)
        load.start()
        for _ in range(KILLS):
            time.sleep(randomness.uniform(0, 0.6))
            i.daemon.kill()
            i.daemon.wait()
            i.start(ready=False)
        load.join()
        if load.failure:
            raise load.failure
        i.wait_until_ready()
        count = sum(len(log.records) - 1 for log in logs)
        wait_for_outputs(i, count)
        values, removed = checkpoints(i)
        have = outputs(i)
        i.stop()
        doubled, wrong = judge(logs, have)
        print("# %d kills, %d sessions, %d records; %d checkpoints there, %d taken back; %d doubled, %d sessions wrong "
              "(seed %d)" % (KILLS, len(have), count, values, removed, len(doubled), len(wrong), SEED))
        assert not doubled and not wrong, (doubled[:5], wrong[:5])
        assert values > 0, "nothing went to the checkpoint stream"
        assert "T001" not in i.logged(), i.logged()[-3000:]


def overflow(instance):
    """Until a commit has put its set into the checkpoint stream."""
    log = Log(0, PARTITIONS, BASE_MS)
    for _ in range(BATCHES):
        publish(instance, log, log.batch(BATCH))
    instance.wait_until_read("sessions")
    instance.wait_for("a checkpoint is written", lambda: checkpoints(instance)[0] > 0)
    instance.wait_for("it is told", lambda: instance.task("sessions")["checkpointBytes"] > 3000)
    why = instance.cli("why", "sessions")
    assert "bytes, in the checkpoint stream ckpt." in why, why


def what_is_not_there_stops_its_task():
    with Instance(config()) as i:
        i.start()
        overflow(i)
        i.stop()
        i.cli("stream", "delete", "ckpt", "--purge")
        i.start(ready=False)
        why = i.wait_until_stopped("sessions")
        assert 'the checkpoint "default.sessions/default_in/0" in stream ckpt: it is not there' in why, why


def who_no_longer_names_the_stream_is_told():
    with Instance(config()) as i:
        i.start()
        overflow(i)
        i.stop()
        i.write(config(checkpoint=None))
        i.start(ready=False)
        why = i.wait_until_stopped("sessions")
        assert "was written to a checkpoint stream, and `checkpoint` names none" in why, why
        i.stop()
        # And goes on when it is named again.
        i.write(config())
        i.start()
        assert i.task("sessions")["state"] == "running"


def a_stream_that_is_not_compacted_is_refused():
    with Instance(config(cleanup="delete")) as i:
        i.start(ready=False)
        i.wait_for("it is refused", lambda: "stream ckpt is not compacted" in i.logged())


def a_stream_that_loses_what_rests_is_refused():
    with Instance(config().replace("cleanup = compact", "cleanup = compact\nretention = 1h")) as i:
        i.start(ready=False)
        i.wait_for("it is refused", lambda: "stream ckpt has a retention beside its compaction" in i.logged())


def a_stream_whose_settings_may_not_be_seen_is_a_warning():
    """Whatever they are: one that is not compacted is not refused then."""
    for cleanup in ("compact", "delete"):
        with Instance(config(cleanup=cleanup), plugins=os.path.join(BUILD, "tests/e2e/veiled/.libs") + ":" + PLUGINS) as i:
            i.start()
            assert i.task("sessions")["state"] == "running"
            told = [e for e in map(json.loads, re.findall("^{.*", i.logged(), re.M)) if e.get("code") == "S010"]
            assert [(e["level"], e["what"]) for e in told] == [("warning", "processor sessions")], i.logged()
            assert told[0]["msg"].startswith("the settings of stream ckpt may not be seen"), told
            assert i.stop() == 0


main([a_stream_whose_settings_may_not_be_seen_is_a_warning, each_record_is_in_its_session_once, what_is_not_there_stops_its_task, who_no_longer_names_the_stream_is_told,
      a_stream_that_is_not_compacted_is_refused, a_stream_that_loses_what_rests_is_refused])
