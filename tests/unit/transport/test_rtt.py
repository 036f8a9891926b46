# SPDX-License-Identifier: Apache-2.0
"""RTT estimation and the retransmission timeout."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.base.clock import MS, SECOND
from capas.base.minmax import WindowedMax
from capas.transport.tcp.rtt import RttEstimator


def estimator(whole_floor: bool = False) -> RttEstimator:
    return RttEstimator(SECOND, 200 * MS, 120 * SECOND, whole_floor)


@pytest.mark.rfc("6298", "2.1")
def test_initial_timeout_is_one_second() -> None:
    assert estimator().rto == SECOND


@pytest.mark.rfc("6298", "2.2")
def test_first_sample() -> None:
    rtt = estimator()
    rtt.sample(100 * MS, 0)
    assert (rtt.srtt, rtt.mdev, rtt.rto) == (100 * MS, 50 * MS, 300 * MS)


@pytest.mark.rfc("6298", "2.3")
def test_later_samples() -> None:
    rtt = estimator(whole_floor=True)
    rtt.sample(100 * MS, 0)
    rtt.sample(180 * MS, SECOND)
    assert rtt.srtt == 110 * MS
    assert rtt.mdev == 57_500_000  # 3/4 * 50 ms + 1/4 * 80 ms


@pytest.mark.rfc("6298", "2.4")
def test_floor_is_under_the_variance_term_or_the_whole() -> None:
    linux, rfc = estimator(), estimator(True)
    for i in range(100):
        linux.sample(20 * MS, i * SECOND)
        rfc.sample(20 * MS, i * SECOND)
    assert linux.rto == 220 * MS
    assert rfc.rto == 200 * MS


@pytest.mark.rfc("6298", "5.5")
def test_backoff_doubles_until_the_maximum_and_ends_with_a_sample() -> None:
    rtt = estimator()
    seen = [rtt.backed_off() for _ in range(8)]
    assert seen == [n * SECOND for n in (2, 4, 8, 16, 32, 64, 120, 120)]
    assert rtt.backoff == 8
    rtt.sample(10 * MS, 0)
    assert (rtt.backoff, rtt.rto) == (0, 210 * MS)


def test_a_falling_round_trip_does_not_raise_the_timeout() -> None:
    rtt = estimator()
    for i in range(50):
        rtt.sample(400 * MS, i * SECOND)
    before = rtt.rto
    rtt.sample(100 * MS, 60 * SECOND)
    assert rtt.rto <= before


def test_minimum_is_windowed() -> None:
    rtt = estimator()
    rtt.sample(10 * MS, 0)
    rtt.sample(30 * MS, SECOND)
    assert rtt.min_rtt == 10 * MS
    rtt.sample(30 * MS, 301 * SECOND)
    assert rtt.min_rtt == 30 * MS


@given(st.lists(st.tuples(st.integers(0, 10**11), st.integers(0, 10**10)), max_size=40))
def test_timeout_stays_within_its_limits(samples: list[tuple[int, int]]) -> None:
    rtt = estimator()
    now = 0
    for value, gap in samples:
        now += gap
        if value % 7 == 0:
            rtt.backed_off()
        else:
            rtt.sample(value, now)
            assert rtt.rto >= min(rtt.srtt + 200 * MS, 120 * SECOND)
        assert 0 < rtt.rto <= 120 * SECOND


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1000)), min_size=1, max_size=60))
def test_windowed_maximum_is_between_truth_and_a_real_sample(steps: list[tuple[int, int]]) -> None:
    window = 50
    filtered = WindowedMax(window)
    now = 0
    history: list[tuple[int, int]] = []
    for gap, value in steps:
        now += gap
        history.append((now, value))
        got = filtered.update(now, value)
        recent = [v for t, v in history if now - t <= window]
        assert value <= got <= max(recent)
