"""What the suites over riff's rpc share: riff's own Node invoker, our scripted server, and where the streams lie."""
import functools
import os
import subprocess

from kafka_rig import instance as kafka_instance
from rig import BUILD, LOCAL, SRC, Instance, section, stream

JSON = "application/json"
FUNCTIONS = os.path.join(SRC, "examples", "node")


@functools.lru_cache(None)
def find_invoker():
    """The invoker's server.js, or why there is none."""
    done = subprocess.run([os.path.join(SRC, "scripts", "node-invoker"), os.path.join(BUILD, "node")],
                          capture_output=True, text=True)
    return (done.stdout.strip(), None) if done.returncode == 0 else (None, done.stderr.strip())


def node(path, name="f", **options):
    """A [function] in riff's Node invoker, which riffle starts; a path of its own, or the name of an example."""
    return section("function " + name, {"invoker": "grpc", "command": "node " + find_invoker()[0],
                                        "env": "FUNCTION_URI=" + os.path.join(FUNCTIONS, path), **options})


def scripted(name="f", **options):
    """A [function] that plays the script its first input's alias names."""
    return section("function " + name, {
        "invoker": "grpc", "command": "/bin/sh -c 'exec /usr/bin/python3 %s $GRPC_PORT'" %
        os.path.join(SRC, "tests", "grpc", "server.py"), **options})


def processor(**keys):
    return section("processor p", {"function": "f", "input": "in@earliest", "output": "out", **keys})


def payloads(records):
    return [r["payload"] for r in records]


def children(pid):
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


class Local:
    """Streams of the embedded provider."""
    provider = "local"

    def instance(self, text, **runtime):
        return Instance((section("runtime", runtime) if runtime else "") + LOCAL + text)

    def stream(self, name, kind=JSON, **keys):
        return stream(name, provider=self.provider, content_type=kind, **keys)


class OnKafka(Local):
    """Streams of a broker, each instance in a namespace of its own."""
    provider = "franz"

    def __init__(self, broker):
        self.broker = broker

    def instance(self, text, **runtime):
        space = self.broker.name()
        made = kafka_instance(self.broker, space, text, runtime)
        made.space = space
        return made


def on(place, *cases):
    """The cases, for main: each is called with the place."""
    bound = []
    for case in cases:
        one = functools.partial(case, place)
        one.__name__ = case.__name__
        bound.append(one)
    return bound
