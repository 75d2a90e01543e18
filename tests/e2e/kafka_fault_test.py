"""Faults of a broker, each by its id in the catalogue of failures, with what is asked of riffle under it."""
import collections
import http.server
import json
import os
import signal
import subprocess
import threading
import time

from kafka_proxy import FETCH, Proxy
from kafka_rig import Broker, Hanging, behind, far, free_port, instance, provider, run, runtime
from rig import BUILD, LIMIT_S, LOCAL, Instance, main, section, stream

TEXT = {"content_type": "text/plain", "provider": "franz"}
PASS = section("function echo", {"invoker": "passthrough"})
SHORT = {"rdkafka.session.timeout.ms": "1000", "rdkafka.heartbeat.interval.ms": "200", "request-timeout": "2s"}
# A quota is of the last three seconds, not eleven.
QUOTAS = "quota.window.num=3\n"
broker = proxy = None


def copy(name="copy", **keys):
    return section("processor " + name, {"function": "echo", "input": "in@earliest", "output": "out",
                                         "window": "none", "commit-interval": "100ms", **keys})


def streams(**keys):
    return stream("in", **TEXT, **keys) + stream("out", **TEXT, **keys) + PASS


def numbers(first, last):
    return [str(n) for n in range(first, last)]


def judge(topic, expected, ordered=False):
    """Nothing is missing, and each partition's first sightings are in order."""
    records = broker.consume(topic)
    seen = collections.Counter(r.value for r in records)
    missing = [n for n in expected if n not in seen]
    assert not missing, "%d of %d missing, %s ..." % (len(missing), len(expected), missing[:5])
    if ordered:
        firsts = list(dict.fromkeys(int(r.value) for r in records if r.partition == 0))
        assert firsts == sorted(firsts), firsts[:50]


def committed_all(i, space, partitions=1, group="copy"):
    i.wait_for("everything is committed", lambda: all(
        broker.committed(space + "_in", space + "." + group, p)[0] == broker.ends(space + "_in", p)[1]
        for p in range(partitions)))


def a1_a_broker_that_is_down_at_the_start():
    space = broker.name()
    text = (LOCAL + streams() + copy() + stream("near", content_type="text/plain") +
            stream("far", content_type="text/plain") + copy("other", input="near@earliest", output="far"))
    broker.do("stop")
    try:
        with instance(broker, space, text, provider_keys=SHORT) as i:
            i.start(ready=False)
            i.wait_for("the other processor runs", lambda: up(i) and i.status("other")["state"] == "running")
            i.publish("near", ["x"])
            assert len(i.read("far", 1)) == 1
            i.wait_for("it is told", lambda: "cannot ask for topic" in i.logged())
            assert i.status("copy")["state"] in ("starting", "failed"), i.status("copy")
            assert i.stop() == 0
            i.start(ready=False)
            i.wait_for("it waits", lambda: up(i) and i.status("copy")["state"] in ("starting", "failed"))
            broker.do("start")
            begin = time.monotonic()
            i.wait_for("it runs", lambda: i.status("copy")["state"] == "running")
            seconds = time.monotonic() - begin
            print("# runs %.1f s after the broker" % seconds)
            assert seconds < 30, seconds
            assert i.logged().count("cannot ask for topic") < 20
    finally:
        broker.do("restart")


def works(call, *arguments):
    try:
        call(*arguments)
        return True
    except AssertionError:
        return False


def up(i):
    return i.run("processor", "list").returncode == 0 and i.run("processor", "status", "copy").returncode == 0


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass


def a2_a_name_that_leads_nowhere_and_a_port_that_speaks_http():
    server = http.server.HTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for servers in ("no-such-host.invalid:9092", "127.0.0.1:%d" % server.server_port):
        space = broker.name()
        with Instance(runtime(space) + section("provider franz", {
                "type": "kafka", "bootstrap-servers": servers, "request-timeout": "1s"}) + streams() + copy()) as i:
            i.start(ready=False)
            i.wait_for("it is told", lambda: "cannot ask for topic" in i.logged())
            done = i.run("publish", "in", "-p", "x")
            assert done.returncode == 1 and servers.split(":")[0] in done.stderr, done.stderr
            assert i.stop() == 0
    server.shutdown()


