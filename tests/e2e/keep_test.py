"""Windows larger than memory that are not kept (keep = no), with a program that fails in the middle of one."""
import json
import os
import re

from rig import LOCAL, RIFFLE, TEST_PLUGINS, Instance, main, section, stream

TEXT = {"content_type": "text/plain"}
MEMORY_BYTES = 1 << 20
# What a daemon of this suite has beside the windows of its tasks.
BESIDE_BYTES = 16 << 20
BASE_S = 1704067200

# Counts the records of a window; the first calls of it that get so many are failed, or the program dies.
COUNTER = r"""
import json, os, signal, sys
at, times, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def say(**line): print(json.dumps(line), flush=True)
for line in sys.stdin:
    m = json.loads(line)
    if m["type"] == "start":
        start, count, failed = m, 0, False
    if m["type"] == "record" and not failed:
        count += 1
        failed = count == at and start["attempt"] <= times
        if failed and how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if failed:
            say(type="status", window=start["window"], status=75)
    if m["type"] == "end" and not failed:
        say(value="%d in attempt %d" % (count, start["attempt"]))
        say(type="status", window=start["window"], status=0)
"""


def payloads(records):
    return [r["payload"] for r in records]


def counter(at=0, times=0, how="fail", **keys):
    """Windows of an hour, on event time, which the program counts."""
    keys = {"function": "counter", "input": "in@earliest", "output": "out", "window": "tumbling 1h", "keep": "no",
            "time": "json:$.t s", "max-disorder": "0s", "idle-after": "1h",
            "on-error": "retry 5 backoff 10ms..50ms then stop", **keys}
    i = Instance("", plugins=TEST_PLUGINS)
    with open(os.path.join(i.dir, "counter.py"), "w") as out:
        out.write(COUNTER)
    i.write("[runtime]\nmemory = %dB\nspill = 0B\ncommit-interval = 50ms\n" % MEMORY_BYTES + LOCAL +
            stream("in", **TEXT) + stream("out", **TEXT) +
            section("function counter", {"invoker": "command", "mode": "coprocess", "format": "json-lines",
                                         "restart": "10ms", "command": "python3 counter.py %d %d %s" % (at, times, how),
                                         "dir": i.dir}) +
            section("processor p", keys))
    return i


def lines(count, hour):
    return [json.dumps({"t": BASE_S + 3600 * hour, "n": n, "pad": "x" * 960}) for n in range(count)]


def memory_of(i):
    """Bytes of the daemon that no file stands behind."""
    with open("/proc/%d/status" % i.daemon.pid) as status:
        return int(re.search(r"RssAnon:\s+(\d+) kB", status.read()).group(1)) * 1024


def assert_bounded(most):
    """Sanitizers have memory of their own."""
    with open(RIFFLE, "rb") as program:
        code = program.read()
    instrumented = b"__asan_init" in code or b"__tsan_init" in code
    assert instrumented or most < MEMORY_BYTES + BESIDE_BYTES, most


def a_window_larger_than_memory_passes():
    most = 0
    with counter() as i:
        i.start()
        for _ in range(16):
            i.publish("in", lines(1000, 0))
            most = max(most, memory_of(i))
        i.publish("in", lines(1, 1))

        def is_done():
            nonlocal most
            most = max(most, memory_of(i))
            return i.task("p")["windowsDone"] == 1
        i.wait_for("its window is done", is_done)
        assert payloads(i.read("out", 1)) == ["16000 in attempt 1"]
        print("# a window of 16 MiB with memory = 1MiB: at most %d KiB of private memory" % (most >> 10))
        assert_bounded(most)
        i.wait_for("it is committed", lambda: i.task("p")["lanes"][0]["committed"] == 16000)


def the_same_kept_stops_and_names_the_key():
    with counter(keep="yes") as i:
        i.start()
        for _ in range(4):
            i.publish("in", lines(1000, 0))
        why = i.wait_until_stopped("p")
        assert "its windows need more than memory = 1048576 bytes" in why and "keep = no would not keep" in why, why


def rebuilt(how, **keys):
    """A window is done, the next one fails in its middle, beyond what memory holds, and comes again whole."""
    with counter(1500, 1, how, **keys) as i:
        i.start()
        i.publish("in", lines(1000, 0) + lines(1000, 1))
        i.wait_for("the first one is committed", lambda: i.task("p")["lanes"][0]["committed"] == 1000)
        i.publish("in", lines(2000, 1))
        i.wait_for("it is rebuilt", lambda: i.task("p")["rebuilds"] == 1)
        i.publish("in", lines(1, 2))
        assert payloads(i.read("out", 2)) == ["1000 in attempt 1", "3000 in attempt 2"]
        i.wait_for("it is committed", lambda: i.task("p")["lanes"][0]["committed"] == 4000)
        assert payloads(i.read_all("out")) == ["1000 in attempt 1", "3000 in attempt 2"]
        assert i.logged().count('"code":"T009"') == 1, i.logged()
        assert i.stop() == 0


def a_window_that_fails_in_its_middle_comes_again():
    rebuilt("fail", outputs="at-status")


def a_program_that_dies_in_a_window_gets_it_again():
    rebuilt("die", outputs="at-status")


def nothing_is_there_twice_exactly_once():
    rebuilt("die", guarantee="exactly-once")


def a_second_failure_stops_it():
    with counter(500, 2) as i:
        i.start()
        i.publish("in", lines(3000, 0))
        why = i.wait_until_stopped("p")
        assert "attempt 2: it failed again before any position moved" in why and "(keep = no)" in why, why
        assert why in i.cli("why", "p")
        assert i.logged().count('"code":"T009"') == 1 and i.logged().count('"code":"T001"') == 1, i.logged()
        # Mended and started again it goes on from its position.
        assert i.stop() == 0
        with open(i.file) as file:
            text = file.read()
        i.write(text.replace("counter.py 500 2", "counter.py 0 0"))
        i.start()
        i.publish("in", lines(1, 1))
        assert payloads(i.read("out", 1)) == ["3000 in attempt 1"]


main([a_window_larger_than_memory_passes, the_same_kept_stops_and_names_the_key,
      a_window_that_fails_in_its_middle_comes_again, a_program_that_dies_in_a_window_gets_it_again,
      nothing_is_there_twice_exactly_once, a_second_failure_stops_it])
