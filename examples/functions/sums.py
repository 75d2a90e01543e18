#!/usr/bin/env python3
"""Frames: each number doubled on output 0, their sum on output 1. "busy" fails a first attempt."""
import io, struct, sys
def number(source): return struct.unpack(">I", source.read(4))[0]
def text(source):
    size = number(source)
    return None if size == 0xFFFFFFFF else source.read(size)
def pack(b): return b"\xff\xff\xff\xff" if b is None else struct.pack(">I", len(b)) + b
def send(kind, body): sys.stdout.buffer.write(struct.pack(">I", len(body) + 1) + kind + body)
def answer(output, value, key=None):
    send(b"o", struct.pack(">Iq", output, -2**63) + pack(key) + pack(None) + struct.pack(">I", 0) + pack(value))
send(b"h", b"RFLF" + struct.pack(">I", 1))
while not sys.stdout.buffer.flush() and (size := sys.stdin.buffer.read(4)):
    frame = io.BytesIO(sys.stdin.buffer.read(struct.unpack(">I", size)[0]))
    kind = frame.read(1)
    if kind == b"S":
        window, attempt, total, status, why = number(frame), number(frame), 0, 0, None
    elif kind == b"R":
        index, time, key, content_type = number(frame), frame.read(8), text(frame), text(frame)
        headers, value = [(text(frame), text(frame)) for _ in range(number(frame))], text(frame) or b""
        if value.isdigit():
            total += int(value)
            answer(0, b"%d" % (2 * int(value)), key)
        elif value != b"busy" or attempt == 1:
            status, why = (75, b"busy") if value == b"busy" else (1, b"not a number: " + value)
    elif kind == b"E":
        if status == 0: answer(1, b"%d" % total)
        send(b"d", struct.pack(">II", window, status) + pack(why))
