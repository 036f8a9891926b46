# SPDX-License-Identifier: Apache-2.0
"""Temporary addresses beside those that come of router advertisements (RFC 8981)."""

import pytest
from inet_double import Net, Node
from test_autoconf import PREFIX, advertise, host, info
from test_nd import hear, said, wire

from capas.base.clock import SECOND
from capas.link.interface import DEPRECATED, PREFERRED, TENTATIVE, InterfaceAddress
from capas.wire.address import ALL_NODES6, parse
from capas.wire.ndp import INFINITY, NeighborAdvertisement, Options, PrefixInfo

DAY = 86_400
SHORT = {
    "use_tempaddr": 2,
    "temp_preferred_lifetime": 100 * SECOND,
    "temp_valid_lifetime": 200 * SECOND,
    "temp_max_desync": 0,
}
ADVANCE = 2 * SECOND  # without duplicate detection


def temporary(node: Node) -> list[InterfaceAddress]:
    return [own for own in node.interfaces[1].addresses if own.temporary]


def forever(node: Node) -> None:
    advertise(node, info(valid=INFINITY, preferred=INFINITY))


@pytest.mark.rfc("8981", "3.4")
@pytest.mark.parametrize(("use_tempaddr", "count"), [(-1, 0), (0, 0), (1, 1), (2, 1)])
def test_one_stands_beside_the_public_address_when_wanted(use_tempaddr: int, count: int) -> None:
    net, a = host(use_tempaddr=use_tempaddr)
    for _ in range(3):
        advertise(a, info())
    assert len(temporary(a)) == count
    for own in temporary(a):
        assert (own.state, own.address[:8], own.origin) == (PREFERRED, PREFIX[:8], "slaac")
        assert own.address[8:] != net.nodes[0].interfaces[1].mac
        assert own.address in a.stack.shared.local


@pytest.mark.rfc("8981", "3.3.1")
def test_identifiers_are_random_and_differ_by_prefix() -> None:
    _, a = host(use_tempaddr=2)
    advertise(a, info(), PrefixInfo(PREFIX[:7] + b"\x99" + bytes(8), 64))
    one, two = temporary(a)
    assert one.address[:8] != two.address[:8] and one.address[8:] != two.address[8:]
    _, again = host(use_tempaddr=2)
    advertise(again, info())
    assert temporary(again)[0].address == one.address  # by the host's seed alone


@pytest.mark.rfc("8981", "3.4")
def test_lifetimes_are_the_prefix_s_and_the_limits_at_most() -> None:
    net, a = host(use_tempaddr=2)
    begin = net.now
    forever(a)
    (own,) = temporary(a)
    assert own.valid_until == begin + 2 * DAY * SECOND
    assert begin + 0.6 * DAY * SECOND <= own.preferred_until <= begin + DAY * SECOND
    limit = own.preferred_until
    net.run(100 * SECOND)
    advertise(a, info(valid=9000, preferred=50))
    assert own.valid_until == net.now + 9000 * SECOND
    assert own.preferred_until == net.now + 50 * SECOND
    forever(a)
    assert (own.valid_until, own.preferred_until) == (begin + 2 * DAY * SECOND, limit)
    advertise(a, info(valid=0, preferred=0))
    assert own.valid_until == net.now + 7200 * SECOND  # the two-hour rule of RFC 4862 §5.5.3 e
    assert own.state == DEPRECATED
    net.run(7200 * SECOND)
    assert temporary(a) == []


@pytest.mark.rfc("8981", "3.5")
def test_another_is_made_before_one_is_deprecated() -> None:
    net, a = host(**SHORT)
    forever(a)
    net.run(100 * SECOND - ADVANCE - 1)
    (first,) = temporary(a)
    net.run(1)
    first, second = temporary(a)
    assert (first.state, second.state) == (PREFERRED, PREFERRED)
    assert second.preferred_until == net.now + 100 * SECOND
    net.run(ADVANCE)
    assert (first.state, second.state) == (DEPRECATED, PREFERRED)
    net.run(100 * SECOND)
    assert first not in temporary(a) and first.address not in a.stack.shared.local
    net.run(3600 * SECOND)
    assert len(temporary(a)) in (2, 3)
    assert [own.state for own in temporary(a)].count(PREFERRED) in (1, 2)


@pytest.mark.rfc("8981", "3.8")
def test_hosts_do_not_renew_theirs_at_the_same_time() -> None:
    def ends() -> int:
        _, a = host(use_tempaddr=2)
        a.stack.nd.autoconf[2].temporaries._rng = a.rng.stream(str(len(found)))
        forever(a)
        return temporary(a)[0].preferred_until

    found: list[int] = []
    while len(found) < 8:
        found.append(ends())
    assert len(set(found)) == 8
    assert max(found) - min(found) < 0.4 * DAY * SECOND


