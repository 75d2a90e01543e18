"""What the suites over Kafka share: a broker of their own, or the one of $KAFKA_BOOTSTRAP; topics; kcat."""
import collections
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

from rig import BUILD, SRC, Instance, section

TOOL = os.path.join(BUILD, "tests/kafka/kafka-tool")
BROKER = os.path.join(SRC, "tests/kafka/broker")
Record = collections.namedtuple("Record", "partition offset key value headers time")


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, **options)
    if done.returncode != 0:
        raise AssertionError("%s: exit %d\n%s%s" % (" ".join(words), done.returncode, done.stdout, done.stderr))
    return done.stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


BESIDE = """
listeners=PLAINTEXT://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CPORT@,FAR://127.0.0.1:{inner}
advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@,FAR://127.0.0.1:{outer}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,FAR:PLAINTEXT
"""


def behind(proxy, more=""):
    """What a Broker is made with so that it can be reached through the proxy too."""
    proxy.target = free_port()

    def extra(where):
        with open(os.path.join(where, "extra.properties"), "w") as out:
            out.write(BESIDE.format(inner=proxy.target, outer=proxy.port) + more)
    return extra


class Broker:
    """A broker that may be killed and come back; without a directory of its own it is somebody else's."""

    def __init__(self, given=None, extra=None):
        self.dir = None
        self.servers = given
        if given is None:
            self.dir = tempfile.mkdtemp(prefix="riffle-kafka-")
            if extra is not None:
                extra(self.dir)
            run(BROKER, "start", self.dir)
            with open(os.path.join(self.dir, "bootstrap")) as address:
                self.servers = address.read().strip()
        self.made = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.dir is not None:
            run(BROKER, "stop", self.dir)
            shutil.rmtree(self.dir)

    def pid(self):
        with open(os.path.join(self.dir, "pid")) as pid:
            return int(pid.read())

    def logged(self):
        with open(os.path.join(self.dir, "logs", "server.log"), errors="replace") as log:
            return log.read()

    def do(self, what):
        """start, stop, kill or restart it."""
        run(BROKER, what, self.dir)

    def tool(self, verb, *arguments):
        return run(TOOL, verb, self.servers, *(str(a) for a in arguments))

    def name(self):
        """A namespace that nobody else has."""
        self.made += 1
        return "t%d-%d-%d" % (os.getpid(), self.made, int(time.time()) % 100000)

    def produce(self, topic, *arguments, **options):
        return run("kcat", "-b", self.servers, "-P", "-t", topic, *arguments, **options)

    def ends(self, topic, partition=0):
        return tuple(int(n) for n in self.tool("ends", topic, partition).split())

    def committed(self, topic, group, partition=0):
        """(offset, metadata); the offset is -1 where nothing is committed."""
        offset, _, metadata = self.tool("committed", topic, partition, group).rstrip("\n").partition(" ")
        return int(offset), metadata

    def consume(self, topic, *arguments):
        """All records that are committed now, by a client that is not ours."""
        out = run("kcat", "-b", self.servers, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J",
                  "-X", "isolation.level=read_committed", *arguments)
        records = [json.loads(line) for line in out.splitlines()]
        return [Record(r["partition"], r["offset"], r["key"], r["payload"],
                       list(zip(r.get("headers", [])[::2], r.get("headers", [])[1::2])), r["ts"]) for r in records]


def provider(broker, name="franz", **keys):
    return section("provider " + name, {"type": "kafka", "bootstrap-servers": broker.servers, **keys})


def far(proxy):
    """Keys of a provider that reaches its broker through the proxy."""
    return {"bootstrap-servers": "127.0.0.1:%d" % proxy.port}


def runtime(namespace, **keys):
    return section("runtime", {"namespace": namespace, **keys})


def instance(broker, namespace, text, runtime_keys=None, provider_keys=None):
    return Instance(runtime(namespace, **(runtime_keys or {})) +
                    provider(broker, **(provider_keys or {})) + text)
