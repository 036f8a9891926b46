# SPDX-License-Identifier: Apache-2.0
"""When an interface reports its groups of a family: IGMP (RFC 3376, 9776), MLD (RFC 3810, 9777).

Changes are told at once, all that there are together, and again within a second; queries are
answered after a random part of their response time.  Where a querier of an older version is heard,
or a version is forced, groups are reported one by one, as RFC 2236 §3 and RFC 2710 §4 have it:
unless another member reports first, and with a leave if our report was the last heard.
"""

from collections.abc import Callable
from typing import Final, final

from capas.base.clock import MS, NEVER, SECOND, Timer
from capas.base.rng import Rng
from capas.internet.membership import ANY_SOURCE, Filter, State
from capas.internet.reports import Reports
from capas.internet.shared import Shared
from capas.link.interface import Interface
from capas.wire.address import ALL_NODES6, ALL_SYSTEMS4, is_unspecified
from capas.wire.igmp import DEFAULT_INTERVAL, DEFAULT_RESPONSE, Igmp, Mld, Record

UNSOLICITED: Final = SECOND  # Unsolicited Report Interval, RFC 3376 §8.11, RFC 3810 §9.11
UNSOLICITED_OLDER: Final = 10 * SECOND  # RFC 2236 §8.10, RFC 2710 §7.10
LEAST_RESPONSE: Final = (
    10 * MS
)  # to a query that allows no delay: many get one answer (Linux: a tick)
_ALWAYS: Final = (ALL_SYSTEMS4, ALL_NODES6)  # groups every interface is in
_LEAST_ROBUSTNESS6: Final = 2  # RFC 3810 §9.1 SHOULD NOT be one; Linux MLD_QRV_DEFAULT


@final
class Membership(Timer):
    """One group of an interface; fires when a report of it alone is due.

    ``asked``          the sources a querier asks for, none: for the group
    ``unsolicited``    reports of older versions still to be sent unasked
    ``last_reporter``  the last report of an older version that was heard is ours
    """

    __slots__ = ("asked", "last_reporter", "owner", "state", "unsolicited")

    def __init__(self, owner: "Reporter", group: bytes) -> None:
        super().__init__()
        self.owner: Reporter = owner
        self.state: State = State(group)
        self.asked: dict[bytes, None] = {}
        self.unsolicited: int = 0
        self.last_reporter: bool = False

    def fire(self, now: int) -> None:
        """A report is due."""
        self.owner.report(self, now)


@final
class _Due(Timer):
    """A report of all groups of a `Reporter`."""

    __slots__ = ("send",)

    def __init__(self, send: Callable[[int], None]) -> None:
        super().__init__()
        self.send: Callable[[int], None] = send

    def fire(self, now: int) -> None:
        """It is due."""
        self.send(now)


