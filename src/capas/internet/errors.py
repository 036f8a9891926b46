# SPDX-License-Identifier: Apache-2.0
"""ICMP errors received: the quoted packet must be one of ours, then its transport is told.

RFC 1122 §3.2.2, RFC 4443 §2.4 (d), RFC 5927 §4, RFC 8201 §4.  Everything here is untrusted: anybody
can send an error.  The IP level checks that the quoted source is an address of this host and that a
transport is registered; path MTUs are learnt here and taken back if the transport answers False
(the quoted packet is none it has sent).  Failures found on this host take the same way up.
"""

from typing import final

from capas.base.frame import Frame
from capas.internet import types as kinds
from capas.internet.ipv4 import Ipv4
from capas.internet.ipv6 import Ipv6
from capas.internet.shared import UNICAST, Shared
from capas.internet.types import IcmpError, RedirectReceiver
from capas.link.interface import Interface
from capas.wire import icmp as wire
from capas.wire import ipv6 as wire6
from capas.wire.address import is_loopback
from capas.wire.icmp import Message
from capas.wire.ipv4 import OFFSET_MASK

_UNREACHABLE4 = {
    0: kinds.UNREACHABLE_NET,
    1: kinds.UNREACHABLE_HOST,
    2: kinds.UNREACHABLE_PROTO,
    3: kinds.UNREACHABLE_PORT,
    4: kinds.PACKET_TOO_BIG,
    5: kinds.SOURCE_ROUTE_FAILED,
    6: kinds.UNREACHABLE_NET,
    7: kinds.UNREACHABLE_HOST,
    8: kinds.UNREACHABLE_HOST,
    9: kinds.ADMIN,
    10: kinds.ADMIN,
    11: kinds.UNREACHABLE_NET,
    12: kinds.UNREACHABLE_HOST,
    13: kinds.ADMIN,
    14: kinds.ADMIN,
    15: kinds.ADMIN,
}
_UNREACHABLE6 = {
    0: kinds.UNREACHABLE_NET,
    1: kinds.ADMIN,
    2: kinds.SCOPE,
    3: kinds.UNREACHABLE_HOST,
    4: kinds.UNREACHABLE_PORT,
    5: kinds.REJECT,
    6: kinds.REJECT,
}
_PROBLEM6 = {
    0: kinds.PARAMETER_PROBLEM,
    1: kinds.UNKNOWN_NEXT_HEADER,
    2: kinds.UNKNOWN_OPTION,
    3: kinds.INCOMPLETE_CHAIN,
}


