"""What holds for functions of riff's rpc wherever their streams lie; each case is told where."""
import json
import os
import re
import subprocess
import time

from rig import section
from riff_rig import children, node, payloads, processor, scripted

SQUARES = node("square.js", replies="one-per-record")
WINDOWS_BY_TIME = {"window": "tumbling 10s", "time": "record", "max-disorder": "0s", "idle-after": "300ms",
                   "close-after-idle": "300ms"}


def in_and_out(place):
    return place.stream("in") + place.stream("out")


def numbers(first, count):
    return [str(n) for n in range(first, first + count)]


def squares(count):
    return [str(n * n) for n in range(count)]


def averages_of_windows_by_time_exactly_once(place):
    text = place.stream("in") + place.stream("out", "text/plain") + node("averager.js") + processor(
        guarantee="exactly-once", **WINDOWS_BY_TIME)
    with place.instance(text) as i:
        for at, number in (("01", "10"), ("02", "100"), ("12", "2")):
            i.cli("publish", "in", "-p", number, "--time", "2026-01-01T00:00:%sZ" % at)
        # Now: who is idle between two records ends their window.
        i.start()
        assert payloads(i.read("out", 2)) == ["55.0", "2.0"]
        i.wait_until_committed("p")
        assert i.stop() == 0, i.logged()[-2000:]
        assert payloads(i.read_all("out")) == ["55.0", "2.0"]


def ten_thousand(place, **keys):
    text = in_and_out(place) + SQUARES + processor(window="count 10000", max_outputs="64MiB", **keys)
    with place.instance(text) as i:
        i.start()
        i.publish("in", numbers(0, 10000))
        assert payloads(i.read("out", 10000)) == squares(10000)
        i.wait_until_committed("p")
        assert i.stop() == 0, i.logged()[-2000:]
        assert len(i.read_all("out")) == 10000


def ten_thousand_records_of_one_window_come_back(place):
    ten_thousand(place)


def ten_thousand_records_come_back_exactly_once(place):
    ten_thousand(place, guarantee="exactly-once")


def windows_of_one_poll_come_back_in_order(place):
    with place.instance(in_and_out(place) + SQUARES + processor(window="none", guarantee="exactly-once")) as i:
        i.start()
        i.publish("in", numbers(0, 3000))
        assert payloads(i.read("out", 3000)) == squares(3000)
        assert i.stop() == 0, i.logged()[-2000:]


def two_inputs_and_two_outputs_are_told_apart(place):
    text = ("".join(place.stream(n) for n in ("orders", "refunds", "receipts", "balances")) + node("shop.js") +
            section("processor p", {
                "function": "f", "input": "orders@earliest, refunds@earliest",
                "output": "receipts, balance:balances", "window": "count 4", "guarantee": "exactly-once"}))
    with place.instance(text) as i:
        i.start()
        i.publish("orders", ['{"amount":5}', '{"amount":7}'])
        i.publish("refunds", ['{"amount":1}', '{"amount":2}'])
        assert payloads(i.read("balances", 1)) == ['{"balance":9}']
        amounts = sorted(json.loads(p)["amount"] for p in payloads(i.read("receipts", 4)))
        assert amounts == [-2, -1, 5, 7], amounts
        assert i.stop() == 0, i.logged()[-2000:]


def a_server_that_is_killed_loses_nothing(place):
    text = in_and_out(place) + SQUARES + processor(window="count 100", guarantee="exactly-once", **{
        "on-error": "retry 50 backoff 10ms..100ms then stop"})
    with place.instance(text) as i:
        i.start()
        for first in range(0, 20000, 5000):
            i.publish("in", numbers(first, 5000))
            for child in children(i.daemon.pid):
                os.kill(child, 9)
        assert payloads(i.read("out", 20000)) == squares(20000)
        assert i.stop() == 0, i.logged()[-2000:]
        assert len(i.read_all("out")) == 20000


ECHO = """
module.exports = (inputs, outputs) => {
    const { 0: records } = inputs.$order, { 0: out } = outputs.$order;
    records.on("data", (record) => out.write(record.payload)).on("end", () => out.end());
};
module.exports.$interactionModel = "node-streams";
"""


