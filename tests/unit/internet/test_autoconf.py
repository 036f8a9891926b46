# SPDX-License-Identifier: Apache-2.0
import pytest
from inet_double import Net, Node
from test_nd import PEER, PEER_MAC, hear, said, wire

from capas.base.clock import MS, SECOND
from capas.internet.identifier import MAX_DUPLICATES
from capas.internet.ra_sender import RaConfig
from capas.internet.route import Route
from capas.link.interface import DEPRECATED, PREFERRED, TENTATIVE
from capas.wire.address import ALL_NODES6, ALL_ROUTERS6, ANY6, Prefix, eui64, parse
from capas.wire.ndp import (
    INFINITY,
    NeighborAdvertisement,
    Options,
    PrefixInfo,
    RouterAdvertisement,
    RouterSolicitation,
)

PREFIX = parse("2001:db8:7::")
FAR = parse("2001:db8:ffff::1")
HOUR = 3600 * SECOND
OTHER, OTHER_MAC = parse("fe80::bb:bb"), b"\x02\0\0\0\xbb\xbb"


def host(**settings) -> tuple[Net, Node]:
    net = Net()
    a = net.node("a", **settings)
    a.plug(net.segment())
    net.run(20 * SECOND)
    net.segments[0].log.clear()
    a.counters.values.clear()
    return net, a


def advertise(
    node: Node, *prefixes: PrefixInfo, src: bytes = PEER, mac: bytes = PEER_MAC, **fields
) -> None:
    options = Options(source_mac=mac, prefixes=prefixes, **fields.pop("options", {}))
    message = RouterAdvertisement(options=options, **fields)
    hear(node, wire(src, ALL_NODES6, 134, message.build()))


def info(valid: int = 86400, preferred: int = 14400, **fields) -> PrefixInfo:
    fields.setdefault("length", 64)
    return PrefixInfo(PREFIX, valid=valid, preferred=preferred, **fields)


def address(node: Node):
    own = PREFIX[:8] + eui64(node.interfaces[1].mac)
    return next((a for a in node.interfaces[1].addresses if a.address == own), None)


# -- asking ---------------------------------------------------------------------------------------


@pytest.mark.rfc("4861", "6.3.7")
def test_routers_are_asked_for_three_times() -> None:
    net = Net()
    a = net.node("a")
    a.plug(net.segment())
    net.run(60 * SECOND)
    asked = said(net, 133)
    assert len(asked) == 3
    header, message, _ = asked[0]
    assert (header.dst, header.hop_limit) == (ALL_ROUTERS6, 255)
    assert RouterSolicitation.parse(message.rest, message.body) == RouterSolicitation(
        Options(source_mac=a.interfaces[1].mac)
    )


@pytest.mark.parametrize("settings", [{"accept_ra": False}, {"forwarding": True}])
def test_who_does_not_ask_nor_listen(settings: dict[str, bool]) -> None:
    net = Net()
    a = net.node("a", **settings)
    a.plug(net.segment())
    net.run(60 * SECOND)
    assert said(net, 133) == []
    advertise(a, info())
    assert address(a) is None
    assert a.stack.net.route(FAR) is None


def test_an_answer_ends_the_asking() -> None:
    net = Net()
    a = net.node("a")
    a.plug(net.segment())
    net.run(1500 * MS)
    advertise(a)
    said(net)
    net.run(60 * SECOND)
    assert said(net, 133) == []


# -- default routers ------------------------------------------------------------------------------


@pytest.mark.rfc("4861", "6.3.4")
def test_default_routers_have_a_lifetime() -> None:
    net, a = host()
    advertise(a, lifetime=100)
    route = a.stack.net.route(FAR)
    assert route is not None
    assert (route.gateway, route.origin) == (PEER, "ra")
    net.run(99 * SECOND)
    assert a.stack.net.route(FAR) is route
    net.run(1 * SECOND)
    assert a.stack.net.route(FAR) is None
    advertise(a, lifetime=100)
    advertise(a, lifetime=0)
    assert a.stack.net.route(FAR) is None


