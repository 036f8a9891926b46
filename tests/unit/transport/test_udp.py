# SPDX-License-Identifier: Apache-2.0
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.base.config import HostConfig
from capas.base.frame import CSUM_PARTIAL, CSUM_VALID, GSO_UDP_L4, Frame
from capas.base.rng import Rng
from capas.host.host import Host
from capas.internet.membership import EXCLUDE, INCLUDE, Filter
from capas.link.link import ALL_GSO, Link, LinkCaps, Medium
from capas.link.offload import complete
from capas.transport.datagram_socket import (
    ERROR_QUEUE,
    PMTUDISC_DO,
    PMTUDISC_DONT,
    DatagramSocket,
    Destination,
)
from capas.transport.endpoint import ERROR, READ, WRITE
from capas.transport.udp_socket import UdpSocket
from capas.wire import address as addr
from capas.wire import udp as wire

A4, B4 = addr.parse("192.0.2.1"), addr.parse("192.0.2.2")
A6, B6 = addr.parse("2001:db8::1"), addr.parse("2001:db8::2")
GROUP4, GROUP6 = addr.parse("239.1.2.3"), addr.parse("ff12::3")


class Cable(Link):
    """Keeps what is sent; `carry` takes it to the other end."""

    def __init__(self, *, offload: bool = True) -> None:
        gso = ALL_GSO if offload else ()
        self.caps = LinkCaps(1500, Medium.IP, offload, gso)
        self.sink = None
        self.sent: list[Frame] = []

    def transmit(self, frame: Frame) -> bool:
        self.sent.append(frame)
        return True


class Two:
    """Two hosts on one cable without link headers."""

    def __init__(self, config: HostConfig | None = None) -> None:
        config = config or HostConfig()
        config.dad_transmits = 0
        self.cables = Cable(), Cable()
        self.a = Host("a", config, Rng(b"a"))
        self.b = Host("b", config, Rng(b"b"))
        ends = (("192.0.2.1/24", "2001:db8::1/64"), ("192.0.2.2/24", "2001:db8::2/64"))
        for host, cable, addresses in zip((self.a, self.b), self.cables, ends, strict=True):
            host.attach(cable, name="t0", addresses=addresses)
            cable.sent.clear()

    def carry(self) -> None:
        for host, cable in zip((self.b, self.a), self.cables, strict=True):
            for frame in cable.sent:
                host.receive(host.interface("t0"), frame, 0)
            cable.sent.clear()
        for host in (self.a, self.b):
            host.flush(0)


@pytest.fixture
def two() -> Two:
    return Two()


def bound(host: Host, port: int, address: bytes = addr.ANY4) -> UdpSocket:
    socket = host.udp.open(None, len(address))
    socket.bind(address, port)
    return socket


FAMILIES = pytest.mark.parametrize(
    ("here", "there", "wild"), [(A4, B4, addr.ANY4), (A6, B6, addr.ANY6)], ids=["v4", "v6"]
)


@FAMILIES
@pytest.mark.rfc("768", "User Interface")
def test_a_datagram_arrives_with_its_source(
    two: Two, here: bytes, there: bytes, wild: bytes
) -> None:
    server = bound(two.b, 7, wild)
    client = two.a.udp.open(None, len(wild))
    assert client.send(b"hello", 0, Destination(there, 7)) == 5
    two.carry()
    assert server.endpoint.readiness & READ
    got = server.receive()
    assert got is not None
    assert (got.data, got.source, got.source_port) == (b"hello", here, client.port)
    assert (got.destination, got.ttl, got.segment) == (there, 64, 0)
    assert server.receive() is None
    assert not server.endpoint.readiness & READ


@pytest.mark.rfc("1122", "4.1.3.1", "MUST")
@FAMILIES
def test_nobody_there_is_port_unreachable_and_connection_refused(
    two: Two, here: bytes, there: bytes, wild: bytes
) -> None:
    client = two.a.udp.open(None, len(wild))
    client.connect(there, 9)
    client.send(b"?", 0)
    two.carry()
    assert two.b.counters.get("udp.no_port") == 1
    two.carry()
    assert client.endpoint.readiness & ERROR
    with pytest.raises(ConnectionRefusedError):
        client.receive()
    assert client.receive() is None
    assert not client.endpoint.readiness & ERROR


