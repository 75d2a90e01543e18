"""What the command prints: help, manual pages, completion, plugins, answers of check --online."""
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import tempfile

from rig import BUILD, LIMIT_S, LOCAL, PLUGINS, RIFFLE, SRC, Instance, Skip, main, section, stream

HERE = os.path.join(BUILD, "tests/e2e/.libs")
VERBS = "run check test publish subscribe stream processor plugin health why manual completion".split()
WORDS = {"stream": ["create", "list", "status", "delete", "seek", "export", "import"], "processor": ["list", "status"], "plugin": ["list", "show", "check"]}


def riffle(*arguments, status=0, plugins=PLUGINS + ":" + HERE, cwd=None, **env):
    """The command without a configuration: (stdout, stderr)."""
    clean = {k: v for k, v in os.environ.items() if k not in ("RIFFLE_CONFIG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY")}
    with tempfile.TemporaryDirectory(prefix="riffle-cli-") as empty:
        done = subprocess.run([os.path.abspath(RIFFLE), *arguments], capture_output=True, text=True, timeout=LIMIT_S,
                              cwd=cwd or empty, env={**clean, "RIFFLE_PLUGIN_DIR": plugins, **env})
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr


def needed(program):
    path = shutil.which(program)
    if path is None:
        raise Skip("%s is not installed" % program)
    return path


def options_of(verb):
    """(short, long, argument) as --help has them."""
    return re.findall(r"^  (?:-(\w), |    )--([a-z0-9-]+)(?:=(\S+))?", riffle(verb, "--help")[0], re.M)


def help_lists_the_verbs_and_their_words():
    out = riffle("--help")[0]
    assert re.findall(r"^  (\w+) ", out, re.M) == VERBS, out
    for verb, words in WORDS.items():
        out = riffle(verb, "--help")[0]
        assert riffle("help", verb)[0] == out
        assert re.findall(r"(?:Usage|  or):  ?riffle \w+ \[OPTION\.\.\.\] (\w+)", out) == words, out


def what_is_unknown_names_the_nearest():
    for arguments, said in (
            (["publsh"], "riffle: there is no verb 'publsh'; did you mean 'publish'?"),
            (["xyzzy"], "riffle: there is no verb 'xyzzy'; see riffle --help"),
            (["help", "publsh"], "riffle: there is no verb 'publsh'; did you mean 'publish'?"),
            (["stream", "lst"], "riffle stream: there is no 'lst'; did you mean 'list'?"),
            (["stream", "xyzzy"], "riffle stream: create NAME, list, status STREAM, delete STREAM, seek STREAM, export STREAM or import STREAM is meant"),
            (["plugin"], "riffle plugin: list, show PLUGIN or check FILE is meant"),
            (["plugin", "show"], "riffle plugin: show PLUGIN is meant"),
            (["plugin", "list", "local"], "riffle plugin: 'local' is too much behind list"),
            (["plugin", "list", "--ini"], "riffle plugin: --ini belongs to show"),
            (["plugin", "show", "local", "--ini", "-o", "json"], "riffle plugin: --ini and -o exclude each other"),
            (["publish", "in", "--payloda", "1"], "riffle publish: there is no option '--payloda'; did you mean '--payload'?"),
            (["publish", "in", "-p", "--payloda=1", "--lnies"],
             "riffle publish: there is no option '--lnies'; did you mean '--lines'?"),
            (["publish", "in", "-lk", "--x", "--xyzzy"],
             "riffle publish: there is no option '--xyzzy'; see riffle publish --help"),
            (["check", "-o", "xml"], "riffle check: -o xml: table, json or jsonl is meant"),
            (["check", "-o", "tab"], "riffle check: -o tab: table, json or jsonl is meant"),
            (["check", "--wait-timeout", "10"], "riffle check: --wait-timeout 10: a duration needs a unit"),
            (["manual", "riffle", "riffle.ini"], "riffle manual: one page is meant, not also 'riffle.ini'")):
        err = riffle(*arguments, status=2)[1]
        assert err.startswith(said), err


def an_abbreviated_option_still_counts():
    out = riffle("plugin", "show", "mute", "--in")[0]
    assert "[provider mute]" in out, out


def pages():
    return {"riffle": "1", "riffle.ini": "5", "local": "5", "command": "5", "mute": "5"}


def pages_are_roff_without_warnings():
    groff, mandoc = needed("groff"), shutil.which("mandoc")
    for page in pages():
        text = riffle("manual", page)[0]
        done = subprocess.run([groff, "-ww", "-man", "-Tutf8", "-z"], input=text, text=True, capture_output=True)
        assert done.returncode == 0 and done.stderr == "", (page, done.stderr)
        if mandoc is None:
            continue
        lint = subprocess.run([mandoc, "-T", "lint", "-W", "warning"], input=text, text=True, capture_output=True)
        # A page has no date: equal sources make equal pages.
        rest = [line for line in lint.stdout.splitlines() if "missing date" not in line]
        assert rest == [], (page, rest)


