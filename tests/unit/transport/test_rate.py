# SPDX-License-Identifier: Apache-2.0
"""Delivery rate samples."""

from capas.base.clock import MS
from capas.transport.tcp.rate import RateSampler

Record = tuple[int, int, int, int, int]


def sent(rate: RateSampler, now: int, in_flight: int) -> Record:
    rate.on_sent(now, in_flight)
    return now, rate.delivered, rate.delivered_time, rate.first_sent_time, rate.app_limited


def test_steady_stream_measures_its_rate() -> None:
    rate = RateSampler()
    size, gap, rtt = 1000, 1 * MS, 10 * MS
    records = [sent(rate, i * gap, min(i, 10) * size) for i in range(30)]
    samples = []
    for i, record in enumerate(records):
        now = i * gap + rtt
        rate.begin()
        rate.on_delivered(now, size, *record)
        samples.append(rate.finish(now, rtt))
    assert samples[-1] == 0 or samples[-1] <= 1_000_000
    assert max(samples) <= 1_100_000
    assert rate.delivered == 30 * size


def test_compressed_acknowledgements_do_not_inflate_the_rate() -> None:
    rate = RateSampler()
    records = [sent(rate, i * MS, i * 1000) for i in range(10)]
    now = 50 * MS
    rate.begin()
    for record in records:
        rate.on_delivered(now, 1000, *record)
    assert rate.finish(now, 10 * MS) == 10_000 * 1000 // 50
    assert rate.prior_delivered == 0


def test_interval_below_the_smallest_round_trip_is_no_sample() -> None:
    rate = RateSampler()
    record = sent(rate, 0, 0)
    rate.begin()
    rate.on_delivered(5 * MS, 1000, *record)
    assert rate.finish(5 * MS, 10 * MS) == 0


def test_application_limited_samples_are_marked_until_the_bubble_is_gone() -> None:
    rate = RateSampler()
    first = sent(rate, 0, 0)
    rate.limited_by_application(1000)
    second = sent(rate, MS, 1000)
    rate.begin()
    rate.on_delivered(10 * MS, 1000, *first)
    rate.finish(10 * MS, 1)
    assert rate.rate_app_limited == 0
    assert rate.app_limited == 1000
    rate.begin()
    rate.on_delivered(11 * MS, 1000, *second)
    rate.finish(11 * MS, 1)
    assert rate.rate_app_limited == 1
    assert rate.app_limited == 0


def test_ack_without_delivery_gives_none() -> None:
    rate = RateSampler()
    rate.begin()
    assert rate.finish(1, -1) == 0
