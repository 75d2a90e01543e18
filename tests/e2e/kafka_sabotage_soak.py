"""Daemons with one thing turned round, each of which the chaos under exactly-once must find out. They
are those that `make sabotaged` makes, or the ones that $RIFFLE_SABOTAGED names; $RIFFLE_ROUNDS says how often each is
tried with other dice, $RIFFLE_SECONDS how long."""
import glob
import os
import re
import subprocess
import sys
import time

from rig import BUILD, SRC, main

ROUNDS = int(os.environ.get("RIFFLE_ROUNDS", "8"))
SEED = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
# By the judge of what came out, or by a promise of ours that the daemon found broken.
FOUND = re.compile(r"^# (?:(?:tumble|hop): .* generations: (?!nothing$)|riffle: (?=a bug))(.*)$", re.M)

# What is wrong with a task that comes back shows where members go and come, and processors are not opened again.
HURTS = {"riffle-warm-unchecked": "leave,freeze,leave,freeze,stop"}


def programs():
    named = os.environ.get("RIFFLE_SABOTAGED", "").split()
    made = [p for p in glob.glob(os.path.join(BUILD, "tests/e2e/riffle-*")) if os.access(p, os.X_OK)]
    return named or sorted(os.path.relpath(p, BUILD) for p in made)


def rounds_of(program):
    """What the judge said of each round, until it found something."""
    for n in range(ROUNDS):
        env = dict(os.environ, RIFFLE_PROGRAM=os.path.join(BUILD, program), RIFFLE_SEED=str(SEED + n),
                   RIFFLE_ONLY="exactly_once_under_chaos",
                   RIFFLE_HURTS=HURTS.get(os.path.basename(program), ""),
                   RIFFLE_SECONDS=os.environ.get("RIFFLE_SECONDS", "30"))
        done = subprocess.run([sys.executable, os.path.join(SRC, "tests/e2e/kafka_chaos_test.py")], env=env,
                              capture_output=True, text=True)
        found = FOUND.findall(done.stdout)
        yield found or (done.stdout + done.stderr)[-2000:]
        if found:
            return


def case(program):
    def is_found():
        begin = time.monotonic()
        said = list(rounds_of(program))
        assert isinstance(said[-1], list), "not in %d rounds; the last one said\n%s" % (len(said), said[-1])
        print("# %s: found in round %d, after %.0f s: %s" % (
            program, len(said), time.monotonic() - begin, "; ".join(said[-1])[:600]))
    is_found.__name__ = os.path.basename(program) + "_is_found"
    return is_found


main([case(program) for program in programs()])