def answers_before_the_end(place, delivery):
    """What there is to read when two records of a window of three have come; all else is as the delivery has it."""
    with place.instance(in_and_out(place)) as i:
        script = os.path.join(i.dir, "echo.js")
        with open(script, "w") as out:
            out.write(ECHO)
        with open(i.file, "a") as out:
            out.write(node(script) + processor(window="count 3", delivery=delivery))
        i.start()
        i.publish("in", ["1", "2"])
        answers = payloads(i.read("out", 2)) if delivery == "stream" else None
        i.wait_until_read("p")
        task = i.task("p")
        assert task["windowsOpen"] == 1 and task["windowsDone"] == 0, task
        assert task["callsOpen"] == (1 if delivery == "stream" else 0) and task["lanes"][0]["committed"] == 0, task
        if answers is None:
            answers = payloads(i.read_all("out"))
        i.publish("in", ["3"])
        i.wait_until_committed("p")
        assert payloads(i.read_all("out")) == ["1", "2", "3"]
        assert i.stop() == 0, i.logged()[-2000:]
        return answers


def an_answer_is_there_before_its_window_has_ended(place):
    assert answers_before_the_end(place, "stream") == ["1", "2"]
    assert answers_before_the_end(place, "at-close") == []


class Follower:
    """Whoever reads a stream meanwhile, and all that was ever visible to it."""

    def __init__(self, i, name):
        self.path = os.path.join(i.dir, "follower")
        with open(self.path, "w") as out:
            self.process = subprocess.Popen([i.program, "subscribe", "-c", i.file, name, "-b"], env=i.env, stdout=out)

    def seen(self):
        with open(self.path) as lines:
            return [json.loads(line)["payload"] for line in lines if line.endswith("\n")]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def failed_half_way(place, how, guarantee, **keys):
    """What a follower saw of a function that gives half of its answers and fails, at first."""
    text = in_and_out(place) + scripted() + processor(
        input="%s:in@earliest" % how, window="count 4", guarantee=guarantee,
        **{"on-error": "retry 20 backoff 10ms..50ms then stop", **keys})
    with place.instance(text) as i:
        i.start()
        follower = Follower(i, "out")
        try:
            i.publish("in", numbers(0, 12))
            i.wait_until_committed("p")
            i.wait_for("the follower has it", lambda: len([s for s in follower.seen() if s.startswith("whole:")]) >= 12)
        finally:
            follower.stop()
        assert i.task("p")["retries"] >= 3, i.task("p")
        assert i.stop() == 0, i.logged()[-2000:]
        raw = place.all_there_ever_was(i, "out") if hasattr(place, "all_there_ever_was") else None
        return follower.seen(), raw


def nothing_of_a_try_that_failed_was_ever_visible(place):
    expected = ["whole:" + n for n in numbers(0, 12)]
    for how in ("retry", "retry-die"):
        for guarantee, keys in (("exactly-once", {}), ("at-least-once", {"outputs": "at-status"})):
            seen, raw = failed_half_way(place, how, guarantee, **keys)
            assert sorted(seen) == sorted(expected), (how, guarantee, seen)
            if raw is not None:
                assert sorted(raw) == sorted(expected), (how, guarantee, raw)


