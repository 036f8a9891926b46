# SPDX-License-Identifier: Apache-2.0
import pytest
from inet_double import Net, Node

from capas.base.checksum import ones_sum, pseudo_sum
from capas.base.clock import SECOND
from capas.base.frame import (
    CSUM_PARTIAL,
    CSUM_VALID,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    Frame,
    Offload,
)
from capas.internet import types as kinds
from capas.internet.forward import partial
from capas.wire.address import parse, text
from capas.wire.ipv4 import DF, Ipv4Header
from capas.wire.ipv6 import Ipv6Header, hop_by_hop

A = {4: "10.0.1.1", 6: "2001:db8:1::1"}
B = {4: "10.0.2.1", 6: "2001:db8:2::1"}


def chain(mtu: int = 1500, offload: bool = False, **settings) -> tuple[Net, Node, Node, Node]:
    """a -- r -- b, the second link with an MTU of its own."""
    net = Net()
    a, r, b = net.node("a"), net.node("r", forwarding=True, **settings), net.node("b")
    left, right = net.segment(), net.segment()
    a.plug(left, "10.0.1.1/24", "2001:db8:1::1/64", offload=offload)
    r.plug(left, "10.0.1.254/24", "2001:db8:1::ff/64", offload=offload)
    r.plug(right, "10.0.2.254/24", "2001:db8:2::ff/64", offload=offload, mtu=mtu)
    b.plug(right, "10.0.2.1/24", "2001:db8:2::1/64", offload=offload, mtu=mtu)
    a.route("0.0.0.0/0", "10.0.1.254", a.interfaces[1])
    a.route("::/0", "2001:db8:1::ff", a.interfaces[1])
    b.route("0.0.0.0/0", "10.0.2.254", b.interfaces[1])
    b.route("::/0", "2001:db8:2::ff", b.interfaces[1])
    net.run(5 * SECOND)
    for segment in net.segments:
        segment.log.clear()
    for node in net.nodes:
        node.counters.values.clear()
    return net, a, r, b


def arrive(node: Node, packet: bytes, index: int = 1, group: bool = False) -> None:
    interface = node.interfaces[index]
    kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
    mac = b"\xff" * 6 if group else interface.mac
    interface.receive(Frame(mac + node.net.nodes[0].interfaces[1].mac + kind + packet), 0)


def packet4(src: str, dst: str, payload: bytes = b"x", **fields) -> bytes:
    options = len(fields.get("options", b""))
    total = 20 + options + len(payload)
    return Ipv4Header(parse(src), parse(dst), 253, total, **fields).build() + payload


def packet6(src: str, dst: str, payload: bytes = b"x", first: int = 253, **fields) -> bytes:
    return Ipv6Header(parse(src), parse(dst), first, len(payload), **fields).build() + payload


@pytest.mark.rfc("1812", "5.3.1")
@pytest.mark.rfc("8200", "3")
@pytest.mark.parametrize("family", [4, 6])
def test_a_hop_takes_one_from_the_ttl(family: int) -> None:
    net, a, r, b = chain()
    a.send(B[family], b"hello", ttl=9)
    net.settle()
    (got,) = b.recorder.packets
    assert got.payload == b"hello"
    header = got.frame.data[got.l3 : got.l4]
    assert header[8 if family == 4 else 7] == 8
    if family == 4:
        assert Ipv4Header.parse(header) is not None  # its checksum was updated
    assert r.counters.get(f"ipv{family}.forwarded") == 1


@pytest.mark.parametrize("ttl", range(2, 256, 23))
@pytest.mark.rfc("1624", "3")
def test_the_updated_checksum_is_right_for_all_ttls(ttl: int) -> None:
    _, _, r, b = chain()
    net = r.net
    for ident in (0, 0xFFFF, 0x1234):
        arrive(r, packet4(A[4], B[4], ttl=ttl, identification=ident))
    net.settle()
    assert len(b.recorder.packets) == 3


@pytest.mark.parametrize("family", [4, 6])
def test_ttl_exceeded(family: int) -> None:
    net, a, _r, b = chain()
    a.send(B[family], b"12345678", ttl=1)
    net.settle()
    (error,) = a.recorder.errors
    assert error.kind == kinds.TIME_EXCEEDED
    assert error.reporter == parse("10.0.1.254" if family == 4 else "2001:db8:1::ff")
    assert b.recorder.packets == []