def test_an_unconnected_socket_hears_of_errors_only_if_it_asks(two: Two) -> None:
    client = bound(two.a, 4000)
    client.send(b"?", 0, Destination(B4, 9))
    two.carry()
    two.carry()
    assert client.receive() is None
    client.options.receive_errors = True
    client.send(b"?", 0, Destination(B4, 9))
    two.carry()
    two.carry()
    error = client.next_error()
    assert error is not None
    assert (error.errno, error.dst, error.reporter) == (errno.ECONNREFUSED, B4, B4)


def test_errors_nobody_reads_are_kept_up_to_a_limit(two: Two) -> None:
    client = bound(two.a, 4000)
    client.options.receive_errors = True
    client.send(b"?", 0, Destination(B4, 9))
    two.carry()
    two.carry()
    (error,) = client.errors
    for _ in range(ERROR_QUEUE + 20):
        client.report(error)
    assert len(client.errors) == ERROR_QUEUE


@pytest.mark.rfc("1122", "4.1.3.4", "MUST")
def test_checksums_over_ipv4(two: Two) -> None:
    server = bound(two.b, 7)
    interface = two.b.interface("t0")
    client = two.a.udp.open()
    client.send(b"payload", 0, Destination(B4, 7))
    frame = complete(two.cables[0].sent.pop())
    good = Frame(frame.data)
    two.b.receive(interface, good, 0)
    assert server.receive() is not None
    two.b.receive(interface, Frame(frame.data[:-1] + b"X"), 0)
    assert two.b.counters.get("udp.bad_checksum") == 1
    none = frame.data[:26] + b"\0\0" + frame.data[28:-1] + b"X"
    two.b.receive(interface, Frame(none), 0)
    got = server.receive()
    assert got is not None
    assert got.data == b"payloaX"
    two.b.receive(interface, Frame(frame.data[:-1] + b"Y", 0, CSUM_VALID), 0)
    got = server.receive()
    assert got is not None
    assert got.data == b"payloaY"


@pytest.mark.rfc("8200", "8.1")
@pytest.mark.rfc("6935", "5")
def test_zero_checksums_over_ipv6_only_where_asked_for(two: Two) -> None:
    server = bound(two.b, 7, addr.ANY6)
    client = two.a.udp.open(None, 16)
    client.options.no_check_tx = True
    client.send(b"tunnel", 0, Destination(B6, 7))
    two.carry()
    assert server.receive() is None
    assert two.b.counters.get("udp.zero_checksum6") == 1
    client.send(b"tunnel", 0, Destination(B6, 9))
    two.carry()
    assert two.b.counters.get("udp.zero_checksum6") == 2  # before anybody answers
    server.options.no_check_rx = True
    client.send(b"tunnel", 0, Destination(B6, 7))
    two.carry()
    assert server.receive() is not None


def test_malformed_datagrams_are_counted(two: Two) -> None:
    bound(two.b, 7)
    client = two.a.udp.open()
    client.send(b"payload", 0, Destination(B4, 7))
    data = complete(two.cables[0].sent.pop()).data
    two.b.receive(two.b.interface("t0"), Frame(data[:24] + b"\0\xff" + data[26:]), 0)
    assert two.b.counters.get("udp.malformed") == 1


def test_the_best_match_gets_it(two: Two) -> None:
    wildcard = bound(two.b, 7)
    wildcard.options.reuse_address = True
    exact = two.b.udp.open()
    exact.options.reuse_address = True
    exact.bind(B4, 7)
    connected = two.b.udp.open()
    connected.options.reuse_address = True
    connected.bind(B4, 7)
    connected.connect(A4, 4000)
    one, other = bound(two.a, 4000), bound(two.a, 4001)
    one.send(b"1", 0, Destination(B4, 7))
    other.send(b"2", 0, Destination(B4, 7))
    two.carry()
    first, second = connected.receive(), exact.receive()
    assert first is not None
    assert second is not None
    assert (first.data, second.data) == (b"1", b"2")
    assert wildcard.receive() is None
    connected.disconnect()
    connected.close(0)
    exact.close(0)
    one.send(b"3", 0, Destination(B4, 7))
    two.carry()
    third = wildcard.receive()
    assert third is not None
    assert third.data == b"3"


@pytest.mark.rfc("3493", "5.3")
def test_an_ipv6_wildcard_takes_ipv4_unless_v6only(two: Two) -> None:
    dual = bound(two.b, 7, addr.ANY6)
    only = two.b.udp.open(None, 16)
    only.options.v6only = True
    only.bind(addr.ANY6, 8)
    bound(two.b, 8)
    client = two.a.udp.open()
    client.send(b"4", 0, Destination(B4, 7))
    client.send(b"4", 0, Destination(B4, 8))
    two.carry()
    got = dual.receive()
    assert got is not None
    assert got.source == A4
    assert only.receive() is None
    with pytest.raises(OSError, match="in use"):
        bound(two.b, 7)


