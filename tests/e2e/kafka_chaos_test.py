"""Three instances share eight partitions while they are killed and stopped, join and leave, and the broker with
them, and what they ask of it is held up or refused. At least once: no record is missing, and outputs with
equal ids have equal bytes. Exactly once, with two inputs,
tumbling and hopping windows on event time, disorder, late records and a function that fails: each record is in each of
its windows or late, once, for a reader that was there all the time and one that comes after it; commits are numbered
without gaps. $RIFFLE_SECONDS says how long, $RIFFLE_SEED with which dice, $RIFFLE_PROGRAM with which daemon,
$RIFFLE_HURTS that only these faults are made, with commas between them."""
import collections
import itertools
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
import time

from exactly_once import Came, judge, judge_commits, tuple_of
from kafka_proxy import PRODUCE, Proxy
from kafka_rig import CLIENT, Broker, behind, far, instance, left_of, records_of
from rig import LIMIT_S, RIFFLE, main, section, stream

SECONDS = int(os.environ.get("RIFFLE_SECONDS", "60"))
SEED = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
PROGRAM = os.environ.get("RIFFLE_PROGRAM", RIFFLE)
PARTITIONS = 8
FAULTS = 12
RATE = 400
DISORDER_MS = 2000
# Of the records that end all windows before them, after the first ones.
LAST_MS = 3000000
# A broker that starts again outlasts a transaction, whose records are given up and which is aborted, but not a session:
# who took part lives on and must send all of it again. Who is away for longer than a session loses its partitions.
KEYS = {"rdkafka.session.timeout.ms": "6000", "rdkafka.heartbeat.interval.ms": "300", "request-timeout": "3s",
        "rdkafka.socket.timeout.ms": "1500", "rdkafka.transaction.timeout.ms": "1500",
        "rdkafka.reconnect.backoff.max.ms": "300"}
AWAY_S = (6.5, 9)
# Records of a transaction that are held for longer than it may last are given up.
HELD_S = (1.6, 2.6)
HURTS = ["kill", "kill", "stop", "broker kill", "broker kill", "broker stop", "leave", "leave", "freeze", "freeze",
         "held records", "held records"]
# So many transactions must have been aborted whose windows went into the next one, or nothing is proven of that.
ABORTS = 3
TEXT = {"content_type": "text/plain", "provider": "franz", "partitions": PARTITIONS}
# The processors under exactly-once, with the length of their windows and how far they lie apart.
SHAPES = {"tumble": ("tumbling 1s", 1000, 1000), "hop": ("hopping 1500ms every 500ms", 1500, 500)}
# Of an abort: librdkafka's own words for it.
REASON = re.compile(r"a transaction was aborted: [^\n]*?(?:Broker|Local): ([^;()]*[^;() ])")
broker = proxy = None


def at_least_once_config():
    # What a broker said counts for 3 s: a lane may not be idle sooner than one that has stopped is found out.
    return (stream("in", **TEXT) + stream("out", **TEXT) + section("function echo", {"invoker": "passthrough"}) +
            section("processor copy", {
                "function": "echo", "input": "in@earliest", "output": "out", "commit-interval": "200ms",
                "window": "tumbling 500ms", "time": "record", "by": "key", "max-disorder": "2s", "idle-after": "4s",
                "close-after-idle": "4s", "delivery": "at-close", "late": "stop", "guarantee": "at-least-once",
                "on-error": "retry 1000 backoff 100ms..1s then stop"}))


def exactly_once_config():
    text = stream("left", **TEXT) + stream("right", **TEXT) + section(
        "function echo", {"invoker": "passthrough", "fails-every": 20})
    for name, (window, _, _) in SHAPES.items():
        # Outputs wait a little, so that a broker that dies meets transactions with some of them under way.
        text += stream(name + "-out", encoding="raw", linger="80ms", **TEXT) + stream(name + "-late", encoding="raw", **TEXT)
        text += section("processor " + name, {
            "function": "echo", "input": "left@earliest, right@earliest", "output": name + "-out", "window": window,
            "time": "record", "by": "key", "max-disorder": "%dms" % DISORDER_MS, "late": "stream %s-late" % name,
            "idle-after": "1h", "close-after-idle": "never", "delivery": "at-close", "pane-headers": "yes",
            "guarantee": "exactly-once", "on-error": "retry 1000 backoff 50ms..200ms then stop"})
    return text


