"""The daemon and its verbs, as a user meets them."""
import errno
import json
import os
import re
import signal
import socket
import subprocess

from rig import LIMIT_S, LOCAL, Instance, main, section, stream

TEXT = {"content_type": "text/plain"}
COPY = {"function": "echo", "input": "in@earliest", "output": "out", "window": "count 3"}


def config(function=None, **processor):
    function = function or {"invoker": "passthrough"}
    return (LOCAL + stream("in", **TEXT) + stream("out", **TEXT) + section("function echo", function) +
            section("processor copy", {**COPY, **{k.replace("_", "-"): v for k, v in processor.items()}}))


def payloads(records):
    return [r["payload"] for r in records]


def averages_are_those_of_the_seed():
    text = (LOCAL + stream("in", content_type="application/json") +
            stream("out", content_type="application/json") +
            section("function averager", {
                "invoker": "command",
                "command": "awk '{ s += $1; n++ } END { if (n) printf \"%.1f\\n\", s / n }'"}) +
            section("processor time-averager", {
                "function": "averager", "input": "in@earliest", "output": "out",
                "window": "count 2 or 1s"}))
    with Instance(text) as i:
        i.start()
        # In one go: the window that the first one opens is over soon.
        i.publish("in", ["10", "100"], "--content-type", "application/json")
        out = i.cli("subscribe", "out", "-b", "-n", "1", "--payload-encoding", "raw", "--wait-timeout", "%ds" % LIMIT_S)
        assert out == '{"payload":"55.0","contentType":"application/json","headers":{}}\n', out
        i.cli("publish", "in", "-p", "2")
        assert payloads(i.read("out", 2)) == ["55.0", "2.0"]
        assert i.stop() == 0


def open_windows_are_rebuilt_after_a_stop():
    # Streaming, the answer to the fourth record would be out before the stop, and come again after it.
    with Instance(config(delivery="at-close")) as i:
        i.start()
        i.publish("in", ["a", "b", "c", "d"])
        assert payloads(i.read("out", 3)) == ["a", "b", "c"]
        i.wait_for("the fourth record is in a window",
                   lambda: i.status("copy")["tasks"][0]["recordsIn"] == 4)
        assert i.stop() == 0
        i.start()
        i.publish("in", ["e", "f"])
        assert payloads(i.read("out", 6)) == ["a", "b", "c", "d", "e", "f"]
        i.wait_until_committed("copy")
        assert i.stop() == 0
        assert len(i.read_all("out")) == 6


def exactly_once_survives_a_restart_without_doubles():
    with Instance(config(guarantee="exactly-once")) as i:
        i.start()
        i.publish("in", ["%d" % n for n in range(300)])
        i.wait_until_committed("copy")
        assert i.stop() == 0
        i.start()
        i.publish("in", ["%d" % n for n in range(300, 600)])
        i.wait_until_committed("copy")
        assert payloads(i.read_all("out")) == ["%d" % n for n in range(600)]


def several_inputs_and_outputs_with_aliases():
    text = (LOCAL + stream("left", **TEXT) + stream("right", **TEXT) + stream("out", **TEXT) +
            section("function echo", {"invoker": "passthrough"}) +
            section("processor join", {"function": "echo", "input": "l:left@earliest, r:right@earliest",
                                       "output": "joined:out", "window": "count 4"}))
    with Instance(text) as i:
        i.start()
        i.publish("left", ["1", "2"])
        i.publish("right", ["3", "4"])
        assert sorted(payloads(i.read("out", 4))) == ["1", "2", "3", "4"]
        lanes = i.status("join")["tasks"][0]["lanes"]
        assert [lane["input"] for lane in lanes] == ["l", "r"], lanes


def inputs_on_two_providers_are_read_together():
    text = (LOCAL + "[provider other]\ntype = local\ndir = other\nmap-size = 1GiB\n" + stream("in", partitions=2, **TEXT) +
            stream("more", provider="other", partitions=2, **TEXT) + stream("out", **TEXT) +
            section("function echo", {"invoker": "passthrough"}) +
            section("processor join", {"function": "echo", "input": "in@earliest, more@earliest",
                                       "output": "out", "window": "none"}))
    with Instance(text) as i:
        i.start()
        for name in ("in", "more"):
            i.publish(name, [name + str(n) for n in range(20)])
        i.wait_until_committed("join")
        assert i.stop() == 0
        i.start()
        i.publish("more", ["late"])
        i.wait_until_committed("join")
        assert len(i.read_all("out")) == 41


