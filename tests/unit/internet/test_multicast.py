# SPDX-License-Identifier: Apache-2.0
import errno

import pytest
from inet_double import Net, Node

from capas.base.checksum import verify
from capas.base.clock import MS, SECOND
from capas.base.frame import Frame
from capas.wire import icmp, igmp
from capas.wire.address import ANY6, parse
from capas.wire.icmp import Message
from capas.wire.igmp import Igmp, Mld
from capas.wire.ipv4 import ROUTER_ALERT_OPTION, Ipv4Header
from capas.wire.ipv6 import Ipv6Header, hop_by_hop

GROUP4, GROUP6 = parse("239.1.2.3"), parse("ff05::1:3")
GROUPS = {4: GROUP4, 6: GROUP6}
QUERIER4, QUERIER6 = parse("10.0.0.254"), parse("fe80::99")
ALERT6 = hop_by_hop(58, b"\x05\x02\0\0")
families = pytest.mark.parametrize("family", [4, 6])


def host(**settings) -> tuple[Net, Node]:
    net = Net()
    a = net.node("a", **settings)
    a.plug(net.segment(), "10.0.0.1/24", "2001:db8::1/64")
    net.run(60 * SECOND)
    net.segments[0].log.clear()
    a.counters.values.clear()
    return net, a


def said(net: Net) -> list[tuple[bytes, int, bytes]]:
    """(IP destination, message type, group) of the membership messages sent."""
    net.settle()
    found = []
    for frame in net.segments[0].log:
        data = frame.data
        if data[12:14] == b"\x08\0" and data[23] == 2:
            assert data[22] == 1
            assert data[34:38] == ROUTER_ALERT_OPTION
            assert verify(data[38:])
            found.append((data[30:34], data[38], data[42:46]))
        elif data[12:14] == b"\x86\xdd" and data[20] == 0:
            assert data[21] == 1
            assert data[22] == 0xFE
            assert data[54:62] == ALERT6
            found.append((data[38:54], data[62], data[70:86]))
    net.segments[0].log.clear()
    return found


def hear(node: Node, packet: bytes) -> None:
    interface = node.interfaces[1]
    v4 = packet[0] >> 4 == 4
    mac = b"\x01\0\x5e" + packet[17:20] if v4 else b"\x33\x33" + packet[36:40]
    kind = b"\x08\0" if v4 else b"\x86\xdd"
    interface.receive(Frame(mac + bytes(6) + kind + packet), node.net.now)


def packet4(message: Igmp, dst: bytes = parse("224.0.0.1"), ttl: int = 1) -> bytes:
    data = message.build()
    return Ipv4Header(QUERIER4, dst, 2, 20 + len(data), ttl).build() + data


def packet6(
    kind: int,
    said: Mld,
    dst: bytes = parse("ff02::1"),
    src: bytes = QUERIER6,
    hops: int = 1,
) -> bytes:
    rest = ALERT6 + Message(kind, 0, *said.build()).build6(src, dst)
    return Ipv6Header(src, dst, 0, len(rest), hops).build() + rest


def query(family: int, group: bytes = b"", response: int = SECOND) -> bytes:
    if family == 4:
        return packet4(Igmp(igmp.QUERY, group or bytes(4), response), group or parse("224.0.0.1"))
    return packet6(icmp.MLD_QUERY, Mld(group or ANY6, response), group or parse("ff02::1"))


REPORT = {4: igmp.REPORT2, 6: icmp.MLD_REPORT}


def joined(family: int, **settings) -> tuple[Net, Node]:
    net, a = host(**settings)
    a.stack.net.join(GROUPS[family], a.interfaces[1], net.now)
    return net, a


@pytest.mark.rfc("2236", "3")
@pytest.mark.rfc("2710", "4")
@families
def test_joining_is_reported_twice(family: int) -> None:
    net, _ = joined(family)
    group = GROUPS[family]
    assert said(net) == [(group, REPORT[family], group)]
    net.run(10 * SECOND)
    assert said(net) == [(group, REPORT[family], group)]
    net.run(100 * SECOND)
    assert said(net) == []


@families
def test_leaving_is_announced_by_the_last_reporter(family: int) -> None:
    net, a = joined(family)
    group = GROUPS[family]
    a.stack.net.join(group, a.interfaces[1], net.now)
    said(net)
    a.stack.net.leave(group, a.interfaces[1], net.now)
    assert said(net) == []
    a.stack.net.leave(group, a.interfaces[1], net.now)
    routers = parse("224.0.0.2" if family == 4 else "ff02::2")
    assert said(net) == [(routers, igmp.LEAVE if family == 4 else icmp.MLD_DONE, group)]
    net.run(100 * SECOND)
    assert said(net) == []
    assert a.stack.shared.members.get(group) is None
    with pytest.raises(OSError, match="not a member") as caught:
        a.stack.net.leave(group, a.interfaces[1], net.now)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.rfc("2236", "3")
