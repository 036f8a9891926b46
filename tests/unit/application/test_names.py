# SPDX-License-Identifier: Apache-2.0
"""The DNS server and the stub resolver, on the standard loop and the loopback interface."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("dns", reason="needs dnspython: pip install 'capas[tools]'")

import dns.flags
import dns.message
import dns.rcode

from capas.application import names
from capas.application.resolver import ResolutionError, StubResolver
from capas.base.events import Counters
from capas.base.rng import Rng

HERE = ("127.0.0.1",)


def zone() -> names.Zone:
    found = names.Zone(
        {
            "x.test": {
                "SOA": "ns.x.test. root.x.test. 1 3600 600 86400 60",
                "MX": "10 mail.x.test.",
            },
            "www.x.test": {"CNAME": "host.x.test."},
            "loop.x.test": {"CNAME": "loop.x.test."},
            "big.x.test": {"TXT": [f'"{n:0200}"' for n in range(40)]},
        }
    )
    found.add_host("host.x.test", ["192.0.2.1", "2001:db8::1"])
    return found


def ask(name: str, kind: str = "A", *, limit: int = 0, **options: Any) -> dns.message.Message:
    query = dns.message.make_query(name, kind, id=7, **options)
    wire = names.respond(zone(), query.to_wire(), limit, Counters())
    assert wire is not None
    answer = dns.message.from_wire(wire)
    assert query.is_response(answer)
    return answer


def texts(answer: dns.message.Message) -> list[str]:
    return [record.to_text() for rrset in answer.answer for record in rrset]


def test_addresses_of_both_families() -> None:
    assert texts(ask("host.x.test")) == ["192.0.2.1"]
    assert texts(ask("HOST.x.test", "AAAA")) == ["2001:db8::1"]
    assert ask("host.x.test").flags & dns.flags.AA


@pytest.mark.rfc("1034", "4.3.2")
def test_an_alias_is_followed() -> None:
    assert texts(ask("www.x.test")) == ["host.x.test.", "192.0.2.1"]
    assert texts(ask("www.x.test", "CNAME")) == ["host.x.test."]
    assert ask("loop.x.test").rcode() == dns.rcode.NOERROR


@pytest.mark.rfc("2308", "2")
def test_negative_answers_differ_and_carry_the_soa() -> None:
    missing, empty = ask("none.x.test"), ask("host.x.test", "MX")
    assert (missing.rcode(), empty.rcode()) == (dns.rcode.NXDOMAIN, dns.rcode.NOERROR)
    assert [len(missing.authority), len(empty.authority)] == [1, 1]


def test_addresses_have_names() -> None:
    assert texts(ask("1.2.0.192.in-addr.arpa", "PTR")) == ["host.x.test."]


@pytest.mark.rfc("2181", "9")
@pytest.mark.rfc("6891", "6.2.5")
def test_large_answers_are_truncated_as_the_client_allows() -> None:
    plain = ask("big.x.test", "TXT")
    assert plain.flags & dns.flags.TC
    assert len(plain.to_wire()) <= 512
    assert len(ask("big.x.test", "TXT", use_edns=0, payload=9000).to_wire()) <= names.UDP_EDNS
    whole = ask("big.x.test", "TXT", limit=65_535)
    assert not whole.flags & dns.flags.TC
    assert len(texts(whole)) == 40


@pytest.mark.parametrize(
    ("data", "counter", "answered"),
    [
        (b"", "dns.malformed", False),
        (bytes(11), "dns.malformed", False),
        (b"\0\7" + bytes(2) + b"\0\1" + bytes(6), "dns.malformed", True),
        (b"\0\7\x80" + bytes(9), "dns.not_a_query", False),
        (b"\0\7\0\0\0\1" + bytes(6) + b"\xc0\x0c\0\1\0\1", "dns.malformed", True),
        (b"\0\7\0\0\0\1" + bytes(6) + b"\x3f", "dns.malformed", True),
    ],
)
def test_malformed_queries_are_counted(data: bytes, counter: str, answered: bool) -> None:
    counters = Counters()
    answer = names.respond(zone(), data, 0, counters)
    assert (answer is not None) is answered
    assert counters.get(counter) == 1
    if answer is not None:
        assert dns.message.from_wire(answer).rcode() == dns.rcode.FORMERR


@given(
    st.binary(max_size=100) | st.binary(max_size=60).map(lambda b: b"\0\7\1\0\0\1" + bytes(6) + b)
)
def test_no_bytes_break_the_server(data: bytes) -> None:
    names.respond(zone(), data, 0, Counters())


def test_other_operations_and_classes_are_refused() -> None:
    query = dns.message.make_query("host.x.test", "A", rdclass="CH", id=7)
    wire = names.respond(zone(), query.to_wire(), 0, Counters())
    assert wire is not None
    assert dns.message.from_wire(wire).rcode() == dns.rcode.REFUSED


def test_a_bad_record_is_named() -> None:
    with pytest.raises(ValueError, match=r"bad\.test A"):
        names.Zone({"bad.test": {"A": "192.0.2.300"}})


def resolve(body: Callable[[StubResolver], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with await names.start(zone(), 0, HERE) as service:
            resolver = StubResolver(["127.0.0.1"], Rng(1), port=service.port)
            async with asyncio.timeout(20):
                await body(resolver)

    asyncio.run(main())


def test_the_resolver_resolves() -> None:
    async def body(resolver: StubResolver) -> None:
        assert await resolver.addresses("www.x.test") == ["192.0.2.1", "2001:db8::1"]
        assert await resolver.addresses("x.test") == []
        assert await resolver.name_of("2001:db8::1") == "host.x.test"
        assert await resolver.name_of("192.0.2.9") is None
        with pytest.raises(ResolutionError, match="does not exist") as caught:
            await resolver.addresses("none.x.test")
        assert caught.value.rcode == dns.rcode.NXDOMAIN

    resolve(body)


def test_a_truncated_answer_comes_again_over_tcp() -> None:
    async def body(resolver: StubResolver) -> None:
        answer = await resolver.query("big.x.test", "TXT")
        assert len(texts(answer)) == 40

    resolve(body)


def test_answers_are_remembered() -> None:
    async def body(resolver: StubResolver) -> None:
        first = await resolver.query("host.x.test")
        assert await resolver.query("HOST.x.test.") is first

    resolve(body)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capas.application.resolver.CACHE_LIMIT", 3)

    async def body(resolver: StubResolver) -> None:
        for number in range(10):  # names that do not exist are remembered, too (RFC 2308)
            with pytest.raises(ResolutionError):
                await resolver.addresses(f"n{number}.x.test", ["A"])
        first = await resolver.query("host.x.test")
        assert len(resolver._cache) == 3
        assert await resolver.query("host.x.test") is first

    resolve(body)


def test_no_server_is_an_error() -> None:
    async def main() -> None:
        with await names.start(zone(), 0, HERE) as service:
            port = service.port
        resolver = StubResolver(["127.0.0.1"], Rng(1), port=port, timeout=0.05, attempts=1)
        with pytest.raises(ResolutionError, match="did not resolve"):
            await resolver.query("host.x.test")

    asyncio.run(main())