def nothing_is_changed_on_the_way():
    with Instance(config(window="none")) as i:
        i.start()
        i.cli("publish", "in", "--payload-base64", "AP+A", "-k", "", "--header", "a:1", "--header", "a:2:3")
        i.cli("publish", "in", "-p", "")
        i.cli("publish", "in", "-p", "käse")
        first, second, third = i.read("out", 3)
        assert first == {"payload": "AP+A", "payloadEncoding": "base64", "contentType": "text/plain",
                         "headers": {"a": ["1", "2:3"]}}, first
        assert second["payload"] == "" and third["payload"] == "käse"
        raw = i.run("subscribe", "out", "-b", "-n", "1", "--payload-encoding", "raw")
        assert raw.returncode == 1 and "partition 0, offset 0 is not UTF-8" in raw.stderr, raw.stderr


def the_door_refuses_other_content_types():
    with Instance(config()) as i:
        done = i.run("publish", "in", "--content-type", "image/png", "-p", "x")
        assert done.returncode == 1
        assert done.stderr == ('riffle publish: contentType "image/png" not compatible with expected '
                               'contentType "text/plain"\n'), done.stderr
        i.cli("publish", "in", "--content-type", "TEXT/plain; charset=utf-8", "-p", "x")


def a_failing_function_is_tried_again_and_stops_the_task():
    function = {"invoker": "command", "command": "false"}
    with Instance(config(function, window="none", on_error="retry 2 backoff 10ms..20ms then stop")) as i:
        i.start()
        i.publish("in", ["x"])
        i.wait_for("it is stopped", lambda: i.status("copy")["state"] == "stopped")
        status = i.status("copy")
        assert "exit status 1" in status["why"], status
        health = i.run("health")
        assert health.returncode == 1 and "copy: stopped" in health.stderr
        assert i.stop() == 0
        i.write(config(window="none"))
        i.start()
        assert payloads(i.read("out", 1)) == ["x"]


def a_temporary_failure_is_retried_with_the_same_window():
    function = {"invoker": "command", "shell": "yes",
                "command": '"test $RIFFLE_ATTEMPT -ge 3 || exit 75; cat"'}
    with Instance(config(function, on_error="retry 5 backoff 10ms..20ms then stop")) as i:
        i.start()
        i.publish("in", ["a", "b", "c"])
        assert payloads(i.read("out", 3)) == ["a", "b", "c"]
        assert i.status("copy")["tasks"][0]["retries"] == 2
        assert len(i.read_all("out")) == 3


def a_stop_does_not_wait_for_what_fails():
    function = {"invoker": "command", "shell": "yes", "command": '"exit 75"'}
    with Instance(config(function, window="none", on_error="retry 1000 backoff 1h..2h then stop")) as i:
        i.start()
        i.publish("in", ["x"])
        i.wait_for("it failed once", lambda: i.status("copy")["tasks"][0]["retries"] == 1)
        assert i.stop() == 0
        i.write(config(window="none"))
        i.start()
        assert payloads(i.read("out", 1)) == ["x"]


def a_hung_function_is_timed_out_and_does_not_hold_a_stop():
    function = {"invoker": "command", "command": "sleep 1000", "timeout": "200ms", "grace": "100ms"}
    with Instance(config(function, window="none", on_error="stop")) as i:
        i.start()
        i.publish("in", ["x"])
        i.wait_for("it is stopped", lambda: i.status("copy")["state"] == "stopped")
        assert "timeout = 200ms" in i.status("copy")["why"]
        assert i.stop() == 0
    function["timeout"] = "1h"
    with Instance(config(function, window="none")) as i:
        i.start("--set", "runtime.shutdown-timeout=300ms")
        i.publish("in", ["x"])
        i.wait_for("it is called", lambda: i.status("copy")["tasks"][0]["callsOpen"] == 1)
        assert i.stop() == 1
        assert "D004" in i.logged()


def a_daemon_that_is_told_to_end_while_it_reads_its_file_ends_in_order():
    with Instance(config()) as i:
        pipe = os.path.join(i.dir, "pipe")
        os.mkfifo(pipe)
        i.write(config() + "[runtime]\nnamespace = ${file:pipe}\n")
        i.start(ready=False)
        # Nobody can open it for writing before the daemon reads it, which then waits for us.
        writing = []
        i.wait_for("it reads the pipe", lambda: open_for_writing(pipe, writing))
        i.daemon.send_signal(signal.SIGTERM)
        os.write(writing[0], b"space")
        os.close(writing[0])
        assert i.daemon.wait(timeout=LIMIT_S) == 0, i.logged()
        assert "stopping: SIGTERM" in i.logged(), i.logged()


