# SPDX-License-Identifier: Apache-2.0
"""Blocking programs in virtual time: the surface of CPython's socket, call by call."""

import errno
import select
import selectors
import socket as std
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

import capas
from capas.host.host import Host
from capas.sim.world import World
from capas.sockets import modules
from capas.sockets.driver import VIRTUAL_FD
from capas.sockets.socket import Socket, socketpair_of

FAMILIES = pytest.mark.parametrize(
    ("family", "any_", "local"),
    [(std.AF_INET, "0.0.0.0", "127.0.0.1"), (std.AF_INET6, "::", "::1")],
    ids=["v4", "v6"],
)


@pytest.fixture
def world() -> World:
    world = World(1)
    a, b = world.host("a"), world.host("b")
    world.link(a, b, delay="10ms", rate="10Mbit")
    return world


def on(world: World, host: str, program: Callable[..., Any], *args: Any) -> Any:
    """What ``program`` returns on ``host``."""
    return world.thread(host, program, *args).result()


def here(world: World, program: Callable[[], Any]) -> Any:
    return on(world, "a", program)


def test_what_a_socket_is(world: World) -> None:
    def program() -> None:
        with Socket() as sock:
            assert isinstance(sock, std.socket)
            assert (sock.family, sock.type, sock.proto) == (std.AF_INET, std.SOCK_STREAM, 0)
            assert sock.fileno() == VIRTUAL_FD
            assert "family=2" in repr(sock)
            assert sock.getsockname() == ("0.0.0.0", 0)
            with pytest.raises(OSError) as caught:
                sock.getpeername()
            assert caught.value.errno == errno.ENOTCONN
        assert sock.fileno() == -1
        assert "[closed]" in repr(sock)
        with pytest.raises(OSError) as caught:
            sock.recv(1)
        assert caught.value.errno == errno.EBADF
        sock.close()
        assert Socket(std.AF_INET6, std.SOCK_DGRAM | std.SOCK_NONBLOCK).detach() == VIRTUAL_FD + 1

    here(world, program)


@pytest.mark.parametrize(
    ("args", "number"),
    [
        ((std.AF_UNIX, std.SOCK_STREAM), errno.EAFNOSUPPORT),
        ((std.AF_INET, std.SOCK_SEQPACKET), errno.ESOCKTNOSUPPORT),
        ((std.AF_INET, std.SOCK_STREAM, 17), errno.EPROTONOSUPPORT),
        ((std.AF_INET, std.SOCK_STREAM, 0, VIRTUAL_FD + 77), errno.EBADF),
    ],
)
def test_sockets_that_cannot_be(world: World, args: tuple[int, ...], number: int) -> None:
    with capas.use_host(world.hosts["a"]), pytest.raises(OSError) as caught:
        Socket(*args)
    assert caught.value.errno == number


def test_outside_any_host_there_is_no_socket_of_ours() -> None:
    with pytest.raises(capas.ConfigurationError, match=r"capas\.run"):
        Socket()


@FAMILIES
def test_a_stream_both_ways(world: World, family: int, any_: str, local: str) -> None:
    def server() -> tuple[Any, bytes]:
        with Socket(family) as listener:
            listener.bind((any_, 80))
            listener.listen()
            connection, peer = listener.accept()
            with connection:
                data = connection.recv(100, std.MSG_WAITALL)
                connection.sendall(data[::-1])
                connection.shutdown(std.SHUT_WR)
                assert connection.recv(1) == b""
            return peer, data

    def client() -> Any:
        with Socket(family) as sock:
            sock.connect(("b", 80))
            assert sock.getpeername()[1] == 80
            for part in range(10):
                sock.send(bytes([part]) * 10)
            assert sock.recv(3, std.MSG_PEEK | std.MSG_WAITALL) == b"\x09\x09\x09"
            with sock.makefile("rb") as stream:
                answer = stream.read()
            assert len(answer) == 100
            assert answer[0] == 9
            return sock.getsockname()

    serving = world.thread("b", server)
    name = on(world, "a", client)
    peer, data = serving.result()
    assert peer == name
    assert data[:11] == bytes(10) + b"\1"


def test_refused_unreachable_and_timed_out(world: World) -> None:
    def program() -> None:
        with pytest.raises(ConnectionRefusedError):
            Socket().connect(("b", 81))
        sock = Socket()
        assert sock.connect_ex(("b", 81)) == errno.ECONNREFUSED
        assert sock.connect_ex(("198.51.100.1", 81)) == errno.ENETUNREACH
        sock.settimeout(2.5)
        before = time.monotonic()
        with pytest.raises(TimeoutError, match="timed out"):
            sock.connect(("10.0.0.77", 81))
        assert time.monotonic() - before == pytest.approx(2.5)
        sock.close()

    here(world, program)


