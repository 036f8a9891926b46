# SPDX-License-Identifier: Apache-2.0
"""Single calls whose answers are Linux's and CPython's: files, descriptors, epoll, names."""

import asyncio
import os
import select
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from beside_linux import MOMENT, Log, go_alike

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compared with Linux")


def told(call: Callable[..., Any], *args: Any) -> object:
    """What a call gives, or the kind and number of its error."""
    try:
        return call(*args)
    except (OSError, ValueError, TypeError) as error:
        return type(error).__name__, getattr(error, "errno", None)


def nap() -> None:
    time.sleep(MOMENT)


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


def sendfile_of_sockets(log: Log) -> None:
    one, other = pair()
    with one, other, tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        for args in ((), (0, 4), (8,), (3, 100), (10,), (99, 1)):
            file.seek(10)
            log.append((f"sendfile{args}", (told(one.sendfile, file, *args), file.tell())))
        log.append(("received", other.recv(23, socket.MSG_WAITALL)))
        one.setblocking(False)
        log.append(("non-blocking", told(one.sendfile, file)))
    log.append(("closed", told(one.sendfile, file)))


def sendfile_of_the_system(log: Log) -> None:
    one, other = pair()
    with one, other, tempfile.TemporaryFile() as file:
        file.write(bytes(3_000_000))
        file.flush()
        got: list[int] = []
        reader = threading.Thread(target=lambda: got.append(len(_all_of(other))))
        reader.start()
        fd = file.fileno()
        for offset, count in ((0, 2_000_000), (2_999_990, 100), (3_000_000, 5), (7, 0)):
            log.append((f"at {offset}", told(os.sendfile, one.fileno(), fd, offset, count)))
        file.seek(1_000_000)
        for count in (5, 1_500_000, 1_500_000):
            sent = told(os.sendfile, one.fileno(), fd, None, count)
            log.append((f"from the position {count}", (sent, file.tell())))
        one.shutdown(socket.SHUT_WR)
        reader.join()
        log.append(("received", got))
        log.append(("after the end", told(os.sendfile, one.fileno(), fd, 0, 1)))
        reading, writing = os.pipe()
        log.append(("a pipe", told(os.sendfile, one.fileno(), reading, None, 1)))
        os.close(reading)
        os.close(writing)


def _all_of(sock: socket.socket) -> bytes:
    with sock.makefile("rb") as stream:
        return stream.read()


def sendfile_of_loops(log: Log) -> None:
    async def main(file: Any) -> None:
        loop = asyncio.get_running_loop()
        one, other = pair()
        with one, other:
            one.setblocking(False)
            for args in ((), (0, 4), (8,), (10,)):
                file.seek(10)
                log.append((f"sock_sendfile{args}", await loop.sock_sendfile(one, file, *args)))
                log.append(("tell", file.tell()))
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"before")
        for args in ((), (0, 4), (8,), (10,)):
            file.seek(10)
            sent = await loop.sendfile(writer.transport, file, *args, fallback=False)
            log.append((f"sendfile{args}", (sent, file.tell())))
        writer.close()
        server.close()

    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        asyncio.run(main(file))


def epoll_by_edges_and_once(log: Log) -> None:
    one, other = pair()
    reading, writing = os.pipe()
    with one, other, select.epoll() as epoll:

        def look(step: str) -> None:
            nap()
            log.append((step, sorted(events for _, events in epoll.poll(0))))

        once = select.EPOLLIN | select.EPOLLONESHOT
        for how, extra in (("edges", select.EPOLLET), ("level", 0)):
            for sender, receiver in ((one.fileno(), other.fileno()), (writing, reading)):
                epoll.register(receiver, once | extra)
                look(how)
                for step in ("told", "not again"):
                    os.write(sender, b"x")
                    look(f"{how} {step}")
                epoll.modify(receiver, once | extra)
                look(f"{how} modified")
                look(f"{how} told again")
                os.read(receiver, 10)
                epoll.unregister(receiver)
        epoll.register(reading)
        os.close(writing)
        look("hung up")
        epoll.modify(reading, once)
        look("once")
        look("once more")
        os.close(reading)
        look("closed")