@pytest.mark.rfc("4191", "2.2")
def test_preferences() -> None:
    _, a = host()
    advertise(a, preference=-1)
    advertise(a, src=OTHER, mac=OTHER_MAC, preference=0)
    route = a.stack.net.route(FAR)
    assert route is not None
    assert route.gateway == OTHER
    advertise(a, preference=1)
    route = a.stack.net.route(FAR)
    assert route is not None
    assert route.gateway == PEER


@pytest.mark.rfc("4861", "6.3.6")
def test_a_router_that_does_not_answer_is_passed_over() -> None:
    net, a = host()
    advertise(a, info())
    advertise(a, info(), src=OTHER, mac=OTHER_MAC)
    net.run(5 * SECOND)
    a.send("2001:db8:ffff::1")
    assert a.stack.net.route(FAR).gateway == PEER
    net.run(60 * SECOND)
    assert a.stack.net.route(FAR).gateway == OTHER
    assert a.stack.nd.autoconf[2].routers[PEER][0].metric > 4096
    a.interfaces[1].neighbors6.lookup(PEER, net.now)
    na = NeighborAdvertisement(PEER, True, True, True, Options(target_mac=PEER_MAC))
    own = a.stack.nd.link_local(a.interfaces[1])
    hear(a, wire(PEER, own, 136, na.build()))
    assert a.stack.nd.autoconf[2].routers[PEER][0].metric == 1024


def test_default_routers_are_capped() -> None:
    _, a = host(default_routers=2)
    for i in range(4):
        advertise(a, src=PEER[:15] + bytes((i,)), mac=PEER_MAC[:5] + bytes((i,)))
    assert len(a.stack.nd.autoconf[2].routers) == 2
    assert a.counters.get("nd.default_routers") == 2


def test_parameters_of_the_link() -> None:
    _, a = host()
    own = a.stack.nd.link_local(a.interfaces[1])
    advertise(a, info(), hop_limit=33, reachable=20_000, retrans=500, options={"mtu": 1400})
    table = a.interfaces[1].neighbors6
    assert table.retrans == 500 * MS
    assert 10 * SECOND <= table.reachable <= 30 * SECOND
    assert a.stack.net.path_mtu(FAR, a.stack.net.route(FAR), 0) == 1400
    assert a.interfaces[1].mtu == 1500
    advertise(a, options={"mtu": 1000})
    advertise(a, options={"mtu": 9000})
    assert a.stack.net.path_mtu(FAR, a.stack.net.route(FAR), 0) == 1400
    assert own is not None
    assert a.stack.shared.hop_limits == {2: 33}


@pytest.mark.rfc("4861", "6.3.4")
def test_the_advertised_mtu_is_of_the_link_not_of_routes() -> None:
    """Routes that come later obey it, too, and one that is narrower stays so."""
    net, a = host()
    narrow = Route(Prefix.parse("2001:db8:ffff::/48"), a.interfaces[1], OTHER, mtu=1300)
    a.stack.net.routes.add(narrow)
    advertise(a, info(), options={"mtu": 1400})
    a.stack.add_address(a.interfaces[1], parse("2001:db8:9::5"), 64, net.now)
    wanted = {FAR: 1300, parse("2001:db8:9::77"): 1400, parse("2a00::1"): 1400}
    for destination, mtu in wanted.items():
        route = a.stack.net.route(destination)
        assert a.stack.net.path_mtu(destination, route, net.now) == mtu
    advertise(a, info(), options={"mtu": 1450})
    assert a.stack.net.path_mtu(parse("2a00::1"), a.stack.net.route(parse("2a00::1")), 0) == 1450


@pytest.mark.rfc("4861", "6.3.6")
def test_of_two_equal_routers_the_first_stays_the_first() -> None:
    """Or a path would change sides with each advertisement, through firewalls that remember."""
    net, a = host()
    for src, mac in ((PEER, PEER_MAC), (OTHER, OTHER_MAC)) * 3:
        advertise(a, info(), src=src, mac=mac)
        net.run(SECOND)
        assert a.stack.net.route(FAR).gateway == PEER
    advertise(a, src=OTHER, mac=OTHER_MAC, preference=1)
    assert a.stack.net.route(FAR).gateway == OTHER


