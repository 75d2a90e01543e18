"""The embedded provider as people use it: several processes on one directory, the verbs of `riffle stream`."""
import json
import os
import resource
import shutil
import subprocess

from rig import LIMIT_S, LOCAL, Instance, Skip, main, section, stream

TEXT = {"content_type": "text/plain"}
PROCESSOR = section("function echo", {"invoker": "command", "command": "cat"})


def copy(name, output="out"):
    return section("processor " + name, {
        "function": "echo", "input": "in@earliest", "output": output, "window": "none"})


def shared(directory, *processors):
    """An instance of its own on a log that others use too."""
    return ("[provider local]\ntype = local\nmap-size = 1GiB\ndir = %s\n" % directory +
            stream("in", partitions=2, **TEXT) + stream("out", **TEXT) + stream("out2", **TEXT) +
            PROCESSOR + "".join(processors))


def payloads(records):
    return sorted(r["payload"] for r in records)


def two_daemons_with_two_groups_share_a_log():
    with Instance("") as first, Instance("") as second:
        log = os.path.join(first.dir, "log-of-both")
        first.write(shared(log, copy("one")))
        second.write(shared(log, copy("two", "out2")))
        first.start()
        second.start()
        lines = ["record %d" % n for n in range(500)]
        first.publish("in", lines[:250])
        second.publish("in", lines[250:])
        assert payloads(first.read("out", 500)) == sorted(lines)
        assert payloads(second.read("out2", 500)) == sorted(lines)
        assert first.stop() == 0 and second.stop() == 0


def a_second_daemon_on_a_group_is_refused_by_name():
    with Instance("") as first, Instance("") as second:
        log = os.path.join(first.dir, "log-of-both")
        first.write(shared(log, copy("one")))
        second.write(shared(log, copy("one")))
        first.start()
        second.start(ready=False)
        second.wait_for("the second says who has the group", lambda: (
            'group \\"default.one\\" is in use by ' in second.logged() and
            "process %d" % first.daemon.pid in second.logged()))
        first.publish("in", ["a"])
        assert payloads(first.read("out", 1)) == ["a"]
        first.wait_until_committed("one")
        # Its locks go with it, however it goes: the other takes over by itself.
        first.daemon.kill()
        first.daemon.wait()
        second.publish("in", ["b"])
        assert payloads(second.read("out", 2)) == ["a", "b"]
        second.stop()


def publish_and_subscribe_work_beside_a_daemon_and_without_one():
    with Instance(LOCAL + stream("in", partitions=2, **TEXT) + stream("out", **TEXT) + PROCESSOR +
                  copy("one")) as i:
        i.publish("in", ["before"])
        assert payloads(i.read("in", 1)) == ["before"]
        i.start()
        i.publish("in", ["beside"])
        assert payloads(i.read("in", 2)) == ["before", "beside"]
        assert payloads(i.read("out", 2)) == ["before", "beside"]
        i.stop()
        i.publish("in", ["after"])
        assert payloads(i.read("in", 3)) == ["after", "before", "beside"]


def records_without_a_key_go_to_the_partitions_in_turn():
    with Instance(LOCAL + stream("a", partitions=3)) as i:
        i.publish("a", [str(n) for n in range(300)])
        count = [len(i.cli("stream", "export", "a", "--partition", str(p)).splitlines()) for p in range(3)]
        assert count == [100, 100, 100], count


def a_function_whose_program_went_away_is_no_hindrance_to_a_publisher():
    gone = section("function gone", {"invoker": "command", "command": "/nonexistent/program"})
    with Instance(LOCAL + stream("a") + stream("b") + gone + section("processor p", {
            "function": "gone", "input": "a", "output": "b", "window": "none"})) as i:
        assert i.run("check").returncode == 78
        i.publish("a", ["x"])
        assert len(i.read("a", 1)) == 1


