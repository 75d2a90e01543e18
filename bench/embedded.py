"""The runtime and the log on the embedded provider."""
import os
import statistics
import subprocess
import tempfile
import time

from bed import BUILD, ask, numbers, save, spread, start

CONFIG = """
[runtime]
admin = unix:{dir}/s
commit-interval = 0
memory = {memory}
guard = {guard}
[provider local]
type = local
[stream in]
provider = local
content-type = text/plain
[stream out]
provider = local
content-type = text/plain
[function same]
invoker = passthrough
[processor copy]
function = same
input = in@earliest
output = out
window = none
max-records = {batch}
guarantee = exactly-once
"""


def raw_run(records, batch):
    """(records a second, CPU seconds per million, peak MiB) of the bare loop."""
    with tempfile.TemporaryDirectory(dir=BUILD) as top:
        program = os.path.join(BUILD, "bench/raw_local")
        subprocess.run([program, "load", top + "/log", str(records)], check=True)
        words = subprocess.run([program, "run", top + "/log", str(batch)], check=True,
                               capture_output=True, text=True).stdout.split()
    done, seconds, cpu, rss = int(words[0]), float(words[1]), float(words[2]), int(words[3])
    assert done == records, words
    return done / seconds, cpu / done * 1e6, rss / 1024, batch


def ours_run(records, batch, memory, guard="normal"):
    """The same of the daemon, from its start to the last position committed, and records a transaction."""
    with tempfile.TemporaryDirectory(dir=BUILD) as top:
        file = os.path.join(top, "riffle.ini")
        with open(file, "w") as out:
            out.write(CONFIG.format(dir=top, batch=batch, memory=memory, guard=guard))
        plugins = ":".join(os.path.join(BUILD, d) for d in
                           ("plugins/local/.libs", "plugins/invoker-command/.libs", "bench/.libs"))
        env = dict(os.environ, RIFFLE_PLUGIN_DIR=plugins, STATE_DIRECTORY=os.path.join(top, "state"))
        riffle = os.path.join(BUILD, "riffle")
        load = subprocess.Popen([riffle, "publish", "in", "-c", file, "-l"], env=env, stdin=subprocess.PIPE)
        for n in range(0, records, 10000):
            load.stdin.write(b"".join(b"%019dx" % i + b"x" * 80 + b"\n" for i in range(n, min(n + 10000, records))))
        load.stdin.close()
        assert load.wait() == 0
        # The daemon says itself, by its first and last committed position, when the work was done.
        begin = time.monotonic()
        daemon = subprocess.Popen([riffle, "run", "-c", file], env=env, stderr=subprocess.DEVNULL)
        status = None
        while True:
            tasks = ask(top + "/s")
            now = time.monotonic()
            if tasks:
                status = tasks[0]
                if status["lanes"][0]["committed"] == records:
                    break
            assert now - begin < 300, status
            time.sleep(0.002)
        seconds = now - begin
        daemon.terminate()
        _, code, usage = os.wait4(daemon.pid, 0)
        assert code == 0 and status["recordsOut"] == records, (code, status)
    return (records / seconds, (usage.ru_utime + usage.ru_stime) / records * 1e6, usage.ru_maxrss / 1024,
            records / status["commits"])


HEAD = """# Results

`bench/run local --records {records} --runs {runs}` on one machine with {cores} cores, in one run: exactly-once on
`local`, `window = none`, a pass-through function, values of 100 bytes, every transaction synced, against
the bare LMDB loop that commits each batch. The daemon's start-up is in its time. Medians; a ratio is that of two
runs one after the other.

While one transaction is being synced riffle reads on, so that the next holds all that came meanwhile.
With `memory = 64KiB` it may not: about one batch is then in a transaction, as in the loop.
"""


def local(options):
    text = HEAD.format(records=options.records, runs=options.runs, cores=os.cpu_count())
    for batch in options.batch:
        records = options.records if batch >= 1000 else options.records // 4
        sides = {"bare loop": lambda: raw_run(records, batch),
                 "riffle": lambda: ours_run(records, batch, "64MiB"),
                 "riffle, memory = 64KiB": lambda: ours_run(records, batch, "64KiB")}
        runs = [{name: side() for name, side in sides.items()} for _ in range(options.runs)]
        text += "\n## Batches of %d, %d records\n\n" % (batch, records)
        text += "| | records/s | ratio (from, to) | CPU s per million | peak RSS MiB | records a transaction |\n"
        text += "|---|---|---|---|---|---|\n"
        for name in sides:
            ratios = sorted(run[name][0] / run["bare loop"][0] for run in runs)
            rate, cpu, rss, size = (statistics.median(run[name][k] for run in runs) for k in range(4))
            text += "| %s | %.0f | %.2f (%.2f, %.2f) | %.2f | %.0f | %.0f |\n" % (
                name, rate, statistics.median(ratios), ratios[0], ratios[-1], cpu, rss, size)
    save("local", text)


