# SPDX-License-Identifier: Apache-2.0
"""A stub resolver (RFC 1034 §5.3.1, RFC 1123 §6.1).  The messages are dnspython's.

It asks its name servers in turn, again with doubled patience (RFC 1123 §6.1.3.3), falls back to TCP
when an answer is truncated, and keeps answers for their TTL in a bounded cache.  A host without
name servers has its hosts table, which needs no library.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.reversename

from capas.application.names import PORT, UDP_EDNS
from capas.base.rng import Rng
from capas.errors import CapasError

CACHE_LIMIT: Final = 1024  # answers
TIMEOUT: Final = 5.0  # seconds until the first retry, Linux RES_TIMEOUT
ATTEMPTS: Final = 3  # rounds over all servers


class ResolutionError(CapasError, OSError):
    """A name that did not resolve; ``rcode`` is the DNS response code, -1 without any answer."""

    def __init__(self, text: str, rcode: int = -1) -> None:
        super().__init__(text)
        self.rcode = rcode


class _Exchange(asyncio.DatagramProtocol):
    """One UDP question: the first acceptable answer, or an error."""

    def __init__(self, query: dns.message.Message) -> None:
        self._query = query
        self.answer: asyncio.Future[dns.message.Message] = (
            asyncio.get_running_loop().create_future()
        )

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        try:
            answer = dns.message.from_wire(data, ignore_trailing=True)
        except Exception:  # a forged or damaged answer: wait for the true one (RFC 5452 §9.1)
            return
        if self._query.is_response(answer) and not self.answer.done():
            self.answer.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


class StubResolver:
    """Asks name servers; ``rng`` draws the message ids (unpredictable, RFC 5452 §4.3)."""

    def __init__(
        self,
        nameservers: Sequence[str],
        rng: Rng,
        *,
        timeout: float = TIMEOUT,
        attempts: int = ATTEMPTS,
        port: int = PORT,
    ) -> None:
        if not nameservers:
            raise ValueError("a stub resolver needs at least one name server")
        self.nameservers = list(nameservers)
        self.timeout = timeout
        self.attempts = attempts
        self.port = port
        self._rng = rng
        self._cache: dict[tuple[str, int], tuple[float, dns.message.Message]] = {}

    async def query(self, name: str, kind: str = "A") -> dns.message.Message:
        """The response to one question; raises ResolutionError when no server answers."""
        rdtype = dns.rdatatype.from_text(kind)
        loop = asyncio.get_running_loop()
        key = (name.lower().rstrip("."), int(rdtype))
        cached = self._cache.get(key)
        if cached is not None and cached[0] > loop.time():
            return cached[1]
        answer = await self._ask(name, rdtype)
        self._remember(key, answer, loop.time())
        return answer

    def _remember(self, key: tuple[str, int], answer: dns.message.Message, now: float) -> None:
        ttls = [rrset.ttl for rrset in (*answer.answer, *answer.authority)]
        if not ttls or answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return
        if len(self._cache) >= CACHE_LIMIT:
            del self._cache[next(iter(self._cache))]  # the oldest
        self._cache[key] = (now + min(ttls), answer)

    async def _ask(self, name: str, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        reason: str = "no answer"
        patience = self.timeout
        for _ in range(self.attempts):
            for server in self.nameservers:
                message_id = self._rng.u16()
                query = dns.message.make_query(
                    name, rdtype, id=message_id, use_edns=0, payload=UDP_EDNS
                )
                try:
                    answer = await self._once(query, server, patience)
                except TimeoutError:
                    reason = f"{server} did not answer"
                    continue
                except OSError as error:
                    reason = f"{server}: {error.strerror or error}"
                    continue
                if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    return answer
                reason = f"{server} says {dns.rcode.to_text(answer.rcode())}"
            patience *= 2
        raise ResolutionError(f"{name} did not resolve: {reason}")

    async def _once(
        self, query: dns.message.Message, server: str, patience: float
    ) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        transport, exchange = await loop.create_datagram_endpoint(
            lambda: _Exchange(query), remote_addr=(server, self.port)
        )
        try:
            transport.sendto(query.to_wire())
            async with asyncio.timeout(patience):
                answer = await exchange.answer
        finally:
            transport.close()
        if answer.flags & dns.flags.TC:
            async with asyncio.timeout(patience):
                answer = await self._over_tcp(query, server)
        return answer

    async def _over_tcp(self, query: dns.message.Message, server: str) -> dns.message.Message:
        reader, writer = await asyncio.open_connection(server, self.port)
        try:
            wire = query.to_wire()
            writer.write(len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = dns.message.from_wire(await reader.readexactly(size))
        except (asyncio.IncompleteReadError, dns.exception.DNSException, ValueError) as error:
            raise OSError(f"a broken answer over TCP: {error}") from None
        finally:
            writer.close()
        if not query.is_response(answer):
            raise OSError("an answer to another question")
        return answer

    async def addresses(self, name: str, kinds: Sequence[str] = ("A", "AAAA")) -> list[str]:
        """The addresses of ``name``, maybe none; ResolutionError if the name does not exist."""
        answers = await asyncio.gather(*(self.query(name, kind) for kind in kinds))
        if any(answer.rcode() == dns.rcode.NXDOMAIN for answer in answers):
            raise ResolutionError(f"{name} does not exist", int(dns.rcode.NXDOMAIN))
        wanted = [dns.rdatatype.from_text(kind) for kind in kinds]
        return [
            record.address
            for answer in answers
            for rrset in answer.answer
            if rrset.rdtype in wanted
            for record in rrset
        ]

    async def name_of(self, address: str) -> str | None:
        """The name an address has by its PTR record, None if there is none."""
        try:
            answer = await self.query(dns.reversename.from_address(address).to_text(), "PTR")
        except ResolutionError:
            return None
        for rrset in answer.answer:
            if rrset.rdtype == dns.rdatatype.PTR:
                return str(rrset[0].target.to_text(omit_final_dot=True))
        return None
