"""The invokers alone, against what is bare."""
import contextlib
import os
import statistics
import subprocess

from bed import BUILD, save, spread

COMMAND_HEAD = """# The command invoker

`bench/run command --records {records} --runs {runs}` on one machine with {cores} cores, in one run. A coprocess that says
back records of 100 bytes in windows of 1000, given and read by the invoker on its host's thread, as the runtime's worker does it,
against the same program fed and read by a bare `poll` loop that writes ready-made bytes, small windows many at a time, never waits for a
window's end, and only counts what comes back. The program is one in C (stdio, one flush a window), or one in Python. Then per-window, one after another, against bare posix_spawn and wait of the
same program. Medians; a ratio is that of two runs one after the other. On one core: all threads and the program of either side
held to the same one, so that nobody is woken on another. Cores kept awake: an endless loop of the idle class beside either side on each
core, since to wake one that sleeps takes long where the machine is a virtual one.
"""
PYTHON_ECHO = {
    "frames": """import struct, sys
i, o = sys.stdin.buffer, sys.stdout.buffer
o.write(b'\\0\\0\\0\\x09hRFLF\\0\\0\\0\\x01'); o.flush()
while head := i.read(4):
    f = i.read(struct.unpack('>I', head)[0])
    if f[:1] == b'R': o.write(head + b'o' + f[1:])
    if f[:1] == b'E': o.write(b'\\0\\0\\0\\x0dd' + f[1:] + bytes(4) + b'\\xff' * 4); o.flush()
""",
    "json-lines": """import json, sys
for line in sys.stdin:
    m = json.loads(line)
    if m['type'] == 'record': sys.stdout.write(json.dumps({'value': m['value']}) + '\\n')
    if m['type'] == 'end': sys.stdout.write(json.dumps({'type': 'status', 'window': m['window'], 'status': 0}) + '\\n'); sys.stdout.flush()
"""}


def raw_command(*words, held=()):
    """(a second, CPU seconds per million of the side that gives and takes)"""
    done = subprocess.run([*held, os.path.join(BUILD, "bench/raw_command"), *words], check=True, capture_output=True, text=True)
    count, seconds, cpu = (float(word) for word in done.stdout.split())
    return count / seconds, cpu / count * 1e6


def compare(title, runs, bare, ours):
    pairs = [(bare(), ours()) for _ in range(runs)]
    ratios = sorted(b[0] / a[0] for a, b in pairs)
    a, b = ([statistics.median(pair[side][k] for pair in pairs) for k in range(2)] for side in range(2))
    return "| %s | %.0f | %.0f | %.2f (%.2f, %.2f) | %.2f | %.2f |\n" % (
        title, a[0], b[0], statistics.median(ratios), ratios[0], ratios[-1], a[1], b[1])


@contextlib.contextmanager
def cores_awake():
    """No core goes to sleep for want of work: each has some that gives way to all else."""
    loops = [subprocess.Popen(["chrt", "-i", "0", "sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count())]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def command(options):
    plugin = os.path.join(BUILD, "plugins/invoker-command/.libs/invoker-command.so")
    program = os.path.join(BUILD, "bench/raw_command")
    one_core = ("taskset", "-c", str(min(os.sched_getaffinity(0))))
    text = COMMAND_HEAD.format(records=options.records, runs=options.runs, cores=os.cpu_count())
    text += "\n| | bare, a second | riffle, a second | ratio (from, to) | bare, CPU s per million | riffle, CPU s per million |\n"
    text += "|---|---|---|---|---|---|\n"

    def row(title, form, words, records, window=1000, held=()):
        return compare(title, options.runs,
                       lambda: raw_command("loop", form, str(records), str(window), *words, held=held),
                       lambda: raw_command("riffle", plugin, form, str(records), str(window), *words, held=held))

    for form in ("frames", "json-lines"):
        echo = [program, "echo", form]
        text += row(form + ", C, records", form, echo, options.records)
        text += row(form + ", C, on one core, records", form, echo, options.records, held=one_core)
        with cores_awake():
            text += row(form + ", C, cores kept awake, records", form, echo, options.records)
        text += row(form + ", Python, records", form, ["python3", "-c", PYTHON_ECHO[form]], options.records // 8)
    echo = [program, "echo", "frames"]
    for window in (10, 1):
        words = ("frames", echo, options.records * window // 400, window)
        text += row("frames, C, windows of %d, records" % window, *words)
        with cores_awake():
            text += row("frames, C, windows of %d, cores kept awake, records" % window, *words)
    starts = max(options.records // 4000, 100)
    for words in (["true"], ["cat"]):
        text += compare("per-window, %s, starts" % words[0], options.runs, lambda: raw_command("spawn", str(starts), *words),
                        lambda: raw_command("spawn-riffle", plugin, str(starts), *words))
    save("command", text)


ECHO_HEAD = """# Results of the grpc invoker

`bench/run grpc-echo --records {records} --runs {runs}` on one machine with {cores} cores, in one run: the invoker alone
(a host that hands it batches of 1000 and throws the answers away) against the bare C core with the drain rule
and protobuf-c, same frames, same echo server, values of {bytes} bytes, {in_flight} in flight, one call. Connecting is in the
time. Medians; a ratio is that of two runs one after the other, above 1 where the invoker is better.
{load}
"""


def echo_side(command):
    """(records a second, CPU microseconds a record, peak MiB)."""
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    done, seconds, cpu, rss = int(words[0]), float(words[1]), float(words[2]), int(words[3])
    return done / seconds, cpu / done * 1e6, rss / 1024


def grpc_echo(options):
    raw = os.path.join(BUILD, "bench/raw_grpc")
    ours = [os.path.join(BUILD, "bench/invoker_grpc"), os.path.join(BUILD, "plugins/invoker-grpc/.libs/invoker-grpc.so")]
    server = subprocess.Popen([raw, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        words = [server.stdout.readline().strip(), str(options.records), str(options.bytes), str(options.in_flight)]
        runs = [(echo_side([raw, "run", *words]), echo_side([*ours, *words])) for _ in range(options.runs)]
    finally:
        server.kill()
        server.wait()
    text = ECHO_HEAD.format(records=options.records, runs=options.runs, cores=os.cpu_count(), bytes=options.bytes,
                            in_flight=options.in_flight, load="Load average of the machine meanwhile: %.1f." % os.getloadavg()[0])
    text += "\n| | records/s | CPU us a record | peak RSS MiB |\n|---|---|---|---|\n"
    for k, name in enumerate(("bare C core", "the invoker")):
        text += "| %s | %.0f | %.2f | %.0f |\n" % (name, *(statistics.median(run[k][i] for run in runs) for i in range(3)))
    text += "\nRatio of rates %s, of CPU a record %s.\n" % (spread([b[0] / a[0] for a, b in runs], "%.2f"),
                                                           spread([a[1] / b[1] for a, b in runs], "%.2f"))
    save("grpc-echo", text)
