"""Transactions under a broker that is stopped, killed, or hears of a commit too late, each at a stated moment.

Trouble in the middle of one (with a check of what a read_committed reader sees, and of how often riffle began anew):
  SIGSTOP, calls without limit / of 5 s (ours: of 1 s)  a_broker_that_is_stopped_is_waited_for, at three moments
  SIGSTOP longer than transaction.timeout.ms            a_transaction_that_expired_is_fatal_and_made_anew
  an answer that is lost with its connection            an_answer_that_is_lost_is_asked_for_again
  a copy of the one before comes late                   a_copy_that_comes_late_is_overtaken
  SIGKILL and restart, calls without limit / of 2 s     a_broker_that_is_killed_is_waited_for
  SIGKILL, away longer than the time-outs of records    a_broker_that_is_away_too_long_aborts
Fencing (the rest of it: tests/unit/kafka_txn_test.c, run here too):
  old generation, still a member                        a_commit_of_an_older_generation_is_refused
  member that left, group empty                         a_commit_of_a_member_that_was_given_up_is_refused
  transactional.id taken, offsets sent                  an_id_that_is_taken_before_the_end_is_made_anew
  static member replaced                                an_instance_that_is_replaced_stops
"""
import os
import signal
import socket
import threading
import time

from exactly_once import judge_commits
from kafka_proxy import END_TXN, HEARTBEAT, PRODUCE, TXN_OFFSETS, Proxy
from kafka_rig import Broker, behind, far, instance, run
from rig import BUILD, LIMIT_S, main, section, stream, wait_for

# A session outlasts what is done to the broker and what a slow machine adds, but where its end is what is asked for.
SHORT = {"rdkafka.session.timeout.ms": "15000", "rdkafka.heartbeat.interval.ms": "200", "request-timeout": "2s",
         "rdkafka.reconnect.backoff.max.ms": "200"}
# How often the processor was opened again and a transaction aborted. What the test does is found out once; where
# time-outs are short, a slow machine may add to it, a few times.
FEW = 5
NONE, ANEW, ABORTED = [(0, 0)], [(1, 0)], [(0, 1)]
SOME = [(anew, aborted) for anew in range(FEW) for aborted in range(FEW) if anew + aborted > 0]
ANEW_AT_LEAST = [counts for counts in SOME if counts[0] > 0]
ABORTED_AT_LEAST = [counts for counts in SOME if counts[0] == 0]
broker = proxy = None


def copy(space, partitions=1, name="one", **keys):
    text = {"content_type": "text/plain", "provider": "franz", "encoding": "raw"}
    return instance(broker, space, stream("in", partitions=partitions, **text) + stream("out", **text) +
                    section("function echo", {"invoker": "passthrough"}) +
                    section("processor copy", {"function": "echo", "input": "in@earliest", "output": "out",
                                               "window": "none", "guarantee": "exactly-once"}),
                    {"instance": name}, {**SHORT, **far(proxy), **keys})


class Run:
    """A processor that copies numbers exactly once, and what came of it."""

    def __init__(self, partitions=1, **keys):
        self.space = broker.name()
        self.partitions = partitions
        self.count = 0
        self.i = copy(self.space, partitions, **keys)

    def __enter__(self):
        self.i.start()
        self.put()
        self.settle()
        return self

    def __exit__(self, *_):
        proxy.heal()
        self.i.__exit__()

    def put(self):
        for p in range(self.partitions):
            lines = "".join("%d.%d\n" % (p, n) for n in range(self.count, self.count + 10))
            broker.produce(self.space + "_in", "-p", str(p), input=lines)
        self.count += 10

    def group(self):
        return self.space + ".copy"

    def commits(self):
        return [(topic, metadata) for group, topic, _, _, metadata in broker.groups()[0]
                if group == self.group() and metadata]

    def settle(self):
        self.i.wait_for("everything is committed", lambda: all(
            broker.committed(self.space + "_in", self.group(), p)[0] == broker.ends(self.space + "_in", p)[1]
            for p in range(self.partitions)))

    def judge(self, recoveries):
        """Each number is there once, in order; how often the processor was opened again and aborted is one of these."""
        self.put()
        self.settle()
        out = [r.value for r in broker.consume(self.space + "_out")]
        for p in range(self.partitions):
            values = [v for v in out if v.startswith("%d." % p)]
            assert values == ["%d.%d" % (p, n) for n in range(self.count)], (values, self.i.logged()[-3000:])
        counts = [self.i.logged().count(words) for words in ("; opened again in", "a transaction was aborted")]
        assert tuple(counts) in recoveries, (counts, self.i.logged()[-3000:])