# -- prefixes and addresses -----------------------------------------------------------------------


@pytest.mark.rfc("4862", "5.5.3")
def test_an_address_is_formed_and_ages() -> None:
    net, a = host(dad_transmits=1)
    advertise(a, info(valid=10_000, preferred=5_000), lifetime=9000)
    assert not a.stack.net.is_local(address(a).address)
    net.run(2 * SECOND)
    own = address(a)
    assert (own.state, own.origin, own.prefix_length) == (PREFERRED, "slaac", 64)
    assert a.stack.net.source(FAR, a.stack.net.route(FAR)) == own.address
    net.run(5_000 * SECOND)
    assert own.state == DEPRECATED
    assert a.stack.net.is_local(own.address)
    net.run(5_000 * SECOND)
    assert address(a) is None
    assert not a.stack.net.is_local(own.address)
    assert a.stack.net.route(PREFIX) is None


@pytest.mark.rfc("4862", "5.5.3", "e")
@pytest.mark.parametrize(
    ("remaining", "advertised", "result"),
    [
        (86400, 100_000, 100_000),  # longer: taken
        (86400, 10_800, 10_800),  # above two hours: taken
        (86400, 60, 7200),  # short: cut to two hours
        (3600, 60, 3600),  # two hours or less left: ignored
        (3600, 4000, 4000),  # but longer is taken
        (86400, 0, 7200),
    ],
)
def test_two_hours(remaining: int, advertised: int, result: int) -> None:
    net, a = host()
    advertise(a, info(valid=remaining, preferred=0))
    advertise(a, info(valid=advertised, preferred=0))
    assert address(a).valid_until == net.now + result * SECOND


def test_a_refresh_makes_it_preferred_again() -> None:
    net, a = host()
    advertise(a, info(preferred=0))
    own = address(a)
    assert own.state == DEPRECATED or own.preferred_until <= net.now
    net.run(SECOND)
    assert own.state == DEPRECATED
    advertise(a, info(preferred=1000))
    assert own.state == PREFERRED


@pytest.mark.parametrize(
    "bad",
    [
        info(autonomous=False),
        info(length=63),
        info(valid=10, preferred=20),
        info(valid=0, preferred=0),
        PrefixInfo(parse("fe80::"), 64),
        PrefixInfo(parse("ff02::"), 64),
    ],
)
def test_no_address_from_these(bad: PrefixInfo) -> None:
    _, a = host()
    advertise(a, bad)
    assert [own.origin for own in a.interfaces[1].addresses] == ["linklocal"]


def test_on_link_prefixes() -> None:
    net, a = host()
    advertise(a, info(autonomous=False, valid=100, preferred=0))
    route = a.stack.net.route(PREFIX[:15] + b"\x05")
    assert route is not None
    assert route.gateway is None
    net.run(100 * SECOND)
    assert a.stack.net.route(PREFIX[:15] + b"\x05").gateway == PEER
    advertise(a, info(on_link=False))
    assert a.stack.net.route(PREFIX[:15] + b"\x05").gateway == PEER
    advertise(a, info(valid=INFINITY, preferred=INFINITY))
    advertise(a, info(valid=0, preferred=0))
    assert a.stack.net.route(PREFIX[:15] + b"\x05").gateway == PEER


def test_addresses_and_prefixes_are_capped() -> None:
    _, a = host(autoconfigured_addresses=4)
    for i in range(100):
        advertise(a, PrefixInfo(PREFIX[:7] + bytes((i,)) + bytes(8), 64))
    slaac = [own for own in a.interfaces[1].addresses if own.origin == "slaac"]
    assert len(slaac) == 4
    assert len(a.stack.nd.autoconf[2].prefixes) == 64
    assert a.counters.get("nd.prefixes") == 36


