# SPDX-License-Identifier: Apache-2.0
"""Memberships on the wire: reports of IGMPv3 and MLDv2, and those of the versions before them."""

import errno

import pytest
from inet_double import Net, Node

from capas.base.checksum import verify
from capas.base.clock import MS, SECOND
from capas.base.frame import Frame
from capas.internet.membership import EXCLUDE, INCLUDE, Filter
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
OTHER_ALERT = hop_by_hop(58, b"\x05\x02\0\1")  # RSVP's
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
    alert: bytes = ALERT6,
) -> bytes:
    rest = alert + Message(kind, 0, *said.build()).build6(src, dst)
    return Ipv6Header(src, dst, 0, len(rest), hops).build() + rest


def query(family: int, group: bytes = b"", response: int = SECOND) -> bytes:
    if family == 4:
        return packet4(Igmp(igmp.QUERY, group or bytes(4), response), group or parse("224.0.0.1"))
    return packet6(icmp.MLD_QUERY, Mld(group or ANY6, response), group or parse("ff02::1"))


REPORT = {4: igmp.REPORT2, 6: icmp.MLD_REPORT}
OLDER = {"force_igmp_version": 2, "force_mld_version": 1}


def joined(family: int, **settings) -> tuple[Net, Node]:
    net, a = host(**settings)
    a.stack.net.join(GROUPS[family], a.interfaces[1], net.now)
    return net, a


# -- IGMPv2 and MLDv1 -----------------------------------------------------------------------------


@pytest.mark.rfc("2236", "3")
@pytest.mark.rfc("2710", "4")
@families
def test_joining_is_reported_twice_as_of_old(family: int) -> None:
    net, _ = joined(family, **OLDER)
    group = GROUPS[family]
    assert said(net) == [(group, REPORT[family], group)]
    net.run(10 * SECOND)
    assert said(net) == [(group, REPORT[family], group)]
    net.run(100 * SECOND)
    assert said(net) == []


@families
def test_leaving_is_announced_by_the_last_reporter(family: int) -> None:
    net, a = joined(family, **OLDER)
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


# -- IGMPv3 and MLDv2 -----------------------------------------------------------------------------

SOURCES = {
    4: tuple(bytes((10, 0, 1, n)) for n in range(4)),
    6: tuple(parse(f"fd01::{n}") for n in range(4)),
}
ROUTERS = {4: parse("224.0.0.22"), 6: parse("ff02::16")}


def told(net: Net) -> list[tuple[int, bytes, tuple[bytes, ...]]]:
    """The records of the reports sent, all of them to the routers that know of sources."""
    net.settle()
    found: list[tuple[int, bytes, tuple[bytes, ...]]] = []
    for frame in net.segments[0].log:
        data = frame.data
        if data[12:14] == b"\x08\0" and data[23] == 2:
            assert data[30:34] == ROUTERS[4]
            assert data[22] == 1
            message = Igmp.parse(data, 38, len(data))
            assert message is not None
            found += message.records
        elif data[12:14] == b"\x86\xdd" and data[20] == 0:
            assert data[38:54] == ROUTERS[6]
            assert data[21] == 1
            records = igmp.parse_report2(data[66:70], data[70:])
            assert records is not None
            found += records
    net.segments[0].log.clear()
    return found


def ask(
    node: Node, family: int, group: bytes = b"", sources: tuple[bytes, ...] = (), **more
) -> None:
    more.setdefault("max_response", SECOND)
    where = group or parse("224.0.0.1" if family == 4 else "ff02::1")
    if family == 4:
        asked = Igmp(igmp.QUERY, group or bytes(4), version=3, sources=sources, **more)
        hear(node, packet4(asked, where))
    else:
        hear(
            node,
            packet6(icmp.MLD_QUERY, Mld(group or ANY6, version=2, sources=sources, **more), where),
        )


def listen(net: Net, node: Node, family: int, before: Filter | None, after: Filter | None) -> None:
    node.stack.multicast.listen(node.interfaces[1], GROUPS[family], before, after, net.now)


