"""The Kafka provider against a real broker, seen by clients that are not ours."""
import collections
import json
import os
import random
import sys
import time

from kafka_rig import TOOL, Broker, instance, provider, run, runtime
from rig import BUILD, LIMIT_S, LOCAL, SRC, main, section, stream

broker = None
TEXT = {"content_type": "text/plain", "provider": "franz"}
PASS = section("function echo", {"invoker": "passthrough"})


def copy(**keys):
    return PASS + section("processor copy", {"function": "echo", "input": "in@earliest", "output": "out",
                                             "window": "none", "commit-interval": "100ms", **keys})


def streams(**keys):
    return stream("in", **TEXT, **keys) + stream("out", **TEXT, **keys)


def payloads(records):
    return [r["payload"] for r in records]


def the_broker_itself_works():
    run(TOOL, "selftest", broker.servers)


def the_provider_alone_holds_what_its_border_says():
    run(os.path.join(BUILD, "tests/unit/kafka_test"), env=dict(os.environ, KAFKA_SERVERS=broker.servers))


def the_example_of_the_seed_runs():
    text = (stream("in", content_type="application/json", provider="franz") +
            stream("out", content_type="application/json", provider="franz") +
            section("function averager", {
                "invoker": "command",
                "command": "awk '{ s += $1; n++ } END { if (n) printf \"%.1f\\n\", s / n }'"}) +
            section("processor time-averager", {
                "function": "averager", "input": "in", "output": "out", "window": "count 2 or 2s"}))
    with instance(broker, broker.name(), text) as i:
        i.start()
        # In one go: the window that the first one opens is over soon.
        i.publish("in", ["10", "100"], "--content-type", "application/json")
        out = i.cli("subscribe", "out", "-b", "-n", "1", "--payload-encoding", "raw", "--wait-timeout", "%ds" % LIMIT_S)
        assert out == '{"payload":"55.0","contentType":"application/json","headers":{}}\n', out
        i.cli("publish", "in", "-p", "2")
        assert payloads(i.read("out", 2)) == ["55.0", "2.0"]
        assert i.stop() == 0


def what_kcat_writes_comes_out_unchanged():
    space = broker.name()
    with instance(broker, space, streams(encoding="raw") + copy()) as i:
        i.start()
        topic = space + "_in"
        broker.produce(topic, "-K:", "-H", "a=1", "-H", "a=2:3", "-H", "empty=", "-H", "none", input="k:v\n")
        broker.produce(topic, "-Z", "-K:", input="gone:\n")
        broker.produce(topic, "-Z", input="only a value\n")
        broker.produce(topic, "-K:", input=":no key but an empty one\n")
        i.wait_until_committed("copy")
        came, left = broker.consume(topic), broker.consume(space + "_out")
        assert len(came) == 4 and [r[2:] for r in came] == [r[2:] for r in left], (came, left)
        assert left[0].headers == [("a", "1"), ("a", "2:3"), ("empty", ""), ("none", None)], left[0]
        assert [(r.key, r.value) for r in left[1:]] == [
            ("gone", None), (None, "only a value"), ("", "no key but an empty one")], left