@pytest.mark.rfc("4862", "5.5.4")
def test_an_address_may_be_deprecated_before_duplicate_detection_ends() -> None:
    net, a = host(dad_transmits=1)
    advertise(a, info(valid=100, preferred=0))
    assert address(a).state == TENTATIVE
    net.run(2 * SECOND)
    assert address(a).state == DEPRECATED
    net.run(100 * SECOND)
    assert address(a) is None


def test_addresses_need_room_for_their_groups() -> None:
    _, a = host(multicast_groups=3)
    advertise(a, info())
    advertise(a, PrefixInfo(PREFIX[:7] + b"\x99" + bytes(8), 64))
    assert len(a.interfaces[1].groups) <= 4


# -- DNS servers ----------------------------------------------------------------------------------


@pytest.mark.rfc("8106", "5.3.1")
def test_dns_servers_come_and_go() -> None:
    net, a = host()
    lists: list[list[bytes]] = []
    a.stack.nd.nameservers = lambda servers, now: lists.append(servers)
    one, two = parse("2001:db8::53"), parse("2001:db8::54")
    advertise(a, options={"rdnss": ((100, (one, two)),)})
    advertise(a, options={"rdnss": ((50, (two,)),)})
    assert lists == [[one, two]]
    net.run(50 * SECOND)
    net.run(50 * SECOND)
    assert lists == [[one, two], [one], []]
    many = tuple(bytes(15) + bytes((i + 2,)) for i in range(20))
    advertise(a, options={"rdnss": ((100, many),)})
    assert lists[-1] == list(many[:8])
    advertise(a, options={"rdnss": ((0, many[:4]),)})
    assert lists[-1] == list(many[4:8])


# -- the sender -----------------------------------------------------------------------------------


def lan(**fields) -> tuple[Net, Node, Node]:
    net = Net()
    r, h = net.node("r", forwarding=True), net.node("h")
    segment = net.segment()
    r.plug(segment, "2001:db8:7::1/64")
    h.plug(segment)
    r.stack.nd.advertise(r.interfaces[1], RaConfig(**fields), net.now)
    return net, r, h


def test_a_router_configures_its_hosts() -> None:
    server = parse("2001:db8:7::53")
    net, r, h = lan(rdnss=[server], dnssl=["example.org"], mtu=1400, preference=1)
    got: list[list[bytes]] = []
    h.stack.nd.nameservers = lambda servers, now: got.append(servers)
    net.run(5 * SECOND)
    assert address(h) is not None
    route = h.stack.net.route(FAR)
    assert route is not None
    assert route.gateway == r.stack.nd.link_local(r.interfaces[1])
    assert (h.stack.net.path_mtu(FAR, route, net.now), route.metric) == (1400, 512)
    assert got == [[server]]
    assert h.send("2001:db8:7::1", b"hello")
    net.settle()
    assert [p.payload for p in r.recorder.packets] == [b"hello"]


@pytest.mark.rfc("4861", "6.2.4")
def test_the_first_three_come_quickly_then_rarely() -> None:
    net, _, _ = lan()
    net.run(40 * SECOND)
    first = len(said(net, 134))
    assert 3 <= first <= 6
    net.run(1200 * SECOND)
    assert 2 <= len(said(net, 134)) <= 6


@pytest.mark.rfc("4861", "6.2.6")
def test_solicitations_are_answered_within_limits() -> None:
    net, r, _ = lan()
    net.run(100 * SECOND)
    said(net)
    for _ in range(20):
        hear(r, wire(ANY6, ALL_ROUTERS6, 133, RouterSolicitation().build()))
        net.run(100 * MS)
    assert len(said(net, 134)) == 1
    net.run(10 * SECOND)
    assert len(said(net, 134)) <= 1


@pytest.mark.rfc("4861", "6.2.5")
def test_a_router_that_stops_says_so() -> None:
    net, r, h = lan()
    net.run(5 * SECOND)
    assert h.stack.net.route(FAR) is not None
    r.stack.nd.senders[r.interfaces[1].index].stop(net.now)
    net.settle()
    assert h.stack.net.route(FAR) is None
    said(net)
    net.run(2000 * SECOND)
    assert said(net, 134) == []