GUARD = """# What the guard costs

`bench/run guard --records {records} --runs {runs}` on one machine with {cores} cores, in one run: exactly-once on
`local`, `window = none`, batches of 100, a pass-through function: three plugin instances' worth of guarded calls a
batch. `debug` copies what it lends. CPU seconds of the whole daemon; the ratio is that of two runs one after the other.

| guard | CPU s per million | ratio to off (from, to) | ns a record more |
|---|---|---|---|
"""


def guard(options):
    text = GUARD.format(records=options.records, runs=options.runs, cores=os.cpu_count())
    modes = ("off", "normal", "debug")
    runs = [{m: ours_run(options.records, 100, "64MiB", m)[1] for m in modes} for _ in range(options.runs)]
    for m in modes:
        ratios = sorted(run[m] / run["off"] for run in runs)
        more = statistics.median(run[m] - run["off"] for run in runs) * 1000
        text += "| %s | %.3f | %.2f (%.2f, %.2f) | %.0f |\n" % (
            m, statistics.median(run[m] for run in runs), statistics.median(ratios), ratios[0], ratios[-1], more)
    save("guard", text)


def three(program, records, *arguments):
    """(records a second of the writer, of the slower of two readers that follow it)."""
    with tempfile.TemporaryDirectory(dir=BUILD) as top:
        numbers(start(program, "append", top + "/log", 0, *arguments))
        followers = [start(program, "follow", top + "/log", records) for _ in range(2)]
        writer = numbers(start(program, "append", top + "/log", records, *arguments))
        return records / writer[1], min(records / numbers(f)[1] for f in followers)


def append_run(records, retention):
    """(records a second, CPU seconds per million, records that retention took)."""
    with tempfile.TemporaryDirectory(dir=BUILD) as top:
        done, seconds, cpu, first = numbers(
            start("log_local", "append", top + "/log", records, 1000, retention))
        return done / seconds, cpu / done * 1e6, first


def ping_run(count, durability):
    """Microseconds from the send to its acknowledgement, and to the read in another process: median, 99th percentile."""
    with tempfile.TemporaryDirectory(dir=BUILD) as top:
        numbers(start("log_local", "append", top + "/log", 0, 1, 0))
        pong = start("log_local", "pong", top + "/log", count)
        acknowledged = numbers(start("log_local", "ping", top + "/log", count, durability))
        return acknowledged[1:] + numbers(pong)[1:]


LOG_HEAD = """# The embedded log by itself

`bench/run log --records {records} --runs {runs}` on one machine with {cores} cores, in one run: values of 100 bytes,
every commit synced; medians, from and to in brackets. A ratio is that of two runs one after the other.
"""


def log(options):
    n = options.records
    # Enough of it goes that a million records are dropped, or nearly all where there are fewer.
    kept = max(n - 1000000, n // 10) * 120
    runs = [(three("raw_local", n), three("log_local", n, 1000, 0), append_run(n, 0),
             append_run(n, kept), ping_run(1000, 0), ping_run(1000, 2)) for _ in range(options.runs)]
    raw, ours, plain, clean, synced, unsynced = zip(*runs)
    text = LOG_HEAD.format(records=n, runs=options.runs, cores=os.cpu_count())
    text += "\n## One writer and two readers, three processes\n\n"
    text += "| | writer, records/s | slower reader, records/s |\n|---|---|---|\n"
    for name, side in (("bare LMDB, 4000 a commit", raw), ("riffle, eight sends of 1000 under way", ours)):
        text += "| %s | %s | %s |\n" % (name, spread([r[0] for r in side], "%.0f"),
                                       spread([r[1] for r in side], "%.0f"))
    text += "| ratio | %s | %s |\n" % tuple(
        spread([o[k] / r[k] for o, r in zip(ours, raw)], "%.2f") for k in range(2))
    text += "\n## Retention\n\n| | records/s | CPU s per million | records dropped |\n|---|---|---|---|\n"
    for name, side in (("without", plain), ("with", clean)):
        text += "| %s | %s | %s | %.0f |\n" % (
            name, spread([r[0] for r in side], "%.0f"), spread([r[1] for r in side], "%.3f"),
            statistics.median(r[2] for r in side))
    text += "| cost | %s %% | %s %% | |\n" % (
        spread([100 * (1 - c[0] / p[0]) for c, p in zip(clean, plain)], "%.1f"),
        spread([100 * (c[1] / p[1] - 1) for c, p in zip(clean, plain)], "%.1f"))
    text += "\n## A record's way to a reader in another process, 1000 records, microseconds\n\n"
    text += "| durability | acknowledged, median | 99th percentile | read, median | 99th percentile |\n"
    text += "|---|---|---|---|---|\n"
    for name, side in (("sync", synced), ("none", unsynced)):
        text += "| %s | %s |\n" % (name, " | ".join(
            spread([r[k] for r in side], "%.0f") for k in range(4)))
    save("log", text)