def epoll_misused(log: Log) -> None:
    one, other = pair()
    epoll = select.epoll()
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    with one, other, file:
        for name in ("register", "modify"):
            for what in (99_999, file, -1, object(), 1 << 30):
                log.append((f"{name} {what!r:.9}", told(getattr(epoll, name), what, 1)))
        for what in (99_999, file, one):
            log.append(("unregister", told(epoll.unregister, what)))
        epoll.register(one, select.EPOLLOUT)
        log.append(("again", told(epoll.register, one, 1)))
        for most in (0, -2, -1, 1):
            log.append((f"maxevents {most}", told(lambda most=most: len(epoll.poll(0, most)))))
        for sizehint in (0, -2, 5):
            log.append((f"sizehint {sizehint}", told(_made, sizehint)))
        log.append(("flags", told(_made, -1, 5)))
        log.append(("class", (isinstance(epoll, select.epoll), isinstance(one, select.epoll))))
        for _ in range(2):
            epoll.close()
        log.append(("closed", epoll.closed))
        for name, args in (("poll", (0,)), ("register", (one,)), ("modify", (one, 1))):
            log.append((name, told(getattr(epoll, name), *args)))
        for name, args in (("unregister", (one,)), ("fileno", ()), ("__enter__", ())):
            log.append((name, told(getattr(epoll, name), *args)))


def _made(*args: int) -> bool:
    with select.epoll(*args) as epoll:
        return epoll.closed


def epoll_of_a_descriptor(log: Log) -> None:
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Bad file") as caught:
        select.epoll.fromfd(99_999).register(reading)
    log.append(("a bad one", caught.value.errno))
    os.close(reading)
    os.close(writing)


def names(log: Log) -> None:
    ask = socket.getaddrinfo
    for name in ("", b"", "x" * 64, "a..b", ".a", "a..", bytearray(b"127.0.0.1"), 5, "1.2.3.4 "):
        log.append((f"{name!r:.20}", told(ask, name, 80)))
    for name in ("::1.2.3.4", "::1:2", "::2", "::ffff:1.2.3.4", "::1%lo", "::1%9", "fe80::1%9"):
        log.append((name, told(lambda name=name: ask(name, 80, 0, 1)[0][4])))
    for port in ("80 ", " 80", "+80", "8_0", "\u0663", "-1", "99999999999", "4294967296", "HTTP"):
        log.append((f"port {port!r}", told(ask, "127.0.0.1", port, 0, 1)))
    for port in (-1, 65536, 1 << 31, 1 << 32, True, 1.5):
        log.append((f"port {port!r}", told(ask, "127.0.0.1", port, 0, 1)))
    with pytest.raises(OverflowError):
        ask("127.0.0.1", 1 << 63)
    log.append(("create_connection", told(socket.create_connection, ("", 1))))
    everything: tuple[Any, ...] = (b"127.0.0.1", bytearray(b"127.1"), "x" * 64, "a..b", None, 5)
    for name in everything:
        log.append((f"gethostbyname {name!r:.9}", told(socket.gethostbyname, name)))
        log.append((f"gethostbyname_ex {name!r:.9}", told(socket.gethostbyname_ex, name)))
    for name in ("::1", "::ffff:127.0.0.1", "fe80::1%lo", "", "<broadcast>"):
        log.append((f"gethostbyname {name}", told(socket.gethostbyname, name)))
        log.append((f"gethostbyname_ex {name}", told(socket.gethostbyname_ex, name)))
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    for host, number in (("127.0.0.1", 70_000), ("::1.2.3.4", 1), ("127.0.0.1", -1), (b"1", 1)):
        log.append((f"getnameinfo {host!r}", told(socket.getnameinfo, (host, number), numeric)))


def addresses_of_calls(log: Log) -> None:
    for name in ("::ffff:127.0.0.1", "::127.0.0.1", "::1"):
        with socket.socket() as sock:
            log.append((f"bind {name}", told(sock.bind, (name, 0))))
            log.append(("is at", sock.getsockname()[0]))
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for call in ("bind", "connect", "connect_ex"):
            for address in (("fe80::1", 9), ("fe80::1", 9, 0, 0), ("<broadcast>", 9)):
                with socket.socket(socket.AF_INET6, kind) as sock:
                    log.append((f"{call} {address}", told(getattr(sock, call), address)))
        with socket.socket(socket.AF_INET6, kind) as sock:
            log.append(("no device", told(sock.bind, ("fe80::1", 9, 0, 777))))
        with socket.socket(socket.AF_INET6, kind) as sock:
            log.append(("bind out of scope", told(sock.bind, ("::1", 0, 0, 777))))
            log.append(("connect out of scope", told(sock.connect_ex, ("::1", 9, 0, 777))))


WALKS = (
    names,
    addresses_of_calls,
    sendfile_of_sockets,
    sendfile_of_the_system,
    sendfile_of_loops,
    epoll_by_edges_and_once,
    epoll_misused,
    epoll_of_a_descriptor,
)


@pytest.mark.parametrize("steps", WALKS, ids=lambda steps: steps.__name__)
def test_each_step_is_as_in_linux(steps: Callable[[Log], None]) -> None:
    def walk(seed: int) -> Log:
        log: Log = []
        steps(log)
        return log

    go_alike(walk, 0, apart=steps is addresses_of_calls)
