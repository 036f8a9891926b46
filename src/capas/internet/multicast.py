# SPDX-License-Identifier: Apache-2.0
"""Group membership, the host's part: IGMPv3 (RFC 3376) and MLDv2 (RFC 3810), and what they replace.

Listeners say which sources of a group they want on an interface (`listen`); what is said of that on
the link is the business of `capas.internet.reporter`.  Groups all systems hold, and those of scope
below link-local, are not reported.  Only Ethernet is told: other media have nobody who forwards by
it.
"""

import errno
from typing import final

from capas.base.frame import Frame
from capas.internet.ipv4 import Ipv4
from capas.internet.ipv6 import Ipv6
from capas.internet.membership import ANY_SOURCE, Filter
from capas.internet.reporter import Reporter
from capas.internet.reports import Reports
from capas.internet.shared import Shared
from capas.internet.types import IcmpError
from capas.link.interface import Interface
from capas.wire import icmp
from capas.wire.address import ANY6, is_link_local, is_multicast, is_unspecified
from capas.wire.icmp import Message
from capas.wire.igmp import IGMP, QUERY, REPORT1, REPORT2, Igmp, Mld
from capas.wire.ipv6 import ALERT_MLD, router_alert


@final
class Multicast:
    """The memberships of a host; the handler of protocol 2 and of MLD messages."""

    __slots__ = ("_joined", "_reporters", "_reports", "_rng", "_shared")

    def __init__(self, shared: Shared, ipv4: Ipv4, ipv6: Ipv6) -> None:
        self._shared: Shared = shared
        self._reports: Reports = Reports(shared, ipv4, ipv6)
        self._rng = shared.rng.stream("multicast")
        self._reporters: dict[tuple[int, int], Reporter] = {}  # interface index, address size
        self._joined: dict[tuple[int, bytes], int] = {}  # how often by `join`; interface, group
        ipv4.protocols[IGMP] = self

    def _reporter(self, interface: Interface, size: int) -> Reporter:
        key = interface.index, size
        found = self._reporters.get(key)
        if found is None:
            found = Reporter(self._shared, interface, size, self._reports, self._rng)
            self._reporters[key] = found
        return found

    # -- listening --------------------------------------------------------------------------------

    def listen(
        self,
        interface: Interface,
        group: bytes,
        before: Filter | None,
        after: Filter | None,
        now: int,
    ) -> None:
        """One listener's filter for ``group`` was ``before`` and is ``after``; None: no filter.

        IPMulticastListen of RFC 3376 §3.1.  Raises OSError as setsockopt(IP_ADD_MEMBERSHIP) does.
        """
        if before is None:
            self._enter(interface, group)
        self._reporter(interface, len(group)).listen(group, before, after, now)
        if after is None:
            self._left(interface, group)

    def join(self, interface: Interface, group: bytes, now: int) -> None:
        """Listen to whoever sends to ``group``."""
        self.listen(interface, group, None, ANY_SOURCE, now)
        key = interface.index, group
        self._joined[key] = self._joined.get(key, 0) + 1

    def leave(self, interface: Interface, group: bytes, now: int) -> None:
        """Stop listening; raises OSError(EADDRNOTAVAIL) if not a member."""
        key = interface.index, group
        count = self._joined.pop(key, 0)
        if not count:
            raise OSError(errno.EADDRNOTAVAIL, "not a member of this group")
        if count > 1:
            self._joined[key] = count - 1
        self.listen(interface, group, ANY_SOURCE, None, now)

    def _enter(self, interface: Interface, group: bytes) -> None:
        shared = self._shared
        if not is_multicast(group):
            raise OSError(errno.EINVAL, "not a multicast address")
        groups = interface.groups
        if group not in groups and len(groups) >= shared.config.multicast_groups:
            shared.counters.add("multicast.groups")
            raise OSError(errno.ENOBUFS, "too many multicast groups on this interface")
        groups.join(group)
        shared.members[group] = shared.members.get(group, 0) + 1

    def _left(self, interface: Interface, group: bytes) -> None:
        members = self._shared.members
        count = members.get(group, 0) - 1
        if count > 0:
            members[group] = count
        else:
            members.pop(group, None)
        interface.groups.leave(group)

    def report_all(self, interface: Interface, now: int) -> None:
        """The link came up: whoever listens there learns of all memberships again."""
        for size in (4, 16):
            reporter = self._reporter(interface, size)
            reporter.reset()
            reporter.announce(now)

    def link_local(self, interface: Interface, now: int) -> None:
        """A link-local address is ours: routers took no report from ``::`` (RFC 3590 §4)."""
        self._reporter(interface, 16).announce(now)

    # -- receiving --------------------------------------------------------------------------------

    def receive(
        self, interface: Interface, frame: Frame, l3: int, l4: int, end: int, now: int
    ) -> None:
        """An IGMP message (untrusted)."""
        shared = self._shared
        message = Igmp.parse(frame.data, l4, end)
        if message is None or (message.sources and is_unspecified(message.group)):
            shared.drop(now, "igmp.malformed", "RFC 3376 §4")
            return
        if frame.data[l3 + 8] != 1:
            shared.drop(now, "igmp.ttl", "RFC 3376 §4")
            return
        if message.type == QUERY:
            if not self._reporter(interface, 4).queried(message, now):
                shared.drop(now, "igmp.older_version", "RFC 3376 §7.2.1")
        elif message.type in (REPORT1, REPORT2) and frame.data[l3 + 16 : l3 + 20] == message.group:
            self._reporter(interface, 4).heard(message.group)  # elsewhere no router hears it

    def message(
        self, interface: Interface, frame: Frame, l3: int, l4: int, message: Message, now: int
    ) -> None:
        """An MLD message (untrusted): hop limit 1, a link-local source, a router alert, or it is
        ignored (RFC 2710 §5, RFC 3810 §5.1.14, §6.2).
        """
        shared = self._shared
        data = frame.data
        src = data[l3 + 8 : l3 + 24]
        if data[l3 + 7] != 1 or not (is_link_local(src) or src == ANY6):
            shared.drop(now, "mld.not_local", "RFC 2710 §5")
            return
        if message.type == icmp.MLD2_REPORT:
            return
        said = Mld.parse(message.rest, message.body)
        if said is None or (said.sources and is_unspecified(said.group)):
            shared.drop(now, "mld.malformed", "RFC 3810 §5.1")
            return
        if message.type == icmp.MLD_REPORT:
            if data[l3 + 24 : l3 + 40] == said.group:  # elsewhere no router hears it
                self._reporter(interface, 16).heard(said.group)
        elif message.type == icmp.MLD_QUERY:
            if src == ANY6:
                shared.drop(now, "mld.not_local", "RFC 3810 §5.1.14")
            elif router_alert(data, l3) != ALERT_MLD:
                shared.drop(now, "mld.no_alert", "RFC 3810 §6.2")
            elif not self._reporter(interface, 16).queried(said, now):
                shared.drop(now, "mld.older_version", "RFC 3810 §8.2.1")

    def icmp_error(self, error: IcmpError, now: int) -> bool | None:
        """Nobody waits for what becomes of a report."""
        return None
