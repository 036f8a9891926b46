# SPDX-License-Identifier: Apache-2.0
"""The same steps of chance, by seed, on Linux's sockets over loopback and on ours: call by call.

What differs on purpose stays out: ports that are chosen, what a listener or an idle socket shows
after `shutdown`, names of sockets whose connect failed, and buffer sizes.
"""

import errno
import random
import select
import socket as std
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from beside_linux import MOMENT, Log, go_alike

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux is missing")

STEPS = 40
ADDRESSES = {
    std.AF_INET: ("127.0.0.1", "0.0.0.0", "127.0.0.5"),
    std.AF_INET6: ("::1", "::", "::1"),
}
CALLS = [
    "new", "listen", "connect", "connect", "accept", "accept", "send", "send", "send", "sendto",
    "recv", "recv", "recvfrom", "recvmsg", "shutdown", "close", "linger", "peer", "get", "set",
]  # fmt: skip
SOCKET = ("SO_ERROR", "SO_TYPE", "SO_ACCEPTCONN", "SO_REUSEADDR", "SO_KEEPALIVE", "SO_DOMAIN")
SOCKET += ("SO_PROTOCOL", "SO_BROADCAST", "SO_OOBINLINE", "SO_DONTROUTE")
TCP = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_SYNCNT", "TCP_USER_TIMEOUT")
IP = ("IP_TOS", "IP_TTL", "IP_MTU_DISCOVER", "IP_MULTICAST_LOOP", "IP_RECVERR")
IPV6 = ("IPV6_V6ONLY", "IPV6_UNICAST_HOPS", "IPV6_TCLASS", "IPV6_MULTICAST_LOOP")
OPTIONS = [
    (getattr(std, level), name)
    for level, names in (
        ("SOL_SOCKET", SOCKET),
        ("IPPROTO_TCP", TCP),
        ("IPPROTO_IP", IP),
        ("IPPROTO_IPV6", IPV6),
    )
    for name in names
    if hasattr(std, name)
]


class Walk:
    """One series of steps, on whatever module ``socket`` is at the moment."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.family = self.chance.choice([std.AF_INET, std.AF_INET, std.AF_INET6])
        self.sockets: list[std.socket] = []
        self.log: Log = []
        self.port: int = 0  # of the listener

    def run(self) -> Log:
        listener = self.new(std.SOCK_STREAM)
        self.note("bind", listener.bind, (ADDRESSES[self.family][0], 0))
        self.note("listen", listener.listen, 3)
        self.port = listener.getsockname()[1]
        self.note("connect", self.new(std.SOCK_STREAM).connect, listener.getsockname())
        time.sleep(MOMENT)
        self.note("accept", listener.accept)
        for _ in range(STEPS):
            self.step()
            time.sleep(MOMENT)
            self.log.append(("status", [self.status(sock) for sock in self.sockets]))
        for sock in self.sockets:
            sock.close()
        return self.log

    def new(self, kind: int) -> std.socket:
        return self.keep(std.socket(self.family, kind))

    def keep(self, sock: std.socket) -> std.socket:
        sock.setblocking(False)
        if sock.type == std.SOCK_STREAM:
            sock.setsockopt(std.IPPROTO_TCP, std.TCP_NODELAY, 1)
        self.sockets.append(sock)
        return sock

    def note(self, name: str, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            result = call(*arguments)
        except OSError as error:
            result = errno.errorcode[error.errno or 0]
        if name.endswith("accept") and isinstance(result, tuple):
            self.keep(result[0])
            result = "accepted"
        elif isinstance(result, tuple):  # with an address, whose port nobody knows before
            result = [part[0] if isinstance(part, tuple) else part for part in result]
        self.log.append((name, result))

    def status(self, sock: std.socket) -> int | None:
        if sock.fileno() < 0:
            return None
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP)
        return sum(events for _, events in poll.poll(0))

    def step(self) -> None:
        chance = self.chance
        call = chance.choice(CALLS)
        index = chance.randrange(len(self.sockets))
        host, port = chance.choice(ADDRESSES[self.family]), chance.choice([self.port, 9])
        size = chance.choice([0, 1, 2, 10, 100, 100_000])
        flags = chance.choice([0, 0, 0, std.MSG_PEEK, std.MSG_DONTWAIT])
        data = bytes([chance.randrange(97, 123)]) * chance.choice([0, 1, 3, 10, 1000])
        level, option = chance.choice(OPTIONS)
        value = chance.choice([0, 1, 1, 2, 64, -1, 255, 300])
        way = chance.choice([std.SHUT_RD, std.SHUT_WR, std.SHUT_RDWR])
        sock = self.sockets[index]
        name = f"{index} {call}"
        if call == "new" and len(self.sockets) < 6:
            self.new(chance.choice([std.SOCK_STREAM, std.SOCK_DGRAM]))
        if call == "new" or sock.fileno() < 0:
            return
        match call:
            case "listen":
                self.note(name, sock.listen, size % 7)
            case "connect":
                self.note(f"{name} {host} {port == 9}", sock.connect_ex, (host, port))
            case "accept":
                self.note(name, sock.accept)
            case "send":
                self.note(name, sock.send, data)
            case "sendto":
                self.note(f"{name} {host} {port == 9}", sock.sendto, data, (host, port))
            case "recv" | "recvfrom":
                self.note(f"{name} {size} {flags}", getattr(sock, call), size, flags)
            case "recvmsg":
                self.note(f"{name} {size} {flags}", sock.recvmsg, size, 0, flags)
            case "shutdown":
                way = std.SHUT_WR if sock.type == std.SOCK_DGRAM else way
                self.note(f"{name} {way}", sock.shutdown, way)
                if index == 0 or self.log[-1][1] == "ENOTCONN":
                    sock.close()
            case "close" if value > 1:
                sock.close()
            case "linger":
                linger = struct.pack("ii", 1, 0)
                self.note(name, sock.setsockopt, std.SOL_SOCKET, std.SO_LINGER, linger)
            case "peer":
                self.note(name, lambda: sock.getpeername()[0])
            case "get":
                self.note(f"{name} {option}", sock.getsockopt, level, getattr(std, option))
            case "set":
                number = getattr(std, option)
                self.note(f"{name} {option} {value}", sock.setsockopt, level, number, value)


def walk(seed: int) -> Log:
    return Walk(seed).run()


@pytest.mark.parametrize("seed", range(40))
def test_each_step_is_as_in_linux(seed: int) -> None:
    go_alike(walk, seed)


def bindings(_: int) -> Log:
    """Addresses a stream may hold, what `getsockname` says of them, and how they connect."""
    log: Log = []
    listener = std.create_server(("127.0.0.1", 0))
    for family, address in (
        (std.AF_INET, "255.255.255.255"),
        (std.AF_INET, "224.0.0.251"),
        (std.AF_INET, "192.0.2.77"),
        (std.AF_INET6, "ff02::fb"),
        (std.AF_INET6, "2001:db8::77"),
    ):
        with std.socket(family) as sock:
            for what, call in (
                ("bind", lambda sock=sock, address=address: sock.bind((address, 0))),
                ("name", lambda sock=sock: sock.getsockname()[0]),
                ("connect", lambda sock=sock: sock.connect(listener.getsockname())),
                ("name", lambda sock=sock: sock.getsockname()[0]),
            ):
                if family == std.AF_INET6 and what == "connect":
                    break
                try:
                    log.append((f"{what} {address}", call()))
                except OSError as error:
                    log.append((f"{what} {address}", error.errno))
    listener.close()
    return log


def test_streams_may_be_bound_to_groups_and_broadcasts() -> None:
    go_alike(bindings, 0)