def what_is_exported_can_be_imported():
    with Instance(LOCAL + stream("a", partitions=3) + stream("b", partitions=3) +
                  stream("c", partitions=1)) as i:
        path = os.path.join(i.dir, "value")
        with open(path, "wb") as out:
            out.write(b"\xff\x00\xfe")
        i.cli("publish", "a", "-f", path, "-k", "k1", "--header", "h:1", "--header", "h:2",
              "--time", "2020-01-02T03:04:05.678Z")
        i.publish("a", ["line %d \u20ac" % n for n in range(2500)], "-k", "k2")
        i.cli("publish", "a", "-p", "", "--partition", "2")
        first = i.cli("stream", "export", "a")
        records = [json.loads(line) for line in first.splitlines()]
        assert len(records) == 2502, len(records)
        binary = next(r for r in records if r["key"] == "k1")
        assert binary["value"] == {"base64": "/wD+"}, binary
        assert binary["headers"] == [["h", "1"], ["h", "2"]], binary
        assert binary["time"] == 1577934245678, binary
        assert [r["value"] for r in records if r["key"] is None] == [""]
        done = i.cli("stream", "import", "b", input=first)
        assert done == 'Imported 2502 records into stream "b"\n', done
        assert i.cli("stream", "export", "b") == first
        # A null value is not an empty one; other partitions are taken on request.
        bare = '{"key":"x","value":null}\n{"value":"","partition":7}\n'
        done = i.run("stream", "import", "c", input=bare)
        assert done.returncode == 1 and "line 2: there is no partition 7, the stream has 1" in done.stderr, done
        done = i.cli("stream", "import", "c", "--repartition", "--dry-run", input=bare)
        assert done == 'Would import 2 records into stream "c"\n', done
        i.cli("stream", "import", "c", "--repartition", input=bare)
        values = [json.loads(line)["value"] for line in i.cli("stream", "export", "c").splitlines()]
        assert values == [None, None, ""], values


def a_bad_line_is_named_and_what_came_before_it_is_kept():
    with Instance(LOCAL + stream("a")) as i:
        for line, why in (("{", "line 2: "), ("[]", "line 2: it is not a JSON object"),
                          ('{"valeu":"x"}', 'line 2: unknown name "valeu"'),
                          ('{"value":{"base64":"%"}}', 'line 2: "value" is neither text nor'),
                          ('{"value":{"n":1}}', 'JSON is text too: "{\\"n\\":1}"'),
                          ('{"headers":[["a"]]}', "line 2: a header is not a pair"),
                          ('{"time":"now"}', 'line 2: "time" is not a number'),
                          ('{"contentType":5}', 'line 2: "contentType" is not text')):
            done = i.run("stream", "import", "a", input='{"value":"good"}\n%s\n{"value":"x"}\n' % line)
            assert done.returncode == 1 and why in done.stderr, (line, done)
            assert done.stdout == 'Imported 1 records into stream "a"\n', done
        assert {r["payload"] for r in i.read("a", 8)} == {"good"}


def what_the_provider_refuses_is_named_by_its_lines():
    lines = ['{"key":"k%d","value":"%d"}' % (n, n) for n in range(1, 6)]
    lines[1] = lines[3] = lines[4] = '{"value":"without a key"}'
    with Instance(LOCAL + stream("a", cleanup="compact")) as i:
        done = i.run("stream", "import", "a", input="\n".join(lines))
        told = done.stderr.splitlines()
        assert done.returncode == 1 and len(told) == 3, done
        assert "line 2: " in told[0] and "compacted by key" in told[0], told
        assert "lines 4 to 5: " in told[1], told
        assert "3 refused; all others up to line 5 are there, none behind it" in told[2], told
        assert done.stdout == 'Imported 2 records into stream "a"\n', done
        kept = [json.loads(line)["value"] for line in i.cli("stream", "export", "a").splitlines()]
        assert kept == ["1", "3"], kept
        # Lines that were read before, and refused while a later one was found to be wrong, are told too.
        done = i.run("stream", "import", "a", input='{"value":"x"}\n\n')
        assert "line 1: topic" in done.stderr and "line 2: it is empty" in done.stderr, done


def a_damaged_record_is_left_out_of_an_export_and_told():
    with Instance(LOCAL + stream("a", partitions=2)) as i:
        for n in range(6):
            i.cli("publish", "a", "-p", "record <%d>" % n, "--partition", str(n % 2))
        path = os.path.join(i.dir, "state", "local", "data.mdb")
        with open(path, "r+b") as log:
            pages = log.read()
            damaged = pages.replace(b"record <2>", b"record <X>")
            assert damaged != pages
            log.seek(0)
            log.write(damaged)
        done = i.run("stream", "export", "a")
        assert done.returncode == 1, done
        assert 'topic "default_a", partition 0, offset 1 is damaged; it is left out' in done.stderr, done
        assert "1 damaged record is left out, all others are written" in done.stderr, done
        kept = [json.loads(line)["value"] for line in done.stdout.splitlines()]
        assert kept == ["record <%d>" % n for n in (0, 4, 1, 3, 5)], kept
        done = i.run("subscribe", "a", "-b", "-n", "5")
        assert done.returncode == 1, done
        assert 'topic "default_a", partition 0, offset 1 is damaged; it is left out' in done.stderr, done
        assert "1 damaged record is left out, all others are written" in done.stderr, done
        printed = [json.loads(line)["payload"] for line in done.stdout.splitlines()]
        assert sorted(printed) == ["record <%d>" % n for n in (0, 1, 3, 4, 5)], printed