def open_for_writing(pipe, fds):
    try:
        fds.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as why:
        assert why.errno == errno.ENXIO, why
    return fds


def a_second_signal_ends_it_at_once():
    function = {"invoker": "command", "command": "sleep 1000", "timeout": "1h", "grace": "100ms"}
    with Instance(config(function, window="none")) as i:
        i.start()
        i.publish("in", ["x"])
        i.wait_for("it is called", lambda: i.status("copy")["tasks"][0]["callsOpen"] == 1)
        i.daemon.send_signal(signal.SIGTERM)
        i.wait_for("it stops", lambda: "stopping" in i.logged())
        # What comes at once may be the first one again, and does not count.
        i.wait_for("it ends", lambda: i.daemon.send_signal(signal.SIGTERM) or i.daemon.poll() is not None)
        assert i.daemon.returncode == 1


def a_signal_that_comes_twice_and_a_terminal_that_goes_do_not_cut_a_stop_short():
    """As timeout(1) sends it, to the process and to its group; of two kinds, as equal ones may become one."""
    function = {"invoker": "command", "command": "sh -c 'sleep 1; cat'"}
    with Instance(config(function, window="none")) as i:
        i.start()
        i.publish("in", ["x"])
        i.wait_for("it is called", lambda: i.status("copy")["tasks"][0]["callsOpen"] == 1)
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            i.daemon.send_signal(number)
        i.wait_for("it stops", lambda: "stopping" in i.logged())
        i.daemon.send_signal(signal.SIGHUP)
        assert i.daemon.wait(timeout=LIMIT_S) == 0, i.logged()
        assert [r["payload"] for r in i.read("out", 1)] == ["x"]


def a_start_says_when_the_first_window_closes_as_all_else_is_dated():
    for window, said in (("tumbling 1d", r"; first window closes 00:00:00 UTC;"),
                         ("tumbling 36000d", r"; first window closes \d{4}-\d\d-\d\d 00:00:00 UTC;")):
        with Instance(config(window=window)) as i:
            i.env["TZ"] = "Asia/Kathmandu"
            i.publish("in", ["x"])
            i.start()
            i.wait_for("it says so", lambda: "closes" in i.logged())
            assert re.search(r"in@earliest \(1 record is waiting\)" + said, i.logged()), i.logged()
            assert i.stop() == 0


def changed_window_settings_are_refused():
    with Instance(config()) as i:
        i.start()
        i.publish("in", ["a", "b", "c"])
        i.wait_until_committed("copy")
        i.stop()
        i.write(config(window="count 5"))
        i.start(ready=False)
        i.wait_for("it is stopped", lambda: "window settings of group default.copy" in i.logged())
        assert i.run("health").returncode == 1


def two_daemons_do_not_share_a_state_directory_or_a_group():
    with Instance(config()) as i:
        i.start()
        second = i.run("run")
        assert second.returncode == 1 and "process %d runs with the state directory" % i.daemon.pid in second.stderr
        log = os.path.join(i.dir, "state", "local")
        other = config().replace("type = local", "type = local\ndir = " + log)
        with Instance(other) as j:
            j.start(ready=False)
            j.wait_for("the group is refused",
                       lambda: "is in use by" in j.logged() and "process %d" % i.daemon.pid in j.logged())
            i.stop()
            j.wait_until_ready()


def the_admin_socket_answers():
    with Instance(config()) as i:
        i.start()
        assert i.get("/healthz") == (200, '{"ok":true}')
        assert i.get("/readyz") == (200, '{"ready":true,"reasons":[]}')
        assert i.get("/v1/processors/none")[0] == 404 and i.get("/nothing")[0] == 404
        assert i.get("/healthz", "DELETE")[0] == 405
        assert json.loads(i.get("/v1/processors")[1])[0]["name"] == "copy"
        admin = os.path.join(i.dir, "state", "riffle.sock")
        assert os.stat(admin).st_mode & 0o007 == 0
        i.daemon.kill()
        i.daemon.wait()
        assert os.path.exists(admin)
        i.start()
        assert i.get("/healthz")[0] == 200


