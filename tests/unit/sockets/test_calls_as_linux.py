# SPDX-License-Identifier: Apache-2.0
"""Single calls whose answers are Linux's and CPython's: files, descriptors, epoll, names."""

import asyncio
import contextlib
import os
import select
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from beside_linux import MOMENT, Log, go_alike

fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compared with Linux")


def told(call: Callable[..., Any], *args: Any) -> object:
    """What a call gives, or the kind and number of its error."""
    try:
        return call(*args)
    except (OSError, ValueError, TypeError, OverflowError) as error:
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
        kept: list[Any] = []
        server = await asyncio.start_server(lambda *ends: kept.append(ends), "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"before")
        for args in ((), (0, 4), (8,), (10,)):
            file.seek(10)
            sent = await loop.sendfile(writer.transport, file, *args, fallback=False)
            log.append((f"sendfile{args}", (sent, file.tell())))
        for end in (writer, *(ends[1] for ends in kept)):
            end.close()
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
    for port in (-1, 65536, 1 << 31, 1 << 32, 1 << 63, -(1 << 63) - 1, 1 << 70, True, 1.5):
        log.append((f"port {port!r}", told(ask, "127.0.0.1", port, 0, 1)))
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


def descriptors(log: Log) -> None:
    one, other = pair()
    with one, other:
        fd = one.fileno()
        facts = os.fstat(fd)
        shown = oct(facts.st_mode), facts.st_nlink, facts.st_uid, facts.st_size, facts.st_blksize
        log.append(("fstat", shown))
        copy = os.dup(fd)
        log.append(("dup", (os.get_inheritable(copy), os.path.sameopenfile(fd, copy))))
        log.append(("another", os.path.sameopenfile(fd, other.fileno())))
        log.append(("write", os.write(copy, b"ab")))
        os.close(copy)
        for call in (os.dup, os.fstat, os.close):
            log.append((f"closed {call.__name__}", told(call, copy)))
            for bad in (-1, (1 << 31) - 1, 1 << 31, 2**1000, "1", None):
                log.append((f"{call.__name__} of {bad!r:.20}", told(call, bad)))
        log.append(("writev", told(os.writev, fd, [b"cd", bytearray(b"e"), memoryview(b"f")])))
        nap()
        rooms = bytearray(3), bytearray(9)
        log.append(("readv", (told(os.readv, other.fileno(), rooms), rooms)))
        for count in (0, 1024, 1025):
            log.append((f"writev of {count}", told(os.writev, fd, [b"x"] * count)))
            nap()
            room = [bytearray(1) for _ in range(count)]
            log.append((f"readv of {count}", told(os.readv, other.fileno(), room)))
            log.append((f"sendmsg of {count}", told(one.sendmsg, [b"x"] * count)))
            nap()
            if count:
                log.append((f"recvmsg_into of {count}", told(other.recvmsg_into, room)))
        log.append(("writev of text", told(os.writev, fd, ["x"])))


def files_of_descriptors(log: Log) -> None:
    one, other = pair()
    with one, other:
        fd = one.fileno()
        with os.fdopen(fd, "wb", 0, closefd=False) as file:
            log.append(("write", (file.write(b"abc"), file.fileno() == fd, file.seekable())))
        with os.fdopen(os.dup(fd), "w") as text:
            text.write("one\ntwo\n")
        nap()
        with os.fdopen(other.fileno(), closefd=False) as text:
            log.append(("lines", (text.readline(), text.readline())))
        with os.fdopen(fd, "r+b", 0, closefd=False) as file:
            other.send(b"x")
            log.append(("both", (file.read(1), file.write(b"y"))))
        log.append(("buffered", told(lambda: os.fdopen(fd, "r+b", closefd=False))))
        one.setblocking(False)
        with os.fdopen(fd, "rb", 0, closefd=False) as file:
            log.append(("non-blocking", file.read(1)))
        log.append(("stays open", one.fileno() == fd and one.getpeername() == other.getsockname()))
        owner = os.fdopen(one.detach(), "rb")
        owner.close()
        log.append(("closed", told(os.fstat, fd)))
        other.settimeout(1)
        log.append(("its end", (other.recv(9), other.recv(9))))
    log.append(("bad", told(os.fdopen, 99_999)))


def requests(log: Log) -> None:
    one, other = pair()
    listener = socket.create_server(("127.0.0.1", 0))
    idle, datagrams = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    six = socket.socket(socket.AF_INET6)
    with one, other, listener, idle, datagrams, six:
        one.send(b"abc")
        nap()
        for name in ("TIOCOUTQ", "FIONREAD", "FIONBIO", "FIOCLEX", "FIONCLEX", "TCGETS"):
            request = getattr(termios, name)
            for sock in (one, other, listener, idle, datagrams):
                log.append((name, told(fcntl.ioctl, sock, request, bytes(8))))
            log.append((f"{name} int", told(fcntl.ioctl, one, request, 0)))
        log.append(("inheritable", one.get_inheritable()))
        for request in (0x8913, 0x8915, 0x8919, 0x891B, 0x8927, 0x8933, 0x1234):
            for sock in (one, datagrams, six):
                for passed in (b"lo", struct.pack("40s", b"lo"), bytes(40), b"nope\0"):
                    log.append(
                        (f"{request:x} {passed!r}", told(fcntl.ioctl, sock, request, passed))
                    )
            room = bytearray(struct.pack("256s", b"lo"))
            log.append((f"{request:x} room", (told(fcntl.ioctl, one, request, room), bytes(room))))
        log.append(("name", told(fcntl.ioctl, one, 0x8910, struct.pack("16si20x", b"", 1))))
        log.append(("mtu", told(fcntl.ioctl, one, 0x8921, struct.pack("40s", b"lo"))))


def protocols(log: Log) -> None:
    for args in ((), (2, 1, 6), (2, 2), (2, 2, 17), (10, 1), (10, 2)):
        with contextlib.ExitStack() as closing:
            sock = closing.enter_context(socket.socket(*args))
            copy = closing.enter_context(sock.dup())
            again = closing.enter_context(socket.socket(fileno=os.dup(sock.fileno())))
            last = closing.enter_context(again.dup())
            found = sock.proto, copy.proto, again.proto, last.proto
            log.append((f"{args}", (*found, sock.getsockopt(socket.SOL_SOCKET, 38))))
    one, other = pair()
    with one, other:
        log.append(("of a connection", (one.proto, other.proto)))
    for args in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_RAW)):
        log.append(("socketpair", told(socket.socketpair, *args)))


def accepted_after_a_reset(log: Log) -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((host, 0), family=family) as listener:
            client = socket.create_connection(listener.getsockname()[:2])
            name = client.getsockname()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            nap()
            sock, peer = listener.accept()
            with sock:
                log.append(("peer", peer == name))
                log.append(("getpeername", told(sock.getpeername)))
                log.append(("recv", told(sock.recv, 1)))


def too_little_ancillary_room(log: Log) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        for option in (8, 12, 13):  # IP_PKTINFO, IP_RECVTTL, IP_RECVTOS
            sock.setsockopt(socket.IPPROTO_IP, option, 1)
        for room in (0, 8, 15, 16, 17, 20, 27, 28, 30, 32, 40, 47, 48, 52, 56, 71, 72, 73, 200):
            sock.sendto(b"x", sock.getsockname())
            data, messages, flags, _ = sock.recvmsg(9, room)
            log.append((f"room for {room}", (data, messages, flags)))


WALKS = (
    descriptors,
    files_of_descriptors,
    requests,
    protocols,
    accepted_after_a_reset,
    too_little_ancillary_room,
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
