"""riff's own Node invoker, unmodified from npm, behind the grpc invoker: each kind of function, end to end."""
import json
import os
import subprocess
import sys

from rig import LOCAL, SRC, Instance, main, section, stream
from riff_cases import EVERY_KIND
from riff_rig import Local, children, find_invoker, node, on, payloads, processor, scripted

JSON = {"content_type": "application/json"}


def wait_until_ready(i):
    i.wait_for("the function is connected", lambda: i.get("/readyz")[0] == 200)


def averages_are_those_of_the_seed():
    text = (LOCAL + stream("in", **JSON) + stream("out", content_type="text/plain") + node("averager.js") +
            processor(window="count 2 or 300ms"))
    with Instance(text) as i:
        i.start()
        i.publish("in", ["10", "100"], "--content-type", "application/json")
        assert payloads(i.read("out", 1)) == ["55.0"]
        i.cli("publish", "in", "-p", "2")
        assert payloads(i.read("out", 2)) == ["55.0", "2.0"]
        assert i.stop() == 0, i.logged()[-2000:]


def a_function_without_outputs_completes():
    text = LOCAL + stream("in", **JSON) + stream("seen", **JSON)
    with Instance(text) as i:
        script = os.path.join(i.dir, "sink.js")
        seen = os.path.join(i.dir, "seen")
        with open(script, "w") as out:
            out.write("""
const fs = require("fs");
module.exports = (inputs, outputs) => {
    const { 0: records } = inputs.$order, { 0: unread } = outputs.$order;
    records.on("data", (r) => fs.appendFileSync(%s, r.payload + "\\n"));
    records.on("end", () => unread.end());
};
module.exports.$interactionModel = "node-streams";
""" % json.dumps(seen))
        i.write(text + node(script) + section("processor p", {"function": "f", "input": "in@earliest",
                                                              "window": "count 3"}))
        i.start()
        i.publish("in", ["1", "2", "3"])
        i.wait_until_committed("p")
        assert open(seen).read() == "1\n2\n3\n"
        assert i.stop() == 0, i.logged()[-2000:]


def a_refused_type_stops_at_once_and_says_so():
    text = (LOCAL + stream("in", content_type="image/png") + stream("out", **JSON) + node("square.js") +
            processor(window="count 1"))
    with Instance(text) as i:
        i.start()
        i.cli("publish", "in", "-p", "x")
        i.wait_for("the task has stopped", lambda: i.status("p")["tasks"][0]["state"] == "stopped")
        task = i.status("p")["tasks"][0]
        assert "Invoker: Unsupported Media Type" in task["why"], task
        assert task["retries"] == 0, task
        assert i.stop() == 0, i.logged()[-2000:]


def a_function_that_throws_is_called_again_and_then_stops():
    text = (LOCAL + stream("in", **JSON) + stream("out", **JSON) +
            section("function f", {"invoker": "grpc", "command": "node " + SERVER}) +
            processor(window="count 1", **{"on-error": "retry 2 backoff 10ms..20ms then stop"}))
    with Instance(text) as i:
        path = os.path.join(i.dir, "throw.js")
        with open(path, "w") as out:
            out.write('module.exports = (x) => { throw new Error("no " + x); };')
        i.write(text.replace("node " + SERVER, "node %s\nenv = FUNCTION_URI=%s" % (SERVER, path)))
        i.start()
        i.cli("publish", "in", "-p", "7")
        i.wait_for("the task has stopped", lambda: i.status("p")["tasks"][0]["state"] == "stopped")
        task = i.status("p")["tasks"][0]
        assert "UNKNOWN (2)" in task["why"] and "no 7" in task["why"], task
        assert task["retries"] == 2, task
        assert i.stop() == 0, i.logged()[-2000:]


