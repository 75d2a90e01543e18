"""riffle test: processors with their real functions on a clock that does not wait."""
import json
import os
import re
import time

from rig import LOCAL, SRC, TEST_PLUGINS, Instance, main, section, stream

TEXT = {"content_type": "text/plain"}
JOIN = {"invoker": "command", "command": "paste -s -d+"}
COPY = {"invoker": "passthrough"}


def lines(*all_of_them):
    return "".join("\n    " + line for line in all_of_them)


def config(send, expect, function=None, test=None, **processor):
    keys = {"function": "f", "input": "in", "output": "out", "window": "tumbling 10s", **processor}
    return (LOCAL + stream("in", **TEXT) + stream("out", **TEXT) + stream("late", **TEXT) + stream("dead", **TEXT) +
            section("function f", function or JOIN) + section("processor p", keys) +
            section("test t", {"processor": "p", "send": lines(*send), "expect": lines(*expect), **(test or {})}))


def run(text, *arguments, status=0):
    """Its output, with the milliseconds out of it."""
    with Instance(text) as i:
        done = i.run("test", *arguments)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        assert not os.path.exists(os.path.join(i.dir, "state")), "a test leaves nothing behind"
        return re.sub(r", \d+ ms\)", ")", done.stdout)


def result(text, status=0):
    return json.loads(run(text, "-o", "json", status=status))[0]


def payloads(one, name):
    return [r["payload"] for s in one["streams"] if s["stream"] == name for r in s["got"]]


def windows(one, name="out"):
    return [(r["windowStart"], r["windowEnd"]) for s in one["streams"] if s["stream"] == name for r in s["got"]]


def the_example_of_the_distribution_passes():
    with open(os.path.join(SRC, "etc", "riffle.ini")) as example:
        assert run(example.read()) == "ok two-windows (2 windows)\n"


def days_of_a_zone_pass_in_no_time():
    # On 29 March 2026 Berlin has 23 hours, from 23:00 UTC to 22:00 UTC.
    text = config(["in 00:00:00 a", "in 10:59:59.999 b", "in 11:00:00 c", "in 1d 09:59:59.999 d", "in 1d 10:00:00 e"],
                  ["out a+b", "out c+d", "out e"], test={"start": "2026-03-28T12:00:00Z"},
                  window="tumbling 1d align Europe/Berlin")
    one = result(text)
    assert one["ok"] and one["windows"] == 3, one
    assert [end - start for start, end in windows(one)] == [h * 3600000 for h in (24, 23, 24)], one
    assert one["milliseconds"] < 10000, one


def a_year_of_hours_is_stepped_through():
    text = config(["in 00:00:00 a", "in 365d 00:00:00 b"], ["out a", "out b"], COPY, window="tumbling 1h")
    assert run(text) == "ok t (2 windows)\n"


def lines_of_one_time_come_together():
    text = config(["in 00:00:01 a", "in 00:00:01 b", "in 00:00:02 c"], ["out a+b", "out c"], window="none")
    assert run(text) == "ok t (2 windows)\n"


def event_time_has_disorder_and_late_records():
    text = config(["in 00:00:05 a", "in 00:00:12 b", "in 00:00:09 c", "in 00:00:20 d", "in 00:00:08 e"],
                  ["out a+c", "out b", "out d", "late e"],
                  time="record", max_disorder="5s", late="stream late")
    assert run(text) == "ok t (3 windows, 1 late record)\n"
    one = result(text)
    assert windows(one) == [(0, 10000), (10000, 20000), (20000, 30000)], one
    assert windows(one, "late") == [(None, None)], one


def time_in_the_value_counts_and_not_that_of_the_line():
    text = config(['in 00:10:00 {"t":1000}', 'in 00:10:01 {"t":11000}'], ['out {"t":1000}', 'out {"t":11000}'],
                  time="json:$.t", max_disorder="0s")
    one = result(text)
    assert one["ok"] and windows(one) == [(0, 10000), (10000, 20000)], one


def a_time_ends_where_its_text_does():
    text = config([r'in 00:00:01 {"at":"\u0000","n":1}', r'in 00:00:01 {"at":"2000\u0000 x","n":2}',
                   'in 00:00:01 {"at":"3000","n":3}'], ['out {"at":"3000","n":3}'],
                  time="json:at", max_disorder="0s", on_error="skip")
    assert run(text) == "ok t (1 window, 2 refused records, 2 skipped)\n"