class Load(threading.Thread):
    """Writes records at a rate, by a client that is not ours."""

    def __init__(self, topics, records):
        super().__init__()
        self.records = records
        self.stopping = False
        self.writer = subprocess.Popen([CLIENT, "write", broker.servers, *topics], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.written = 0

    def write(self, records):
        for r in records:
            self.writer.stdin.write("%d\t%d\t%s\t%d\t%s\n" % r)
            self.written += 1
        self.writer.stdin.flush()

    def run(self):
        while not self.stopping:
            self.write(itertools.islice(self.records, RATE // 20))
            time.sleep(0.05)

    def end(self, last=()):
        """Once all of it is acknowledged."""
        self.stopping = True
        self.join()
        self.write(last)
        out, _ = self.writer.communicate(timeout=LIMIT_S)
        assert self.writer.returncode == 0 and int(out) == self.written, (self.writer.returncode, out, self.written)


def plain(dice, begin_ms):
    """(topic, partition, key, time, value), in the order of time."""
    for n in itertools.count():
        yield 0, dice.randrange(PARTITIONS), "k%d" % dice.randrange(97), begin_ms + n * 1000 // RATE, str(n)


def disordered(dice, begin_ms):
    """The same of two topics, out of order as far as is allowed, a few further."""
    for n in itertools.count():
        back_ms = dice.randrange(DISORDER_MS - 100) if dice.random() > 0.03 else dice.randrange(DISORDER_MS, 12000)
        yield (n % 2, dice.randrange(PARTITIONS), "k%d" % dice.randrange(5), begin_ms + n * 1000 // RATE - back_ms,
               str(n))


def last_words(begin_ms):
    """Everything before them is over."""
    return [(topic, p, "end", begin_ms + LAST_MS, "end-%d-%d" % (topic, p))
            for topic in range(2) for p in range(PARTITIONS)]


def stop_for_a_while(dice, pid):
    os.kill(pid, signal.SIGSTOP)
    time.sleep(dice.uniform(0.5, 4))
    os.kill(pid, signal.SIGCONT)


def kill(dice, i):
    i.daemon.kill()
    i.daemon.wait()
    time.sleep(dice.uniform(0, 1))
    i.start(ready=False)


def leave(i):
    # Without its broker it may give up what it cannot end, and says so; one that has just begun may not listen yet.
    code = i.stop()
    assert code >= 0 or code == -signal.SIGTERM, "it ended by signal %d" % -code
    return lambda: i.start(ready=False)


def freeze(i):
    i.daemon.send_signal(signal.SIGSTOP)
    return lambda: i.daemon.send_signal(signal.SIGCONT)


def kill_broker(dice):
    broker.do("kill")
    time.sleep(dice.uniform(0, 1.2))
    broker.do("start")


def hold_records(dice):
    gate = proxy.hold(PRODUCE)
    time.sleep(dice.uniform(*HELD_S))
    gate.set()


def refuse_positions(dice):
    """The broker's own word, on a generation before theirs."""
    proxy.aged = dice.randint(1, 6)
    end = time.monotonic() + 2
    while proxy.aged > 0 and time.monotonic() < end:
        time.sleep(0.02)
    proxy.aged = 0


def is_done(end, frontier_ms, offset, metadata):
    """
    All was read, and all windows that end by then are done. The last word, which says that they are over, may enter a
    window of its own behind the last commit: nothing is due then.
    """
    if frontier_ms is None:
        return offset == end
    return metadata and tuple_of(metadata).hw >= end - 1 and tuple_of(metadata).frontier_ms >= frontier_ms


class Chaos:
    """Three instances under fire, for as long as the body of `with` does not begin."""

    def __init__(self, text, topics, records, last=(), hurts=HURTS):
        self.space = broker.name()
        self.dice = random.Random(SEED)
        self.begin_ms = int(time.time() * 1000) - 3600000
        self.made = [instance(broker, self.space, text, {"instance": "i%d" % n}, {**KEYS, **far(proxy)}, program=PROGRAM)
                     for n in range(3)]
        self.topics = [self.space + "_" + t for t in topics]
        self.records = records(random.Random(SEED + 1), self.begin_ms)
        self.last = last
        self.hurts = list(filter(None, os.environ.get("RIFFLE_HURTS", "").split(","))) or hurts
        self.deck = []
        self.faults = []
        self.away = {}

    def __enter__(self):
        try:
            for i in self.made:
                i.start(ready=False)
            self.made[0].wait_until_ready()
            return self
        except Exception:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for i in self.made:
            i.__exit__()

    def run(self):
        load = Load(self.topics, self.records)
        load.start()
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end or len(self.faults) < FAULTS or self.lacks_aborts(end):
                time.sleep(self.dice.uniform(0.2, 3))
                self.bring_back(time.monotonic())
                self.faults.append(self.hurt())
                for i in self.made:
                    assert i in self.away or i.daemon.poll() is None, "a daemon ended: %s" % i.logged()[-3000:]
            self.bring_back(float("inf"))
        finally:
            load.end(self.last)
        print("# %d faults (%s), %d records (seed %d)" % (
            len(self.faults), ", ".join("%d %s" % (self.faults.count(f), f) for f in sorted(set(self.faults))),
            load.written, SEED))
        return load.written

    def lacks_aborts(self, end):
        """A slow machine has fewer transactions to refuse: it is given more time, not for ever."""
        return "refusal" in self.hurts and time.monotonic() < end + 2 * SECONDS and sum(
            self.aborts().values()) < ABORTS

    def aborts(self):
        """How often transactions were aborted, by why."""
        return collections.Counter(why for i in self.made for why in REASON.findall(i.logged()))

    def draw(self, can_leave):
        """Each kind in its turn, in any order. One instance is always there."""
        if not [what for what in self.deck if can_leave or what not in ("leave", "freeze")]:
            self.deck += self.dice.sample(self.hurts, len(self.hurts))
        what = next(what for what in self.deck if can_leave or what not in ("leave", "freeze"))
        self.deck.remove(what)
        return what

    def hurt(self):
        """One fault; its name."""
        here = [i for i in self.made if i not in self.away]
        i = self.dice.choice(here)
        what = self.draw(len(here) > 1)
        if what == "kill":
            kill(self.dice, i)
        elif what == "stop":
            stop_for_a_while(self.dice, i.daemon.pid)
        elif what == "broker stop":
            stop_for_a_while(self.dice, broker.pid())
        elif what in ("leave", "freeze"):
            comes = leave(i) if what == "leave" else freeze(i)
            self.away[i] = (time.monotonic() + self.dice.uniform(*AWAY_S), comes)
        else:
            {"broker kill": kill_broker, "held records": hold_records, "refusal": refuse_positions}[what](self.dice)
        return what

    def bring_back(self, now):
        for i in [i for i, (due, _) in self.away.items() if due <= now]:
            self.away.pop(i)[1]()

    def wait_until_committed(self, groups, frontier_ms=None):
        left = [(group, topic, p) for group in groups for topic in self.topics for p in range(PARTITIONS)]
        ends = {(topic, p): broker.ends(topic, p)[1] for _, topic, p in left}

        def all_done():
            while left and is_done(ends[left[0][1:]], frontier_ms, *broker.committed(
                    left[0][1], "%s.%s" % (self.space, left[0][0]), left[0][2])):
                left.pop(0)
            return not left
        try:
            self.made[0].wait_for("everything is committed", all_done)
        except AssertionError:
            for group, topic, p in left:
                offset, metadata = broker.committed(topic, "%s.%s" % (self.space, group), p)
                print("# not done by %s: %s[%d] at %d of %d, %s, not %s" % (
                    group, topic, p, offset, ends[topic, p], metadata and tuple_of(metadata), frontier_ms))
            print("\n# ".join(["# the broker"] + broker.logged().splitlines()[-20:]))
            for i in self.made:
                told = [line for group in groups for line in i.run("why", group).stdout.splitlines()]
                print("\n# ".join(["# " + i.dir] + told + i.logged().splitlines()[-12:]))
            raise


def verify(records, count):
    """(lost, ids of which there are two kinds, doubled)"""
    seen, ids = {}, {}
    differing = 0
    for r in records:
        seen[int(r.value)] = seen.get(int(r.value), 0) + 1
        name = dict(r.headers)["ce_id"]
        differing += ids.setdefault(name, r.value) != r.value
    return [n for n in range(count) if n not in seen], differing, sum(1 for n in seen.values() if n > 1)


def at_least_once_under_chaos():
    with Chaos(at_least_once_config(), ["in"], plain) as chaos:
        written = chaos.run()
        chaos.wait_until_committed(["copy"])
        lost, differing, doubled = verify(broker.dump(chaos.space + "_out")[chaos.space + "_out"], written)
        print("# %d lost, %d more than once, %d ids that differ" % (len(lost), doubled, differing))
        assert not lost and not differing, lost[:20]


class Reader:
    """Reads what is committed while it becomes so."""

    def __init__(self, *topics):
        self.file = tempfile.NamedTemporaryFile(mode="w+", prefix="riffle-reader-")
        self.process = subprocess.Popen([CLIENT, "follow", broker.servers, *topics], stdout=self.file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.file.close()

    def read(self, count, limit=LIMIT_S):
        """Once so many are there, by topic."""
        end = time.monotonic() + limit
        while True:
            with open(self.file.name) as lines:
                whole = [line for line in lines if line.endswith("\n")]
            if len(whole) >= count or time.monotonic() > end:
                return records_of(whole)
            time.sleep(0.1)


def by_partition(records):
    """In the order in which they were read."""
    partitions = collections.defaultdict(list)
    for r in records:
        partitions[r.partition].append(r)
    return partitions


def exactly_once_under_chaos():
    sides = [name + "-" + side for name in SHAPES for side in ("out", "late")]
    chaos = Chaos(exactly_once_config(), ["left", "right"], disordered, hurts=HURTS + ["refusal"] * 2)
    chaos.last = last_words(chaos.begin_ms)
    topics = ["%s_%s" % (chaos.space, side) for side in sides]
    with chaos, Reader(*topics) as reader:
        chaos.run()
        chaos.wait_until_committed(SHAPES, LAST_MS + chaos.begin_ms - DISORDER_MS)
        inputs = broker.dump(*chaos.topics)
        after = broker.dump(*topics)
        during = reader.read(sum(map(len, after.values())))
        commits, generations = broker.groups()
        logs = "".join(i.logged() for i in chaos.made)
        aborts = chaos.aborts()
    came = [Came((topic, r.partition), r.offset, r.time, r.value) for topic in inputs for r in inputs[topic]]
    still_open = {value for _, _, _, _, value in chaos.last}
    bad = []
    for topic in topics:
        if by_partition(during[topic]) != by_partition(after[topic]):
            bad.append("%s: the reader that was there saw something else than the one that came after" % topic)
    for name, (_, size_ms, slide_ms) in SHAPES.items():
        out, late = (after["%s_%s-%s" % (chaos.space, name, side)] for side in ("out", "late"))
        faults = judge(came, list(left_of(out)), [r.value for r in late], size_ms, slide_ms, DISORDER_MS, still_open)
        group = "%s.%s" % (chaos.space, name)
        numbered = [((topic, p), metadata) for g, topic, p, _, metadata in commits if g == group and metadata]
        faults.update(judge_commits(numbered))
        print("# %s: %d records came, %d outputs, %d late, %d commits of lanes in %d generations: %s" % (
            name, len(came), len(out), len(late), len(numbered), generations.get(group, 0), faults))
        if faults:
            bad.append("%s: %s" % (name, faults))
        assert len(out) > 1000 and len(late) > 10 and len(numbered) > 100, (len(out), len(late), len(numbered))
    print("# %d transactions were aborted and tried again (%s), %d processors opened again" % (
        sum(aborts.values()), ", ".join("%d %s" % (n, why) for why, n in aborts.most_common()),
        logs.count("; opened again in")))
    assert not bad, "\n".join(bad)
    assert "refusal" not in chaos.hurts or sum(aborts.values()) >= ABORTS, aborts


def the_verifier_finds_a_planted_loss_and_a_planted_difference():
    class Fake:
        def __init__(self, value, name):
            self.key, self.value, self.headers = None, value, [("ce_id", name)]
    assert verify([Fake("0", "a"), Fake("2", "c")], 3)[0] == [1]
    assert verify([Fake("0", "a"), Fake("1", "a")], 2)[1] == 1


# A broker that has started again leaves transactions alone for a while, so that their owners can abort them.
PATIENCE = "transaction.abort.timed.out.transaction.cleanup.interval.ms=4000\n"

with Proxy() as proxy, Broker(extra=behind(proxy, PATIENCE)) as broker:
    only = os.environ.get("RIFFLE_ONLY", "").split()
    cases = [the_verifier_finds_a_planted_loss_and_a_planted_difference, at_least_once_under_chaos,
             exactly_once_under_chaos]
    main([case for case in cases if not only or case.__name__ in only])
