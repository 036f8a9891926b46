# SPDX-License-Identifier: Apache-2.0
import pytest
from inet_double import Net, Node

from capas.base.clock import NEVER, SECOND
from capas.internet import source
from capas.internet.route import Route
from capas.internet.source import Policy, order, scope
from capas.link.interface import DEPRECATED, InterfaceAddress
from capas.wire.address import Prefix, parse, text


def host(*addresses: str, second: tuple[str, ...] = ()) -> Node:
    net = Net()
    a = net.node("a")
    a.plug(net.segment(), *addresses)
    if second:
        a.plug(net.segment(), *second)
    net.run(5 * SECOND)
    return a


def pick(node: Node, dst: str, interface: int = 1) -> str | None:
    to = parse(dst)
    route = Route(Prefix(to, len(to) * 8), node.interfaces[interface])
    found = node.stack.net.source(to, route)
    return text(found) if found is not None else None


@pytest.mark.rfc("6724", "3.1")
@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("fe80::1", 2),
        ("::1", 2),
        ("2001:db8::1", 14),
        ("fc00::1", 14),
        ("fec0::1", 5),
        ("ff02::1", 2),
        ("ff05::1", 5),
        ("ff0e::1", 14),
        ("169.254.1.1", 2),
        ("127.0.0.1", 2),
        ("10.0.0.1", 14),
        ("192.0.2.1", 14),
    ],
)
def test_scopes(address: str, value: int) -> None:
    assert scope(parse(address)) == value


@pytest.mark.rfc("6724", "2.1")
@pytest.mark.parametrize(
    ("address", "row"),
    [
        ("::1", (50, 0)),
        ("2001:db8::1", (40, 1)),
        ("192.0.2.1", (35, 4)),
        ("2002:c000:201::1", (30, 2)),
        ("2001::1", (5, 5)),
        ("fd00::1", (3, 13)),
        ("::192.0.2.1", (1, 3)),
        ("fec0::1", (1, 11)),
        ("3ffe::1", (1, 12)),
    ],
)
def test_policy_table(address: str, row: tuple[int, int]) -> None:
    assert source.POLICY.find(parse(address)) == row


def test_an_empty_policy_has_an_answer() -> None:
    assert Policy([("2001:db8::/32", 7, 8)]).find(parse("fd00::1")) == (40, 1)


# the examples of RFC 6724 §10.1, as far as they go without mobility
@pytest.mark.rfc("6724", "10.1")
@pytest.mark.parametrize(
    ("dst", "candidates", "chosen"),
    [
        ("2001:db8:1::1", ("2001:db8:3::1",), "2001:db8:3::1"),
        ("ff05::1", ("2001:db8:3::1",), "2001:db8:3::1"),
        ("2001:db8:1::1", ("2001:db8:1::1", "2001:db8:3::1"), "2001:db8:1::1"),
        ("2001:db8:1::1", ("2001:db8:1::2", "2001:db8:3::2"), "2001:db8:1::2"),
        ("2002:c633:6401::1", ("2002:c633:6401::d5e3", "2001:db8:1::1"), "2002:c633:6401::d5e3"),
        ("2001:db8:1::1", ("fd00::5", "2001:db8:9::1"), "2001:db8:9::1"),
        ("fd00::77", ("fd00::5", "2001:db8:9::1"), "fd00::5"),
    ],
)
def test_rfc_examples(dst: str, candidates: tuple[str, ...], chosen: str) -> None:
    assert pick(host(*(c + "/64" for c in candidates)), dst) == chosen


def test_link_local_destinations_get_link_local_sources() -> None:
    a = host("2001:db8::1/64")
    assert pick(a, "fe80::99").startswith("fe80::")
    assert pick(a, "ff02::fb").startswith("fe80::")
    assert pick(host(), "2001:db8::5").startswith("fe80::")


@pytest.mark.rfc("6724", "5", "rule 3")
def test_deprecated_addresses_come_last() -> None:
    a = host("2001:db8:1::2/64", "2001:db8:3::2/64")
    for own in a.interfaces[1].addresses:
        if own.address == parse("2001:db8:1::2"):
            own.state = DEPRECATED
    assert pick(a, "2001:db8:1::1") == "2001:db8:3::2"


@pytest.mark.rfc("6724", "5", "rule 5")
def test_addresses_of_other_interfaces_only_in_need() -> None:
    a = host("2001:db8:1::2/64", second=("2001:db8:2::2/64",))
    assert pick(a, "2001:db8:2::1", 1) == "2001:db8:1::2"
    b = host(second=("2001:db8:2::2/64",))
    assert pick(b, "2001:db8:9::1", 1) == "2001:db8:2::2"


@pytest.mark.rfc("6724", "5", "rule 7")
@pytest.mark.rfc("5014", "4")
def test_temporary_addresses_are_preferred_when_wanted() -> None:
    a = host("2001:db8:1::2/64", "2001:db8:1::ffff/64")
    public, temporary = "2001:db8:1::2", "2001:db8:1::ffff"
    for own in a.interfaces[1].addresses:
        own.temporary = own.address == parse(temporary)
    dst = parse("2001:db8:1::1")  # nearer to the public one, by rule 8

    def chosen(use_tempaddr: int, prefer: int) -> str:
        a.config.use_tempaddr = use_tempaddr
        route = a.stack.net.route(dst)
        assert route is not None
        found = a.stack.net.source(dst, route, prefer)
        assert found is not None
        return text(found)

    for use_tempaddr, usual in ((0, public), (1, public), (2, temporary)):
        assert chosen(use_tempaddr, 0) == usual
        assert chosen(use_tempaddr, source.PREFER_TEMPORARY) == temporary
        assert chosen(use_tempaddr, source.PREFER_PUBLIC) == public