@pytest.mark.rfc("3376", "5.1")
@pytest.mark.rfc("3810", "6.1")
@pytest.mark.rfc("9776", "5.1")
@pytest.mark.rfc("9777", "6.1")
@families
def test_changes_are_told_twice_within_a_second(family: int) -> None:
    net, a = joined(family)
    group, source = GROUPS[family], SOURCES[family][:1]
    assert told(net) == [(igmp.TO_EXCLUDE, group, ())]
    net.run(SECOND)
    assert told(net) == [(igmp.TO_EXCLUDE, group, ())]
    net.run(100 * SECOND)
    assert told(net) == []
    listen(net, a, family, None, Filter(INCLUDE, source))
    assert told(net) == []  # others want all there is
    a.stack.net.leave(group, a.interfaces[1], net.now)
    assert told(net) == [(igmp.TO_INCLUDE, group, source)]
    net.run(SECOND)
    assert told(net) == [(igmp.TO_INCLUDE, group, source)]
    listen(net, a, family, Filter(INCLUDE, source), None)
    net.run(SECOND)
    assert told(net) == [(igmp.BLOCK_OLD_SOURCES, group, source)] * 2
    assert a.stack.shared.members.get(group) is None
    with pytest.raises(OSError, match="not a member") as caught:
        a.stack.net.leave(group, a.interfaces[1], net.now)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@families
def test_what_changes_at_once_is_told_at_once(family: int) -> None:
    net, a = joined(family)
    other = parse("239.1.2.4" if family == 4 else "ff05::1:4")
    a.stack.net.join(other, a.interfaces[1], net.now)
    net.settle()
    assert len(net.segments[0].log) == 1
    assert told(net) == [(igmp.TO_EXCLUDE, GROUPS[family], ()), (igmp.TO_EXCLUDE, other, ())]


@pytest.mark.rfc("3376", "4.1.6")
@pytest.mark.rfc("3810", "5.1.8")
@families
def test_the_querier_s_robustness_is_taken(family: int) -> None:
    net, a = host()
    for said_, times in ((5, 5), (0, 2), (1, 1 if family == 4 else 2)):
        ask(a, family, robustness=said_)
        net.run(10 * SECOND)
        told(net)
        a.stack.net.join(GROUPS[family], a.interfaces[1], net.now)
        net.run(10 * SECOND)
        assert len(told(net)) == times
        a.stack.net.leave(GROUPS[family], a.interfaces[1], net.now)
        net.run(10 * SECOND)


@pytest.mark.rfc("3376", "5.2")
@pytest.mark.rfc("3810", "6.2")
@families
def test_questions_for_all_for_a_group_and_for_sources(family: int) -> None:
    net, a = host()
    group, (one, two, three, _) = GROUPS[family], SOURCES[family]
    listen(net, a, family, None, Filter(INCLUDE, (one, two)))
    net.run(10 * SECOND)
    told(net)

    def answers(*sources: bytes, to: bytes = group) -> list[tuple[int, bytes, tuple[bytes, ...]]]:
        ask(a, family, to, sources)
        net.run(SECOND)
        return told(net)

    mine = (igmp.IS_INCLUDE, group, (one, two))
    assert mine in answers(to=b"")
    assert answers() == [mine]
    assert answers(two, three) == [(igmp.IS_INCLUDE, group, (two,))]
    assert answers(three) == []
    assert answers(to=parse("239.9.9.9" if family == 4 else "ff05::9")) == []
    listen(net, a, family, Filter(INCLUDE, (one, two)), Filter(EXCLUDE, (one,)))
    net.run(10 * SECOND)
    told(net)
    assert answers() == [(igmp.IS_EXCLUDE, group, (one,))]
    assert answers(one, three) == [(igmp.IS_INCLUDE, group, (three,))]
    assert answers(one) == []


@pytest.mark.rfc("3376", "5.2")
@pytest.mark.rfc("3810", "6.2")
@families
def test_questions_are_answered_together(family: int) -> None:
    net, a = host()
    group, (one, two, three, _) = GROUPS[family], SOURCES[family]
    listen(net, a, family, None, Filter(INCLUDE, (one, two, three)))
    net.run(10 * SECOND)
    told(net)
    ask(a, family, group, (one,))
    ask(a, family, group, (three,), max_response=8 * SECOND)
    net.run(SECOND)
    assert told(net) == [(igmp.IS_INCLUDE, group, (one, three))]  # 5: joined, the earlier time
    ask(a, family, group, (one,))
    ask(a, family, group)
    net.run(SECOND)
    assert told(net) == [(igmp.IS_INCLUDE, group, (one, two, three))]  # 4: for the group
    ask(a, family, max_response=MS)
    ask(a, family, group, max_response=100 * SECOND)
    net.run(200 * SECOND)
    assert told(net).count((igmp.IS_INCLUDE, group, (one, two, three))) == 1  # 1: all is said


