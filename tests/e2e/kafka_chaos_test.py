"""Three instances share eight partitions while they are killed and stopped, and the broker with them. At least
once: no record is missing, and outputs with equal ids have equal bytes. Exactly once: what comes out is what went
in. $RIFFLE_CHAOS_S says how long."""
import collections
import os
import random
import signal
import threading
import time

from kafka_rig import Broker, instance
from rig import main, section, stream

SECONDS = int(os.environ.get("RIFFLE_CHAOS_S", "60"))
SEED = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
PARTITIONS = 8
KEYS = {"rdkafka.session.timeout.ms": "2000", "rdkafka.heartbeat.interval.ms": "300", "request-timeout": "3s",
        "rdkafka.socket.timeout.ms": "5000"}
WINDOW = {"window": "tumbling 500ms", "time": "record", "by": "key", "max-disorder": "2s", "idle-after": "1s",
          "close-after-idle": "1s", "delivery": "at-close", "late": "stop"}
broker = None


def config(guarantee):
    text = {"content_type": "text/plain", "provider": "franz", "partitions": PARTITIONS}
    return (stream("in", **text) + stream("out", **text) + section("function echo", {"invoker": "passthrough"}) +
            section("processor copy", {"function": "echo", "input": "in@earliest", "output": "out",
                                       "commit-interval": "200ms", "guarantee": guarantee,
                                       "on-error": "retry 1000 backoff 100ms..1s then stop", **WINDOW}))


class Load(threading.Thread):
    """Publishes numbered records by a client that is not ours, and knows which were acknowledged."""

    def __init__(self, topic):
        super().__init__()
        self.topic = topic
        self.acknowledged = 0
        self.stopping = False

    def run(self):
        while not self.stopping:
            lines = "".join("%d:%d\n" % (n % 97, n) for n in range(self.acknowledged, self.acknowledged + 500))
            try:
                broker.produce(self.topic, "-K:", "-X", "enable.idempotence=true", input=lines)
                self.acknowledged += 500
            except AssertionError:
                # It gives up where riffle must not; some of these may come twice.
                time.sleep(0.2)
            time.sleep(0.05)


def hurt(instances, dice):
    """One fault; its name."""
    i = dice.choice(instances)
    what = dice.choice(["kill", "kill", "stop", "stop", "kill", "broker kill", "broker stop"])
    if what == "kill":
        i.daemon.kill()
        i.daemon.wait()
        time.sleep(dice.uniform(0, 1))
        i.start(ready=False)
    elif what == "stop":
        i.daemon.send_signal(signal.SIGSTOP)
        time.sleep(dice.uniform(0.5, 4))
        i.daemon.send_signal(signal.SIGCONT)
    elif what == "broker kill":
        broker.do("restart")
    else:
        os.kill(broker.pid(), signal.SIGSTOP)
        time.sleep(dice.uniform(0.5, 4))
        os.kill(broker.pid(), signal.SIGCONT)
    return what


def verify(records, count):
    """(lost, ids of which there are two kinds, doubled)"""
    seen, ids = {}, {}
    differing = 0
    for r in records:
        seen[int(r.value)] = seen.get(int(r.value), 0) + 1
        name = dict(r.headers)["ce_id"]
        differing += ids.setdefault(name, r.value) != r.value
    return [n for n in range(count) if n not in seen], differing, sum(1 for n in seen.values() if n > 1)


def under_chaos(guarantee):
    """(what went in, what came out, how many were acknowledged), as a reader of what is committed sees them."""
    dice = random.Random(SEED)
    space = broker.name()
    made = [instance(broker, space, config(guarantee), {"instance": "i%d" % n}, KEYS) for n in range(3)]
    faults = []
    try:
        for i in made:
            i.start(ready=False)
        made[0].cli("health", "--wait-timeout", "30s")
        load = Load(space + "_in")
        load.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or len(faults) < 12:
            time.sleep(dice.uniform(0.2, 3))
            faults.append(hurt(made, dice))
        load.stopping = True
        load.join()
        made[0].wait_for("everything is committed", lambda: all(
            broker.committed(space + "_in", space + ".copy", p)[0] == broker.ends(space + "_in", p)[1]
            for p in range(PARTITIONS)), limit=90)
        print("# %s: %d faults (%s), %d records acknowledged (seed %d)" % (
            guarantee, len(faults), ", ".join("%d %s" % (faults.count(f), f) for f in sorted(set(faults))),
            load.acknowledged, SEED))
        assert load.acknowledged > 5000
        return broker.consume(space + "_in"), broker.consume(space + "_out"), load.acknowledged
    finally:
        for i in made:
            i.__exit__()


def at_least_once_under_chaos():
    _, out, acknowledged = under_chaos("at-least-once")
    lost, differing, doubled = verify(out, acknowledged)
    print("# %d lost, %d more than once, %d ids that differ" % (len(lost), doubled, differing))
    assert not lost and not differing, lost[:20]


def difference(came, left):
    """(lost, doubled); what its writer wrote twice comes out twice."""
    came, left = (collections.Counter((r.key, r.value) for r in records) for records in (came, left))
    return sum((came - left).values()), sum((left - came).values())


def exactly_once_under_chaos():
    came, left, _ = under_chaos("exactly-once")
    lost, doubled = difference(came, left)
    print("# %d records came, %d lost, %d doubled" % (len(came), lost, doubled))
    assert (lost, doubled) == (0, 0)


def the_verifier_finds_a_planted_loss_and_a_planted_difference():
    class Fake:
        def __init__(self, value, name):
            self.key, self.value, self.headers = None, value, [("ce_id", name)]
    assert verify([Fake("0", "a"), Fake("2", "c")], 3)[0] == [1]
    assert verify([Fake("0", "a"), Fake("1", "a")], 2)[1] == 1
    three = [Fake(n, n) for n in "012"]
    assert difference(three, three[:2]) == (1, 0) and difference(three, three + three[:1]) == (0, 1)


with Broker() as broker:
    only = os.environ.get("RIFFLE_ONLY", "").split()
    cases = [the_verifier_finds_a_planted_loss_and_a_planted_difference, at_least_once_under_chaos,
             exactly_once_under_chaos]
    main([case for case in cases if not only or case.__name__ in only])