def later(seconds, what, *arguments):
    timer = threading.Timer(seconds, what, arguments)
    timer.start()
    return timer


def is_back():
    try:
        socket.create_connection(("127.0.0.1", proxy.target)).close()
        return True
    except OSError:
        return False


def stop_for(seconds):
    os.kill(broker.pid(), signal.SIGSTOP)
    return later(seconds, os.kill, broker.pid(), signal.SIGCONT)


def at_put(it, moment, away_s):
    """More numbers; at this moment of theirs the broker is killed, and started again that much later. Set when it was."""
    written = threading.Event()

    def fault():
        assert written.wait(LIMIT_S)
        broker.do("kill")
        later(away_s, broker.do, "start")
    came = proxy.once(moment, fault)
    it.put()
    written.set()
    return came


def the_provider_alone_holds_what_its_border_says():
    run(os.path.join(BUILD, "tests/unit/kafka_txn_test"), env=dict(os.environ, KAFKA_SERVERS=broker.servers))


def a_broker_that_is_stopped_is_waited_for():
    with Run() as it:
        for moment in (PRODUCE, TXN_OFFSETS, END_TXN):
            came = proxy.once(moment, lambda: stop_for(1.5))
            it.put()
            assert came.wait(LIMIT_S), moment
            it.settle()
        it.judge(NONE)


def an_answer_that_is_lost_is_asked_for_again():
    """Positions that came twice in one transaction are one commit."""
    with Run() as it:
        for moment in (PRODUCE, TXN_OFFSETS, END_TXN):
            proxy.lost.add(moment)
            it.put()
            it.settle()
            assert not proxy.lost, moment
        it.judge(NONE)
        assert not judge_commits(it.commits()), it.commits()


def a_copy_that_comes_late_is_overtaken():
    """A broker takes positions of the transaction before into the one that is open; those of the open one come after."""
    with Run() as it:
        came = proxy.once(TXN_OFFSETS, lambda: proxy.send_again(TXN_OFFSETS))
        it.put()
        assert came.wait(LIMIT_S)
        it.judge(NONE)
        all_of_them = [commit for _, commit in broker.positions()[0] if commit[0] == it.group()]
        assert len(all_of_them) == len(set(all_of_them)) + 1, all_of_them
        assert not judge_commits(it.commits())


def a_transaction_that_expired_is_fatal_and_made_anew():
    with Run(**{"rdkafka.transaction.timeout.ms": "1500"}) as it:
        def fault():
            stop_for(2)
            time.sleep(2)
            wait_for("it has expired", lambda: "transactionalId %s/copy/one/0 due to timeout" % it.space
                     in broker.logged())
        came = proxy.once(END_TXN, fault)
        it.put()
        assert came.wait(LIMIT_S)
        it.judge(ANEW_AT_LEAST)
        assert "fenced" in it.i.logged()


def a_broker_that_is_killed_is_waited_for():
    with Run() as it:
        came = at_put(it, END_TXN, 0)
        assert came.wait(LIMIT_S)
        wait_for("it is back", is_back)
        it.judge(NONE)


def a_broker_that_is_away_too_long_aborts():
    with Run(**{"rdkafka.transaction.timeout.ms": "2000"}) as it:
        came = at_put(it, PRODUCE, 3)
        assert came.wait(LIMIT_S)
        wait_for("it is back", is_back)
        # It may have expired the transaction before it hears of the abort.
        it.judge(SOME)


