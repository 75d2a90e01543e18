"""Functions as programs: each skeleton in one test, each mode and format, and programs that misbehave."""
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile

from rig import LOCAL, SRC, Instance, Skip, main, section, stream

TEXT = {"content_type": "text/plain"}
EXAMPLES = os.path.join(SRC, "examples", "functions")
RETRY = "retry 5 backoff 10ms..100ms then skip"


def quoted(script):
    return '"%s"' % script.replace("\\", "\\\\").replace('"', '\\"')


def program(text):
    """A Python program for a test, in one argument."""
    return "python3 -c " + quoted(text)


def one(function, window="count 2", **processor):
    return (LOCAL + stream("in", **TEXT) + stream("out", **TEXT) +
            section("function f", {"invoker": "command", **function}) +
            section("processor p", {"function": "f", "input": "in@earliest", "output": "out", "window": window,
                                    "on-error": RETRY, **processor}))


def two(function):
    streams = "".join(stream(name, **TEXT) for name in ("left", "right", "doubled", "sums", "failed"))
    return (LOCAL + streams + section("function f", {"invoker": "command", **function}) +
            section("processor p", {"function": "f", "input": "left@earliest, right@earliest",
                                    "output": "doubled, sums", "window": "count 4",
                                    "on-error": RETRY.replace("skip", "dead-letter failed")}))


def payloads(records):
    return [r["payload"] for r in records]


