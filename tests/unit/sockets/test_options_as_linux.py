# SPDX-License-Identifier: Apache-2.0
"""What options take, read back and do, on Linux's sockets over loopback and on ours."""

import contextlib
import errno
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
from beside_linux import MOMENT, Log, go_alike

from capas.sim.world import World
from capas.sockets import modules

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux is missing")

ANY, IP, IPV6, TCP = std.SOL_SOCKET, std.IPPROTO_IP, std.IPPROTO_IPV6, std.IPPROTO_TCP
STREAM, DATAGRAM = std.SOCK_STREAM, std.SOCK_DGRAM
SCALED = 1 << 10  # bytes; what the field of the window does not tell
RANGE = (40_000, 40_003)
DELAYED = 0.06  # s: an acknowledgement that was delayed has come
#: IPV6_ADDR_PREFERENCES: any number of words, some of which contradict each other
PREFERENCES = (*range(16), *(1 << n for n in range(4, 14)), 0x105, 0x401, 0xC02, 0x808, -1, b"\1")
#: SO_MAX_PACING_RATE
RATES = (0, 1000, -1, -2, b"\1", bytes(4), bytes(7), b"\xff" * 8, struct.pack("@Q", 1 << 35))
#: (level, option), values; constants that some Python lacks are Linux's numbers
STREAM_VALUES: list[tuple[int, int, tuple[int | bytes, ...]]] = [
    (ANY, std.SO_SNDBUF, (0, 1, 4608, 100_000)),
    (ANY, std.SO_RCVBUF, (0, 1, 2304, 100_000)),
    (ANY, std.SO_RCVLOWAT, (0, 1, 5, 20_000)),
    (ANY, 49, (-2, -1, 0, 3)),  # SO_INCOMING_CPU
    (ANY, std.SO_BINDTODEVICE, (0, b"", b"nope", b"nope\0lo")),
    (IP, std.IP_TOS, (b"", b"\x10", -1, 0, 256)),
    (IP, std.IP_TTL, (b"", b"\1", -1, 0, 1, 255, 256)),
    (IP, std.IP_OPTIONS, (b"",)),
    (IP, 15, (b"", b"\1", 0, 1)),  # IP_FREEBIND
    (IP, 24, (b"", b"\1", 0, 1)),  # IP_BIND_ADDRESS_NO_PORT
    (IP, std.IP_MULTICAST_IF, (0, bytes(4), bytes(8))),
    (IP, std.IP_MULTICAST_TTL, (-1, 5)),
    (IP, std.IP_MULTICAST_LOOP, (b"", b"\0", 0, 1)),
    (IP, std.IP_ADD_MEMBERSHIP, (bytes(8),)),
    (ANY, std.SO_DONTROUTE, (0, 1, 7, b"\1")),
    (ANY, 47, RATES),
    (ANY, 42, (0, 5, -1, -2, b"\1", bytes(8))),  # SO_PEEK_OFF
    (IP, 21, (-1, 0, 5, 255, 256, b"", b"\5", b"\5\0")),  # IP_MINTTL
    (TCP, std.TCP_MAXSEG, (0, 87, 88, 100, 32_767, 32_768)),
    (TCP, std.TCP_LINGER2, (-5, -1, 0, 1, 60, 119, 120, 121, 300)),
    (TCP, std.TCP_DEFER_ACCEPT, (-1, 0, 1, 2, 3, 4, 5, 8, 15, 16, 100, 1000, 100_000, 1 << 30)),
    (TCP, std.TCP_WINDOW_CLAMP, (-1, 0, 1, 1151, 1152, 2000, 100_000)),
    (TCP, std.TCP_FASTOPEN, (-1, 0, 5, 70_000)),
    (IP, 51, (0, 40_000, -1, b"", b"\1", bytes(5), struct.pack("@I", 40_010 | 40_000 << 16))),
    (TCP, 36, (-1, 0, 1, 2)),  # TCP_INQ
    (TCP, std.TCP_NODELAY, (b"", b"\1", b"\1\0\0", 1, -1)),
]
STREAM_VALUES_6: list[tuple[int, int, tuple[int | bytes, ...]]] = [
    (IPV6, std.IPV6_MULTICAST_IF, (0, 1)),
    (IPV6, std.IPV6_MULTICAST_HOPS, (-1, 5)),
    (IPV6, std.IPV6_UNICAST_HOPS, (-2, -1, 0, 255, 256)),
    (IPV6, std.IPV6_JOIN_GROUP, (bytes(20),)),
    (IPV6, std.IPV6_TCLASS, (-1, 0, 64, 256)),
    (IPV6, 72, PREFERENCES),
    (IPV6, 73, (-1, 0, 5, 255, 256, b"", b"\5")),  # IPV6_MINHOPCOUNT
    (IPV6, 62, (0, 1, 7)),  # IPV6_DONTFRAG
]
DATAGRAM_VALUES: list[tuple[int, int, tuple[int | bytes, ...]]] = [
    (ANY, std.SO_RCVLOWAT, (-1, 0, 1, 1 << 30)),
    (ANY, 47, RATES),
    (IP, std.IP_MULTICAST_TTL, (b"", b"\5", -1, 0, 5, 255, 256)),
    (IP, std.IP_RECVTOS, (b"", b"\1")),
    (IP, 21, (-1, 0, 255, 256, b"")),  # IP_MINTTL
]
DATAGRAM_VALUES_6: list[tuple[int, int, tuple[int | bytes, ...]]] = [
    (IPV6, std.IPV6_MULTICAST_HOPS, (-2, -1, 0, 5, 255, 256)),
    (IPV6, std.IPV6_TCLASS, (-2, -1, 0, 64, 256)),
    (IPV6, 72, PREFERENCES),
    (IPV6, 73, (-1, 0, 5, 255, 256, b"")),  # IPV6_MINHOPCOUNT
    (IPV6, 62, (0, 1, 7)),  # IPV6_DONTFRAG
]


