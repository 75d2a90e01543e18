"""Judges what came out of windows on event time against what lies in the logs they were made of: each record in each
of its windows once, or among the late ones once; nothing else. It needs lanes that are never idle.

Which records are late depends on how the lanes of a task were read, but not on more than that: a record may miss a
window only when its own lane had come past the window's end before, and whoever comes behind it in its lane misses
that window too."""
import base64
import collections
import re
import struct

from windows import windows_of

# A record of an input: lane is (stream, partition).
Came = collections.namedtuple("Came", "lane offset time_ms value")
# One that a function answered: window is (start, end), id is the output's.
Left = collections.namedtuple("Left", "window key id value")
ID = re.compile(r"([^/]+)/(\d+)/(-?\d+)-(-?\d+)/([^/]*)/([^/]+)/(\d+)((?:/\d+:\d+-\d+x\d+)+)$")


class Faults(dict):
    """What is wrong, by kind; the first few of each."""

    def add(self, kind, what):
        self.setdefault(kind, []).append(what)

    def __str__(self):
        return "; ".join("%d %s, %s" % (len(list_), kind, ", ".join(map(str, list_[:3])))
                         for kind, list_ in sorted(self.items())) or "nothing"


def accepted_in_lane(records, size_ms, slide_ms, disorder_ms, out, faults):
    """Judges the windows of one lane's records, in the order of the log; yields those that missed all of theirs."""
    mark_ms = None
    closed = set()
    for r in records:
        windows = windows_of(r.time_ms, size_ms, slide_ms)
        times = {w: out.get((r.value, w), 0) for w in windows}
        for w in windows:
            if times[w] > 1:
                faults.add("doubled", (r.value, w, times[w]))
            if times[w] == 0 and (mark_ms is None or w[1] > mark_ms):
                faults.add("lost", (r.value, w))
            if times[w] > 0 and w in closed:
                faults.add("out of order", (r.value, w))
            if times[w] == 0:
                closed.add(w)
        if not any(times.values()):
            yield r
        if mark_ms is None or r.time_ms - disorder_ms > mark_ms:
            mark_ms = r.time_ms - disorder_ms


def judge_ids(left, faults):
    """The outputs of a window come of one call: they are numbered without gaps, and made of the same records."""
    windows = collections.defaultdict(list)
    for r in left:
        at = ID.match(r.id)
        if at is None:
            faults.add("strange id", r.id)
            continue
        name, task, start, end, key, output, number, lanes = at.groups()
        if (int(start), int(end)) != r.window or key != r.key:
            faults.add("id of another window", r.id)
        windows[name, task, start, end, key, output].append((int(number), lanes))
    for window, found in windows.items():
        count = sum(int(n) for n in re.findall(r"x(\d+)", found[0][1]))
        if sorted(n for n, _ in found) != list(range(count)) or len({lanes for _, lanes in found}) != 1:
            faults.add("gap in sequence", (window, sorted(found)[:5]))


def judge(came, left, late, size_ms, slide_ms, disorder_ms, still_open=()):
    """Faults of what left, and of the values in late, given what came; records of still_open are in open windows."""
    faults = Faults()
    lanes = collections.defaultdict(list)
    for r in came:
        if r.value not in still_open:
            lanes[r.lane].append(r)
    out = collections.Counter((r.value, r.window) for r in left)
    known, missed = set(), set()
    for records in lanes.values():
        records.sort(key=lambda r: r.offset)
        for r in records:
            known.update((r.value, w) for w in windows_of(r.time_ms, size_ms, slide_ms))
        missed.update(r.value for r in accepted_in_lane(records, size_ms, slide_ms, disorder_ms, out, faults))
    for pair in out:
        if pair not in known:
            faults.add("out of nothing", pair)
    times = collections.Counter(late)
    for value in missed:
        if times[value] != 1:
            faults.add("lost late" if times[value] == 0 else "doubled late", value)
    for value in times:
        if value not in missed:
            faults.add("late and in a window", value)
    judge_ids(left, faults)
    return faults


# What a position's metadata holds beside its offset.
Tuple = collections.namedtuple("Tuple", "seq hw frontier_ms time_ms")


def tuple_of(metadata):
    seq, _, hw, frontier_ms, time_ms = struct.unpack_from("<IQqqq", base64.b64decode(metadata), 4)
    return Tuple(seq, hw, frontier_ms, time_ms)


def judge_commits(commits):
    """commits: (lane, metadata) in the order of the group's log. Each lane's are numbered 1, 2, 3, ..."""
    faults = Faults()
    last = collections.Counter()
    for lane, metadata in commits:
        number = tuple_of(metadata).seq
        if number != last[lane] + 1:
            faults.add("gap in commits", (lane, last[lane], number))
        last[lane] = number
    return faults