def children(pid):
    """The processes whose parent it is."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/stat" % name) as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(pid):
            found.append((int(name), fields[0]))
    return found


def the_child(i):
    """The one that runs; a child that was killed may not be reaped yet."""
    def alive():
        return [pid for pid, state in children(i.daemon.pid) if state not in "ZX"]
    i.wait_for("there is one child", lambda: len(alive()) == 1)
    return alive()[0]


def calls_open(i):
    tasks = i.status("p")["tasks"]
    return tasks[0]["callsOpen"] if tasks else 0


def window(i, left, right):
    i.publish("left", left)
    i.publish("right", right)


def skeleton(command, form):
    """Three windows of two inputs, two outputs, a window that is retried, one whose records become dead
    letters, and a program that is killed in the middle of one."""
    with Instance(two({"command": command, "mode": "coprocess", "format": form})) as i:
        i.start()
        window(i, ["1", "2"], ["3", "4"])
        assert sorted(payloads(i.read("doubled", 4))) == ["2", "4", "6", "8"]
        assert payloads(i.read("sums", 1)) == ["10"]
        window(i, ["busy", "10"], ["20", "30"])
        assert payloads(i.read("sums", 2))[1:] == ["60"]
        assert i.status("p")["tasks"][0]["retries"] == 1
        # It stands still with a window in its hands, and dies.
        child = the_child(i)
        os.kill(child, signal.SIGSTOP)
        window(i, ["5", "6"], ["7", "8"])
        i.wait_for("the window is with the program", lambda: calls_open(i) == 1)
        os.kill(child, signal.SIGKILL)
        assert payloads(i.read("sums", 3))[2:] == ["26"]
        assert the_child(i) != child
        assert i.status("p")["tasks"][0]["retries"] == 2
        # Not a number: no retry helps, and the next window has nothing of it.
        window(i, ["1", "x"], ["2", "3"])
        window(i, ["1", "1"], ["1", "1"])
        assert payloads(i.read("sums", 4))[3:] == ["4"]
        failed = i.read("failed", 4)
        assert sorted(payloads(failed)) == ["1", "2", "3", "x"], failed
        assert all("ended the window with status 1" in r["headers"]["riffle-error"] for r in failed), failed
        i.wait_until_committed("p")
        assert i.status("p")["tasks"][0]["retries"] == 2
        child = the_child(i)
        assert i.stop() == 0
        assert not os.path.exists("/proc/%d" % child), "the program outlived the daemon"


def needs(tool):
    if shutil.which(tool) is None:
        if os.environ.get("REQUIRE_" + tool.upper()):
            raise AssertionError(tool + " is not installed")
        raise Skip(tool + " is not installed")


def the_python_skeleton():
    skeleton("python3 " + os.path.join(EXAMPLES, "sums.py"), "frames")


def the_c_skeleton():
    with tempfile.TemporaryDirectory(prefix="riffle-e2e-") as top:
        built = os.path.join(top, "sums")
        subprocess.run(["cc", "-O2", "-o", built, os.path.join(EXAMPLES, "sums.c")], check=True)
        skeleton(built, "frames")


def the_shell_skeleton():
    needs("jq")
    skeleton("sh " + os.path.join(EXAMPLES, "sums.sh"), "json-lines")


def the_node_skeleton():
    needs("node")
    skeleton("node " + os.path.join(EXAMPLES, "sums.js"), "json-lines")


def the_go_skeleton():
    needs("go")
    with tempfile.TemporaryDirectory(prefix="riffle-e2e-") as top:
        built = os.path.join(top, "sums")
        subprocess.run(["go", "build", "-o", built, os.path.join(EXAMPLES, "sums.go")], check=True,
                       env=dict(os.environ, GOFLAGS="-mod=mod", GO111MODULE="off"))
        skeleton(built, "json-lines")


def every_skeleton_is_under_thirty_lines():
    for name in os.listdir(EXAMPLES):
        with open(os.path.join(EXAMPLES, name)) as source:
            lines = len(source.readlines())
        assert lines < 30, "%s has %d lines" % (name, lines)


def per_window_with_json_lines_names_inputs_and_outputs():
    # An object for each record on stdin, the end of stdin is the end of the window.
    script = ('jq -c \'{output: (if .input == "left" then "doubled" else "sums" end), key, headers, '
              'value: (.value + "!")}\'')
    needs("jq")
    with Instance(two({"command": quoted(script), "shell": "yes", "format": "json-lines"})) as i:
        i.start()
        i.cli("publish", "left", "-p", "a", "-k", "k1", "--header", "h:v")
        window(i, ["b"], ["c", "d"])
        assert payloads(i.read("sums", 2)) == ["c!", "d!"]
        out = i.read("doubled", 2)
        assert payloads(out) == ["a!", "b!"], out
        assert out[0]["headers"] == {"h": "v"}, out


def per_record_replies_in_order():
    script = "read x; sleep 0.0$((9 - x)); printf '%s from %s' $x $RIFFLE_INPUT"
    text = one({"command": quoted(script), "shell": "yes", "mode": "per-record", "processes": "4"}, "count 8")
    with Instance(text) as i:
        i.start()
        i.publish("in", ["%d" % n for n in range(1, 9)])
        assert payloads(i.read("out", 8)) == ["%d from in" % n for n in range(1, 9)]


# Says back each record with the attempt, at once, and how many there were when the window is over.
AT_ONCE = ("import json, sys\n"
           "def say(**line): print(json.dumps(line), flush=True)\n"
           "for line in sys.stdin:\n"
           "  m = json.loads(line)\n"
           "  if m['type'] == 'start': start, count, failed = m, 0, False\n"
           "  if m['type'] == 'record' and not failed:\n"
           "    count += 1\n"
           "    say(value='%s/%d' % (m['value'], start['attempt']))\n"
           "    failed = m['value'] == 'done' or m['value'] == 'fail' and start['attempt'] == 1\n"
           "    if failed: say(type='status', window=start['window'], status=75 if m['value'] == 'fail' else 0)\n"
           "  if m['type'] == 'end' and not failed:\n"
           "    say(value='%d records' % count)\n"
           "    say(type='status', window=start['window'], status=0)\n")


@contextlib.contextmanager
def at_once(runtime="", window="count 3", more=""):
    """Windows answered while they are open."""
    function = {"command": "python3 at_once.py", "mode": "coprocess", "format": "json-lines", "restart": "10ms"}
    with Instance("") as i:
        with open(os.path.join(i.dir, "at_once.py"), "w") as out:
            out.write(AT_ONCE)
        i.write(runtime + one({**function, "dir": i.dir}, window, delivery="stream") + more)
        i.start()
        yield i


def windows_done(i):
    return i.task("p")["windowsDone"]


def answers_are_heard_while_their_window_is_open():
    with at_once() as i:
        i.publish("in", ["a", "b"])
        assert payloads(i.read("out", 2)) == ["a/1", "b/1"]
        assert (calls_open(i), windows_done(i)) == (1, 0)
        i.publish("in", ["c"])
        assert payloads(i.read("out", 4))[2:] == ["c/1", "3 records"]
        i.wait_until_committed("p")
        assert windows_done(i) == 1


def a_call_that_fails_while_its_window_is_open_gets_all_records_again():
    with at_once() as i:
        i.publish("in", ["a", "fail"])
        # What was answered before it failed is out already: at least once.
        assert payloads(i.read("out", 4)) == ["a/1", "fail/1", "a/2", "fail/2"]
        assert (windows_done(i), i.task("p")["retries"]) == (0, 1)
        i.publish("in", ["c"])
        assert payloads(i.read("out", 6))[4:] == ["c/2", "3 records"]
        # A program that dies under an open window has a successor that gets all of it too.
        i.publish("in", ["d", "e"])
        assert payloads(i.read("out", 8))[6:] == ["d/1", "e/1"]
        os.kill(the_child(i), signal.SIGKILL)
        assert payloads(i.read("out", 10))[8:] == ["d/2", "e/2"]
        i.publish("in", ["f"])
        assert payloads(i.read("out", 12))[10:] == ["f/2", "3 records"]
        i.wait_until_committed("p")
        assert (windows_done(i), i.task("p")["retries"]) == (2, 2)
        assert i.stop() == 0


def a_status_before_the_window_is_over_fails_it():
    with at_once() as i:
        i.publish("in", ["a", "done"])
        i.wait_for("the call has ended", lambda: calls_open(i) == 0)
        i.publish("in", ["c", "d", "e", "f"])
        i.wait_until_committed("p")
        assert "the function ended before its window" in i.logged(), i.logged()
        assert payloads(i.read_all("out"))[-4:] == ["d/1", "e/1", "f/1", "3 records"]


def templates_become_arguments():
    with Instance(one({"command": "printf %s/%s %{attempt} %{pane}"})) as i:
        i.start()
        i.publish("in", ["a", "b"])
        assert payloads(i.read("out", 1)) == ["1/final"]


def a_pair_that_cannot_work_is_refused():
    with Instance(one({"command": "cat", "mode": "coprocess", "format": "lines"})) as i:
        done = i.run("check")
        assert done.returncode == 78 and "a coprocess must be told where a window starts" in done.stderr, done
    with Instance(one({"command": "cat", "mode": "per-record", "format": "frames"})) as i:
        assert i.run("check").returncode == 78
    with Instance(two({"command": "cat"})) as i:
        done = i.run("run")
        assert done.returncode != 0 and "cannot tell several inputs apart" in done.stderr, done


def an_interpreter_for_each_window_is_a_warning():
    with Instance(one({"command": "python3 x.py"})) as i:
        done = i.run("check")
        assert done.returncode == 0 and "an interpreter takes tens of milliseconds" in done.stderr, done


HELLO = ("import sys, struct, time, os, signal\n"
         "o, n = sys.stdout.buffer, sys.stdin.buffer\n"
         "def send(b): o.write(struct.pack('>I', len(b)) + b); o.flush()\n"
         "send(b'hRFLF' + struct.pack('>I', 1))\n"
         "def frame(): return n.read(struct.unpack('>I', n.read(4))[0])\n"
         "frame()\n"
         "while True:\n"
         "  f = frame()\n"
         "  if f[:1] == b'S': w, bad = f[1:5], 0\n"
         "  if f[:1] == b'R' and f.endswith(b'bad'): bad = 1\n"
         "  if f[:1] == b'R' and not bad: send(b'o' + f[1:])\n"
         "  if f[:1] == b'E' and not bad: send(b'd' + w + struct.pack('>II', 0, 0))\n"
         "  if f[:1] == b'E' and bad:\n"
         "    ")


def survives(misdeed, says, retries=0, rounds=3, **function):
    """The window that makes the program misbehave is given up, with the reason; those around it are not."""
    with tempfile.TemporaryDirectory(prefix="riffle-e2e-") as top:
        path = os.path.join(top, "hostile.py")
        with open(path, "w") as out:
            out.write(HELLO + misdeed + "\n")
        text = one({"command": "python3 " + path, "format": "frames", "grace": "50ms", "timeout": "20s",
                    "restart": "10ms", "restart-max": "50ms", **function}, **{"on-error": "retry 3 backoff 10ms..20ms then skip", "outputs": "at-status"})
        text += (stream("in2", **TEXT) + stream("out2", **TEXT) + section("function g", {"invoker": "passthrough"}) +
                 section("processor q", {"function": "g", "input": "in2@earliest", "output": "out2", "window": "count 1"}))
        with Instance(text) as i:
            i.start()
            for number in range(rounds):
                i.publish("in", ["a%d" % number, "b%d" % number])
                i.publish("in", ["x", "bad"])
            i.publish("in2", ["still", "here"])
            assert payloads(i.read("out2", 2)) == ["still", "here"]
            i.publish("in", ["last", "one"])

            i.wait_until_committed("p")
            # Windows overtake one that is tried again; each counts once all the same.
            good = sorted(p for p in payloads(i.read_all("out")) if p != "x")
            assert good == [*("%s%d" % (c, n) for c in "ab" for n in range(rounds)), "last", "one"], good
            assert says in i.logged(), i.logged()[-3000:]
            assert i.status("p")["tasks"][0]["retries"] == rounds * retries, i.logged()
            assert [c for c in children(i.daemon.pid) if c[1] in "ZX"] == [], "a zombie"
            assert i.stop() == 0


def a_program_that_dies_on_a_window_twice_is_not_asked_a_third_time():
    survives("os.kill(os.getpid(), signal.SIGKILL)", "on this window twice: 'python3' was killed by SIGKILL", retries=1)


def a_program_that_writes_no_frame():
    survives("o.write(b'Traceback'); o.flush()", "answers a frame of 1416782179 bytes, max-record is")


def a_program_that_writes_half_a_frame_and_ends():
    survives("o.write(b'\\0\\0\\0\\x40o'); o.flush(); sys.exit(0)", "on this window twice: 'python3' ended", retries=1)


def a_program_that_answers_where_there_is_no_output():
    survives("send(b'o' + struct.pack('>I', 7) + bytes(8) + b'\\xff' * 8 + bytes(4) + b'\\xff' * 4)",
             "answers on output 7, the processor has 1")


def a_program_that_never_answers():
    # Longer than a sound program takes to start and answer.
    survives("time.sleep(1000)", "did not end within timeout", retries=3, rounds=1, timeout="4s")


def a_program_that_ignores_sigterm_and_floods():
    survives("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
             "    while True: o.write(b'\\0\\0\\0\\x1do\\0\\0\\0\\0' + bytes(8) + b'\\xff' * 8 + bytes(8))",
             "answers more than max-output = 1048576 bytes for one window", **{"max-output": "1MiB"})


def a_program_that_closes_its_output():
    survives("os.close(1); time.sleep(1000)", "closed its output, and goes on")


def a_program_that_leaves_a_grandchild_with_its_pipes():
    survives("os.fork() and os._exit(3); time.sleep(1000)", "exit status 3", retries=1)


def children_die_with_a_daemon_that_is_killed():
    with Instance(one({"command": program("import time; time.sleep(1000)"), "format": "frames"})) as i:
        i.start(ready=False)
        child = the_child(i)
        i.stop(signal.SIGKILL)
        i.wait_for("the child is gone", lambda: not os.path.exists("/proc/%d" % child) or
                   open("/proc/%d/stat" % child).read().rpartition(")")[2].split()[0] in "ZX")


def windows_that_wait_for_an_open_one_are_told_of():
    """The open window of one partition has the only program; those of the other are over, and wait."""
    function = {"command": "python3 %s" % os.path.join(EXAMPLES, "sums.py"), "mode": "coprocess"}
    text = two(function).replace(stream("left", **TEXT), stream("left", partitions=2, **TEXT))
    with Instance(text.replace(stream("right", **TEXT), stream("right", partitions=2, **TEXT))) as i:
        i.start()
        i.cli("publish", "left", "-p", "1", "--partition", "0")
        i.wait_for("the window is open", lambda: i.task("p", 0)["windowsOpen"] == 1)
        for _ in range(8):
            i.cli("publish", "left", "-p", "10", "--partition", "1")
        i.wait_for("it is told", lambda: "windows wait: each of processes = 1 is at one that is still open" in i.logged())
        for _ in range(3):
            i.cli("publish", "right", "-p", "1", "--partition", "0")
        assert sorted(r["payload"] for r in i.read("sums", 3)) == ["4", "40", "40"]
        assert i.logged().count("windows wait:") == 1, i.logged()
        assert i.stop() == 0


def the_status_says_why_a_program_is_not_ready():
    with Instance(one({"command": program("import sys; sys.exit(4)"), "format": "frames", "restart": "10ms"})) as i:
        i.start(ready=False)
        i.wait_for("the status has the exit status", lambda: "ended with exit status 4" in i.run("health").stderr)
        i.publish("in", ["a", "b"])
        i.wait_for("the window waits", lambda: "before it said hello" in i.logged())
        assert i.stop() == 0


def sleeps_of_the_invokers_thread(i):
    """How often it has gone to sleep by itself."""
    for task in os.listdir("/proc/%d/task" % i.daemon.pid):
        with open("/proc/%d/task/%s/status" % (i.daemon.pid, task)) as status:
            lines = dict(line.split(":", 1) for line in status)
        if lines["Name"].strip() == "rfl-command":
            return int(lines["voluntary_ctxt_switches"])
    raise AssertionError("there is no such thread")


def sleeps_over_windows(runtime, more):
    """Of the invoker's thread, over twenty windows one after another."""
    with at_once(runtime, "count 1", more) as i:
        i.publish("in", ["0"])
        i.read("out", 2)
        before = sleeps_of_the_invokers_thread(i)
        for n in range(1, 21):
            i.publish("in", [str(n)])
            i.read("out", 2 * n + 2)
        return sleeps_of_the_invokers_thread(i) - before


