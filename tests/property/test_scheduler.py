# SPDX-License-Identifier: Apache-2.0
"""The lazy heap against a plain dict of deadlines."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from capas.base.clock import NEVER, Scheduler, Timer

which = st.integers(0, 4)


class Bell(Timer):
    def __init__(self, fired: list["Bell"]) -> None:
        super().__init__()
        self.fired = fired

    def fire(self, now: int) -> None:
        self.fired.append(self)


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler()
        self.fired: list[Bell] = []
        self.bells = [Bell(self.fired) for _ in range(5)]
        self.model: dict[int, int] = {}
        self.now = 0

    @rule(n=which, delay=st.integers(0, 50))
    def at(self, n: int, delay: int) -> None:
        self.scheduler.at(self.now + delay, self.bells[n])
        self.model[n] = self.now + delay

    @rule(n=which)
    def cancel(self, n: int) -> None:
        self.scheduler.cancel(self.bells[n])
        self.model.pop(n, None)

    @rule(step=st.integers(0, 30))
    def run(self, step: int) -> None:
        self.now += step
        due = [n for n, when in self.model.items() if when <= self.now]
        self.fired.clear()
        assert self.scheduler.run_due(self.now) == len(due)
        fired = [self.bells.index(bell) for bell in self.fired]
        assert sorted(fired) == sorted(due)
        times = [self.model.pop(n) for n in fired]
        assert times == sorted(times)

    @rule()
    def run_until_next(self) -> None:
        deadline = self.scheduler.next_deadline()
        if deadline != NEVER:
            self.now = max(self.now, deadline)
            self.run(0)

    @invariant()
    def the_next_deadline_is_the_models(self) -> None:
        assert self.scheduler.next_deadline() == min(self.model.values(), default=NEVER)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=60, stateful_step_count=30)