@pytest.mark.parametrize("family", [4, 6])
def test_no_route(family: int) -> None:
    net, a, r, _ = chain()
    a.send("203.0.113.1" if family == 4 else "2001:db8:99::1", b"12345678")
    net.settle()
    assert [error.kind for error in a.recorder.errors] == [kinds.UNREACHABLE_NET]
    assert r.counters.get(f"ipv{family}.no_route") == 1


@pytest.mark.parametrize("family", [4, 6])
def test_unreachable_host_behind_the_router(family: int) -> None:
    net, a, _, _ = chain()
    a.send("10.0.2.77" if family == 4 else "2001:db8:2::77", b"12345678")
    net.run(10 * SECOND)
    assert [error.kind for error in a.recorder.errors] == [kinds.UNREACHABLE_HOST]


@pytest.mark.rfc("1191", "4")
@pytest.mark.rfc("8201", "4")
@pytest.mark.parametrize("family", [4, 6])
def test_path_mtu_is_learnt_and_forgotten(family: int) -> None:
    net, a, _r, b = chain(mtu=1300)
    to = parse(B[family])
    route = a.stack.net.route(to)
    assert route is not None
    size = 1500 - (20 if family == 4 else 40)
    assert a.send(B[family], bytes(size))
    net.settle()
    (error,) = a.recorder.errors
    assert (error.kind, error.mtu) == (kinds.PACKET_TOO_BIG, 1300)
    assert a.stack.net.path_mtu(to, route, net.now) == 1300
    assert not a.send(B[family], bytes(size))
    assert a.send(B[family], bytes(size), df=False)
    assert a.send(B[family], bytes(size - 200))
    net.settle()
    assert sorted(len(p.payload) for p in b.recorder.packets) == [size - 200, size]
    net.run(a.config.path_mtu_timeout)
    assert a.stack.net.path_mtu(to, route, net.now) == 1500


def test_a_transport_may_refuse_to_believe() -> None:
    net, a, _, _ = chain(mtu=1300)
    a.recorder.verdict = False
    a.send(B[4], bytes(1480))
    net.settle()
    route = a.stack.net.route(parse(B[4]))
    assert route is not None
    assert a.stack.net.path_mtu(parse(B[4]), route, net.now) == 1500
    assert a.counters.get("icmp.pmtu_rejected") == 1


@pytest.mark.rfc("1812", "5.2.6")
def test_routers_fragment_ipv4_without_df() -> None:
    net, a, r, b = chain(mtu=576)
    payload = bytes(range(256)) * 5
    a.send(B[4], payload, df=False)
    net.settle()
    assert [p.payload for p in b.recorder.packets] == [payload]
    assert r.counters.get("ipv4.fragments_sent") == 3
    # fragments of fragments
    b.recorder.packets.clear()
    a.send(B[4], payload * 3, df=False)
    net.settle()
    assert [p.payload for p in b.recorder.packets] == [payload * 3]


def tcp_super(net: Net, a: Node, family: int, segments: int, mss: int) -> None:
    to = parse(B[family])
    stack = a.stack.net
    route = stack.route(to)
    assert route is not None
    header = bytes(12) + b"\x50\x10" + bytes(6)
    gso = GSO_TCPV4 if family == 4 else GSO_TCPV6
    pieces = (header, bytes(mss * segments))
    assert stack.send(route, parse(A[family]), to, 253, pieces, Offload(0, 16, gso, mss), net.now)
    net.settle()


@pytest.mark.parametrize("family", [4, 6])
def test_super_frames_are_forwarded_whole(family: int) -> None:
    net, a, _r, b = chain(offload=True)
    mss = 1460 if family == 4 else 1440
    tcp_super(net, a, family, 10, mss)
    (got,) = b.recorder.packets
    frame = got.frame
    assert len(got.payload) == 20 + 10 * mss
    assert (frame.csum, frame.gso_size) == (CSUM_PARTIAL, mss)
    assert frame.csum_start == got.l4
    assert len(net.segments[1].log[-1].data) == got.l4 + 20 + 10 * mss