def exit_statuses_are_those_of_the_manual():
    with Instance(config()) as i:
        assert i.run("check").returncode == 0
        assert "fine: " in i.run("check").stdout
        assert i.run("publish", "in").returncode == 2
        assert i.run("publish", "none", "-p", "x").returncode == 1
        i.write(config(window="tumblng 1m"))
        bad = i.run("check")
        assert bad.returncode == 78 and "did you mean 'tumbling'?" in bad.stderr, bad.stderr
        assert json.loads(i.run("check", "-o", "json").stdout)["errors"] == 1
        assert i.run("run").returncode == 78
    for words, status in ((["--help"], 0), ([], 2), (["publsh"], 2), (["--version"], 0), (["run", "--help"], 0)):
        done = subprocess.run([i.program, *words], capture_output=True, text=True)
        assert done.returncode == status, (words, done)
    assert "did you mean 'publish'?" in subprocess.run(
        [i.program, "publsh"], capture_output=True, text=True).stderr


def streams_are_created_and_listed():
    with Instance(config()) as i:
        dry = i.cli("stream", "create", "extra", "--provider", "local", "--dry-run")
        assert dry == "[stream extra]\nprovider = local\n"
        assert "extra" not in i.cli("stream", "list")
        out = i.cli("stream", "create", "extra", "--gateway", "local", "--content-type", "text/plain")
        assert out == 'Created stream "extra"\n', out
        listed = [line.split() for line in i.cli("stream", "list").splitlines()]
        assert listed[0] == ["NAME", "PROVIDER", "CONTENT-TYPE", "STATUS", "AGE"]
        assert ["extra", "local", "text/plain", "Ready", "<unknown>"] in listed, listed
        assert i.run("stream", "create", "extra", "--provider", "local").returncode == 1
        bad = i.run("stream", "create", "worse", "--provider", "nobody")
        assert bad.returncode == 78 and "nobody" in bad.stderr
        assert i.run("check").returncode == 0


def the_service_manager_is_told_what_waits():
    """An instance that waits for a group which another one has is up, and not all of it runs."""
    with Instance(config()) as i, Instance("") as standby:
        i.start()
        standby.write(config().replace("type = local", "type = local\ndir = " + os.path.join(i.dir, "state", "local")))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            path = os.path.join(standby.dir, "notify")
            manager.bind(path)
            manager.settimeout(LIMIT_S)
            standby.env["NOTIFY_SOCKET"] = path
            standby.start(ready=False)
            said = manager.recv(4096).decode()
            assert said.startswith("READY=1\nSTATUS=0 of 1 processors began; waiting: copy ("), said
            while "is in use by" not in said:
                said = manager.recv(4096).decode()
            assert said.startswith("READY=1\nSTATUS=0 of 1 processors began; waiting: copy (failed: "), said
            assert said.count("\n") == 1, said
            assert standby.run("health").returncode == 1 and standby.get("/readyz")[0] == 503
            assert i.stop() == 0
            while not said.endswith("STATUS=1 of 1 processors began"):
                said = manager.recv(4096).decode()
            standby.wait_until_ready()
            assert standby.stop() == 0
            while said != "STOPPING=1":
                said = manager.recv(4096).decode()


def signals_and_descriptors_do_not_leak_into_programs():
    function = {"invoker": "command", "shell": "yes",
                "command": '"cat >/dev/null; ls /proc/self/fd | tr \'\\\\n\' \' \'; echo; grep SigBlk /proc/self/status"'}
    with Instance(config(function, window="none")) as i:
        i.start()
        i.publish("in", ["x"])
        fds, blocked = payloads(i.read("out", 2))
        # ls itself opens the directory it lists, as 3.
        assert fds.split() == ["0", "1", "2", "3"], fds
        assert int(blocked.split()[1], 16) == 0, blocked


main([averages_are_those_of_the_seed, open_windows_are_rebuilt_after_a_stop,
      exactly_once_survives_a_restart_without_doubles, several_inputs_and_outputs_with_aliases,
      inputs_on_two_providers_are_read_together, nothing_is_changed_on_the_way,
      the_door_refuses_other_content_types, a_failing_function_is_tried_again_and_stops_the_task,
      a_temporary_failure_is_retried_with_the_same_window, a_stop_does_not_wait_for_what_fails,
      a_hung_function_is_timed_out_and_does_not_hold_a_stop, a_second_signal_ends_it_at_once,
      a_start_says_when_the_first_window_closes_as_all_else_is_dated,
      a_signal_that_comes_twice_and_a_terminal_that_goes_do_not_cut_a_stop_short,
      a_daemon_that_is_told_to_end_while_it_reads_its_file_ends_in_order,
      changed_window_settings_are_refused, two_daemons_do_not_share_a_state_directory_or_a_group,
      the_admin_socket_answers, exit_statuses_are_those_of_the_manual, streams_are_created_and_listed,
      the_service_manager_is_told_what_waits, signals_and_descriptors_do_not_leak_into_programs])