def test_connecting_again_tells_how_it_went(world: World) -> None:
    """As in Linux: 0 once when the handshake is over, then EISCONN; no second connection."""

    def program() -> None:
        with Socket() as listener, Socket() as sock:
            listener.bind(("127.0.0.1", 7))
            listener.listen()
            listener.setblocking(False)
            sock.setblocking(False)
            assert sock.connect_ex(("127.0.0.1", 7)) == errno.EINPROGRESS
            assert sock.connect_ex(("127.0.0.1", 7)) == errno.EALREADY
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            assert poll.poll()
            assert sock.connect_ex(("127.0.0.1", 7)) == 0
            assert sock.connect_ex(("127.0.0.1", 7)) == errno.EISCONN
            accepted, name = listener.accept()
            assert name == sock.getsockname()
            accepted.close()
            with pytest.raises(BlockingIOError):
                listener.accept()

    with modules.installed():
        here(world, program)


def test_timeouts_of_the_kernel(world: World) -> None:
    """SO_RCVTIMEO and SO_SNDTIMEO end blocking calls by EAGAIN, a connect by EINPROGRESS."""

    def program() -> None:
        one, other = socketpair_of()
        with one, other:
            for option in (std.SO_RCVTIMEO, std.SO_SNDTIMEO):
                one.setsockopt(std.SOL_SOCKET, option, struct.pack("@ll", 2, 500_000))
            before = time.monotonic()
            with pytest.raises(BlockingIOError):
                one.recv(1)
            assert time.monotonic() - before == pytest.approx(2.5)
            with pytest.raises(BlockingIOError):
                one.sendall(bytes(10_000_000))
            one.settimeout(1)  # from now on Python waits, not the kernel
            with pytest.raises(TimeoutError):
                one.recv(1)
        with Socket() as sock:
            sock.setsockopt(std.SOL_SOCKET, std.SO_SNDTIMEO, struct.pack("@ll", 1, 0))
            before = time.monotonic()
            with pytest.raises(BlockingIOError) as caught:
                sock.connect(("10.0.0.77", 81))
            assert caught.value.errno == errno.EINPROGRESS
            assert time.monotonic() - before == pytest.approx(1)

    here(world, program)


def test_a_port_in_time_wait_is_in_use(world: World) -> None:
    """A server that is started again finds its port taken, unless both say SO_REUSEADDR."""

    def program() -> None:
        listener = Socket()
        listener.setsockopt(std.SOL_SOCKET, std.SO_REUSEADDR, 1)
        listener.bind(("", 7))
        listener.listen()
        client = Socket()
        client.connect(("127.0.0.1", 7))
        server, _ = listener.accept()
        listener.close()
        for _ in range(2):  # the connection is open, then in TIME-WAIT
            with Socket() as again:
                with pytest.raises(OSError) as caught:
                    again.bind(("", 7))
                assert caught.value.errno == errno.EADDRINUSE
                with pytest.raises(OSError):
                    again.bind(("127.0.0.1", 7))
                again.setsockopt(std.SOL_SOCKET, std.SO_REUSEADDR, 1)
                again.bind(("", 7))
                again.listen()
            server.close()
            client.close()
            time.sleep(1)
        time.sleep(60)
        with Socket() as again:
            again.bind(("", 7))

    here(world, program)


def test_timeouts_and_non_blocking_calls(world: World) -> None:
    def program() -> None:
        one, other = socketpair_of()
        with one, other:
            one.settimeout(0.25)
            before = time.monotonic()
            with pytest.raises(TimeoutError):
                one.recv(1)
            assert time.monotonic() - before == pytest.approx(0.25)
            one.setblocking(False)
            assert one.gettimeout() == 0.0
            assert not one.getblocking()
            with pytest.raises(BlockingIOError):
                one.recv(1)
            other.settimeout(None)
            with pytest.raises(BlockingIOError):
                other.recv(1, std.MSG_DONTWAIT)
            with pytest.raises(ValueError, match="Timeout value out of range"):
                one.settimeout(-1)
            sent = 0
            with pytest.raises(BlockingIOError):
                while True:
                    sent += one.send(bytes(65536))
            assert sent > 65536
        fresh = Socket()
        fresh.setblocking(False)
        with pytest.raises(BlockingIOError) as caught:
            fresh.connect(("b", 81))
        assert caught.value.errno == errno.EINPROGRESS
        with pytest.raises(OSError) as caught:
            fresh.connect(("b", 81))
        assert caught.value.errno == errno.EALREADY
        poll = selectors.DefaultSelector()
        poll.register(fresh, selectors.EVENT_WRITE)
        assert poll.select(5)
        assert fresh.getsockopt(std.SOL_SOCKET, std.SO_ERROR) == errno.ECONNREFUSED
        assert fresh.getsockopt(std.SOL_SOCKET, std.SO_ERROR) == 0
        fresh.close()

    with modules.installed():
        here(world, program)


