"""Time, windows and what happens to records that fit none, through the daemon."""
import json
import os
import signal

from rig import LOCAL, TEST_PLUGINS, Instance, main, section, stream

TEXT = {"content_type": "text/plain"}
# A second that windows of ten seconds, an hour and a day begin with.
BASE_S = 1704067200
BASE_MS = BASE_S * 1000
PASS = section("function pass", {"invoker": "passthrough"})
SHOW = section("function show", {"invoker": "show"})
# Its records have no key and no time of their own: one for each window, of what the lines name.
JOIN = section("function join", {"invoker": "command", "shell": "yes",
                                 "command": '"grep -o \'v[0-9][0-9]*\' | paste -sd, -"'})
EVENT = {"time": "json:$.t s", "max-disorder": "5s", "idle-after": "1h"}


def at(n, t, k="a"):
    """The record v<n> of t seconds after BASE."""
    return json.dumps({"v": "v%d" % n, "t": BASE_S + t, "k": k})


def processor(name, **keys):
    keys = {"input": "in@earliest", **keys}
    return section("processor " + name, {k.replace("_", "-"): v for k, v in keys.items()})


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
        processor(name, function="join", output="o-" + name, pane_headers="yes", **{**EVENT, **keys})
        for name, (keys, _) in SHAPES.items()) + shown(names)
    with instance(text) as i:
        i.publish("in", [at(1, 1), at(2, 4, "b"), at(3, 12), at(4, 9), at(5, 21, "b"), at(6, 26), at(7, 60)])
        i.start()
        out = seen(i, names, sum(len(expected) for _, expected in SHAPES.values()))
        i.wait_until_read(*SHAPES)
        assert i.stop() == 0
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


main([shapes_on_event_time])