def one_that_hangs_does_not_disturb_another():
    text = (LOCAL + stream("in", **JSON) + stream("out", **JSON) + stream("never", **JSON) + scripted(timeout="300ms") +
            node("square.js", "g", replies="one-per-record") +
            processor(input="silent:in@earliest", output="never", window="count 1",
                      **{"on-error": "retry 1000 backoff 10ms..10ms then stop"}) +
            section("processor q", {"function": "g", "input": "in@earliest", "output": "out", "window": "count 10"}))
    with Instance(text) as i:
        i.start()
        for n in range(20):
            i.publish("in", [str(k) for k in range(n * 10, n * 10 + 10)])
        # Of windows that are open at the same time, the outputs come as they come.
        assert sorted(int(p) for p in payloads(i.read("out", 200))) == [n * n for n in range(200)]
        i.wait_for("the other is called again", lambda: i.status("p")["tasks"][0]["retries"] > 2)
        assert i.stop() == 0, i.logged()[-2000:]


def example(name, **environment):
    """An instance of examples/NAME.ini, from the beginning of its inputs and with windows that need no clock."""
    path = os.path.join(SRC, "examples", name + ".ini")
    text = open(path).read().replace("dir     = .", "dir     = " + os.path.dirname(path))
    i = Instance(text.replace("tumbling 10s", "count 2").replace("type = local", "type = local\nmap-size = 1GiB"))
    i.env.update(environment)
    return i


def the_examples_answer():
    for name, records, out, expected in (
            ("averager", [("numbers", "10"), ("numbers", "100")], "averages", ["55.0"]),
            ("square", [("numbers", "3"), ("numbers", "4")], "squares", ["9", "16"]),
            ("shop", [("orders", '{"amount":5}'), ("refunds", '{"amount":2}')], "balances", ['{"balance":3}'])):
        with example("node/" + name, NODE_INVOKER=SERVER) as i:
            i.start()
            for stream_name, payload in records:
                i.cli("publish", stream_name, "-p", payload)
            assert payloads(i.read(out, len(expected))) == expected, name
            assert i.stop() == 0, i.logged()[-2000:]


def the_example_in_python_answers():
    with example("python/words") as i:
        subprocess.run(["protoc", "--python_out=" + i.dir, "-I" + os.path.join(SRC, "plugins", "invoker-grpc"),
                        "riff.proto"], check=True)
        i.env["PYTHONPATH"] = i.dir
        i.start()
        i.publish("lines", ["to be or not", "to be"])
        assert json.loads(i.read("counts", 1)[0]["payload"]) == {"to": 2, "be": 2, "or": 1, "not": 1}
        assert i.stop() == 0, i.logged()[-2000:]


def nothing_is_left_running():
    text = (LOCAL + stream("in", **JSON) + stream("out", **JSON) + node("square.js") + processor(window="count 1"))
    with Instance(text) as i:
        i.start()
        wait_until_ready(i)
        server = children(i.daemon.pid)
        assert len(server) == 1, server
        assert i.stop() == 0, i.logged()[-2000:]
        assert not os.path.exists("/proc/%d" % server[0])


def a_host_that_is_killed_leaves_no_server():
    text = (LOCAL + stream("in", **JSON) + stream("out", **JSON) + node("square.js") + processor(window="count 1"))
    with Instance(text) as i:
        i.start()
        wait_until_ready(i)
        server = children(i.daemon.pid)[0]
        i.stop(9)
        i.wait_for("the server is gone", lambda: not is_running(server))


def is_running(pid):
    """A zombie that nobody has reaped yet runs no more."""
    try:
        with open("/proc/%d/stat" % pid) as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    SERVER, why = find_invoker()
    if SERVER is None:
        if os.environ.get("REQUIRE_NODE"):
            print("Bail out! " + why)
            sys.exit(1)
        print("1..0 # SKIP " + why)
        sys.exit(0)
    main([averages_are_those_of_the_seed,
          *on(Local(), *EVERY_KIND),
          a_function_without_outputs_completes,
          a_refused_type_stops_at_once_and_says_so,
          a_function_that_throws_is_called_again_and_then_stops,
          one_that_hangs_does_not_disturb_another,
          the_examples_answer,
          the_example_in_python_answers,
          nothing_is_left_running,
          a_host_that_is_killed_leaves_no_server])
