"""A plugin that misbehaves stops its own processors; the others, on the same thread, go on."""
import json
import re

from rig import LOCAL, TEST_PLUGINS, Instance, main, section, stream

TEXT = {"content_type": "text/plain"}
# No call of a sound plugin may take so long, be the machine however busy.
TIMEOUT_S = 4


def config(how, runtime=""):
    return ("[runtime]\nworkers = 1\nplugin-timeout = %ds\n" % TIMEOUT_S + runtime + LOCAL +
            stream("in", **TEXT) + stream("other", **TEXT) + stream("out", **TEXT) +
            section("function bad", {"invoker": "rude", "how": how, "timeout": "1s"}) +
            section("function good", {"invoker": "passthrough"}) +
            section("processor bad", {"function": "bad", "input": "in@earliest", "output": "out",
                                      "window": "none", "max-records": "1", "calls": "1", "on-error": "skip"}) +
            section("processor good", {"function": "good", "input": "other@earliest", "output": "out",
                                       "window": "none"}))


def misbehaves(how, said, runtime="", then=lambda i: None):
    with Instance(config(how, runtime), plugins=TEST_PLUGINS) as i:
        i.start()
        i.publish("other", ["before"])
        assert [r["payload"] for r in i.read("out", 1)] == ["before"]
        i.publish("in", ["a", "b", "c"])
        i.wait_for("it is found out", lambda: i.status("bad")["state"] == "stopped")
        why = i.status("bad")["why"]
        assert why.startswith('plugin "rude" 1.2 misbehaved: function bad: ' + said), why
        assert i.logged().count('"code":"G') == 1, i.logged()
        i.publish("other", ["after"])
        assert [r["payload"] for r in i.read("out", 2)] == ["before", "after"]
        assert i.status("good")["state"] == "running"
        status, body = i.get("/readyz")
        assert status == 503 and "misbehaved" in body, body
        then(i)
        # A policy that skips what fails does not skip what a plugin broke.
        assert i.stop() == 0, i.logged()
        assert "skipped" not in i.logged(), i.logged()


def a_call_that_does_not_return():
    misbehaves("hang", "call_push has not returned for %d s" % TIMEOUT_S)


def done_twice():
    misbehaves("done-twice", "done ")


def more_taken_than_offered():
    misbehaves("take-too-much", "call_push took 2, 1 were offered")


def under_debug_too():
    misbehaves("take-too-much", "call_push took 2, 1 were offered", "guard = debug\n")


def given_back(i):
    """Nobody is in its group any more, although the plugin holds what it was lent; its position is before that."""
    group = json.loads(i.cli("stream", "status", "in", "-o", "json"))["groups"][0]
    assert group["group"] == "default.bad" and not group["active"], group
    assert [p["lag"] for p in group["positions"]] == [2], group
    why = i.cli("why", "bad")
    assert re.search(r"window \d+ to \d+, attempt 1", why), why
    i.cli("stream", "seek", "in", "--group", "default.bad", "--to", "earliest")


def cancelled_and_never_done():
    misbehaves("never-done", "done has not followed call_cancel for %d s" % TIMEOUT_S, then=given_back)


def and_under_debug():
    misbehaves("never-done", "done has not followed call_cancel for %d s" % TIMEOUT_S, "guard = debug\n", then=given_back)


main([a_call_that_does_not_return, done_twice, more_taken_than_offered, under_debug_too,
      cancelled_and_never_done, and_under_debug])
