"""A plugin that is written outside the tree, against the installed headers alone, loads and runs."""
import os
import shutil
import subprocess
import tempfile

from rig import BUILD, LOCAL, PLUGINS, SRC, Instance, main, section, stream


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, "%s\n%s%s" % (" ".join(words), done.stdout, done.stderr)
    return done.stdout


def the_template_builds_with_pkg_config_alone_and_runs():
    with tempfile.TemporaryDirectory(prefix="riffle-outside-") as top:
        stage = os.path.join(top, "stage")
        run("make", "-s", "-C", BUILD, "install", "DESTDIR=" + stage)
        found = subprocess.run(["find", stage, "-name", "riffle-plugin.pc"], capture_output=True, text=True)
        pkgconfig = os.path.dirname(found.stdout.splitlines()[0])
        shutil.copytree(os.path.join(SRC, "examples/plugin-template"), os.path.join(top, "mine"))
        env = dict(os.environ, PKG_CONFIG_PATH=pkgconfig, PKG_CONFIG_SYSROOT_DIR=stage)
        # A strange place and nothing of the source tree in sight: the headers can only be the installed ones.
        run("make", "-s", "CFLAGS=-O2 -Wall -Wextra -Werror -fPIC", cwd=os.path.join(top, "mine"), env=env)
        config = (LOCAL + stream("in", content_type="text/plain") + stream("out", content_type="text/plain") +
                  section("function shout", {"invoker": "upper", "suffix": '"!"'}) +
                  section("processor shouting", {"function": "shout", "input": "in@earliest",
                                                 "output": "out", "window": "count 2"}))
        plugins = PLUGINS + ":" + os.path.join(top, "mine")
        with Instance(config, plugins=plugins) as instance:
            assert "upper" in instance.cli("plugin", "list")
            instance.start()
            instance.publish("in", ["hello", "world"])
            out = [r["payload"] for r in instance.read("out", 2)]
            assert out == ["HELLO!", "WORLD!"], out


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


main([the_template_builds_with_pkg_config_alone_and_runs, a_refused_plugin_is_told_with_its_reason])
