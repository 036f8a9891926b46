# SPDX-License-Identifier: Apache-2.0
"""Group membership, the host's part: IGMPv2 (RFC 2236) and MLDv1 (RFC 2710).

A membership is reported when it begins (twice), when a querier asks (after a random part of its
response time, unless another member answers first), and its end is announced if our report was the
last heard.  Queriers of IGMPv3 and MLDv2 understand these messages (RFC 3376 §7.3, RFC 3810 §8.3).
Groups all systems hold, and those of scope below link-local, are not reported.  Only Ethernet is
told: other media have nobody who forwards by it.
"""

import errno
from typing import Final, final

from capas.base.clock import NEVER, SECOND, Timer
from capas.base.frame import Frame
from capas.internet.ipv4 import Ipv4
from capas.internet.ipv6 import Ipv6
from capas.internet.options4 import primary
from capas.internet.route import Route
from capas.internet.shared import Shared
from capas.internet.types import IcmpError
from capas.link.interface import TENTATIVE, Interface
from capas.wire import icmp
from capas.wire.address import (
    ALL_NODES6,
    ALL_ROUTERS6,
    ALL_SYSTEMS4,
    ANY4,
    ANY6,
    Prefix,
    is_link_local,
    is_multicast,
)
from capas.wire.icmp import ICMPV6, Message
from capas.wire.igmp import (
    IGMP,
    LEAVE,
    QUERY,
    REPORT1,
    REPORT2,
    Igmp,
    Mld,
)
from capas.wire.ipv4 import ROUTER_ALERT_OPTION
from capas.wire.ipv6 import hop_by_hop

UNSOLICITED: Final = 10 * SECOND  # Unsolicited Report Interval, RFC 2236 §8.10, RFC 2710 §7.10
V1_TIMEOUT: Final = 400 * SECOND  # Version 1 Router Present Timeout, RFC 2236 §8.11
ALL_ROUTERS4: Final = b"\xe0\x00\x00\x02"
_MLD_ALERT: Final = hop_by_hop(ICMPV6, b"\x05\x02\x00\x00")  # RFC 2711: value 0, MLD


@final
class Membership(Timer):
    """One group on one interface; fires when a report is due."""

    __slots__ = ("group", "interface", "last_reporter", "owner", "unsolicited")

    def __init__(self, owner: "Multicast", interface: Interface, group: bytes) -> None:
        super().__init__()
        self.owner: Multicast = owner
        self.interface: Interface = interface
        self.group: bytes = group
        self.unsolicited: int = 0  # reports still to be sent unasked
        self.last_reporter: bool = False

    def fire(self, now: int) -> None:
        """A report is due."""
        self.owner.report(self, now)


