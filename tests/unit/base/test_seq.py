# SPDX-License-Identifier: Apache-2.0
import pytest

from capas.base.seq import RangeSet, diff, ge, gt, le, lt, max_seq


@pytest.mark.rfc("9293", "3.4")
@pytest.mark.parametrize(
    ("a", "b"),
    [(0, 1), (0xFFFFFFFF, 0), (0xFFFFFFF0, 5), (0x7FFFFFFF, 0x80000000), (1, 0x80000000)],
)
def test_order_wraps(a: int, b: int) -> None:
    assert lt(a, b) and le(a, b) and gt(b, a) and ge(b, a)
    assert not (lt(b, a) or le(b, a) or gt(a, b) or ge(a, b))
    assert max_seq(a, b) == max_seq(b, a) == b
    assert diff(b, a) == -diff(a, b) > 0


def test_equal_numbers() -> None:
    assert le(5, 5) and ge(5, 5) and not lt(5, 5) and not gt(5, 5)
    assert diff(5, 5) == 0


def test_ranges_merge_where_they_touch() -> None:
    ranges = RangeSet()
    assert ranges.add(10, 20) == 10
    assert ranges.add(30, 40) == 10
    assert ranges.add(20, 30) == 10
    assert (ranges.starts, ranges.ends, len(ranges), ranges.total()) == ([10], [40], 1, 30)
    assert ranges.add(15, 25) == 0
    assert ranges.add(5, 5) == ranges.add(9, 3) == 0


def test_ranges_are_cut_from_below() -> None:
    ranges = RangeSet()
    for start in (0, 10, 20):
        ranges.add(start, start + 5)
    assert ranges.remove_below(12) == 7
    assert (ranges.starts, ranges.ends) == ([12, 20], [15, 25])
    assert ranges.contains(20, 25)
    assert not ranges.contains(14, 16)
    assert ranges.overlaps(14, 16)
    assert not ranges.overlaps(15, 20)
    ranges.clear()
    assert len(ranges) == 0
    assert not ranges.contains(0, 1)
