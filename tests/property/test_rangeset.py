# SPDX-License-Identifier: Apache-2.0
"""RangeSet against the plainest model: a set of ints."""

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from capas.base.seq import RangeSet

points = st.integers(0, 60)


class RangeSetMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ranges = RangeSet()
        self.model: set[int] = set()

    @rule(start=points, end=points)
    def add(self, start: int, end: int) -> None:
        new = set(range(start, end)) - self.model
        assert self.ranges.add(start, end) == len(new)
        self.model |= new

    @rule(limit=points)
    def remove_below(self, limit: int) -> None:
        gone = {n for n in self.model if n < limit}
        assert self.ranges.remove_below(limit) == len(gone)
        self.model -= gone

    @rule()
    def clear(self) -> None:
        self.ranges.clear()
        self.model.clear()

    @rule(start=points, size=st.integers(1, 20))
    def ask(self, start: int, size: int) -> None:
        wanted = set(range(start, start + size))
        assert self.ranges.contains(start, start + size) == (wanted <= self.model)
        assert self.ranges.overlaps(start, start + size) == bool(wanted & self.model)

    @invariant()
    def sorted_disjoint_and_equal_to_the_model(self) -> None:
        pairs = list(zip(self.ranges.starts, self.ranges.ends, strict=True))
        assert all(start < end for start, end in pairs)
        assert all(a[1] < b[0] for a, b in pairwise(pairs))
        assert {n for start, end in pairs for n in range(start, end)} == self.model
        assert self.ranges.total() == len(self.model)
        assert len(self.ranges) == len(pairs)


TestRangeSet = RangeSetMachine.TestCase
TestRangeSet.settings = settings(max_examples=60, stateful_step_count=30)