def events_come_and_go_in_each_form():
    space = broker.name()
    json_type = {"content_type": "application/json", "provider": "franz"}
    text = (stream("in", **json_type) + stream("out", **json_type) +
            stream("structured", encoding="structured", **json_type) +
            stream("riff", encoding="riff-message", **json_type) +
            section("function all", {"invoker": "passthrough"}) +
            "".join(section("processor to-" + to, {"function": "all", "input": "in@earliest", "output": to,
                                                   "window": "none", "commit-interval": "100ms"})
                    for to in ("out", "structured", "riff")) +
            "".join(section("processor from-" + name, {
                "function": "all", "input": name + "@earliest", "output": "again-" + name, "window": "none",
                "commit-interval": "100ms"}) + stream("again-" + name, **json_type)
                for name in ("structured", "riff")))
    with instance(broker, space, text) as i:
        i.start()
        event = ["-H", "content-type=application/json", "-H", "ce_specversion=1.0", "-H", "ce_id=7", "-H",
                 "ce_source=/shop", "-H", "ce_type=com.example.sold"]
        broker.produce(space + "_in", *event, "-H", "mine=m", "-K:", input='k:{"n": 1.10}\n')
        broker.produce(space + "_in", *event, "-Z", "-K:", input="gone:\n")
        i.cli("publish", "in", "-p", "2")
        broker.produce(space + "_in", "-H", "content-type=image/png", input="refused\n")
        for name in ("to-out", "to-structured", "to-riff"):
            i.wait_for(name + " stops at the picture", lambda: i.status(name)["state"] == "stopped")
            assert 'content type "image/png" not compatible' in i.status(name)["why"], i.status(name)
        out = broker.consume(space + "_out")
        attributes = [("ce_specversion", "1.0"), ("ce_id", "7"), ("ce_source", "/shop"),
                      ("ce_type", "com.example.sold")]
        assert out[0].headers == [("content-type", "application/json"), *attributes, ("mine", "m")], out[0]
        assert [(r.key, r.value) for r in out] == [("k", '{"n": 1.10}'), ("gone", None), (None, "2")], out
        ours = dict(out[2].headers)
        assert ours["ce_source"] == space + ".to-out" and ours["ce_type"] == "riffle-event", ours
        structured = broker.consume(space + "_structured")
        assert dict(structured[0].headers) == {
            "mine": "m", "content-type": "application/cloudevents+json; charset=UTF-8"}, structured[0]
        assert structured[0].value.endswith('"datacontenttype":"application/json","data":{"n": 1.10}}')
        assert "data" not in json.loads(structured[1].value)
        for name in ("structured", "riff"):
            i.wait_for("what went to %s comes back" % name, lambda: broker.ends(space + "_again-" + name)[1] == 3)
            back = broker.consume(space + "_again-" + name)
            assert [r.value for r in back][::2] == ['{"n": 1.10}', "2"], back


def the_python_sdk_of_cloudevents_agrees():
    where = os.path.join(os.environ.get("RIFFLE_KAFKA", os.path.join(BUILD, "kafka")), "python")
    if not os.path.isdir(where):
        run(sys.executable, "-m", "pip", "install", "-q", "--target", where, "cloudevents==1.11.0")
    sys.path.insert(0, where)
    from cloudevents.http import CloudEvent
    from cloudevents.kafka import KafkaMessage, from_binary, from_structured, to_binary, to_structured
    space = broker.name()
    json_type = {"content_type": "application/json", "provider": "franz"}
    text = stream("in", **json_type) + stream("out", **json_type) + copy() + \
        stream("structured", encoding="structured", **json_type)
    theirs = CloudEvent({"type": "com.example.sold", "source": "/shop", "id": "9", "subject": "q",
                         "datacontenttype": "application/json"}, {"n": 1})

    def headers(message):
        return [w for name, value in message.headers.items() for w in ("-H", name + "=" + value.decode())]

    def message(record):
        return KafkaMessage({n: v.encode() for n, v in record.headers}, None, record.value.encode())

    with instance(broker, space, text) as i:
        i.start()
        for made in (to_binary(theirs), to_structured(theirs)):
            value = made.value if isinstance(made.value, bytes) else made.value.encode()
            broker.produce(space + "_in", *headers(made), input=value.decode() + "\n")
        i.cli("publish", "structured", "-p", '{"n": 2}')
        i.wait_until_committed("copy")
        for record in broker.consume(space + "_out"):
            event = from_binary(message(record))
            assert event.data == {"n": 1} and event["id"] == "9" and event["subject"] == "q", (record, event)
            assert event["type"] == "com.example.sold" and event["source"] == "/shop", event
        event = from_structured(message(broker.consume(space + "_structured")[0]))
        assert event.data == {"n": 2} and event["type"] == "riffle-event" and event["id"], event


def java_cloudevents(*words):
    """The program of tests/kafka/cloudevents over the SDK of Java, which Maven brings."""
    where = os.path.join(os.environ.get("RIFFLE_KAFKA", os.path.join(BUILD, "kafka")), "cloudevents")
    here = os.path.join(SRC, "tests/kafka/cloudevents")
    if not os.path.exists(where + "/.complete"):
        run("mvn", "-B", "-q", "-f", os.path.join(here, "pom.xml"),
            "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies", "-DincludeScope=runtime",
            "-DoutputDirectory=" + os.path.abspath(where))
        open(where + "/.complete", "w").close()
    return run("java", "-Xmx128m", "-cp", where + "/*", os.path.join(here, "CloudEvents.java"), *words)


