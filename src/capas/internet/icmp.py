# SPDX-License-Identifier: Apache-2.0
"""ICMP for both families: errors sent, echo answered, messages dispatched.

RFC 792, RFC 1122 §3.2.2, RFC 1812 §4.3, RFC 4443.  Errors obey the rules on when to keep silent
and one token bucket per host (`errors_out`).  Errors received are in `errors`, echo sessions
in `echo`; neighbour discovery and MLD register in ``handlers6``, IGMP is a protocol.
"""

import errno
from typing import Protocol, final

from capas.base.checksum import ones_sum
from capas.base.clock import MS
from capas.base.frame import CSUM_NONE, Frame
from capas.internet import options4, source
from capas.internet.echo import REPLY, EchoResult, EchoSession, Readiness
from capas.internet.errors import ErrorsIn
from capas.internet.errors_out import ErrorsOut
from capas.internet.ipv4 import Ipv4
from capas.internet.ipv6 import Ipv6
from capas.internet.route import Route
from capas.internet.shared import UNICAST, Shared
from capas.internet.types import UNREACHABLE_HOST, IcmpError, TransportHandler
from capas.link.interface import Interface
from capas.wire import icmp as wire
from capas.wire import ipv4 as wire4
from capas.wire.icmp import ICMP, ICMPV6, Message


class MessageHandler(Protocol):
    """Takes ICMPv6 messages of some types (ND, MLD), checksum verified."""

    def message(
        self, interface: Interface, frame: Frame, l3: int, l4: int, message: Message, now: int
    ) -> None:
        """A message addressed to us; the body is untrusted."""