def test_datagrams(world: World) -> None:
    def server() -> None:
        with Socket(std.AF_INET6, std.SOCK_DGRAM) as sock:
            sock.bind(("::", 7))
            for _ in range(3):
                data, peer = sock.recvfrom(100)
                sock.sendto(data[::-1], peer)

    def client() -> None:
        with Socket(std.AF_INET, std.SOCK_DGRAM) as sock:
            assert sock.sendto(b"abc", ("b", 7)) == 3
            buffer = bytearray(10)
            size, peer = sock.recvfrom_into(buffer)
            assert (buffer[:size], peer[1]) == (b"cba", 7)
            sock.connect(("b", 7))
            sock.send(b"0123456789")
            data, ancillary, flags, peer = sock.recvmsg(4)
            assert (data, ancillary, flags) == (b"9876", [], std.MSG_TRUNC)
            sock.sendmsg([b"ab", b"cd"])
            assert sock.recv(100) == b"dcba"
            with pytest.raises(PermissionError):
                sock.sendto(b"", ("<broadcast>", 7))
        with Socket(std.AF_INET6, std.SOCK_DGRAM) as sock:
            sock.connect(("b", 9))
            sock.send(b"")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(1)

    serving = world.thread("b", server)
    on(world, "a", client)
    serving.result()


def test_ancillary_data(world: World) -> None:
    def program() -> None:
        with Socket(std.AF_INET, std.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 5000))
            for option in (std.IP_RECVTOS, 8, 12):  # IP_PKTINFO, IP_RECVTTL
                sock.setsockopt(std.IPPROTO_IP, option, 1)
            control = [(std.IPPROTO_IP, std.IP_TTL, struct.pack("@i", 9))]
            sock.sendmsg([b"x"], control, 0, ("127.0.0.1", 5000))
            data, messages, flags, _ = sock.recvmsg(10, 1000)
            found = {kind: value for _, kind, value in messages}
            assert data == b"x"
            assert found[std.IP_TTL] == struct.pack("@i", 9)
            assert found[8] == struct.pack("@i4s4s", 1, b"\x7f\0\0\1", b"\x7f\0\0\1")
            sock.sendto(b"x", ("127.0.0.1", 5000))
            _, messages, flags, _ = sock.recvmsg(10, 30)
            assert len(messages) == 1
            assert flags & std.MSG_CTRUNC
            with pytest.raises(OSError):
                sock.sendmsg([b"x"], [(1, 99, b"3")], 0, ("127.0.0.1", 5000))

    here(world, program)


def test_time_stamps_of_datagrams_tell_when_they_came(world: World) -> None:
    def program() -> None:
        with Socket(std.AF_INET, std.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 5000))
            for option, unit in ((29, 1e6), (35, 1e9)):  # SO_TIMESTAMP, SO_TIMESTAMPNS
                sock.setsockopt(std.SOL_SOCKET, option, 1)
                before = time.time()
                sock.sendto(b"x", ("127.0.0.1", 5000))
                time.sleep(3)  # the program was busy
                _, [(level, kind, value)], _, _ = sock.recvmsg(10, 1000)
                assert (level, kind) == (std.SOL_SOCKET, option)
                seconds, part = struct.unpack("@ll", value)
                assert seconds + part / unit == pytest.approx(before, abs=1e-4)

    with modules.installed():
        here(world, program)