def the_java_sdk_of_cloudevents_agrees():
    space = broker.name()
    json_type = {"content_type": "application/json", "provider": "franz"}
    text = (stream("in", **json_type) + stream("out", **json_type) + copy() +
            stream("structured", encoding="structured", **json_type) +
            section("processor to-structured", {"function": "echo", "input": "in@earliest", "output": "structured",
                                                "window": "none", "commit-interval": "100ms"}))
    about = ["/shop", "com.example.sold", "käse 100%", "2026-01-02T03:04:05Z", "t-1"]
    theirs = [["key", "1.0", "binary", *about, "application/json", '{"n":1.10}'],
              ["key", "1.0", "structured", *about, "application/json", '{"n":1.10}']]
    with instance(broker, space, text) as i:
        i.start()
        java_cloudevents("write", broker.servers, space + "_in")
        i.cli("publish", "in", "-p", '{"n": 2}')
        i.wait_until_committed("copy")
        i.wait_until_committed("to-structured")
        assert [r["payload"] for r in i.read("in", 2)] == ['{"n":1.10}'] * 2
        for name in ("out", "structured"):
            lines = java_cloudevents("read", broker.servers, space + "_" + name, "4").splitlines()
            events = [line.split("\t") for line in lines]
            # The SDK gives data that lay in a structured event as its own JSON: spaces and noughts are gone.
            exact = [[*e[:9], '{"n":1.1}' if name == "structured" else e[9]] for e in theirs]
            assert events[:2] == exact, (name, events)
            # Without data its type says nothing; what the stream holds is written for it.
            assert events[2][:8] == ["key", "1.0", "empty", *about] and events[2][9] == "null", (name, events)
            ours = events[3]
            assert ours[0] == "null" and ours[2] and ours[4] == "riffle-event", (name, ours)
            assert ours[8] == "application/json" and json.loads(ours[9]) == {"n": 2}, (name, ours)


def kcat_reads_what_we_write():
    space = broker.name()
    with instance(broker, space, streams(encoding="raw")) as i:
        i.cli("publish", "in", "-p", "käse", "-k", "key", "--header", "a:1", "--header", "a:2",
              "--time", "2026-01-02T03:04:05Z")
        i.cli("publish", "in", "-p", "")
        first, second = broker.consume(space + "_in")
        assert first[2:] == ("key", "käse", [("a", "1"), ("a", "2")], 1767323045000), first
        assert second[2:5] == (None, "", []), second


def kafkas_own_console_tools_agree():
    home = os.environ.get("RIFFLE_KAFKA", os.path.join(SRC, "build/kafka"))
    java = ["java", "-Xmx128m", "-Dlog4j.configuration=file:" + os.path.join(SRC, "tests/kafka/log4j.properties"),
            "-Dkafka.logs.dir=" + home, "-cp", os.path.join(home, "libs/*")]
    space = broker.name()
    with instance(broker, space, streams() + copy()) as i:
        i.start()
        run(*java, "kafka.tools.ConsoleProducer", "--bootstrap-server", broker.servers, "--topic", space + "_in",
            "--property", "parse.headers=true", "--property", "parse.key=true", "--property", "null.marker=NULL",
            input="content-type:text/plain,mine:m\tkey\thello\nmine:n\tkey\tNULL\nmine:o\tNULL\tno key\n")
        i.wait_until_committed("copy")
        out = run(*java, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", broker.servers,
                  "--topic", space + "_out", "--from-beginning", "--max-messages", "3", "--timeout-ms", "100000",
                  "--property", "print.headers=true", "--property", "print.key=true")
        lines = [line.split("\t") for line in out.splitlines()]
        assert [line[1:] for line in lines] == [["key", "hello"], ["key", "null"], ["null", "no key"]], out
        headers = [dict(h.split(":", 1) for h in line[0].split(",")) for line in lines]
        assert [h["mine"] for h in headers] == ["m", "n", "o"], headers
        assert all(h["content-type"] == "text/plain" and h["ce_type"] == "riffle-event" for h in headers), headers