@final
class Icmp(TransportHandler):
    """ICMP of one host; the handler of protocols 1 and 58."""

    __slots__ = (
        "errors_in",
        "errors_out",
        "handlers6",
        "ipv4",
        "ipv6",
        "sessions",
        "shared",
    )

    def __init__(self, shared: Shared, ipv4: Ipv4, ipv6: Ipv6) -> None:
        self.shared: Shared = shared
        self.ipv4: Ipv4 = ipv4
        self.ipv6: Ipv6 = ipv6
        self.sessions: dict[int, EchoSession] = {}
        self.handlers6: dict[int, MessageHandler] = {}
        self.errors_out: ErrorsOut = ErrorsOut(shared, ipv4, ipv6)
        self.errors_in: ErrorsIn = ErrorsIn(shared, ipv4, ipv6)
        ipv4.protocols[ICMP] = self
        ipv6.protocols[ICMPV6] = self
        for ip in (ipv4, ipv6):
            ip.errors = self
            ip.reassembly.errors = self

    def source(self, dst: bytes, route: Route) -> bytes | None:
        """The address to send ICMP messages from."""
        return source.select(self.shared, dst, route)

    # -- errors -----------------------------------------------------------------------------------

    def error(
        self, interface: Interface, frame: Frame, l3: int, kind: int, now: int, info: int = 0
    ) -> None:
        """Answer the packet at ``frame.data[l3:]`` with an error, if the rules allow one.

        ``kind`` as in `capas.internet.types`; ``info``: the MTU (PACKET_TOO_BIG) or the pointer
        from the IP header (parameter problems).
        """
        self.errors_out.error(interface, frame, l3, kind, now, info)

    def unreachable(self, interface: Interface, packet: bytes, now: int) -> None:
        """The next hop of ``packet`` (from its IP header on) did not answer: `Interface` calls."""
        if self.errors_in.local_failure(packet, UNREACHABLE_HOST, now):
            return
        self.error(interface, Frame(packet, now), 0, UNREACHABLE_HOST, now)

    # -- messages in ------------------------------------------------------------------------------

    def receive(
        self, interface: Interface, frame: Frame, l3: int, l4: int, end: int, now: int
    ) -> None:
        """An ICMP message (untrusted) of the family the IP header at ``l3`` says."""
        data = frame.data
        v4 = data[l3] >> 4 == 4
        if end - l4 < 8:
            self.shared.drop(now, "icmp.truncated", "RFC 792")
            return
        if frame.csum == CSUM_NONE:
            pseudo = 0 if v4 else wire.pseudo6(data, l3, l4, end)
            if ones_sum(memoryview(data)[l4:end], pseudo) != 0xFFFF:
                self.shared.drop(now, "icmp.bad_checksum", "RFC 1122 §3.2.2")
                return
        message = Message.parse(data, l4, end, 0, False)
        assert message is not None
        if v4:
            self._receive4(interface, frame, l3, l4, message, now)
        else:
            self._receive6(interface, frame, l3, l4, message, now)

    def _receive4(
        self, interface: Interface, frame: Frame, l3: int, l4: int, message: Message, now: int
    ) -> None:
        kind = message.type
        if kind == wire.ECHO_REQUEST:
            self._answer4(interface, frame, l3, l4, message, now)
        elif kind == wire.ECHO_REPLY:
            self._echo_reply(frame.data[l3 + 12 : l3 + 16], frame.data[l3 + 8], message, now)
        elif kind in wire.ERRORS4:
            self.errors_in.receive4(interface, frame, l3, message, now)
        elif kind == wire.TIMESTAMP_REQUEST:
            self._answer4(interface, frame, l3, l4, message, now)
        else:
            self.shared.counters.add("icmp.unknown_type")

    def _receive6(
        self, interface: Interface, frame: Frame, l3: int, l4: int, message: Message, now: int
    ) -> None:
        kind = message.type
        handler = self.handlers6.get(kind)
        if handler is not None:
            handler.message(interface, frame, l3, l4, message, now)
        elif kind == wire.ECHO_REQUEST6:
            self._answer6(interface, frame, l3, message, now)
        elif kind == wire.ECHO_REPLY6:
            self._echo_reply(frame.data[l3 + 8 : l3 + 24], frame.data[l3 + 7], message, now)
        elif kind < 128:
            self.errors_in.receive6(interface, frame, l3, message, now)
        else:
            self.shared.counters.add("icmp.unknown_type")

    # -- echo -------------------------------------------------------------------------------------

    def _answer4(
        self, interface: Interface, frame: Frame, l3: int, l4: int, message: Message, now: int
    ) -> None:
        """Echo and timestamp replies (RFC 1122 §3.2.2.6, §3.2.2.8)."""
        shared = self.shared
        data = frame.data
        src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
        if dst[0] >= 224 or shared.local.get(dst, UNICAST) != UNICAST:
            shared.counters.add("icmp.echo_broadcast_ignored")
            return
        route = shared.routes.lookup(src)
        if route is None:
            shared.counters.add("icmp.echo_no_route")
            return
        options = data[l3 + 20 : l4]
        if options:
            found = wire4.options(options)
            if not isinstance(found, int):
                found = [f for f in found if f[0] in (wire4.RECORD_ROUTE, wire4.TIMESTAMP)]
                kept = options4.recorded(data[l3:l4], found, dst, now)
                options = bytes(kept[20:]) if kept is not None else options if found else b""
        if message.type == wire.ECHO_REQUEST:
            reply = Message(wire.ECHO_REPLY, 0, message.rest, message.body)
        elif len(message.body) >= 12:
            stamp = (now // MS & 0x7FFFFFFF | 0x80000000).to_bytes(4, "big")
            body = message.body[:4] + stamp + stamp
            reply = Message(wire.TIMESTAMP_REPLY, 0, message.rest, body)
        else:
            shared.drop(now, "icmp.truncated", "RFC 792")
            return
        shared.counters.add("icmp.echo_answered")
        tos = data[l3 + 1]
        self.ipv4.send(route, dst, src, ICMP, (reply.build(),), None, now, 0, tos, False, options)

    def _answer6(
        self, interface: Interface, frame: Frame, l3: int, message: Message, now: int
    ) -> None:
        """Echo reply (RFC 4443 §4.2)."""
        shared = self.shared
        data = frame.data
        src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
        if src == bytes(16):
            shared.drop(now, "icmp.echo_unspecified", "RFC 4443 §4.2")
            return
        if dst[0] == 0xFF and not shared.hears(interface.index, dst, src):
            shared.drop(now, "icmp.source_filtered", "RFC 3810 §4.2")
            return
        link_local = src[0] == 0xFE and src[1] & 0xC0 == 0x80
        route = shared.routes.lookup(src, interface.index if link_local else 0)
        own = dst if dst[0] != 0xFF or route is None else self.source(src, route)
        if route is None or own is None:
            shared.counters.add("icmp.echo_no_route")
            return
        tos = (data[l3] << 4 | data[l3 + 1] >> 4) & 0xFF
        reply = Message(wire.ECHO_REPLY6, 0, message.rest, message.body).build6(own, src)
        shared.counters.add("icmp.echo_answered")
        self.ipv6.send(route, own, src, ICMPV6, (reply,), None, now, 0, tos, False)

    def open_echo(self, endpoint: Readiness | None = None) -> EchoSession:
        """A session with an unused identifier; raises OSError when all are taken."""
        rng = self.shared.rng.stream("icmp.echo")
        first = rng.u16()
        for i in range(65536):
            identifier = (first + len(self.sessions) + i) & 0xFFFF
            if identifier not in self.sessions:
                session = EchoSession(self, identifier, endpoint)
                self.sessions[identifier] = session
                return session
        raise OSError(errno.EAGAIN, "no echo identifier is free")

    def _echo_reply(self, source: bytes, ttl: int, message: Message, now: int) -> None:
        session = self.sessions.get(message.identifier)
        if session is None:
            self.shared.counters.add("icmp.echo_unexpected")
            return
        session.arrived(
            EchoResult(source, REPLY, message.sequence, ttl, now, message.body, message.type)
        )

    def icmp_error(self, error: IcmpError, now: int) -> bool | None:
        """An error about one of our own ICMP messages: to its echo session."""
        quoted = error.quote
        if len(quoted) < 8 or quoted[0] not in (wire.ECHO_REQUEST, wire.ECHO_REQUEST6):
            return None
        session = self.sessions.get(quoted[4] << 8 | quoted[5])
        if session is None:
            return False
        session.arrived(
            EchoResult(
                error.reporter,
                error.kind,
                quoted[6] << 8 | quoted[7],
                error.ttl,
                now,
                quoted[8:],
                error.type,
                error.code,
                error.mtu,
            )
        )
        return None