def render(page):
    """The page as a reader has it, without the breaks of its lines."""
    text = subprocess.run([needed("groff"), "-man", "-Tascii", "-P-cbou", "-rHY=0"], input=riffle("manual", page)[0],
                          text=True, capture_output=True, check=True).stdout
    return " ".join(text.split())


def the_page_of_the_command_has_every_verb_and_option():
    page = render("riffle")
    assert riffle("manual")[0] == riffle("manual", "riffle")[0]
    for verb in VERBS:
        for word in WORDS.get(verb, []):
            assert re.search(r"riffle %s %s \[OPTION\.\.\.\]" % (verb, word), page), (verb, word)
        assert " riffle %s " % verb in page, verb
        for short, name, argument in options_of(verb):
            if name in ("help", "usage"):
                continue
            want = "%s--%s%s " % ("-%s, " % short if short else "", name, "=" + argument if argument else "")
            assert want in page, want
    for status in "0 1 2 3 78".split():
        assert re.search(r"EXIT STATUS.* %s " % status, page), status
    assert "seq 1000 | riffle publish in -l -k user-7 --header source:test" in page


def keys_of(kind):
    """The keys of the core's table, from its source."""
    source = open(os.path.join(SRC, "core/conf/keys.c")).read()
    table = re.search(r"%s_keys\[\] = \{(.*?)\n\};" % kind, source, re.S).group(1)
    return re.findall(r'^\t\{"([a-z-]+)"', table, re.M)


def the_page_of_the_file_has_every_key():
    page = render("riffle.ini")
    for kind in ("runtime", "provider", "stream", "function", "processor"):
        keys = keys_of(kind)
        assert keys, kind
        heading = "[runtime]" if kind == "runtime" else "[%s NAME]" % kind
        part = re.search(re.escape(heading) + r" (?:The instance|A |What is called).*?(?=\[(?!gateway)\w+ NAME\] |$)",
                         page).group(0)
        for key in keys:
            assert re.search(r" %s " % key, part), (kind, key, part)
    for fact in ("(size; default 64MiB; at least 64KiB)", "(duration; default 30s; 0 to 1d)",
                 "(one of create, verify; default create)", "(text; required)"):
        assert fact in page, fact
    for rule in ("byte order mark", "carriage return", "UTF-16", "NUL bytes", "65536 bytes", "Continuation", "Quotes",
                 "before the first section", "key twice", "${NAME:-text}", "${cred:NAME}", "--set SECTION.KEY=VALUE",
                 "count N [or D]", "tumbling D", "hopping D every D", "session gap D max D", "align ZONE", "offset D",
                 "json:PATH [unit]", "stream NAME", "dead-letter STREAM", "retry N [backoff D..D] then policy",
                 "2026-01-02T03:04:05Z",
                 "1m30s", "64KiB", "messages.md"):
        assert rule in page, rule


def the_page_of_a_plugin_comes_from_its_tables():
    page = render("mute")
    for part in ("riffle-plugin-mute - says nothing", "[provider NAME] type = mute", "It can at most: sink.",
                 "KEYS IN [provider NAME]", "how How it answers. (one of answer, away, hang, crash, slow; default answer)",
                 "has The partitions of its streams. (number; default 1; 1 to 9)",
                 "Who's there. (text; secret, so write ${cred:NAME} or ${file:PATH})",
                 "raw.NAME", "(any key that begins with raw.)", "KEYS IN [stream NAME]", "A remark; with words."):
        assert part in page, (part, page)
    assert riffle("manual", "invoker-command") == riffle("manual", "command")
    assert riffle("manual", "riffle-plugin-mute") == riffle("manual", "mute")
    err = riffle("manual", "mut", status=1)[1]
    assert err.startswith("riffle manual: there is no plugin \"mut\"; did you mean 'mute'? (looked in "), err


def built_pages_are_what_the_program_prints():
    for page, number in pages().items():
        if page == "mute":
            continue
        name = page if page.startswith("riffle") else "riffle-plugin-" + page
        path = os.path.join(BUILD, "doc", "%s.%s" % (name, number))
        assert open(path).read() == riffle("manual", page)[0], path


