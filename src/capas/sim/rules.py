# SPDX-License-Identifier: Apache-2.0
"""Scripted verdicts: rules that see each frame as it enters a wire.

A rule answers PASS, DROP or ``deliver_in(t)``; the first answer other than PASS counts.  Every
function here applies its rule at once and returns an `Applied`, which takes it away again on
`remove`, or at the end of a ``with`` block.  Rules see single packets unless they say ``trains``.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, TypeVar, final

from capas.base.frame import Frame
from capas.errors import ConfigurationError
from capas.sim.direction import DROP, PASS, TAKEN, Direction
from capas.sim.impairments import MtuBlackHole
from capas.sim.trains import network_offset, packets_of
from capas.sim.units import Time, time_ns

Verdict = int
Judge = Callable[[Frame, int], int]
Matcher = Callable[[Frame], bool]
F = TypeVar("F", bound=Callable[..., object])

HOLD_LIMIT: Final = 10_000  # frames one hold keeps


def deliver_in(delay: Time) -> int:
    """The verdict "deliver so much later", past queue, rate and stages."""
    return time_ns(delay, "deliver_in")


def callable_(found: F, what: str) -> F:
    """What a user gave as a function; ConfigurationError if it is none."""
    if not callable(found):
        raise ConfigurationError(f"{what}: {found!r} is not a function")
    return found


class Rule:
    """A function ``(frame, now) -> verdict`` on some directions."""

    trains: bool = False

    def __init__(self, judge: Judge, *, trains: bool = False, name: str = "") -> None:
        self._judge: Judge = callable_(judge, "a rule")
        self.trains = trains
        self.name: str = name or getattr(judge, "__qualname__", repr(judge))

    def judge(self, direction: Direction, frame: Frame, now: int) -> int:
        """The verdict; what the function raises is raised with a note saying where it happened."""
        try:
            verdict = self._judge(frame, now)
            if not isinstance(verdict, int) or isinstance(verdict, bool) or verdict < DROP:
                raise ValueError(f"a rule answers PASS, DROP or deliver_in(t), not {verdict!r}")
        except Exception as error:
            error.add_note(f"in rule {self.name!r} on {direction.name} at {now / 1e9:.9f} s")
            raise
        return verdict

    def removed(self) -> None:
        """The rule is off all its directions."""


class Applied:
    """A fault in effect: `remove` it, or use it in a ``with`` statement."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo: Callable[[], None] | None = undo

    @property
    def active(self) -> bool:
        """Whether it is still in effect."""
        return self._undo is not None

    def remove(self) -> None:
        """Undo; harmless if undone already."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __enter__(self) -> "Applied":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


def together(faults: Sequence[Applied]) -> Applied:
    """Several faults as one."""

    def undo() -> None:
        for fault in reversed(faults):
            fault.remove()

    return Applied(undo)


def apply(rule: Rule, directions: Iterable[Direction]) -> Applied:
    """Put a rule on directions."""
    on = list(directions)
    for direction in on:
        direction.rules.append(rule)

    def undo() -> None:
        for direction in on:
            if rule in direction.rules:
                direction.rules.remove(rule)
        rule.removed()

    return Applied(undo)


def script(
    judge: Judge, directions: Iterable[Direction], *, trains: bool = False, name: str = ""
) -> Applied:
    """Apply a function ``(frame, now) -> PASS | DROP | deliver_in(t)``."""
    return apply(Rule(judge, trains=trains, name=name), directions)


def counted(n: int, count: int, matching: Matcher | None, struck: Callable[[int], None]) -> Judge:
    """A judge that drops the ``n``-th matching packet and ``count`` - 1 after it, telling each."""
    for number in (n, count):
        if not isinstance(number, int) or number < 1:
            raise ConfigurationError(f"drop_nth: n and count are numbers from 1 on, not {number!r}")
    if matching is not None:
        callable_(matching, "drop_nth: matching")
    seen = 0

    def judge(frame: Frame, now: int) -> int:
        nonlocal seen
        if matching is not None and not matching(frame):
            return PASS
        seen += 1
        if not n <= seen < n + count:
            return PASS
        struck(seen)
        return DROP

    return judge


def cut(directions: Iterable[Direction], *, in_flight: bool = False) -> Applied:
    """Nothing passes.  With ``in_flight`` what is on the wire is lost as well."""
    on = list(directions)
    if in_flight:
        for direction in on:
            direction.clear()
    return apply(Rule(lambda _frame, _now: DROP, trains=True, name="cut"), on)


@final
class Hold(Rule):
    """Keeps all frames (at most ``limit``) and sends them on, in order, when it is removed."""

    def __init__(self, matching: Matcher | None = None, limit: int = HOLD_LIMIT) -> None:
        super().__init__(
            lambda frame, _now: PASS if matching and not matching(frame) else DROP,
            trains=matching is None,
            name="hold",
        )
        self._matching: Matcher | None = matching and callable_(matching, "matching")
        self._held: deque[tuple[Direction, Frame]] = deque()
        self.limit: int = limit
        self.overflows: int = 0

    def __len__(self) -> int:
        return len(self._held)

    def judge(self, direction: Direction, frame: Frame, now: int) -> int:
        """The verdict about ``frame``."""
        if self._matching is not None and super().judge(direction, frame, now) == PASS:
            return PASS
        if len(self._held) >= self.limit:
            self.overflows += 1
            return DROP
        self._held.append((direction, frame))
        return TAKEN

    def removed(self) -> None:
        """Send on what was held."""
        while self._held:
            direction, frame = self._held.popleft()
            packets, header = packets_of(frame)
            direction.enter(frame, packets, header, direction.clock.time)


def hold(
    directions: Iterable[Direction], matching: Matcher | None = None, limit: int = HOLD_LIMIT
) -> Applied:
    """Hold frames until removed."""
    return apply(Hold(matching, limit), directions)


def drop_nth(
    directions: Iterable[Direction], n: int, matching: Matcher | None = None, count: int = 1
) -> Applied:
    """Drop the ``n``-th (from 1) matching packet and the ``count`` - 1 matching ones after it."""
    return script(counted(n, count, matching, lambda _: None), directions, name="drop_nth")


def black_hole(directions: Iterable[Direction], mtu: int) -> Applied:
    """Packets of more than ``mtu`` bytes vanish without a word."""
    if not isinstance(mtu, int) or mtu < 1:
        raise ConfigurationError(f"black_hole: {mtu!r} is not a size of packets in bytes")
    added: list[tuple[Direction, MtuBlackHole]] = []
    for direction in directions:
        stage = MtuBlackHole(mtu)
        direction.set_stages([stage, *direction.stages])
        added.append((direction, stage))

    def undo() -> None:
        for direction, stage in added:
            direction.set_stages([s for s in direction.stages if s is not stage])

    return Applied(undo)


def addresses_of(frame: Frame) -> tuple[bytes, bytes]:
    """(source, destination) of an IP packet, or (sender, target) of ARP; empty for others."""
    data = frame.data
    l3 = network_offset(frame)
    ethertype = data[l3 - 2 : l3]
    if ethertype == b"\x08\x00":
        return data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
    if ethertype == b"\x86\xdd":
        return data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
    if ethertype == b"\x08\x06":
        return data[l3 + 14 : l3 + 18], data[l3 + 24 : l3 + 28]
    return b"", b""


def between(sources: frozenset[bytes], destinations: frozenset[bytes]) -> Matcher:
    """Frames from one group of addresses to another."""

    def matches(frame: Frame) -> bool:
        source, destination = addresses_of(frame)
        return source in sources and destination in destinations

    return matches