@families
def test_what_queriers_ask_for_is_capped(family: int) -> None:
    net, a = host(multicast_asked=2)
    group, sources = GROUPS[family], SOURCES[family]
    listen(net, a, family, None, Filter(INCLUDE, sources[:2]))
    net.run(10 * SECOND)
    told(net)
    for source in sources:
        ask(a, family, group, (source,))
    net.run(SECOND)
    assert told(net) == [(igmp.IS_INCLUDE, group, sources[:2])]
    assert a.counters.get("multicast.asked") >= 1


@pytest.mark.rfc("3376", "7.2.1")
@pytest.mark.rfc("3376", "8.12")
@pytest.mark.rfc("3810", "8.2.1")
@pytest.mark.rfc("3810", "9.12")
@families
def test_a_querier_of_old_is_spoken_to_as_of_old_until_it_is_gone(family: int) -> None:
    net, a = host()
    group = GROUPS[family]
    ask(a, family, robustness=3, interval=20 * SECOND)
    net.run(10 * SECOND)
    a.stack.net.join(group, a.interfaces[1], net.now)
    told(net)
    hear(a, query(family))  # before the change is told again
    net.run(2 * SECOND)
    assert (group, REPORT[family], group) in said(net)
    ask(a, family, group, SOURCES[family])
    net.run(2 * SECOND)
    assert said(net) == [(group, REPORT[family], group)]
    net.run((3 * 20 + 1 - 4) * SECOND)  # Robustness Variable, Query Interval, response
    ask(a, family, group)
    net.run(2 * SECOND)
    assert told(net) == [(igmp.IS_EXCLUDE, group, ())]


@pytest.mark.rfc("3376", "7.2.1")
@families
def test_who_is_told_to_speak_the_newest_does(family: int) -> None:
    forced = {"force_igmp_version": 3, "force_mld_version": 2}
    net, a = joined(family, **forced)
    net.run(10 * SECOND)
    told(net)
    hear(a, query(family))
    net.run(10 * SECOND)
    assert told(net) == []
    assert a.counters.get("igmp.older_version" if family == 4 else "mld.older_version") == 1


@families
def test_a_link_that_comes_up_is_told_all(family: int) -> None:
    net, a = host()
    group, sources = GROUPS[family], SOURCES[family][:2]
    listen(net, a, family, None, Filter(INCLUDE, sources))
    net.run(10 * SECOND)
    told(net)
    interface = a.interfaces[1]
    interface.up = False
    a.stack.link_changed(interface, net.now)
    interface.up = True
    a.stack.link_changed(interface, net.now)
    net.run(10 * SECOND)
    assert told(net).count((igmp.ALLOW_NEW_SOURCES, group, sources)) == 2


@pytest.mark.rfc("3590", "4")
@pytest.mark.rfc("3810", "5.2.13")
def test_reports_from_nowhere_are_repeated_from_the_link_local_address() -> None:
    net = Net()
    a = net.node("a", dad_transmits=1)
    interface = a.plug(net.segment())
    a.stack.net.join(GROUP6, interface, net.now)
    net.run(10 * SECOND)
    sources = [
        frame.data[22:38]
        for frame in net.segments[0].log
        if frame.data[12:14] == b"\x86\xdd" and frame.data[20] == 0
    ]
    assert sources[0] == ANY6
    own = next(one.address for one in interface.addresses if len(one.address) == 16)
    assert sources.count(own) == 2
    assert sources[-2:] == [own, own]
    assert told(net).count((igmp.TO_EXCLUDE, GROUP6, ())) == len(sources)