def test_binding_twice_needs_both_to_agree(two: Two) -> None:
    first = bound(two.a, 5000)
    with pytest.raises(OSError, match="in use") as caught:
        bound(two.a, 5000, A4)
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError, match="Cannot assign") as caught:
        bound(two.a, 5000, B4)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(OSError) as caught:
        first.bind(addr.ANY4, 5001)
    assert caught.value.errno == errno.EINVAL
    first.close(0)
    bound(two.a, 5000, A4)


def test_reuse_port_spreads_flows_and_keeps_each(two: Two) -> None:
    servers = []
    for _ in range(4):
        server = two.b.udp.open()
        server.options.reuse_port = True
        server.bind(addr.ANY4, 7)
        servers.append(server)
    for port in range(4000, 4064):
        client = bound(two.a, port)
        for _ in range(2):
            client.send(b"x", 0, Destination(B4, 7))
        two.carry()
        client.close(0)
    counts = [len(server.queue) for server in servers]
    assert sum(counts) == 128
    assert all(count and count % 2 == 0 for count in counts)


@pytest.mark.rfc("6056", "3.3.4")
def test_ephemeral_ports_are_in_range_distinct_and_the_same_for_a_seed() -> None:
    def ports() -> list[int]:
        two = Two()
        found = []
        for _ in range(20):
            socket = two.a.udp.open()
            socket.connect(B4, 53)
            found.append(socket.port)
        return found

    first = ports()
    assert len(set(first)) == 20
    assert all(32_768 <= port <= 60_999 for port in first)
    assert first == ports()
    config = HostConfig(port_low=40_000, port_high=40_001)
    two = Two(config)
    taken = {bound(two.a, 0).port, bound(two.a, 0).port}
    assert taken == {40_000, 40_001}
    with pytest.raises(OSError):
        bound(two.a, 0)


def test_the_receive_queue_is_capped_by_bytes(two: Two) -> None:
    server = bound(two.b, 7)
    server.options.receive_buffer = 2000
    client = two.a.udp.open()
    for _ in range(20):
        client.send(b"", 0, Destination(B4, 7))
    two.carry()
    assert len(server.queue) == 7  # 256 bytes are charged for each
    assert two.b.counters.get("udp.receive_buffer_full") == 13
    while server.receive() is not None:
        pass
    assert server.queued == 0


@pytest.mark.rfc("1122", "4.1.4", "MUST")
def test_broadcast_needs_permission_and_reaches_all(two: Two) -> None:
    servers = [two.b.udp.open(), two.b.udp.open()]
    for server in servers:
        server.options.reuse_address = True
        server.bind(addr.ANY4, 7)
    narrow = two.b.udp.open()
    narrow.options.reuse_address = True
    narrow.bind(B4, 7)
    client = two.a.udp.open()
    everybody = addr.parse("192.0.2.255")
    with pytest.raises(PermissionError):
        client.send(b"all", 0, Destination(everybody, 7))
    client.options.broadcast = True
    client.send(b"all", 0, Destination(everybody, 7))
    two.carry()
    assert all(server.receive() is not None for server in servers)
    assert narrow.receive() is None
    client.send(b"all", 0, Destination(everybody, 8))
    two.carry()
    assert two.cables[1].sent == []  # no ICMP error about a broadcast
    assert two.b.counters.get("udp.no_group") == 1


def test_bound_to_a_broadcast_it_hears_nothing_else_and_sends_from_its_own_address(
    two: Two,
) -> None:
    everybody = addr.parse("192.0.2.255")
    server, client = bound(two.b, 7, everybody), bound(two.a, 9)
    client.options.broadcast = True
    for destination in (B4, everybody):
        client.send(b"hear", 0, Destination(destination, 7))
    two.carry()
    heard = server.receive()
    assert heard is not None
    assert heard.destination == everybody
    assert server.receive() is None
    server.send(b"answer", 0, Destination(heard.source, heard.source_port))
    two.carry()
    answer = client.receive()
    assert answer is not None
    assert answer.source == B4


