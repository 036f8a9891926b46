# SPDX-License-Identifier: Apache-2.0
"""Blocking sockets, other threads beside them, wrong control messages: each as on Linux."""

import asyncio
import errno
import fcntl
import os
import select
import socket as std
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from beside_linux import Log, go_alike

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not std.has_dualstack_ipv6(), reason="Linux with IPv6 is missing"
)

A_MOMENT = 0.03  # s; another thread has begun to wait
LINGER = struct.pack("ii", 1, 0)
MANY = 3_000_000


def listener(backlog: int = 8) -> std.socket:
    found = std.socket()
    found.bind(("127.0.0.1", 0))
    found.listen(backlog)
    return found


def pair() -> tuple[std.socket, std.socket]:
    with listener() as server:
        client = std.create_connection(server.getsockname())
        return client, server.accept()[0]


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call gives, or how it fails."""
    try:
        found = call(*arguments)
    except TimeoutError as error:
        return "TimeoutError", error.errno
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return None if isinstance(found, tuple | std.socket) else found


def meanwhile(blocking: Callable[[], Any], other: Callable[[], object]) -> Any:
    """What ``blocking`` gives in a thread while we do ``other``."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(outcome(blocking)), daemon=True)
    thread.start()
    time.sleep(A_MOMENT)
    other()
    thread.join(2)
    return found[0] if found else "still blocked"


def all_is_taken() -> Log:
    """send(2) of a blocking stream returns when all is queued."""
    data, log = bytes(MANY), []
    calls: dict[str, Callable[[std.socket], int | None]] = {
        "send": lambda sock: sock.send(data),
        "sendmsg": lambda sock: sock.sendmsg([data[:1000], data[1000:]]),
        "sendto": lambda sock: sock.sendto(data, ("127.0.0.1", 9)),
        "os.write": lambda sock: os.write(sock.fileno(), data),
        "makefile": lambda sock: sock.makefile("wb", 0).write(data),
    }
    for name, call in calls.items():
        client, server = pair()
        got: list[int] = []
        reader = threading.Thread(
            target=lambda server=server, got=got: got.extend(
                iter(lambda: len(server.recv(1 << 16)), 0)
            )
        )
        reader.start()
        log.append((name, call(client)))
        client.close()
        reader.join()
        server.close()
        log.append(("arrived", sum(got)))
    return log


def what_is_left_in_time() -> Log:
    """With SO_SNDTIMEO a blocking send returns what was taken; so it does when the peer resets."""
    client, server = pair()
    client.setsockopt(std.SOL_SOCKET, std.SO_SNDTIMEO, struct.pack("ll", 0, 200_000))
    taken = client.send(bytes(30_000_000))
    log: Log = [("some", 0 < taken < 30_000_000)]
    server.setsockopt(std.SOL_SOCKET, std.SO_LINGER, LINGER)
    server.close()
    time.sleep(A_MOMENT)
    log.append(("reset", outcome(client.send, b"x")))
    log.append(("then", outcome(client.send, b"x")))
    client.close()
    return log


def written_before_a_reset() -> Log:
    """What was sent before a close that resets arrives before the reset."""
    log: Log = []
    for unread, linger in ((True, False), (False, True)):
        client, server = pair()
        if unread:
            server.send(b"a request that nobody reads")
            time.sleep(A_MOMENT)
        if linger:
            client.setsockopt(std.SOL_SOCKET, std.SO_LINGER, LINGER)
        client.send(b"413 too large")
        client.close()
        time.sleep(A_MOMENT)
        log += [("peer", server.recv(20)), ("then", outcome(server.recv, 20))]
        server.close()
    return log