def tried(call: Callable[..., Any], *args: object) -> object:
    """What a call gives, or its error."""
    try:
        return call(*args)
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def pair() -> tuple[std.socket, std.socket]:
    with std.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = std.create_connection(listener.getsockname())
        return client, listener.accept()[0]


def readable(sock: std.socket) -> list[int]:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return [events for _, events in poll.poll(0)]


def values(_: int) -> Log:
    log: Log = []
    for family, kind, table in (
        (std.AF_INET, STREAM, STREAM_VALUES),
        (std.AF_INET6, STREAM, STREAM_VALUES_6),
        (std.AF_INET, DATAGRAM, DATAGRAM_VALUES),
        (std.AF_INET6, DATAGRAM, DATAGRAM_VALUES_6),
    ):
        for level, option, wanted in table:
            for value in wanted:
                with std.socket(family, kind) as sock:
                    said = tried(sock.setsockopt, level, option, value)
                    log.append((f"{level}.{option} {value!r}", said))
                    log.append(("reads", tried(sock.getsockopt, level, option)))
    return log


def test_values_are_kept_as_in_linux() -> None:
    go_alike(values, 0)


def preferences(_: int) -> Log:
    with std.socket(std.AF_INET6, DATAGRAM) as sock:
        log: Log = []
        for said in (1, 4, 2, 0, 0x400, 0x100, 0x104, 1, 3, 8, 0x402, -1):
            log.append((f"said {said}", tried(sock.setsockopt, IPV6, 72, said)))
            log.append(("reads", sock.getsockopt(IPV6, 72)))
        return log


def test_preferences_of_addresses_are_said_anew() -> None:
    go_alike(preferences, 0)


def rates(_: int) -> Log:
    log: Log = []
    for rate in (None, *RATES):
        with std.socket() as sock:
            if rate is not None:
                tried(sock.setsockopt, ANY, 47, rate)
            log += [
                (f"{rate!r} in {room}", sock.getsockopt(ANY, 47, room)) for room in (2, 4, 8, 12)
            ]
    return log