@families
def test_groups_left_and_not_told_of_are_capped(family: int) -> None:
    net, a = host(multicast_groups=8)
    interface = a.interfaces[1]
    for number in range(40):
        group = bytes((239, 0, 0, number)) if family == 4 else parse(f"ff05::{number + 1:x}")
        a.stack.net.join(group, interface, net.now)
        a.stack.net.leave(group, interface, net.now)
    told(net)
    net.run(10 * SECOND)
    assert 0 < len(told(net)) <= 8 * 2
    assert a.counters.get("multicast.untold") > 0


@families
def test_only_wanted_sources_are_heard(family: int) -> None:
    _, a = host()
    interface, group, (one, two, *_) = a.interfaces[1], GROUPS[family], SOURCES[family]
    shared, multicast = a.stack.shared, a.stack.multicast
    assert shared.hears(interface.index, group, one)  # who is no member is asked elsewhere
    multicast.listen(interface, group, None, Filter(INCLUDE, (one,)), 0)
    assert shared.hears(interface.index, group, one)
    assert not shared.hears(interface.index, group, two)
    multicast.listen(interface, group, Filter(INCLUDE, (one,)), Filter(EXCLUDE, (one,)), 0)
    assert not shared.hears(interface.index, group, one)
    assert shared.hears(interface.index, group, two)
    multicast.listen(interface, group, Filter(EXCLUDE, (one,)), None, 0)
    assert shared.filtered == {}


