"""Exactly once on a real broker, case by case: somebody else's transaction on an input, partitions that go while
windows are closing."""
import os
import subprocess
import time

from exactly_once import Came, judge, judge_commits
from kafka_rig import CLIENT, Broker, Hanging, instance, left_of
from rig import main, section, stream

TEXT = {"content_type": "text/plain", "provider": "franz"}
PASS = section("function echo", {"invoker": "passthrough"})
# Topics keep what lies in the past for a week.
BEGIN_MS = int(time.time() * 1000) // 1000 * 1000 - 3600000
broker = None


def write(topics, *records):
    """(topic, partition, key, time after the beginning, value)"""
    lines = "".join("%d\t%d\t%s\t%d\t%s\n" % (t, p, key, BEGIN_MS + ms, value) for t, p, key, ms, value in records)
    subprocess.run([CLIENT, "write", broker.servers, *topics], input=lines, text=True, check=True,
                   stdout=subprocess.DEVNULL)


def a_hanging_transaction_of_somebody_else_is_told_and_is_not_idleness():
    space = broker.name()
    text = stream("left", **TEXT) + stream("right", **TEXT) + stream("out", **TEXT) + PASS + section("processor copy", {
        "function": "echo", "input": "left@earliest, right@earliest", "output": "out", "window": "tumbling 1s",
        "time": "record", "max-disorder": "0", "idle-after": "500ms", "close-after-idle": "never",
        "guarantee": "exactly-once"})
    topics = [space + "_left", space + "_right"]
    with instance(broker, space, text) as i:
        i.start()
        # Before the left lane has a record it is of no account, once it is idle.
        with Hanging(broker, topics[0]):
            write(topics, (1, 0, "k", 0, "early"), (1, 0, "k", 5000, "far later"))
            told = ("left[0] cannot be read past offset 0: a transaction of somebody else is open there, and the log "
                    "goes on to 1")
            i.wait_for("it is told", lambda: told in i.cli("why", "copy"))
            silent = time.monotonic() + 3
            while time.monotonic() < silent:
                lanes = {lane["stream"]: lane for lane in i.task("copy")["lanes"]}
                assert not lanes["left"]["idle"], lanes
                time.sleep(0.05)
            assert broker.consume(space + "_out") == []
        i.wait_for("the lane is idle", lambda: i.task("copy")["lanes"][0]["idle"])
        write(topics, (1, 0, "k", 6000, "later still"))
        i.wait_for("the windows before it are over",
                   lambda: [r.value for r in broker.consume(space + "_out")] == ["early", "far later"])
        assert "transaction" not in i.cli("why", "copy"), i.cli("why", "copy")
        assert i.stop() == 0


# Windows with a slow record last as long as a file is there, whatever they are told.
SLOW = """trap "" TERM; x=$(cat); case $x in *slow*) while test -e %s; do sleep 0.05; done;; esac; printf "%%s\\n" "$x" """


def windows_that_are_closing_do_not_hold_up_a_rebalance():
    space = broker.name()
    flag = os.path.join(broker.dir, "slow")
    with open(flag, "w"):
        pass
    keys = {"rdkafka.session.timeout.ms": "40000", "rdkafka.heartbeat.interval.ms": "200"}
    text = stream("in", partitions=4, **TEXT) + stream("out", partitions=4, encoding="raw", **TEXT) + section(
        "function slow", {"invoker": "command", "command": "sh -c '%s'" % (SLOW % flag)}) + section("processor copy", {
            "function": "slow", "input": "in@earliest", "output": "out", "window": "tumbling 1s", "time": "record",
            "by": "key", "max-disorder": "0", "idle-after": "1h", "close-after-idle": "never", "pane-headers": "yes",
            "delivery": "at-close", "guarantee": "exactly-once", "commit-interval": "3s"})
    topic = space + "_in"
    records = [(0, p, "k", 1000 * n, "%s-%d-%d" % ("fast" if n < 3 else "slow", p, n)) for n in range(6)
               for p in range(4)]
    made = [instance(broker, space, text, {"instance": "i%d" % n}, keys) for n in range(2)]
    try:
        made[0].start()
        write([topic], *records)
        made[0].wait_for("slow windows are being closed", lambda: len(tasks(made[0])) == 4 and all(
            "call (attempt 1) is open" in t["waitsFor"] for t in tasks(made[0])))
        begin = time.monotonic()
        made[1].start(ready=False)
        made[0].wait_for("each has two partitions", lambda: [len(tasks(i)) for i in made] == [2, 2])
        seconds = time.monotonic() - begin
        print("# %.1f s from the start of the second one until both have theirs" % seconds)
        # Far less than the session of whom it might have waited for.
        assert seconds < 30, seconds
        os.unlink(flag)
        write([topic], *((0, p, "end", 60000, "end-%d" % p) for p in range(4)))
        made[0].wait_for("all windows are out", lambda: len(broker.consume(space + "_out")) >= len(records))
        dumped = broker.dump(topic, space + "_out")
        came = [Came((topic, r.partition), r.offset, r.time, r.value) for r in dumped[topic]]
        faults = judge(came, list(left_of(dumped[space + "_out"])), [], 1000, 1000, 0,
                       {"end-%d" % p for p in range(4)})
        faults.update(judge_commits((p, m) for g, _, p, _, m in broker.groups()[0] if g == space + ".copy" and m))
        assert not faults, faults
        assert [i.stop() for i in made] == [0, 0]
    finally:
        for i in made:
            i.__exit__()


def tasks(i):
    """None before it answers."""
    return i.status("copy")["tasks"] if i.run("processor", "status", "copy").returncode == 0 else []


with Broker() as broker:
    only = os.environ.get("RIFFLE_ONLY", "").split()
    cases = [a_hanging_transaction_of_somebody_else_is_told_and_is_not_idleness,
             windows_that_are_closing_do_not_hold_up_a_rebalance]
    main([case for case in cases if not only or case.__name__ in only])
