"""A plugin that is written outside the tree, against the installed headers alone, loads and runs."""
import os
import re
import shutil
import subprocess
import tempfile

from rig import BUILD, LOCAL, PLUGINS, SRC, Instance, main, section, stream


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, "%s\n%s%s" % (" ".join(words), done.stdout, done.stderr)
    return done.stdout


def find(top, name):
    return run("find", top, "-name", name).splitlines()[0]


def build_outside(example, top):
    """An installed example, copied to a strange place and built with nothing of the source tree in sight."""
    stage = os.path.join(top, "stage")
    run("make", "-s", "-C", BUILD, "install", "DESTDIR=" + stage)
    env = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(find(stage, "riffle-plugin.pc")),
               PKG_CONFIG_SYSROOT_DIR=stage)
    shutil.copytree(find(stage, example), os.path.join(top, "mine"))
    run("make", "-s", "CFLAGS=-O2 -Wall -Wextra -Wpedantic -Werror -fPIC", cwd=os.path.join(top, "mine"), env=env)
    return PLUGINS + ":" + os.path.join(top, "mine")


def the_template_builds_with_pkg_config_alone_and_runs():
    with tempfile.TemporaryDirectory(prefix="riffle-outside-") as top:
        plugins = build_outside("plugin-template", top)
        config = (LOCAL + stream("in", content_type="text/plain") + stream("out", content_type="text/plain") +
                  section("function shout", {"invoker": "upper", "suffix": '"!"'}) +
                  section("processor shouting", {"function": "shout", "input": "in@earliest",
                                                 "output": "out", "window": "count 2"}))
        with Instance(config, plugins=plugins) as instance:
            assert "upper" in instance.cli("plugin", "list")
            instance.start()
            instance.publish("in", ["hello", "world"])
            out = [r["payload"] for r in instance.read("out", 2)]
            assert out == ["HELLO!", "WORLD!"], out


def what_the_readme_leads_to_is_installed():
    with tempfile.TemporaryDirectory(prefix="riffle-outside-") as top:
        run("make", "-s", "-C", BUILD, "install", "DESTDIR=" + top)
        with open(os.path.join(SRC, "README.md")) as readme:
            led_to = set(re.findall(r"\]\((?:doc|examples)/([\w/-]+\.md)\)", readme.read())) - {"internals.md"}
        assert len(led_to) >= 6, led_to
        skeletons = [name for name in os.listdir(os.path.join(SRC, "examples/functions")) if name[0] != "."]
        for name in sorted(led_to) + sorted(skeletons):
            assert run("find", top, "-name", name), name


def lines_of(path):
    with open(path) as f:
        return f.read().splitlines()


def lines_go_from_file_to_file_over_kills():
    """Nothing is lost over kills and growth; what was committed before the last kill is not read again."""
    with tempfile.TemporaryDirectory(prefix="riffle-outside-") as top:
        plugins = build_outside("file-lines", top)
        for example in ("read_lines.c", "append_lines.c"):
            assert len(lines_of(os.path.join(top, "mine", example))) < 60
        inbox, outbox = os.path.join(top, "in.txt"), os.path.join(top, "out.txt")
        with open(inbox, "w") as f:
            f.write("".join("line %d\n" % i for i in range(2000)) + "half a li")
        config = (section("provider files", {"type": "read-lines", "dir": top}) +
                  section("provider logs", {"type": "append-lines", "dir": top}) +
                  stream("in", provider="files", content_type="text/plain", topic="in.txt") +
                  stream("out", provider="logs", content_type="text/plain", topic="out.txt") +
                  section("function copy", {"invoker": "command", "command": "cat"}) +
                  section("processor copying", {"function": "copy", "input": "in@earliest", "output": "out",
                                                "window": "count 100 or 200ms"}))
        with Instance(config, plugins=plugins) as instance:
            # The verbs speak to the plugins as the daemon does.
            assert [r["payload"] for r in instance.read("in", 2)] == ["line 0", "line 1"]
            instance.publish("out", ["by hand"])
            assert lines_of(outbox) == ["by hand"]
            for words, why in ((["publish", "in", "-p", "x"], '"in" cannot be written: its provider "files" only reads'),
                               (["stream", "import", "in"], '"in" cannot be written: its provider "files" only reads'),
                               (["subscribe", "out", "-b"], '"out" cannot be read: its provider "logs" only writes'),
                               (["stream", "export", "out"], '"out" cannot be read: its provider "logs" only writes')):
                done = instance.run(*words, input="")
                assert done.returncode == 1 and why in done.stderr, done
            os.unlink(outbox)
            instance.start()
            instance.wait_for("2000 lines", lambda: os.path.exists(outbox) and len(lines_of(outbox)) == 2000)
            instance.wait_until_committed("copying")
            instance.daemon.kill()
            instance.daemon.wait()
            with open(inbox, "a") as f:
                f.write("ne\n" + "".join("more %d\n" % i for i in range(3000)))
            instance.start()
            instance.wait_for("some of the rest", lambda: len(lines_of(outbox)) > 2500)
            instance.daemon.kill()
            instance.daemon.wait()
            instance.start()
            instance.wait_for("the last line", lambda: "more 2999" in lines_of(outbox))
            instance.wait_until_committed("copying")
            assert instance.stop() == 0, instance.logged()[-2000:]
            out = lines_of(outbox)
            # Once for what was committed, at least once for all. Windows need not end in their order.
            assert sorted(out[:2000]) == sorted("line %d" % i for i in range(2000)), out[1990:2000]
            rest = {"half a line"} | {"more %d" % i for i in range(3000)}
            assert set(out[2000:]) == rest, (len(out), sorted(rest ^ set(out[2000:]))[:5])


def a_refused_plugin_is_told_with_its_reason():
    with Instance(LOCAL) as instance:
        bad = os.path.join(BUILD, "tests/badplugins")
        done = instance.run("plugin", "list", "--plugin-dir", bad)
        assert done.returncode == 3, done
        assert "needs plugin ABI 0.9, this program provides 0.1: rebuild" in done.stderr, done.stderr
        shutil.copy(os.path.join(bad, "minor-9.so"), os.path.join(instance.dir, "invoker-bad.so"))
        os.chmod(os.path.join(instance.dir, "invoker-bad.so"), 0o644)
        instance.env["RIFFLE_PLUGIN_DIR"] = instance.dir
        instance.write(section("function f", {"invoker": "bad"}))
        done = instance.run("run")
        assert done.returncode == 3 and "riffle.ini:2:11: error: plugin refused:" in done.stderr, done.stderr


main([the_template_builds_with_pkg_config_alone_and_runs, lines_go_from_file_to_file_over_kills,
      what_the_readme_leads_to_is_installed, a_refused_plugin_is_told_with_its_reason])