def a3_a_broker_that_is_away_longer_than_every_time_out():
    space = broker.name()
    keys = dict(SHORT, **{"rdkafka.message.timeout.ms": "2000", "rdkafka.socket.timeout.ms": "1000"})
    with instance(broker, space, streams() + copy(**{"on-error": "retry 100 backoff 100ms..1s then stop"}),
                  provider_keys=keys) as i:
        i.start()
        i.publish("in", numbers(0, 5000))
        i.wait_for("something is out", lambda: broker.ends(space + "_out")[1] > 0)
        os.kill(broker.pid(), signal.SIGSTOP)
        time.sleep(6)
        os.kill(broker.pid(), signal.SIGCONT)
        begin = time.monotonic()
        i.publish("in", numbers(5000, 6000))
        committed_all(i, space)
        print("# caught up %.1f s after it was back" % (time.monotonic() - begin))
        judge(space + "_out", numbers(0, 6000))


def a4_a_broker_that_restarts_again_and_again():
    space = broker.name()
    rounds = int(os.environ.get("RIFFLE_RESTARTS", "3"))
    with instance(broker, space, streams(partitions=1) + copy(), provider_keys=SHORT) as i:
        i.start()
        for n in range(rounds):
            i.publish("in", numbers(1000 * n, 1000 * n + 1000))
            broker.do("restart" if n % 2 == 0 else "stop")
            if n % 2 == 1:
                broker.do("start")
        committed_all(i, space)
        judge(space + "_out", numbers(0, 1000 * rounds), ordered=True)


def a5_a_broker_that_restarts_while_lines_are_published():
    """What was written in the end is no failure, so that nobody writes it a second time."""
    with instance(broker, broker.name(), stream("in", **TEXT)) as i, subprocess.Popen(
            [i.program, "publish", "-c", i.file, "in", "-l"], env=i.env, text=True, stdin=subprocess.PIPE,
            stderr=subprocess.PIPE) as p:
        values = lambda: sorted(int(json.loads(line)["value"]) for line in i.cli("stream", "export", "in").splitlines())
        p.stdin.write("1\n2\n")
        p.stdin.flush()
        i.wait_for("the first lines", lambda: i.run("stream", "export", "in").stdout.count("\n") == 2)
        broker.do("kill")
        p.stdin.write("3\n4\n")
        p.stdin.flush()
        told = p.stderr.readline()
        assert told.endswith("; it is tried again\n"), told
        broker.do("start")
        p.stdin.write("5\n")
        p.stdin.close()
        assert p.wait(timeout=LIMIT_S) == 0, p.stderr.read()
        assert values() == [1, 2, 3, 4, 5], values()


def a7_a_network_that_is_parted():
    """Cut off in both directions, then of the replies only; who is left takes over, and nothing comes twice."""
    space = broker.name()
    text = streams(partitions=2) + copy(guarantee="exactly-once")
    keys = {**SHORT, "rdkafka.transaction.timeout.ms": "2000"}
    with instance(broker, space, text, {"instance": "near"}, keys) as near, \
            instance(broker, space, text, {"instance": "far"}, {**keys, **far(proxy)}) as distant:
        count = 0

        def more():
            nonlocal count
            near.publish("in", numbers(count, count + 500))
            count += 500

        def have(i, tasks):
            i.wait_for("it has %d tasks" % tasks, lambda: up(i) and len(i.status("copy")["tasks"]) == tasks)

        near.start()
        distant.start()
        have(near, 1)
        have(distant, 1)
        for cut in ({}, {"up": False}):
            more()
            proxy.stall(**cut)
            more()
            have(near, 2)
            more()
            committed_all(near, space, partitions=2)
            proxy.heal()
            begin = time.monotonic()
            have(near, 1)
            have(distant, 1)
            more()
            committed_all(near, space, partitions=2)
            seconds = time.monotonic() - begin
            print("# shared again %.1f s after the network was" % seconds)
            assert seconds < 30, seconds
        seen = collections.Counter(r.value for r in broker.consume(space + "_out"))
        assert seen == collections.Counter(numbers(0, count)), (len(seen), count, seen.most_common(3))


