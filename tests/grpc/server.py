#!/usr/bin/python3
"""A function's server that misbehaves on request: the name of a call's first input is the script it plays.

server.py PORT [CERT KEY [CA]] serves riff's rpc, with TLS where files are given; prints one line once it listens.
Each script is a function below; its name's dashes end in arguments: `status-5-after` is script_status("5", "after")."""
import itertools
import os
import sys
import threading
from concurrent import futures

import grpc


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data):
    """(number, value) of a message without fixed-width fields."""
    at = 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return n
    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        else:
            size = number()
            yield tag >> 3, data[at:at + size]
            at += size


class Record:
    def __init__(self, data):
        got = dict((n, v) for n, v in fields(data) if n != 3)
        self.payload, self.type, self.index = got.get(1, b""), got.get(2, b"").decode(), got.get(4, 0)
        self.headers = []
        for n, v in fields(data):
            if n == 3:
                entry = dict(fields(v))
                self.headers.append((entry.get(1, b"").decode(), entry.get(2, b"").decode()))


def answer(payload, index=0, kind="text/plain", headers=(), more=b""):
    body = field(1, payload) + (field(2, kind) if kind else b"")
    for name, value in headers:
        body += field(3, field(1, name) + field(2, value))
    return field(1, body + (field(4, index) if index else b"") + more)


def script_echo(call):
    for r in call.records():
        yield answer(r.payload, min(r.index, call.outputs - 1), r.type, r.headers)


def script_late(call):
    yield from [answer(r.payload) for r in list(call.records())]


def script_count(call):
    yield answer(str(sum(1 for _ in call.records())))


def script_none(call):
    for _ in call.records():
        pass
    yield from ()


def script_early(call):
    yield answer("early")
    yield answer("%d" % sum(1 for _ in call.records()))


def script_start(call):
    """What the StartFrame and the metadata said."""
    list(call.records())
    yield answer("|".join(b",".join(v for n, v in call.start if n == k).decode() for k in (1, 2, 3)))
    for name, value in call.context.invocation_metadata():
        if name.startswith("riffle-"):
            yield answer("%s=%s" % (name, value if isinstance(value, str) else value.hex()))


def script_input(call):
    for r in call.records():
        yield answer("%d %s %s %s" % (r.index, r.type, r.payload.decode(), r.headers))


def script_die(call):
    yield from itertools.islice(script_echo(call), 2)
    call.drain()
    os._exit(1)


def script_silent(call):
    call.wait()
    yield from ()


def script_endless(call):
    yield answer("one")
    call.wait()


def script_deaf(call):
    """Reads nothing but the StartFrame, answers nothing."""
    call.wait()
    yield from ()


def script_status(call, code, when=""):
    if when == "after":
        next(call.records(), None)
        yield answer("partial")
        call.drain()
    name = next(c for c in grpc.StatusCode if c.value[0] == int(code))
    call.context.abort(name, "because\n\x01 of " + "x" * 300)