def keys_go_where_kafkas_own_client_puts_them():
    space = broker.name()
    with instance(broker, space, stream("in", partitions=8, **TEXT)) as i:
        keys = ["key-%d" % n for n in range(50)] + [""]
        for key in keys:
            i.cli("publish", "in", "-p", "ours", "-k", key)
        broker.produce(space + "_in", "-X", "partitioner=murmur2", "-K:",
                       input="".join("%s:theirs\n" % key for key in keys))
        where = collections.defaultdict(set)
        for r in broker.consume(space + "_in"):
            where[r.key].add(r.partition)
        assert len(where) == 51 and all(len(p) == 1 for p in where.values()), where
        assert len({min(p) for p in where.values()}) == 8


def a_restart_goes_on_where_it_was():
    space = broker.name()
    with instance(broker, space, streams(partitions=2) + copy(window="count 3", delivery="at-close")) as i:
        i.start()
        for p in ("0", "1"):
            i.publish("in", ["a" + p, "b" + p, "c" + p, "d" + p], "--partition", p)
        i.wait_for("two windows are out", lambda: len(broker.consume(space + "_out")) == 6)
        assert i.stop() == 0
        offset, metadata = broker.committed(space + "_in", space + ".copy")
        assert offset == 3 and len(metadata) == 64, (offset, metadata)
        i.start()
        for p in ("0", "1"):
            i.publish("in", ["e" + p, "f" + p], "--partition", p)
        i.wait_until_committed("copy")
        got = sorted(r.value for r in broker.consume(space + "_out"))
        assert got == sorted(c + p for c in "abcdef" for p in "01"), got


def positions_of_groups_are_shown_and_moved():
    space = broker.name()
    with instance(broker, space, streams(partitions=2) + copy(),
                  provider_keys={"rdkafka.session.timeout.ms": "6000"}) as i:
        i.start()
        for n in range(4):
            i.cli("publish", "in", "-p", "x", "--partition", str(n % 2), "--time", "2020-01-0%dT00:00:00Z" % (n + 1))
        i.wait_for("all is copied", lambda: len(broker.consume(space + "_out")) == 4)
        i.wait_until_committed("copy")
        status = json.loads(i.cli("stream", "status", "in", "-o", "json"))
        assert [(p["start"], p["end"], p["records"]) for p in status["partitions"]] == [(0, 2, None)] * 2, status
        group, = status["groups"]
        assert group["group"] == space + ".copy" and group["active"] and "client" in group["member"], group
        assert [p["lag"] for p in group["positions"]] == [0, 0], group
        for dry in ([], ["--dry-run"]):
            busy = i.run("stream", "seek", "in", "--group", space + ".copy", "--to", "earliest", *dry)
            assert busy.returncode == 1 and 'group "%s.copy" is in use by client' % space in busy.stderr, busy
        i.stop()
        # Its place in the group is kept for a while.
        i.wait_for("the group is empty", lambda: not json.loads(
            i.cli("stream", "status", "in", "-o", "json"))["groups"][0]["active"])

        def lags(*to):
            i.cli("stream", "seek", "in", "--group", space + ".copy", "--to", *to)
            now = json.loads(i.cli("stream", "status", "in", "-o", "json", "--group", space + ".copy"))
            assert not now["groups"][0]["active"], now
            return [p["lag"] for p in now["groups"][0]["positions"]]
        assert lags("earliest") == [2, 2]
        assert lags("2020-01-03T00:00:00Z") == [1, 1]
        assert lags("latest") == [0, 0]
        assert lags("1", "--partition", "1") == [0, 1]
        wrong = i.run("stream", "seek", "in", "--group", space + ".copy", "--to", "9")
        assert wrong.returncode == 1 and "has offsets 0 to 2, not 9" in wrong.stderr, wrong
        i.start()
        i.wait_for("what was moved back is read again", lambda: len(broker.consume(space + "_out")) == 5)
        i.stop()


