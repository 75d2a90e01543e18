"""Time, windows and what happens to records that fit none, through the daemon."""
import collections
import datetime
import json
import os
import re
import signal
import time

from rig import LOCAL, RIFFLE, TEST_PLUGINS, Instance, main, section, stream
from windows import Partition

TEXT = {"content_type": "text/plain"}
# A second that windows of ten seconds, an hour and a day begin with.
BASE_S = 1704067200
BASE_MS = BASE_S * 1000
# From BASE to the midnight of Berlin with which 31 March 2024 begins.
DAY = (90 * 24 - 1) * 3600
PASS = section("function pass", {"invoker": "passthrough"})
SHOW = section("function show", {"invoker": "show"})
# Its records have no key and no time of their own: one for each window, of what the lines name.
JOIN = section("function join", {"invoker": "command", "shell": "yes",
                                 "command": '"grep -o \'v[0-9][0-9]*\' | paste -sd, -"'})


def at(n, t, k="a"):
    """The record v<n> of t seconds after BASE."""
    return json.dumps({"v": "v%d" % n, "t": BASE_S + t, "k": k})


def processor(name, **keys):
    keys = {"input": "in@earliest", **keys}
    return section("processor " + name, {k.replace("_", "-"): v for k, v in keys.items()})


def event(**more):
    return {"time": "json:$.t s", "max_disorder": "5s", "idle_after": "1h", **more}


def shown(names):
    """A processor that copies these streams to `seen`, with key and time in headers."""
    return SHOW + stream("seen", **TEXT) + processor(
        "see", function="show", input=", ".join(n + "@earliest" for n in names), output="seen", window="none")


def instance(text):
    return Instance("[runtime]\ncommit-interval = 20ms\n" + LOCAL + text, plugins=TEST_PLUGINS)


def seen(i, names, count):
    """What came on each stream, once there are so many records in all."""
    records = {name: [] for name in names}
    for r in i.read("seen", count):
        records[names[int(r["headers"]["seen-input"])]].append(r)
    return records


def window_of(record):
    """(start, end) in seconds from BASE."""
    h = record["headers"]
    return tuple((int(h["riffle-window-" + side]) - BASE_MS) / 1000 for side in ("start", "end"))


def windows(records):
    """(start, end, key, payload) of each, sorted; the key is that of the window."""
    return sorted((*window_of(r), r["headers"].get("riffle-window-key"), r["payload"]) for r in records)


def payloads(records):
    return [r["payload"] for r in records]


SHAPES = {
    "tumbling": ({"window": "tumbling 10s"},
                 [(0, 10, None, "v1,v2,v4"), (10, 20, None, "v3"), (20, 30, None, "v5,v6")]),
    "shifted": ({"window": "tumbling 10s offset 3s"},
                [(-7, 3, None, "v1"), (3, 13, None, "v2,v3,v4"), (13, 23, None, "v5"), (23, 33, None, "v6")]),
    "tumbling-keyed": ({"window": "tumbling 10s", "by": "json:$.k"},
                       [(0, 10, "a", "v1,v4"), (0, 10, "b", "v2"), (10, 20, "a", "v3"), (20, 30, "a", "v6"),
                        (20, 30, "b", "v5")]),
    "hopping": ({"window": "hopping 20s every 10s"},
                [(-10, 10, None, "v1,v2,v4"), (0, 20, None, "v1,v2,v3,v4"), (10, 30, None, "v3,v5,v6"),
                 (20, 40, None, "v5,v6")]),
    "hopping-keyed": ({"window": "hopping 20s every 10s", "by": "json:$.k"},
                      [(-10, 10, "a", "v1,v4"), (-10, 10, "b", "v2"), (0, 20, "a", "v1,v3,v4"),
                       (0, 20, "b", "v2"), (10, 30, "a", "v3,v6"), (10, 30, "b", "v5"), (20, 40, "a", "v6"),
                       (20, 40, "b", "v5")]),
    "session": ({"window": "session gap 5s max 1m"},
                [(1, 17.001, None, "v1,v2,v3,v4"), (21, 31.001, None, "v5,v6")]),
    "session-keyed": ({"window": "session gap 5s max 1m", "by": "json:$.k"},
                      [(1, 6.001, "a", "v1"), (4, 9.001, "b", "v2"), (9, 17.001, "a", "v3,v4"),
                       (21, 26.001, "b", "v5"), (26, 31.001, "a", "v6")]),
    "count": ({"window": "count 3"},
              [(1, 12.001, None, "v1,v2,v3"), (9, 26.001, None, "v4,v5,v6")]),
    "count-keyed": ({"window": "count 3 or 30s", "by": "json:$.k"},
                    [(1, 31, "a", "v1,v3,v4"), (4, 34, "b", "v2,v5")]),
}