def sessions_have_keys():
    text = config(["in 00:00:00 key=a a1", "in 00:00:02 key=b b1", "in 00:00:08 key=a a2", "in 00:00:12.001 key=b b2"],
                  ["out key=b b1", "out key=a a1+a2", "out key=b b2"],
                  window="session gap 10s max 1h", time="record", max_disorder="0s", by="key")
    one = result(text)
    assert one["ok"] and windows(one) == [(2000, 12001), (0, 18001), (12001, 22002)], one


def hopping_windows_overlap():
    text = config(["in 00:00:01 a", "in 00:00:06 b", "in 00:00:11 c"], ["out a", "out a+b", "out b+c", "out c"],
                  window="hopping 10s every 5s", guarantee="at-most-once")
    one = result(text)
    assert windows(one) == [(s * 1000, s * 1000 + 10000) for s in (-5, 0, 5, 10)], one
    shown = run(text.split("expect = ")[0])
    assert "    out a    window -00:00:05 to 00:00:05\n    out a+b  window 00:00:00 to 00:00:10\n" in shown, shown


def transactions_are_there():
    text = config(["in 00:00:01 a", "in 00:00:11 b", "in 00:00:21 c"], ["out a", "out b", "out c"],
                  guarantee="exactly-once", time="record", max_disorder="0s")
    assert run(text) == "ok t (3 windows)\n"


def dead_letters_are_expected_by_their_stream():
    function = {"invoker": "command", "shell": "yes", "command": '"grep -v bad"'}
    text = config(["in 00:00:01 good", "in 00:00:11 bad", "in 00:00:12 bad too"],
                  ["out good", "dead bad", "dead bad too"], function, on_error="dead-letter dead")
    assert run(text) == "ok t (2 windows, 2 dead letters)\n"
    assert "guarantee" not in text
    text = text.replace("[processor p]\n", "[processor p]\nguarantee = exactly-once\n")
    assert run(text) == "ok t (2 windows, 2 dead letters)\n"


def a_refused_record_is_told():
    text = config(["in 00:00:01 key=k a", "in 00:00:02 b"], ["out a"], by="key", on_error="skip")
    assert run(text) == "ok t (1 window, 1 refused record, 1 skipped)\n"


def retries_wait_by_the_clock_of_the_test():
    function = {"invoker": "command", "shell": "yes", "command": '"test $RIFFLE_ATTEMPT -ge 3 || exit 75; cat"'}
    text = config(["in 00:00:01 a"], ["out a"], function, on_error="retry 5 backoff 1h..1d then stop")
    assert run(text) == "ok t (1 window, 2 retries)\n"


def headers_and_quotes():
    function = {"invoker": "command", "shell": "yes", "command": "'paste -s -d+'"}
    text = config(["in 00:00:01 header:who='a b' header:x=1 key='k 1' '  in blanks '", "in 00:00:02 header:who=c ''",
                   "in 00:00:03 header:who='a b' it's"],
                  ["out key='a b' '  in blanks +it's'", "out key=c ''"], function, by="header:who", window="count 2 or 10s")
    one = result(text)
    assert one["ok"], one


def a_difference_is_shown():
    text = config(["in 00:00:01 a", "in 00:00:11 b", "in 00:00:21 ccc", "in 00:00:31 d"],
                  ["out a", "out x", "out d", "late gone"], late="stream late", time="record", max_disorder="0s",
                  on_error="dead-letter dead")
    assert run(text, status=1) == """\
FAIL t (4 windows)
  out: - expected, + came
      a    window 00:00:00 to 00:00:10
    - x
    + b    window 00:00:10 to 00:00:20
    + ccc  window 00:00:20 to 00:00:30
      d    window 00:00:30 to 00:00:40
  late: - expected, + came
    - gone
  dead: 0 as expected
"""


def a_difference_has_keys_and_days():
    text = config(["in 2d 23:59:59.500 key=k a"], ["out key=j a"], time="record", max_disorder="0s", by="key",
                  window="tumbling 500ms")
    assert run(text, status=1) == """\
FAIL t (1 window)
  out: - expected, + came
    - key=j a
    + key=k a  window 2d 23:59:59.500 to 3d 00:00:00
"""