@families
@pytest.mark.parametrize("specific", [False, True])
def test_queries_are_answered_in_time(family: int, specific: bool) -> None:
    net, a = joined(family)
    net.run(60 * SECOND)
    said(net)
    hear(a, query(family, GROUPS[family] if specific else b""))
    net.run(SECOND)
    assert (GROUPS[family], REPORT[family], GROUPS[family]) in said(net)
    other = parse("239.9.9.9" if family == 4 else "ff05::9")
    net.run(60 * SECOND)
    hear(a, query(family, other))
    net.run(SECOND)
    assert said(net) == []


@pytest.mark.rfc("2236", "3")
@families
def test_another_members_report_saves_ours(family: int) -> None:
    net, a = joined(family)
    net.run(60 * SECOND)
    said(net)
    group = GROUPS[family]
    hear(a, query(family, group, 10 * SECOND))
    if family == 4:
        hear(a, packet4(Igmp(igmp.REPORT2, group), group))
    else:
        hear(a, packet6(icmp.MLD_REPORT, Mld(group), group))
    net.run(20 * SECOND)
    assert said(net) == []
    a.stack.net.leave(group, a.interfaces[1], net.now)
    assert said(net) == []  # nor are we the last to have reported


@pytest.mark.rfc("2236", "4")
def test_version_1_routers_get_version_1_reports() -> None:
    net, a = joined(4)
    net.run(60 * SECOND)
    said(net)
    hear(a, packet4(Igmp(igmp.QUERY, bytes(4), 0, 1)))
    net.run(10 * SECOND)
    assert [kind for _, kind, _ in said(net)] == [igmp.REPORT1]
    a.stack.net.leave(GROUP4, a.interfaces[1], net.now)
    assert said(net) == []


@pytest.mark.parametrize(
    ("counter", "packet"),
    [
        ("igmp.malformed", Ipv4Header(QUERIER4, parse("224.0.0.1"), 2, 24, 1).build() + bytes(4)),
        ("igmp.ttl", packet4(Igmp(igmp.QUERY, bytes(4), SECOND), ttl=2)),
        ("mld.not_local", packet6(icmp.MLD_QUERY, Mld(ANY6, SECOND), hops=2)),
        ("mld.not_local", packet6(icmp.MLD_QUERY, Mld(ANY6), src=parse("2001:db8::7"))),
    ],
)
def test_bad_messages(counter: str, packet: bytes) -> None:
    net, a = host()
    hear(a, packet)
    assert a.counters.get(counter) == 1, a.counters.snapshot()
    net.run(20 * SECOND)
    assert said(net) == []


def test_short_mld_messages() -> None:
    _, a = host()
    dst = parse("ff02::1")
    data = Message(icmp.MLD_QUERY, 0, bytes(4), bytes(10)).build6(QUERIER6, dst)
    hear(a, Ipv6Header(QUERIER6, dst, 58, len(data), 1).build() + data)
    assert a.counters.get("mld.malformed") == 1
    data = Message(icmp.MLD2_REPORT, 0, bytes(4)).build6(QUERIER6, dst)
    hear(a, Ipv6Header(QUERIER6, dst, 58, len(data), 1).build() + data)
    assert a.counters.get("mld.malformed") == 1


def test_groups_are_capped() -> None:
    net, a = host(multicast_groups=5)
    interface = a.interfaces[1]
    with pytest.raises(OSError, match="too many") as caught:
        for i in range(10):
            a.stack.net.join(bytes((239, 0, 0, i)), interface, net.now)
    assert caught.value.errno == errno.ENOBUFS
    assert len(interface.groups) == 5


def test_only_multicast_addresses_can_be_joined() -> None:
    net, a = host()
    with pytest.raises(OSError, match="multicast") as caught:
        a.stack.net.join(parse("10.0.0.7"), a.interfaces[1], net.now)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("group", ["224.0.0.1", "ff02::1", "ff01::5"])
def test_groups_nobody_reports(group: str) -> None:
    net, a = host()
    a.stack.net.join(parse(group), a.interfaces[1], net.now)
    assert said(net) == []
    a.stack.net.leave(parse(group), a.interfaces[1], net.now)
    assert said(net) == []


@families
def test_members_hear_others_and_nobody_else_does(family: int) -> None:
    net = Net()
    segment = net.segment()
    nodes = [net.node(name) for name in "abc"]
    for i, node in enumerate(nodes):
        node.plug(segment, f"10.0.0.{i + 1}/24", f"2001:db8::{i + 1}/64")
    net.run(5 * SECOND)
    a, b, c = nodes
    group = "239.1.2.3" if family == 4 else "ff05::1:3"
    b.stack.net.join(parse(group), b.interfaces[1], net.now)
    assert a.send(group, b"news")
    net.settle()
    assert [p.payload for p in b.recorder.packets] == [b"news"]
    assert a.recorder.packets == c.recorder.packets == []
    b.stack.net.leave(parse(group), b.interfaces[1], net.now)
    assert a.send(group, b"more")
    net.run(100 * MS)
    assert len(b.recorder.packets) == 1
