"""Outputs that their stream refuses for their data: a stream that is compacted by key takes none without one. Their windows go to
the error policy, under exactly-once as at least once; nothing else of the transaction is lost, doubled or held up."""
import collections
import json
import random
import time

from rig import LOCAL, Instance, main, section, stream

TEXT = {"content_type": "text/plain", "partitions": 2}
LIVES = 30
GUARANTEES = ("at-least-once", "exactly-once")


def config(guarantee, on_error, **failed):
    return (LOCAL + stream("in", **TEXT) + stream("out", cleanup="compact", **TEXT) + stream("failed", **TEXT, **failed) +
            section("function echo", {"invoker": "passthrough"}) +
            section("processor copy", {
                "function": "echo", "input": "in@earliest", "output": "out", "window": "none", "max-records": "1",
                "guarantee": guarantee, "commit-interval": "20ms", "on-error": on_error}))


def publish(i, numbers, keyless):
    """Numbered records, each with a key of its own but those."""
    lines = [json.dumps({"value": str(n), "partition": n % 2, "key": None if n in keyless else "key %d" % n})
             for n in numbers]
    i.cli("stream", "import", "in", input="\n".join(lines) + "\n")


def counts(i, name):
    return collections.Counter(int(r["payload"]) for r in i.read_all(name))


def once(numbers):
    return {n: 1 for n in numbers}


def a_refused_window_is_a_dead_letter():
    keyless = {3, 50, 51, 199}
    for guarantee in GUARANTEES:
        with Instance(config(guarantee, "dead-letter failed")) as i:
            i.start()
            publish(i, range(200), keyless)
            i.wait_until_committed("copy")
            assert i.stop() == 0
            assert counts(i, "out") == once(set(range(200)) - keyless), guarantee
            assert counts(i, "failed") == once(keyless), guarantee
            why = i.read_all("failed")[0]["headers"]
            assert why["riffle-error-stage"] == "publish", why
            assert why["riffle-error"] == (
                'cannot publish: topic "default_out" is compacted by key, and the record has none'), why


def a_refused_window_is_skipped():
    for guarantee in GUARANTEES:
        with Instance(config(guarantee, "retry 2 backoff 1ms..2ms then skip")) as i:
            i.start()
            publish(i, range(60), {0, 59})
            i.wait_until_committed("copy")
            # What cannot change is not tried again.
            assert [(t["skipped"], t["retries"]) for t in i.status("copy")["tasks"]] == [(1, 0)] * 2
            assert i.stop() == 0
            assert counts(i, "out") == once(range(1, 59)), guarantee


def wait_for_what_is_not_held_up(i):
    """By record 10: those of the other partition, and those before it in its own."""
    i.wait_for("the rest is written", lambda: counts(i, "out") >= collections.Counter(
        n for n in range(40) if n % 2 or n < 10))


def a_refused_window_stops_its_task_alone_and_goes_on_when_that_is_mended():
    for guarantee in GUARANTEES:
        with Instance(config(guarantee, "stop")) as i:
            i.start()
            publish(i, range(40), {10})
            assert "is compacted by key" in i.wait_until_stopped("copy")
            wait_for_what_is_not_held_up(i)
            assert i.stop() == 0
            i.write(config(guarantee, "skip"))
            i.start()
            i.wait_until_committed("copy")
            assert i.stop() == 0
            # At least once windows behind it may have been written before.
            out = counts(i, "out")
            assert set(out) == set(range(40)) - {10} and (guarantee == "at-least-once" or set(out.values()) == {1}), out


def a_refused_dead_letter_stops_its_task():
    for guarantee in GUARANTEES:
        with Instance(config(guarantee, "dead-letter failed", cleanup="compact")) as i:
            i.start()
            publish(i, range(40), {10})
            assert "its dead letters are refused: cannot publish: topic \"default_failed\"" in i.wait_until_stopped("copy")
            wait_for_what_is_not_held_up(i)
            assert i.stop() == 0
            assert counts(i, "failed") == {}


def kills_between_lose_and_double_nothing():
    """Of a daemon that meets a refusal in each of its lives, at any moment before and after."""
    randomness = random.Random(7)
    keyless = set(range(0, 100 * LIVES, 7))
    with Instance(config("exactly-once", "dead-letter failed")) as i:
        for life in range(LIVES):
            i.start(ready=False)
            publish(i, range(100 * life, 100 * life + 100), keyless)
            time.sleep(randomness.uniform(0, 0.15))
            i.daemon.kill()
            i.daemon.wait()
        i.start()
        i.wait_until_committed("copy")
        assert i.stop() == 0
        assert counts(i, "out") == once(set(range(100 * LIVES)) - keyless)
        assert counts(i, "failed") == once(keyless)


main([a_refused_window_is_a_dead_letter, a_refused_window_is_skipped,
      a_refused_window_stops_its_task_alone_and_goes_on_when_that_is_mended, a_refused_dead_letter_stops_its_task,
      kills_between_lose_and_double_nothing])
