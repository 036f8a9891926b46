# SPDX-License-Identifier: Apache-2.0
import pytest
from inet_double import Net

from capas.internet.route import Route
from capas.wire.address import Prefix, parse


def rig():
    net = Net()
    node = net.node("a")
    one = node.plug(net.segment())
    two = node.plug(net.segment())
    return node.stack.net.routes, one, two


def test_the_longest_prefix_wins() -> None:
    routes, one, two = rig()
    wide = Route(Prefix.parse("10.0.0.0/8"), one)
    narrow = Route(Prefix.parse("10.1.0.0/16"), two)
    default = Route(Prefix.parse("0.0.0.0/0"), one)
    for route in (wide, narrow, default):
        routes.add(route)
    assert routes.lookup(parse("10.1.2.3")) is narrow
    assert routes.lookup(parse("10.2.2.3")) is wide
    assert routes.lookup(parse("192.0.2.1")) is default
    assert routes.lookup(parse("10.1.2.3"), one.index) is wide
    assert routes.lookup(parse("2001:db8::1")) is None


def test_metric_then_order_of_insertion_break_ties() -> None:
    routes, one, two = rig()
    prefix = Prefix.parse("2001:db8::/32")
    worse = Route(prefix, one, parse("fe80::1"), 20)
    better = Route(prefix, two, parse("fe80::2"), 10)
    same = Route(prefix, one, parse("fe80::3"), 10)
    for route in (worse, better, same):
        routes.add(route)
    dst = parse("2001:db8::99")
    assert routes.lookup(dst) is better
    routes.discard(better)
    assert routes.lookup(dst) is same
    routes.discard(same)
    assert routes.lookup(dst) is worse


def test_routes_of_interfaces_that_are_down_do_not_count() -> None:
    routes, one, two = rig()
    first = Route(Prefix.parse("0.0.0.0/0"), one, metric=1)
    second = Route(Prefix.parse("0.0.0.0/0"), two, metric=2)
    routes.add(first)
    routes.add(second)
    one.up = False
    assert routes.lookup(parse("192.0.2.1")) is second


def test_adding_again_replaces_and_counts_once() -> None:
    routes, one, _ = rig()
    before = len(routes)
    routes.add(Route(Prefix.parse("10.0.0.0/8"), one, metric=5))
    again = Route(Prefix.parse("10.0.0.0/8"), one, metric=5, mtu=900)
    routes.add(again)
    assert len(routes) == before + 1
    assert routes.of(again.prefix) == [again]


def test_generation_follows_every_change() -> None:
    routes, one, _ = rig()
    seen = [routes.generation]
    route = Route(Prefix.parse("10.0.0.0/8"), one)
    routes.add(route)
    seen.append(routes.generation)
    assert routes.discard(route)
    seen.append(routes.generation)
    assert not routes.discard(route)
    assert seen == sorted(set(seen))
    assert routes.generation == seen[-1]


def test_remove_by_what_is_given() -> None:
    routes, one, two = rig()
    prefix = Prefix.parse("10.0.0.0/8")
    via = parse("192.0.2.1")
    for route in (Route(prefix, one, via), Route(prefix, two, via), Route(prefix, two)):
        routes.add(route)
    assert routes.remove(prefix, interface=one) == 1
    assert routes.remove(prefix, gateway=via) == 1
    assert routes.remove(prefix, origin="ra") == 0
    assert routes.remove(prefix) == 1
    assert routes.remove(prefix) == 0
    assert routes.lookup(parse("10.0.0.1")) is None


def test_remove_interface_takes_all_its_routes() -> None:
    routes, one, two = rig()
    routes.add(Route(Prefix.parse("10.0.0.0/8"), one))
    assert routes.remove_interface(one) >= 5
    assert all(route.interface is not one for route in routes)
    assert any(route.interface is two for route in routes)


def test_iteration_is_ordered() -> None:
    routes, one, _ = rig()
    for text in ("10.2.0.0/16", "10.1.0.0/16", "10.0.0.0/8", "::/0", "2001:db8::/32"):
        routes.add(Route(Prefix.parse(text), one))
    ours = [str(r.prefix) for r in routes if r.origin == "static"]
    assert ours == ["10.1.0.0/16", "10.2.0.0/16", "10.0.0.0/8", "2001:db8::/32", "::/0"]


@pytest.mark.parametrize("text", ["10.0.0.0/8", "2001:db8::/32"])
def test_a_route_says_what_it_is(text: str) -> None:
    _, one, _ = rig()
    route = Route(Prefix.parse(text), one, parse("10.0.0.1"), 7)
    assert str(route) == f"{text} via 10.0.0.1 dev eth0 metric 7 static"
    assert route.gso_max == one.caps.gso_max
