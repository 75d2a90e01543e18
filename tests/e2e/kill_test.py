"""kill -9 of the daemon at random moments under load: nothing acknowledged is lost; nothing is doubled
under exactly-once. A daemon that commits positions before it publishes must fail this."""
import collections
import os
import random
import threading
import time

from rig import BUILD, LOCAL, Instance, main, section, stream

KILLS = int(os.environ.get("RIFFLE_KILLS", "100"))
SEED = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
SABOTAGED = os.path.join(BUILD, "tests/e2e/riffle-commit-first")


def config(guarantee):
    return (LOCAL + stream("in", content_type="text/plain", partitions=2) +
            stream("out", content_type="text/plain", partitions=2) +
            section("function echo", {"invoker": "command", "command": "cat"}) +
            section("processor copy", {
                "function": "echo", "input": "in@earliest", "output": "out", "window": "none",
                "guarantee": guarantee, "max-records": "50", "commit-interval": "0"}))


class Load(threading.Thread):
    """Publishes numbered records as long as it may, and knows which were acknowledged."""

    def __init__(self, instance):
        super().__init__()
        self.instance = instance
        self.acknowledged = 0
        self.stopping = False

    def run(self):
        while not self.stopping:
            lines = [str(n) for n in range(self.acknowledged, self.acknowledged + 300)]
            self.instance.publish("in", lines)
            self.acknowledged += len(lines)


def chaos(instance, kills, randomness):
    load = Load(instance)
    instance.start()
    load.start()
    for _ in range(kills):
        time.sleep(randomness.uniform(0.005, 0.15))
        instance.daemon.kill()
        instance.daemon.wait()
        instance.start(ready=False)
    load.stopping = True
    load.join()
    instance.wait_until_ready()
    instance.wait_until_committed("copy")
    instance.daemon.kill()
    instance.daemon.wait()
    return load.acknowledged


def counts(instance):
    return collections.Counter(int(r["payload"]) for r in instance.read_all("out"))


def judge(guarantee, kills, program=None, seed=SEED):
    """(lost, doubled, acknowledged) after so many kills."""
    randomness = random.Random(seed)
    options = {"program": program} if program else {}
    with Instance(config(guarantee), **options) as instance:
        acknowledged = chaos(instance, kills, randomness)
        seen = counts(instance)
    lost = sum(1 for n in range(acknowledged) if seen[n] == 0)
    doubled = sum(1 for n in seen.values() if n > 1)
    print("# %s: %d kills, %d acknowledged, %d lost, %d doubled (seed %d)" % (
        guarantee, kills, acknowledged, lost, doubled, seed))
    assert acknowledged > 300 and not [n for n in seen if n >= acknowledged]
    return lost, doubled


def at_least_once_loses_nothing():
    lost, _ = judge("at-least-once", KILLS)
    assert lost == 0, "%d records lost" % lost


def exactly_once_loses_and_doubles_nothing():
    lost, doubled = judge("exactly-once", KILLS)
    assert (lost, doubled) == (0, 0), "%d records lost, %d doubled" % (lost, doubled)


def committing_before_publishing_is_found_out():
    """By a tenth of the kills, or by the next: where they come is a matter of dice."""
    for guarantee in ("at-least-once", "exactly-once"):
        lost = (judge(guarantee, max(10, KILLS // 10), SABOTAGED, SEED + n)[0] for n in range(10))
        assert any(lost), "a daemon that commits first passed under %s" % guarantee


main([at_least_once_loses_nothing, exactly_once_loses_and_doubles_nothing,
      committing_before_publishing_is_found_out])
