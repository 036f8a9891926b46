# SPDX-License-Identifier: Apache-2.0
"""A DNS server on port 53, UDP and TCP (RFC 1034, RFC 1035).

The messages are dnspython's.  The server is authoritative for what its `Zone` holds and recurses
nowhere.  Answers over UDP fit 512 bytes or what the client's EDNS says (RFC 6891), else they are
truncated (TC) and the client comes again over TCP (RFC 7766).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from capas.application.serving import ANY, Service, listen_tcp, listen_udp
from capas.base.events import Counters

PORT: Final = 53
TTL: Final = 300  # seconds
UDP_PLAIN: Final = 512  # bytes of a UDP answer without EDNS, RFC 1035 §4.2.1
UDP_EDNS: Final = 1232  # bytes, DNS flag day 2020; fits IPv6's minimum MTU
TCP_IDLE: Final = 30.0  # seconds, RFC 7766 §6.2.3
CNAME_LIMIT: Final = 8

#: What a zone is written as: name -> type -> texts, e.g. {"www.example.": {"A": ["192.0.2.1"]}}.
Records = Mapping[str, Mapping[str, Sequence[str] | str]]


def _name(text: str, origin: dns.name.Name = dns.name.root) -> dns.name.Name:
    return dns.name.from_text(text, origin)


class Zone:
    """Records by name and type; names without a trailing dot are taken as absolute, too."""

    def __init__(self, records: Records, ttl: int = TTL) -> None:
        self.ttl = ttl
        self._sets: dict[dns.name.Name, dict[dns.rdatatype.RdataType, dns.rrset.RRset]] = {}
        self._apexes: list[dns.name.Name] = []
        for name, types in records.items():
            for kind, texts in types.items():
                self.add(name, kind, [texts] if isinstance(texts, str) else texts)

    def add(self, name: str, kind: str, texts: Sequence[str]) -> None:
        """Add records; a text dnspython cannot read raises ValueError with both in it."""
        owner = _name(name)
        try:
            rdtype = dns.rdatatype.from_text(kind)
            rrset = dns.rrset.from_text(owner, self.ttl, dns.rdataclass.IN, rdtype, *texts)
        except dns.exception.DNSException as error:
            raise ValueError(f"record {name} {kind} {list(texts)}: {error}") from None
        types = self._sets.setdefault(owner, {})
        if rdtype in types:
            for record in rrset:
                types[rdtype].add(record)
        else:
            types[rdtype] = rrset
        if rdtype == dns.rdatatype.SOA:
            self._apexes.append(owner)
        for above in _ancestors(owner):  # empty non-terminals exist, RFC 8020
            self._sets.setdefault(above, {})

    def add_host(self, name: str, addresses: Iterable[str]) -> None:
        """A and AAAA records of a host, and the PTR records back."""
        for address in addresses:
            self.add(name, "AAAA" if ":" in address else "A", [address])
            reverse = dns.reversename.from_address(address)
            self.add(reverse.to_text(), "PTR", [name if name.endswith(".") else name + "."])

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """The response to a well-formed query."""
        response = dns.message.make_response(query, our_payload=UDP_EDNS)
        response.flags |= dns.flags.AA
        if query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
            return response
        if len(query.question) != 1:
            response.set_rcode(dns.rcode.FORMERR)
            return response
        question = query.question[0]
        if question.rdclass not in (dns.rdataclass.IN, dns.rdataclass.ANY):
            response.set_rcode(dns.rcode.REFUSED)
            return response
        self._look_up(question.name, question.rdtype, response)
        return response

    def _look_up(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, response: dns.message.Message
    ) -> None:
        for _ in range(CNAME_LIMIT):
            types = self._sets.get(name)
            if types is None:
                if not response.answer:  # RFC 2308 §2.1
                    response.set_rcode(dns.rcode.NXDOMAIN)
                break
            if rdtype == dns.rdatatype.ANY:
                response.answer.extend(types.values())
                return
            if rdtype in types:
                response.answer.append(types[rdtype])
                return
            alias = types.get(dns.rdatatype.CNAME)
            if alias is None:
                break
            response.answer.append(alias)
            name = alias[0].target
        for apex in self._apexes:  # negative answers carry the SOA, RFC 2308 §2
            if name.is_subdomain(apex):
                response.authority.append(self._sets[apex][dns.rdatatype.SOA])
                return


def _ancestors(name: dns.name.Name) -> list[dns.name.Name]:
    found = []
    while len(name) > 2:  # neither the top-level domain nor the root
        name = name.parent()
        found.append(name)
    return found


def respond(zone: Zone, data: bytes, limit: int, counters: Counters) -> bytes | None:
    """The answer to the bytes of one query; None means no answer.  Never raises on bad input.

    ``limit`` is the largest answer of the transport; 0 means UDP, where EDNS decides.
    """
    try:
        query = dns.message.from_wire(data, ignore_trailing=True)
    except Exception:  # dnspython raises ValueError, struct.error and more beside DNSException
        counters.add("dns.malformed")
        return _format_error(data)
    if query.flags & dns.flags.QR:
        counters.add("dns.not_a_query")  # answering answers would loop
        return None
    if not limit:
        limit = max(UDP_PLAIN, min(query.payload, UDP_EDNS)) if query.edns >= 0 else UDP_PLAIN
    try:
        response = zone.answer(query)
        return response.to_wire(max_size=limit, prefer_truncation=True)
    except Exception:
        counters.add("dns.unanswerable")
        return _format_error(data)


def _format_error(data: bytes) -> bytes | None:
    """FORMERR with the query's id, if as much as the header is there and it was a query."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    flags = bytes((0x80 | (data[2] & 0x79), dns.rcode.FORMERR))
    return data[:2] + flags + bytes(8)


class _UdpServer(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def __init__(self, zone: Zone, counters: Counters) -> None:
        self._zone = zone
        self._counters = counters

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        answer = respond(self._zone, data, 0, self._counters)
        if answer is not None:
            self.transport.sendto(answer, addr)


class _TcpServer(asyncio.Protocol):
    """Messages with a two-byte length before each (RFC 1035 §4.2.2)."""

    transport: asyncio.Transport

    def __init__(self, zone: Zone, counters: Counters) -> None:
        self._zone = zone
        self._counters = counters
        self._buffer = bytearray()
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._rearm()

    def _rearm(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(TCP_IDLE, self.transport.close)

    def data_received(self, data: bytes) -> None:
        self._rearm()
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 2:
            end = 2 + int.from_bytes(buffer[:2], "big")
            if len(buffer) < end:
                return
            answer = respond(self._zone, bytes(buffer[2:end]), 65_535, self._counters)
            del buffer[:end]
            if answer is None:
                self.transport.close()
                return
            self.transport.write(len(answer).to_bytes(2, "big") + answer)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()


async def start(
    zone: Zone | Records,
    port: int = PORT,
    addresses: Sequence[str] = ANY,
    *,
    counters: Counters | None = None,
) -> Service:
    """Serve ``zone`` over UDP and TCP."""
    served = zone if isinstance(zone, Zone) else Zone(zone)
    count = counters if counters is not None else Counters()
    service = Service("domain", port)
    await listen_tcp(service, lambda: _TcpServer(served, count), port, addresses)
    await listen_udp(service, lambda: _UdpServer(served, count), service.port, addresses)
    return service