def script_retry(call, how="status"):
    """The first attempts at a window fail, or take the server with them, with half of their answers out, which say the attempt."""
    records = list(call.records())
    attempt = int(dict(call.context.invocation_metadata())["riffle-attempt"])
    is_whole = attempt > 2
    for r in records if is_whole else records[:len(records) // 2]:
        yield answer("%s:%s" % ("whole" if is_whole else attempt, r.payload.decode()), kind=r.type)
    if is_whole:
        return
    call.hold()
    if how == "die":
        os._exit(1)
    call.context.abort(grpc.StatusCode.INTERNAL, "half way")


def script_poison(call):
    """Says back what it gets, but not a bad one while the file $RIFFLE_ILL is there."""
    for r in call.records():
        if r.payload.endswith(b" bad") and os.path.exists(os.environ["RIFFLE_ILL"]):
            call.context.abort(grpc.StatusCode.INTERNAL, "it is ill")
        yield answer(r.payload, kind=r.type)


def script_prefix(call, which):
    text = {"media": "Invoker: Unsupported Media Type: x", "accept": "Invoker: Not Acceptable: x"}[which]
    call.context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
    yield from ()


def script_index(call, which):
    yield answer("x", {"minus": -1, "count": call.outputs, "max": 2**31 - 1}[which])
    call.wait()


def script_type(call, which):
    kind = {"missing": "", "other": "image/png", "wildcard": "text/*", "long": "text/" + "x" * 10000,
            "line": "text/\nplain", "parameters": "Text/Plain; charset=utf-8"}[which]
    yield answer("x", kind=kind)


def script_bytes(call, which):
    yield {"empty": b"", "nodata": field(7, b"x"), "garbage": b"\xff" * 40, "truncated": answer("hello")[:-3],
           "group": b"\x0b\x0c", "inner": field(1, b"\x0a\xff\x01"),
           "unknown": answer("fine", more=b"".join(field(100 + i, i) for i in range(1000))) + field(9, "x"),
           "twice": answer("fine", headers=[("a", "1"), ("a", "2")]),
           "last": field(1, field(1, "first") + field(1, "fine") + field(2, "text/plain"))}[which]


def script_large(call, size):
    yield answer(b"x" * int(size))


def script_stop(call, after):
    """Ends with OK after so many replies, whatever comes."""
    yield from itertools.islice(script_echo(call), int(after))


def script_flood(call):
    for _ in range(16384):
        yield answer(b"x" * 65536)


def script_twice(call):
    for r in call.records():
        yield answer(r.payload)
        yield answer(r.payload)


MANY_IS_OUT = threading.Event()


def script_many(call, count):
    for n in range(int(count)):
        yield answer("%d" % n)
    MANY_IS_OUT.set()


def script_after(call):
    """Ends when `many` has given out all it has; on the same connection this comes behind it."""
    MANY_IS_OUT.wait()
    yield from ()


class Call:
    def __init__(self, messages, context):
        self.messages, self.context = messages, context
        self.start = list(fields(dict(fields(next(messages)))[1]))
        self.outputs = sum(1 for n, _ in self.start if n == 3)
        self.script = next(v for n, v in self.start if n == 2).decode()
        self.over = threading.Event()
        context.add_callback(self.over.set)

    def records(self):
        for message in self.messages:
            yield Record(dict(fields(message))[2])

    def wait(self):
        self.over.wait()

    def drain(self):
        """Until the input ends: whoever wants the answers so far has them then. gRPC may forget those that it has not
        handed out when an error comes."""
        for _ in self.records():
            pass

    def hold(self):
        """Long enough for what was answered to be on its way."""
        self.over.wait(0.1)


def invoke(messages, context):
    call = Call(messages, context)
    name, *arguments = call.script.split("-")
    yield from globals()["script_" + name](call, *arguments)


class Riff(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/streaming.Riff/Invoke":
            return grpc.stream_stream_rpc_method_handler(invoke)
        return None


def main():
    port, files = sys.argv[1], [open(f, "rb").read() for f in sys.argv[2:]]
    server = grpc.server(futures.ThreadPoolExecutor(64), handlers=() if os.environ.get("NO_RIFF") else (Riff(),),
                         options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1),
                                  # Nobody is hung up on for pings while a script has not come to its first answer.
                                  ("grpc.http2.max_ping_strikes", 0)])
    if files:
        credentials = grpc.ssl_server_credentials([(files[1], files[0])], *([files[2], True] if files[2:] else []))
        bound = server.add_secure_port("127.0.0.1:" + port, credentials)
    else:
        bound = server.add_insecure_port("127.0.0.1:" + port)
    assert bound, "port %s is taken" % port
    server.start()
    print(bound, flush=True)
    # Whoever started it may have been killed.
    parent = os.getppid()
    while os.getppid() == parent:
        server.wait_for_termination(timeout=1)
    os._exit(1)


main()
