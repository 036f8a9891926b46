# SPDX-License-Identifier: Apache-2.0
"""SO_PEEK_OFF: where MSG_PEEK begins, step by step as on Linux's sockets over loopback."""

import socket as std
import sys
import threading
import time
from typing import Any

import pytest
from beside_linux import MOMENT, Log, Steps, go_alike
from test_options_as_linux import pair, readable, tried

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux is missing")
ANY, PEEK_OFF = std.SOL_SOCKET, 42
NOW = std.MSG_DONTWAIT
SIZES = (0, 1, 2, 3, 5, 9)
SHORT = 0.05  # s


class Peeks(Steps):
    """Two ends and steps of chance; data goes from the second to the first."""

    count = 40
    calls = ("send", "send", "peek", "peek", "peek", "whole", "read", "set", "all", "empty")

    def step(self, sock: std.socket, call: str) -> Any:
        reader, writer = self.sockets[:2]
        size = self.chance.choice(SIZES)
        done: object = None
        if call == "send":
            done = tried(writer.send, bytes(self.chance.randrange(256) for _ in range(size or 4)))
        elif call == "empty" and writer.type == std.SOCK_DGRAM:
            done = tried(writer.send, b"")
        elif call == "set":
            done = tried(reader.setsockopt, ANY, PEEK_OFF, self.chance.choice((-1, 0, 0, 2, 7)))
        elif call == "whole" and reader.type == std.SOCK_DGRAM:
            room = bytearray(size)
            done = tried(reader.recv_into, room, 0, NOW | std.MSG_PEEK | std.MSG_TRUNC), bytes(room)
        else:
            flags = NOW if call in ("read", "all") else NOW | std.MSG_PEEK
            got = tried(reader.recvmsg, 99 if call == "all" else size or 1, 0, flags)
            done = (got[0], got[2]) if isinstance(got, tuple) else got
        return done, reader.getsockopt(ANY, PEEK_OFF)

    def over(self, number: int) -> None:
        """Nobody is to be named."""


class Streams(Peeks):
    def open(self) -> Log:
        self.sockets = list(streams())
        return []


class Datagrams(Peeks):
    def open(self) -> Log:
        self.sockets = list(datagrams())
        return []


def streams() -> tuple[std.socket, std.socket]:
    client, server = pair()
    client.setsockopt(std.IPPROTO_TCP, std.TCP_NODELAY, 1)
    return server, client


def datagrams() -> tuple[std.socket, std.socket]:
    reader, writer = (std.socket(std.AF_INET, std.SOCK_DGRAM) for _ in range(2))
    reader.bind(("127.0.0.1", 0))
    writer.connect(reader.getsockname())
    return reader, writer


@LINUX
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", [Streams, Datagrams])
def test_steps_of_chance(kind: type[Peeks], seed: int) -> None:
    go_alike(lambda seed: kind(seed).run(), seed)


def inherited(_: int) -> Log:
    with std.socket() as listener, std.socket() as client:
        listener.setsockopt(ANY, PEEK_OFF, 3)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        server, _address = listener.accept()
        with server, std.socket(std.AF_INET, std.SOCK_RAW, 1) as raw:
            return [
                ("child", server.getsockopt(ANY, PEEK_OFF)),
                ("raw", tried(raw.getsockopt, ANY, PEEK_OFF)),
                ("raw", tried(raw.setsockopt, ANY, PEEK_OFF, 1)),
            ]


@LINUX
def test_who_has_it() -> None:
    go_alike(inherited, 0)


def urgent(_: int) -> Log:
    """An offset before, at and beyond the mark; the octet at it is out of line, or in line."""
    log: Log = []
    for offset in (0, 1, 3, 4, 5):
        for inline in (0, 1):
            for size in (2, 9):
                reader, writer = streams()
                with reader, writer:
                    reader.setsockopt(ANY, std.SO_OOBINLINE, inline)
                    for data, flags in ((b"abc", 0), (b"d", std.MSG_OOB), (b"efg", 0)):
                        writer.send(data, flags)
                        time.sleep(MOMENT)
                    reader.setsockopt(ANY, PEEK_OFF, offset)
                    for _step in range(4):
                        got = tried(reader.recv, size, NOW | std.MSG_PEEK)
                        log.append((f"{offset} {inline} {size}", got))
                    log.append(("read", tried(reader.recv, 99, NOW)))
                    log.append(("offset", reader.getsockopt(ANY, PEEK_OFF)))
    return log


@LINUX
def test_urgent_data() -> None:
    go_alike(urgent, 0)


def reset(_: int) -> Log:
    reader, writer = streams()
    with reader:
        writer.send(b"abcdef")
        time.sleep(MOMENT)
        reader.setsockopt(ANY, PEEK_OFF, 3)
        log: Log = [("nothing", tried(reader.recvmsg, 0, 0, NOW | std.MSG_PEEK))]
        log.append(("offset", reader.getsockopt(ANY, PEEK_OFF)))
        writer.setsockopt(ANY, std.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
        writer.close()
        time.sleep(MOMENT)
        return log + [("peek", tried(reader.recv, 9, NOW | std.MSG_PEEK)) for _step in range(4)]


@LINUX
def test_the_error_of_a_reset_is_told_to_who_peeks() -> None:
    go_alike(reset, 0)


def waiting(_: int) -> Log:
    log: Log = []
    for ends in (streams, datagrams):
        reader, writer = ends()
        with reader, writer:
            writer.send(b"0123")
            time.sleep(MOMENT)
            reader.setsockopt(ANY, PEEK_OFF, 4)
            reader.settimeout(SHORT)
            log.append(("in vain", tried(reader.recv, 9, std.MSG_PEEK)))
            log.append(("is shown", readable(reader)))
            reader.settimeout(None)
            later = threading.Timer(SHORT, writer.send, (b"abc",))
            later.start()
            log.append(("waits", reader.recv(9, std.MSG_PEEK)))
            later.join()
            log.append(("offset", reader.getsockopt(ANY, PEEK_OFF)))
            if reader.type == std.SOCK_STREAM:
                reader.setsockopt(ANY, PEEK_OFF, 2)
                later = threading.Timer(SHORT, writer.send, (b"defg",))
                later.start()
                log.append(("all", reader.recv(8, std.MSG_PEEK | std.MSG_WAITALL)))
                later.join()
                log.append(("offset", reader.getsockopt(ANY, PEEK_OFF)))
            log.append(("reads", (reader.recv(9), reader.getsockopt(ANY, PEEK_OFF))))
    return log


@LINUX
def test_who_peeks_beyond_what_is_there_waits() -> None:
    go_alike(waiting, 0)
