"""A TCP proxy before a Kafka broker: holds requests of a kind, stalls either direction, is slow. Knows of Kafka only
that a request begins with its length and its kind, and where a generation stands in one."""
import socket
import struct
import threading
import time

PRODUCE, FETCH, HEARTBEAT, END_TXN, TXN_OFFSETS = 0, 1, 12, 26, 28


class Proxy:
    """Between whoever connects to `port` and the port that `target` is, which may come and go."""

    def __init__(self):
        self.target = None
        self.delay_s = 0            # of all that goes through, in each direction
        self.bytes_per_s = None     # of each connection, in each direction
        self.hooks = {}             # kind of request: called once, before it goes on
        self.aged = 0               # so many requests with positions go on with the generation before theirs
        self.lost = set()           # kinds of request: the answer to the next one is lost with its connection
        self.gates = {}             # kind of request: an Event without which none goes on
        self.seen = {}              # kind of request: the last one that went on
        self.up, self.down = threading.Event(), threading.Event()
        self.up.set()
        self.down.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.heal()
        self.listener.close()
        for pair in self.pairs:
            shut(*pair)

    def once(self, kind, what):
        """The next request of that kind goes on when what() has returned, which the Event says."""
        came = threading.Event()

        def hook():
            what()
            came.set()
        self.hooks[kind] = hook
        return came

    def hold(self, kind):
        """No request of that kind goes on until the Event that is returned is set."""
        self.gates[kind] = threading.Event()
        return self.gates[kind]

    def stall(self, up=True, down=True):
        """Nothing comes through, and nobody is told; what was written comes later."""
        if up:
            self.up.clear()
        if down:
            self.down.clear()

    def heal(self):
        self.up.set()
        self.down.set()
        for gate in self.gates.values():
            gate.set()
        self.delay_s, self.bytes_per_s = 0, None

    def send_again(self, kind):
        """A copy of the last request of that kind, which was held up on its way. Returns when it was answered."""
        with socket.create_connection(("127.0.0.1", self.target)) as server:
            server.sendall(self.seen[kind])
            length, = struct.unpack(">i", exactly(server, 4))
            exactly(server, length)

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                shut(client)
                continue
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs.append((client, server))
            threading.Thread(target=self.requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, self.down), daemon=True).start()

    def requests(self, client, server):
        """One after the other, so that each can be held."""
        try:
            while True:
                head = exactly(client, 6)
                length, kind = struct.unpack(">ih", head)
                body = exactly(client, length - 2)
                hook = self.hooks.pop(kind, None)
                if hook is not None:
                    hook()
                if kind in self.gates:
                    self.gates[kind].wait()
                if kind == TXN_OFFSETS and self.aged > 0:
                    self.aged -= 1
                    body = with_generation_before(body)
                self.up.wait()
                self.slowly(server, head + body)
                self.seen[kind] = head + body
                if kind in self.lost:
                    self.lost.remove(kind)
                    client.shutdown(socket.SHUT_RDWR)
                    # The broker carries out what it has before it hears of the end.
                    exactly(server, 4)
        except (OSError, EOFError):
            shut(client, server)

    def pump(self, source, sink, gate):
        try:
            while True:
                some = source.recv(65536)
                if not some:
                    break
                gate.wait()
                self.slowly(sink, some)
        except OSError:
            pass
        shut(source, sink)

    def slowly(self, sink, some):
        time.sleep(self.delay_s)
        step = len(some) if self.bytes_per_s is None else max(1, self.bytes_per_s // 20)
        for at in range(0, len(some), step):
            sink.sendall(some[at:at + step])
            if self.bytes_per_s is not None:
                time.sleep(0.05)


def with_generation_before(body):
    """What follows the kind of TXN_OFFSETS, in version 3: two texts and ten bytes stand before the generation."""
    version, _, client = struct.unpack_from(">hih", body)
    assert version == 3, version
    at = 8 + max(client, 0) + 1
    for _ in range(2):
        assert body[at] < 128, "a longer text than its first byte tells"
        at += body[at]
    generation, = struct.unpack_from(">i", body, at + 10)
    return body[:at + 10] + struct.pack(">i", generation - 1) + body[at + 14:]


def exactly(source, count):
    some = b""
    while len(some) < count:
        more = source.recv(count - len(some))
        if not more:
            raise EOFError
        some += more
    return some


def shut(*sockets):
    for s in sockets:
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        s.close()
