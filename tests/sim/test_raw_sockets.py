# SPDX-License-Identifier: Apache-2.0
"""Raw sockets of programs in a world (man 7 raw, RFC 3542 §3)."""

import errno
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import capas
from capas.base.checksum import pseudo_sum, verify
from capas.wire import address as addr
from capas.wire.icmp import Message, echo

EXPERIMENT = 253  # RFC 3692: a protocol nobody speaks
V4, V6, RAW = socket.AF_INET, socket.AF_INET6, socket.SOCK_RAW
CLIENT = {V4: "10.0.0.1", V6: "2001:db8::1"}
SERVER = {V4: "10.0.1.2", V6: "2001:db8:1::2"}
SOL_RAW, IPV6_CHECKSUM, IPV6_HDRINCL, IP_RECVERR = 255, 7, 36, 11
IPV6_RECVERR, MSG_ERRQUEUE = 25, 0x2000
SYN = 2
Run = Callable[..., Any]


@pytest.fixture
def world() -> Iterator[capas.World]:
    """A client, a router and a server, the second cable narrow."""
    with capas.World(seed=1) as world:
        client, router, server = world.host("client"), world.router("router"), world.host("server")
        left = {"client": ["10.0.0.1/24", "2001:db8::1/64"]}
        left["router"] = ["10.0.0.2/24", "2001:db8::2/64"]
        right = {"router": ["10.0.1.1/24", "2001:db8:1::1/64"]}
        right["server"] = ["10.0.1.2/24", "2001:db8:1::2/64"]
        world.link(client, router, delay="1ms", rate="100Mbit", addresses=left)
        world.link(router, server, delay="1ms", rate="100Mbit", mtu=1280, addresses=right)
        yield world


@pytest.fixture
def run(world: capas.World) -> Run:
    """Blocking programs: ``client`` to its end, ``server`` beside it, both with a timeout."""

    def run(client: Callable[[], Any], server: Callable[[], Any] | None = None) -> Any:
        with capas.installed():
            if server is not None:
                world.thread(world.hosts["server"], server)
            return world.thread(world.hosts["client"], client).result()

    return run


def opened(family: int, protocol: int) -> socket.socket:
    sock = socket.socket(family, RAW, protocol)
    sock.settimeout(5)
    return sock


@pytest.mark.parametrize("family", [V4, V6])
def test_a_protocol_of_ones_own_and_its_fragments(run: Run, family: int) -> None:
    data = bytes(range(256)) * 20

    def server() -> None:
        with opened(family, EXPERIMENT) as sock:
            packet, source = sock.recvfrom(10_000)
            head = packet[:20] if family == V4 else b""
            sock.sendto(packet[len(head) :][::-1], source)

    def client() -> tuple[bytes, Any]:
        with opened(family, EXPERIMENT) as sock:
            sock.connect((SERVER[family], 0))
            sock.send(data)
            time.sleep(1)
            sock.send(data)  # over IPv6 the first told of the narrow cable
            return sock.recvfrom(10_000)

    packet, source = run(client, server)
    assert source[0] == SERVER[family]
    if family == V4:
        assert struct.unpack_from("!BBH", packet) == (0x45, 0, 20 + len(data))
        assert verify(packet[:20])
        packet = packet[20:]
    assert packet == data[::-1]


@pytest.mark.rfc("1122", "3.2.2.1")
def test_where_nobody_speaks_it_the_sender_is_told(run: Run) -> None:
    def client() -> tuple[int | None, bytes, Any, Any]:
        with opened(V4, EXPERIMENT) as alone, opened(V4, EXPERIMENT) as curious:
            alone.connect((SERVER[V4], 0))
            curious.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            curious.sendto(b"hello, experiment", (SERVER[V4], 0))
            time.sleep(1)
            payload, ancillary, flags, name = curious.recvmsg(100, 100, MSG_ERRQUEUE)
            assert flags == MSG_ERRQUEUE
            with pytest.raises(OSError) as failed:
                alone.recv(100)
            return failed.value.errno, payload, ancillary[0], name

    number, payload, (level, kind, value), name = run(client)
    assert number == errno.ENOPROTOOPT
    assert payload == b"hello, experiment"
    assert (level, kind, name) == (socket.IPPROTO_IP, IP_RECVERR, (SERVER[V4], 0))
    assert struct.unpack_from("@IBBB", value) == (errno.ENOPROTOOPT, 2, 3, 2)