def test_a_rate_is_read_as_there_is_room() -> None:
    go_alike(rates, 0)


def small_buffers(_: int) -> Log:
    log: Log = []
    with std.socket(std.AF_INET, DATAGRAM) as four, std.socket(std.AF_INET6, DATAGRAM) as six:
        for room in (1, 2, 3, 4, 5):
            for option in (std.IP_TTL, std.IP_TOS, std.IP_MULTICAST_TTL):
                log.append((f"{option} in {room}", four.getsockopt(IP, option, room)))
            log.append((f"hops in {room}", six.getsockopt(IPV6, std.IPV6_UNICAST_HOPS, room)))
        log.append(("options", (four.getsockopt(IP, 4, 9), four.getsockopt(IP, 4))))
    return log


def test_small_numbers_of_ip_fit_a_byte() -> None:
    go_alike(small_buffers, 0)


def of_a_connection(_: int) -> Log:
    log: Log = []
    one, other = pair()
    with one, other, std.socket() as listener:
        for sock in (one, other):
            size = sock.getsockopt(TCP, std.TCP_MAXSEG)
            log.append(("a size of its own", size > 536))
            sock.setsockopt(TCP, std.TCP_MAXSEG, 500)
            log.append(("as before", sock.getsockopt(TCP, std.TCP_MAXSEG) == size))
            for option, value in ((std.TCP_FASTOPEN, 5), (std.TCP_WINDOW_CLAMP, 0)):
                log.append((f"{option} {value}", tried(sock.setsockopt, TCP, option, value)))
        listener.setsockopt(TCP, std.TCP_MAXSEG, 1000)
        listener.listen()
        log.append(("of a listener", listener.getsockopt(TCP, std.TCP_MAXSEG)))
        log.append(("no clamp", tried(listener.setsockopt, TCP, std.TCP_WINDOW_CLAMP, 0)))
        log.append(("queue", tried(listener.setsockopt, TCP, std.TCP_FASTOPEN, 7)))
    return log


def test_options_of_connections() -> None:
    go_alike(of_a_connection, 0)


def counted(sock: std.socket) -> tuple[int, ...]:
    """tcpi_state, bytes_acked, bytes_received, data_segs_out, whether segs_out, bytes_sent."""
    info = sock.getsockopt(TCP, std.TCP_INFO, 256)
    acked, received, segments = struct.unpack_from("@QQI", info, 120)
    (data,) = struct.unpack_from("@I", info, 156)
    (sent,) = struct.unpack_from("@Q", info, 200)
    return info[0], acked, received, data, segments > 0, sent


def information(_: int) -> Log:
    log: Log = []
    one, other = pair()
    with one, other, std.socket() as listener, std.socket() as waiting:
        log.append(("begun", (counted(one), counted(other))))
        one.sendall(b"x" * 5000)
        time.sleep(MOMENT)
        log.append(("sent", (counted(one), counted(other))))
        other.recv(9999)
        other.sendall(b"abc")
        time.sleep(MOMENT)
        log.append(("answered", (counted(one), counted(other))))
        one.shutdown(std.SHUT_WR)
        time.sleep(DELAYED)
        log.append(("ended", (counted(one), counted(other))))
        listener.bind(("127.0.0.1", 0))
        listener.listen(7)
        waiting.connect(listener.getsockname())
        time.sleep(MOMENT)
        log.append(("queue", listener.getsockopt(TCP, std.TCP_INFO, 32)[24:]))
        listener.listen(3)
        log.append(("shorter", listener.getsockopt(TCP, std.TCP_INFO, 32)[24:]))
    return log


def test_information_of_connections_and_listeners() -> None:
    go_alike(information, 0)