def ended_by_another_thread() -> Log:
    log: Log = []
    server = listener()
    log.append(("accept", meanwhile(server.accept, lambda: server.shutdown(std.SHUT_RDWR))))
    server.close()
    for timeout in (None, 2.0):
        server = listener()
        server.settimeout(timeout)

        def end(sock: std.socket = server) -> None:
            sock.shutdown(std.SHUT_RDWR)
            sock.close()

        log.append((f"accept, closed, {timeout}", meanwhile(server.accept, end)))
        client, peer = pair()
        client.settimeout(timeout)

        def end_client(sock: std.socket = client) -> None:
            sock.shutdown(std.SHUT_RDWR)
            sock.close()

        log.append((f"recv, closed, {timeout}", meanwhile(lambda c=client: c.recv(9), end_client)))
        peer.close()
    return log


def shut_down_while_connecting() -> Log:
    full = listener(0)
    waiting = []
    for _ in range(3):
        waiting.append(std.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(full.getsockname())
        time.sleep(A_MOMENT)
    client = std.socket()
    name = full.getsockname()
    found = meanwhile(lambda: client.connect(name), lambda: client.shutdown(std.SHUT_RDWR))
    log: Log = [("connect", found), ("peer", outcome(client.getpeername))]
    for sock in (full, client, *waiting):
        sock.close()
    return log


def opened_fast() -> Log:
    """MSG_FASTOPEN on a blocking socket waits for the handshake, cookie or not."""
    server = listener()
    server.setsockopt(std.IPPROTO_TCP, 23, 5)
    name, fast = server.getsockname(), std.MSG_FASTOPEN
    log: Log = []
    for _ in range(2):
        for call in (
            lambda sock: sock.sendto(b"hello", fast, name),
            lambda sock: sock.sendmsg([b"hel", b"lo"], [], fast, name),
        ):
            with std.socket() as client:
                log.append(("taken", call(client)))
                accepted, _ = server.accept()
                with accepted:
                    log.append(("arrived", accepted.recv(9)))
    server.close()
    with std.socket() as client:
        log.append(("closed port", outcome(client.sendto, b"x", fast, ("127.0.0.1", 1))))
    with std.socket() as client:
        log.append(("to nobody", outcome(client.send, b"x", fast)))
    return log


def all_is_awaited() -> Log:
    """MSG_WAITALL, also of a peek, and an error behind what was there."""
    client, server = pair()
    server.send(b"abc")
    threading.Timer(A_MOMENT, server.send, (b"def",)).start()
    flags = std.MSG_WAITALL | std.MSG_PEEK
    log: Log = [("peek", client.recv(6, flags)), ("again", client.recv(6, flags))]
    log.append(("read", client.recv(6, std.MSG_WAITALL)))
    server.setsockopt(std.SOL_SOCKET, std.SO_LINGER, LINGER)
    server.send(b"xyz")
    time.sleep(A_MOMENT)
    server.close()
    time.sleep(A_MOMENT)
    log.append(("before the reset", client.recv(9, std.MSG_WAITALL)))
    log.append(("then", outcome(client.recv, 9)))
    client.close()
    return log


def control_messages() -> Log:
    log: Log = []

    def number(value: int) -> bytes:
        return struct.pack("i", value)

    with std.socket(std.AF_INET, std.SOCK_DGRAM) as four:
        four.bind(("127.0.0.1", 0))
        four.settimeout(0.2)
        for level, kind, value in (
            (std.IPPROTO_IP, std.IP_TTL, number(256)),
            (std.IPPROTO_IP, std.IP_TTL, number(0)),
            (std.IPPROTO_IP, std.IP_TOS, number(300)),
            (std.IPPROTO_IP, 8, struct.pack("i4s4s", 0, b"\x09" * 4, bytes(4))),  # IP_PKTINFO
            (std.IPPROTO_IP, 8, struct.pack("i4s4s", 99, bytes(4), bytes(4))),
            (std.SOL_SOCKET, std.SCM_RIGHTS, bytes(4)),
            (std.IPPROTO_IPV6, std.IPV6_HOPLIMIT, number(300)),
        ):
            sent = outcome(four.sendmsg, [b"x"], [(level, kind, value)], 0, four.getsockname())
            log.append((f"{level} {kind}", sent))
        log.append(("interface", outcome(four.setsockopt, std.IPPROTO_IP, std.IP_MULTICAST_IF, -1)))
    with std.socket(std.AF_INET6, std.SOCK_DGRAM) as six:
        six.bind(("::1", 0))
        for kind, value in (
            (std.IPV6_HOPLIMIT, number(300)),
            (std.IPV6_HOPLIMIT, number(-1)),
            (std.IPV6_TCLASS, number(999)),
            (50, std.inet_pton(std.AF_INET6, "2001:db8::1") + bytes(4)),  # IPV6_PKTINFO
        ):
            message = (std.IPPROTO_IPV6, kind, value)
            log.append((f"{kind}", outcome(six.sendmsg, [b"x"], [message], 0, six.getsockname())))
    return log


def read_while_another_polls() -> Log:
    """A program that waits in recv hears of data though another asked whether there is some."""
    log: Log = []
    for timeout in (0.0, 2 * A_MOMENT):
        with (
            std.socket(std.AF_INET, std.SOCK_DGRAM) as sock,
            std.socket(std.AF_INET, std.SOCK_DGRAM) as other,
        ):
            sock.bind(("127.0.0.1", 0))

            def ask_and_send(
                sock: std.socket = sock, other: std.socket = other, timeout: float = timeout
            ) -> None:
                ready, _, _ = select.select([sock], [], [], timeout)
                log.append(("ready", len(ready)))
                time.sleep(A_MOMENT)
                other.sendto(b"x", sock.getsockname())

            log.append(("read", meanwhile(lambda sock=sock: sock.recv(9), ask_and_send)))
    return log


def what_is_refused_is_asked_for() -> Log:
    """FIONREAD of a datagram socket leaves its error pending."""
    log: Log = []
    with std.socket(std.AF_INET, std.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))
        sock.send(b"x")
        time.sleep(A_MOMENT)
        log.append(("unread", fcntl.ioctl(sock, 0x541B, bytes(4))))
        log.append(("error", sock.getsockopt(std.SOL_SOCKET, std.SO_ERROR)))
    return log


