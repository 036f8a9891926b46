# SPDX-License-Identifier: Apache-2.0
"""The DHCP server without its socket: what each message gets, and what strangers cannot do."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.application.dhcp_lease import MAX_NAMESERVERS, MAX_ROUTES, lease_of
from capas.application.dhcp_server import DECLINED, OFFERED, Leases, Pool
from capas.base.events import Counters
from capas.errors import ConfigurationError
from capas.wire import dhcp4
from capas.wire.address import ANY4, Prefix, parse
from capas.wire.dhcp4 import Dhcp

OWN = parse("10.0.0.1")
PREFIX = Prefix.parse("10.0.0.0/24")


def leases(pool: str = "10.0.0.100-10.0.0.103,lease=100") -> tuple[Leases, Counters]:
    counters = Counters()
    return Leases(Pool.parse(pool), OWN, PREFIX, counters), counters


def mac(number: int) -> bytes:
    return b"\2\0" + number.to_bytes(4, "big")


def discover(number: int, **options: bytes) -> Dhcp:
    told = {int(code[1:]): value for code, value in options.items()}
    return Dhcp(dhcp4.REQUEST, dhcp4.DISCOVER, 7, mac(number), broadcast=True, options=told)


def request(number: int, address: bytes, server: bytes = OWN) -> Dhcp:
    told = {dhcp4.REQUESTED: address, dhcp4.SERVER: server} if server else {50: address}
    return Dhcp(dhcp4.REQUEST, dhcp4.REQUEST_ADDRESS, 7, mac(number), options=told)


def renew(number: int, address: bytes) -> Dhcp:
    return Dhcp(dhcp4.REQUEST, dhcp4.REQUEST_ADDRESS, 7, mac(number), address)


def bind(server: Leases, number: int, now: float = 0.0) -> bytes:
    """The address station ``number`` gets."""
    offer = server.respond(discover(number), now)
    assert offer is not None and offer.kind == dhcp4.OFFER
    ack = server.respond(request(number, offer.yours), now)
    assert ack is not None and ack.kind == dhcp4.ACK and ack.yours == offer.yours
    return ack.yours


def kind(answer: Dhcp | None) -> int:
    return 0 if answer is None else answer.kind


@pytest.mark.rfc("2131", "4.3.1")
def test_offers_prefer_what_the_client_had_then_what_it_wants() -> None:
    server, _ = leases()
    first = bind(server, 1)
    assert first == parse("10.0.0.100")
    wanted = server.respond(discover(2, o50=parse("10.0.0.103")), 0)
    assert wanted is not None and wanted.yours == parse("10.0.0.103")
    taken = server.respond(discover(3, o50=first), 0)
    assert taken is not None and taken.yours not in (first, parse("10.0.0.103"))
    again = server.respond(discover(1), 1000)  # long over, but nobody else needed it
    assert again is not None and again.yours == first


@pytest.mark.rfc("2131", "4.3.2")
def test_requests() -> None:
    server, counters = leases()
    address = bind(server, 1)
    other = parse("10.0.0.102")
    assert kind(server.respond(request(2, address), 1)) == dhcp4.NAK  # somebody else's
    assert kind(server.respond(request(2, parse("10.9.9.9")), 1)) == dhcp4.NAK  # elsewhere
    assert server.respond(request(3, other, server=b""), 1) is None  # INIT-REBOOT of a stranger
    assert kind(server.respond(request(1, address, server=b""), 1)) == dhcp4.ACK
    assert kind(server.respond(renew(1, address), 50)) == dhcp4.ACK
    assert kind(server.respond(renew(4, other), 50)) == dhcp4.ACK  # we may have restarted
    assert server.respond(renew(5, parse("10.0.0.200")), 50) is None  # of another server's pool
    assert counters.get("dhcpd.not_available") == 1
    assert counters.get("dhcpd.wrong_network") == 1
    assert server.bindings[address].until == 150


@pytest.mark.rfc("2131", "3.1", "step 4")
def test_an_offer_is_free_again_when_another_server_is_chosen() -> None:
    server, _ = leases("10.0.0.100")
    assert kind(server.respond(discover(1), 0)) == dhcp4.OFFER
    assert server.respond(discover(2), 0) is None
    assert server.respond(request(1, parse("10.0.0.7"), server=parse("10.0.0.2")), 1) is None
    assert kind(server.respond(discover(2), 1)) == dhcp4.OFFER


@pytest.mark.rfc("2131", "4.3.3")
@pytest.mark.rfc("2131", "4.3.4")
def test_decline_and_release_are_for_who_has_the_address() -> None:
    server, counters = leases("10.0.0.100")
    address = bind(server, 1)
    told = {dhcp4.SERVER: OWN, dhcp4.REQUESTED: address}
    for number, what in ((2, "bad_decline"), (2, "bad_release")):
        message = dhcp4.DECLINE if what == "bad_decline" else dhcp4.RELEASE
        server.respond(Dhcp(1, message, 7, mac(number), address, options=told), 1)
        assert counters.get(f"dhcpd.{what}") == 1
    assert server.respond(discover(2), 2) is None
    server.respond(Dhcp(1, dhcp4.RELEASE, 7, mac(1), address, options=told), 3)
    assert bind(server, 2, 3) == address
    server.respond(Dhcp(1, dhcp4.DECLINE, 7, mac(2), options=told), 4)
    assert server.respond(discover(3), 5) is None
    assert kind(server.respond(discover(3), 5 + DECLINED)) == dhcp4.OFFER


@pytest.mark.rfc("2131", "4.3.5")
def test_inform_gets_options_without_a_lease() -> None:
    server, _ = leases()
    answer = server.respond(Dhcp(1, dhcp4.INFORM, 7, mac(1), parse("10.0.0.50")), 0)
    assert answer is not None and answer.kind == dhcp4.ACK and answer.yours == ANY4
    assert dhcp4.LEASE not in answer.options and answer.prefix_length() == 24


def test_what_is_not_for_us_is_counted() -> None:
    server, counters = leases()
    assert server.respond(Dhcp(dhcp4.REPLY, dhcp4.OFFER, 7, mac(1)), 0) is None
    relayed = Dhcp(dhcp4.REQUEST, dhcp4.DISCOVER, 7, mac(1), relay=parse("10.0.0.9"))
    assert server.respond(relayed, 0) is None
    assert counters.get("dhcpd.not_a_request") == counters.get("dhcpd.relayed") == 1


def test_a_flood_of_strangers_holds_the_pool_for_half_a_minute_and_nothing_more() -> None:
    server, counters = leases()
    friend = bind(server, 1)
    for number in range(1000, 6000):
        server.respond(discover(number), 1)
    assert counters.get("dhcpd.pool_exhausted") == 5000 - 3
    assert len(server.bindings) == 4 and len(server._of) == 4
    assert kind(server.respond(renew(1, friend), 2)) == dhcp4.ACK  # who has one keeps it
    assert server.respond(discover(2), 2) is None
    assert kind(server.respond(discover(2), 1 + OFFERED)) == dhcp4.OFFER


def test_a_flood_of_identifiers_is_no_more_than_one_of_addresses() -> None:
    server, _ = leases()
    for number in range(1000):
        server.respond(discover(1, o61=number.to_bytes(300, "big")), 0)  # too long: by its MAC
        server.respond(discover(1, o61=number.to_bytes(8, "big")), 0)
    assert len(server.bindings) <= 4 and len(server._of) <= 4


def test_fixed_addresses_are_for_their_station_alone() -> None:
    server, _ = leases("10.0.0.100-10.0.0.101,02:00:00:00:00:09=10.0.0.101")
    assert bind(server, 1) == parse("10.0.0.100")
    assert server.respond(discover(2), 0) is None
    assert bind(server, 9) == parse("10.0.0.101")


stations = st.integers(1, 6)
hosts = st.integers(98, 105).map(lambda n: bytes((10, 0, 0, n)))
steps = st.one_of(
    stations.map(discover),
    st.builds(request, stations, hosts, st.sampled_from((OWN, b"", parse("10.0.0.2")))),
    st.builds(renew, stations, hosts),
    st.builds(
        lambda number, address, kind: Dhcp(
            1, kind, 7, mac(number), address, options={54: OWN, 50: address}
        ),
        stations,
        hosts,
        st.sampled_from((dhcp4.DECLINE, dhcp4.RELEASE)),
    ),
)


@given(st.lists(st.tuples(steps, st.integers(0, 60)), max_size=40))
def test_no_two_stations_ever_hold_one_address(messages: list[tuple[Dhcp, int]]) -> None:
    server, _ = leases()
    held: dict[bytes, tuple[bytes, float]] = {}  # address -> (station, until)
    now = 0.0
    for message, later in messages:
        now += later
        answer = server.respond(message, now)
        if message.kind == dhcp4.RELEASE:
            held = {a: h for a, h in held.items() if (a, h[0]) != (message.client, message.mac)}
        if message.kind == dhcp4.DECLINE:
            address = message.address(dhcp4.REQUESTED)
            held = {a: h for a, h in held.items() if (a, h[0]) != (address, message.mac)}
        if kind(answer) == dhcp4.ACK:
            assert answer is not None
            owner = held.get(answer.yours)
            assert owner is None or owner[0] == message.mac or owner[1] <= now
            held[answer.yours] = (message.mac, now + 100)
            assert server.pool.contains(answer.yours)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "''"),
        ("10.0.0.9-10.0.0.3", "not a range"),
        ("10.0.0.0-10.9.0.0", "not a range"),
        ("fd00::1-fd00::9", "not an IPv4 address"),
        ("10.0.0.1-10.0.0.9,lease=1", "shorter than 10 s"),
        ("10.0.0.1-10.0.0.9,lease=x", "x"),
        ("10.0.0.1-10.0.0.9,lease", "not KEY=VALUE"),
        ("10.0.0.1-10.0.0.9,gateway=10.0.0.1", "none of lease, router"),
    ],
)
def test_pools_that_cannot_be(words: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match="DHCP pool") as caught:
        Pool.parse(words)
    assert why in str(caught.value)


# -- what a client takes of a server's message -------------------------------------------------


def offer(yours: str = "10.0.0.9", **options: bytes) -> Dhcp:
    told = {dhcp4.SERVER: OWN, dhcp4.LEASE: b"\0\0\1\0", dhcp4.MASK: b"\xff\xff\xff\0"}
    told |= {int(code[1:]): value for code, value in options.items()}
    return Dhcp(dhcp4.REPLY, dhcp4.OFFER, 7, mac(1), yours=parse(yours), options=told)


@pytest.mark.parametrize(
    "message",
    [
        offer(o51=bytes(4)),  # a lease of no time
        offer(o51=b"\0\1"),
        offer(o54=b""),  # of no server
        offer(o54=bytes(4)),
        offer("0.0.0.0"),
        offer("127.0.0.1"),
        offer("224.0.0.9"),
        offer("255.255.255.255"),
        offer("10.0.0.255"),
        offer("10.0.0.0"),
    ],
)
def test_a_client_takes_no_nonsense(message: Dhcp) -> None:
    assert lease_of(message, 0) is None


def test_a_client_takes_no_more_than_it_needs() -> None:
    routes = dhcp4.routes_option([(Prefix(bytes((10, 0, n, 0)), 24), OWN) for n in range(250)])
    many = b"".join(bytes((10, 0, 1, n)) for n in range(1, 250))
    found = lease_of(
        offer(o121=routes, o6=many, o3=many, o26=b"\0\x44", o15=b"a..b", o58=b"\0\0\2\0"), 5.0
    )
    assert found is not None
    assert len(found.routes) == MAX_ROUTES and len(found.nameservers) == MAX_NAMESERVERS
    assert found.mtu == 0 and found.domain == ""  # 68 bytes would starve, that is no domain
    assert (found.renew_at, found.rebind_at, found.until) == (133.0, 229.0, 261.0)


@pytest.mark.rfc("2131", "3.3")
def test_a_lease_for_ever() -> None:
    found = lease_of(offer(o51=b"\xff" * 4), 5.0)
    assert found is not None
    assert math.isinf(found.until) and math.isinf(found.renew_at)


@pytest.mark.rfc("2131", "4.4.5", "T1")
def test_times_the_server_chose() -> None:
    found = lease_of(offer(o58=b"\0\0\0\x0a", o59=b"\0\0\0\x14"), 5.0)
    assert found is not None and (found.renew_at, found.rebind_at) == (15.0, 25.0)
