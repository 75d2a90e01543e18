"""The window engine alone."""
import os
import statistics
import subprocess

from bed import BUILD, save, spread

WINDOW = """# The window engine alone

`bench/run window --records {records} --runs {runs}` on one machine with {cores} cores, one thread, CPU time: `rfl_window_add`
in batches of 256 records with 12-byte random keys, all entries there before, 16 bytes appended for each record; its
side's time holds the hash of the key and the filling in of the record. The bare loop is an open-addressing table
with its keys inline that appends to lists which double; in the roomy one the lists have all their room and
their memory was touched before. Medians; a ratio is that of two runs one after the other, more than 1 is faster than the loop.
"""
HOPPING = """
## Hopping, 6 panes, against tumbling

Assignment only; the window as long, the same keys. In order: times go up through the window. Spread: each record's
time is anywhere in the window, so that a key has 6 entries in use at once instead of 1. The ratio is that of the times.

| keys | times | tumbling ns a record | hopping ns a record | ratio (from, to) |
|---|---|---|---|---|
"""


def engine_run(side, entries, records):
    """(CPU ns a record, peak MiB) of one side in a process of its own."""
    words = subprocess.run([os.path.join(BUILD, "bench/window"), side, str(entries), str(records)],
                           check=True, capture_output=True, text=True).stdout.split()
    return float(words[0]), int(words[1]) / 1024


def window(options):
    text = WINDOW.format(records=options.records, runs=options.runs, cores=os.cpu_count())
    text += "\n| open entries | bare ns a record | roomy | engine | ratio to bare (from, to) | to roomy | engine's peak RSS MiB |\n"
    text += "|---|---|---|---|---|---|---|\n"
    sides = ("bare", "bare-roomy", "tumbling")
    for entries in (1000, 100000, 1000000):
        runs = [{side: engine_run(side, entries, options.records) for side in sides} for _ in range(options.runs)]
        times = [statistics.median(run[side][0] for run in runs) for side in sides]
        ratios = [spread([run[side][0] / run["tumbling"][0] for run in runs], "%.2f") for side in sides[:2]]
        text += "| %d | %.0f | %.0f | %.0f | %s | %s | %.0f |\n" % (
            entries, *times, *ratios, statistics.median(run["tumbling"][1] for run in runs))
    text += HOPPING
    for entries in (1000, 100000):
        for order, suffix in (("in order", ""), ("spread", "-spread")):
            runs = [[engine_run(kind + suffix, entries, options.records)[0] for kind in ("tumbling", "hopping")]
                    for _ in range(options.runs)]
            text += "| %d | %s | %.0f | %.0f | %s |\n" % (
                entries, order, statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs),
                spread([run[1] / run[0] for run in runs], "%.2f"))
    save("window", text)
