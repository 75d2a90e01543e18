"""kill -9 of the daemon at random moments while keyed windows on event time are open, records come in disorder and
some come too late: each record is in each of its windows once (exactly-once), at least once and in whole windows
(at-least-once), at most once (at-most-once). What is expected is worked out from the log alone."""
import collections
import json
import os
import random
import threading
import time

from rig import LOCAL, Instance, main, section, stream
from windows import Partition

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


def expected(logs, size_ms, slide_ms):
    """({(record, start)}, {late record}) of all windows that are over."""
    pairs, late = set(), set()
    for log in logs:
        partition = Partition(size_ms, slide_ms, DISORDER_MS)
        for n, key, time_ms in log:
            partition.add(n, key, time_ms)
        pairs |= {(n, start) for (start, _, _), names in partition.over().items() for n in names}
        late |= set(partition.late)
    return pairs, late


def found(instance, name):
    """How often each (record, start) and each late record is there."""
    pairs, late = collections.Counter(), collections.Counter()
    for r in instance.read_all("out-" + name):
        pairs[json.loads(r["payload"])["n"], int(r["headers"]["riffle-window-start"])] += 1
    for r in instance.read_all("late-" + name):
        late[json.loads(r["payload"])["n"]] += 1
    return pairs, late


def wait_until_said(instance, name, wanted):
    """Until everything wanted is there; what is missing when nothing is added any more is lost."""
    end, most = time.monotonic() + 20, -1
    while time.monotonic() < end:
        pairs, late = found(instance, name)
        if not wanted[0] - pairs.keys() and not wanted[1] - late.keys():
            return
        if len(pairs) + len(late) > most:
            end, most = time.monotonic() + 20, len(pairs) + len(late)


def judge(guarantee):
    """For each shape (lost, doubled) of pairs and of late records."""
    verdicts = {}
    with Instance(config(guarantee)) as i:
        logs = chaos(i, random.Random(SEED))
        i.cli("health", "--wait-timeout", "20s")
        i.wait_until_read(*SHAPES)
        wanted = {name: expected(logs, size, slide) for name, (size, slide, _) in SHAPES.items()}
        for name in SHAPES:
            if guarantee != "at-most-once":
                wait_until_said(i, name, wanted[name])
        assert i.stop() == 0, i.logged()[-3000:]
        for name in SHAPES:
            verdict = []
            for want, have, what in zip(wanted[name], found(i, name), ("pairs", "late")):
                strange = have.keys() - want
                lost, doubled = len(want - have.keys()), sum(1 for n in have.values() if n > 1)
                print("# %s %s: %d kills, %d %s, %d lost, %d doubled (seed %d)" % (
                    guarantee, name, KILLS, len(want), what, lost, doubled, SEED))
                assert len(want) > 10 and not strange, "%s: %s are in no window" % (name, sorted(strange)[:5])
                verdict += [lost, doubled]
            verdicts[name] = verdict
    return verdicts


def exactly_once_has_each_record_once_in_each_window():
    for name, verdict in judge("exactly-once").items():
        assert verdict == [0, 0, 0, 0], (name, verdict)


def at_least_once_loses_no_record_of_a_window():
    for name, (lost, _, late_lost, _) in judge("at-least-once").items():
        assert (lost, late_lost) == (0, 0), (name, lost, late_lost)


def at_most_once_doubles_nothing():
    for name, (_, doubled, _, late_doubled) in judge("at-most-once").items():
        assert (doubled, late_doubled) == (0, 0), (name, doubled, late_doubled)


main([exactly_once_has_each_record_once_in_each_window, at_least_once_loses_no_record_of_a_window,
      at_most_once_doubles_nothing])