def a8_a_slow_broker_is_not_idle():
    """Two inputs that come in pieces over a round trip of 2 s and 64 kbit/s: none is thought to have no more."""
    space = broker.name()
    text = {"content_type": "application/json", "provider": "franz", "encoding": "raw"}
    ini = (stream("left", **text) + stream("right", **text) + stream("out", **text) + PASS +
           section("processor join", {
               "function": "echo", "input": "left@earliest, right@earliest", "output": "out", "window": "tumbling 10s",
               "time": "json:t", "max-disorder": "0s", "idle-after": "200ms", "close-after-idle": "1s",
               "late": "stop", "delivery": "at-close"}))
    keys = {"rdkafka.fetch.message.max.bytes": "5000", **far(proxy)}
    with instance(broker, space, ini, provider_keys=keys) as i:
        for name in ("left", "right"):
            i.publish(name, ['{"t": %d, "x": "%s"}' % (1000 * n, name * 20) for n in range(50)])
        gate = proxy.hold(FETCH)
        i.start()
        i.wait_for("it is about to read", lambda: len(i.status("join")["tasks"]) == 1)
        proxy.delay_s, proxy.bytes_per_s = 1, 8000
        gate.set()
        i.wait_for("all is out", lambda: broker.ends(space + "_out")[1] == 100)
        proxy.heal()
        times = [int(r.value.split()[1].rstrip(",")) for r in broker.consume(space + "_out")]
        windows = [t // 10000 for t in times]
        assert windows == sorted(windows), windows


def a8_what_a_slow_broker_does_not_take_is_not_read():
    space = broker.name()
    text = {"content_type": "text/plain", "encoding": "raw"}
    ini = (provider(broker, "slow", **{"buffer": "1MiB", **far(proxy)}) + stream("in", provider="franz", **text) +
           stream("out", provider="slow", **text) + PASS + copy())
    with instance(broker, space, ini, provider_keys={"prefetch": "2MiB"}) as i:
        broker.tool("create", space + "_in", 1)
        broker.produce(space + "_in", input=("x" * 1000 + "\n") * 40000)
        i.start(ready=False)
        i.wait_for("it runs", lambda: up(i) and i.status("copy")["state"] == "running")
        proxy.bytes_per_s = 8000
        time.sleep(3)
        lane = i.task("copy")["lanes"][0]
        with open("/proc/%d/status" % i.daemon.pid) as status:
            peak = [line for line in status if line.startswith("VmHWM")][0]
        print("# read %d of 40000; %s" % (lane["position"], peak))
        proxy.heal()
        committed_all(i, space)
        assert len(broker.consume(space + "_out")) == 40000


def a18_quotas_slow_down_and_do_no_more():
    space = broker.name()
    home = os.environ.get("RIFFLE_KAFKA", os.path.join(BUILD, "kafka"))
    run("java", "-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp", os.path.join(home, "libs/*"), "kafka.admin.ConfigCommand",
        "--bootstrap-server", broker.servers, "--alter", "--entity-type", "clients", "--entity-name", "poor",
        "--add-config", "consumer_byte_rate=100000,producer_byte_rate=100000")
    with instance(broker, space, streams(encoding="raw") + copy(),
                  provider_keys={"request-timeout": "20s", "rdkafka.client.id": "poor"}) as i:
        i.start()
        i.wait_for("it reads", lambda: len(i.status("copy")["tasks"]) == 1)
        before = broker.logged().count("rebalance group %s.copy" % space)
        begin = time.monotonic()
        # In batches that a quota of three seconds lets through at all.
        broker.produce(space + "_in", "-X", "batch.size=20000",
                       input="".join("%d %s\n" % (n, "x" * 1000) for n in range(500)))
        committed_all(i, space)
        seconds = time.monotonic() - begin
        print("# 0.5 MB in %.1f s" % seconds)
        assert seconds > 1, "nothing was slowed down"
        assert broker.logged().count("rebalance group %s.copy" % space) == before
        assert "opened again" not in i.logged(), i.logged()
        assert [int(r.value.split()[0]) for r in broker.consume(space + "_out")] == list(range(500))


def a10_a_topic_that_is_removed_and_made_anew():
    space = broker.name()
    with instance(broker, space, streams() + copy(), provider_keys=SHORT) as i:
        i.start()
        i.publish("in", numbers(0, 100))
        committed_all(i, space)
        assert i.stop() == 0
        broker.tool("remove", space + "_in")
        broker.tool("create", space + "_in", 1)
        broker.produce(space + "_in", input="anew\n")
        told = i.logged().count("has no committed positions")
        i.start()
        i.wait_for("it is told", lambda: i.logged().count("has no committed positions") > told)
        i.wait_for("it is read", lambda: broker.consume(space + "_out")[-1].value == "anew")


def an_input_that_cannot_be_read_again_is_refused():
    """Compacted under exactly-once, or kept for less time than a window lasts: with the numbers."""
    space = broker.name()
    broker.tool("create", space + "_in", 1, "cleanup.policy=compact", "retention.ms=-1")
    broker.tool("create", space + "_brief", 1, "retention.ms=60000")
    text = streams() + stream("brief", **TEXT) + copy() + copy("strict", guarantee="exactly-once") + \
        copy("long", input="brief@earliest", window="tumbling 90s")
    with instance(broker, space, text) as i:
        i.start(ready=False)
        for name, why in (("strict", "stream in is compacted: exactly-once needs every record to be there when it is "
                                     "read again"),
                          ("long", "stream brief keeps records for 60000ms, shorter than the window of 90000ms")):
            i.wait_for(why, lambda: up(i) and why in (i.status(name)["why"] or ""))
            assert not i.status(name)["tasks"], i.status(name)
        i.wait_for("at least once it is read", lambda: i.status("copy")["state"] == "running")
        assert "stream in is compacted: reading again may lack records" in i.logged(), i.logged()


def a10_a_log_that_is_shorter_than_what_is_committed():
    space = broker.name()
    with instance(broker, space, streams() + copy(**{"on-error": "skip"}), provider_keys=SHORT) as i:
        i.start()
        i.publish("in", numbers(0, 100))
        committed_all(i, space)
        tuple_ = broker.committed(space + "_in", space + ".copy")[1]
        assert i.stop() == 0
        broker.tool("remove", space + "_in")
        broker.tool("create", space + "_in", 1)
        i.wait_for("the group is empty", lambda: works(
            broker.tool, "commit", space + "_in", 0, space + ".copy", 100, tuple_))
        i.start(ready=False)
        i.wait_for("it says so", lambda: "made anew or cut" in i.logged())
        i.wait_for("it is stopped", lambda: i.status("copy")["state"] == "stopped")


def a11_partitions_that_are_added():
    space = broker.name()
    keys = {"rdkafka.topic.metadata.refresh.interval.ms": "1000"}
    with instance(broker, space, streams(partitions=1) + copy(input="in"), provider_keys=keys) as i:
        i.start()
        i.wait_for("it reads", lambda: len(i.status("copy")["tasks"]) == 1)
        broker.tool("grow", space + "_in", 3)
        broker.produce(space + "_in", "-p", "2", input="early\n")
        i.wait_for("the new ones are read", lambda: len(i.status("copy")["tasks"]) == 3)
        i.wait_for("also what came before they were found",
                   lambda: [r.value for r in broker.consume(space + "_out")] == ["early"])


def a12_records_that_are_needed_and_gone():
    """A damaged record may be skipped, what is gone may not."""
    space = broker.name()
    with instance(broker, space, streams() + copy(**{"on-error": "skip"}), provider_keys=SHORT) as i:
        i.start()
        i.publish("in", numbers(0, 100))
        committed_all(i, space)
        assert i.stop() == 0
        i.publish("in", numbers(100, 200))
        broker.tool("cut", space + "_in", 0, 150)
        i.start(ready=False)
        i.wait_for("it says how many", lambda: "50 records that were not read are gone: offset 100 is needed, "
                                               "the log begins at 150" in i.logged())
        assert i.status("copy")["state"] == "stopped", i.status("copy")


def a13_positions_that_expired():
    space = broker.name()
    with instance(broker, space, streams() + copy(), provider_keys=SHORT) as i:
        i.start()
        i.publish("in", numbers(0, 10))
        committed_all(i, space)
        assert i.stop() == 0

        i.wait_for("the group is empty", lambda: works(broker.tool, "forget", space + ".copy"))
        before = i.logged().count("has no committed positions")
        i.start()
        i.wait_for("it is told", lambda: i.logged().count("has no committed positions") > before)


def a17_a_record_that_is_too_large():
    space = broker.name()
    text = stream("in", **TEXT) + stream("out", **TEXT) + "topic.max.message.bytes = 1000\n" + PASS + \
        copy(**{"on-error": "skip", "max-records": "1"})
    with instance(broker, space, text) as i:
        i.start()
        i.publish("in", ["1", "x" * 5000, "2"])
        committed_all(i, space)
        out = [r.value for r in broker.consume(space + "_out")]
        assert out == ["1", "2"], (out, i.logged())
        assert "too large" in i.logged().lower(), i.logged()


def a20_somebody_elses_hanging_transaction():
    space = broker.name()
    with instance(broker, space, streams() + copy()) as i:
        i.start()
        i.publish("in", ["before"])
        committed_all(i, space)
        with Hanging(broker, space + "_in"):
            i.publish("in", ["behind"])
            i.wait_for("it is told", lambda: "open transaction" in i.logged())
            assert len(broker.consume(space + "_out")) == 1
        i.wait_for("what lay behind it is out", lambda: len(broker.consume(space + "_out")) == 2)


def openssl(*words):
    run("openssl", *words)


def certificates(where):
    """An authority, a certificate of it for this host, and one that expired; the keys stand before them."""
    def path(name):
        return os.path.join(where, name)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=riffle tests",
            "-keyout", path("ca.key"), "-out", path("ca.pem"))
    with open(path("names"), "w") as names:
        names.write("subjectAltName=IP:127.0.0.1\n")
    for name, days in (("good", "30"), ("expired", "-1")):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", path(name + ".key"),
                "-out", path(name + ".csr"))
        openssl("x509", "-req", "-in", path(name + ".csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
                "-CAcreateserial", "-days", days, "-extfile", path("names"), "-out", path(name + ".crt"))
        with open(path(name + ".pem"), "w") as both:
            for part in (".key", ".crt"):
                with open(path(name + part)) as one:
                    both.write(one.read())
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=somebody else",
            "-keyout", path("other.key"), "-out", path("other.pem"))