def without_expect_everything_is_shown():
    text = config(["in 00:00:01 a", "in 00:00:11 b"], [])
    text = text.replace("expect = \n", "")
    assert run(text) == """\
ok t (2 windows)
  there is no expect; this came:
    out a  window 00:00:00 to 00:00:10
    out b  window 00:00:10 to 00:00:20
"""
    assert run(config(["in 00:00:01 a"], []), status=1) == """\
FAIL t (1 window)
  out: - expected, + came
    + a  window 00:00:00 to 00:00:10
"""


def a_function_that_hangs_is_given_up():
    function = {"invoker": "command", "command": "sleep 1000", "grace": "100ms"}
    began = time.monotonic()
    out = run(config(["in 00:00:01 a"], ["out a"], function, {"timeout": "300ms"}), status=1)
    assert "  not done after timeout = 300ms: " in out and "its call (attempt 1) is open" in out, out
    assert out.endswith("  out: - expected, + came\n    - a\n"), out
    assert time.monotonic() - began < 60


def the_timeout_of_a_function_is_of_the_real_clock():
    hangs = "'[ $RIFFLE_ATTEMPT -gt 1 ] || sleep 1000; paste -s -d+'"
    function = {"invoker": "command", "shell": "yes", "command": hangs, "timeout": "200ms", "grace": "100ms"}
    assert run(config(["in 00:00:01 a", "in 00:00:12 b"], ["out a", "out b"], function)) == "ok t (2 windows, 2 retries)\n"
    function["command"] = "'sleep 1000'"
    out = run(config(["in 00:00:01 a"], ["out a"], function, on_error="stop"), status=1)
    assert "the function did not end within timeout = 200ms of its input" in out, out


def a_processor_that_stops_fails_the_test():
    out = run(config(["in 00:00:01 a"], ["out a"], {"invoker": "command", "command": "false"}), status=1)
    assert re.search(r"  the processor is stopped: .*exit status 1", out), out


def a_plugin_that_misbehaves_fails_the_test():
    text = config(["in 00:00:01 a", "in 00:00:11 b"], [], {"invoker": "rude", "how": "take-too-much"})
    with Instance(text, plugins=TEST_PLUGINS) as i:
        done = i.run("test")
        assert done.returncode == 1 and '  the processor is stopped: plugin "rude" 1.2 misbehaved' in done.stdout, done
        i.write("[runtime]\nplugin-timeout = 1s\n" + text.replace("take-too-much", "hang"))
        done = i.run("test")
        assert done.returncode == 1 and "riffle test: a call into a plugin does not return" in done.stderr, done


def a_window_that_nothing_closes_is_told():
    text = config(["in 00:00:01 a"], [], time="record", max_disorder="0s", close_after_idle="never")
    assert run(text) == "ok t (0 windows, 1 window still open)\n"


def an_idle_stream_is_closed_by_the_clock():
    text = config(["in 00:00:01 a"], ["out a"], COPY, time="record", max_disorder="0s")
    assert run(text) == "ok t (1 window)\n"


def a_function_that_streams_is_waited_for():
    text = config(["in 00:00:01 a", "in 00:00:02 b", "in 00:00:12 c"], ["out a", "out b", "out c"], COPY,
                  delivery="stream")
    assert run(text) == "ok t (2 windows)\n"


def early_looks_end_with_what_came():
    text = config(["in 00:00:01 a", "in 00:00:12 b"], ["out a", "out a", "out b"], early="every 2s",
                  time="record", max_disorder="0s", close_after_idle="never")
    assert run(text) == "ok t (1 window, 1 window still open)\n"
    text = config(["in 00:00:01 a", "in 00:00:02 b", "in 00:00:03 c"], ["out a", "out a+b", "out c"],
                  window="count 2", early="every 1s")
    assert run(text) == "ok t (1 window, 1 window still open)\n"


def early_panes_come_on_time():
    text = config(["in 00:00:01 a", "in 00:00:07 b"], ["out a", "out a+b"], early="every 5s")
    assert run(text).startswith("ok t (1 window"), run(text)


