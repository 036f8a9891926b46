# SPDX-License-Identifier: Apache-2.0
"""Echo sessions: ping and traceroute for programs on the host (RFC 792, RFC 4443 §4).

A session has an identifier of its own and sees the replies to, and the errors about, its requests
only.  Its queue is capped: what nobody reads is dropped and counted.
"""

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, final

from capas.wire.icmp import ECHO_REQUEST, ECHO_REQUEST6, ICMP, ICMPV6, echo

if TYPE_CHECKING:
    from capas.internet.icmp import Icmp

_READ: Final = 1  # capas.transport.endpoint.READ; that layer is above this one
REPLY: Final = 0  # EchoResult.kind of an answer; errors have the kinds of `capas.internet.types`
QUEUE: Final = 256  # results a session holds


class Readiness(Protocol):
    """What a session needs of an `Endpoint`."""

    def set_ready(self, bits: int) -> None:
        """Add readiness bits."""

    def clear(self, bits: int) -> None:
        """Remove readiness bits."""


@final
class EchoResult:
    """An answer to, or an error about, one request.

    ``kind``  `REPLY` or an error kind of `capas.internet.types`; ``source`` who sent it
    ``ttl``   of the packet that brought it; ``time`` ns of its arrival; ``size`` payload bytes
    ``type``, ``code``  as on the wire; ``mtu``: of PACKET_TOO_BIG; ``payload``: what came back
    """

    __slots__ = (
        "code",
        "kind",
        "mtu",
        "payload",
        "sequence",
        "size",
        "source",
        "time",
        "ttl",
        "type",
    )

    def __init__(
        self,
        source: bytes,
        kind: int,
        sequence: int,
        ttl: int,
        time: int,
        payload: bytes,
        type: int = 0,
        code: int = 0,
        mtu: int = 0,
    ) -> None:
        self.source: bytes = source
        self.kind: int = kind
        self.sequence: int = sequence
        self.ttl: int = ttl
        self.time: int = time
        self.payload: bytes = payload
        self.size: int = len(payload)
        self.type: int = type
        self.code: int = code
        self.mtu: int = mtu


@final
class EchoSession:
    """One program's echo requests; `Icmp.open_echo` makes it."""

    __slots__ = ("_icmp", "_results", "endpoint", "identifier")

    def __init__(self, icmp: "Icmp", identifier: int, endpoint: Readiness | None) -> None:
        self._icmp: Icmp = icmp
        self._results: deque[EchoResult] = deque()
        self.identifier: int = identifier
        self.endpoint: Readiness | None = endpoint

    def send(
        self,
        dst: bytes,
        sequence: int,
        payload: bytes,
        now: int,
        ttl: int = 0,
        interface_index: int = 0,
        df: bool = False,
        tos: int = 0,
    ) -> bool:
        """Send one request; False if there is no route, no source, or it could not leave."""
        icmp = self._icmp
        shared = icmp.shared
        route = shared.routes.lookup(dst, interface_index)
        src = icmp.source(dst, route) if route is not None else None
        if route is None or src is None:
            shared.counters.add("icmp.echo_no_route")
            return False
        sequence &= 0xFFFF
        if len(dst) == 4:
            data = echo(ECHO_REQUEST, self.identifier, sequence, payload).build()
            return icmp.ipv4.send(route, src, dst, ICMP, (data,), None, now, ttl, tos, df)
        data = echo(ECHO_REQUEST6, self.identifier, sequence, payload).build6(src, dst)
        return icmp.ipv6.send(route, src, dst, ICMPV6, (data,), None, now, ttl, tos, df)

    def receive(self) -> EchoResult | None:
        """The next result; None if there is none yet."""
        results = self._results
        if not results:
            return None
        result = results.popleft()
        if not results and self.endpoint is not None:
            self.endpoint.clear(_READ)
        return result

    def arrived(self, result: EchoResult) -> None:
        """A result for this session came in."""
        if len(self._results) >= QUEUE:
            self._icmp.shared.counters.add("icmp.echo_queue_full")
            return
        self._results.append(result)
        if self.endpoint is not None:
            self.endpoint.set_ready(_READ)

    def close(self) -> None:
        """Give the identifier back; later results are dropped."""
        self._icmp.sessions.pop(self.identifier, None)
