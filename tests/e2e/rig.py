"""What the end-to-end suites share: an instance in a directory of its own, and TAP."""
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.environ.get("RIFFLE_BUILD", ".")
SRC = os.environ.get("RIFFLE_SRC", ".")
RIFFLE = os.path.join(BUILD, "riffle")
PLUGINS = ":".join(os.path.join(BUILD, d) for d in
                   ("plugins/local/.libs", "plugins/kafka/.libs", "plugins/invoker-command/.libs",
                    "plugins/invoker-grpc/.libs", "bench/.libs"))

# With those that are made for the suites.
TEST_PLUGINS = PLUGINS + ":" + os.path.join(BUILD, "tests/e2e/.libs")

# How long is waited for what must come, in seconds: only what never comes takes so long, on a machine however slow.
LIMIT_S = 120

# The default map of a terabyte is more than ThreadSanitizer leaves room for.
LOCAL = "[provider local]\ntype = local\nmap-size = 1GiB\n"


def stream(name, **keys):
    keys.setdefault("provider", "local")
    return section("stream " + name, keys)


def section(header, keys):
    return "[%s]\n" % header + "".join("%s = %s\n" % (k.replace("_", "-"), v) for k, v in keys.items())


class Skip(Exception):
    """A case that cannot be run here, and why."""