def low_mark(_: int) -> Log:
    log: Log = []
    one, other = pair()
    with one, other:
        other.setsockopt(ANY, std.SO_RCVLOWAT, 5)

        def comes(data: bytes) -> None:
            one.send(data)
            time.sleep(MOMENT)
            log.append((f"{data!r} comes", readable(other)))

        comes(b"abc")
        other.settimeout(MOMENT)
        log.append(("nothing yet", tried(other.recv, 2)))
        comes(b"de")
        log.append(("a part", tried(other.recv, 2)))
        log.append(("too little", readable(other)))
        other.setsockopt(ANY, std.SO_RCVLOWAT, 3)
        log.append(("enough", readable(other)))
        other.setsockopt(ANY, std.SO_RCVLOWAT, 9)
        log.append(("no more", readable(other)))
        other.setblocking(False)
        log.append(("who does not wait", tried(other.recv, 9)))
        comes(b"fg")
        other.setblocking(True)
        log.append(("so little", tried(other.recv, 2)))
        timeval = struct.pack("@ll", 0, 20_000)
        other.setsockopt(ANY, std.SO_RCVTIMEO, timeval)
        comes(b"hi")
        log.append(("what there is", tried(other.recv, 99)))
        comes(b"jk")
        one.shutdown(std.SHUT_WR)
        time.sleep(MOMENT)
        log.append(("the end", readable(other)))
        log.append(("the rest", (tried(other.recv, 99), tried(other.recv, 99))))
    return log


def test_a_socket_is_readable_from_its_low_mark_on() -> None:
    go_alike(low_mark, 0)


def inherited(_: int) -> Log:
    log: Log = []
    with std.socket() as listener, std.socket() as client:
        listener.setsockopt(ANY, std.SO_RCVLOWAT, 4)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        accepted = listener.accept()[0]
        with accepted:
            for data in (b"abc", b"d"):
                client.send(data)
                time.sleep(MOMENT)
                log.append((f"{data!r}", readable(accepted)))
    return log


def test_the_low_mark_is_inherited() -> None:
    go_alike(inherited, 0)


def cork(_: int) -> Log:
    log: Log = []
    one, other = pair()
    with one, other:
        other.setblocking(False)

        def shown(step: str) -> None:
            time.sleep(MOMENT)
            log.append((step, tried(other.recv, 9)))

        one.setsockopt(TCP, std.TCP_NODELAY, 1)
        one.setsockopt(TCP, std.TCP_CORK, 1)
        one.send(b"a")
        shown("held")
        one.setsockopt(TCP, std.TCP_NODELAY, 1)
        shown("pushed")
        one.send(b"b")
        shown("held again")
        one.setsockopt(TCP, std.TCP_CORK, 0)
        shown("let go")
    return log


def test_a_cork_holds_whatever_was_said_before() -> None:
    go_alike(cork, 0)


def no_fin_wait_2(_: int) -> Log:
    log: Log = []
    one, other = pair()
    with other:
        one.setsockopt(TCP, std.TCP_LINGER2, -1)
        one.close()
        time.sleep(DELAYED)
        log.append(("reset", readable(other)))
        log.append(("end", tried(other.recv, 9)))
        log.append(("gone", tried(other.send, b"x")))
    return log


def test_a_closed_socket_need_not_wait_for_the_end_of_its_peer() -> None:
    go_alike(no_fin_wait_2, 0)


def window(_: int) -> Log:
    log: Log = []
    with std.socket() as listener, std.socket() as client:
        listener.setsockopt(TCP, std.TCP_WINDOW_CLAMP, 20_000)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        accepted = listener.accept()[0]
        with accepted:
            for size in (1, 5000, 10_000):
                client.sendall(bytes(size))
                accepted.recv(size, std.MSG_WAITALL)
                time.sleep(MOMENT)
                info = client.getsockopt(TCP, std.TCP_INFO, 256)
                (offered,) = struct.unpack_from("@I", info, 228)
                log.append(("at most", 0 < offered < 20_000 + SCALED))
            accepted.setsockopt(TCP, std.TCP_WINDOW_CLAMP, 1000)
            log.append(("least", accepted.getsockopt(TCP, std.TCP_WINDOW_CLAMP)))
            accepted.setsockopt(TCP, std.TCP_WINDOW_CLAMP, 300_000)
            client.sendall(bytes(100_000))
            log.append(("goes on", len(accepted.recv(100_000, std.MSG_WAITALL))))
    return log