@final
class ErrorsIn:
    """Validates ICMP errors and hands them to transports."""

    __slots__ = ("_ipv4", "_ipv6", "_shared", "redirects")

    def __init__(self, shared: Shared, ipv4: Ipv4, ipv6: Ipv6) -> None:
        self._shared: Shared = shared
        self._ipv4: Ipv4 = ipv4
        self._ipv6: Ipv6 = ipv6
        self.redirects: RedirectReceiver | None = None

    def receive4(
        self, interface: Interface, frame: Frame, l3: int, message: Message, now: int
    ) -> None:
        """An ICMPv4 error or redirect with a good checksum."""
        shared = self._shared
        quoted = message.body
        header = (quoted[0] & 15) * 4 if len(quoted) >= 20 else 0
        length = quoted[2] << 8 | quoted[3] if header else 0
        if header < 20 or quoted[0] >> 4 != 4 or len(quoted) < min(max(length, header), header + 8):
            shared.drop(now, "icmp.bad_quote", "RFC 1122 §3.2.2")
            return
        src, dst = quoted[12:16], quoted[16:20]
        if not self._ours(src):
            shared.drop(now, "icmp.quote_not_ours", "RFC 5927 §4.1")
            return
        if (quoted[6] << 8 | quoted[7]) & OFFSET_MASK:
            shared.counters.add("icmp.quote_fragment")
            return
        reporter = frame.data[l3 + 12 : l3 + 16]
        if message.type == wire.REDIRECT:
            if self.redirects is not None:
                self.redirects.redirected4(
                    interface, reporter, message.rest, dst, message.code, now
                )
            return
        kind, mtu = self._kind4(message)
        if kind == 0:
            shared.counters.add("icmp.unknown_code")
            return
        error = IcmpError(
            kind,
            message.type,
            message.code,
            src,
            dst,
            reporter,
            quoted[9],
            quoted[header:],
            mtu,
            message.rest[0] if kind == kinds.PARAMETER_PROBLEM else 0,
            frame.data[l3 + 8],
        )
        self._dispatch(error, length, now)

    @staticmethod
    def _kind4(message: Message) -> tuple[int, int]:
        """(kind, MTU) of an ICMPv4 error; kind 0 if there is no such code."""
        kind, code = message.type, message.code
        if kind == wire.UNREACHABLE:
            found = _UNREACHABLE4.get(code, 0)
            mtu = message.word & 0xFFFF if found == kinds.PACKET_TOO_BIG else 0
            return found, mtu
        if kind == wire.TIME_EXCEEDED:
            return (kinds.TIME_EXCEEDED, kinds.REASSEMBLY_EXCEEDED, 0)[min(code, 2)], 0
        if kind == wire.PARAMETER_PROBLEM:
            return kinds.PARAMETER_PROBLEM if code <= 2 else 0, 0
        return kinds.SOURCE_QUENCH if kind == wire.SOURCE_QUENCH else 0, 0

    def receive6(
        self, interface: Interface, frame: Frame, l3: int, message: Message, now: int
    ) -> None:
        """An ICMPv6 error with a good checksum."""
        shared = self._shared
        quoted = message.body
        length = 40 + (quoted[4] << 8 | quoted[5]) if len(quoted) >= 40 else 48
        if len(quoted) < min(length, 48) or quoted[0] >> 4 != 6:
            shared.drop(now, "icmp.bad_quote", "RFC 4443 §2.4")
            return
        src, dst = quoted[8:24], quoted[24:40]
        if not self._ours(src):
            shared.drop(now, "icmp.quote_not_ours", "RFC 5927 §4.1")
            return
        limit = shared.config.extension_headers
        walked = wire6.chain(quoted, quoted[6], 40, len(quoted), limit)
        if walked is None:
            shared.drop(now, "icmp.bad_quote", "RFC 4443 §2.4")
            return
        headers, protocol, at = walked
        for header, place in headers:
            if header == wire6.FRAGMENT and (quoted[place + 2] << 8 | quoted[place + 3]) & 0xFFF8:
                shared.counters.add("icmp.quote_fragment")
                if message.type != wire.PACKET_TOO_BIG6:
                    return
                protocol = -1  # its transport cannot be told, the path MTU holds all the same
        kind = self._kind6(message)
        if kind == 0:
            shared.counters.add("icmp.unknown_code")
            return
        error = IcmpError(
            kind,
            message.type,
            message.code,
            src,
            dst,
            frame.data[l3 + 8 : l3 + 24],
            protocol,
            quoted[at:],
            message.word if kind == kinds.PACKET_TOO_BIG else 0,
            message.word if message.type == wire.PARAMETER_PROBLEM6 else 0,
            frame.data[l3 + 7],
        )
        self._dispatch(error, length, now)

    @staticmethod
    def _kind6(message: Message) -> int:
        kind, code = message.type, message.code
        if kind == wire.UNREACHABLE6:
            return _UNREACHABLE6.get(code, 0)
        if kind == wire.PACKET_TOO_BIG6:
            return kinds.PACKET_TOO_BIG  # the code is ignored, RFC 4443 §3.2
        if kind == wire.TIME_EXCEEDED6:
            return (kinds.TIME_EXCEEDED, kinds.REASSEMBLY_EXCEEDED, 0)[min(code, 2)]
        if kind == wire.PARAMETER_PROBLEM6:
            return _PROBLEM6.get(code, 0)
        return 0

    def _ours(self, address: bytes) -> bool:
        return self._shared.local.get(address) == UNICAST or is_loopback(address)

    def _dispatch(self, error: IcmpError, length: int, now: int) -> None:
        """Learn a path MTU, then tell the transport."""
        shared = self._shared
        shared.counters.add("icmp.errors_received")
        dst = error.dst
        if error.kind == kinds.SOURCE_QUENCH:
            return  # RFC 6633 §3
        protocols = self._ipv4.protocols if len(dst) == 4 else self._ipv6.protocols
        handler = protocols.get(error.protocol)
        if error.kind != kinds.PACKET_TOO_BIG:
            if handler is not None:
                handler.icmp_error(error, now)
            return
        route = shared.routes.lookup(dst)
        if route is None:
            return
        limit = shared.link_mtu(route)
        before = shared.pmtu.entries.get(dst)
        mtu = shared.pmtu.learned(dst, error.mtu, length, limit, now)
        if mtu == 0:
            return
        error.mtu = mtu
        if handler is not None and handler.icmp_error(error, now) is False:
            shared.counters.add("icmp.pmtu_rejected")
            shared.pmtu.restore(dst, before)
        elif shared.pmtu.entries.get(dst) is not before:  # not the same said again
            shared.routes.changed()
            if shared.trace is not None:
                shared.trace.decided(now, "ip.pmtu", f"path MTU is now {mtu}")

    def local_failure(self, packet: bytes, kind: int, now: int) -> bool:
        """Tell the transport that a packet of ours (from its IP header on) cannot go.

        False if the packet is not ours (it was being forwarded).
        """
        if packet[0] >> 4 == 4:
            src, dst, protocol = packet[12:16], packet[16:20], packet[9]
            at = (packet[0] & 15) * 4
            handler = self._ipv4.protocols.get(protocol)
        else:
            src, dst = packet[8:24], packet[24:40]
            walked = wire6.chain(packet, packet[6], 40, len(packet))
            if walked is None:
                return False
            _, protocol, at = walked
            handler = self._ipv6.protocols.get(protocol)
        if not self._ours(src):
            return False
        if handler is not None:
            self._shared.counters.add("icmp.local_failures")
            handler.icmp_error(
                IcmpError(kind, 0, 0, src, dst, src, protocol, packet[at : at + 512]), now
            )
        return True