@final
class Reporter:
    """The groups of one interface and family, and what is said of them to its routers.

    ``members``     by group; those that are not reported as well
    ``robustness``  Robustness Variable, the querier's if it says one
    """

    __slots__ = (
        "_changes",
        "_general",
        "_interface",
        "_interval",
        "_present",
        "_reports",
        "_rng",
        "_shared",
        "_size",
        "members",
        "robustness",
    )

    def __init__(
        self, shared: Shared, interface: Interface, size: int, reports: Reports, rng: Rng
    ) -> None:
        self._shared: Shared = shared
        self._interface: Interface = interface
        self._size: int = size
        self._reports: Reports = reports
        self._rng: Rng = rng
        self._interval: int = DEFAULT_INTERVAL  # Query Interval, ns
        self._present: dict[int, int] = {}  # Older Version Querier Present: version -> until, ns
        self._changes: _Due = _Due(self._tell_changes)
        self._general: _Due = _Due(self._answer_general)
        self.members: dict[bytes, Membership] = {}
        self.robustness: int = self._default_robustness()

    def _default_robustness(self) -> int:
        config = self._shared.config
        return max(config.igmp_qrv if self._size == 4 else config.mld_qrv, 1)

    @property
    def newest(self) -> int:
        """The version of the family that knows of sources."""
        return 3 if self._size == 4 else 2

    def _forced(self) -> int:
        config = self._shared.config
        return config.force_igmp_version if self._size == 4 else config.force_mld_version

    def version(self, now: int) -> int:
        """Host Compatibility Mode (RFC 3376 §7.2.1, RFC 3810 §8.2.1): the version to speak."""
        newest, forced = self.newest, self._forced()
        if forced == newest:
            return newest
        seen = (version for version, until in self._present.items() if now < until)
        return min(forced or newest, min(seen, default=newest))

    # -- listening --------------------------------------------------------------------------------

    def listen(self, group: bytes, before: Filter | None, after: Filter | None, now: int) -> None:
        """A listener has another filter for a group, None: it does not listen (RFC 3376 §3.1)."""
        member = self.members.get(group)
        if member is None:
            member = self.members[group] = Membership(self, group)
        state = member.state
        before_empty = state.filter.empty()
        news = state.listen(before, after, self.robustness)
        self._filter(state)
        if not self._tells(group):
            state.forget()
        elif self.version(now) < self.newest:
            state.forget()
            if before_empty != state.filter.empty():
                self._older_change(member, now)
        elif news:
            self._shared.scheduler.at(now, self._changes)
        self._tidy(member)

    def _filter(self, state: State) -> None:
        """Let who delivers know which sources are wanted, unless all are."""
        group, filtered = state.group, self._shared.filtered
        key = self._interface.index, group
        if state.listened() and state.filter != ANY_SOURCE and group not in _ALWAYS:
            filtered[key] = state.filter
        else:
            filtered.pop(key, None)

    def _tells(self, group: bytes) -> bool:
        """Whether a group is reported: on Ethernet, and if not all have it (RFC 3376 §5)."""
        if not self._interface.ethernet:
            return False
        return group not in _ALWAYS and (self._size == 4 or group[1] & 15 > 1)

    def _tidy(self, member: Membership) -> None:
        """Forget a group that nobody listens to when all has been told, or too many wait for it."""
        state, shared = member.state, self._shared
        if state.listened():
            return
        if state.due() and len(self.members) <= shared.config.multicast_groups:
            return
        if state.due():
            shared.counters.add("multicast.untold")
        shared.scheduler.cancel(member)
        self.members.pop(state.group, None)

    def reset(self) -> None:
        """Forget what queriers said: another link may have others."""
        self._interval = DEFAULT_INTERVAL
        self._present.clear()
        self.robustness = self._default_robustness()

    def announce(self, now: int) -> None:
        """Whoever listens on the link learns of all groups again."""
        older = self.version(now) < self.newest
        for group, member in self.members.items():
            if not self._tells(group) or member.state.filter.empty():
                continue
            if older:
                member.unsolicited = self.robustness
                self.report(member, now)
            else:
                member.state.announce(self.robustness)
        if not older and self.members:
            self._shared.scheduler.at(now, self._changes)

    # -- reports ----------------------------------------------------------------------------------

    def _tell_changes(self, now: int) -> None:
        """A state-change report, the first of some or a repeat (RFC 3376 §5.1)."""
        records: list[Record] = []
        more = False
        for member in list(self.members.values()):
            state = member.state
            if state.due():
                records += state.changes()
                more = more or state.due()
                self._tidy(member)
        self._reports.send(self._interface, self._size, records, now)
        if more:
            self._shared.scheduler.at(now + self._rng.between(1, UNSOLICITED), self._changes)

    def _answer_general(self, now: int) -> None:
        """The current state of all groups, the newest first as Linux has it (RFC 3376 §5.2)."""
        records: list[Record] = []
        for group, member in reversed(self.members.items()):
            if self._tells(group):
                records += member.state.current({})
        self._reports.send(self._interface, self._size, records, now)

    def report(self, member: Membership, now: int) -> None:
        """The current state of one group."""
        asked, member.asked = member.asked, {}
        version = self.version(now)
        if version == self.newest:
            self._reports.send(self._interface, self._size, member.state.current(asked), now)
            return
        member.last_reporter = True
        self._reports.send_older(self._interface, member.state.group, version, now)
        member.unsolicited = max(member.unsolicited - 1, 0)
        if member.unsolicited:
            delay = self._rng.between(1, UNSOLICITED_OLDER)
            self._shared.scheduler.at(now + delay, member)

    def _older_change(self, member: Membership, now: int) -> None:
        """A group begins or ends where an older version is spoken."""
        if not member.state.filter.empty():
            member.unsolicited = self.robustness
            self.report(member, now)
            return
        self._shared.scheduler.cancel(member)
        if member.last_reporter and (self._size == 16 or self.version(now) > 1):
            self._reports.send_leave(self._interface, member.state.group, now)

    # -- what is heard ----------------------------------------------------------------------------

    def queried(self, query: Igmp | Mld, now: int) -> bool:
        """A querier asks; False: it is not listened to, as its version is too old."""
        version = query.version
        if version < self.newest:
            if self._forced() == self.newest:
                return False
            self._older_querier(version, query.max_response, now)
        speaks = self.version(now)
        if speaks < self.newest:
            self._queried_older(query, speaks, now)
            return True
        self.robustness = query.robustness or self._default_robustness()
        if self._size == 16:
            least = min(_LEAST_ROBUSTNESS6, self._default_robustness())
            self.robustness = max(self.robustness, least)
        self._interval = query.interval or DEFAULT_INTERVAL
        when = now + self._rng.below(max(query.max_response, LEAST_RESPONSE))
        if self._general.deadline <= when:
            return True  # an answer that says it all comes sooner
        if is_unspecified(query.group):
            self._shared.scheduler.at(when, self._general)
        else:
            member = self.members.get(query.group)
            if member is not None and self._tells(query.group):
                self._ask(member, query.sources, when)
        return True

    def _ask(self, member: Membership, sources: tuple[bytes, ...], when: int) -> None:
        """An answer for one group, joined with one that is due already (RFC 3376 §5.2, 3 to 5)."""
        shared = self._shared
        if member.deadline == NEVER:
            member.asked = dict.fromkeys(sources)
        elif sources and member.asked:
            member.asked.update(dict.fromkeys(sources))
        else:
            member.asked = {}
        if len(member.asked) > shared.config.multicast_asked:
            shared.counters.add("multicast.asked")
            member.asked = {}  # the whole state of the group answers that, too
        if when < member.deadline:
            shared.scheduler.at(when, member)

    def _older_querier(self, version: int, response: int, now: int) -> None:
        """Older Version Querier Present (RFC 3376 §7.2.1, §8.12): changes are not told any more."""
        self._present[version] = now + self.robustness * self._interval + response
        scheduler = self._shared.scheduler
        scheduler.cancel(self._changes)
        scheduler.cancel(self._general)
        for member in list(self.members.values()):
            member.state.forget()
            self._tidy(member)

    def _queried_older(self, query: Igmp | Mld, speaks: int, now: int) -> None:
        """All groups or one, each for itself (RFC 2236 §3, RFC 2710 §4)."""
        response = query.max_response
        one = not is_unspecified(query.group)
        if speaks == 1 and self._size == 4:  # RFC 2236 §4
            response, one = DEFAULT_RESPONSE, False
        for group, member in self.members.items():
            if (one and group != query.group) or not self._tells(group):
                continue
            if member.state.filter.empty():
                continue
            if member.deadline > now + response:  # a sooner one stays as it is
                member.unsolicited = 0
                delay = self._rng.below(max(response, LEAST_RESPONSE))
                self._shared.scheduler.at(now + delay, member)

    def heard(self, group: bytes) -> None:
        """Another member's report of an older version: ours is not needed (RFC 2236 §3)."""
        member = self.members.get(group)
        if member is not None and member.deadline != NEVER:
            self._shared.scheduler.cancel(member)
            member.unsolicited = 0
            member.last_reporter = False
