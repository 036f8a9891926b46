# SPDX-License-Identifier: Apache-2.0
import socket as std

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.base.rng import Rng
from capas.sim.world import World
from capas.sockets import addresses, dns, resolver
from capas.wire import address as addr


@pytest.fixture
def world() -> World:
    world = World(1)
    world.link(world.host("a"), world.host("b"), delay="1ms")
    return world


def test_names_of_the_world(world: World) -> None:
    a = world.hosts["a"]
    found = resolver.getaddrinfo(a, "B.", "http", type=std.SOCK_STREAM)
    assert {info[4][:2] for info in found} == {("10.0.0.2", 80), ("fd00::2", 80)}
    assert {info[2] for info in found} == {6}
    (only,) = resolver.getaddrinfo(a, "b", 80, std.AF_INET, std.SOCK_DGRAM)
    assert only == (std.AF_INET, std.SOCK_DGRAM, 17, "", ("10.0.0.2", 80))
    assert resolver.gethostbyname_ex(a, "b") == ("b", [], ["10.0.0.2"])
    assert resolver.gethostbyaddr(a, "10.0.0.2")[0] == "b"


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        (None, std.AI_PASSIVE, ["0.0.0.0", "::"]),
        (None, 0, ["::1", "127.0.0.1"]),
        ("localhost", 0, ["::1", "127.0.0.1"]),
        ("127.1", 0, ["127.0.0.1"]),
        (b"192.0.2.7", std.AI_NUMERICHOST, ["192.0.2.7"]),
        ("fe80::1%eth0", 0, ["fe80::1"]),
    ],
)
def test_what_needs_no_asking(
    world: World, name: str | bytes | None, flags: int, expected: list[str]
) -> None:
    found = resolver.getaddrinfo(world.hosts["a"], name, 7, 0, std.SOCK_STREAM, 0, flags)
    assert [info[4][0] for info in found] == expected


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("nobody", 80), std.EAI_NONAME),
        (("", 80), std.EAI_NONAME),
        (("", 80, 0, 0, 0, std.AI_PASSIVE), std.EAI_NONAME),
        (("b", "no-such-service"), std.EAI_SERVICE),
        (("b", 80, 0, 0, 0, std.AI_NUMERICHOST), std.EAI_NONAME),
        (("b", 80, std.AF_UNIX), std.EAI_FAMILY),
        (("b", 80, 0, std.SOCK_STREAM, 17), std.EAI_SOCKTYPE),
        (("127.0.0.1", 80, std.AF_INET6), -9),
        (("fe80::1%wlan0", 80), std.EAI_NONAME),
    ],
)
def test_names_that_fail(world: World, args: tuple[object, ...], code: int) -> None:
    with pytest.raises(std.gaierror) as caught:
        resolver.getaddrinfo(world.hosts["a"], *args)  # type: ignore[arg-type]
    assert caught.value.errno == code


def test_getnameinfo(world: World) -> None:
    a = world.hosts["a"]
    assert resolver.getnameinfo(a, ("10.0.0.2", 80), 0) == ("b", "http")
    numeric = std.NI_NUMERICHOST | std.NI_NUMERICSERV
    assert resolver.getnameinfo(a, ("10.0.0.2", 80), numeric) == ("10.0.0.2", "80")
    assert resolver.getnameinfo(a, ("fe80::1", 9999, 0, 2), numeric)[0] == "fe80::1%eth0"
    with pytest.raises(std.gaierror):
        resolver.getnameinfo(a, ("203.0.113.9", 80), std.NI_NAMEREQD)
    with pytest.raises(OverflowError):
        resolver.getnameinfo(a, ("::1", 80, 1 << 20), 0)


