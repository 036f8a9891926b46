# SPDX-License-Identifier: Apache-2.0
"""The timers of one connection: an array of deadlines behind a single scheduler entry.

Moving a deadline later writes one int; the entry that comes up early is armed again.  Deadlines
are ns, NEVER when disarmed.
"""

from typing import Final, Protocol, final

from capas.base.clock import NEVER, Scheduler, Timer

RTO: Final = 0  # retransmission (RFC 6298); SYN and SYN-ACK too
PERSIST: Final = 1  # zero-window probe (RFC 9293 §3.8.6.1)
DELACK: Final = 2  # delayed acknowledgement (RFC 1122 §4.2.3.2)
KEEPALIVE: Final = 3  # RFC 9293 §3.8.4
TIME_WAIT: Final = 4  # 2 MSL, and FIN-WAIT-2 of a closed socket
USER: Final = 5  # user timeout (RFC 9293 §3.8.3)
PACE: Final = 6  # the next moment pacing allows a segment
REORDER: Final = 7  # RACK reordering timer (RFC 8985 §6.3)
TLP: Final = 8  # tail loss probe (RFC 8985 §7)
KINDS: Final = 9

NAMES: Final = (
    "rto",
    "persist",
    "delack",
    "keepalive",
    "time-wait",
    "user",
    "pace",
    "reorder",
    "tlp",
)

_ALL_OFF: Final = (NEVER,) * KINDS
#: The deadlines of a connection without any; nobody writes to it.
_NONE: Final[list[int]] = list(_ALL_OFF)


class Owner(Protocol):
    """Whose timers they are: the object, for a bound method of each connection weighs 64 bytes."""

    __slots__ = ()

    def on_timer(self, kind: int, now: int) -> None:
        """The deadline of ``kind`` has come."""


@final
class _Nobody:
    """The owner of a table that was given up."""

    def on_timer(self, kind: int, now: int) -> None:
        """Nothing is armed any more."""


_NOBODY: Final = _Nobody()


@final
class TimerTable(Timer):
    """One deadline per kind; ``owner.on_timer(kind, now)`` is called for each that is due."""

    __slots__ = ("_owner", "_scheduler", "deadlines")

    def __init__(self, scheduler: Scheduler, owner: Owner) -> None:
        self.deadline = NEVER  # as `Timer` does: a call less for each connection
        self.queued = NEVER
        self.deadlines: list[int] = _NONE
        self._scheduler: Scheduler = scheduler
        self._owner: Owner = owner

    def set(self, kind: int, when: int) -> None:
        """Arm ``kind`` for ``when``."""
        if self.deadlines is _NONE:
            self.deadlines = list(_ALL_OFF)
        self.deadlines[kind] = when
        if when < self.deadline:
            self._scheduler.at(when, self)

    def set_before(self, kind: int, when: int) -> None:
        """As `set`, of a deadline before which another one is set at once."""
        if self.deadlines is _NONE:
            self.deadlines = list(_ALL_OFF)
        self.deadlines[kind] = when

    def clear(self, kind: int) -> None:
        """Disarm ``kind``."""
        deadlines = self.deadlines
        if deadlines[kind] != NEVER:
            deadlines[kind] = NEVER
            earliest = min(deadlines)
            if earliest == NEVER:
                self.deadlines = _NONE
            self.deadline = earliest  # never earlier than the heap's entry: no call is needed

    def all_acknowledged(self, window_open: bool) -> None:
        """Nothing is out: no acknowledgement is awaited, nor a window that is open."""
        deadlines = self.deadlines
        if deadlines is _NONE:
            return
        deadlines[RTO] = deadlines[TLP] = deadlines[REORDER] = NEVER
        if window_open:
            deadlines[PERSIST] = deadlines[USER] = NEVER
        earliest = min(deadlines)
        if earliest == NEVER:
            self.deadlines = _NONE
        self.deadline = earliest

    def is_set(self, kind: int) -> bool:
        """Whether ``kind`` is armed."""
        return self.deadlines[kind] != NEVER

    def clear_all(self) -> None:
        """Disarm everything."""
        self.deadlines = _NONE
        self.deadline = NEVER

    def give_up(self) -> None:
        """Disarm everything for good.

        The heap keeps its entry until that comes up, a second after a short connection began: it
        must not keep the owner, or a busy server drags thousands of dead connections along.
        """
        self.deadlines = _NONE
        self.deadline = NEVER
        self._owner = _NOBODY

    def fire(self, now: int) -> None:
        """Tell the owner of each due kind, then arm for the earliest that is left."""
        for kind in range(KINDS):
            if self.deadlines[kind] <= now:
                self.deadlines[kind] = NEVER
                self._owner.on_timer(kind, now)
        earliest = min(self.deadlines)
        if earliest != NEVER:
            self._scheduler.at(earliest, self)
        else:
            self.deadlines = _NONE