def sample_sections_are_accepted_once_filled():
    for name, fill in (("local", {}), ("mute", {}), ("command", {"command": "cat"})):
        sample = riffle("plugin", "show", name, "--ini")[0]
        keys = [o["name"] for options in json.loads(riffle("plugin", "show", name, "-o", "json")[0])["options"].values()
                for o in options]
        for key in keys:
            assert re.search(r"^#?%s(NAME)? =" % re.escape(key), sample, re.M), (key, sample)
        for line in sample.splitlines():
            assert line == "" or line[0] in ";#[" or " =" in line and len(line) <= 78, line
        assert "gateway" not in re.sub("^;.*", "", sample, flags=re.M), sample
        assert name != "mute" or '#note = "none ; yet"\n' in sample, sample
        with Instance(sample, plugins=PLUGINS + ":" + HERE) as i:
            done = i.run("check")
            assert (done.returncode == 0) == (not fill), done.stderr
            for key in fill:
                assert "key '%s' has no value" % key in done.stderr, done.stderr
            filled = re.sub(r"^([^#\s]+) =$", lambda m: "%s = %s" % (m[1], fill[m[1]]), sample, flags=re.M)
            i.write(filled)
            assert i.run("check").returncode == 0, filled
            # What stands behind a # is what holds without it, so nothing changes when it is taken away.
            i.write(re.sub(r"^#(\S+ = .*)$", r"\1", filled, flags=re.M))
            done = i.run("check")
            assert done.returncode == 0, done.stderr


def a_plugin_is_shown():
    out = riffle("plugin", "show", "mute")[0]
    assert out.startswith("mute 0.7: says nothing\n  kind     provider\n  license  none\n  build    test\n"), out
    assert "  has\n      number; default 1; 1 to 9\n      The partitions of its streams.\n" in out, out
    told = json.loads(riffle("plugin", "show", "mute", "-o", "json")[0])
    assert told["can"] == ["sink"] and told["kind"] == "provider" and told["version"] == "0.7", told
    assert told["options"]["provider"][0] == {
        "name": "how", "type": "choice", "default": "answer", "required": False, "secret": False,
        "doc": "How it answers.", "choices": ["answer", "away", "hang", "crash", "slow"]}, told
    assert told["options"]["provider"][1]["min"] == 1 and told["options"]["provider"][2]["secret"], told
    assert riffle("plugin", "show", "mute", "-o", "jsonl")[0].count("\n") == 1
    err = riffle("plugin", "show", "comand", status=1)[1]
    assert "\"comand\"; did you mean 'command'? (looked in " in err, err
    assert riffle("plugin", "show", "local", "--plugin-dir", "/empty", status=1)[1].endswith("(looked in /empty)\n")


