# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterable

import pytest

from capas.base.clock import MS, NEVER, SECOND, ManualClock, Scheduler, Timer
from capas.base.rng import Rng


class Bell(Timer):
    """Writes down when it fires; may arm itself again."""

    def __init__(self, name: str, log: list[tuple[str, int]]) -> None:
        super().__init__()
        self.name, self.log = name, log
        self.again: tuple[Scheduler, int] | None = None

    def fire(self, now: int) -> None:
        self.log.append((self.name, now))
        if self.again is not None:
            scheduler, delay = self.again
            scheduler.at(now + delay, self)


def bells(names: Iterable[str]) -> tuple[Scheduler, list[tuple[str, int]], list[Bell]]:
    log: list[tuple[str, int]] = []
    return Scheduler(), log, [Bell(name, log) for name in names]


def test_manual_clock() -> None:
    clock = ManualClock(5)
    assert clock.now() == 5
    clock.time = 6
    assert clock.now() == 6


def test_timers_fire_in_order_of_time_then_of_arming() -> None:
    s, log, (a, b, c) = bells("abc")
    s.at(20, a)
    s.at(10, b)
    s.at(20, c)
    assert s.next_deadline() == 10
    assert s.run_due(9) == 0
    assert s.run_due(20) == 3
    assert log == [("b", 20), ("a", 20), ("c", 20)]
    assert s.next_deadline() == NEVER


def test_later_moves_and_cancels_leave_no_early_firing() -> None:
    s, log, (a, b) = bells("ab")
    s.at(10, a)
    s.at(30, a)
    s.at(10, b)
    s.cancel(b)
    assert s.next_deadline() == 30
    assert s.run_due(29) == 0
    assert s.run_due(30) == 1
    assert log == [("a", 30)]


def test_earlier_moves_fire_once() -> None:
    s, log, (a,) = bells("a")
    s.at(30, a)
    s.at(10, a)
    assert s.next_deadline() == 10
    s.run_due(100)
    s.run_due(100)
    assert log == [("a", 100)]


def test_an_early_move_then_a_late_one() -> None:
    s, log, (a,) = bells("a")
    s.at(30, a)
    s.at(10, a)
    s.at(50, a)
    for now in range(0, 60, 5):
        s.run_due(now)
    assert log == [("a", 50)]


def test_a_timer_may_arm_itself_again_while_it_fires() -> None:
    s, log, (a,) = bells("a")
    a.again = (s, 10)
    s.at(10, a)
    s.run_due(10)
    s.run_due(20)
    assert log == [("a", 10), ("a", 20)]
    assert s.next_deadline() == 30


def test_a_timer_without_work_says_so() -> None:
    with pytest.raises(NotImplementedError):
        Timer().fire(0)


def thousands(run: Callable[[Scheduler, ManualClock, int], None]) -> list[tuple[str, int]]:
    """What 3,000 timers do: armed, moved earlier and later, cancelled, armed again as they fire."""
    rng = Rng(7)
    s, log, all_bells = bells(map(str, range(3000)))
    clock = ManualClock()
    for bell in all_bells:
        s.at(rng.below(400) * MS if rng.below(10) else 60 * SECOND, bell)
        if rng.below(5) == 0:
            bell.again = s, rng.below(3) * 45 * MS + 30 * SECOND
    for until in (1, 70, 80, 230, 1000, 61_000):
        for bell in all_bells[:: 1 + rng.below(9)]:
            s.at(clock.time + rng.below(90) * MS, bell)
        for bell in all_bells[5 :: 1 + rng.below(9)]:
            s.cancel(bell)
        run(s, clock, until * MS)
        assert s.next_deadline() > until * MS
        clock.time = until * MS
    return log


def test_many_timers_fire_in_the_order_of_few() -> None:
    """`run` keeps a heap of thousands in two parts; one part gives the same."""

    def in_one(s: Scheduler, clock: ManualClock, until: int) -> None:
        while (when := s.next_deadline()) <= until:
            s.run_due(when)

    def in_two(s: Scheduler, clock: ManualClock, until: int) -> None:
        while s.run(clock, until, 100):
            pass

    log = thousands(in_two)
    assert len(log) > 5000
    assert log == thousands(in_one)
