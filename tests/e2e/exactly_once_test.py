"""The judge of exactly-once finds what is planted: it passes a faultless story and fails each that has one fault."""
import base64
import struct

from exactly_once import Came, Left, judge, judge_commits
from rig import main
from windows import windows_of

SIZE_MS, SLIDE_MS, DISORDER_MS = 1000, 500, 200
LANES = [("left", 3), ("right", 3)]
# The last of each lane is late for all windows, the one before for the first of its two.
TIMES = [100, 600, 400, 1700, 2100, 1400, 900]


def story():
    """What came, what left, what was late."""
    came, late, windows = [], [], {}
    for lane in LANES:
        for offset, time_ms in enumerate(TIMES):
            value = "%s-%d" % (lane[0], offset)
            came.append(Came(lane, offset, time_ms, value))
            mark_ms = max(TIMES[:offset], default=0) - DISORDER_MS
            into = [w for w in windows_of(time_ms, SIZE_MS, SLIDE_MS) if offset == 0 or w[1] > mark_ms]
            for w in into:
                windows.setdefault(w, []).append(value)
            if not into:
                late.append(value)
    left = [Left(w, "k", "copy/3/%d-%d/k/out/%d/0:1-9x%d" % (*w, n, len(values)), value)
            for w, values in windows.items() for n, value in enumerate(values)]
    return came, left, late


def judged(came, left, late):
    return set(judge(came, left, late, SIZE_MS, SLIDE_MS, DISORDER_MS))


def a_story_without_a_fault_passes():
    came, left, late = story()
    assert len(late) == 2 and len(left) == 2 * (2 * len(TIMES) - 3), (late, len(left))
    assert judged(came, left, late) == set(), judge(came, left, late, SIZE_MS, SLIDE_MS, DISORDER_MS)


def each_output_that_is_missing_or_there_twice_is_found():
    came, left, late = story()
    for i, r in enumerate(left):
        assert "gap in sequence" in judged(came, left[:i] + left[i + 1:], late), r
        assert "doubled" in judged(came, left + [r], late), r


def a_loss_that_leaves_no_gap_is_found():
    """A whole window is gone; and a record that left before its window was made."""
    came, left, late = story()
    for window in {r.window for r in left}:
        assert judged(came, [r for r in left if r.window != window], late) & {"lost", "lost late"}, window
    for r in left:
        rest = [Left(o.window, o.key, o.id.replace("x%d" % len(same), "x%d" % (len(same) - 1)), o.value)
                for same in [[o for o in left if o.window == r.window]] for o in same if o is not r]
        rest = [o._replace(id="/".join([*o.id.split("/")[:6], str(n), *o.id.split("/")[7:]]))
                for n, o in enumerate(rest)]
        found = judged(came, rest + [o for o in left if o.window != r.window], late)
        assert found - {"gap in sequence"} and "gap in sequence" not in found, (r, found)


def late_records_are_counted():
    came, left, late = story()
    assert judged(came, left, late[1:]) == {"lost late"}
    assert judged(came, left, late + late[:1]) == {"doubled late"}
    assert judged(came, left, late + [left[0].value]) == {"late and in a window"}


def a_window_that_takes_records_after_it_was_over_is_found():
    came, left, late = story()
    behind = Came(LANES[0], len(TIMES), 950, "behind")
    window = windows_of(950, SIZE_MS, SLIDE_MS)[-1]
    extra = Left(window, "k", "copy/3/%d-%d/x/out/0/0:1-9x1" % window, "behind")
    found = judged(came + [behind], left + [extra._replace(key="x")], late)
    assert found == {"out of order"}, found


def what_nobody_wrote_is_found():
    came, left, late = story()
    window = (5000, 6000)
    assert judged(came, left + [Left(window, "k", "copy/3/5000-6000/k/out/0/0:1-9x1", "made up")], late) == {
        "out of nothing"}


def commits_are_numbered_without_gaps():
    def position(number):
        return base64.b64encode(b"Rf\1\0" + struct.pack("<IQqqqII", number, 0, 0, 0, 0, 0, 0)).decode()
    numbers = [(lane, position(n)) for n in (1, 2, 3) for lane in LANES]
    assert not judge_commits(numbers)
    for i in range(len(numbers) - 2):
        assert judge_commits(numbers[:i] + numbers[i + 1:]), i
    assert judge_commits(numbers + numbers[-1:])


main([a_story_without_a_fault_passes, each_output_that_is_missing_or_there_twice_is_found,
      a_loss_that_leaves_no_gap_is_found, late_records_are_counted,
      a_window_that_takes_records_after_it_was_over_is_found, what_nobody_wrote_is_found,
      commits_are_numbered_without_gaps])
