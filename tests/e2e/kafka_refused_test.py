"""Outputs that a real broker, or librdkafka, refuses for their data, under exactly-once: their windows go to the error
policy; what shared their transaction comes once."""
import collections
import json
import os
import random
import time

from kafka_rig import Broker, instance
from rig import main, section, stream

TEXT = {"content_type": "text/plain", "provider": "franz", "partitions": 2}
GUARANTEES = ("exactly-once", "at-least-once")
dice = random.Random(1)
broker = None


def config(on_error, out, guarantee="exactly-once", failed=""):
    """With these lines in the sections of the two streams."""
    return (stream("in", **TEXT) + stream("out", **TEXT) + out + stream("failed", **TEXT) + failed +
            section("function echo", {"invoker": "passthrough"}) +
            section("processor copy", {
                "function": "echo", "input": "in@earliest", "output": "out", "window": "none", "max-records": "1",
                "guarantee": guarantee, "commit-interval": "50ms", "on-error": on_error}))


SMALL = "topic.max.message.bytes = 2000\n"
COMPACTED = "topic.cleanup.policy = compact\n"


def publish(i, numbers, large=(), keyless=()):
    """Numbered records, each with a key of its own but some; what a large one holds is not to be compressed."""
    lines = [json.dumps({"value": "%d" % n if n not in large else "%d %s" % (
        n, "".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=5000))),
                         "partition": n % 2, "key": None if n in keyless else "key %d" % n}) for n in numbers]
    i.cli("stream", "import", "in", input="\n".join(lines) + "\n")


def counts(space, name):
    return collections.Counter(int(r.value.split()[0]) for r in broker.consume(space + "_" + name))


def once(numbers):
    return {n: 1 for n in numbers}


def wait_until_committed(i, space):
    i.wait_for("all is committed", lambda: all(
        broker.committed(space + "_in", space + ".copy", p)[0] == broker.ends(space + "_in", p)[1] for p in range(2)))


def go_to_the_dead_letters(out, why, **bad):
    numbers = set(next(iter(bad.values())))
    for guarantee in GUARANTEES:
        space = broker.name()
        with instance(broker, space, config("retry 3 backoff 10ms..20ms then dead-letter failed", out, guarantee)) as i:
            publish(i, range(400), **bad)
            i.start()
            wait_until_committed(i, space)
            assert i.stop() == 0
            got = counts(space, "out"), counts(space, "failed")
            assert set(got[0]) == set(range(400)) - numbers and set(got[1]) == numbers, (guarantee, got[1])
            assert guarantee == "at-least-once" or set(got[0].values()) | set(got[1].values()) == {1}, got
            assert all(why in dict(r.headers)["riffle-error"] for r in broker.consume(space + "_failed")), i.logged()[-2000:]


def records_that_are_too_large_are_dead_letters():
    go_to_the_dead_letters(SMALL, "too large", large={3, 50, 52, 53, 301, 399})


def records_without_a_key_for_a_compacted_topic_are_dead_letters():
    go_to_the_dead_letters(COMPACTED, "compact", keyless={3, 50, 52, 53, 301, 399})


def a_window_of_which_one_record_is_refused_is_a_dead_letter_as_a_whole():
    space = broker.name()
    text = config("dead-letter failed", SMALL).replace("window = none", "window = count 10")
    with instance(broker, space, text) as i:
        publish(i, range(400), large={41, 43, 300})
        i.start()
        wait_until_committed(i, space)
        assert i.stop() == 0
        dead = {n for n in range(400) if n % 2 == 1 and 40 <= n < 60} | {n for n in range(300, 320) if n % 2 == 0}
        assert counts(space, "failed") == once(dead)
        assert counts(space, "out") == once(set(range(400)) - dead)


def a_refused_window_stops_its_task_alone():
    space = broker.name()
    with instance(broker, space, config("stop", SMALL)) as i:
        publish(i, range(200), large={100})
        i.start()
        assert "too large" in i.wait_until_stopped("copy").lower()
        i.wait_for("the rest is there", lambda: counts(space, "out") == once(
            n for n in range(200) if n % 2 or n < 100))
        assert i.stop() == 0
        with open(i.file) as text:
            i.write(text.read().replace("on-error = stop", "on-error = skip"))
        i.start()
        wait_until_committed(i, space)
        assert i.stop() == 0
        assert counts(space, "out") == once(set(range(200)) - {100})


def a_refused_dead_letter_stops_its_task():
    space = broker.name()
    with instance(broker, space, config("dead-letter failed", SMALL, failed=SMALL)) as i:
        publish(i, range(200), large={100})
        i.start()
        assert "its dead letters are refused: cannot publish" in i.wait_until_stopped("copy")
        i.wait_for("the rest is there", lambda: counts(space, "out") == once(
            n for n in range(200) if n % 2 or n < 100))
        assert counts(space, "failed") == {}
        # And no transaction after that one is begun for it.
        assert i.logged().count("T006") == 1 and "S004" not in i.logged(), i.logged()
        assert i.stop() == 0


def kills_between_lose_and_double_nothing():
    space = broker.name()
    lives, bad = 8, set(range(0, 4000, 61))
    with instance(broker, space, config("dead-letter failed", SMALL), {"instance": "one"}) as i:
        for life in range(lives):
            i.start(ready=False)
            publish(i, range(500 * life, 500 * life + 500), large=bad)
            time.sleep(dice.uniform(0, 0.5))
            i.daemon.kill()
            i.daemon.wait()
        i.start()
        wait_until_committed(i, space)
        assert i.stop() == 0
        assert counts(space, "out") == once(set(range(500 * lives)) - bad)
        assert counts(space, "failed") == once(bad)


with Broker() as broker:
    only = os.environ.get("RIFFLE_ONLY", "").split()
    cases = [records_that_are_too_large_are_dead_letters, records_without_a_key_for_a_compacted_topic_are_dead_letters,
             a_window_of_which_one_record_is_refused_is_a_dead_letter_as_a_whole, a_refused_window_stops_its_task_alone,
             a_refused_dead_letter_stops_its_task, kills_between_lose_and_double_nothing]
    main([case for case in cases if not only or case.__name__ in only])
