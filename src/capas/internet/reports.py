# SPDX-License-Identifier: Apache-2.0
"""The messages of a group's listener on their way out: IGMPv1-3 and MLDv1-2.

All leave with TTL or hop limit 1 and a router alert (RFC 2113, RFC 2711); reports of the newest
version go to the routers that know it, older ones to the group (RFC 3376 §4.2.14, §7.3).
"""

from typing import Final, final

from capas.internet.ipv4 import Ipv4
from capas.internet.ipv6 import Ipv6
from capas.internet.membership import reports
from capas.internet.options4 import primary
from capas.internet.route import Route
from capas.internet.shared import Shared
from capas.link.interface import TENTATIVE, Interface
from capas.wire import icmp
from capas.wire.address import ALL_ROUTERS6, ANY4, ANY6, Prefix, is_link_local
from capas.wire.icmp import ICMPV6, Message
from capas.wire.igmp import (
    IGMP,
    LEAVE,
    REPORT1,
    REPORT2,
    REPORT3,
    Igmp,
    Mld,
    Record,
    build_report2,
)
from capas.wire.ipv4 import ROUTER_ALERT_OPTION
from capas.wire.ipv6 import hop_by_hop

ALL_ROUTERS4: Final = b"\xe0\x00\x00\x02"
IGMP3_ROUTERS: Final = b"\xe0\x00\x00\x16"  # 224.0.0.22, RFC 3376 §4.2.14
MLD2_ROUTERS: Final = b"\xff\x02" + bytes(13) + b"\x16"  # RFC 3810 §5.2.14
_MLD_ALERT: Final = hop_by_hop(ICMPV6, b"\x05\x02\x00\x00")  # RFC 2711: value 0, MLD
_HEADERS4: Final = 20 + len(ROUTER_ALERT_OPTION) + 8  # bytes before the records of a report
_HEADERS6: Final = 40 + len(_MLD_ALERT) + 8


@final
class Reports:
    """Sends what interfaces have to say of their groups."""

    __slots__ = ("_ipv4", "_ipv6", "_shared")

    def __init__(self, shared: Shared, ipv4: Ipv4, ipv6: Ipv6) -> None:
        self._shared: Shared = shared
        self._ipv4: Ipv4 = ipv4
        self._ipv6: Ipv6 = ipv6

    def send(self, interface: Interface, size: int, records: list[Record], now: int) -> None:
        """Reports of IGMPv3 or MLDv2, as many as the MTU demands."""
        dst = IGMP3_ROUTERS if size == 4 else MLD2_ROUTERS
        room = self._shared.path_mtu(dst, Route(Prefix(dst, 8 * size), interface), now)
        if size == 4:
            for part in reports(records, size, room - _HEADERS4):
                self._count()
                message = Igmp(REPORT3, ANY4, 0, 3, part)
                self._send4(interface, dst, message, now)
            return
        for part in reports(records, size, room - _HEADERS6):
            self._count()
            rest, body = build_report2(part)
            self._send6(interface, dst, icmp.MLD2_REPORT, rest, body, now)

    def send_older(self, interface: Interface, group: bytes, version: int, now: int) -> None:
        """A report of IGMPv1, IGMPv2 or MLDv1."""
        self._count()
        if len(group) == 4:
            kind = REPORT1 if version == 1 else REPORT2
            self._send4(interface, group, Igmp(kind, group), now)
        else:
            self._send6(interface, group, icmp.MLD_REPORT, *Mld(group).build(), now)

    def send_leave(self, interface: Interface, group: bytes, now: int) -> None:
        """The end of a membership of IGMPv2 or MLDv1."""
        if len(group) == 4:
            self._send4(interface, ALL_ROUTERS4, Igmp(LEAVE, group), now)
        else:
            self._send6(interface, ALL_ROUTERS6, icmp.MLD_DONE, *Mld(group).build(), now)

    def _count(self) -> None:
        self._shared.counters.add("multicast.reports")

    def _send4(self, interface: Interface, dst: bytes, message: Igmp, now: int) -> None:
        route = Route(Prefix(dst, 32), interface)
        src = primary(interface)
        pieces = (message.build(),)
        options = ROUTER_ALERT_OPTION
        self._ipv4.send(route, src, dst, IGMP, pieces, None, now, 1, 0xC0, True, options, False)

    def _send6(
        self, interface: Interface, dst: bytes, kind: int, rest: bytes, body: bytes, now: int
    ) -> None:
        src = ANY6  # RFC 3590 §4, RFC 3810 §5.2.13: while there is no link-local address
        for own in interface.addresses:
            if is_link_local(own.address) and len(own.address) == 16 and own.state != TENTATIVE:
                src = own.address
                break
        data = Message(kind, 0, rest, body).build6(src, dst)
        route = Route(Prefix(dst, 128), interface)
        self._ipv6.send(route, src, dst, ICMPV6, (data,), None, now, 1, 0, True, _MLD_ALERT, False)