@FAMILIES
def test_addresses_programs_pass(world: World, family: int, any_: str, local: str) -> None:
    def program() -> None:
        with Socket(family) as sock:
            name = "AF_INET6" if family == std.AF_INET6 else "AF_INET"
            with pytest.raises(TypeError, match=f"{name} address must be tuple, not str"):
                sock.bind("nonsense")
            with pytest.raises(TypeError):
                sock.bind((local,))
            with pytest.raises(OverflowError, match="port must be 0-65535"):
                sock.bind((local, 65536))
            with pytest.raises(std.gaierror):
                sock.connect(("no-such-host", 1))
            with pytest.raises(OSError) as caught:
                sock.bind(("192.0.2.99" if family == std.AF_INET else "2001:db8::99", 1))
            assert caught.value.errno == errno.EADDRNOTAVAIL
            sock.bind(("", 0))
            assert sock.getsockname()[0] == any_
            assert 32768 <= sock.getsockname()[1] <= 60999
            with pytest.raises(OSError) as caught:
                sock.bind(("", 0))
            assert caught.value.errno == errno.EINVAL

    here(world, program)


def test_port_in_use_and_reuse(world: World) -> None:
    def program() -> None:
        first, second = Socket(), Socket()
        with first, second:
            first.bind(("", 80))
            with pytest.raises(OSError) as caught:
                second.bind(("127.0.0.1", 80))
            assert caught.value.errno == errno.EADDRINUSE
            for sock in (first, second):
                sock.setsockopt(std.SOL_SOCKET, std.SO_REUSEPORT, 1)
            second.bind(("127.0.0.1", 80))
            second.listen()
            with pytest.raises(OSError) as caught:
                second.connect(("127.0.0.1", 80))
            assert caught.value.errno == errno.EISCONN
        with Socket() as third:
            third.bind(("", 80))

    here(world, program)


def test_dual_stack_listener_sees_mapped_addresses(world: World) -> None:
    def server() -> Any:
        with Socket(std.AF_INET6) as listener:
            listener.setsockopt(std.IPPROTO_IPV6, std.IPV6_V6ONLY, 0)
            listener.bind(("::", 80))
            listener.listen()
            connection, peer = listener.accept()
            connection.close()
            return peer

    def client() -> None:
        with Socket(std.AF_INET) as sock:
            sock.connect(("b", 80))
        with Socket(std.AF_INET6) as sock:
            sock.setsockopt(std.IPPROTO_IPV6, std.IPV6_V6ONLY, 1)
            with pytest.raises(OSError) as caught:
                sock.connect(("::ffff:10.0.0.2", 80))
            assert caught.value.errno == errno.ENETUNREACH

    serving = world.thread("b", server)
    on(world, "a", client)
    assert serving.result()[0] == "::ffff:10.0.0.1"


