# SPDX-License-Identifier: Apache-2.0
"""The kernel's end of ``capas bench tap``: a load generator on plain sockets.

Run as a process of its own (``python -m capas.bench.load KIND HOST PORT SECONDS``) so that it
shares no interpreter with the stack it measures; one number per request goes to standard output.
It uses nothing but the standard library and large reused buffers, so that it costs little itself.
The congestion control is pinned: a machine's default may pace.

Kinds: ``in`` (bytes to a discard server), ``out`` (bytes from a chargen server), ``in8`` and
``out8`` (the same on eight connections at once), ``rtt`` (1-byte round trips on one connection),
``crr1`` and ``crr32`` (connect, 1-byte request and reply, close, by 1 or 32 clients in one epoll
loop), ``http`` (keep-alive GETs on 32 connections).
Units: bytes/s for bulk, operations per second otherwise.
"""

import select
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

Load = Callable[[str, int, float], float]  # host, port, seconds

BLOCK: Final = 1 << 18  # bytes per system call of bulk work
_PATIENCE: Final = 20.0  # s; a server that answers nothing that long is dead
_CLIENTS: Final = 32
_TCP_CONGESTION: Final = 13  # linux/tcp.h; absent from some Pythons' socket module
_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


def pin_congestion(sock: socket.socket, name: str = "cubic") -> None:
    """Use ``name``, whatever the machine's default is."""
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, name.encode())


def _new(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    pin_congestion(sock)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _connect(host: str, port: int) -> socket.socket:
    sock = _new(host)
    sock.settimeout(_PATIENCE)
    sock.connect((host, port))
    return sock


def bulk_in(host: str, port: int, seconds: float, warm: float = 0.2) -> float:
    """Send to a discard server; bytes/s after ``warm`` seconds."""
    block = memoryview(bytes(BLOCK))
    with _connect(host, port) as sock:
        send, clock = sock.send, time.perf_counter
        begin = clock() + warm
        while clock() < begin:
            send(block)
        start, sent = clock(), 0
        end = start + seconds
        while (now := clock()) < end:
            sent += send(block)
        return sent / (now - start)


def bulk_out(host: str, port: int, seconds: float, warm: float = 0.2) -> float:
    """Read from a chargen server; bytes/s after ``warm`` seconds."""
    buffer = bytearray(BLOCK)
    with _connect(host, port) as sock:
        receive, clock = sock.recv_into, time.perf_counter
        begin = clock() + warm
        while clock() < begin:
            receive(buffer)
        start, got = clock(), 0
        end = start + seconds
        while (now := clock()) < end:
            got += receive(buffer)
        return got / (now - start)


def eight(one: Load, host: str, port: int, seconds: float) -> float:
    """``one`` on eight connections at once, together: losses are rare, and chance evens out."""
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(lambda _: one(host, port, seconds), range(8)))


def round_trips(host: str, port: int, seconds: float) -> float:
    """1-byte questions to an echo server, one after the other, per second."""
    with _connect(host, port) as sock:
        send, receive, clock = sock.send, sock.recv, time.perf_counter
        for _ in range(20):
            send(b"x")
            receive(16)
        start, count = clock(), 0
        end = start + seconds
        while (now := clock()) < end:
            send(b"x")
            receive(16)
            count += 1
        return count / (now - start)


def transactions_1(host: str, port: int, seconds: float) -> float:
    """Connect, ask, hear, close: one client."""
    clock = time.perf_counter
    start, count = clock(), 0
    end = start + seconds
    while (now := clock()) < end:
        with _connect(host, port) as sock:
            sock.send(b"x")
            if not sock.recv(16):
                raise ConnectionError("the server closed without an answer")
        count += 1
    return count / (now - start)


def transactions_32(host: str, port: int, seconds: float) -> float:
    """The same by 32 clients in one epoll loop."""
    poll = select.epoll()
    clients: dict[int, socket.socket] = {}

    def begin() -> None:
        sock = _new(host)
        sock.setblocking(False)
        sock.connect_ex((host, port))
        clients[sock.fileno()] = sock
        poll.register(sock, select.EPOLLOUT)

    for _ in range(_CLIENTS):
        begin()
    clock = time.perf_counter
    start, count = clock(), 0
    end = start + seconds
    heard = start
    while (now := clock()) < end:
        for fd, event in poll.poll(1.0):
            sock = clients[fd]
            if event & select.EPOLLIN:
                if sock.recv(16):
                    count += 1
                    heard = now
                poll.unregister(fd)
                del clients[fd]
                sock.close()
                begin()
            elif event & select.EPOLLOUT:
                sock.send(b"x")
                poll.modify(fd, select.EPOLLIN)
            else:
                raise ConnectionError("a connection failed")
        if now - heard > _PATIENCE:
            raise TimeoutError("no transaction ended")
    for sock in clients.values():
        sock.close()
    poll.close()
    return count / (now - start)


def http(host: str, port: int, seconds: float) -> float:
    """Keep-alive GETs on 32 connections, one outstanding on each; answers per second."""
    poll = select.epoll()
    clients: dict[int, socket.socket] = {}
    held: dict[int, bytes] = {}
    for _ in range(_CLIENTS):
        sock = _connect(host, port)
        clients[sock.fileno()] = sock
        held[sock.fileno()] = b""
        poll.register(sock, select.EPOLLIN)
        sock.send(_REQUEST)
    clock = time.perf_counter
    start, count = clock(), 0
    end = start + seconds
    while (now := clock()) < end:
        for fd, _ in poll.poll(1.0):
            sock = clients[fd]
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("the server closed")
            data = held[fd] + data
            if answer_complete(data):
                count += 1
                data = b""
                sock.send(_REQUEST)
            held[fd] = data
    for sock in clients.values():
        sock.close()
    poll.close()
    return count / (now - start)


def answer_complete(data: bytes) -> bool:
    """Whether ``data`` holds one whole answer with a Content-Length."""
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        return False
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return True


KINDS: Final[dict[str, Load]] = {
    "in": bulk_in,
    "out": bulk_out,
    "in8": partial(eight, bulk_in),
    "out8": partial(eight, bulk_out),
    "rtt": round_trips,
    "crr1": transactions_1,
    "crr32": transactions_32,
    "http": http,
}


def main(words: list[str]) -> int:
    """KIND HOST PORT SECONDS."""
    kind, host, port, seconds = words
    sys.stdout.write(f"{KINDS[kind](host, int(port), float(seconds))}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