@pytest.mark.parametrize("family", [4, 6])
def test_a_super_frame_too_big_is_reported_like_its_segments(family: int) -> None:
    net, a, _r, b = chain(offload=True, mtu=1300)
    tcp_super(net, a, family, 10, 1440)
    assert b.recorder.packets == []
    (error,) = a.recorder.errors
    assert (error.kind, error.mtu) == (kinds.PACKET_TOO_BIG, 1300)
    assert error.quote[:4] == bytes(4)


def test_merged_frames_get_their_pseudo_header_sum_back() -> None:
    tcp = bytes(12) + b"\x50\x10" + bytes(2) + b"\xab\xcd" + bytes(2)
    packet = Ipv4Header(parse(A[4]), parse(B[4]), 6, 40 + 2920).build() + tcp + bytes(2920)
    frame = Frame(bytes(14) + packet, 0, CSUM_VALID, 0, 0, GSO_TCPV4, 1460)
    out = partial(frame, 14, 34, len(frame.data))
    assert (out.csum, out.csum_start, out.csum_offset) == (CSUM_PARTIAL, 34, 16)
    expected = pseudo_sum(parse(A[4]), parse(B[4]), 6, 2940)
    assert out.data[50:52] == expected.to_bytes(2, "big")
    assert partial(out, 14, 34, len(out.data)) is out
    datagrams = Frame(bytes(14) + packet6(A[6], B[6], bytes(100)), gso_type=GSO_UDP_L4, gso_size=46)
    assert partial(datagrams, 14, 54, 154).csum_offset == 6


@pytest.mark.rfc("1812", "5.3.4")
@pytest.mark.rfc("1812", "5.3.7")
@pytest.mark.rfc("4291", "2.5.6")
@pytest.mark.parametrize(
    ("counter", "data", "group"),
    [
        ("ipv4.unicast_in_broadcast", packet4(A[4], "10.0.1.254"), True),
        ("ipv4.forward_broadcast", packet4(A[4], B[4]), True),
        ("ipv4.forward_link_local", packet4("169.254.1.1", B[4]), False),
        ("ipv4.forward_link_local", packet4(A[4], "169.254.1.1"), False),
        ("ipv4.martian_source", packet4("127.0.0.1", B[4]), False),
        ("ipv4.martian_source", packet4("0.0.0.0", B[4]), False),
        ("ipv4.martian_destination", packet4(A[4], "240.0.0.1"), False),
        ("ipv4.multicast_not_joined", packet4(A[4], "239.1.1.1"), False),
        ("ipv4.bad_option", packet4(A[4], B[4], options=b"\x07\x02\0\0"), False),
        ("ipv4.source_route", packet4(A[4], B[4], options=b"\x83\x07\x04\0\0\0\0\0"), False),
        ("ipv6.forward_broadcast", packet6(A[6], B[6]), True),
        ("ipv6.forward_martian", packet6("::", B[6]), False),
        ("ipv6.martian_source", packet6("::1", B[6]), False),
        ("ipv6.forward_martian", packet6(A[6], "fe80::77"), False),
        ("ipv6.multicast_not_joined", packet6(A[6], "ff05::77"), False),
        ("ipv6.bad_option", packet6(A[6], B[6], b"\xfd\0\5\x70\0\0\0\0", 0), False),
        ("ipv6.unknown_option", packet6(A[6], B[6], hop_by_hop(253, b"\x40\0"), 0), False),
        ("ipv6.extension_truncated", packet6(A[6], B[6], b"\xfd", 0), False),
    ],
)
def test_what_is_not_forwarded(counter: str, data: bytes, group: bool) -> None:
    net, _, r, b = chain()
    b.recorder.packets.clear()
    arrive(r, data, group=group)
    net.settle()
    assert r.counters.get(counter) == 1, r.counters.snapshot()
    assert b.recorder.packets == []
    assert r.counters.get("ipv4.forwarded") + r.counters.get("ipv6.forwarded") == 0


@pytest.mark.rfc("4443", "3.1")
def test_link_local_sources_stay_on_their_link() -> None:
    net, a, r, _ = chain()
    src = next(i.address for i in a.interfaces[1].addresses if i.address[0] == 0xFE)
    a.send(B[6], b"12345678", src=text(src))
    net.settle()
    assert r.counters.get("ipv6.forward_link_local") == 1
    assert [error.kind for error in a.recorder.errors] == [kinds.SCOPE]