def test_options_with_their_meaning_on_linux(world: World) -> None:
    def program() -> None:
        one, other = socketpair_of()
        with one, other:
            tcp, all_ = std.IPPROTO_TCP, std.SOL_SOCKET
            assert one.getsockopt(all_, std.SO_TYPE) == std.SOCK_STREAM
            assert one.getsockopt(all_, std.SO_ERROR) == 0
            one.setsockopt(tcp, std.TCP_NODELAY, 1)
            assert one.getsockopt(tcp, std.TCP_NODELAY) == 1
            connection = one.description.connection  # type: ignore[attr-defined]
            assert connection.options.nodelay
            one.setsockopt(all_, std.SO_RCVBUF, 10000)
            assert one.getsockopt(all_, std.SO_RCVBUF) == 20000
            one.setsockopt(all_, std.SO_LINGER, struct.pack("@ii", 1, 5))
            assert one.getsockopt(all_, std.SO_LINGER, 8) == struct.pack("@ii", 1, 5)
            one.setsockopt(tcp, std.TCP_MAXSEG, 0)
            one.setsockopt(std.IPPROTO_IP, std.IP_TOS, b"\xbb")  # the ECN bits are TCP's
            assert one.getsockopt(std.IPPROTO_IP, std.IP_TOS) == 0xB8
            one.setsockopt(tcp, std.TCP_CONGESTION, b"reno")
            assert one.getsockopt(tcp, std.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
            info = one.getsockopt(tcp, std.TCP_INFO, 256)
            assert info[0] == 1  # TCP_ESTABLISHED
            for level, option, value, number in (
                (tcp, std.TCP_CONGESTION, b"none", errno.ENOENT),
                (tcp, 999, 1, errno.ENOPROTOOPT),
                (tcp, std.TCP_KEEPIDLE, 0, errno.EINVAL),
                (tcp, std.TCP_MAXSEG, 87, errno.EINVAL),
                (tcp, std.TCP_NODELAY, b"\1", errno.EINVAL),
                (all_, std.SO_TYPE, 1, errno.ENOPROTOOPT),
                (all_, std.SO_BINDTODEVICE, b"wlan7\0", errno.ENODEV),
                (std.IPPROTO_IP, std.IP_TTL, 0, errno.EINVAL),
            ):
                with pytest.raises(OSError) as caught:
                    one.setsockopt(level, option, value)
                assert caught.value.errno == number, (level, option)
        with Socket(type=std.SOCK_DGRAM) as sock, pytest.raises(OSError):
            sock.getsockopt(std.IPPROTO_TCP, std.TCP_NODELAY)

    here(world, program)


def test_linger_zero_resets(world: World) -> None:
    def program() -> None:
        one, other = socketpair_of()
        one.setsockopt(std.SOL_SOCKET, std.SO_LINGER, struct.pack("@ii", 1, 0))
        one.close()
        with other, pytest.raises(ConnectionResetError):
            other.recv(1)

    here(world, program)


def test_dup_and_reopening_a_descriptor(world: World) -> None:
    def program() -> None:
        one, other = socketpair_of()
        copy = one.dup()
        one.close()
        copy.send(b"still")
        assert other.recv(10) == b"still"
        again = Socket(fileno=copy.detach())
        again.send(b"here")
        assert other.recv(10) == b"here"
        again.close()
        assert other.recv(1) == b""
        other.close()

    here(world, program)


def test_an_unclosed_socket_warns_and_closes(world: World) -> None:
    def program() -> None:
        one, other = socketpair_of()
        with pytest.warns(ResourceWarning, match="unclosed"):
            del one
        assert other.recv(1) == b""
        other.close()

    here(world, program)


@pytest.mark.skipif(not hasattr(select, "EPOLLONESHOT"), reason="epoll is Linux's")
def test_epoll_once_and_the_end_of_the_peer(world: World) -> None:
    def program() -> None:
        one, other = socketpair_of()
        with one, other, select.epoll() as epoll:
            wanted = select.EPOLLIN | select.EPOLLONESHOT
            epoll.register(one, wanted)
            other.send(b"x")
            assert epoll.poll(1) == [(one.fileno(), select.EPOLLIN)]
            assert epoll.poll(1) == []  # told of once
            epoll.modify(one, wanted)
            assert epoll.poll(1) == [(one.fileno(), select.EPOLLIN)]
            epoll.modify(one, select.EPOLLRDHUP)
            assert epoll.poll(1) == []
            one.recv(1)
            other.shutdown(std.SHUT_WR)
            assert epoll.poll(1) == [(one.fileno(), select.EPOLLRDHUP)]

    with modules.installed():
        here(world, program)


@pytest.mark.skipif(not hasattr(select, "EPOLLET"), reason="epoll is Linux's")
def test_epoll_by_edges(world: World) -> None:
    both = select.EPOLLIN | select.EPOLLOUT

    def program() -> None:
        one, other = socketpair_of()
        with one, other, select.epoll() as epoll:
            epoll.register(one, both | select.EPOLLET)
            assert epoll.poll(1) == [(one.fileno(), select.EPOLLOUT)]
            assert epoll.poll(1) == []  # there is room all the time: no news
            other.send(b"abc")
            assert epoll.poll(1) == [(one.fileno(), both)]
            assert one.recv(1) == b"a"
            assert epoll.poll(1) == []  # what was told of and not read is no news
            other.send(b"d")
            assert epoll.poll(1) == [(one.fileno(), both)]
            epoll.modify(one, both | select.EPOLLET)
            assert epoll.poll(1) == [(one.fileno(), both)]
            epoll.modify(one, both)
            assert epoll.poll(1) == epoll.poll(1) == [(one.fileno(), both)]

    with modules.installed():
        here(world, program)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")
def test_epoll_shows_all_in_turn(world: World) -> None:
    def program() -> None:
        one, other = socketpair_of()
        with one, other, select.epoll() as epoll:
            for sock in (one, other):
                epoll.register(sock, select.EPOLLOUT)
            shown = [epoll.poll(1, 1)[0][0] for _ in range(4)]
            assert shown == [one.fileno(), other.fileno()] * 2

    with modules.installed():
        here(world, program)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")
def test_epoll_forgets_what_is_closed(world: World) -> None:
    def program() -> None:
        one, other = socketpair_of()
        with other, select.epoll() as epoll:
            epoll.register(one, select.EPOLLIN)
            with pytest.raises(FileExistsError):
                epoll.register(one, select.EPOLLIN)
            number = one.fileno()
            one.close()
            assert epoll.poll(0) == []
            for call in (epoll.modify, epoll.register):
                with pytest.raises(OSError, match="Bad file"):
                    call(number, select.EPOLLIN)

    with modules.installed():
        here(world, program)


def test_select_and_poll(world: World) -> None:
    def program() -> None:
        one, other = socketpair_of()
        with one, other:
            assert select.select([one], [one], [], 0) == ([], [one], [])
            before = time.monotonic()
            assert select.select([one], [], [], 1.5) == ([], [], [])
            assert time.monotonic() - before == pytest.approx(1.5)
            other.send(b"x")
            assert select.select([one], [], []) == ([one], [], [])
            poll = select.poll()
            poll.register(one, select.POLLIN)
            assert poll.poll(100) == [(one.fileno(), select.POLLIN)]
            one.recv(1)
            assert poll.poll(100) == []
            other.close()
            ((fd, events),) = poll.poll(1000)
            assert fd == one.fileno()
            assert events & select.POLLIN
            poll.unregister(one)
            with pytest.raises(KeyError):
                poll.unregister(one)

    with modules.installed():
        here(world, program)


def test_a_closed_listener_refuses_and_its_queue_is_reset(world: World) -> None:
    def program(host: Host) -> None:
        listener = Socket(host=host)
        listener.bind(("", 80))
        listener.listen(1)
        waiting = Socket()
        waiting.connect(("127.0.0.1", 80))
        listener.close()
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)
        waiting.close()
        with Socket() as late, pytest.raises(ConnectionRefusedError):
            late.connect(("127.0.0.1", 80))

    on(world, "a", program, world.hosts["a"])


