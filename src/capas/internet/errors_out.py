# SPDX-License-Identifier: Apache-2.0
"""ICMP errors sent, both families: when to keep silent, what to quote, how many a second.

RFC 1122 §3.2.2, RFC 1812 §4.3.2, RFC 4443 §2.4.
"""

from typing import Final, final

from capas.base.clock import SECOND
from capas.base.frame import GSO_UDP_L4, Frame
from capas.internet import source
from capas.internet import types as kinds
from capas.internet.ipv4 import Ipv4
from capas.internet.ipv6 import Ipv6
from capas.internet.shared import UNICAST, Shared
from capas.link.interface import Interface
from capas.wire import icmp as wire
from capas.wire import ipv4 as wire4
from capas.wire import ipv6 as wire6
from capas.wire.icmp import ICMP, ICMPV6, Message

QUOTE4: Final = 576 - 28  # bytes of the offending packet, RFC 1812 §4.3.2.3
QUOTE6: Final = 1280 - 48  # RFC 4443 §2.4 (c)
TOS_CONTROL: Final = 0xC0  # precedence internetwork control, RFC 1812 §4.3.2.5

#: (type, code) by kind.
TYPES4: Final[dict[int, tuple[int, int]]] = {
    kinds.UNREACHABLE_NET: (3, 0),
    kinds.UNREACHABLE_HOST: (3, 1),
    kinds.UNREACHABLE_PROTO: (3, 2),
    kinds.UNREACHABLE_PORT: (3, 3),
    kinds.PACKET_TOO_BIG: (3, 4),
    kinds.SOURCE_ROUTE_FAILED: (3, 5),
    kinds.ADMIN: (3, 13),
    kinds.TIME_EXCEEDED: (11, 0),
    kinds.REASSEMBLY_EXCEEDED: (11, 1),
    kinds.PARAMETER_PROBLEM: (12, 0),
}
TYPES6: Final[dict[int, tuple[int, int]]] = {
    kinds.UNREACHABLE_NET: (1, 0),
    kinds.ADMIN: (1, 1),
    kinds.SCOPE: (1, 2),
    kinds.UNREACHABLE_HOST: (1, 3),
    kinds.UNREACHABLE_PORT: (1, 4),
    kinds.REJECT: (1, 6),
    kinds.PACKET_TOO_BIG: (2, 0),
    kinds.TIME_EXCEEDED: (3, 0),
    kinds.REASSEMBLY_EXCEEDED: (3, 1),
    kinds.PARAMETER_PROBLEM: (4, 0),
    kinds.UNKNOWN_NEXT_HEADER: (4, 1),
    kinds.UNREACHABLE_PROTO: (4, 1),
    kinds.UNKNOWN_OPTION: (4, 2),
    kinds.INCOMPLETE_CHAIN: (4, 3),
}