def several_inputs_and_partitions():
    text = (LOCAL + stream("left", partitions=3, **TEXT) + stream("right", partitions=3, **TEXT) +
            stream("out", **TEXT) + section("function f", COPY) +
            section("processor p", {"function": "f", "input": "l:left@earliest, right", "output": "o:out",
                                    "window": "tumbling 10s"}) +
            section("test t", {"processor": "p", "send": lines("l 00:00:01 1", "right 00:00:02 2", "left 00:00:03 3"),
                               "expect": lines("o 1", "out 2", "o 3")}))
    assert run(text) == "ok t (1 window)\n"


def a_program_for_all_windows_is_started_and_ended():
    skeleton = os.path.join(SRC, "examples", "functions", "sums.py")
    text = (LOCAL + "".join(stream(name, **TEXT) for name in ("left", "right", "doubled", "sums")) +
            section("function f", {"invoker": "command", "mode": "coprocess", "format": "frames",
                                   "command": "python3 " + os.path.abspath(skeleton)}) +
            section("processor p", {"function": "f", "input": "left, right", "output": "doubled, sums",
                                    "window": "tumbling 1h", "outputs": "at-status"}) +
            section("test t", {"processor": "p",
                               "send": lines("left 00:00:01 1", "right 00:00:02 3", "left 01:00:00 busy", "left 01:00:01 5"),
                               "expect": lines("doubled 2", "doubled 6", "doubled 10", "sums 4", "sums 5")}))
    assert run(text) == "ok t (2 windows, 1 retry)\n"


def a_window_that_keeps_nothing_is_tried_with_all_its_records():
    text = config(["in 00:00:01 a", "in 00:00:02 b", "in 00:00:11 c", "in 00:00:12 d"], ["out a", "out b", "out c", "out d"], function=COPY,
                  keep="no", time="record", **{"max-disorder": "1s"})
    one = result(text)
    assert one["ok"] and one["windows"] == 2 and payloads(one, "out") == ["a", "b", "c", "d"], one


def tests_are_chosen_by_name():
    text = config(["in 00:00:01 a"], ["out a"], COPY) + section(
        "test wrong", {"processor": "p", "send": "in 00:00:01 a", "expect": "out b"})
    out = run(text, status=1)
    assert out.startswith("ok t (1 window)\nFAIL wrong (1 window)\n") and out.endswith("2 tests, 1 failed\n"), out
    assert run(text, "t") == "ok t (1 window)\n"
    with Instance(text) as i:
        done = i.run("test", "wrogn")
        assert done.returncode == 1 and "riffle test: there is no test 'wrogn'; did you mean 'wrong'?\n" in done.stderr, done
        i.write(LOCAL)
        done = i.run("test")
        assert done.returncode == 1 and "there is no [test] in " in done.stderr, done
        i.write(text.replace("send = in ", "send = inn "))
        done = i.run("test")
        assert done.returncode == 78 and "'inn' is no input of processor 'p' [C105]" in done.stderr, done


main([the_example_of_the_distribution_passes,
      days_of_a_zone_pass_in_no_time,
      a_year_of_hours_is_stepped_through,
      lines_of_one_time_come_together,
      event_time_has_disorder_and_late_records,
      time_in_the_value_counts_and_not_that_of_the_line,
      a_time_ends_where_its_text_does,
      sessions_have_keys,
      hopping_windows_overlap,
      transactions_are_there,
      dead_letters_are_expected_by_their_stream,
      a_refused_record_is_told,
      retries_wait_by_the_clock_of_the_test,
      headers_and_quotes,
      a_difference_is_shown,
      a_difference_has_keys_and_days,
      without_expect_everything_is_shown,
      a_function_that_hangs_is_given_up,
      the_timeout_of_a_function_is_of_the_real_clock,
      a_processor_that_stops_fails_the_test,
      a_plugin_that_misbehaves_fails_the_test,
      a_window_that_nothing_closes_is_told,
      an_idle_stream_is_closed_by_the_clock,
      a_function_that_streams_is_waited_for,
      early_looks_end_with_what_came,
      early_panes_come_on_time,
      several_inputs_and_partitions,
      a_program_for_all_windows_is_started_and_ended,
      a_window_that_keeps_nothing_is_tried_with_all_its_records,
      tests_are_chosen_by_name])