def a_new_group_keeps_its_start_over_a_crash():
    space = broker.name()
    with instance(broker, space, streams(partitions=3) + copy(input="in", window="count 100")) as i:
        i.publish("in", ["before"] * 10)
        i.start()
        i.wait_for("it reads", lambda: len(i.status("copy")["tasks"]) == 3)
        i.daemon.kill()
        i.daemon.wait()
        i.publish("in", ["after%d" % n for n in range(10)])
        i.write(i_text(space, streams(partitions=3) + copy(input="in", window="count 100 or 200ms")))
        starts = [broker.committed(space + "_in", space + ".copy", p)[0] for p in range(3)]
        assert sum(starts) == 10, starts


def i_text(space, text):
    return runtime(space) + provider(broker) + text


def kill_9_loses_nothing():
    space = broker.name()
    seed = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
    print("# seed %d" % seed)
    randomness = random.Random(seed)
    count = 0
    with instance(broker, space, streams(partitions=4) + copy()) as i:
        i.start()
        for _ in range(8):
            i.publish("in", [str(n) for n in range(count, count + 2000)])
            count += 2000
            time.sleep(randomness.uniform(0.05, 0.6))
            i.daemon.kill()
            i.daemon.wait()
            i.start(ready=False)
        i.wait_for("all is committed", lambda: all(
            broker.committed(space + "_in", space + ".copy", p)[0] == broker.ends(space + "_in", p)[1]
            for p in range(4)))
        seen = {int(r.value) for r in broker.consume(space + "_out")}
        assert seen == set(range(count)), sorted(set(range(count)) - seen)[:20]


def exactly_once_survives_kill_9_without_doubles():
    space = broker.name()
    seed = int(os.environ.get("RIFFLE_SEED", str(int(time.time()))))
    print("# seed %d" % seed)
    dice = random.Random(seed)
    count = 0
    with instance(broker, space, streams(partitions=4) + copy(guarantee="exactly-once")) as i:
        i.start()
        for _ in range(8):
            i.publish("in", [str(n) for n in range(count, count + 2000)])
            count += 2000
            time.sleep(dice.uniform(0.05, 0.6))
            i.daemon.kill()
            i.daemon.wait()
            i.start(ready=False)
        i.wait_for("all is committed", lambda: all(
            broker.committed(space + "_in", space + ".copy", p)[0] == broker.ends(space + "_in", p)[1]
            for p in range(4)))
        records = broker.consume(space + "_out")
        seen = collections.Counter(int(r.value) for r in records)
        doubled = [n for n, times in seen.items() if times > 1]
        lost = set(range(count)) - set(seen)
        print("# %d records, %d lost, %d doubled" % (count, len(lost), len(doubled)))
        assert not lost and not doubled, (sorted(lost)[:20], sorted(doubled)[:20])
        assert i.stop() == 0


def a_transaction_that_cannot_be_committed_leaves_nothing():
    space = broker.name()
    text = stream("in", **TEXT) + stream("out", **TEXT) + "topic.max.message.bytes = 1000\n" + \
        copy(guarantee="exactly-once", window="count 3")
    with instance(broker, space, text) as i:
        i.start()
        i.publish("in", ["1", "2", "3", "4", "x" * 5000, "5"])
        i.wait_for("it is stopped", lambda: i.status("copy")["state"] == "stopped")
        assert "too large" in i.status("copy")["why"].lower(), i.status("copy")
        # The window before it is committed by the next one.
        i.wait_for("what is before it is there",
                   lambda: [r.value for r in broker.consume(space + "_out")] == ["1", "2", "3"])
        assert i.stop() == 0


def a_static_member_reads_on_at_once_after_kill_9():
    space = broker.name()
    with instance(broker, space, streams() + copy()) as i:
        i.start()
        i.publish("in", ["1"])
        i.wait_until_committed("copy")
        i.daemon.kill()
        i.daemon.wait()
        i.publish("in", ["2"])
        begin = time.monotonic()
        i.start(ready=False)
        i.wait_for("the next record is out", lambda: broker.ends(space + "_out")[1] == 2)
        seconds = time.monotonic() - begin
        print("# first record %.2f s after the start" % seconds)
        # Who is a new member waits for the session of the one before to end: 45 s.
        assert seconds < 30, seconds


