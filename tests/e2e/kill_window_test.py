"""kill -9 of the daemon at random moments while keyed windows on event time are open, records come in disorder and
some come too late: each record is in each of its windows once (exactly-once), at least once (at-least-once), at most
once (at-most-once). What is expected is worked out from the log alone; but a record that came too late may find its
window open again after a crash, and is then in it and not among the late ones."""
import collections
import json
import os
import random
import threading
import time

from rig import LOCAL, Instance, main, section, stream
from windows import Partition, windows_of

KILLS = int(os.environ.get("RIFFLE_KILLS", "60"))
SEED = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
PARTITIONS = 2
DISORDER_MS = 2000
BASE_MS = 1704067200000
# name: length, slide, as the window is written
SHAPES = {"tumbling": (1000, 1000, "tumbling 1s"), "hopping": (3000, 1000, "hopping 3s every 1s")}


def config(guarantee):
    text = LOCAL + stream("in", content_type="application/json", partitions=PARTITIONS)
    text += section("function pass", {"invoker": "passthrough"})
    for name, (_, _, window) in SHAPES.items():
        for side in ("out", "late"):
            text += stream(side + "-" + name, content_type="application/json", partitions=PARTITIONS)
        text += section("processor " + name, {
            "function": "pass", "input": "in@earliest", "output": "out-" + name, "window": window,
            "by": "json:$.k", "time": "json:$.t ms", "max-disorder": "%dms" % DISORDER_MS,
            "late": "stream late-" + name, "idle-after": "1h", "close-after-idle": "never",
            "guarantee": guarantee, "pane-headers": "yes", "max-records": "40", "commit-interval": "5ms"})
    return text


class Load(threading.Thread):
    """Publishes records whose time goes on with some disorder, and remembers the log of each partition."""

    def __init__(self, instance, randomness):
        super().__init__()
        self.instance = instance
        self.randomness = randomness
        self.logs = [[] for _ in range(PARTITIONS)]
        self.count = 0
        self.stopping = threading.Event()
        self.failure = None

    def publish(self, partition, records):
        lines = [json.dumps({"n": n, "k": k, "t": t}) for n, k, t in records]
        self.instance.publish("in", lines, "--partition", str(partition))
        self.logs[partition] += records

    def batch(self):
        records = []
        for _ in range(self.randomness.randrange(1, 120)):
            back_ms = 30000 if self.randomness.random() < 0.03 else DISORDER_MS
            time_ms = BASE_MS + self.count * 15 - self.randomness.randrange(back_ms)
            records.append((self.count, self.randomness.choice("abcde"), time_ms))
            self.count += 1
        return records

    def run(self):
        try:
            while not self.stopping.wait(self.randomness.uniform(0, 0.05)):
                self.publish(self.randomness.randrange(PARTITIONS), self.batch())
            # Everything before these is over.
            for partition in range(PARTITIONS):
                self.publish(partition, [(-1 - partition, "end", BASE_MS + self.count * 15 + 3600000)])
        except Exception as error:  # told by the thread that waits for this one
            self.failure = error


def chaos(instance, randomness):
    load = Load(instance, random.Random(randomness.random()))
    begun = time.monotonic()
    instance.start()
    start_s = time.monotonic() - begun
    load.start()
    for _ in range(KILLS):
        # From a daemon that opens its files to one that has caught up.
        time.sleep(randomness.uniform(0, 2 * start_s))
        instance.daemon.kill()
        instance.daemon.wait()
        instance.start(ready=False)
    load.stopping.set()
    load.join()
    if load.failure:
        raise load.failure
    return load.logs


class Expected:
    """What the windows of one shape and their late records must be."""

    def __init__(self, logs, size_ms, slide_ms):
        self.certain, self.possible, self.late = set(), set(), set()
        for log in logs:
            partition = Partition(size_ms, slide_ms, DISORDER_MS)
            for n, key, time_ms in log:
                partition.add(n, key, time_ms)
                self.possible |= {(n, start) for start, _ in windows_of(time_ms, size_ms, slide_ms)}
            self.certain |= {(n, start) for (start, _, _), names in partition.over().items() for n in names}
            self.late |= set(partition.late)


class Found:
    """How often each (record, start of window) and each late record is there."""

    def __init__(self, instance, name):
        self.pairs, self.late = collections.Counter(), collections.Counter()
        for r in instance.read_all("out-" + name):
            self.pairs[json.loads(r["payload"])["n"], int(r["headers"]["riffle-window-start"])] += 1
        for r in instance.read_all("late-" + name):
            self.late[json.loads(r["payload"])["n"]] += 1
        self.in_windows = {n for n, _ in self.pairs}

    def lost(self, wanted):
        return (wanted.certain - self.pairs.keys()) | (wanted.late - self.late.keys() - self.in_windows)

    def doubled(self):
        return ([pair for pair, times in self.pairs.items() if times > 1] +
                [n for n, times in self.late.items() if times > 1 or n in self.in_windows])


def wait_until_said(instance, name, wanted):
    """Until everything wanted is there; what is missing when nothing is added any more is lost."""
    end, most = time.monotonic() + 20, -1
    while time.monotonic() < end:
        found = Found(instance, name)
        if not found.lost(wanted):
            return
        if len(found.pairs) + len(found.late) > most:
            end, most = time.monotonic() + 20, len(found.pairs) + len(found.late)


def judge(guarantee):
    """For each shape (name, lost, doubled)."""
    verdicts = []
    with Instance(config(guarantee)) as i:
        logs = chaos(i, random.Random(SEED))
        i.cli("health", "--wait-timeout", "20s")
        i.wait_until_read(*SHAPES)
        for name, (size_ms, slide_ms, _) in SHAPES.items():
            wanted = Expected(logs, size_ms, slide_ms)
            if guarantee != "at-most-once":
                wait_until_said(i, name, wanted)
            verdicts.append((name, wanted))
        assert i.stop() == 0, i.logged()[-3000:]
        for at, (name, wanted) in enumerate(verdicts):
            found = Found(i, name)
            lost, doubled = found.lost(wanted), found.doubled()
            print("# %s %s: %d kills, %d pairs and %d late records wanted, %d lost, %d doubled (seed %d)" % (
                guarantee, name, KILLS, len(wanted.certain), len(wanted.late), len(lost), len(doubled), SEED))
            strange = found.pairs.keys() - wanted.possible
            assert len(wanted.certain) > 10 and not strange, (name, sorted(strange)[:5])
            verdicts[at] = (name, sorted(lost, key=str), sorted(doubled, key=str))
    return verdicts


def exactly_once_has_each_record_once_in_each_window():
    for name, lost, doubled in judge("exactly-once"):
        assert not lost and not doubled, (name, lost[:5], doubled[:5])


def at_least_once_loses_no_record_of_a_window():
    for name, lost, _ in judge("at-least-once"):
        assert not lost, (name, lost[:5])


def at_most_once_doubles_nothing():
    for name, _, doubled in judge("at-most-once"):
        assert not doubled, (name, doubled[:5])


main([exactly_once_has_each_record_once_in_each_window, at_least_once_loses_no_record_of_a_window,
      at_most_once_doubles_nothing])