@pytest.mark.rfc("1112", "6.2")
@pytest.mark.parametrize(("group", "wild"), [(GROUP4, addr.ANY4), (GROUP6, addr.ANY6)])
def test_multicast_reaches_members(two: Two, group: bytes, wild: bytes) -> None:
    server = bound(two.b, 7, wild)
    index = two.b.interface("t0").index
    client = two.a.udp.open(None, len(wild))
    client.options.multicast_interface = two.a.interface("t0").index
    client.send(b"?", 0, Destination(group, 7))
    two.carry()
    assert server.receive() is None
    server.memberships.join(group, index, 0)
    with pytest.raises(OSError):
        server.memberships.join(group, index, 0)
    two.cables[1].sent.clear()
    client.send(b"!", 0, Destination(group, 7))
    frame = two.cables[0].sent[-1]
    assert frame.data[8 if len(group) == 4 else 7] == 1  # TTL, RFC 1112 §6.1
    two.carry()
    got = server.receive()
    assert got is not None
    assert got.destination == group
    server.memberships.leave(group, index, 0)
    two.cables[1].sent.clear()
    client.send(b"?", 0, Destination(group, 7))
    two.carry()
    assert server.receive() is None
    with pytest.raises(OSError):
        server.memberships.leave(group, index, 0)


@pytest.mark.rfc("3376", "3.2")
@pytest.mark.parametrize("protocol", ["udp", "raw"])
@pytest.mark.parametrize(("group", "wild"), [(GROUP4, addr.ANY4), (GROUP6, addr.ANY6)])
def test_each_member_hears_the_sources_it_wants(
    two: Two, group: bytes, wild: bytes, protocol: str
) -> None:
    index = two.b.interface("t0").index

    def opened() -> DatagramSocket:
        raw = protocol == "raw"
        return two.b.raw.open(None, len(wild), 17) if raw else two.b.udp.open(None, len(wild))

    one, other = opened(), opened()
    for socket in (one, other):
        socket.options.reuse_address = True
        socket.bind(wild, 7)
    client = two.a.udp.open(None, len(wild))
    client.options.multicast_interface = two.a.interface("t0").index
    client.send(b"?", 0, Destination(group, 7))
    sent = two.cables[0].sent[-1].data
    source = sent[12:16] if len(group) == 4 else sent[8:24]
    stranger = bytes((source[0] ^ 1,)) + source[1:]

    def hear() -> tuple[bool, bool]:
        two.cables[1].sent.clear()
        client.send(b"!", 0, Destination(group, 7))
        two.carry()
        return one.receive() is not None, other.receive() is not None

    two.carry()
    one.memberships.add_source(group, index, source, INCLUDE, 0)
    assert hear() == (True, True)
    other.memberships.add_source(group, index, stranger, INCLUDE, 0)
    assert hear() == (True, False)
    one.memberships.remove_source(group, index, source, INCLUDE, 0)
    filtered = f"{protocol}.source_filtered"
    assert two.b.counters.get(filtered) == 0
    assert hear() == (False, False)  # nobody on the interface wants it
    assert two.b.counters.get(filtered) == 1
    other.memberships.set_filter(group, index, Filter(EXCLUDE, (stranger,)), 0)
    assert hear() == (True, True)  # who is no member hears what comes (IP_MULTICAST_ALL)
    one.options.multicast_all = one.options.multicast_all6 = False
    assert hear() == (False, True)
    other.close(0)
    assert two.b.stack.shared.filtered == {}


@pytest.mark.parametrize(
    ("group", "wild", "other"),
    [(GROUP4, addr.ANY4, "127.0.0.9"), (GROUP6, addr.ANY6, "2001:db8::9")],
)
def test_a_filter_on_loopback_is_for_what_is_sent_there(
    two: Two, group: bytes, wild: bytes, other: str
) -> None:
    """What we send elsewhere comes back by the loopback interface, too."""
    host = two.a
    loopback, out = host.interface("lo").index, host.interface("t0").index
    member, picky = bound(host, 7, wild), bound(host, 8, wild)
    member.memberships.join(group, out, 0)
    client = host.udp.open(None, len(wild))
    client.options.multicast_interface = out
    picky.memberships.join(group, loopback, 0, Filter(INCLUDE, (addr.parse(other),)))
    client.send(b"?", 0, Destination(group, 7))
    host.flush(0)
    assert member.receive() is not None
    client.options.multicast_interface = loopback
    client.send(b"?", 0, Destination(group, 8))
    host.flush(0)
    assert picky.receive() is None