def port_of_a_server_started_again() -> Log:
    """SO_REUSEADDR counts if both have it, the listener's connections included."""
    log: Log = []
    for before in (0, 1):
        for after in (0, 1):
            server = std.socket()
            server.setsockopt(std.SOL_SOCKET, std.SO_REUSEADDR, before)
            server.bind(("127.0.0.1", 0))
            server.listen()
            name = server.getsockname()
            client = std.create_connection(name)
            accepted, _ = server.accept()
            server.close()
            for state in ("open", "TIME-WAIT"):
                if state == "TIME-WAIT":
                    accepted.close()
                    time.sleep(A_MOMENT)
                    client.close()
                    time.sleep(A_MOMENT)
                with std.socket() as again:
                    again.setsockopt(std.SOL_SOCKET, std.SO_REUSEADDR, after)
                    log.append((f"{before} {after} {state}", outcome(again.bind, name)))
    return log


def a_factory_that_raises() -> Log:
    async def main() -> Any:
        loop = asyncio.get_running_loop()

        def bad() -> asyncio.Protocol:
            raise ValueError

        server = await loop.create_server(bad, "127.0.0.1", 0)
        with std.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            found = await asyncio.wait_for(loop.sock_recv(client, 1), 2)
        server.close()
        return found

    return [("client", asyncio.run(main()))]


PROGRAMS = [
    all_is_taken,
    what_is_left_in_time,
    written_before_a_reset,
    ended_by_another_thread,
    shut_down_while_connecting,
    opened_fast,
    all_is_awaited,
    control_messages,
    read_while_another_polls,
    what_is_refused_is_asked_for,
    port_of_a_server_started_again,
    a_factory_that_raises,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_each_step_is_as_in_linux(program: Callable[[], Log]) -> None:
    go_alike(lambda _: program(), 0)