def test_another_configuration_is_told_at_once() -> None:
    net, r, h = lan()
    net.run(5 * SECOND)
    new = PrefixInfo(parse("2001:db8:8::"), 64)
    r.stack.nd.advertise(r.interfaces[1], RaConfig(prefixes=[new]), net.now)
    net.settle()
    assert any(own.address.startswith(new.prefix[:8]) for own in h.interfaces[1].addresses)


def test_the_sender_waits_for_its_own_address() -> None:
    net = Net()
    r = net.node("r", forwarding=True, dad_transmits=1)
    r.plug(net.segment(), "2001:db8:7::1/64")
    r.stack.nd.advertise(r.interfaces[1], RaConfig(), net.now)
    assert said(net, 134) == []
    net.run(3 * SECOND)
    (header, message, _), *_ = said(net, 134)
    ra = RouterAdvertisement.parse(message.rest, message.body)
    assert ra is not None
    assert [p.prefix for p in ra.options.prefixes] == [PREFIX]
    assert header.src[0] == 0xFE


def test_a_link_that_comes_up_is_asked_again() -> None:
    net, a = host()
    interface = a.interfaces[1]
    a.stack.add_address(interface, parse("10.0.0.1"), 24, net.now)
    net.run(60 * SECOND)
    said(net)
    generation = a.stack.net.routes.generation
    interface.up = False
    a.stack.link_changed(interface, net.now)
    assert a.stack.net.routes.generation > generation
    assert said(net, 131, 133) == []
    assert a.stack.net.route(parse("10.0.0.7")) is None
    interface.up = True
    a.stack.link_changed(interface, net.now)
    net.run(2 * SECOND)
    arp = [f for f in net.segments[0].log if f.data[12:14] == b"\x08\x06"]
    assert len(arp) == 1
    assert len(said(net, 133)) == 1
    assert a.stack.net.route(parse("10.0.0.7")) is not None


SECRET = "00112233445566778899aabbccddeeff"


@pytest.mark.rfc("7217", "5")
def test_identifiers_may_be_stable_and_opaque() -> None:
    def made(secret: str, prefix: str) -> bytes:
        _, node = host(stable_secret=secret)
        advertise(node, PrefixInfo(parse(prefix), 64, valid=86400, preferred=14400))
        found = next(a for a in node.interfaces[1].addresses if a.origin == "slaac")
        return found.address

    one = made(SECRET, "2001:db8:1::")
    assert one == made(SECRET, "2001:db8:1::")  # each time the same on one network
    assert one[8:] != made(SECRET, "2001:db8:2::")[8:]  # another elsewhere
    assert one[8:] != made(SECRET[::-1], "2001:db8:1::")[8:]  # and for who has another secret
    assert b"\xff\xfe" not in one[8:]  # the MAC address does not show


@pytest.mark.rfc("7217", "6")
def test_a_duplicate_gets_another_identifier() -> None:
    net, node = host(stable_secret=SECRET)
    advertise(node, info())
    card = node.interfaces[1]
    first = next(a.address for a in card.addresses if a.origin == "slaac")
    node.stack.nd._duplicate(card, next(a for a in card.addresses if a.address == first), net.now)
    second = next(a.address for a in card.addresses if a.origin == "slaac")
    assert second[:8] == first[:8] and second[8:] != first[8:]
    for _ in range(10):
        own = next((a for a in card.addresses if a.origin == "slaac"), None)
        if own is None:
            break
        node.stack.nd._duplicate(card, own, net.now)
    assert own is None  # IDGEN_RETRIES


def test_prefixes_with_duplicates_are_capped() -> None:
    _, node = host(stable_secret=SECRET)
    card, identifiers = node.interfaces[1], node.stack.nd.identifiers
    for i in range(100):
        assert identifiers.another(card, PREFIX[:7] + bytes((i,)) + bytes(8)) is not None
    assert len(identifiers.duplicates) == MAX_DUPLICATES
