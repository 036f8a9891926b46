# SPDX-License-Identifier: Apache-2.0
"""What an interface listens to, group by group: filters, how they merge, what is said of them.

Each listener (a socket, or the host itself) has a filter for a group on an interface: the sources
it includes, or those it excludes.  The interface's state is merged from them (RFC 3376 §3.2,
RFC 3810 §4.2); its changes are told Robustness Variable times (RFC 3376 §5.1, RFC 3810 §6.1), the
state itself when a querier asks (RFC 3376 §5.2, RFC 3810 §6.2).  Nothing here sends anything.
"""

from dataclasses import dataclass
from typing import Final, final

from capas.wire.igmp import (
    ALLOW_NEW_SOURCES,
    BLOCK_OLD_SOURCES,
    IS_EXCLUDE,
    IS_INCLUDE,
    TO_EXCLUDE,
    TO_INCLUDE,
    Record,
)

EXCLUDE: Final = 0  # filter modes, Linux MCAST_EXCLUDE and MCAST_INCLUDE
INCLUDE: Final = 1
_HEAD: Final = 4  # bytes of a record before its group


@final
@dataclass(frozen=True, slots=True)
class Filter:
    """Which sources of a group one listener wants."""

    mode: int
    sources: tuple[bytes, ...] = ()

    def wants(self, source: bytes) -> bool:
        """Whether it wants what ``source`` sends."""
        return (source in self.sources) == (self.mode == INCLUDE)

    def empty(self) -> bool:
        """INCLUDE of nothing: the same as not to listen (RFC 3376 §3)."""
        return self.mode == INCLUDE and not self.sources


ANY_SOURCE: Final = Filter(EXCLUDE)  # a listener who joined the group, no more
NO_SOURCE: Final = Filter(INCLUDE)


@final
class State:
    """The state of one group on an interface, and the reports that are due of its changes.

    ``filter``     merged from those of all listeners
    ``mode_left``  how often a change of the filter mode is still to be told
    ``changed``    sources whose change is still to be told, and how often
    """

    __slots__ = ("_counts", "_listeners", "changed", "filter", "group", "mode_left")

    def __init__(self, group: bytes) -> None:
        self.group: bytes = group
        self.filter: Filter = NO_SOURCE
        self.mode_left: int = 0
        self.changed: dict[bytes, int] = {}
        self._listeners: list[int] = [0, 0]  # by filter mode
        self._counts: dict[bytes, list[int]] = {}  # source -> listeners that name it, by mode

    def listen(self, before: Filter | None, after: Filter | None, robustness: int) -> bool:
        """A listener has another filter (None: it does not listen); True if that is to be told."""
        for said, count in ((after, 1), (before, -1)):
            if said is not None:
                self._listeners[said.mode] += count
                for source in said.sources:
                    self._counts.setdefault(source, [0, 0])[said.mode] += count
                    if self._counts[source] == [0, 0]:
                        del self._counts[source]
        old, self.filter = self.filter, self._merged()
        if old.mode != self.filter.mode:
            self.mode_left = robustness
            self.changed.clear()
            return True
        differing = set(old.sources) ^ set(self.filter.sources)
        for source in sorted(differing):
            self.changed[source] = robustness
        return bool(differing)

    def _merged(self) -> Filter:
        """RFC 3376 §3.2: who excludes outweighs, less what others include."""
        excluding = self._listeners[EXCLUDE]
        if excluding:
            out = (s for s, n in self._counts.items() if n[EXCLUDE] == excluding and not n[INCLUDE])
            return Filter(EXCLUDE, tuple(out))
        return Filter(INCLUDE, tuple(self._counts))

    def announce(self, robustness: int) -> None:
        """All of the state is news: to a link that came up, from an address that is ours now."""
        if self.filter.mode == EXCLUDE:
            self.mode_left = robustness
            self.changed.clear()
        else:
            self.changed = dict.fromkeys(self.filter.sources, robustness)

    def forget(self) -> None:
        """Tell no changes any more."""
        self.mode_left = 0
        self.changed.clear()

    def due(self) -> bool:
        """Whether changes are still to be told."""
        return self.mode_left > 0 or bool(self.changed)

    def listened(self) -> bool:
        """Whether there is any listener."""
        return any(self._listeners)

    def changes(self) -> list[Record]:
        """The records of a state-change report, which count as told once more (RFC 3376 §5.1)."""
        records: list[Record] = []
        now = self.filter
        if self.mode_left:
            self.mode_left -= 1
            kind = TO_INCLUDE if now.mode == INCLUDE else TO_EXCLUDE
            records.append((kind, self.group, now.sources))
        else:
            named, wanted = frozenset(now.sources), now.mode == INCLUDE
            allowed = tuple(s for s in self.changed if (s in named) == wanted)
            blocked = tuple(s for s in self.changed if (s in named) != wanted)
            if allowed:
                records.append((ALLOW_NEW_SOURCES, self.group, allowed))
            if blocked:
                records.append((BLOCK_OLD_SOURCES, self.group, blocked))
        self.changed = {s: left - 1 for s, left in self.changed.items() if left > 1}
        return records

    def current(self, asked: dict[bytes, None]) -> list[Record]:
        """The record that answers a query for these sources, none: for the group (§5.2)."""
        now = self.filter
        if asked:
            wanted = tuple(s for s in asked if now.wants(s))
            return [(IS_INCLUDE, self.group, wanted)] if wanted else []
        if now.empty():
            return []
        return [(IS_INCLUDE if now.mode == INCLUDE else IS_EXCLUDE, self.group, now.sources)]


def reports(records: list[Record], size: int, room: int) -> list[tuple[Record, ...]]:
    """Records shared out to reports with ``room`` bytes for them, addresses of ``size`` bytes.

    What excludes stands in one record, cut short if it must be, the rest may go on in another
    (RFC 3376 §4.2.16, RFC 3810 §5.2.15).
    """
    found: list[tuple[Record, ...]] = []
    report: list[Record] = []
    head = _HEAD + size
    left = room = max(room, head + size)  # where not even one source fits, IP refuses the report
    for kind, group, sources in records:
        whole = kind in (IS_EXCLUDE, TO_EXCLUDE)
        at = 0
        while True:
            rest = len(sources) - at
            least = rest if whole else min(rest, 1)
            if report and left < head + least * size:
                found.append(tuple(report))
                report, left = [], room
            taken = min(rest, (left - head) // size)
            report.append((kind, group, sources[at : at + taken]))
            left -= head + taken * size
            at += taken
            if whole or at == len(sources):
                break
    if report:
        found.append(tuple(report))
    return found
