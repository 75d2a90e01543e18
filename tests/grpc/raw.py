#!/usr/bin/python3
"""What no grpc server does: raw.py PORT SCRIPT answers connections on a socket by hand. Prints the port once it listens."""
import os
import socket
import struct
import sys
import threading
import time

DATA, HEADERS, RST, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


BEGIN = b"\x88" + literal(b"content-type", b"application/grpc")  # :status 200
OK = literal(b"grpc-status", b"0")


def message(payload, compressed=0):
    return bytes([compressed]) + struct.pack(">I", len(payload)) + payload


HELLO = message(b"\x0a\x13\x0a\x05hello\x12\x0atext/plain")


def script_http1(c):
    c.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")


def script_close(c):
    pass


def script_mute(c):
    """Accepts the connection and is never heard of."""
    time.sleep(60)


def script_trailers_then_data(c):
    serve(c)
    c.sendall(frame(HEADERS, END_HEADERS, 1, BEGIN) + frame(DATA, 0, 1, HELLO) +
              frame(HEADERS, END_HEADERS | END_STREAM, 1, OK) + frame(DATA, 0, 1, HELLO) * 100)
    linger(c)


def script_reset(c):
    serve(c)
    c.sendall(frame(HEADERS, END_HEADERS, 1, BEGIN) + frame(DATA, 0, 1, HELLO) +
              frame(RST, 0, 1, struct.pack(">I", 2)))
    linger(c)


def script_goaway(c):
    serve(c)
    c.sendall(frame(HEADERS, END_HEADERS, 1, BEGIN) + frame(DATA, 0, 1, HELLO) +
              frame(GOAWAY, 0, 0, struct.pack(">II", 0, 2) + b"tired"))
    linger(c)


def script_settings_flood(c):
    serve(c)
    for _ in range(20000):
        c.sendall(frame(SETTINGS))
    c.close()


def script_continuation_flood(c):
    serve(c)
    c.sendall(frame(HEADERS, 0, 1, BEGIN))
    for _ in range(20000):
        c.sendall(frame(CONTINUATION, 0, 1, literal(b"x-more", b"y" * 100)))
    c.close()


def script_bad_hpack(c):
    serve(c)
    c.sendall(frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"))
    linger(c)


def script_bad_frame(c):
    serve(c)
    c.sendall(frame(DATA, 0, 1, b"")[:5] + b"\xff" * 100)
    linger(c)


def script_bomb(c):
    serve(c)
    c.sendall(frame(HEADERS, END_HEADERS, 1, BEGIN + literal(b"grpc-encoding", b"gzip")) +
              frame(DATA, 0, 1, message(b"\x1f\x8b" + b"\0" * 100, 1)))
    linger(c)


def script_huge(c):
    """A message of 4 GiB is announced and begun."""
    serve(c)
    c.sendall(frame(HEADERS, END_HEADERS, 1, BEGIN) + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff" + b"x" * 1000))
    linger(c)


def script_cut(c):
    """The stream ends with OK in the middle of a message."""
    serve(c)
    c.sendall(frame(HEADERS, END_HEADERS, 1, BEGIN) + frame(DATA, 0, 1, HELLO[:-4]) +
              frame(HEADERS, END_HEADERS | END_STREAM, 1, OK))
    linger(c)


def script_slow(c):
    """A byte every now and then."""
    serve(c)
    for byte in frame(HEADERS, END_HEADERS, 1, BEGIN) + frame(DATA, 0, 1, HELLO) * 50:
        c.sendall(bytes([byte]))
        time.sleep(0.05)


def serve(c):
    """The client's preface is read, ours is sent, and the client's first stream is open."""
    c.sendall(frame(SETTINGS))
    got = b""
    while b"streaming.Riff" not in got and len(got) < 100000:
        more = c.recv(65536)
        if not more:
            raise ConnectionError
        got += more
    c.sendall(frame(SETTINGS, ACK))


def linger(c):
    c.settimeout(20)
    while c.recv(65536):
        pass


def talk(c, script):
    try:
        globals()["script_" + script](c)
    except OSError:
        pass
    finally:
        c.close()


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    listener.settimeout(1)
    print(listener.getsockname()[1], flush=True)
    # Whoever started it may have been killed.
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            connection = listener.accept()[0]
        except TimeoutError:
            continue
        threading.Thread(target=talk, args=(connection, sys.argv[2].replace("-", "_")), daemon=True).start()


main()