class Admin(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("riffle", timeout=LIMIT_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Instance:
    """An INI in a fresh directory, and the daemon that may run with it."""

    def __init__(self, text, program=RIFFLE, plugins=PLUGINS):
        self.temporary = tempfile.TemporaryDirectory(prefix="riffle-e2e-")
        self.dir = self.temporary.name
        self.file = os.path.join(self.dir, "riffle.ini")
        self.program = program
        self.env = {k: v for k, v in os.environ.items()
                    if k not in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "RIFFLE_CONFIG")}
        self.env["RIFFLE_PLUGIN_DIR"] = plugins
        self.daemon = None
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.write(text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        self.log.close()
        self.temporary.cleanup()

    def write(self, text):
        with open(self.file, "w") as out:
            out.write(text)

    def logged(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as log:
            return log.read()

    def start(self, *arguments, ready=True):
        self.daemon = subprocess.Popen([self.program, "run", "-c", self.file, *arguments],
                                       env=self.env, stdout=self.log, stderr=self.log)
        if ready:
            self.wait_until_ready()
        return self.daemon

    def wait_until_ready(self):
        self.cli("health", "--wait-timeout", "%ds" % LIMIT_S)

    def stop(self, number=signal.SIGTERM, limit=LIMIT_S):
        self.daemon.send_signal(number)
        return self.daemon.wait(timeout=limit)

    def run(self, *arguments, **options):
        """The command, whatever its exit status."""
        return subprocess.run([self.program, arguments[0], "-c", self.file, *arguments[1:]],
                              env=self.env, capture_output=True, text=True, timeout=2 * LIMIT_S, **options)

    def cli(self, *arguments, **options):
        """The command, which must succeed; its output."""
        done = self.run(*arguments, **options)
        if done.returncode != 0:
            raise AssertionError("riffle %s: exit %d\n%s%s\n%s" % (
                " ".join(arguments), done.returncode, done.stdout, done.stderr, self.logged()[-3000:]))
        return done.stdout

    def publish(self, name, lines, *arguments):
        self.cli("publish", name, "-l", *arguments, input="".join(line + "\n" for line in lines))

    def read(self, name, count):
        """So many records from the beginning, as they are printed."""
        out = self.cli("subscribe", name, "-b", "-n", str(count), "--wait-timeout", "%ds" % LIMIT_S)
        return [json.loads(line) for line in out.splitlines()]

    def read_all(self, name):
        """All records that are there now, one partition after the other, as they are printed."""
        done = self.run("stream", "export", name)
        if "does not exist on its provider" in done.stderr:
            return []
        assert done.returncode == 0, done
        return [printed(json.loads(line)) for line in done.stdout.splitlines()]

    def ends(self, name):
        """The end of each partition's log, asked of the provider; nothing where it cannot be asked."""
        done = self.run("stream", "status", name, "-o", "json")
        return {p["partition"]: p["end"] for p in json.loads(done.stdout)["partitions"]} if done.returncode == 0 else {}

    def status(self, name):
        return json.loads(self.cli("processor", "status", name))

    def wait_until_stopped(self, name):
        """By its error policy; why."""
        def is_stopped():
            status = self.run("processor", "status", name)
            return status.returncode == 0 and json.loads(status.stdout)["state"] == "stopped"
        self.wait_for("%s is stopped" % name, is_stopped)
        return self.status(name)["why"]

    def get(self, path, method="GET"):
        """(status, body) of the admin socket."""
        admin = Admin(os.path.join(self.dir, "state", "riffle.sock"))
        admin.request(method, path)
        answer = admin.getresponse()
        return answer.status, answer.read().decode()

    def wait_for(self, what, condition, limit=LIMIT_S):
        wait_for(what, condition, limit, lambda: self.logged()[-3000:])

    def task(self, name, partition=0):
        """The status of one task."""
        return [t for t in self.status(name)["tasks"] if t["partition"] == partition][0]

    def wait_until_at_end(self, what, names, place):
        """Of each lane this place is the end that its log had when this was called, or a later one. What the daemon
        itself knows of the end may be older than that."""
        ends = {}

        def is_at_end(lane):
            if lane["stream"] not in ends:
                ends[lane["stream"]] = self.ends(lane["stream"])
            end = ends[lane["stream"]].get(lane["partition"], lane["logEnd"])
            return None not in (lane[place], end) and lane[place] >= max(end, lane["logEnd"] or 0)

        def all_are():
            tasks = [self.status(name)["tasks"] for name in names]
            return all(tasks) and all(is_at_end(lane) for ts in tasks for t in ts for lane in t["lanes"])
        self.wait_for("%s: %s" % (", ".join(names), what), all_are)

    def wait_until_read(self, *names):
        """All there is in the logs is in windows, late or refused."""
        self.wait_until_at_end("everything is read", names, "position")

    def wait_until_committed(self, name):
        self.wait_until_at_end("everything is committed", [name], "committed")


def wait_for(what, condition, limit=LIMIT_S, why=lambda: ""):
    """Looks again and again, ever less often, so that what is waited for has the machine to itself."""
    end, pause_s = time.monotonic() + limit, 0.01
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s\n%s" % (limit, what, why()))
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.1)


def printed(record):
    """A record of an export as subscribe prints it."""
    headers = {}
    for name, value in record["headers"]:
        headers.setdefault(name, []).append(value)
    value = record["value"]
    is_binary = isinstance(value, dict)
    return {"payload": value["base64"] if is_binary else value, "contentType": record["contentType"],
            "headers": {name: values if len(values) > 1 else values[0] for name, values in headers.items()},
            **({"payloadEncoding": "base64"} if is_binary else {})}


def main(cases):
    """Runs the cases, functions, and reports them as TAP."""
    print("1..%d" % len(cases))
    failed = 0
    for number, case in enumerate(cases, 1):
        try:
            case()
            print("ok %d - %s" % (number, case.__name__))
        except Skip as why:
            print("ok %d - %s # SKIP %s" % (number, case.__name__, why))
        except Exception as error:  # each case is judged by itself
            failed += 1
            print("not ok %d - %s" % (number, case.__name__))
            at = traceback.extract_tb(error.__traceback__)[-1]
            print("# %s:%d: %s" % (os.path.basename(at.filename), at.lineno, at.line))
            for line in ("%s: %s" % (type(error).__name__, error)).splitlines():
                print("# " + line)
        sys.stdout.flush()
    sys.exit(1 if failed else 0)