@pytest.mark.rfc("8981", "3.4")
@pytest.mark.parametrize(("preferred", "made"), [(0, 0), (2, 0), (3, 1)])
def test_none_is_made_for_less_than_it_takes(preferred: int, made: int) -> None:
    net, a = host(use_tempaddr=2)
    advertise(a, info(preferred=preferred))
    assert len(temporary(a)) == made
    net.run(10 * SECOND)
    assert len(temporary(a)) == made
    advertise(a, info())
    assert len(temporary(a)) == 1


def test_limits_that_leave_no_time_make_none() -> None:
    _, a = host(use_tempaddr=2, temp_preferred_lifetime=ADVANCE)
    forever(a)
    assert temporary(a) == []


def taken(node: Node, own: InterfaceAddress) -> None:
    """Somebody says that an address under test is his."""
    mac = b"\x02\0\0\0\x0c\x0c"
    claim = NeighborAdvertisement(own.address, False, False, True, Options(target_mac=mac))
    hear(node, wire(own.address, ALL_NODES6, 136, claim.build()))


@pytest.mark.rfc("8981", "3.4")
def test_a_duplicate_gets_another_identifier_three_times() -> None:
    net, a = host(use_tempaddr=2, dad_transmits=1)
    told: list[bytes] = []
    a.stack.nd.conflict = lambda interface, own, now: told.append(own.address)
    forever(a)
    tried = []
    while temporary(a):
        (own,) = temporary(a)
        assert own.state == TENTATIVE
        tried.append(own.address)
        taken(a, own)
    assert len(set(tried)) == 3 and told == tried[2:]
    for _ in range(3):
        forever(a)  # not again on this prefix
    assert temporary(a) == []
    advertise(a, PrefixInfo(PREFIX[:7] + b"\x99" + bytes(8), 64))
    net.run(2 * SECOND)
    assert [own.state for own in temporary(a)] == [PREFERRED]


def test_attempts_are_counted_anew_for_each_renewal() -> None:
    net, a = host(dad_transmits=1, **SHORT)
    forever(a)
    for _ in range(4):
        taken(a, temporary(a)[-1])
        taken(a, temporary(a)[-1])
        net.run(2 * SECOND)
        count = len(temporary(a))
        assert count and temporary(a)[-1].state == PREFERRED
        while len(temporary(a)) == count and temporary(a)[-1].state == PREFERRED:
            net.run(SECOND)
    taken(a, temporary(a)[-1])
    assert len(said(net, 135)) >= 8


def test_public_and_temporary_ones_are_capped_together() -> None:
    net, a = host(autoconfigured_addresses=5, **SHORT)
    for i in range(100):
        prefix = PREFIX[:7] + bytes((i,)) + bytes(8)
        advertise(a, PrefixInfo(prefix, 64, valid=INFINITY, preferred=INFINITY))
    made = [own for own in a.interfaces[1].addresses if own.origin == "slaac"]
    assert len(made) == 5
    refused = a.counters.get("nd.autoconfigured_addresses")
    assert refused >= 97
    net.run(3600 * SECOND)
    made = [own for own in a.interfaces[1].addresses if own.origin == "slaac"]
    assert len(made) <= 5
    assert len(a.stack.nd.autoconf[2].temporaries.made) <= 5


def test_old_ones_make_room_for_new_ones() -> None:
    """A week of life and a day of use would otherwise fill it up, and leave none to use."""
    net, a = host(autoconfigured_addresses=4, **SHORT | {"temp_valid_lifetime": 1000 * SECOND})
    forever(a)
    for _ in range(20):
        net.run(90 * SECOND)
        forever(a)
        assert [own.state for own in temporary(a)].count(PREFERRED) >= 1
        assert len(temporary(a)) <= 3


@pytest.mark.rfc("8981", "3.4")
def test_none_is_preferred_longer_than_it_is_valid() -> None:
    net, a = host(**SHORT | {"temp_preferred_lifetime": 5000 * SECOND})
    forever(a)
    (own,) = temporary(a)
    assert own.preferred_until <= own.valid_until
    net.run(300 * SECOND)
    assert own not in a.interfaces[1].addresses


def test_a_setting_changed_holds_for_what_comes() -> None:
    net, a = host(**SHORT)
    forever(a)
    a.config.use_tempaddr = 0
    net.run(150 * SECOND)
    assert [own.state for own in temporary(a)] == [DEPRECATED]
    net.run(100 * SECOND)
    assert temporary(a) == []
    a.config.use_tempaddr = 2
    forever(a)
    assert [own.state for own in temporary(a)] == [PREFERRED]


def test_groups_of_temporary_addresses_need_room() -> None:
    _, a = host(use_tempaddr=2, multicast_groups=3)
    forever(a)
    assert temporary(a) == []
    assert a.counters.get("nd.autoconfigured_addresses") == 1


def test_what_a_program_calls_from_is_temporary() -> None:
    net = Net()
    a = net.node("a", use_tempaddr=2)
    a.plug(net.segment())
    net.run(20 * SECOND)
    advertise(a, info())
    (own,) = temporary(a)
    dst = parse("2001:db8:ffff::1")
    route = a.stack.net.route(dst)
    assert route is not None
    assert a.stack.net.source(dst, route) == own.address