@final
class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` saved up."""

    __slots__ = ("_tokens", "_updated")

    def __init__(self) -> None:
        self._tokens: int = -1  # in 1/SECOND; -1: not yet used
        self._updated: int = 0

    def take(self, rate: int, burst: int, now: int) -> bool:
        """Whether one more may go now."""
        limit = burst * SECOND
        if self._tokens < 0:
            self._tokens = limit
        else:
            self._tokens = min(limit, self._tokens + (now - self._updated) * rate)
        self._updated = now
        if self._tokens < SECOND:
            return False
        self._tokens -= SECOND
        return True


@final
class ErrorsOut:
    """Sends ICMP errors about received packets."""

    __slots__ = ("_ipv4", "_ipv6", "_shared", "bucket")

    def __init__(self, shared: Shared, ipv4: Ipv4, ipv6: Ipv6) -> None:
        self._shared: Shared = shared
        self._ipv4: Ipv4 = ipv4
        self._ipv6: Ipv6 = ipv6
        self.bucket: TokenBucket = TokenBucket()

    def error(
        self, interface: Interface, frame: Frame, l3: int, kind: int, now: int, info: int = 0
    ) -> None:
        """Answer the packet at ``frame.data[l3:]`` with an error, if the rules allow one.

        ``info``: the MTU (PACKET_TOO_BIG) or the pointer from the IP header (parameter problems).
        """
        if frame.data[l3] >> 4 == 4:
            self._error4(interface, frame, l3, kind, now, info)
        else:
            self._error6(interface, frame, l3, kind, now, info)

    def _error4(
        self, interface: Interface, frame: Frame, l3: int, kind: int, now: int, info: int
    ) -> None:
        shared = self._shared
        data = frame.data
        src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
        found = TYPES4.get(kind)
        if found is None or not self._may_answer4(interface, frame, l3, src, dst):
            shared.counters.add("icmp.error_forbidden")
            return
        route = shared.routes.lookup(src)
        if route is None:
            shared.counters.add("icmp.error_no_route")
            return
        own = dst if self._ipv4.local(dst) else source.select(shared, src, route)
        if own is None or not self.allowed(now):
            return
        if kind == kinds.PARAMETER_PROBLEM:
            rest = bytes((info & 0xFF, 0, 0, 0))
        else:
            rest = info.to_bytes(4, "big") if info else b"\0\0\0\0"
        body = quote(frame, l3, QUOTE4)
        message = Message(found[0], found[1], rest, body).build()
        shared.counters.add("icmp.errors_sent")
        if shared.trace is not None:
            shared.trace.decided(now, "icmp.error", kinds.KIND_NAMES[kind])
        self._ipv4.send(route, own, src, ICMP, (message,), None, now, 0, TOS_CONTROL, False)

    def _may_answer4(
        self, interface: Interface, frame: Frame, l3: int, src: bytes, dst: bytes
    ) -> bool:
        """RFC 1122 §3.2.2, RFC 1812 §4.3.2.7."""
        data = frame.data
        if l3 and interface.is_group_frame(frame):
            return False
        if src[0] in (0, 127) and interface is not self._shared.loopback:
            return False
        if src[0] >= 224 or src[0] == 0 or self._shared.local.get(src, UNICAST) != UNICAST:
            return False
        if dst[0] >= 224 or self._shared.local.get(dst, UNICAST) != UNICAST:
            return False
        if (data[l3 + 6] << 8 | data[l3 + 7]) & wire4.OFFSET_MASK:
            return False
        at = l3 + (data[l3] & 15) * 4
        return not wire.is_error(data, data[l3 + 9], at, len(data))

    def _error6(
        self, interface: Interface, frame: Frame, l3: int, kind: int, now: int, info: int
    ) -> None:
        shared = self._shared
        data = frame.data
        src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
        found = TYPES6.get(kind)
        if found is None or not self._may_answer6(interface, frame, l3, kind, src, dst):
            shared.counters.add("icmp.error_forbidden")
            return
        link_local = src[0] == 0xFE and src[1] & 0xC0 == 0x80
        route = shared.routes.lookup(src, interface.index if link_local else 0)
        if route is None:
            shared.counters.add("icmp.error_no_route")
            return
        own = dst if self._ipv6.local(dst) else source.select(shared, src, route)
        if own is None or not self.allowed(now):
            return
        message = Message(
            found[0], found[1], info.to_bytes(4, "big"), quote(frame, l3, QUOTE6)
        ).build6(own, src)
        shared.counters.add("icmp.errors_sent")
        if shared.trace is not None:
            shared.trace.decided(now, "icmp.error", kinds.KIND_NAMES[kind])
        self._ipv6.send(route, own, src, ICMPV6, (message,), None, now)

    def _may_answer6(
        self,
        interface: Interface,
        frame: Frame,
        l3: int,
        kind: int,
        src: bytes,
        dst: bytes,
    ) -> bool:
        """RFC 4443 §2.4 (e)."""
        data = frame.data
        group = dst[0] == 0xFF or (l3 > 0 and interface.is_group_frame(frame))
        if group and kind not in (kinds.PACKET_TOO_BIG, kinds.UNKNOWN_OPTION):
            return False
        if src[0] == 0xFF or src == bytes(16):
            return False
        end = min(len(data), l3 + 40 + (data[l3 + 4] << 8 | data[l3 + 5]))
        walked = wire6.chain(data, data[l3 + 6], l3 + 40, end)
        if walked is None:
            return True
        headers, protocol, at = walked
        for header, place in headers:
            if header == wire6.FRAGMENT and (data[place + 2] << 8 | data[place + 3]) & 0xFFF8:
                return kind == kinds.PARAMETER_PROBLEM  # RFC 8200 §4.5: about the fragment itself
        return not wire.is_error(data, protocol, at, end)

    def allowed(self, now: int) -> bool:
        """Whether the rate limit lets one more message out (RFC 4443 §2.4 f, RFC 1812 §4.3.2.8)."""
        config = self._shared.config
        if self.bucket.take(config.icmp_rate, config.icmp_burst, now):
            return True
        self._shared.counters.add("icmp.rate_limited")
        return False


def quote(frame: Frame, l3: int, limit: int) -> bytes:
    """The start of the offending packet, at most ``limit`` bytes.

    Of a super-frame the first packet it would have become on the wire.
    """
    data = frame.data
    if data[l3] >> 4 == 4:
        header = (data[l3] & 15) * 4
        total = data[l3 + 2] << 8 | data[l3 + 3]
        if frame.gso_size == 0:
            return data[l3 : l3 + min(total, limit)]
        l4 = l3 + header
        total = min(total, header + _transport_header(frame, l4) + frame.gso_size)
        head = wire4.with_checksum(
            data[l3 : l3 + 2]
            + total.to_bytes(2, "big")
            + data[l3 + 4 : l3 + 10]
            + b"\0\0"
            + data[l3 + 12 : l4]
        )
        return head + data[l4 : l3 + min(total, limit)]
    total = 40 + (data[l3 + 4] << 8 | data[l3 + 5])
    if frame.gso_size == 0:
        return data[l3 : l3 + min(total, limit)]
    l4 = frame.csum_start or l3 + 40
    total = min(total, l4 - l3 + _transport_header(frame, l4) + frame.gso_size)
    length = (total - 40).to_bytes(2, "big")
    return data[l3 : l3 + 4] + length + data[l3 + 6 : l3 + min(total, limit)]


def _transport_header(frame: Frame, l4: int) -> int:
    """Bytes of the transport header repeated in every segment of a super-frame."""
    return 8 if frame.gso_type == GSO_UDP_L4 else (frame.data[l4 + 12] >> 4) * 4