def shapes_on_event_time():
    names = ["o-" + name for name in SHAPES]
    text = JOIN + stream("in", **TEXT) + "".join(
        stream("o-" + name, **TEXT) +
        processor(name, function="join", output="o-" + name, pane_headers="yes", **event(**keys))
        for name, (keys, _) in SHAPES.items()) + shown(names)
    with instance(text) as i:
        i.publish("in", [at(1, 1), at(2, 4, "b"), at(3, 12), at(4, 9), at(5, 21, "b"), at(6, 26), at(7, 60)])
        i.start()
        out = seen(i, names, sum(len(expected) for _, expected in SHAPES.values()))
        i.wait_until_read(*SHAPES)
        assert i.stop() == 0
        assert "first window closes" not in i.logged()
        for name, (_, expected) in SHAPES.items():
            got = windows(out["o-" + name])
            assert got == expected, "%s:\n%s instead of\n%s" % (name, got, expected)
            for r in out["o-" + name]:
                h = r["headers"]
                assert h.get("seen-key") == h.get("riffle-window-key"), r
                assert int(h["seen-time"]) == int(h["riffle-window-end"]) - 1, r
                assert h["riffle-pane"] == "final" and h["riffle-attempt"] == "1", r
        ids = [r["headers"]["riffle-id"] for records in out.values() for r in records]
        assert len(set(ids)) == len(ids), ids