def answer(query: bytes, *records: tuple[str, int, bytes], flags: int = 0x8180) -> bytes:
    """A response that repeats the question."""
    data = query[:2] + flags.to_bytes(2, "big") + b"\0\1" + len(records).to_bytes(2, "big")
    data += bytes(4) + query[12:]
    for name, kind, value in records:
        owner = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
        data += owner + kind.to_bytes(2, "big") + b"\0\1" + bytes(4)
        data += len(value).to_bytes(2, "big") + value
    return data


def test_a_lookup_follows_names_and_falls_back_to_tcp() -> None:
    asking = dns.lookup("www.example", (dns.A,), [b"\x0a\0\0\1", b"\x0a\0\0\2"], Rng(1))
    ask = next(asking)
    assert (ask.server, ask.tcp, ask.timeout) == (b"\x0a\0\0\1", False, 5.0)
    ask = asking.send(None)  # nobody answered: the next server
    assert ask.server == b"\x0a\0\0\2"
    forged = b"\0\0" + answer(ask.message, ("www.example", dns.A, b"\6\6\6\6"))[2:]
    ask = asking.send(forged)  # another id: not an answer; the next round, twice the patience
    assert (ask.server, ask.timeout) == (b"\x0a\0\0\1", 10.0)
    ask = asking.send(answer(ask.message, flags=0x8380))  # truncated
    assert ask.tcp
    alias = b"\3web\7example\0"
    with pytest.raises(StopIteration) as stop:
        asking.send(
            answer(
                ask.message,
                ("www.example", dns.CNAME, alias),
                ("web.example", dns.A, b"\1\2\3\4"),
                ("other.example", dns.A, b"\5\5\5\5"),
            )
        )
    assert stop.value.value == [b"\1\2\3\4"]


def test_a_name_nobody_answers_for_and_one_that_does_not_exist() -> None:
    asking = dns.lookup("x", (dns.A, dns.AAAA), [b"\x0a\0\0\1"], Rng(1))
    next(asking)
    asking.send(None)
    with pytest.raises(StopIteration) as stop:
        asking.send(None)
    assert stop.value.value is None
    asking = dns.lookup("x", (dns.A,), [b"\x0a\0\0\1"], Rng(1))
    query = next(asking).message
    with pytest.raises(StopIteration) as stop:
        asking.send(answer(query, flags=0x8183))
    assert stop.value.value == []


def test_reverse_names() -> None:
    asking = dns.reverse(addr.parse("192.0.2.7"), [b"\x0a\0\0\1"], Rng(1))
    query = next(asking).message
    assert b"\x017\x012\x010\x03192\x07in-addr\x04arpa" in query
    name = "7.2.0.192.in-addr.arpa"
    with pytest.raises(StopIteration) as stop:
        asking.send(answer(query, (name, dns.PTR, b"\4host\0")))
    assert stop.value.value == "host"


@given(st.binary(max_size=80))
def test_no_answer_raises(data: bytes) -> None:
    query = dns.question("www.example", dns.A, 7)
    assert query is not None
    dns.parse(data, query)
    dns.parse(query[:2] + b"\x81\x80\0\1" + data, query)
    dns.parse(answer(query)[:-4] + data, query)
    dns.parse(query[:2] + b"\x81\x80\0\1\0\3\0\0\0\0" + query[12:] + data, query)


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64, "a." * 130])
def test_names_that_cannot_be_asked_for(name: str) -> None:
    assert dns.question(name, dns.A, 1) is None


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("1.2.3.4", b"\1\2\3\4"),
        ("0x7f.1", b"\x7f\0\0\1"),
        ("010.1", b"\x08\0\0\1"),
        ("1.2.3", b"\1\2\0\3"),
    ],
)
def test_short_forms(world: World, text: str, packed: bytes) -> None:
    assert addresses.numeric(world.hosts["a"], text) == (packed, 0)


@pytest.mark.parametrize("text", ["", "1.2.3.4.5", "256.1.1.1", "b", "1.2.3.99999", "0x.1"])
def test_names_that_are_no_addresses(world: World, text: str) -> None:
    assert addresses.numeric(world.hosts["a"], text) is None