def a_processor_whose_input_was_changed_goes_on():
    """The member of before keeps what it had until its session is over, and no longer."""
    space = broker.name()
    keys = {"rdkafka.session.timeout.ms": "3000", "rdkafka.heartbeat.interval.ms": "300"}
    three = stream("in", **TEXT) + stream("other", **TEXT) + stream("out", encoding="raw", **TEXT)
    with instance(broker, space, three + copy(), {"instance": "one"}, keys) as i:
        i.start()
        i.publish("in", ["1"])
        i.wait_until_committed("copy")
        assert i.stop() == 0
    with instance(broker, space, three + copy(input="other@earliest"), {"instance": "one"}, keys) as i:
        begin = time.monotonic()
        i.start()
        i.publish("other", ["2"])
        i.wait_for("what it reads now is out",
                   lambda: [r.value for r in broker.consume(space + "_out")] == ["1", "2"])
        print("# %.1f s from the start" % (time.monotonic() - begin))
        assert i.stop() == 0


def existing_topics_are_adopted_and_others_refused():
    space = broker.name()
    broker.tool("create", space + "_in", 3)
    with instance(broker, space, stream("in", partitions=3, **TEXT)) as i:
        i.publish("in", ["x"])
        i.write(i_text(space, stream("in", partitions=2, **TEXT)))
        done = i.run("publish", "in", "-p", "x")
        assert done.returncode == 1 and "has 3 partitions, not 2" in done.stderr, done.stderr
        i.write(i_text(space, stream("other", provision="verify", **TEXT)))
        done = i.run("publish", "other", "-p", "x")
        assert done.returncode == 1 and "does not exist" in done.stderr, done.stderr


def topics_are_made_as_the_stream_says():
    space = broker.name()
    text = stream("in", partitions=2, retention="90m", compression="lz4", replication=1, **TEXT) + \
        "topic.max.message.bytes = 2000\n"
    with instance(broker, space, text) as i:
        i.publish("in", ["x"])
        done = i.run("publish", "in", "-p", "".join(random.choices("abcdefghijklmnop", k=9000)))
        assert done.returncode == 1 and "too large" in done.stderr.lower(), done.stderr
        table = i.cli("stream", "list")
        assert "Ready" in table, table


def properties_are_checked_in_librdkafkas_words():
    space = broker.name()
    with instance(broker, space, stream("in", **TEXT)) as i:
        i.write(runtime(space) + provider(broker, **{
            "rdkafka.socket.timeout.ms": "soon", "rdkafka.no.such": "1", "rdkafka.group.id": "mine",
            "rdkafka.plugin.library.paths": "evil.so", "rdkafka.sasl.password": "s3cr3t"}))
        done = i.run("check")
        assert done.returncode == 78, done
        for words in ('ini:6:', 'Invalid value for configuration property "socket.timeout.ms"',
                      'No such configuration property: "no.such"',
                      "rdkafka.group.id is riffle's own: the group is <namespace>.<processor>",
                      "rdkafka.plugin.library.paths is riffle's own: it loads code"):
            assert words in done.stderr, done.stderr
        assert "s3cr3t" not in done.stderr, done.stderr
        i.write(runtime(space) + provider(broker, **{
            "rdkafka.session.timeout.ms": "20000", "rdkafka.max.poll.interval.ms": "10000",
            "rdkafka.ssl.ca.location": "/nowhere"}))
        done = i.run("check")
        assert done.returncode == 78 and "`max.poll.interval.ms`must be >= `session.timeout.ms`" in done.stderr, done
        i.write(runtime(space) + provider(broker, **{
            "rdkafka.socket.timeout.ms": "5000", "rdkafka.transaction.timeout.ms": "3000"}))
        done = i.run("check")
        assert done.returncode == 0, done
        assert "warning: exactly-once would be refused: librdkafka refuses its properties: `socket.timeout.ms`" in (
            done.stderr), done.stderr