def test_an_interface_may_be_chosen_for_what_goes_to_one(two: Two) -> None:
    """IP_UNICAST_IF; groups go by IP_MULTICAST_IF, a bound device counts more."""
    other = Cable()
    index = two.a.attach(other, name="t1", addresses=("192.0.2.7/24",)).index
    client = two.a.udp.open()
    client.send(b"1", 0, Destination(B4, 7))
    assert len(two.cables[0].sent) == 1
    client.options.unicast_interface = index
    client.send(b"2", 0, Destination(B4, 7))
    assert len(two.cables[0].sent) == 1
    assert len(other.sent) == 1
    client.options.device = two.a.interface("t0").index
    client.send(b"3", 0, Destination(B4, 7))
    assert len(two.cables[0].sent) == 2


def test_multicast_comes_back_to_own_members_unless_told_not_to(two: Two) -> None:
    own = bound(two.a, 7)
    index = two.a.interface("t0").index
    own.memberships.join(GROUP4, index, 0)
    own.options.multicast_interface = index
    own.send(b"me", 0, Destination(GROUP4, 7))
    two.a.flush(0)
    assert own.receive() is not None
    own.options.multicast_loop = False
    own.send(b"me", 0, Destination(GROUP4, 7))
    two.a.flush(0)
    assert own.receive() is None


def test_sizes_and_destinations_that_cannot_be(two: Two) -> None:
    client = two.a.udp.open()
    for port, size, number in ((0, 1, errno.EINVAL), (7, 65_508, errno.EMSGSIZE)):
        with pytest.raises(OSError) as caught:
            client.send(bytes(size), 0, Destination(B4, port))
        assert caught.value.errno == number
    with pytest.raises(OSError) as caught:
        client.send(b"", 0, Destination(addr.parse("198.51.100.1"), 7))
    assert caught.value.errno == errno.ENETUNREACH
    with pytest.raises(OSError) as caught:
        client.send(b"", 0)
    assert caught.value.errno == errno.EDESTADDRREQ
    client.options.pmtu_discover = PMTUDISC_DO
    with pytest.raises(OSError) as caught:
        client.send(bytes(1473), 0, Destination(B4, 7))
    assert caught.value.errno == errno.EMSGSIZE
    client.send(bytes(1472), 0, Destination(B4, 7))


@FAMILIES
def test_large_datagrams_are_fragmented(two: Two, here: bytes, there: bytes, wild: bytes) -> None:
    server = bound(two.b, 7, wild)
    server.options.receive_buffer = 1 << 20
    client = two.a.udp.open(None, len(wild))
    payload = bytes(range(256)) * 250
    client.send(payload, 0, Destination(there, 7))
    assert len(two.cables[0].sent) > 40
    two.carry()
    got = server.receive()
    assert got is not None
    assert got.data == payload
    client.options.pmtu_discover = PMTUDISC_DONT
    client.send(b"small", 0, Destination(there, 7))
    if len(here) == 4:
        assert not two.cables[0].sent[-1].data[6] & 0x40  # DF


@pytest.mark.parametrize("gro", [False, True])
def test_super_datagrams_leave_whole_and_arrive_as_datagrams(two: Two, gro: bool) -> None:
    server = bound(two.b, 7)
    server.options.gro = gro
    client = two.a.udp.open()
    client.options.segment = 1000
    payload = bytes(range(250)) * 18
    assert client.send(payload, 0, Destination(B4, 7)) == 4500
    (frame,) = two.cables[0].sent
    assert (frame.gso_type, frame.gso_size, frame.csum) == (GSO_UDP_L4, 1000, CSUM_PARTIAL)
    two.carry()
    got = [datagram.data for datagram in server.queue]
    assert b"".join(got) == payload
    assert [len(data) for data in got] == ([4500] if gro else [1000] * 4 + [500])
    first = server.receive()
    assert first is not None
    assert first.segment == (1000 if gro else 0)


def test_a_writable_socket_from_the_start(two: Two) -> None:
    assert two.a.udp.open().endpoint.readiness == WRITE


@given(st.binary(max_size=64))
def test_any_bytes_on_port_7_never_raise(data: bytes) -> None:
    two = Two()
    bound(two.b, 7)
    head = bytes.fromhex("4500000000010000401100000a0000010a000002")
    two.b.udp.receive(two.b.interface("t0"), Frame(head + data), 0, 20, 20 + len(data), 0)
    parsed = wire.parse(data, 0, len(data))
    if parsed is None:
        assert two.b.counters.get("udp.malformed") == 1