def a_broken_file_does_not_hide_the_plugins():
    with Instance("[provider local]\ntype = localx\n") as i:
        i.env["RIFFLE_CONFIG"] = i.file
        done = subprocess.run([RIFFLE, "plugin", "show", "local"], env=i.env, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("local "), done.stderr
        assert done.stderr.startswith("riffle: %s has errors" % i.file), done.stderr
        assert i.run("plugin", "show", "local").returncode == 78


def a_file_is_tried_where_it_can_do_no_harm():
    mute, early = os.path.join(HERE, "mute.so"), os.path.join(HERE, "early.so")
    out = riffle("plugin", "check", mute)[0]
    assert out.startswith("mute 0.7: says nothing\n"), out
    assert riffle("plugin", "check", "mute.so", cwd=HERE)[0] == out
    assert json.loads(riffle("plugin", "check", mute, "-o", "json")[0])["name"] == "mute"
    for path, said, env in (
            (early, r": while it was loaded: killed by signal 6 \(Aborted\) \[R03\]", {}),
            (early, r": while it was loaded: ended with status 0 \[R03\]", {"RIFFLE_TEST_EARLY": "exit"}),
            (os.path.join(BUILD, "tests/badplugins/wrong-magic.so"), r": .* \[R06\]", {}),
            (os.path.join(HERE, "absent.so"), r": No such file or directory \[R01\]", {}),
            ("/etc/passwd", r": .*invalid ELF header.* \[R03\]", {})):
        out, err = riffle("plugin", "check", path, status=3, **env)
        assert out == "" and re.fullmatch("plugin refused: " + re.escape(path) + said + "\n", err), (out, err)


def a_bad_file_does_not_take_the_list_down():
    out, err = riffle("plugin", "list", "-o", "json", status=3)
    assert err.startswith("plugin refused: %s/early.so: while it was loaded" % HERE), err
    rows = {row["name"]: row for row in json.loads(out)}
    assert {"local", "command", "mute", "rude"} <= set(rows), out
    assert rows["mute"] == {"name": "mute", "kind": "provider", "version": "0.7", "summary": "says nothing",
                            "file": os.path.join(HERE, "mute.so")}, rows["mute"]
    assert out == json.dumps(json.loads(out), indent=2) + "\n"
    lines = riffle("plugin", "list", "-o", "jsonl", status=3)[0].splitlines()
    assert [json.loads(line)["name"] for line in lines] == list(rows)
    table = riffle("plugin", "list", status=3)[0].splitlines()
    assert table[0].split() == ["NAME", "KIND", "VERSION", "SUMMARY", "FILE"] and len(table) == len(rows) + 1
    with Instance("[runtime]\nplugin-dir = plugins\n" + LOCAL) as i:
        os.symlink(os.path.join(BUILD, "plugins/local/.libs"), os.path.join(i.dir, "plugins"))
        assert [row["name"] for row in json.loads(i.cli("plugin", "list", "-o", "json"))] == ["local"]
    with tempfile.TemporaryDirectory() as empty:
        assert riffle("plugin", "list", "--plugin-dir", empty)[0] == "No plugins found.\n"
        assert riffle("plugin", "list", "--plugin-dir", empty, "-o", "json")[0] == "[]\n"


def lists_come_in_three_forms():
    with Instance(LOCAL + stream("in", content_type="text/plain")) as i:
        row = {"name": "in", "provider": "local", "contentType": "text/plain", "status": "NotFound", "age": None}
        assert json.loads(i.cli("stream", "list", "-o", "json"))[0] == row
        assert json.loads(i.cli("stream", "list", "-o", "jsonl")) == row
        assert i.cli("stream", "list").splitlines()[0].split()[:4] == ["NAME", "PROVIDER", "CONTENT-TYPE", "STATUS"]
        i.start()
        assert i.cli("processor", "list") == "No processors found.\n"
        assert i.cli("processor", "list", "-o", "json") == "[]\n"
        assert json.loads(i.cli("health", "-o", "json")) == {"ready": True, "reasons": []}
        assert "provider local: stream in is " in i.cli("check", "--online")


def on_a_terminal(*arguments, **env):
    """stdout of the command, where that is a terminal."""
    master, slave = pty.openpty()
    child = subprocess.Popen([RIFFLE, *arguments], stdout=slave, stderr=subprocess.DEVNULL,
                             env={**os.environ, "TERM": "xterm", "RIFFLE_PLUGIN_DIR": PLUGINS, **env})
    os.close(slave)
    out = b""
    try:
        while True:
            more = os.read(master, 65536)
            if not more:
                break
            out += more
    except OSError:  # a terminal that nobody holds any more
        pass
    os.close(master)
    assert child.wait() == 0
    return out


def colours_are_for_terminals_that_want_them():
    plain = {k: "" for k in ("NO_COLOR",)}
    command = ["plugin", "list", "--plugin-dir", os.path.join(BUILD, "plugins/local/.libs")]
    assert b"\x1b[" in on_a_terminal(*command, **plain)
    assert b"\x1b[" not in on_a_terminal(*command, NO_COLOR="1")
    assert b"\x1b[" not in on_a_terminal(*command, "--no-color", **plain)
    assert "\x1b[" not in riffle(*command)[0]


def online(text, *arguments, status=0):
    with Instance(text, plugins=PLUGINS + ":" + HERE) as i:
        done = i.run("check", "--online", *arguments)
        assert done.returncode == status, (done.stdout, done.stderr)
        assert done.stderr == "", done.stderr
        return done.stdout.replace(i.file, "FILE")


def a_clean_check_asks_who_answers():
    text = (LOCAL + section("provider empty", {"type": "mute"}) + stream("in") + stream("out", provision="create") +
            section("function f", {"invoker": "command", "command": "cat"}) +
            section("function g", {"invoker": "passthrough"}))
    assert online(text) == (
        "FILE: fine: provider sections 2, stream 2, function 2, processor 0\n"
        "provider local: stream in is not there, and is made at the start\n"
        "provider local: stream out is not there, and is made at the start\n"
        "provider empty: has no streams to be asked for\n"
        "function f: is ready\n"
        "function g: its plugin cannot be asked whether it is ready\n")
    with Instance(LOCAL + stream("in"), plugins=PLUGINS) as i:
        i.publish("in", ["a"])
        assert i.cli("check", "--online").endswith("provider local: stream in is there, partitions: 1\n")
        assert "online" not in json.loads(i.cli("check", "-o", "json"))
        i.write(LOCAL + "[stream in]\nprovider = loca\n")
        done = i.run("check", "--online")
        assert done.returncode == 78 and done.stdout == "", done.stdout


def what_no_start_could_do_is_found_before():
    text = ("[runtime]\nadmin = none\n" + LOCAL + stream("in") + stream("out") + stream("wide", partitions=99999) +
            stream("long", topic="t" * 256) +
            section("provider franz", {"type": "kafka", "bootstrap-servers": "broker:0"}) +
            stream("far", provider="franz", topic="a/b") +
            section("function f", {"invoker": "command", "command": "cat", "format": "lines"}) +
            section("function g", {"invoker": "command", "command": "./cat", "dir": "/no/such/place"}) +
            section("processor p", {"function": "f", "input": "in", "output": "out, wide"}) +
            section("processor q", {"function": "g", "input": "in", "output": "out"}))
    with Instance(text) as i:
        lines = text.splitlines()
        expected = [(lines.index(line) + 1, words) for line, words in (
            ("partitions = 99999", 'topic "default_wide" with 99999 partitions is more than max-partitions allows: '
                                   "1024, of which 0 are in use [C112]"),
            ("topic = " + "t" * 256, "a topic's name has at most 255 bytes [C112]"),
            ("bootstrap-servers = broker:0", "server 'broker:0' has no port from 1 to 65535 behind its colon [C112]"),
            ("topic = a/b", "topic 'a/b' is none of Kafka's: a-z, A-Z, 0-9, '.', '_' and '-' are allowed [C112]"),
            ("dir = /no/such/place", "directory '/no/such/place': No such file or directory [C112]"),
            ("output = out, wide", "function 'f', as it is set, cannot name an output: invoker 'command' has one "
                                   "[C122]"))]
        for verb in (["check"], ["run"]):
            done = i.run(*verb)
            assert done.returncode == 78, done
            found = re.findall(r"riffle.ini:(\d+):\d+: error: (.*)", done.stderr)
            assert [(int(n), words) for n, words in found] == expected, done.stderr


def each_that_does_not_answer_is_named():
    text = LOCAL + stream("v", provision="verify")
    for how in ("answer", "away", "hang", "crash"):
        text += section("provider " + how, {"type": "mute", "how": how, "has": "2"}) + stream(how, provider=how)
    out = online(text, "--wait-timeout", "1s", status=1)
    assert out.splitlines()[1:] == [
        "provider local: FAILS: stream v is not there, and provision = verify",
        "provider answer: FAILS: stream answer has 2 partitions, the configuration says 1",
        "provider away: FAILS: stream away cannot reach the broker: nobody is there",
        "provider hang: FAILS: stream hang was asked for, and no answer came within 1 s; with a longer --wait-timeout "
        "its plugin may say why",
        "provider crash: FAILS: its plugin was asked: killed by signal 6 (Aborted)"], out
    rows = json.loads(online(text, "--wait-timeout", "1s", "-o", "json", status=1))["online"]
    assert [row["ok"] for row in rows] == [False] * 5, rows
    assert rows[1] == {"section": "provider answer", "stream": "answer", "ok": False,
                       "says": "has 2 partitions, the configuration says 1"}, rows
    slow = section("provider slow", {"type": "mute", "how": "slow"}) + stream("a", provider="slow") + stream("b", provider="slow")
    assert online(slow, "--wait-timeout", "1s", status=1).splitlines()[1:] == [
        "provider slow: FAILS: stream a cannot reach the broker: nobody is there",
        "provider slow: FAILS: stream b was not asked for, the time was up"]
    text = LOCAL + stream("v", provision="verify") + section("provider empty", {"type": "mute"})
    lines = [json.loads(line) for line in online(text, "-o", "jsonl", status=1).splitlines()]
    assert [(line["section"], line["ok"]) for line in lines] == [("provider local", False), ("provider empty", None)], lines


SHELL_CASES = (
    ("riffle pub", ["publish"]),
    ("riffle stream ", WORDS["stream"]),
    ("riffle plugin sh", ["show"]),
    ("riffle publish ", ["in", "out"]),
    ("riffle subscribe o", ["out"]),
    ("riffle publish -c other.ini ", ["elsewhere"]),
    ("riffle processor status ", ["copy"]),
    ("riffle stream create x --provider ", ["local"]),
    ("riffle publish in --payl", ["--payload", "--payload-base64"]),
    ("riffle subscribe in --payload-encoding ", ["auto", "raw", "base64"]),
    ("riffle stream list -o j", ["json", "jsonl"]),
    ("riffle plugin check FILE", ["FILE"]),
    ("riffle manual riffle.", ["riffle.ini"]),
    ("riffle plugin show lo", ["local"]),
    ("riffle completion ba", ["bash"]),
    ("riffle stream list ", []),
)

BASH = """
. <(riffle completion bash)
COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
case $1 in *' ') COMP_WORDS+=(''); COMP_CWORD=$((COMP_CWORD + 1)) ;; esac
_riffle 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""

# The parts of zsh's completion system that the script calls, as words on stdout.
ZSH = """
compdef() { }
compset() { }
compadd() { shift; local w; for w in "$@"; do [[ $w != $words[CURRENT]* ]] || print -r -- $w; done }
_files() { print -rl -- $words[CURRENT]*(N) }
. <(riffle completion zsh)
words=(${=1}); [[ $1 != *' ' ]] || words+=('')
CURRENT=$#words
_riffle
"""

FISH = "riffle completion fish | source; complete -C $argv[1] | string split -f 1 \\t"


def complete(shell, argv):
    """Each case of the shell, in a directory with a configuration and a file of the case's name."""
    text = (LOCAL + stream("in") + stream("out") + section("function echo", {"invoker": "passthrough"}) +
            section("processor copy", {"function": "echo", "input": "in", "output": "out"}))
    needed(shell)
    with Instance(text) as i:
        open(os.path.join(i.dir, "FILE-here"), "w").close()
        with open(os.path.join(i.dir, "other.ini"), "w") as other:
            other.write(LOCAL + stream("elsewhere"))
        i.env.update(PATH=os.path.abspath(BUILD) + ":" + i.env["PATH"], HOME=i.dir)
        for line, want in SHELL_CASES:
            done = subprocess.run([*argv, line], cwd=i.dir, env=i.env, capture_output=True, text=True, timeout=LIMIT_S)
            got = [word for word in done.stdout.splitlines() if word]
            want = ["FILE-here"] if want == ["FILE"] else want
            assert done.stderr == "" and sorted(got) == sorted(want), (shell, line, got, want, done.stderr)


def bash_completes():
    complete("bash", ["bash", "--norc", "-c", BASH, "bash"])


def zsh_completes():
    complete("zsh", ["zsh", "-f", "-c", ZSH, "zsh"])


def fish_completes():
    complete("fish", ["fish", "--no-config", "-c", FISH])


def scripts_have_every_verb_word_and_option():
    for shell in ("bash", "zsh", "fish"):
        script = riffle("completion", shell)[0]
        for verb in VERBS:
            if shell == "fish":
                assert re.search(r"use_subcommand -a %s -d" % verb, script), (shell, verb)
            else:
                assert verb in re.search("_riffle_verbs='(.*)'", script)[1].split(), (shell, verb)
            for short, name, argument in options_of(verb):
                if name in ("help", "usage"):
                    continue
                want = (r"'__riffle_verb %s'%s -l %s " % (verb, " -s " + short if short else "", name)
                        if shell == "fish" else r"\t%s\) echo '.*%s--%s " % (verb, "-%s " % short if short else "", name))
                assert re.search(want, script), (shell, verb, name)
            for word in WORDS.get(verb, []):
                assert re.search(r"-a %s -d" % word if shell == "fish" else r"'%s'\) echo '.*\b%s\b" % (verb, word),
                                 script), (shell, word)


def names_come_from_the_configuration_alone():
    text = (LOCAL + stream("in") + section("function f", {"invoker": "passthrough"}) +
            section("provider hang", {"type": "mute", "how": "hang"}) + stream("far", provider="hang") +
            section("processor p", {"function": "f", "input": "in"}))
    with Instance(text, plugins=PLUGINS + ":" + HERE) as i:
        for what, names in (("streams", "in far"), ("processors", "p"), ("functions", "f"), ("providers", "local hang")):
            assert i.cli("completion", what).split() == names.split(), what
        assert {"local", "command", "mute", "early"} <= set(i.cli("completion", "plugins").split())
        assert not os.path.exists(os.path.join(i.dir, "state"))


def failed(instance, *arguments, status=1):
    done = instance.run(*arguments)
    assert done.returncode == status, (arguments, done)
    return done.stderr


COPY = {"invoker": "command", "command": "cat"}


def a_group_that_nobody_has_is_not_made_by_seeking():
    text = (LOCAL + stream("in", content_type="text/plain") + stream("out", content_type="text/plain") +
            section("function f", COPY) +
            "".join(section("processor " + name, {"function": "f", "input": "in", "output": "out"})
                    for name in ("north", "south")))
    with Instance(text) as i:
        i.publish("in", ["a"])
        seek = ["stream", "seek", "in", "--to", "earliest", "--group"]
        assert failed(i, *seek, "default.soth") == (
            'riffle stream seek: no group "default.soth" reads stream "in" (--create makes it): there are '
            '"default.south", "default.north"\n')
        assert json.loads(i.cli("stream", "status", "in", "-o", "json"))["groups"] == []
        # Of a processor that has not run yet, and wanted.
        i.cli(*seek, "default.north")
        i.cli(*seek, "other", "--create")
        groups = json.loads(i.cli("stream", "status", "in", "-o", "json"))["groups"]
        assert [g["group"] for g in groups] == ["default.north", "other"], groups
        assert failed(i, "stream", "status", "in", "--group", "othr") == (
            'riffle stream status: no group "othr" reads stream "in": there are "other", "default.north", "default.south"\n')


def what_cannot_be_published_says_why():
    with Instance(LOCAL + stream("in", content_type="text/plain")) as i:
        assert failed(i, "publish", "in", "-p", "1", "-f", "x", status=2).startswith(
            "riffle publish: -p, --payload-base64, -f and -l exclude each other; of a record there is one value\n")
        assert failed(i, "publish", "in", status=2).startswith(
            "riffle publish: one of -p, --payload-base64, -f, -l is needed\n")
        for path, why in (("/nonexistent", "No such file or directory"), (i.dir, "Is a directory")):
            assert failed(i, "publish", "in", "-f", path) == "riffle publish: cannot read %s: %s\n" % (path, why)


def stdin_is_a_file_that_can_be_published():
    with Instance(LOCAL + stream("in", content_type="text/plain")) as i:
        i.cli("publish", "in", "-f", "-", input="two\nlines")
        assert json.loads(i.cli("stream", "export", "in"))["value"] == "two\nlines"


def an_instance_that_does_not_answer_says_why():
    with Instance(LOCAL) as i:
        where = "riffle health: no instance answers on %s: " % os.path.join(os.path.dirname(i.file), "state", "riffle.sock")
        assert failed(i, "health") == where + "No such file or directory\n"
        i.start()
        i.stop(signal.SIGKILL)
        assert failed(i, "health") == where + "Connection refused\n"


def a_line_is_written_before_the_next_one_comes():
    with Instance(LOCAL + stream("in", content_type="text/plain")) as i:
        i.cli("publish", "in", "-p", "first")
        there = lambda: [json.loads(line)["value"] for line in i.cli("stream", "export", "in").splitlines()]
        with subprocess.Popen([i.program, "publish", "-c", i.file, "in", "-l"], env=i.env, text=True,
                              stdin=subprocess.PIPE) as p:
            for n, part in enumerate(("one\ntwo\nth", "ree\n", "\n", "last")):
                p.stdin.write(part)
                p.stdin.flush()
                come = ["first", "one", "two", "three", ""][:(3, 4, 5, 5)[n]]
                i.wait_for("what has come", lambda: there() == come)
            p.stdin.close()
            assert p.wait(timeout=LIMIT_S) == 0
        assert there() == ["first", "one", "two", "three", "", "last"]
        long = "y" * 300000 + "\n" + "z" * 200000
        i.cli("publish", "in", "-l", input=long)
        assert there()[6:] == long.splitlines()
        i.cli("publish", "in", "-l", input="")
        assert len(there()) == 8


def lines_that_could_not_be_written_are_counted():
    full = LOCAL.replace("1GiB", "2MiB") + stream("in", content_type="text/plain")
    with Instance(full) as i:
        done = i.run("publish", "in", "-l", input="".join("%04d%s\n" % (n, "x" * 1000) for n in range(1, 5001)))
        told = done.stderr.splitlines()
        refused = [re.match(r"riffle publish: lines? (\d+)(?: to (\d+))?: cannot write .*map-size of the provider is used up$", line)
                   for line in told[:-1]]
        assert done.returncode == 1 and refused and all(refused), done
        gone = {n for m in refused for n in range(int(m[1]), int(m[2] or m[1]) + 1)}
        last = re.match(r"riffle publish: (\d+) refused; all others up to line (\d+) are there, none behind it$", told[-1])
        assert last and int(last[1]) == len(gone), told
        written = [int(json.loads(line)["value"][:4]) for line in i.cli("stream", "export", "in").splitlines()]
        assert written == [n for n in range(1, int(last[2]) + 1) if n not in gone], (told, len(written))


def looking_at_a_stream_does_not_make_it():
    with Instance(LOCAL + stream("in", content_type="text/plain")) as i:
        for words in (["status", "in"], ["export", "in"], ["seek", "in", "--group", "g", "--to", "earliest", "--create"]):
            assert failed(i, "stream", *words) == (
                'riffle stream %s: stream "in" does not exist on its provider\n' % words[0])
        assert "Would import 1 records" in i.cli("stream", "import", "in", "--dry-run", input='{"value":"x"}\n')
        assert json.loads(i.cli("stream", "list", "-o", "json"))[0]["status"] == "NotFound"


def a_stream_that_cannot_be_kept_says_why():
    with Instance("[runtime]\nstate-dir = riffle.ini/state\n" + LOCAL + "dir = log\n") as i:
        assert failed(i, "stream", "create", "orders", "--provider", "local") == (
            "riffle stream create: cannot make %s/state: Not a directory\n" % i.file)


def an_export_has_the_content_type_of_its_stream():
    text = (LOCAL + stream("in", content_type="text/plain") + stream("out", content_type="text/csv") +
            section("function f", COPY) +
            section("processor p", {"function": "f", "input": "in", "output": "out", "window": "count 1"}))
    with Instance(text) as i:
        i.start()
        i.publish("in", ["a,b"])
        i.read("out", 1)
        record = json.loads(i.cli("stream", "export", "out"))
        assert (record["value"], record["contentType"]) == ("a,b", "text/csv"), record


def blocks(page, kind):
    with open(os.path.join(SRC, page)) as text:
        return [body for of, body in re.findall(r"^```(\w*)\n(.*?)^```$", text.read(), re.S | re.M) if of == kind]


def the_readme_shows_what_is_printed():
    [file], [session] = blocks("README.md", "ini"), blocks("README.md", "")
    with Instance(file) as i:
        shown = session.splitlines()
        for verb in ("check", "test"):
            at = shown.index("$ riffle %s -c riffle.ini" % verb)
            done = subprocess.run([RIFFLE, verb, "-c", "riffle.ini"], env=i.env, cwd=i.dir, capture_output=True, text=True)
            assert re.sub(r"\d+ ms", "", done.stdout) == re.sub(r"\d+ ms", "", shown[at + 1]) + "\n", done
        i.start()
        follower = subprocess.Popen([RIFFLE, "subscribe", "out", "-b", "-c", i.file, "--payload-encoding", "raw", "-n", "1"],
                                    env=i.env, stdout=subprocess.PIPE, text=True)
        for line in shown:
            if line.startswith("$ riffle publish"):
                words = line.replace("riffle.ini", i.file).split()[2:]
                subprocess.run([RIFFLE, *words], env=i.env, check=True)
        # Both numbers, or each of them where a window has just ended between them.
        answer = follower.communicate(timeout=LIMIT_S)[0]
        assert answer in (shown[-1] + "\n", shown[-1].replace("55.0", "10.0") + "\n"), answer


def the_skeletons_run_as_the_guide_says():
    with open(os.path.join(SRC, "doc/function.md")) as text:
        rows = re.findall(r"^\| \[(sums\.\w+)\][^|]*\| `([^`]*)`[^|]*\| `([a-z-]+)` \|$", text.read(), re.M)
    assert {name for name, _, _ in rows} == {
        name for name in os.listdir(os.path.join(SRC, "examples/functions")) if name[0] != "."}, rows
    file = blocks("doc/function.md", "ini")[0]
    for name, words, form in rows:
        if words[0] != "." and shutil.which(words.split()[0]) is None or name == "sums.sh" and shutil.which("jq") is None:
            print("# no %s here" % name)
            continue
        text = file.replace("command = python3 sums.py", "command = " + words).replace("format  = frames", "format = " + form)
        with Instance(text) as i:
            shutil.copy(os.path.join(SRC, "examples/functions", name), i.dir)
            if name == "sums.c":
                subprocess.run(["cc", "-o", "sums", "sums.c"], cwd=i.dir, check=True)
            out = i.cli("test", cwd=i.dir)
            assert out.startswith("ok sums"), (name, out)


def sections_shown_in_the_guides_are_sound():
    for page in ("doc/function.md", "doc/grpc.md", "doc/kafka.md"):
        found = blocks(page, "ini")
        assert found, page
        for text in found:
            with Instance(text) as i:
                told = re.findall(r": error: (.*) \[(\w+)\]", i.run("check").stderr)
                # Certificates and credentials are the reader's.
                assert {code for _, code in told} <= {"C013", "C112"}, (page, told)


if __name__ == "__main__":
    main([what_no_start_could_do_is_found_before, help_lists_the_verbs_and_their_words, what_is_unknown_names_the_nearest, an_abbreviated_option_still_counts,
          pages_are_roff_without_warnings, the_page_of_the_command_has_every_verb_and_option,
          the_page_of_the_file_has_every_key, the_page_of_a_plugin_comes_from_its_tables,
          built_pages_are_what_the_program_prints, sample_sections_are_accepted_once_filled, a_plugin_is_shown,
          a_broken_file_does_not_hide_the_plugins, a_file_is_tried_where_it_can_do_no_harm,
          a_bad_file_does_not_take_the_list_down, lists_come_in_three_forms, colours_are_for_terminals_that_want_them,
          a_clean_check_asks_who_answers, each_that_does_not_answer_is_named, bash_completes, zsh_completes,
          fish_completes, scripts_have_every_verb_word_and_option, names_come_from_the_configuration_alone,
          a_group_that_nobody_has_is_not_made_by_seeking, what_cannot_be_published_says_why,
          an_instance_that_does_not_answer_says_why, stdin_is_a_file_that_can_be_published,
          a_line_is_written_before_the_next_one_comes,
          lines_that_could_not_be_written_are_counted, looking_at_a_stream_does_not_make_it,
          a_stream_that_cannot_be_kept_says_why, an_export_has_the_content_type_of_its_stream,
          the_readme_shows_what_is_printed, the_skeletons_run_as_the_guide_says, sections_shown_in_the_guides_are_sound])