@pytest.mark.parametrize(
    ("family", "proto", "request_", "reply"),
    [
        (std.AF_INET, std.IPPROTO_ICMP, 8, 0),
        (std.AF_INET6, std.IPPROTO_ICMPV6, 128, 129),
    ],
)
def test_ping_sockets(world: World, family: int, proto: int, request_: int, reply: int) -> None:
    def program() -> None:
        with Socket(family, std.SOCK_DGRAM, proto) as sock:
            sock.settimeout(5)
            packet = bytes([request_, 0, 0, 0, 0, 0, 0, 7]) + b"payload"
            assert sock.sendto(packet, ("b", 0)) == len(packet)
            data, peer = sock.recvfrom(100)
            assert (data[0], data[6:]) == (reply, b"\0\7payload")
            assert peer[0] in ("10.0.0.2", "fd00::2")
            with pytest.raises(OSError):
                sock.sendto(b"\0\0\0\0\0\0\0\0", ("b", 0))
            with pytest.raises(OSError):
                sock.send(packet)
            with pytest.raises(TimeoutError):
                sock.recv(1)
        with pytest.raises(OSError) as caught:
            Socket(family, std.SOCK_DGRAM, 59 - proto)
        assert caught.value.errno == errno.EPROTONOSUPPORT

    here(world, program)


@pytest.mark.parametrize("destination", ["224.0.0.251", "10.0.0.255"])
def test_who_was_asked_as_a_group_answers_from_its_own_address(destination: str) -> None:
    """mDNS and its kind hand back what IP_PKTINFO told: the address to answer from."""

    def serve() -> None:
        with Socket(std.AF_INET, std.SOCK_DGRAM) as sock:
            sock.bind(("", 5353))
            sock.setsockopt(std.IPPROTO_IP, 8, 1)  # IP_PKTINFO
            if destination.startswith("224"):
                member = std.inet_aton(destination) + std.inet_aton("10.0.0.2")
                sock.setsockopt(std.IPPROTO_IP, std.IP_ADD_MEMBERSHIP, member)
            _, control, _, peer = sock.recvmsg(100, 100)
            sock.sendmsg([b"answer"], control, 0, peer)

    def ask() -> tuple[bytes, object]:
        with Socket(std.AF_INET, std.SOCK_DGRAM) as sock:
            sock.setsockopt(std.SOL_SOCKET, std.SO_BROADCAST, 1)
            sock.settimeout(3)
            sock.sendto(b"who?", (destination, 5353))
            return sock.recvfrom(100)

    with World(1) as world:
        ends = {"a": ["10.0.0.1/24"], "b": ["10.0.0.2/24"]}
        world.link(world.host("a"), world.host("b"), delay="1ms", addresses=ends)
        world.thread("b", serve)
        assert world.thread("a", ask).result() == (b"answer", ("10.0.0.2", 5353))