@final
class Multicast:
    """The memberships of a host; the handler of protocol 2 and of MLD messages."""

    __slots__ = ("_ipv4", "_ipv6", "_rng", "_shared", "_v1_until", "members")

    def __init__(self, shared: Shared, ipv4: Ipv4, ipv6: Ipv6) -> None:
        self._shared: Shared = shared
        self._ipv4: Ipv4 = ipv4
        self._ipv6: Ipv6 = ipv6
        self._rng = shared.rng.stream("multicast")
        self._v1_until: dict[int, int] = {}  # by interface index
        self.members: dict[tuple[int, bytes], Membership] = {}
        ipv4.protocols[IGMP] = self

    # -- membership -------------------------------------------------------------------------------

    def join(self, interface: Interface, group: bytes, now: int) -> None:
        """Listen to ``group``; raises OSError as setsockopt(IP_ADD_MEMBERSHIP) does."""
        shared = self._shared
        if not is_multicast(group):
            raise OSError(errno.EINVAL, "not a multicast address")
        first = group not in interface.groups
        if first and len(interface.groups) >= shared.config.multicast_groups:
            shared.counters.add("multicast.groups")
            raise OSError(errno.ENOBUFS, "too many multicast groups on this interface")
        interface.groups.join(group)
        shared.members[group] = shared.members.get(group, 0) + 1
        if not first or not interface.ethernet or not _reported(group):
            return
        member = self.members[interface.index, group] = Membership(self, interface, group)
        member.unsolicited = 2  # Robustness Variable, RFC 2236 §8.1
        self.report(member, now)

    def leave(self, interface: Interface, group: bytes, now: int) -> None:
        """Stop listening; raises OSError(EADDRNOTAVAIL) if not a member."""
        shared = self._shared
        if group not in interface.groups:
            raise OSError(errno.EADDRNOTAVAIL, "not a member of this group")
        count = shared.members.get(group, 0) - 1
        if count > 0:
            shared.members[group] = count
        else:
            shared.members.pop(group, None)
        if not interface.groups.leave(group):
            return
        member = self.members.pop((interface.index, group), None)
        if member is None:
            return
        shared.scheduler.cancel(member)
        if member.last_reporter:
            self._send_leave(member, now)

    def report_all(self, interface: Interface, now: int) -> None:
        """The link came up: whoever listens there learns of all memberships again."""
        for (index, _), member in list(self.members.items()):
            if index == interface.index:
                member.unsolicited = 2
                self.report(member, now)

    # -- sending ----------------------------------------------------------------------------------

    def report(self, member: Membership, now: int) -> None:
        """Report a membership now."""
        member.last_reporter = True
        self._shared.counters.add("multicast.reports")
        interface, group = member.interface, member.group
        if len(group) == 4:
            v1 = now < self._v1_until.get(interface.index, -1)
            self._send4(interface, group, Igmp(REPORT1 if v1 else REPORT2, group), now)
        else:
            self._send6(interface, group, icmp.MLD_REPORT, group, now)
        if member.unsolicited > 1:
            member.unsolicited -= 1
            delay = self._rng.between(1, UNSOLICITED)
            self._shared.scheduler.at(now + delay, member)
        else:
            member.unsolicited = 0

    def _send_leave(self, member: Membership, now: int) -> None:
        interface, group = member.interface, member.group
        if len(group) == 16:
            self._send6(interface, ALL_ROUTERS6, icmp.MLD_DONE, group, now)
        elif now >= self._v1_until.get(interface.index, -1):
            self._send4(interface, ALL_ROUTERS4, Igmp(LEAVE, group), now)

    def _send4(self, interface: Interface, dst: bytes, message: Igmp, now: int) -> None:
        route = Route(Prefix(dst, 32), interface)
        src = primary(interface)
        pieces = (message.build(),)
        options = ROUTER_ALERT_OPTION
        self._ipv4.send(route, src, dst, IGMP, pieces, None, now, 1, 0xC0, True, options, False)

    def _send6(self, interface: Interface, dst: bytes, kind: int, group: bytes, now: int) -> None:
        src = ANY6  # RFC 3590 §4: while there is no link-local address
        for own in interface.addresses:
            if is_link_local(own.address) and len(own.address) == 16 and own.state != TENTATIVE:
                src = own.address
                break
        rest, body = Mld(group).build()
        data = Message(kind, 0, rest, body).build6(src, dst)
        route = Route(Prefix(dst, 128), interface)
        self._ipv6.send(route, src, dst, ICMPV6, (data,), None, now, 1, 0, True, _MLD_ALERT, False)

    # -- receiving --------------------------------------------------------------------------------

    def receive(
        self, interface: Interface, frame: Frame, l3: int, l4: int, end: int, now: int
    ) -> None:
        """An IGMP message (untrusted)."""
        shared = self._shared
        message = Igmp.parse(frame.data, l4, end)
        if message is None:
            shared.drop(now, "igmp.malformed", "RFC 2236 §2")
            return
        if frame.data[l3 + 8] != 1:
            shared.drop(now, "igmp.ttl", "RFC 3376 §4")
            return
        if message.type == QUERY:
            if message.version == 1:
                self._v1_until[interface.index] = now + V1_TIMEOUT
            group = b"" if message.group == ANY4 else message.group
            self._queried(interface, 4, group, message.max_response, now)
        elif message.type in (REPORT1, REPORT2):
            self._heard(interface, message.group)

    def message(
        self, interface: Interface, frame: Frame, l3: int, l4: int, message: Message, now: int
    ) -> None:
        """An MLD message: hop limit 1 and a link-local source, or it is ignored (RFC 2710 §5)."""
        shared = self._shared
        data = frame.data
        src = data[l3 + 8 : l3 + 24]
        if data[l3 + 7] != 1 or not (is_link_local(src) or src == ANY6):
            shared.drop(now, "mld.not_local", "RFC 2710 §5")
            return
        if message.type == icmp.MLD2_REPORT:
            return
        said = Mld.parse(message.rest, message.body)
        if said is None:
            shared.drop(now, "mld.malformed", "RFC 2710 §3")
            return
        if message.type == icmp.MLD_QUERY:
            group = b"" if said.group == ANY6 else said.group
            self._queried(interface, 16, group, said.max_response, now)
        elif message.type == icmp.MLD_REPORT:
            self._heard(interface, said.group)

    def _queried(
        self, interface: Interface, size: int, group: bytes, response: int, now: int
    ) -> None:
        """A querier asks for all groups of a family, or for one (RFC 2236 §3)."""
        index = interface.index
        if group:
            member = self.members.get((index, group))
            asked = [member] if member is not None else []
        else:
            asked = [m for (i, g), m in self.members.items() if i == index and len(g) == size]
        for member in asked:
            when = now + self._rng.below(max(response, 1))
            if member.deadline == NEVER or member.deadline > when:
                member.unsolicited = 0
                self._shared.scheduler.at(when, member)

    def _heard(self, interface: Interface, group: bytes) -> None:
        """Another member reported: our report is not needed (RFC 2236 §3)."""
        member = self.members.get((interface.index, group))
        if member is not None and member.deadline != NEVER:
            self._shared.scheduler.cancel(member)
            member.unsolicited = 0
            member.last_reporter = False

    def icmp_error(self, error: IcmpError, now: int) -> bool | None:
        """Nobody waits for what becomes of a report."""
        return None


def _reported(group: bytes) -> bool:
    """Whether membership of a group is announced (RFC 2236 §6, RFC 2710 §5)."""
    if len(group) == 4:
        return group != ALL_SYSTEMS4
    return group != ALL_NODES6 and group[1] & 15 > 1