def test_a_clamp_bounds_the_window() -> None:
    """As man 7 tcp says; Linux's tuning of the buffer moves the clamp with it."""
    with modules.installed():
        world = World(1)
        told = dict(world.thread(world.host("a"), window, 0).result())
    assert told == {"at most": True, "least": 1152, "goes on": 100_000}


def addresses_of_others(_: int) -> Log:
    log: Log = []
    for family, level, option, name in (
        (std.AF_INET, IP, 15, "192.0.2.9"),  # IP_FREEBIND
        (std.AF_INET6, IPV6, 78, "2001:db8::9"),  # IPV6_FREEBIND
        (std.AF_INET6, IP, 15, "2001:db8::9"),
    ):
        for kind in (STREAM, DATAGRAM):
            with std.socket(family, kind) as sock:
                log.append((name, tried(sock.bind, (name, 0))))
                sock.setsockopt(level, option, 1)
                log.append(("free", tried(sock.bind, (name, 0))))
                log.append(("at", sock.getsockname()[0]))
                log.append(("reads", sock.getsockopt(level, option)))
                log.append(("listens", kind == STREAM and tried(sock.listen)))
    return log


def test_a_free_bind_takes_any_address() -> None:
    go_alike(addresses_of_others, 0)


def ports_chosen_late(_: int) -> Log:
    log: Log = []

    def bound(kind: int) -> std.socket:
        sock = std.socket(std.AF_INET, kind)
        sock.setsockopt(IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind(("127.0.0.5", 0))
        log.append(("no port", sock.getsockname()))
        return sock

    def shown(step: str, sock: std.socket) -> None:
        name, port = sock.getsockname()
        log.append((step, (name, port > 0)))

    with bound(STREAM) as listener, bound(STREAM) as client:
        log.append(("again", tried(listener.bind, ("127.0.0.6", 0))))
        listener.listen()
        shown("listens", listener)
        log.append(("too late", tried(listener.bind, ("127.0.0.5", 0))))
        client.connect(listener.getsockname())
        shown("connected", client)
        accepted, peer = listener.accept()
        with accepted:
            log.append(("the same", peer == client.getsockname()))
    with bound(DATAGRAM) as one, bound(DATAGRAM) as other, bound(STREAM):
        one.bind(("127.0.0.6", 0))
        one.connect(("127.0.0.1", 9))
        shown("connected", one)
        other.sendto(b"x", one.getsockname())
        shown("sent", other)
    return log


def test_a_port_may_be_chosen_late() -> None:
    go_alike(ports_chosen_late, 0)


def destinations(_: int) -> Log:
    log: Log = []
    for family, level, option, host in (
        (std.AF_INET, IP, 20, "127.0.0.5"),  # IP_RECVORIGDSTADDR
        (std.AF_INET6, IPV6, 74, "::1"),  # IPV6_RECVORIGDSTADDR
    ):
        with std.socket(family, DATAGRAM) as sock:
            sock.setsockopt(level, option, 1)
            sock.bind(("0.0.0.0" if family == std.AF_INET else "::", 0))
            port = sock.getsockname()[1]
            sock.sendto(b"x", (host, port))
            time.sleep(MOMENT)
            ((at, kind, name),) = sock.recvmsg(9, 99)[1]
            log.append((host, (at, kind, len(name), name[:2], name[4:])))
            log.append(("the port", int.from_bytes(name[2:4], "big") == port))
    return log


def test_the_destination_of_a_datagram() -> None:
    go_alike(destinations, 0)


def filled(seconds: int) -> tuple[std.socket, std.socket]:
    """A pair whose first has more to send than the second's buffer takes."""
    one, other = pair()
    one.setsockopt(ANY, std.SO_LINGER, struct.pack("@ii", 1, seconds))
    one.setblocking(False)
    quiet = 0
    while quiet < 2:
        try:
            while True:
                one.send(bytes(65_536))
                quiet = 0
        except BlockingIOError:
            quiet += 1
            time.sleep(MOMENT)
    return one, other


def lingering(_: int) -> Log:
    log: Log = []

    def closes(step: str, close: Callable[[], None]) -> None:
        begun = time.monotonic()
        close()
        log.append((step, round(time.monotonic() - begun, 1)))

    one, other = pair()
    with other:
        one.setsockopt(ANY, std.SO_LINGER, struct.pack("@ii", 1, 5))
        one.send(b"x")
        closes("all is acknowledged", one.close)
    one, other = filled(1)
    with other:
        closes("nobody reads", one.close)
    one, other = filled(5)
    with other:

        def read() -> None:
            time.sleep(0.3)
            while other.recv(1 << 20):
                pass

        reader = threading.Thread(target=read)
        reader.start()
        closes("somebody reads", one.close)
        reader.join()
    one, other = filled(5)
    with other, one.dup():
        closes("another descriptor is open", one.close)
        other.setsockopt(ANY, std.SO_LINGER, struct.pack("@ii", 1, 0))
        other.close()
    one, other = filled(1)
    with other:
        closes("by its number", lambda: os.close(one.detach()))
    return log


@pytest.mark.slow
def test_close_waits_as_long_as_it_lingers() -> None:
    go_alike(lingering, 0)


def deferred(_: int) -> Log:
    log: Log = []
    for seconds, data_after in ((1, 9.0), (3, 0.0), (3, 0.3), (0, 0.3)):
        with std.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.setsockopt(TCP, std.TCP_DEFER_ACCEPT, seconds)
            listener.listen()
            begun = time.monotonic()
            with std.create_connection(listener.getsockname()) as client:
                sends = threading.Timer(data_after, client.send, (b"x",))
                sends.start()
                time.sleep(MOMENT)
                log.append((f"{seconds} s, data after {data_after}", readable(listener)))
                with listener.accept()[0] as accepted:
                    log.append(("accepted after", round(time.monotonic() - begun, 1)))
                    log.append(("inherits", accepted.getsockopt(TCP, std.TCP_DEFER_ACCEPT)))
                    sends.cancel()
                    sends.join()
    with std.socket() as listener:
        listener.setsockopt(TCP, std.TCP_DEFER_ACCEPT, 3)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with std.create_connection(listener.getsockname()) as client:
            client.shutdown(std.SHUT_WR)
            time.sleep(MOMENT)
            log.append(("an end is news", readable(listener)))
    return log


@pytest.mark.slow
def test_a_listener_may_wait_for_data() -> None:
    go_alike(deferred, 0)


def port_range(first: int, last: int) -> bytes:
    return struct.pack("@HH", *((first, last) if sys.byteorder == "little" else (last, first)))


def ranges(_: int) -> Log:
    log: Log = []

    def tried_until_none(step: str, kind: int, use: Callable[[std.socket], object]) -> None:
        ports: list[int] = []
        said: object = None
        with contextlib.ExitStack() as stack:
            while said is None and len(ports) < 9:
                sock = stack.enter_context(std.socket(std.AF_INET, kind))
                sock.setsockopt(IP, 51, port_range(*RANGE))
                said = tried(use, sock)
                if said is None:
                    ports.append(sock.getsockname()[1])
        log.append((step, (sorted(ports), said)))

    def sends(sock: std.socket) -> None:
        sock.sendto(b"", ("127.0.0.1", 9))

    tried_until_none("UDP is bound", DATAGRAM, lambda sock: sock.bind(("127.0.0.1", 0)))
    tried_until_none("UDP sends", DATAGRAM, sends)
    with std.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        name = listener.getsockname()
        tried_until_none("TCP is bound", STREAM, lambda sock: sock.bind(("127.0.0.1", 0)))
        tried_until_none("TCP connects", STREAM, lambda sock: sock.connect(name))
    with std.socket() as sock:
        sock.setsockopt(IP, 51, port_range(1, RANGE[0]))  # the host's own is no wider
        sock.bind(("127.0.0.1", 0))
        log.append(("in both", 32_768 <= sock.getsockname()[1] <= RANGE[0]))
    return log


def test_a_range_of_ports_of_its_own() -> None:
    go_alike(ranges, 0, apart=True)


def unread(_: int) -> Log:
    log: Log = []
    one, other = pair()
    with one, other:
        other.setsockopt(TCP, 36, 1)  # TCP_INQ

        def reads(step: str, size: int) -> None:
            time.sleep(MOMENT)
            log.append((step, other.recvmsg(size, 99)))

        one.send(b"abcdef")
        reads("a part", 2)
        reads("the rest", 9)
        one.send(b"xy")
        one.shutdown(std.SHUT_WR)
        reads("before the end", 1)
        reads("all but the end", 9)
        reads("the end", 9)
    return log


def test_how_much_more_there_is_to_read() -> None:
    go_alike(unread, 0)


def cookies(_: int) -> Log:
    log: Log = []
    with std.socket() as one, std.socket(std.AF_INET6, DATAGRAM) as other:
        for room in (0, 4, 7, 8, 16):
            said = tried(one.getsockopt, ANY, 57, room)  # SO_COOKIE
            log.append((f"in {room}", said if isinstance(said, str) else len(bytes(said))))  # type: ignore[call-overload]
        mine = one.getsockopt(ANY, 57, 8)
        log.append(("the same", mine == one.getsockopt(ANY, 57, 8)))
        log.append(("another", mine == other.getsockopt(ANY, 57, 8)))
        log.append(("never set", tried(one.setsockopt, ANY, 57, 1)))
    return log


def test_each_socket_has_a_cookie() -> None:
    go_alike(cookies, 0)


def interfaces(_: int) -> Log:
    log: Log = []
    loopback = struct.pack("!I", 1)
    for family, level, option in ((std.AF_INET, IP, 50), (std.AF_INET6, IPV6, 76)):
        for kind in (STREAM, DATAGRAM):
            for value in (0, 1, loopback, struct.pack("!I", 99), b"", loopback + b"\0"):
                with std.socket(family, kind) as sock:
                    log.append((f"{value!r}", tried(sock.setsockopt, level, option, value)))
                    log.append(("reads", sock.getsockopt(level, option, 4)))
    with std.socket(std.AF_INET, DATAGRAM) as sock:
        sock.setsockopt(IP, 50, loopback)  # IP_UNICAST_IF
        log.append(("sends", tried(sock.sendto, b"", ("127.0.0.1", 9))))
        sock.setsockopt(ANY, std.SO_BINDTODEVICE, b"lo")
        log.append(("bound", tried(sock.setsockopt, IP, 50, loopback)))
    return log


def test_an_interface_for_what_goes_to_one() -> None:
    go_alike(interfaces, 0)


def woken(_: int) -> Log:
    """Of a reader who has a part, the next low mark wakes him, not what he still lacks."""
    log: Log = []
    for step, flags in (("reads", 0), ("looks", std.MSG_PEEK), ("all", std.MSG_WAITALL)):
        one, other = pair()
        with one, other:
            other.setsockopt(ANY, std.SO_RCVLOWAT, 5)
            one.send(b"abc")
            time.sleep(MOMENT)
            timers = [threading.Timer(0.1, one.send, (b"de",))]
            timers.append(threading.Timer(0.3, one.send, (b"fghij",)))
            for timer in timers:
                timer.start()
            begun = time.monotonic()
            log.append((step, other.recv(9, flags)))
            log.append(("after", round(time.monotonic() - begun, 1)))
            for timer in timers:
                timer.join()
    return log


@pytest.mark.slow
def test_what_wakes_a_reader_with_a_low_mark() -> None:
    go_alike(woken, 0)
