"""kill -9 of the daemon at random moments while keyed windows on event time are open, records come in disorder and
some come too late: each record is in each of its windows, or among the late ones, once (exactly-once), at least once
(at-least-once), at most once (at-most-once), and nowhere else. What is expected is worked out from the log alone, as
if nobody had been killed."""
import collections
import json
import os
import random
import threading
import time

from rig import LIMIT_S, LOCAL, Instance, main, section, stream
from windows import Partition, Sessions

KILLS = int(os.environ.get("RIFFLE_KILLS", "60"))
SEED = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
PARTITIONS = 2
DISORDER_MS = 2000
BASE_MS = 1704067200000
# name: as the window is written, and what a partition makes of its records
SHAPES = {"tumbling": ("tumbling 1s", lambda: Partition(1000, 1000, DISORDER_MS)),
          "hopping": ("hopping 3s every 1s", lambda: Partition(3000, 1000, DISORDER_MS)),
          "session": ("session gap 300ms max 10m", lambda: Sessions(300, DISORDER_MS))}


def shapes(guarantee):
    """At most once a session that lost records is another one: nothing can be said of it from the log alone."""
    return {name: shape for name, shape in SHAPES.items() if guarantee != "at-most-once" or name != "session"}


def config(guarantee):
    text = LOCAL + stream("in", content_type="application/json", partitions=PARTITIONS)
    text += section("function pass", {"invoker": "passthrough"})
    for name, (window, _) in shapes(guarantee).items():
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


def expected(logs, make):
    """All (record, start of window) of windows that are over, and all ("late", record)."""
    wanted = set()
    for log in logs:
        partition = make()
        for n, key, time_ms in log:
            partition.add(n, key, time_ms)
        wanted |= {(n, start) for (start, _, _), names in partition.over().items() for n in names}
        wanted |= {("late", n) for n in partition.late}
    return wanted


def found(instance, name):
    """The same, as often as it is there. A window that comes again is made from the same records."""
    have, by_id, made_from = collections.Counter(), {}, {}
    for r in instance.read_all("out-" + name):
        n, h = json.loads(r["payload"])["n"], r["headers"]
        assert by_id.setdefault(h["riffle-id"], n) == n, (h["riffle-id"], n, by_id[h["riffle-id"]])
        _, partition, window, key, _, _, records = h["riffle-id"].split("/", 6)
        first = made_from.setdefault((partition, window, key), records)
        assert first == records, "%s of %s, then %s" % (h["riffle-id"], first, records)
        have[n, int(h["riffle-window-start"])] += 1
    for r in instance.read_all("late-" + name):
        have["late", json.loads(r["payload"])["n"]] += 1
    return have


def wait_until_said(instance, name, wanted):
    """Until everything wanted is there; what is missing when nothing is added any more is lost."""
    end, most = time.monotonic() + LIMIT_S, -1
    while time.monotonic() < end:
        have = found(instance, name)
        if not wanted - have.keys():
            return
        if len(have) > most:
            end, most = time.monotonic() + LIMIT_S, len(have)


def judge(guarantee):
    """For each shape (name, lost, doubled)."""
    wanted, verdicts = {}, []
    with Instance(config(guarantee)) as i:
        logs = chaos(i, random.Random(SEED))
        i.wait_until_ready()
        i.wait_until_read(*shapes(guarantee))
        for name, (_, make) in shapes(guarantee).items():
            wanted[name] = expected(logs, make)
            if guarantee != "at-most-once":
                wait_until_said(i, name, wanted[name])
        assert i.stop() == 0, i.logged()[-3000:]
        for name, want in wanted.items():
            have = found(i, name)
            lost, strange = want - have.keys(), have.keys() - want
            doubled = [what for what, times in have.items() if times > 1]
            print("# %s %s: %d kills, %d wanted, %d of them late, %d lost, %d doubled, %d strange (seed %d)" % (
                guarantee, name, KILLS, len(want), sum(1 for what in want if what[0] == "late"), len(lost),
                len(doubled), len(strange), SEED))
            assert len(want) > 10 and len(have) > 10 and not strange, (name, sorted(strange, key=str)[:5])
            verdicts.append((name, sorted(lost, key=str), sorted(doubled, key=str)))
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