def test_hop_by_hop_headers_pass() -> None:
    net, _, r, b = chain()
    arrive(r, packet6(A[6], B[6], hop_by_hop(253, b"\x1e\0") + b"data", 0))
    net.settle()
    assert [p.payload for p in b.recorder.packets] == [b"data"]


@pytest.mark.rfc("1812", "4.2.2.1")
def test_routers_record_routes_and_times() -> None:
    net, _, r, b = chain()
    seen: list[bytes] = []
    route = b"\x07\x07\x04\0\0\0\0\x01"
    stamps = b"\x44\x0c\x05\x01" + bytes(8)
    full = b"\x44\x08\x09\x00" + bytes(4)
    b.recorder.receive = lambda i, frame, l3, l4, end, now: seen.append(frame.data[l3 + 20 : l4])  # type: ignore[method-assign]
    r.net.now += 1
    arrive(r, packet4(A[4], B[4], options=route + stamps + full))
    net.settle()
    (options,) = seen
    own = parse("10.0.2.254")
    assert options[:8] == b"\x07\x07\x08" + own + b"\x01"
    assert options[8:12] == b"\x44\x0c\x0d\x01"
    assert options[12:16] == own
    assert options[16] & 0x80
    assert options[20:24] == b"\x44\x08\x09\x10"


def test_source_routes_are_followed_where_allowed() -> None:
    net, _, r, b = chain(accept_source_route=True)
    hop = b"\x83\x07\x04" + parse(B[4]) + b"\0"
    arrive(r, packet4(A[4], "10.0.1.254", options=hop))
    net.settle()
    assert b.counters.get("ipv4.source_route") == 1  # b refuses what r passed on
    far = b"\x89\x07\x04" + parse("203.0.113.7") + b"\0"
    arrive(r, packet4(A[4], "10.0.1.254", options=far))
    assert r.counters.get("ipv4.source_route_failed") == 1


def test_fragments_pass_unassembled() -> None:
    net, a, r, b = chain()
    a.send(B[6], bytes(4000), df=False)
    net.settle()
    assert r.counters.get("ipv6.forwarded") == 3
    assert [len(p.payload) for p in b.recorder.packets] == [4000]


# -- redirects ------------------------------------------------------------------------------------


def triangle(**settings) -> tuple[Net, Node, Node, Node, Node]:
    """a, r1, r2 on one link; r2 leads to b; a's default is r1."""
    net = Net()
    a = net.node("a", **settings)
    r1, r2 = net.node("r1", forwarding=True), net.node("r2", forwarding=True)
    b = net.node("b")
    left, right = net.segment(), net.segment()
    a.plug(left, "10.0.1.1/24", "2001:db8:1::1/64")
    r1.plug(left, "10.0.1.251/24", "2001:db8:1::f1/64", "fe80::1/64")
    r2.plug(left, "10.0.1.252/24", "2001:db8:1::f2/64", "fe80::2/64")
    r2.plug(right, "10.0.2.252/24", "2001:db8:2::f2/64")
    b.plug(right, "10.0.2.1/24", "2001:db8:2::1/64")
    a.route("0.0.0.0/0", "10.0.1.251", a.interfaces[1])
    a.route("::/0", "fe80::1", a.interfaces[1])
    r1.route("0.0.0.0/0", "10.0.1.252", r1.interfaces[1])
    r1.route("::/0", "fe80::2", r1.interfaces[1])
    b.route("0.0.0.0/0", "10.0.2.252", b.interfaces[1])
    b.route("::/0", "2001:db8:2::f2", b.interfaces[1])
    net.run(5 * SECOND)
    # r1's generated link-local address would be its first: redirects must come from a's router
    for node in (r1, r2):
        for own in list(node.interfaces[1].addresses):
            if own.origin == "linklocal":
                node.stack.remove_address(node.interfaces[1], own.address, net.now)
    return net, a, r1, r2, b


