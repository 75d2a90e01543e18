"""What shells, terminals and full disks do to the command: nothing printed is lost without a word."""
import os
import signal
import subprocess

from rig import LIMIT_S, LOCAL, RIFFLE, TEST_PLUGINS, Instance, Skip, main, section, stream


def command(i, *words, **options):
    return subprocess.run([RIFFLE, words[0], "-c", i.file, *words[1:]], env=i.env, stderr=subprocess.PIPE, text=True, **options)


def what_cannot_be_printed_is_a_failure():
    with Instance(LOCAL + stream("a")) as i, open("/dev/full", "w") as full:
        for words in (["check"], ["stream", "list"], ["plugin", "list"], ["plugin", "show", "local", "--ini"],
                      ["completion", "bash"], ["manual", "riffle.ini"]):
            done = command(i, *words, stdout=full)
            said = "riffle %s: cannot write to stdout" % words[0]
            assert done.returncode == 1 and said in done.stderr, done
        done = subprocess.run([RIFFLE, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "cannot write to stdout" in done.stderr, done
        # A verb that failed has said why, and keeps its status.
        i.write(LOCAL + "[stream a]\nprovider = none\n")
        assert command(i, "check", stdout=full).returncode == 78


def files_do_not_take_the_places_of_closed_descriptors():
    with Instance(LOCAL + stream("a")) as i:
        i.publish("a", ["1", "2"])
        for words, said in ((["subscribe", "a", "-b", "-n", "1"], "cannot write to stdout"),
                            (["stream", "export", "a"], "cannot write to stdout"),
                            (["stream", "list"], "cannot write to stdout"),
                            (["publish", "a", "-l"], "cannot read stdin behind line 0: Bad file descriptor")):
            done = command(i, *words, preexec_fn=lambda: (os.close(0), os.close(1)))
            assert done.returncode == 1 and said in done.stderr, done
        daemon = subprocess.Popen([RIFFLE, "run", "-c", i.file], env=i.env,
                                  preexec_fn=lambda: [os.close(fd) for fd in range(3)])
        try:
            i.wait_until_ready()
            at = [os.readlink("/proc/%d/fd/%d" % (daemon.pid, fd)) for fd in range(3)]
            assert at == ["/dev/null"] * 3, at
        finally:
            daemon.terminate()
            assert daemon.wait() == 0
        assert [r["payload"] for r in i.read_all("a")] == ["1", "2"]


def a_subscribe_that_nobody_reads_ends_without_another_record():
    with Instance(LOCAL + stream("a")) as i:
        i.publish("a", ["1"])
        reading = subprocess.Popen([RIFFLE, "subscribe", "a", "-b", "-c", i.file], env=i.env, stdout=subprocess.PIPE)
        assert b'"payload":"1"' in reading.stdout.readline()
        reading.stdout.close()
        assert reading.wait(timeout=LIMIT_S) == -signal.SIGPIPE


def what_passes_is_told_and_does_not_end_a_reading():
    text = section("provider moody", {"type": "moody"}) + stream("a", provider="moody")
    with Instance(text, plugins=TEST_PLUGINS) as i:
        for words, told in ((["stream", "export", "a"], "stream export"), (["subscribe", "a", "-b", "-n", "3"], "subscribe")):
            done = i.run(*words)
            assert done.returncode == 0 and done.stdout.count("record ") == 3, done
            assert done.stderr == "riffle %s: in no mood; it is tried again\n" % told, done
        # One that never says that it is closed is not waited for without end.
        i.write(text.replace("type = moody", "type = moody\ncloses = no"))
        done = i.run("stream", "export", "a")
        assert done.returncode == 0 and done.stdout.count("record ") == 3, done
        assert done.stderr.endswith('riffle stream export: provider "moody" did not close within 10 s\n'), done


def a_full_disk_at_the_start_is_an_error_that_may_pass():
    """On a file system of its own, where that may be made."""
    script = """mount -t tmpfs -o size=1m none "$1" && dd if=/dev/zero of="$1/fill" bs=1k 2>/dev/null
                truncate -s -%dk "$1/fill" && shift && exec "$@" """
    with Instance(LOCAL + stream("a")) as i:
        state = os.path.join(i.dir, "state")
        os.mkdir(state, 0o700)
        # Room for nothing, and for some of what is made first.
        for free, words in ((0, ["run"]), (0, ["publish", "a", "-p", "x"]), (8, ["publish", "a", "-p", "x"]),
                            (8, ["subscribe", "a"]), (64, ["publish", "a", "-p", "x"]), (68, ["publish", "a", "-p", "x"])):
            done = subprocess.run(["unshare", "-rm", "sh", "-c", script % free, "sh", state, RIFFLE, words[0], "-c", i.file, *words[1:]],
                                  env=i.env, capture_output=True, text=True, timeout=LIMIT_S)
            if "unshare" in done.stderr or "mount" in done.stderr:
                raise Skip(done.stderr.strip())
            assert done.returncode == 1 and "o space left on device" in done.stderr, (free, done)


main([a_full_disk_at_the_start_is_an_error_that_may_pass, a_subscribe_that_nobody_reads_ends_without_another_record, what_passes_is_told_and_does_not_end_a_reading,
      what_cannot_be_printed_is_a_failure, files_do_not_take_the_places_of_closed_descriptors])