def as_they_come_the_last_try_is_whole(place):
    """At least once, outputs of tries that failed are there too, and told apart by nothing but the function."""
    seen, _ = failed_half_way(place, "retry", "at-least-once")
    assert sorted(s for s in seen if s.startswith("whole:")) == sorted("whole:" + n for n in numbers(0, 12)), seen
    assert any(s.startswith("1:") for s in seen), seen


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as stat:
        words = stat.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def a_function_that_fails_always_is_not_stormed(place):
    """Each policy's end is reached after the attempts it says, the waits between them double up to their limit, with jitter."""
    text = in_and_out(place) + place.stream("dead") + scripted() + "".join(
        section("processor p-" + name, {
            "function": "f", "input": "status-13:in@earliest", "output": "out", "window": "count 1", "calls": "1",
            "on-error": "retry 4 backoff 50ms..150ms then " + then})
        for name, then in (("skip", "skip"), ("dead", "dead-letter dead"), ("stop", "stop")))
    with place.instance(text) as i:
        i.start()
        before, begin = cpu_seconds(i.daemon.pid), time.monotonic()
        i.publish("in", ["1", "2"])
        i.wait_for("two are skipped", lambda: i.task("p-skip")["skipped"] == 2)
        # 50 to 100 and three times 75 to 150 ms between the five attempts at each window.
        took = time.monotonic() - begin
        assert took >= 0.275, took
        i.wait_for("two are dead", lambda: i.task("p-dead")["deadLetters"] == 2)
        why = i.wait_until_stopped("p-stop")
        assert "INTERNAL (13)" in why, why
        counts = {name: i.task("p-" + name)["retries"] for name in ("skip", "dead", "stop")}
        assert counts["skip"] == counts["dead"] == 8 and 4 <= counts["stop"] <= 8, counts
        # Whose waits were longer is dead later.
        assert sorted(payloads(i.read("dead", 2))) == ["1", "2"]
        waits = [int(ms) for ms in re.findall(r"again in (\d+)ms", i.logged())]
        assert all(50 <= ms <= 150 for ms in waits) and len(set(waits)) > 4, waits
        for name in ("skip", "dead"):
            i.wait_until_committed("p-" + name)
        lane = i.task("p-stop")["lanes"][0]
        assert lane["committed"] == 0, lane
        # Twenty attempts in all and the waits between them are no work.
        assert cpu_seconds(i.daemon.pid) - before < 1.5, cpu_seconds(i.daemon.pid) - before
        assert i.stop() == 0, i.logged()[-2000:]


def one_window_that_fails_holds_the_commits_of_those_behind_it(place):
    """They are computed, none of them is committed, and what is held is bounded; healed, each is there once."""
    pad = "x" * 1000
    for guarantee, outputs in (("exactly-once", {}), ("at-least-once", {"outputs": "at-status"})):
        with place.instance(in_and_out(place), memory="256KiB", spill="0") as i:
            ill = os.path.join(i.dir, "ill")
            open(ill, "w").close()
            with open(i.file, "a") as out:
                out.write(scripted(env="RIFFLE_ILL=" + ill) + processor(
                    input="poison:in@earliest", window="count 10", guarantee=guarantee,
                    **{"on-error": "retry 1000000 backoff 10ms..100ms then stop", "commit-interval": "50ms", **outputs}))
            i.start()
            lines = ["%d %s" % (n, "bad" if n == 25 else pad) for n in range(3000)]
            i.publish("in", lines)

            def settled():
                task = i.task("p")
                return task["retries"] >= 20 and task["lanes"][0]["committed"] == 20

            i.wait_for("the window fails again and again", settled)
            task = i.task("p")
            assert task["state"] != "stopped", task
            assert task["windowsDone"] >= 2, task
            # What is read beyond the bad one is no more than the memory it is given, with a batch for good measure.
            assert 30 < task["lanes"][0]["position"] < 1500, task
            assert task["memoryBytes"] < 2 * 1024 * 1024, task
            if guarantee == "exactly-once":
                assert len(i.read_all("out")) == 20
            else:
                assert len(i.read_all("out")) > 20
            os.unlink(ill)
            i.wait_until_committed("p")
            out = payloads(i.read_all("out"))
            assert sorted(out) == sorted(lines), len(out)
            if guarantee == "exactly-once":
                assert out == lines
            assert i.stop() == 0, i.logged()[-2000:]


EVERY_KIND = (averages_of_windows_by_time_exactly_once, ten_thousand_records_of_one_window_come_back,
              ten_thousand_records_come_back_exactly_once, windows_of_one_poll_come_back_in_order,
              two_inputs_and_two_outputs_are_told_apart, a_server_that_is_killed_loses_nothing,
              an_answer_is_there_before_its_window_has_ended, nothing_of_a_try_that_failed_was_ever_visible,
              as_they_come_the_last_try_is_whole, a_function_that_fails_always_is_not_stormed,
              one_window_that_fails_holds_the_commits_of_those_behind_it)