@pytest.mark.rfc("1812", "5.2.7.2")
@pytest.mark.rfc("4861", "8")
@pytest.mark.parametrize("family", [4, 6])
def test_a_router_redirects_to_a_better_one(family: int) -> None:
    net, a, r1, r2, b = triangle()
    to = parse(B[family])
    for i in range(3):
        a.send(B[family], bytes((i,)))
        net.run(SECOND)
    assert [p.payload for p in b.recorder.packets] == [b"\0", b"\1", b"\2"]
    assert r1.counters.get("icmp.redirects_sent") == 1
    route = a.stack.net.route(to)
    assert route is not None
    assert route.origin == "redirect"
    assert route.gateway == parse("10.0.1.252" if family == 4 else "fe80::2")
    assert r1.counters.get(f"ipv{family}.forwarded") == 1
    # the better router dies: back to the old one
    r2.interfaces[1].up = False
    a.send(B[family], b"gone")
    net.run(60 * SECOND)
    a.send(B[family], b"gone")
    net.run(60 * SECOND)
    route = a.stack.net.route(to)
    assert route is not None
    assert route.origin == "static"


@pytest.mark.parametrize("setting", ["accept_redirects", "forwarding"])
@pytest.mark.parametrize("family", [4, 6])
def test_who_does_not_listen_to_redirects(setting: str, family: int) -> None:
    net, a, _, _, b = triangle(**{setting: setting == "forwarding"})
    a.send(B[family], b"x")
    net.run(SECOND)
    assert a.counters.get("icmp.redirect_ignored") == 1
    assert len(b.recorder.packets) == 1


def test_redirect_routes_are_capped() -> None:
    net, a, _r1, _, _ = triangle(redirect_routes=2)
    for i in range(5):
        a.send(f"10.0.2.{10 + i}", b"12345678")
        net.settle()
    assert len(a.stack.redirects.routes) == 2
    assert sum(1 for route in a.stack.net.routes if route.origin == "redirect") == 2
    assert a.counters.get("icmp.redirect_evicted") == 3


def test_df_is_kept() -> None:
    net, a, _, b = chain()
    a.send(B[4], b"x")
    net.settle()
    header = Ipv4Header.parse(b.recorder.packets[0].frame.data, 14)
    assert header is not None
    assert header.flags == DF


def test_a_super_frame_without_df_is_split_and_then_fragmented() -> None:
    net, a, r, b = chain(offload=True, mtu=700)
    to = parse(B[4])
    stack = a.stack.net
    route = stack.route(to)
    assert route is not None
    for node in (a, b):
        node.stack.net.register(17, node.recorder)
    data = bytes(range(250)) * 12
    header = b"\x10\x00\x20\x00" + (8 + len(data)).to_bytes(2, "big")
    start = pseudo_sum(parse(A[4]), to, 17, 8 + len(data)).to_bytes(2, "big")
    offload = Offload(0, 6, GSO_UDP_L4, 1000)
    assert stack.send(route, parse(A[4]), to, 17, (header + start, data), offload, 0, df=False)
    net.settle()
    assert b"".join(p.payload[8:] for p in b.recorder.packets) == data
    assert r.counters.get("ipv4.fragments_sent") == 6
    for got in b.recorder.packets:
        start_sum = pseudo_sum(parse(A[4]), to, 17, len(got.payload))
        assert ones_sum(got.payload, start_sum) == 0xFFFF


def test_a_link_too_small_for_any_fragment() -> None:
    net, _, r, b = chain(mtu=67)
    arrive(r, packet4(A[4], B[4], bytes(100), options=b"\x94\x04\0\0" + b"\x01" * 36))
    net.settle()
    assert r.counters.get("ipv4.fragment_failed") == 1
    assert b.recorder.packets == []


@pytest.mark.parametrize("group", ["239.1.2.3", "ff05::1:3", "10.0.1.255"])
def test_groups_get_fragments_too(group: str) -> None:
    net, a, r, _ = chain()
    if group != "10.0.1.255":
        r.stack.net.join(parse(group), r.interfaces[1], net.now)
        a.stack.net.join(parse(group), a.interfaces[1], net.now)
    assert a.send(group, bytes(3000), df=False, ttl=1, src=A[6 if ":" in group else 4])
    net.settle()
    assert [len(p.payload) for p in r.recorder.packets] == [3000]
    assert [len(p.payload) for p in a.recorder.packets] == [3000]