def test_ipv4_prefers_the_prefix_of_the_next_hop() -> None:
    a = host("10.0.0.1/24", "192.0.2.1/24")
    assert pick(a, "192.0.2.9") == "192.0.2.1"
    assert pick(a, "10.0.0.9") == "10.0.0.1"
    assert pick(a, "203.0.113.1") == "10.0.0.1"
    via = Route(Prefix.parse("0.0.0.0/0"), a.interfaces[1], parse("192.0.2.254"))
    assert source.select(a.stack.shared, parse("203.0.113.1"), via) == parse("192.0.2.1")
    given = Route(Prefix.parse("0.0.0.0/0"), a.interfaces[1], source=parse("10.0.0.1"))
    assert source.select(a.stack.shared, parse("203.0.113.1"), given) == parse("10.0.0.1")


def test_ipv4_borrows_from_other_interfaces() -> None:
    a = host(second=("192.0.2.1/24",))
    assert pick(a, "10.0.0.1", 1) == "192.0.2.1"
    assert pick(host(), "10.0.0.1") is None


def test_tentative_addresses_are_no_sources() -> None:
    net = Net()
    a = net.node("a", dad_transmits=1)
    a.plug(net.segment(), "2001:db8::1/64")
    assert pick(a, "2001:db8::2") is None
    net.run(5 * SECOND)
    assert pick(a, "2001:db8::2") == "2001:db8::1"


@pytest.mark.parametrize(
    ("dst", "src"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.9.9.9", "127.0.0.1"),
        ("::1", "::1"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_own_destinations_are_their_own_sources(dst: str, src: str) -> None:
    a = host("10.0.0.1/24", "2001:db8::1/64")
    route = a.stack.net.route(parse(dst))
    assert route is not None
    assert a.stack.net.source(parse(dst), route) == parse(src)


# -- destination order ----------------------------------------------------------------------------


def ordered(sources: dict[str, str | None], deprecated: tuple[str, ...] = ()) -> list[str]:
    found = {parse(d): parse(s) if s else None for d, s in sources.items()}
    old = [parse(d) for d in deprecated]
    return [text(d) for d in order(list(found), found.__getitem__, lambda s: s in old)]


# the examples of RFC 6724 §10.2
@pytest.mark.rfc("6724", "10.2")
@pytest.mark.parametrize(
    ("sources", "result"),
    [
        (
            {"2001:db8:1::1": "2001:db8:1::2", "198.51.100.121": "169.254.13.78"},
            ["2001:db8:1::1", "198.51.100.121"],
        ),
        (
            {"2001:db8:1::1": "fe80::1", "198.51.100.121": "198.51.100.117"},
            ["198.51.100.121", "2001:db8:1::1"],
        ),
        (
            {"2001:db8:1::1": "2001:db8:1::2", "10.1.2.3": "10.1.2.4"},
            ["2001:db8:1::1", "10.1.2.3"],
        ),
        (
            {"2001:db8:1::1": "2001:db8:1::2", "fe80::1": "fe80::2"},
            ["fe80::1", "2001:db8:1::1"],
        ),
        (
            {"2001:db8:1::1": "2001:db8:3f44::2", "2001:db8:3ffe::1": "2001:db8:3f44::2"},
            ["2001:db8:3ffe::1", "2001:db8:1::1"],
        ),
        (
            {"2002:c633:6401::1": "2002:c633:6401::2", "2001:db8:1::1": "fe80::2"},
            ["2002:c633:6401::1", "2001:db8:1::1"],
        ),
        (
            {"2002:c633:6401::1": "2002:c633:6401::2", "2001:db8:1::1": "2001:db8:1::2"},
            ["2001:db8:1::1", "2002:c633:6401::1"],
        ),
        ({"2001:db8:1::1": None, "10.1.2.3": "10.1.2.4"}, ["10.1.2.3", "2001:db8:1::1"]),
        ({"192.0.2.2": "192.0.2.9", "192.0.2.1": "192.0.2.9"}, ["192.0.2.2", "192.0.2.1"]),
    ],
)
def test_destination_order(sources: dict[str, str | None], result: list[str]) -> None:
    assert ordered(sources) == result


def test_deprecated_sources_make_later_destinations() -> None:
    sources = {"2001:db8:1::1": "2001:db8:1::2", "2001:db8:5::1": "2001:db8:5::2"}
    assert ordered(sources, ("2001:db8:1::2",))[0] == "2001:db8:5::1"


def test_the_host_orders_by_its_routes() -> None:
    a = host("10.0.0.1/24", "2001:db8::1/64")
    both = [parse("192.0.2.1"), parse("10.0.0.9"), parse("2001:db8::9")]
    assert [text(d) for d in a.stack.net.order(both)] == ["2001:db8::9", "10.0.0.9", "192.0.2.1"]
    a.interfaces[1].addresses.append(
        InterfaceAddress(parse("2001:db8:5::1"), 64, DEPRECATED, NEVER, 0)
    )
    assert a.stack.net._deprecated(parse("2001:db8:5::1"))