def partitions_of(i):
    """None before it answers."""
    if i.run("processor", "status", "copy").returncode != 0:
        return []
    return [task["partition"] for task in i.status("copy")["tasks"]]


def a_commit_of_an_older_generation_is_refused():
    """By the broker. Nobody waits for it with the partitions, though the records in it are lent by them."""
    with Run(partitions=4, **{"rdkafka.session.timeout.ms": "40000"}) as it:
        gates = [proxy.hold(PRODUCE), proxy.hold(TXN_OFFSETS)]
        came = [proxy.once(kind, lambda: None) for kind in (PRODUCE, TXN_OFFSETS)]
        it.put()
        wait_for("one of them is held", lambda: any(event.is_set() for event in came))
        second = copy(it.space, 4, "two", **{"bootstrap-servers": broker.servers})
        try:
            begin = time.monotonic()
            second.start(ready=False)
            second.wait_for("each has two partitions",
                            lambda: [len(partitions_of(i)) for i in (it.i, second)] == [2, 2])
            seconds = time.monotonic() - begin
            print("# %.1f s from the start of the second one until both have theirs" % seconds)
            # Far less than the session of whom it might have waited for.
            assert seconds < 30, seconds
            theirs = partitions_of(second)
            second.wait_for("it has committed its own", lambda: all(
                broker.committed(it.space + "_in", it.group(), p)[0] == broker.ends(it.space + "_in", p)[1]
                for p in theirs))
            assert "a transaction was aborted" not in it.i.logged()
            for gate in gates:
                gate.set()
            it.i.wait_for("it is refused", lambda: "a transaction was aborted" in it.i.logged())
            assert "Specified group generation id is not valid" in it.i.logged(), it.i.logged()[-3000:]
            it.judge(ABORTED)
        finally:
            second.__exit__()


def a_commit_of_a_member_that_was_given_up_is_refused():
    with Run(**{"rdkafka.session.timeout.ms": "1000"}) as it:
        gate, silence = proxy.hold(TXN_OFFSETS), proxy.hold(HEARTBEAT)
        came = proxy.once(TXN_OFFSETS, lambda: None)
        it.put()
        assert came.wait(LIMIT_S)
        wait_for("it is given up", lambda: "in group %s has failed, removing it" % it.group() in broker.logged())
        gate.set()
        it.i.wait_for("it is refused", lambda: "a transaction was aborted" in it.i.logged())
        silence.set()
        it.judge(ABORTED_AT_LEAST)
        assert "Unknown member" in it.i.logged()


def an_id_that_is_taken_before_the_end_is_made_anew():
    with Run() as it:
        came = proxy.once(END_TXN, lambda: broker.tool("take", it.space + "/copy/one/0"))
        it.put()
        assert came.wait(LIMIT_S)
        it.judge(ANEW)


def an_instance_that_is_replaced_stops():
    with Run() as it:
        second = copy(it.space)
        try:
            second.start()
            second.wait_for("it reads", lambda: len(second.status("copy")["tasks"]) == 1)
            it.i.wait_until_stopped("copy")
            assert "another process has taken the place" in it.i.status("copy")["why"], it.i.status("copy")
            it.judge(NONE)
            assert second.logged().count("opened again") == 0, second.logged()
            assert it.i.stop() == 0 and second.stop() == 0
        finally:
            second.__exit__()


with Proxy() as proxy, Broker(extra=behind(proxy)) as broker:
    only = os.environ.get("RIFFLE_ONLY", "").split()
    cases = [the_provider_alone_holds_what_its_border_says, a_broker_that_is_stopped_is_waited_for,
             an_answer_that_is_lost_is_asked_for_again, a_copy_that_comes_late_is_overtaken,
             a_transaction_that_expired_is_fatal_and_made_anew, a_broker_that_is_killed_is_waited_for,
             a_broker_that_is_away_too_long_aborts, a_commit_of_an_older_generation_is_refused,
             a_commit_of_a_member_that_was_given_up_is_refused, an_id_that_is_taken_before_the_end_is_made_anew,
             an_instance_that_is_replaced_stops]
    main([case for case in cases if not only or case.__name__ in only])