SECURED = """
listeners=PLAINTEXT://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CPORT@,GOOD://127.0.0.1:{good},EXPIRED://127.0.0.1:{expired}
advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@,GOOD://127.0.0.1:{good},EXPIRED://127.0.0.1:{expired}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,GOOD:SASL_SSL,EXPIRED:SSL
ssl.keystore.type=PEM
listener.name.good.ssl.keystore.location=@DIR@/good.pem
listener.name.expired.ssl.keystore.location=@DIR@/expired.pem
sasl.enabled.mechanisms=PLAIN
listener.name.good.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_riffle="s3cr3t" user_nobody="s3cr3t";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:riffle
"""


def a15_certificates_and_passwords_that_do_not_do():
    ports = {"good": free_port(), "expired": free_port()}

    def extra(where):
        certificates(where)
        with open(os.path.join(where, "extra.properties"), "w") as out:
            out.write(SECURED.format(**ports))

    with Broker(extra=extra) as secured:
        def publish(port, **keys):
            keys = {"ssl.ca.location": os.path.join(secured.dir, "ca.pem"), "security.protocol": "SASL_SSL",
                    "sasl.mechanism": "PLAIN", "sasl.username": "riffle", "sasl.password": "s3cr3t", **keys}
            with Instance(runtime(space) + section("provider franz", {
                    "type": "kafka", "bootstrap-servers": "127.0.0.1:%d" % ports[port], "request-timeout": "3s",
                    **{"rdkafka." + k: v for k, v in keys.items()}}) + stream("in", **TEXT)) as i:
                done = i.run("publish", "in", "-p", "x")
                assert "s3cr3t" not in done.stderr, done.stderr
                return done
        space = broker.name()
        done = publish("good")
        assert done.returncode == 0, done
        for words, port, keys in (
                ("certificate verify failed", "good",
                 {"ssl.ca.location": os.path.join(secured.dir, "other.pem")}),
                ("certificate", "expired", {"security.protocol": "SSL"}),
                ("Authentication failed", "good", {"sasl.password": "wrong"}),
                ("SCRAM-SHA-256", "good", {"sasl.mechanism": "SCRAM-SHA-256"}),
                # A16: the broker knows who it is, and that it may not.
                ("authorization failed", "good", {"sasl.username": "nobody"})):
            done = publish(port, **keys)
            assert done.returncode == 1 and words in done.stderr, (words, done.stderr)


with Proxy() as proxy, Broker(extra=behind(proxy, QUOTAS)) as broker:
    only = os.environ.get("RIFFLE_ONLY", "").split()
    cases = [a1_a_broker_that_is_down_at_the_start, a2_a_name_that_leads_nowhere_and_a_port_that_speaks_http,
             a3_a_broker_that_is_away_longer_than_every_time_out, a4_a_broker_that_restarts_again_and_again,
             a5_a_broker_that_restarts_while_lines_are_published, a7_a_network_that_is_parted,
             a8_a_slow_broker_is_not_idle, a8_what_a_slow_broker_does_not_take_is_not_read,
             a18_quotas_slow_down_and_do_no_more, an_input_that_cannot_be_read_again_is_refused,
             a10_a_topic_that_is_removed_and_made_anew, a10_a_log_that_is_shorter_than_what_is_committed,
             a11_partitions_that_are_added,
             a12_records_that_are_needed_and_gone, a13_positions_that_expired, a17_a_record_that_is_too_large,
             a20_somebody_elses_hanging_transaction, a15_certificates_and_passwords_that_do_not_do]
    main([case for case in cases if not only or case.__name__ in only])
