"""riff's own Node invoker, unmodified from npm, behind the grpc invoker: each kind of function, end to end."""
import json
import os
import subprocess
import sys

from rig import LOCAL, SRC, BUILD, Instance, main, section, stream

JSON = {"content_type": "application/json"}
FUNCTIONS = os.path.join(SRC, "examples", "node")


def find_invoker():
    """The invoker's server.js, or why there is none."""
    done = subprocess.run([os.path.join(SRC, "scripts", "node-invoker"), os.path.join(BUILD, "node")],
                          capture_output=True, text=True)
    return (done.stdout.strip(), None) if done.returncode == 0 else (None, done.stderr.strip())


def node(name, **options):
    """A [function f] whose server riffle starts."""
    path = name if os.path.isabs(name) else os.path.join(FUNCTIONS, name)
    return section("function f", {"invoker": "grpc", "command": "node " + SERVER,
                                  "env": "FUNCTION_URI=" + path, **options})


def processor(**keys):
    return section("processor p", {"function": "f", "input": "in@earliest", "output": "out", **keys})


def payloads(records):
    return [r["payload"] for r in records]


def wait_until_ready(i):
    i.wait_for("the function is connected", lambda: i.get("/readyz")[0] == 200)


def averages_are_those_of_the_seed():
    text = (LOCAL + stream("in", **JSON) + stream("out", content_type="text/plain") + node("averager.js") +
            processor(window="count 2 or 300ms"))
    with Instance(text) as i:
        i.start()
        for n in ("10", "100"):
            i.cli("publish", "in", "--content-type", "application/json", "--payload", n)
        assert payloads(i.read("out", 1)) == ["55.0"]
        i.cli("publish", "in", "-p", "2")
        assert payloads(i.read("out", 2)) == ["55.0", "2.0"]
        assert i.stop() == 0


if __name__ == "__main__":
    SERVER, why = find_invoker()
    if SERVER is None:
        if os.environ.get("REQUIRE_NODE"):
            print("Bail out! " + why)
            sys.exit(1)
        print("1..0 # SKIP " + why)
        sys.exit(0)
    main([averages_are_those_of_the_seed])