# -- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "packet"),
    [
        ("igmp.malformed", Ipv4Header(QUERIER4, parse("224.0.0.1"), 2, 24, 1).build() + bytes(4)),
        ("igmp.ttl", packet4(Igmp(igmp.QUERY, bytes(4), SECOND), ttl=2)),
        ("igmp.malformed", packet4(Igmp(igmp.QUERY, bytes(4), SECOND, 3, sources=(bytes(4),)))),
        ("mld.malformed", packet6(icmp.MLD_QUERY, Mld(ANY6, SECOND, 2, (ANY6,)))),
        ("mld.not_local", packet6(icmp.MLD_QUERY, Mld(ANY6, SECOND), src=ANY6)),
        ("mld.no_alert", packet6(icmp.MLD_QUERY, Mld(ANY6, SECOND), alert=hop_by_hop(58, b""))),
        ("mld.no_alert", packet6(icmp.MLD_QUERY, Mld(ANY6, SECOND), alert=OTHER_ALERT)),
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


# -- hostile neighbours, odd links ----------------------------------------------------------------


def frame_for(a: Node, packet: bytes) -> Frame:
    kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
    return Frame(a.interfaces[1].mac + bytes(6) + kind + packet)


@pytest.mark.rfc("2236", "3")
@families
def test_a_report_that_no_router_hears_silences_nobody(family: int) -> None:
    net, a = joined(family)
    net.run(5 * SECOND)
    said(net)
    if family == 4:
        hear(a, packet4(Igmp(igmp.QUERY, GROUP4, SECOND, 3), GROUP4))
        forged = packet4(Igmp(igmp.REPORT2, GROUP4), parse("10.0.0.1"))
    else:
        hear(a, packet6(icmp.MLD_QUERY, Mld(GROUP6, SECOND, 2), GROUP6))
        forged = packet6(icmp.MLD_REPORT, Mld(GROUP6), parse("2001:db8::1"))
    a.interfaces[1].receive(frame_for(a, forged), net.now)
    net.run(5 * SECOND)
    assert len(said(net)) == 1


@families
def test_queries_without_a_delay_get_one_answer(family: int) -> None:
    net, a = joined(family)
    net.run(5 * SECOND)
    said(net)
    for _ in range(200):
        if family == 4:
            hear(a, packet4(Igmp(igmp.QUERY, bytes(4), 0, 3)))
        else:
            hear(a, packet6(icmp.MLD_QUERY, Mld(ANY6, 0, 2)))
        a.scheduler.run_due(net.now)
    net.run(SECOND)
    assert 1 <= len(said(net)) <= 4  # one for each group, in one report or some


@pytest.mark.rfc("2236", "3")
def test_more_queries_do_not_hurry_an_answer() -> None:
    net, a = joined(4, force_igmp_version=2)
    net.run(60 * SECOND)
    said(net)
    times = []
    for _ in range(40):
        begin = net.now
        for _ in range(100):  # the least of so many draws would be 0.1 s
            hear(a, query(4, response=10 * SECOND))
        while not said(net):
            net.run(100 * MS)
        times.append(net.now - begin)
        net.run(10 * SECOND)
    assert 3 * SECOND < sum(times) // len(times) < 7 * SECOND


def test_another_link_may_have_another_querier() -> None:
    net, a = joined(4)
    interface = a.interfaces[1]
    net.run(5 * SECOND)
    hear(a, packet4(Igmp(igmp.QUERY, bytes(4), SECOND, 3, robustness=7, interval=31_744 * SECOND)))
    hear(a, packet4(Igmp(igmp.QUERY, bytes(4), SECOND, 1)))
    net.run(5 * SECOND)
    said(net)
    for up in (False, True):
        interface.up = up
        a.stack.link_changed(interface, net.now)
        net.run(5 * SECOND)
    kinds = [kind for _, kind, _ in said(net) if kind in (igmp.REPORT1, igmp.REPORT3)]
    assert kinds == [igmp.REPORT3] * 2


@families
def test_a_forged_path_mtu_does_not_silence_reports(family: int) -> None:
    net = Net()
    a = net.node("a")
    interface = a.plug(net.segment(), "10.0.0.1/24", "2001:db8::1/64", mtu=9000)
    net.run(60 * SECOND)
    if family == 4:
        quoted = Ipv4Header(parse("10.0.0.1"), parse("224.0.0.22"), 2, 1400, 1).build() + bytes(8)
        error = Message(3, 4, (552).to_bytes(4, "big"), quoted).build()
        packet = Ipv4Header(QUERIER4, parse("10.0.0.1"), 1, 20 + len(error), 64).build() + error
    else:
        own = next(o.address for o in interface.addresses if o.address[0] == 0xFE)
        quoted = Ipv6Header(own, parse("ff02::16"), 0, 1000, 1).build() + ALERT6 + bytes(8)
        error = Message(2, 0, (1280).to_bytes(4, "big"), quoted).build6(QUERIER6, own)
        packet = Ipv6Header(QUERIER6, own, 58, len(error), 64).build() + error
    interface.receive(frame_for(a, packet), net.now)
    said(net)
    groups = [bytes((*GROUPS[family][:-1], i)) for i in range(150)]
    for group in groups:
        a.stack.net.join(group, interface, net.now)
    net.run(5 * SECOND)
    assert a.counters.get(f"ipv{family}.too_big") == 0
    assert said(net)


@pytest.mark.parametrize("mtu", [68, 76, 80, 92])
def test_a_link_too_small_for_a_source_ends_no_host(mtu: int) -> None:
    net = Net()
    a = net.node("a")
    interface = a.plug(net.segment(), "10.0.0.1/24", mtu=mtu)
    wanted = Filter(INCLUDE, (parse("2001:db8::9"),))
    a.stack.net.multicast.listen(interface, GROUP6, None, wanted, net.now)
    net.run(5 * SECOND)
    a.stack.net.multicast.listen(interface, GROUP6, wanted, None, net.now)
    net.run(5 * SECOND)
    assert GROUP6 not in interface.groups


def test_who_only_filters_has_not_joined() -> None:
    net, a = host()
    interface = a.interfaces[1]
    wanted = Filter(INCLUDE, (QUERIER4,))
    a.stack.net.multicast.listen(interface, GROUP4, None, wanted, net.now)
    with pytest.raises(OSError, match="not a member"):
        a.stack.net.leave(GROUP4, interface, net.now)
    a.stack.net.multicast.listen(interface, GROUP4, wanted, None, net.now)
    assert GROUP4 not in interface.groups


@pytest.mark.rfc("3810", "4.2")
def test_an_echo_from_a_source_nobody_wants_is_not_answered() -> None:
    net, a = host()
    interface = a.interfaces[1]
    wanted, other = parse("2001:db8::77"), parse("2001:db8::66")
    a.stack.net.multicast.listen(interface, GROUP6, None, Filter(INCLUDE, (wanted,)), net.now)
    for source, dropped in ((other, 1), (wanted, 1)):
        echo = Message(128, 0, b"\0\1\0\1", b"x").build6(source, GROUP6)
        hear(a, Ipv6Header(source, GROUP6, 58, len(echo), 64).build() + echo)
        assert a.counters.get("icmp.source_filtered") == dropped