@pytest.mark.rfc("4443", "3.4")
def test_an_unmatched_header_of_ipv6_is_pointed_at(world: capas.World, run: Run) -> None:
    """Somebody listens, but to another peer; two headers stand before the payload."""

    def server() -> None:
        with opened(V6, EXPERIMENT) as sock:
            sock.connect(("2001:db8:1::1", 0))
            with pytest.raises(TimeoutError):
                sock.recv(100)

    def client() -> bytes:
        with opened(V6, socket.IPPROTO_ICMPV6) as ear, opened(V6, EXPERIMENT) as mouth:
            mouth.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
            ends = addr.parse(CLIENT[V6]) + addr.parse(SERVER[V6])
            options = bytes((60, 0, 1, 4)) + bytes(4) + bytes((EXPERIMENT, 0, 1, 4)) + bytes(4)
            head = struct.pack("!IHBB", 6 << 28, len(options) + 5, 0, 64) + ends
            mouth.sendto(head + options + b"hello", (SERVER[V6], 0))
            while (message := ear.recv(1000))[0] != 4:
                pass
            return message

    message = run(client, server)
    assert message[1] == 1  # unrecognized next header
    assert int.from_bytes(message[4:8], "big") == 48  # where the second options header begins


def test_a_traceroute_with_headers_of_its_own(run: Run) -> None:
    def client() -> list[tuple[str, int]]:
        hops = []
        with opened(V4, socket.IPPROTO_ICMP) as ear, opened(V4, socket.IPPROTO_RAW) as mouth:
            for ttl in (1, 2):
                ping = echo(8, 1, ttl, b"where").build()
                ends = bytes(4) + addr.parse(SERVER[V4])
                head = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, ttl, socket.IPPROTO_ICMP, 0)
                mouth.sendto(head + ends + ping, (SERVER[V4], 0))
                packet, source = ear.recvfrom(1000)
                assert verify(packet[20:])
                hops.append((source[0], packet[20]))
        return hops

    assert run(client) == [("10.0.0.2", 11), (SERVER[V4], 0)]


@pytest.mark.rfc("3542", "3.1")
@pytest.mark.rfc("3542", "3.2")
def test_pings_of_ipv6_have_their_checksum_made_and_their_types_filtered(run: Run) -> None:
    def client() -> list[int]:
        with opened(V6, socket.IPPROTO_ICMPV6) as sock:
            only_replies = ((1 << 256) - 1) ^ (1 << 129)
            wanted = only_replies.to_bytes(32, "little")
            sock.setsockopt(socket.IPPROTO_ICMPV6, 1, wanted)
            kinds = []
            for number in range(3):
                sock.sendto(
                    Message(128, 0, bytes((0, 1, 0, number)), b"ping").build(), (SERVER[V6], 0)
                )
                message = sock.recv(1000)
                pseudo = pseudo_sum(
                    addr.parse(SERVER[V6]), addr.parse(CLIENT[V6]), 58, len(message)
                )
                assert verify(message, pseudo)
                kinds.append(message[0])
        return kinds

    assert run(client) == [129] * 3


@pytest.mark.rfc("3542", "3.1")
def test_a_checksum_where_the_program_says(world: capas.World, run: Run) -> None:
    at = 4

    def server() -> None:
        with opened(V6, EXPERIMENT) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_CHECKSUM, at)
            message, source = sock.recvfrom(100)
            sock.sendto(message, source)

    def client() -> bytes:
        with opened(V6, EXPERIMENT) as sock:
            sock.sendto(b"no checksum at all", (SERVER[V6], 0))  # the server hears nothing of it
            sock.setsockopt(SOL_RAW, IPV6_CHECKSUM, at)
            with pytest.raises(OSError) as failed:
                sock.sendto(b"short", (SERVER[V6], 0))
            assert failed.value.errno == errno.EINVAL
            sock.sendto(b"withXXone", (SERVER[V6], 0))
            return sock.recv(100)

    message = run(client, server)
    assert message[:at] + message[at + 2 :] == b"withone"
    assert world.hosts["server"].counters.values["raw.bad_checksum"] == 1