def a_list_says_why_it_does_not_know():
    with Instance(LOCAL.replace("local]\n", "local]\ndir = log\n") + stream("a") + stream("b")) as i:
        with open(os.path.join(i.dir, "log"), "w"):
            pass
        done = i.run("stream", "list")
        assert done.returncode == 1 and done.stdout.count("<unknown> <unknown>") == 2, done
        assert done.stderr.count("Not a directory") == 1, done


def a_log_that_was_cut_off_is_an_error_and_kills_nobody():
    with Instance(LOCAL + stream("a")) as i:
        i.publish("a", ["%d " % n + "x" * 500 for n in range(2000)])
        path = os.path.join(i.dir, "state", "local", "data.mdb")
        with open(path, "rb") as log:
            whole = log.read()
        for part in (2 * 4096, 10 * 4096, len(whole) // 2, len(whole) - 4096):
            with open(path, "wb") as log:
                log.write(whole[:part])
            for words in (["stream", "export", "a"], ["publish", "a", "-p", "x"]):
                done = i.run(*words)
                assert done.returncode == 1 or part > len(whole) // 2, (part, done)
                assert done.returncode in (0, 1), (part, done)
                assert done.returncode == 0 or "damaged" in done.stderr, (part, done)
        with open(path, "wb") as log:
            log.write(whole)
        assert len(i.cli("stream", "export", "a").splitlines()) == 2000


def a_log_that_is_gone_is_not_begun_anew():
    with Instance(LOCAL + stream("a")) as i:
        i.publish("a", ["x"])
        where = os.path.join(i.dir, "state", "local")
        path = os.path.join(where, "data.mdb")
        aside = os.path.join(i.dir, "aside")
        shutil.copy(path, aside)
        for size, what in ((5000, "cut off"), (0, "empty"), (None, "gone")):
            if size is None:
                os.remove(path)
            else:
                os.truncate(path, size)
            done = i.run("publish", "a", "-p", "y")
            why = "data.mdb is %s, but there was a log: put it back, or remove the whole of %s to begin anew" % (what, where)
            assert done.returncode == 1 and why in done.stderr, done
            assert (os.path.getsize(path) if os.path.exists(path) else None) == size
        shutil.copy(aside, path)
        i.publish("a", ["y"])
        assert len(i.cli("stream", "export", "a").splitlines()) == 2
        # What dies before the first transaction leaves nothing that could be lost.
        for size in (0, 5000):
            shutil.rmtree(where)
            os.mkdir(where, 0o700)
            with open(path, "wb") as log:
                log.truncate(size)
            i.publish("a", ["z"])


def a_daemon_without_room_says_so_and_goes_on_when_there_is_some():
    with Instance(LOCAL + stream("in", **TEXT) + stream("out", **TEXT) + PROCESSOR + copy("one")) as i:
        i.publish("in", ["first"])
        i.start()
        i.read("out", 1)
        i.wait_until_committed("one")
        soft, hard = resource.prlimit(i.daemon.pid, resource.RLIMIT_FSIZE)
        size = os.path.getsize(os.path.join(i.dir, "state", "local", "data.mdb"))
        resource.prlimit(i.daemon.pid, resource.RLIMIT_FSIZE, (size, hard))
        lines = ["%d " % n + "x" * 1000 for n in range(500)]
        i.publish("in", lines)
        i.wait_for("the daemon says what is wrong", lambda: "File too large" in i.logged())
        assert i.daemon.poll() is None
        resource.prlimit(i.daemon.pid, resource.RLIMIT_FSIZE, (soft, hard))
        i.wait_until_committed("one")
        assert {r["payload"] for r in i.read_all("out")} == {"first", *lines}
        assert i.stop() == 0


OTHER = 65534  # nobody


def as_root():
    if os.geteuid() != 0:
        raise Skip("only root can do this as somebody else")


def what_root_makes_in_the_directory_of_a_daemon_is_the_daemons():
    as_root()
    with Instance(LOCAL + stream("in")) as i:
        state = os.path.join(i.dir, "state")
        os.mkdir(state, 0o700)
        os.chown(state, OTHER, OTHER)
        i.publish("in", ["a"])
        i.cli("stream", "seek", "in", "--group", "g", "--to", "latest", "--create")
        i.cli("stream", "create", "extra", "--provider", "local")
        made = [os.path.join(where, name) for where, folders, files in os.walk(state) for name in folders + files]
        assert len(made) >= 8, made
        assert {os.stat(path).st_uid for path in made} == {OTHER}, made


def who_may_not_open_a_log_is_told_whose_it_is():
    as_root()
    with Instance(LOCAL + stream("in")) as i:
        i.publish("in", ["a"])
        os.chmod(i.dir, 0o755)
        os.chmod(i.file, 0o644)
        beside = dict(user=OTHER, group=OTHER, extra_groups=[])
        done = i.run("stream", "status", "in", **beside)
        assert done.returncode == 1 and "Permission denied; %s belongs to root" % os.path.join(
            i.dir, "state") in done.stderr, done
        assert payloads(i.read("in", 1)) == ["a"]


def status_shows_partitions_groups_and_lag_and_seek_moves_them():
    with Instance(LOCAL + stream("in", partitions=2, **TEXT) + stream("out", **TEXT) + PROCESSOR +
                  copy("one")) as i:
        i.start()
        for n in range(4):
            i.cli("publish", "in", "-p", "x", "--partition", str(n % 2),
                  "--time", "2020-01-0%dT00:00:00Z" % (n + 1))
        i.read("out", 4)
        i.wait_until_committed("one")
        status = json.loads(i.cli("stream", "status", "in", "-o", "json"))
        assert [(p["start"], p["end"], p["records"]) for p in status["partitions"]] == [(0, 2, 2)] * 2
        group = status["groups"][0]
        assert group["group"] == "default.one" and group["active"] and "process" in group["member"], group
        assert [p["lag"] for p in group["positions"]] == [0, 0], group
        busy = i.run("stream", "seek", "in", "--group", "default.one", "--to", "earliest")
        assert busy.returncode == 1 and 'group "default.one" is in use by' in busy.stderr, busy
        for word in (["seek", "in", "--group", "default.one", "--to", "latest"], ["delete", "in", "--purge"]):
            busy = i.run("stream", *word, "--dry-run")
            assert busy.returncode == 1 and "default.one" in busy.stderr and busy.stdout == "", busy
        i.stop()

        def lags(*to):
            i.cli("stream", "seek", "in", "--group", "default.one", "--to", *to)
            now = json.loads(i.cli("stream", "status", "in", "-o", "json", "--group", "default.one"))
            return [p["lag"] for p in now["groups"][0]["positions"]]
        assert lags("earliest") == [2, 2]
        assert lags("2020-01-03T00:00:00Z") == [1, 1]
        assert lags("latest") == [0, 0]
        assert lags("1", "--partition", "1") == [0, 1]
        table = i.cli("stream", "status", "in")
        assert "PARTITION" in table and "default.one" in table and "idle" in table, table
        wrong = i.run("stream", "seek", "in", "--group", "default.one", "--to", "9")
        assert wrong.returncode == 1 and "has offsets 0 to 2, not 9" in wrong.stderr, wrong
        unclear = i.run("stream", "seek", "in", "--group", "default.one", "--to", "now")
        assert unclear.returncode == 2 and "--to now: earliest, latest, a time" in unclear.stderr, unclear
        # What was moved back is read again.
        i.cli("stream", "seek", "in", "--group", "default.one", "--to", "earliest")
        i.start()
        i.read("out", 8)
        i.stop()


def deleting_keeps_the_records_unless_they_are_purged():
    with Instance(LOCAL + stream("kept", **TEXT)) as i:
        i.cli("stream", "create", "extra", "--provider", "local", "--content-type", "text/plain")
        i.publish("extra", ["a"])
        assert "Would remove" in i.cli("stream", "delete", "extra", "--dry-run", "--purge")
        i.cli("stream", "delete", "extra")
        assert i.run("publish", "extra", "-p", "x").returncode == 1
        i.cli("stream", "create", "extra", "--provider", "local", "--content-type", "text/plain")
        assert payloads(i.read("extra", 1)) == ["a"]
        i.cli("stream", "delete", "extra", "--purge")
        i.cli("stream", "create", "extra", "--provider", "local", "--content-type", "text/plain")
        assert i.read_all("extra") == []
        refused = i.run("stream", "delete", "kept")
        assert refused.returncode == 1 and "is written in " in refused.stderr, refused
        i.publish("kept", ["b"])
        i.cli("stream", "delete", "kept", "--purge")
        assert i.read_all("kept") == []


def a_stream_in_use_is_not_deleted():
    with Instance(LOCAL + stream("in", **TEXT) + stream("out", **TEXT) + PROCESSOR + copy("one")) as i:
        i.start()
        busy = i.run("stream", "delete", "in", "--purge")
        assert busy.returncode == 1 and 'stream "in" is read by group "default.one"' in busy.stderr, busy
        i.publish("in", ["a"])
        i.read("out", 1)
        i.stop()
        i.write(LOCAL + stream("in", **TEXT) + PROCESSOR + copy("one"))
        assert i.run("stream", "create", "out", "--provider", "local").returncode == 78
        i.write(LOCAL + stream("in", **TEXT) + PROCESSOR)
        i.cli("stream", "create", "out", "--provider", "local", "--content-type", "text/plain")
        i.write(LOCAL + stream("in", **TEXT) + PROCESSOR + copy("one"))
        needed = i.run("stream", "delete", "out")
        assert needed.returncode == 78 and "out" in needed.stderr, needed
        assert payloads(i.read("out", 1)) == ["a"]


def what_retention_took_is_told_and_can_be_passed():
    kept = dict(TEXT, retention_size="64KiB", segment="64KiB")
    head = "[provider local]\ntype = local\nmap-size = 1GiB\nclean-interval = 5ms\n"
    tail = stream("out", **TEXT) + PROCESSOR + copy("one")
    with Instance(head + stream("in", **kept) + tail) as i:
        i.publish("in", ["first"])
        i.start()
        i.read("out", 1)
        i.wait_until_committed("one")
        i.stop()
        lines = ["%04d " % n + "x" * 900 for n in range(600)]
        for n in range(0, 600, 60):
            i.publish("in", lines[n:n + 60])
        # Processes clean while they live: this one waits for its lines.
        with subprocess.Popen([i.program, "publish", "-c", i.file, "in", "-l"], env=i.env,
                              stdin=subprocess.PIPE, text=True) as publisher:
            i.wait_for("retention takes what was not read", lambda: json.loads(
                i.cli("stream", "status", "in", "-o", "json"))["partitions"][0]["start"] > 1)
            publisher.communicate(lines[-1] + "\n", timeout=LIMIT_S)
        i.start(ready=False)
        i.wait_for("the task stops and says why", lambda: "is behind retention" in i.logged())
        i.stop()
        i.write(head + stream("in", behind_retention="earliest", **kept) + tail)
        i.start()
        i.wait_for("the last record comes", lambda: lines[-1] in [r["payload"] for r in i.read_all("out")])
        assert "reading goes on after them" in i.logged()
        i.stop()


main([two_daemons_with_two_groups_share_a_log,
      a_second_daemon_on_a_group_is_refused_by_name,
      publish_and_subscribe_work_beside_a_daemon_and_without_one,
      records_without_a_key_go_to_the_partitions_in_turn,
      a_function_whose_program_went_away_is_no_hindrance_to_a_publisher,
      what_is_exported_can_be_imported,
      a_bad_line_is_named_and_what_came_before_it_is_kept,
      what_the_provider_refuses_is_named_by_its_lines,
      a_damaged_record_is_left_out_of_an_export_and_told,
      a_list_says_why_it_does_not_know,
      a_log_that_was_cut_off_is_an_error_and_kills_nobody, a_log_that_is_gone_is_not_begun_anew,
      a_daemon_without_room_says_so_and_goes_on_when_there_is_some,
      what_root_makes_in_the_directory_of_a_daemon_is_the_daemons,
      who_may_not_open_a_log_is_told_whose_it_is,
      status_shows_partitions_groups_and_lag_and_seek_moves_them,
      deleting_keeps_the_records_unless_they_are_purged,
      a_stream_in_use_is_not_deleted,
      what_retention_took_is_told_and_can_be_passed])