def a_function_is_run_by_the_only_worker_that_calls_it():
    other = stream("in2", **TEXT) + section("processor p2", {
        "function": "f", "input": "in2@earliest", "output": "out", "window": "count 1"})
    assert sleeps_over_windows("", "") < 5
    assert sleeps_over_windows("", other) < 5
    assert sleeps_over_windows("[runtime]\nworkers = 2\n", other) >= 20


main([
    the_python_skeleton,
    the_c_skeleton,
    the_shell_skeleton,
    the_node_skeleton,
    the_go_skeleton,
    every_skeleton_is_under_thirty_lines,
    per_window_with_json_lines_names_inputs_and_outputs,
    per_record_replies_in_order,
    answers_are_heard_while_their_window_is_open,
    a_call_that_fails_while_its_window_is_open_gets_all_records_again,
    a_status_before_the_window_is_over_fails_it,
    templates_become_arguments,
    a_pair_that_cannot_work_is_refused,
    an_interpreter_for_each_window_is_a_warning,
    a_program_that_dies_on_a_window_twice_is_not_asked_a_third_time,
    a_program_that_writes_no_frame,
    a_program_that_writes_half_a_frame_and_ends,
    a_program_that_answers_where_there_is_no_output,
    a_program_that_never_answers,
    a_program_that_ignores_sigterm_and_floods,
    a_program_that_closes_its_output,
    a_program_that_leaves_a_grandchild_with_its_pipes,
    children_die_with_a_daemon_that_is_killed,
    windows_that_wait_for_an_open_one_are_told_of,
    the_status_says_why_a_program_is_not_ready,
    a_function_is_run_by_the_only_worker_that_calls_it,
])