def two_namespaces_do_not_meet_on_one_broker():
    one, two = broker.name(), broker.name()
    with instance(broker, one, streams() + copy()) as i, instance(broker, two, streams() + copy()) as k:
        i.start()
        k.start()
        i.publish("in", ["one"])
        k.publish("in", ["two"])
        i.wait_until_committed("copy")
        k.wait_until_committed("copy")
        assert [r.value for r in broker.consume(one + "_out")] == ["one"]
        assert [r.value for r in broker.consume(two + "_out")] == ["two"]


def kafka_and_local_streams_meet_in_one_processor():
    space = broker.name()
    text = (LOCAL + streams(partitions=2) + stream("more", content_type="text/plain", partitions=2) + PASS +
            section("processor join", {"function": "echo", "input": "in@earliest, more@earliest",
                                       "output": "out", "window": "none", "commit-interval": "100ms"}))
    with instance(broker, space, text) as i:
        i.start()
        for name in ("in", "more"):
            i.publish(name, [name + str(n) for n in range(20)])
        i.wait_until_committed("join")
        assert i.stop() == 0
        i.start()
        i.publish("more", ["late"])
        i.wait_until_committed("join")
        assert len(broker.consume(space + "_out")) == 41


def three_instances_share_eight_partitions():
    space = broker.name()
    text = streams(partitions=8) + copy(**{"max-records": "50"})
    keys = {"rdkafka.session.timeout.ms": "3000", "rdkafka.heartbeat.interval.ms": "200"}
    made = [instance(broker, space, text, {"instance": "i%d" % n}, keys) for n in range(3)]
    count = 0

    def more():
        nonlocal count
        made[0].publish("in", [str(n) for n in range(count, count + 3000)])
        count += 3000

    def tasks(i):
        return len(i.status("copy")["tasks"])

    try:
        made[0].start()
        more()
        for n in (1, 2):
            made[n].start(ready=False)
            more()
            made[0].wait_for("%d members have all partitions" % (n + 1), lambda: all(
                up(i) for i in made[:n + 1]) and sum(tasks(i) for i in made[:n + 1]) == 8 and
                all(tasks(i) in (2, 3, 4) for i in made[:n + 1]))
        more()
        assert made[1].stop() == 0
        more()
        made[0].wait_for("two members have all", lambda: tasks(made[0]) + tasks(made[2]) == 8)
        more()
        made[0].wait_for("all is committed", lambda: all(
            broker.committed(space + "_in", space + ".copy", p)[0] == broker.ends(space + "_in", p)[1]
            for p in range(8)))
        seen = collections.Counter(int(r.value) for r in broker.consume(space + "_out"))
        lost = set(range(count)) - set(seen)
        print("# %d records, %d of them more than once" % (count, sum(1 for n in seen.values() if n > 1)))
        assert not lost, sorted(lost)[:20]
    finally:
        for i in made:
            i.__exit__()


def up(i):
    return i.run("processor", "status", "copy").returncode == 0


def cases():
    return [the_broker_itself_works, the_provider_alone_holds_what_its_border_says, the_example_of_the_seed_runs, what_kcat_writes_comes_out_unchanged,
            events_come_and_go_in_each_form, the_python_sdk_of_cloudevents_agrees, the_java_sdk_of_cloudevents_agrees,
            kcat_reads_what_we_write, kafkas_own_console_tools_agree,
            keys_go_where_kafkas_own_client_puts_them, a_restart_goes_on_where_it_was, positions_of_groups_are_shown_and_moved,
            a_new_group_keeps_its_start_over_a_crash, kill_9_loses_nothing, exactly_once_survives_kill_9_without_doubles,
            a_transaction_that_cannot_be_committed_leaves_nothing,
            a_static_member_reads_on_at_once_after_kill_9, a_processor_whose_input_was_changed_goes_on, existing_topics_are_adopted_and_others_refused,
            topics_are_made_as_the_stream_says, properties_are_checked_in_librdkafkas_words,
            two_namespaces_do_not_meet_on_one_broker, kafka_and_local_streams_meet_in_one_processor,
            three_instances_share_eight_partitions]


with Broker(os.environ.get("KAFKA_BOOTSTRAP")) as broker:
    only = os.environ.get("RIFFLE_ONLY", "").split()
    main([case for case in cases() if not only or case.__name__ in only])
