# SPDX-License-Identifier: Apache-2.0
"""Counters and the trace hook: how the stack says what it did.

Every drop has a counter named ``<layer>.<reason>``.  Every decision worth telling goes to a
`Tracer`, if one is there; the guard ``if trace is not None`` keeps the price at one attribute test.
"""

from collections.abc import MutableSequence
from typing import NamedTuple, Protocol, final


@final
class Counters:
    """Named event counts of one host; names are created on first use."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def add(self, name: str, n: int = 1) -> None:
        """Count ``n`` more of ``name``."""
        self.values[name] = self.values.get(name, 0) + n

    def get(self, name: str) -> int:
        """The count of ``name``; 0 if it never happened."""
        return self.values.get(name, 0)

    def snapshot(self) -> dict[str, int]:
        """A copy, sorted by name."""
        return dict(sorted(self.values.items()))


class Tracer(Protocol):
    """Listens to a host's decisions (capture comments, accounts, diagrams)."""

    def dropped(self, now: int, counter: str, clause: str) -> None:
        """The frame being received was dropped; ``clause`` as "RFC 9293 §3.10.7.4" or ""."""

    def decided(self, now: int, event: str, text: str) -> None:
        """The stack decided something: ``event`` is an id such as "tcp.rto", ``text`` for people.

        It concerns the next frame the host sends, if any.
        """


class Decision(NamedTuple):
    """Something a host decided or dropped."""

    time: int  # ns
    host: str
    event: str  # of a drop: its counter
    text: str


@final
class DecisionLog:
    """A tracer that keeps what it hears, and hands it on to the tracer that was there before."""

    __slots__ = ("_decisions", "_host", "_then")

    def __init__(
        self, host: str, decisions: MutableSequence[Decision], then: Tracer | None
    ) -> None:
        self._host: str = host
        self._decisions: MutableSequence[Decision] = decisions
        self._then: Tracer | None = then

    def dropped(self, now: int, counter: str, clause: str) -> None:
        """Record the drop."""
        self._decisions.append(Decision(now, self._host, counter, f"dropped, {clause}"))
        if self._then is not None:
            self._then.dropped(now, counter, clause)

    def decided(self, now: int, event: str, text: str) -> None:
        """Record the decision."""
        self._decisions.append(Decision(now, self._host, event, text))
        if self._then is not None:
            self._then.decided(now, event, text)
