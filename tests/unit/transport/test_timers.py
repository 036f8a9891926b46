# SPDX-License-Identifier: Apache-2.0
"""One scheduler entry for all timers of a connection."""

from collections.abc import Callable

from capas.base.clock import NEVER, Scheduler
from capas.transport.tcp import timers as tt


class Owner:
    """Calls a function for each timer that is due."""

    def __init__(self, expired: Callable[[int, int], None]) -> None:
        self.on_timer = expired


def table() -> tuple[Scheduler, tt.TimerTable, list[tuple[int, int]]]:
    fired: list[tuple[int, int]] = []
    scheduler = Scheduler()
    owner = Owner(lambda kind, now: fired.append((kind, now)))
    return scheduler, tt.TimerTable(scheduler, owner), fired


def test_each_kind_fires_once() -> None:
    scheduler, timers, fired = table()
    timers.set(tt.RTO, 30)
    timers.set(tt.DELACK, 10)
    timers.set(tt.KEEPALIVE, 20)
    for now in range(0, 50, 5):
        scheduler.run_due(now)
    assert fired == [(tt.DELACK, 10), (tt.KEEPALIVE, 20), (tt.RTO, 30)]
    assert scheduler.next_deadline() == NEVER


def test_later_is_cheap_and_right() -> None:
    scheduler, timers, fired = table()
    for when in range(10, 1000, 10):
        timers.set(tt.RTO, when)
    scheduler.run_due(980)
    assert fired == []
    scheduler.run_due(990)
    assert fired == [(tt.RTO, 990)]


def test_clearing_the_earliest_keeps_the_rest() -> None:
    scheduler, timers, fired = table()
    timers.set(tt.RTO, 30)
    timers.set(tt.DELACK, 10)
    timers.clear(tt.DELACK)
    scheduler.run_due(10)
    assert fired == []
    assert scheduler.next_deadline() == 30
    timers.clear_all()
    scheduler.run_due(100)
    assert fired == []
    assert not timers.is_set(tt.RTO)


def test_a_timer_set_again_inside_its_own_expiry() -> None:
    scheduler = Scheduler()
    fired: list[int] = []

    def expired(kind: int, now: int) -> None:
        fired.append(now)
        if now < 50:
            timers.set(kind, now + 10)

    timers = tt.TimerTable(scheduler, Owner(expired))
    timers.set(tt.TLP, 10)
    for now in range(0, 100, 10):
        scheduler.run_due(now)
    assert fired == [10, 20, 30, 40, 50]


def test_every_kind_has_a_name() -> None:
    assert len(tt.NAMES) == tt.KINDS
