"""Hostile programs in a loop, RIFFLE_HOSTILE_SECONDS long (60): no zombie, no descriptor, no memory is left behind.

One daemon, a processor for each mode; each window makes its program misbehave in another way, by its number. Beside them an
honest processor must answer all the time. Descriptors, children and memory are compared after the first fifth and at the end."""
import os
import time

from rig import LOCAL, Instance, main, section, stream

SECONDS = int(os.environ.get("RIFFLE_HOSTILE_SECONDS", "60"))
TEXT = {"content_type": "text/plain"}

# A program by the letter that is its window's value. The first line of each is how it ends one that is good.
FRAMES = """
import os, signal, struct, sys, time
o, i = sys.stdout.buffer, sys.stdin.buffer
def put(b): o.write(b); o.flush()
def send(b): put(struct.pack('>I', len(b)) + b)
def text(s): return struct.pack('>I', len(s)) + s
def say(s): send(b'o' + struct.pack('>Iq', 0, -2**63) + b'\\xff' * 8 + bytes(4) + text(s))
def frame():
    n = i.read(4)
    return i.read(struct.unpack('>I', n)[0]) if n else sys.exit(0)
put(struct.pack('>I', 9) + b'hRFLF' + struct.pack('>I', 1))
frame()
while True:
    f = frame()
    if f[:1] == b'S': w, deed = f[1:5], 0
    if f[:1] == b'R': deed = int(f[-2:]) % 14
    if f[:1] != b'E': continue
    if deed == 0: say(b'fine'); send(b'd' + w + struct.pack('>I', 0) + text(b''))
    elif deed == 1: os.kill(os.getpid(), signal.SIGKILL)
    elif deed == 2: put(b'no frame at all, and quite a lot of it')
    elif deed == 3: put(b'\\0\\0\\1\\0o'); os._exit(0)
    elif deed == 4: send(b'o' + struct.pack('>Iq', 9, 0) + b'\\xff' * 8 + bytes(4) + text(b'x'))
    elif deed == 5:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: o.write(b'\\0\\0\\0\\x1do\\0\\0\\0\\0' + bytes(8) + b'\\xff' * 8 + bytes(8))
    elif deed == 6: os.close(1); time.sleep(1000)
    elif deed == 7: os.close(0); os.close(1); os.close(2); time.sleep(1000)
    elif deed == 8: os.fork() and os._exit(0); time.sleep(1000)
    elif deed == 9: signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)
    elif deed == 10: [os.write(2, b'x' * 65536) for _ in range(100)]; os._exit(75)
    elif deed == 11: os.setsid() if os.fork() == 0 else os._exit(3); time.sleep(5)
    elif deed == 12: put(b'\\0\\0\\0\\5d' + w)
    elif deed == 13: put(b'\\x7f\\xff\\xff\\xff' + bytes(1000000))
"""

SHELL = """
read n; n=${n#0}
case $((n % 9)) in
0) cat; echo fine;;
1) kill -9 $$;;
2) yes;;
3) head -c 3000000 /dev/zero;;
4) exec 1>&-; exec sleep 1000;;
5) sleep 1000 & exit 0;;
6) trap '' TERM; while :; do sleep 1000; done;;
7) yes >&2 | head -c 1;;
8) exec sleep 1000 <&-;;
esac
"""


def config(top):
    with open(os.path.join(top, "frames.py"), "w") as out:
        out.write(FRAMES)
    with open(os.path.join(top, "lines.sh"), "w") as out:
        out.write(SHELL)
    limits = {"invoker": "command", "timeout": "300ms", "grace": "50ms", "max-output": "1MiB", "max-line": "64KiB",
              "restart": "5ms", "restart-max": "20ms"}
    functions = {
        "frames": {"command": "python3 %s/frames.py" % top, "format": "frames", "processes": "2"},
        "window": {"command": "sh %s/lines.sh" % top},
        "record": {"command": "sh %s/lines.sh" % top, "mode": "per-record", "processes": "2"},
    }
    text = LOCAL + stream("out", **TEXT)
    for name, keys in functions.items():
        text += stream("in-" + name, **TEXT) + section("function " + name, {**limits, **keys})
        text += section("processor " + name, {
            "function": name, "input": "in-%s@earliest" % name, "output": "out", "window": "count 1", "calls": "4",
            "outputs": "at-status", "on-error": "retry 1 backoff 5ms..10ms then skip"})
    return text + stream("calm", **TEXT) + stream("answers", **TEXT) + section("function calm", {
        "invoker": "command", "command": "cat", "timeout": "30s"}) + section("processor calm", {
            "function": "calm", "input": "calm@earliest", "output": "answers", "window": "count 1"})


def children(pid):
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % name) as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(pid):
            found[int(name)] = fields[0]
    return found


def measure(pid):
    """(descriptors, resident KiB that are our own)"""
    with open("/proc/%d/status" % pid) as status:
        anonymous = next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
    return len(os.listdir("/proc/%d/fd" % pid)), anonymous


def is_quiet(i):
    return all(t["callsOpen"] == 0 and t["windowsOpen"] == 0 for name in ("frames", "window", "record", "calm")
               for t in i.status(name)["tasks"])


def hostile_programs_leave_nothing_behind():
    with Instance("") as i:
        i.write(config(i.dir))
        i.start()
        begin, number, calm, first = time.monotonic(), 0, 0, None
        while time.monotonic() - begin < SECONDS:
            lines = ["%02d" % ((number + n) % 100) for n in range(36)]
            number += len(lines)
            for name in ("in-frames", "in-window", "in-record"):
                i.publish(name, lines)
            calm += 1
            i.publish("calm", ["%d" % calm])
            i.wait_for("the round is over", lambda: is_quiet(i), limit=120)
            assert i.status("calm")["tasks"][0]["windowsDone"] == calm, "the honest processor is behind"
            if first is None and time.monotonic() - begin > SECONDS / 5:
                first = measure(i.daemon.pid)
        # Idle programs may still be starting again.
        i.wait_for("no zombie is left", lambda: "Z" not in children(i.daemon.pid).values(), limit=10)
        last = measure(i.daemon.pid)
        print("# %d windows of each hostile kind in %d s; descriptors %d, then %d; RssAnon %d KiB, then %d KiB"
              % (number, SECONDS, first[0], last[0], first[1], last[1]))
        # Two programs may be up, or one: four descriptors each.
        assert abs(last[0] - first[0]) <= 4, (first, last)
        assert last[1] < first[1] * 1.25 + 4096, (first, last)
        left = children(i.daemon.pid)
        assert i.stop() == 0
        assert not [pid for pid in left if os.path.exists("/proc/%d" % pid)], "programs outlived the daemon"


main([hostile_programs_leave_nothing_behind])