def stamp(t):
    return datetime.datetime.fromtimestamp(BASE_S + t, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def times_and_keys_from_everywhere():
    hour = 3600
    cases = {
        # Berlin's 31 March 2024 has 23 hours.
        "day": ({"window": "tumbling 1d align Europe/Berlin", "time": "record"},
                [(DAY - 24 * hour, DAY, None, "v1"), (DAY, DAY + 23 * hour, None, "v2,v3"),
                 (DAY + 23 * hour, DAY + 47 * hour, None, "v4")]),
        "utc": ({"window": "tumbling 1d align utc", "time": "record"},
                [(DAY - 23 * hour, DAY + hour, None, "v1,v2"), (DAY + hour, DAY + 25 * hour, None, "v3,v4")]),
        "key": ({"window": "tumbling 1h", "time": "record", "by": "key", "output-key": "none"},
                [(DAY - hour, DAY, "a", "v1"), (DAY, DAY + hour, "b", "v2"),
                 (DAY + 22 * hour, DAY + 23 * hour, "a", "v3"), (DAY + 23 * hour, DAY + 24 * hour, "a", "v4")]),
        "header": ({"window": "tumbling 10s", "time": "header:at ms", "by": "header:who"},
                   [(0, 10, "x", "v1,v3"), (0, 10, "y", "v2"), (10, 20, "x", "v4")]),
    }
    names = ["o-" + name for name in cases] + ["o-none"]
    text = JOIN + stream("in", **TEXT) + "".join(stream(n, **TEXT) for n in names)
    for name, (keys, _) in cases.items():
        text += processor(name, function="join", output="o-" + name, pane_headers="yes", max_disorder="0s",
                          idle_after="1h", **keys)
    text += processor("none", function="join", output="o-none", window="none") + shown(names)
    last = DAY + 240 * hour
    with instance(text) as i:
        for payload, t, key, at_s, who in (
                ("v1", DAY - 1, "a", 1, "x"), ("v2", DAY, "b", 2, "y"), ("v3", DAY + 23 * hour - 1, "a", 9, "x"),
                ("v4", DAY + 23 * hour, "a", 19, "x"), ("v5", last, "a", 60, "x")):
            i.cli("publish", "in", "-p", payload, "--time", stamp(t), "-k", key,
                  "--header", "at:%d" % (BASE_MS + 1000 * at_s), "--header", "who:" + who)
        i.start()
        out = seen(i, names, 1 + sum(len(expected) for _, expected in cases.values()))
        for name, (_, expected) in cases.items():
            assert windows(out["o-" + name]) == expected, (name, windows(out["o-" + name]))
        assert not any("seen-key" in r["headers"] for r in out["o-key"])
        assert all(r["headers"]["seen-key"] in "xy" for r in out["o-header"])
        # What came together has no window: the time of the newest, and no key.
        joined, = out["o-none"]
        assert joined["payload"] == "v1,v2,v3,v4,v5" and "seen-key" not in joined["headers"], joined
        assert int(joined["headers"]["seen-time"]) == BASE_MS + 1000 * last, joined


def outputs_of_a_crashed_daemon_have_their_ids_again():
    text = (PASS + stream("in", **TEXT) + stream("out", **TEXT) +
            processor("p", function="pass", output="out", window="hopping 20s every 10s", by="json:$.k",
                      pane_headers="yes", commit_interval="1h", **event()))
    with instance(text) as i:
        i.publish("in", [at(1, 1), at(2, 4, "b"), at(3, 12), at(4, 9), at(5, 60)])
        i.start()
        first = [(r["headers"]["riffle-id"], r["payload"]) for r in i.read("out", 8)]
        assert len(set(first)) == len({id for id, _ in first}) == 8, first
        i.stop(signal.SIGKILL)
        i.start()
        again = [(r["headers"]["riffle-id"], r["payload"]) for r in i.read("out", 16)][8:]
        assert sorted(again) == sorted(first), (first, again)


def late_records_are_counted_kept_or_stop_it():
    keys = event(function="join", window="tumbling 10s")
    text = JOIN + stream("in", **TEXT)
    for name, late in (("dropping", "drop"), ("keeping", "stream too-late"), ("stopping", "stop")):
        text += stream("o-" + name, **TEXT) + processor(name, output="o-" + name, late=late, **keys)
    text += stream("too-late", **TEXT) + processor(
        "part", output="o-part", **{**keys, "window": "hopping 20s every 10s"}) + stream("o-part", **TEXT)
    with instance(text + shown(["too-late"])) as i:
        i.publish("in", [at(1, 1), at(2, 30)])
        i.cli("publish", "in", "-p", at(3, 12), "-k", "mine", "--header", "a:b", "--time", stamp(77))
        i.publish("in", [at(4, 60)])
        i.start(ready=False)
        assert "record in[0]@2: late: all windows of its time are over" in i.wait_until_stopped("stopping")
        record, = seen(i, ["too-late"], 1)["too-late"]
        h = record["headers"]
        assert record["payload"] == at(3, 12) and h["a"] == "b" and h["seen-key"] == "mine", record
        assert int(h["seen-time"]) == BASE_MS + 77000, h
        assert (h["riffle-processor"], h["riffle-error-stage"]) == ("keeping", "late"), h
        assert (h["riffle-source-stream"], h["riffle-source-partition"], h["riffle-source-offset"]) == (
            "in", "0", "2"), h
        assert h["riffle-error"].startswith("late: "), h
        for name in ("dropping", "keeping"):
            assert sorted(payloads(i.read("o-" + name, 2))) == ["v1", "v2"]
            assert (i.task(name)["late"], i.task(name)["lateInPart"]) == (1, 0), i.task(name)
        i.wait_until_read("part")
        assert i.task("part")["late"] == 0 and i.task("part")["lateInPart"] == 1, i.task("part")
        assert i.stop() == 0
        # The record that stopped it is there for whoever comes next.
        i.start(ready=False)
        i.wait_until_stopped("stopping")
        assert len(i.read_all("too-late")) == 1


REASONS = ("riffle-error", "riffle-error-stage", "riffle-error-attempt", "riffle-source-stream",
           "riffle-source-partition", "riffle-source-offset")


def records_that_the_door_refuses_are_dead_letters():
    text = JOIN + stream("in", **TEXT) + stream("out", **TEXT) + stream("dead", **TEXT)
    text += processor("p", function="join", output="out", window="tumbling 10s", by="key",
                      **event(max_future="1h", on_error="dead-letter dead"))
    future = json.dumps({"t": int(time.time()) + 7200})
    with instance(text + shown(["dead"])) as i:
        for payload, key in ((at(1, 1), "k"), (future, "k"), ("no json", "k"), (at(2, 2), None), ('{"t":[]}', "k")):
            i.cli("publish", "in", "-p", payload, "--time", stamp(9), "--header", "a:b",
                  *(["-k", key] if key else []))
        i.cli("publish", "in", "-p", at(3, 60), "-k", "k")
        i.start()
        dead = seen(i, ["dead"], 4)["dead"]
        assert payloads(i.read("out", 1)) == ["v1"]
        assert payloads(dead) == [future, "no json", at(2, 2), '{"t":[]}'], dead
        for offset, r, why in zip((1, 2, 3, 4), dead, (
                "more than max-future = 3600000 ms", "JSON", "it has no key", "json:$.t is not a single value")):
            h = r["headers"]
            assert h["a"] == "b" and int(h["seen-time"]) == BASE_MS + 9000, r
            assert h.get("seen-key") == (None if offset == 3 else "k"), r
            assert [h[name] for name in REASONS[1:]] == ["door", "0", "in", "0", str(offset)], r
            assert why in h["riffle-error"] and "in[0]@%d" % offset in h["riffle-error"], r
        assert (i.task("p")["refused"], i.task("p")["deadLetters"]) == (4, 4), i.task("p")


def windows_that_fail_go_as_their_policy_says():
    keys = event(window="tumbling 10s", delivery="at-close")
    failing = {"invoker": "command", "shell": "yes"}
    text = (stream("in", **TEXT) + stream("dead", **TEXT) + JOIN +
            section("function poisoned", {**failing, "command": '"grep -q v1 && exit 1; echo fine"'}) +
            section("function tired", {**failing, "command": '"test $RIFFLE_ATTEMPT -ge 3 || exit 75; cat"'}))
    names = ["dying", "skipping", "retrying", "stopping"]
    for name, function, policy in (
            ("dying", "poisoned", "dead-letter dead"), ("skipping", "poisoned", "skip"),
            ("retrying", "tired", "retry 3 backoff 10ms..20ms then skip"),
            ("stopping", "poisoned", "retry 2 backoff 10ms..20ms then stop")):
        text += stream("o-" + name, **TEXT) + processor(
            name, function=function, output="o-" + name, on_error=policy, **keys)
    with instance(text + shown(["dead"])) as i:
        i.cli("publish", "in", "-p", at(1, 1), "--time", stamp(3), "-k", "k", "--header", "a:b")
        i.publish("in", [at(2, 2), at(3, 12), at(4, 60)])
        i.start(ready=False)
        dead = seen(i, ["dead"], 2)["dead"]
        assert payloads(dead) == [at(1, 1), at(2, 2)], dead
        h = dead[0]["headers"]
        assert (h["a"], h["seen-key"], int(h["seen-time"])) == ("b", "k", BASE_MS + 3000), h
        assert "exit status 1" in h["riffle-error"], h
        assert [h[name] for name in REASONS[1:]] == ["call", "1", "in", "0", "0"], h
        assert dead[1]["headers"]["riffle-source-offset"] == "1", dead
        # The windows behind it go on, but where the policy is to stop.
        for name in ("dying", "skipping"):
            assert payloads(i.read("o-" + name, 1)) == ["fine"]
        assert sorted(payloads(i.read("o-retrying", 3))) == [at(1, 1), at(2, 2), at(3, 12)]
        assert i.task("retrying")["retries"] == 4 and i.task("skipping")["skipped"] == 1
        why = i.wait_until_stopped("stopping")
        assert "window %d, attempt 1: " % BASE_MS in why and "exit status 1" in why, why
        assert i.task("stopping")["lanes"][0]["committed"] == 0, i.task("stopping")
        # It keeps its membership: another daemon of the same group is refused.
        log = os.path.join(i.dir, "state", "local")
        other = text.replace("[stream", "[stream", 1)
        with Instance(LOCAL.replace("type = local", "type = local\ndir = " + log) + other + shown(["dead"]),
                      plugins=TEST_PLUGINS) as j:
            j.start(ready=False)
            refusal = re.compile(r'group \\"default.stopping\\" is in use by .*process %d' % i.daemon.pid)
            j.wait_for("the group is refused", lambda: refusal.search(j.logged()))
        assert i.stop() == 0
        # Nothing of the window that stopped it is lost.
        i.write(open(i.file).read().replace("exit 1;", "true;"))
        i.start()
        assert payloads(i.read("o-stopping", 2)) == ["fine", "fine"]
        assert len(i.read_all("dead")) == 2


def dead_letters_that_are_refused_stop_their_task():
    """Those of a window, at each guarantee; a compacted stream takes none without a key."""
    text = (stream("in", **TEXT) + stream("dead", cleanup="compact", **TEXT) + stream("out", **TEXT) +
            section("function poisoned", {"invoker": "command", "command": "false"}))
    names = ["at-least-once", "exactly-once"]
    for name in names:
        text += processor(name, function="poisoned", output="out", window="count 2", guarantee=name,
                          on_error="retry 1 backoff 10ms..20ms then dead-letter dead")
    with instance(text) as i:
        i.publish("in", ["a", "b"])
        i.start(ready=False)
        for name, said in zip(names, ("attempt 1: its dead letters are refused: cannot publish: ", "partition 0: ")):
            why = i.wait_until_stopped(name)
            assert said in why and "compacted by key" in why, why
            assert i.task(name)["lanes"][0]["committed"] == 0, i.task(name)
        assert i.logged().count("T006") == len(names), i.logged()
        # Nothing is lost: with room for them they are there.
        assert i.stop() == 0
        i.write(open(i.file).read().replace("cleanup = compact", "topic = dead-again"))
        i.start()
        assert payloads(i.read("dead", 4)) == ["a", "b"] * 2


def silent_inputs_hold_nothing_for_ever():
    text = PASS + stream("left", **TEXT) + stream("right", **TEXT)
    policies = {"closing": {"idle_after": "200ms", "close_after_idle": "200ms"},
                "never": {"idle_after": "200ms", "close_after_idle": "never"},
                "waiting": {"idle_after": "1h", "close_after_idle": "1ms"}}
    for name, keys in policies.items():
        text += stream("o-" + name, **TEXT) + processor(
            name, function="pass", input="left@earliest, right@earliest", output="o-" + name,
            window="tumbling 10s", delivery="at-close", **event(**keys))
    with instance(text) as i:
        i.start()
        i.publish("left", [at(1, 1), at(2, 60)])
        # The right one is silent, then both are.
        assert payloads(i.read("o-never", 1)) == [at(1, 1)]
        assert payloads(i.read("o-closing", 2)) == [at(1, 1), at(2, 60)]
        assert (i.task("never")["windowsOpen"], i.task("closing")["windowsOpen"]) == (1, 0)
        waiting = i.task("waiting")
        assert waiting["recordsOut"] == 0 and waiting["watermark"] is None, waiting
        assert "right[0] holds it back: it has given no record yet; " in waiting["waitsFor"], waiting
        # Who comes back counts again: its records are not late where windows are open.
        i.publish("right", [at(3, 62)])
        i.publish("left", [at(4, 100)])
        i.wait_until_read("never", "closing", "waiting")
        i.publish("right", [at(5, 100)])
        assert payloads(i.read("o-waiting", 3)) == [at(1, 1), at(2, 60), at(3, 62)]
        assert payloads(i.read("o-never", 3)) == [at(1, 1), at(2, 60), at(3, 62)]
        assert i.task("closing")["late"] >= 1, i.task("closing")
        assert i.task("never")["late"] == i.task("waiting")["late"] == 0


def early_panes_say_what_there_is_so_far():
    text = PASS + stream("in", **TEXT) + stream("out", **TEXT) + processor(
        "p", function="pass", output="out", window="tumbling 10s", early="every 100ms", delivery="at-close",
        by="json:$.k", pane_headers="yes", **event())
    with instance(text) as i:
        i.start()

        def panes(count):
            return [(r["headers"]["riffle-pane"], r["payload"]) for r in i.read("out", count)]
        one, two, other = at(1, 1), at(2, 2), at(3, 3, "b")
        i.publish("in", [one])
        assert panes(1) == [("early", one)]
        i.publish("in", [two])
        assert panes(3)[1:] == [("early", one), ("early", two)]
        # Only what has changed is said again.
        i.publish("in", [other])
        assert panes(4)[3:] == [("early", other)]
        i.publish("in", [at(4, 60)])
        said = collections.Counter(panes(8)[4:])
        assert said == {("final", one): 1, ("final", two): 1, ("final", other): 1, ("early", at(4, 60)): 1}, said
        i.wait_for("the windows are settled", lambda: i.task("p")["windowsDone"] == 2)
        assert i.stop() == 0
        i.write(open(i.file).read().replace("[processor p]", "[processor p]\nguarantee = exactly-once"))
        assert "exactly-once is not offered for early panes" in i.run("check").stderr


def empty_windows_are_called_when_asked():
    text = stream("in", **TEXT) + section("function count", {"invoker": "command", "command": "wc -l"})
    for name, empty in (("all", "yes"), ("some", "no")):
        text += stream("o-" + name, **TEXT) + processor(
            name, function="count", output="o-" + name, window="tumbling 10s", emit_empty=empty,
            pane_headers="yes", **event())
    with instance(text) as i:
        i.publish("in", [at(1, 1), at(2, 2), at(3, 31), at(4, 60)])
        i.start()
        assert windows(i.read("o-all", 5)) == [
            (0, 10, None, "2"), (10, 20, None, "0"), (20, 30, None, "0"), (30, 40, None, "1"), (40, 50, None, "0")]
        assert windows(i.read("o-some", 2)) == [(0, 10, None, "2"), (30, 40, None, "1")]
        assert i.task("all")["emptyWindows"] == 3 and i.task("some")["emptyWindows"] == 0


def contents(records):
    """(start, end, key): the records, sorted, as often as they are there."""
    held = {}
    for start, end, key, payload in windows(records):
        held.setdefault((start, end, key), []).append(payload)
    return held


def windows_are_whole_after_a_restart_in_their_middle():
    text = PASS + stream("in", **TEXT)
    guarantees = ("exactly-once", "at-least-once")
    for name in guarantees:
        text += stream("o-" + name, **TEXT) + processor(
            name, function="pass", output="o-" + name, window="hopping 20s every 10s", by="json:$.k",
            guarantee=name, pane_headers="yes", **event())
    records = [(n, n * 3 % 40 + n, "ab"[n % 2]) for n in range(40)] + [(40, 1000, "a")]
    reference = Partition(20000, 10000, 40000)
    for n, t, k in records:
        reference.add(at(n, t, k), k, t * 1000)
    wanted = {(start / 1000, end / 1000, k): sorted(held) for (start, end, k), held in reference.over().items()}
    lines = [at(n, t, k) for n, t, k in records]
    with instance(text.replace("max-disorder = 5s", "max-disorder = 40s")) as i:
        for first, end in ((lines[:15], signal.SIGTERM), (lines[15:30], signal.SIGKILL)):
            i.start()
            i.publish("in", first)
            i.wait_until_read(*guarantees)
            i.stop(end)
        i.start()
        i.publish("in", lines[30:])
        for name in guarantees:
            i.wait_until_read(name)
            i.wait_for("all windows of %s are over" % name, lambda: i.task(name)["windowsOpen"] == 1 and
                       i.task(name)["windowsWaiting"] == 0)
        assert i.stop() == 0
        got = contents(i.read_all("o-exactly-once"))
        assert got == wanted, (got, wanted)
        got = contents(i.read_all("o-at-least-once"))
        assert got.keys() == wanted.keys()
        for window, held in got.items():
            times = len(held) // len(wanted[window])
            assert times >= 1 and held == sorted(wanted[window] * times), (window, held)


def other_windows_are_refused_and_other_bounds_are_not():
    base = event(function="pass", output="out", window="tumbling 10s", pane_headers="yes",
                 guarantee="exactly-once")
    streams = PASS + stream("in", **TEXT) + stream("out", **TEXT)
    with instance(streams + processor("p", **base)) as i:
        i.publish("in", [at(1, 1), at(2, 40)])
        i.start()
        i.read("out", 1)
        i.wait_for("it is committed", lambda: i.task("p")["commits"] >= 1)
        assert i.stop() == 0
        header = open(i.file).read().split("[function pass]")[0]
        for changed in ({"window": "tumbling 20s"}, {"window": "hopping 10s every 5s"},
                        {"window": "tumbling 10s offset 1s"}, {"by": "json:$.k"}, {"time": "json:$.t ms"},
                        {"time": "record"}):
            i.write(header + streams + processor("p", **{**base, **changed}))
            i.start(ready=False)
            assert "the window settings of group default.p were others" in i.wait_until_stopped("p"), changed
            assert i.stop() == 0
        i.write(header + streams + processor(
            "p", **{**base, "max_disorder": "1s", "idle_after": "2h", "max_future": "1h"}))
        i.start()
        i.publish("in", [at(3, 51)])
        # What was read before is late by the newest time that was known, not by what comes next.
        assert payloads(i.read("out", 2)) == [at(1, 1), at(2, 40)]
        assert i.stop() == 0


def a_window_is_heard_while_it_is_open_and_called_again_whole():
    text = stream("in", **TEXT) + stream("dead", **TEXT)
    for name, failures, keys in (
            ("hearing", 0, {}), ("holding", 1, {"outputs": "at-status"}), ("again", 1, {}),
            ("dying", 9, {"on_error": "retry 1 backoff 10ms..10ms then dead-letter dead"})):
        text += section("function f-" + name, {"invoker": "show", "failures": failures}) + stream("o-" + name, **TEXT)
        text += processor(name, **{"function": "f-" + name, "output": "o-" + name, "window": "count 4",
                                   "on_error": "retry 3 backoff 10ms..20ms then stop", **keys})
    with instance(text) as i:
        i.start()
        i.publish("in", ["a", "b"])
        assert payloads(i.read("o-hearing", 2)) == ["a", "b"]
        task = i.task("hearing")
        assert (task["windowsOpen"], task["callsOpen"], task["windowsDone"]) == (1, 1, 0), task
        i.publish("in", ["poison"])
        # What was said before it failed is said again, and the window goes on.
        assert payloads(i.read("o-again", 5)) == ["a", "b", "a", "b", "poison"]
        i.publish("in", ["d"])
        assert payloads(i.read("o-hearing", 4)) == ["a", "b", "poison", "d"]
        assert payloads(i.read("o-again", 6))[2:] == ["a", "b", "poison", "d"]
        assert payloads(i.read("o-holding", 4)) == ["a", "b", "poison", "d"]
        assert payloads(i.read("dead", 4)) == ["a", "b", "poison", "d"]
        for name in ("hearing", "again", "holding", "dying"):
            i.wait_until_committed(name)
        assert i.task("again")["retries"] == 1
        assert i.stop() == 0
        assert [len(i.read_all(n)) for n in ("o-hearing", "o-again", "o-holding", "dead")] == [4, 6, 4, 4]


MEMORY_BYTES = 1 << 20
# What a daemon of this suite has beside the windows of its tasks.
BESIDE_BYTES = 16 << 20


def padded(n, t):
    return json.dumps({"v": "v%d" % n, "t": BASE_S + t, "pad": "x" * 960})


def assert_bounded(most):
    """Sanitizers have memory of their own."""
    with open(RIFFLE, "rb") as program:
        code = program.read()
    instrumented = b"__asan_init" in code or b"__tsan_init" in code
    assert instrumented or most < MEMORY_BYTES + BESIDE_BYTES, most


def memory_of(i):
    """Bytes of the daemon that no file stands behind."""
    with open("/proc/%d/status" % i.daemon.pid) as status:
        return int(re.search(r"RssAnon:\s+(\d+) kB", status.read()).group(1)) * 1024


def within_memory(window, spill, left, right, count):
    """The instance after its function has counted so many windows, and the most memory the daemon had."""
    text = stream("left", **TEXT) + stream("right", **TEXT) + stream("out", **TEXT)
    text += section("function lines", {"invoker": "command", "format": "json-lines", "command":
                                       """awk 'END { printf "{\\"value\\":\\"%d\\"}\\n", NR }'"""})
    text += processor("p", function="lines", input="left@earliest, right@earliest", output="out", window=window,
                      delivery="at-close", **event(max_disorder="0s"))
    i = Instance("[runtime]\nmemory = %dB\nspill = %s\n" % (MEMORY_BYTES, spill) + LOCAL + text, plugins=TEST_PLUGINS)
    most = 0
    i.start()
    for lines in left:
        i.publish("left", lines)
    for lines in right:
        i.publish("right", lines)
        most = max(most, memory_of(i))

    def is_done():
        nonlocal most
        most = max(most, memory_of(i))
        task = i.task("p")
        return task["windowsDone"] >= count or task["state"] == "stopped"
    i.wait_for("its windows are done", is_done)
    return i, most


def the_lane_ahead_waits_for_the_one_behind():
    # Eighty windows of 50 KiB from each; the left ones are all there before the first right one.
    side = [[padded(n, 10 * (w + n // 50)) for n in range(1000)] for w in range(0, 80, 20)] + [[padded(0, 5000)]]
    i, most = within_memory("tumbling 10s", "0B", side, side, 80)
    with i:
        assert payloads(i.read("out", 80)) == ["100"] * 80
        print("# lanes apart, 8 MiB through memory = 1MiB: at most %d KiB of private memory" % (most >> 10))
        assert_bounded(most)


def a_window_larger_than_memory_is_whole_in_the_file():
    side = [[padded(n, n // 1000) for n in range(w * 1000, w * 1000 + 1000)] for w in range(8)] + [[padded(0, 5000)]]
    i, most = within_memory("tumbling 1h", "64MiB", side, side, 1)
    with i:
        assert payloads(i.read("out", 1)) == ["16000"]
        print("# a window of 16 MiB with memory = 1MiB: at most %d KiB of private memory" % (most >> 10))
        assert_bounded(most)
        # But for a read that brought the first record of the next window too.
        i.wait_for("the file is empty", lambda: i.task("p")["spilledBytes"] < MEMORY_BYTES // 8)


def without_a_file_it_stops_and_says_what_it_needs():
    side = [[padded(n, n // 1000) for n in range(w * 1000, w * 1000 + 1000)] for w in range(4)]
    for spill, said in (("0B", "its windows need more than memory = 1048576 bytes"),
                        ("1MiB", "its windows need more than memory = 1048576 and spill = 1048576 bytes")):
        i, most = within_memory("tumbling 1h", spill, side, side, 1)
        with i:
            why = i.wait_until_stopped("p")
            assert said in why and re.search(r"it holds \d+ bytes in memory and \d+ in the file", why), why
            assert_bounded(most)
            # The lane ahead was left alone before it came to that.
            held = i.task("p")
            assert held["memoryBytes"] < 8 * MEMORY_BYTES and held["lanes"][0]["committed"] == 0, held


main([shapes_on_event_time, times_and_keys_from_everywhere, outputs_of_a_crashed_daemon_have_their_ids_again,
      late_records_are_counted_kept_or_stop_it, records_that_the_door_refuses_are_dead_letters,
      windows_that_fail_go_as_their_policy_says, dead_letters_that_are_refused_stop_their_task,
      silent_inputs_hold_nothing_for_ever,
      early_panes_say_what_there_is_so_far, empty_windows_are_called_when_asked,
      windows_are_whole_after_a_restart_in_their_middle, other_windows_are_refused_and_other_bounds_are_not,
      a_window_is_heard_while_it_is_open_and_called_again_whole, the_lane_ahead_waits_for_the_one_behind,
      a_window_larger_than_memory_is_whole_in_the_file, without_a_file_it_stops_and_says_what_it_needs])
