"""What the benchmarks share: the build, the runtime asked how far it is, figures and where they go."""
import json
import os
import socket
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))
from rig import Admin  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build", "bench")
# What the sides are made of, beside riffle itself.
PROGRAMS = (
    "bench/invoker-passthrough.la",
    "bench/invoker_grpc",
    "bench/log_local",
    "bench/raw_kafka",
    "bench/raw_kafka_txn",
    "bench/raw_kafka_riff",
    "tests/kafka/kafka-tool",
    "bench/raw_command",
    "bench/raw_grpc",
    "bench/raw_local",
    "bench/window",
)


def build():
    script = '. "%s/scripts/common.sh"; build_in "%s" CFLAGS="-O2 -g" && make -s -C "%s" %s' % (
        TOP, BUILD, BUILD, " ".join(PROGRAMS))
    subprocess.run(["bash", "-c", script], check=True, stdout=subprocess.DEVNULL)


def ask(path):
    """The tasks of the one processor; none before the daemon answers."""
    try:
        admin = Admin(path)
        admin.request("GET", "/v1/processors")
        return json.loads(admin.getresponse().read())[0]["tasks"]
    except OSError:
        return []


def save(name, text):
    print(text)
    with open(os.path.join(TOP, "bench", "results", name + ".md"), "w") as out:
        out.write(text)


def usage_of(process, records, seconds):
    _, code, usage = os.wait4(process.pid, 0)
    return records / seconds, (usage.ru_utime + usage.ru_stime) / records * 1e6, usage.ru_maxrss / 1024


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(program, *arguments):
    env = dict(os.environ, RIFFLE_BUILD=BUILD)
    return subprocess.Popen([os.path.join(BUILD, "bench", program), *map(str, arguments)], env=env,
                            stdout=subprocess.PIPE, text=True)


def numbers(process):
    out, _ = process.communicate()
    assert process.returncode == 0
    return [float(word) for word in out.split()]


def spread(values, form):
    values = sorted(values)
    return (form + " (" + form + ", " + form + ")") % (statistics.median(values), values[0], values[-1])