@pytest.mark.parametrize("exact", [False, True])
def test_who_listens_to_tcp_sees_each_segment_and_changes_nothing(exact: bool) -> None:
    """Also where segments travel as trains, declared and not summed."""
    data = bytes(range(256)) * 800
    segments: list[bytes] = []
    done: list[bool] = []

    def listen() -> None:
        with opened(V4, socket.IPPROTO_TCP) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            while not done:
                segments.append(sock.recv(1 << 16))

    def serve() -> None:
        with socket.create_server(("", 80)) as listener:
            connection, _ = listener.accept()
            with connection:
                got = b""
                while piece := connection.recv(1 << 16):
                    got += piece
                done.append(got == data)

    with capas.World(seed=1, exact=exact) as world, capas.installed():
        world.link(world.host("a"), world.host("b"), delay="1ms", rate="1Gbit")
        world.thread("b", listen)
        world.thread("b", serve)

        def send() -> None:
            with socket.create_connection(("b", 80)) as sock:
                sock.sendall(data)

        world.thread("a", send).result()
        world.run(until=lambda: bool(done))
        counters = world.hosts["b"].counters.values
    assert done == [True]
    payload: dict[int, bytes] = {}
    first = 0
    for packet in segments:
        length = int.from_bytes(packet[2:4], "big")
        assert length == len(packet) <= 1500
        assert verify(packet[:20])
        assert verify(packet[20:], pseudo_sum(packet[12:16], packet[16:20], 6, length - 20))
        start = 20 + (packet[32] >> 4) * 4
        sequence = int.from_bytes(packet[24:28], "big")
        if packet[33] & SYN:
            first = sequence + 1
        if packet[start:]:
            payload[(sequence - first) % (1 << 32)] = packet[start:]
    assert b"".join(payload[seq] for seq in sorted(payload)) == data
    assert "raw.receive_buffer_full" not in counters


@pytest.mark.rfc("6864", "4.1")
def test_what_the_stack_fills_into_a_header(run: Run) -> None:
    def server() -> None:
        with opened(V4, EXPERIMENT) as sock:
            for _ in range(3):
                packet, source = sock.recvfrom(100)
                sock.sendto(packet, source)

    def client() -> list[bytes]:
        with opened(V4, EXPERIMENT) as sock, opened(V4, socket.IPPROTO_RAW) as mouth:
            for ident, flags, source in ((0, 0, ""), (0, 0x4000, ""), (7, 0, "10.0.0.99")):
                head = struct.pack("!BBHHHBBH", 0x45, 0, 1, ident, flags, 9, EXPERIMENT, 1)
                ends = addr.parse(source or "0.0.0.0") + addr.parse(SERVER[V4])
                mouth.sendto(head + ends + b"data", (SERVER[V4], 0))
            return [sock.recv(100)[20:] for _ in range(2)]  # the answer to the lie went elsewhere

    fresh, atomic = run(client, server)
    for packet in (fresh, atomic):
        assert packet[2:4] == b"\0\x18"
        assert packet[8] == 8  # the router took one
        assert packet[12:16] == addr.parse(CLIENT[V4])
        assert verify(packet[:20])
    assert fresh[4:6] != b"\0\0"
    assert atomic[4:6] == b"\0\0"


@pytest.mark.parametrize("family", [V4, V6])
def test_the_receive_queue_is_capped_by_bytes(world: capas.World, run: Run, family: int) -> None:
    count = 300

    def server() -> None:
        with opened(family, EXPERIMENT):
            time.sleep(5)

    def client() -> None:
        with opened(family, EXPERIMENT) as sock:
            for number in range(count):
                sock.sendto(bytes(1000), (SERVER[family], 0))
                time.sleep(0 if number else 1)  # the first waits for neighbours
            time.sleep(1)

    run(client, server)
    counters = world.hosts["server"].counters.values
    kept = counters["raw.received"]
    assert kept + counters["raw.receive_buffer_full"] == count
    assert kept * 1000 < world.hosts["server"].config.udp_receive_buffer


def test_the_last_socket_leaves_no_trace(world: capas.World, run: Run) -> None:
    host = world.hosts["client"]
    tables = host.ipv4.protocols, host.ipv6.protocols
    before = [dict(table) for table in tables]

    def client() -> None:
        protocols = [socket.IPPROTO_ICMP, socket.IPPROTO_TCP, EXPERIMENT, 58, 44, 0xFF]
        sockets = [opened(family, n) for n in protocols for family in (V4, V6) for _ in range(2)]
        assert [dict(table) for table in tables] != before
        for sock in sockets[::-1]:
            sock.close()

    run(client)
    assert [dict(table) for table in tables] == before


def test_what_is_no_protocol(run: Run) -> None:
    def client() -> list[int | None]:
        found = []
        for type, protocol in ((RAW, 0), (RAW, -2), (RAW, 70_000), (4, 6)):
            with pytest.raises(OSError) as failed:
                socket.socket(V4, type, protocol)
            found.append(failed.value.errno)
        return found

    wanted = [errno.EPROTONOSUPPORT, errno.EINVAL, errno.EINVAL, errno.ESOCKTNOSUPPORT]
    assert run(client) == wanted
