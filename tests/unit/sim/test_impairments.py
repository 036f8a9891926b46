# SPDX-License-Identifier: Apache-2.0
"""Each impairment against its definition, and against the numbers it should give."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_bench import Bench, number_of, plain, tcp

from capas.base.checksum import pseudo_sum, verify
from capas.base.clock import MS, SECOND
from capas.base.frame import CSUM_NONE
from capas.base.rng import Rng
from capas.errors import ConfigurationError
from capas.sim.impairments import Corrupt, Duplicate, GilbertElliott, Jitter, Loss, Reorder
from capas.sim.impairments import corrupted as flip
from capas.sim.rules import black_hole
from capas.sim.stage import Gap


def spread(p: float, n: int) -> float:
    """Five standard deviations of a binomial count."""
    return 5 * math.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("p", [0.001, 0.02, 0.3, 0.9])
def test_a_gap_hits_with_its_probability(p):
    gap, n = Gap(p), 20_000
    gap.seed(Rng(7))
    hits = sum(gap.hits() for _ in range(n))
    assert abs(hits - n * p) <= spread(p, n)


@pytest.mark.slow
@given(st.floats(0, 1), st.lists(st.integers(1, 50), max_size=30), st.integers(0, 99))
def test_a_gap_is_the_same_for_trains_and_packets(p, trains, seed):
    one, other = Gap(p), Gap(p)
    one.seed(Rng(seed))
    other.seed(Rng(seed))
    for n in trains:
        if one.spares(n):
            assert [other.hits() for _ in range(n)] == [False] * n
        else:
            assert [one.hits() for _ in range(n)] == [other.hits() for _ in range(n)]


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certain_gaps(p):
    gap = Gap(p)
    gap.seed(Rng(1))
    assert [gap.hits() for _ in range(100)] == [p == 1.0] * 100


def test_bernoulli_loss():
    bench = Bench(loss="5%")
    bench.send(*[plain(i, 60) for i in range(5000)])
    bench.run()
    assert abs(bench.counts.lost - 250) <= spread(0.05, 5000)
    assert len(bench.b.frames) == 5000 - bench.counts.lost


@pytest.mark.slow
def test_gilbert_elliott_loses_in_bursts():
    bench = Bench(loss=0)
    bench.up.set_stages([stage := GilbertElliott(0.01, 0.2)])
    stage.seed(Rng(3))
    n = 40_000
    bench.send(*[plain(i, 60) for i in range(n)])
    bench.run()
    rate = 0.01 / (0.01 + 0.2)  # p / (p + r)
    assert abs(bench.counts.lost / n - rate) < 0.012
    numbers = [number_of(f) for f in bench.b.frames]
    bursts = [b - a - 1 for a, b in itertools.pairwise(numbers) if b - a > 1]
    assert 3.5 < sum(bursts) / len(bursts) < 6.5  # mean length 1 / r


@pytest.mark.parametrize("stage", ["loss", "bursts"])
def test_loss_of_trains_and_of_packets_is_the_same(stage):
    arrived = []
    for exact in (False, True):
        bench = Bench(exact=exact)
        loss = Loss(0.05) if stage == "loss" else GilbertElliott(0.02, 0.3, 0.9, 0.01)
        bench.up.set_stages([loss])
        loss.seed(Rng(5))
        for _ in range(50):
            bench.send(tcp(bytes(20_000)))
        bench.run()
        arrived.append(bench.counts.lost)
    if stage == "loss":
        assert arrived[0] == arrived[1] > 0
    else:
        assert min(arrived) > 0


def test_adding_a_stage_does_not_shift_the_draws_of_another():
    lost = []
    for more in ({}, {"corrupt": 0.5, "duplicate": 0.5, "jitter": "1ms"}):
        bench = Bench(loss=0.1, **more)
        bench.send(*[plain(i) for i in range(300)])
        bench.run()
        lost.append(
            sorted({number_of(f) for f in bench.b.frames}, key=int)[:0] or bench.counts.lost
        )
    assert lost[0] == lost[1]


def test_jitter_keeps_order_unless_told_otherwise():
    kept = Bench(delay="5ms", jitter="20ms")
    free = Bench(delay="5ms")
    loose = Jitter("20ms", keep_order=False)
    loose.seed(Rng(1))
    free.up.set_stages([*free.up.stages, loose])
    for bench in (kept, free):
        for i in range(100):
            bench.send(plain(i))
            bench.run(bench.clock.time + MS)
        bench.run()
        assert len(bench.b.frames) == 100
    numbers = [[number_of(f) for f in b.b.frames] for b in (kept, free)]
    assert numbers[0] == sorted(numbers[0])
    assert numbers[1] != sorted(numbers[1])
    assert kept.counts.reordered == 0 < free.counts.reordered
    assert free.b.times == sorted(free.b.times)
    assert all(
        5 * MS <= t - n * MS <= 25 * MS for n, t in zip(numbers[1], free.b.times, strict=True)
    )


def test_normal_jitter_lies_around_the_middle():
    bench = Bench()
    stage = Jitter("10ms", keep_order=False, distribution="normal")
    stage.seed(Rng(2))
    draws = [stage._draw() for _ in range(2000)]
    assert bench.b.frames == []
    assert all(0 <= d <= 10 * MS for d in draws)
    assert abs(sum(draws) / 2000 - 5 * MS) < MS


def test_duplicates():
    bench = Bench(duplicate=1.0, delay="1ms")
    bench.send(plain(1), tcp(bytes(3000)))
    bench.run()
    assert len(bench.b.frames) == 8
    assert bench.counts.duplicated == 4
    late = Bench()
    late.up.set_stages([stage := Duplicate(1.0, "3ms")])
    stage.seed(Rng(1))
    late.send(plain(1))
    late.run()
    assert late.b.times == [0, 3 * MS]


def test_reorder_by_packets():
    bench = Bench(delay="1ms")
    bench.up.set_stages([stage := Reorder(0.2, packets=2, hold="50ms"), *bench.up.stages])
    stage.seed(Rng(4))
    for i in range(200):
        bench.send(plain(i))
        bench.run(bench.clock.time + MS)
    bench.run()
    numbers = [number_of(f) for f in bench.b.frames]
    assert sorted(numbers) == list(range(200))
    assert numbers != sorted(numbers)
    assert 20 <= bench.counts.reordered <= 60
    assert all(abs(at - n) <= 60 for at, n in enumerate(numbers))


def test_a_held_packet_goes_when_nobody_overtakes_it():
    bench = Bench()
    bench.up.set_stages([stage := Reorder(1.0, packets=3, hold="50ms")])
    stage.seed(Rng(4))
    bench.send(plain(1))
    bench.run()
    assert bench.b.times == [50 * MS]
    assert bench.counts.reordered == 0


def test_reorder_by_time():
    bench = Bench()
    bench.up.set_stages([stage := Reorder(1.0, packets=0, hold="30ms")])
    stage.seed(Rng(4))
    bench.send(tcp(bytes(2000)))
    bench.run()
    assert bench.b.times == [30 * MS] * 2


@pytest.mark.parametrize("family", [4, 6])
def test_corruption_makes_a_true_checksum_wrong(family):
    """The checksum was only declared: it is computed before the bit flips (RFC 9293 §3.1)."""
    bench = Bench(corrupt=1.0)
    for _ in range(50):
        bench.send(tcp(b"x" * 1001, family=family, mss=2000))
    bench.run()
    assert bench.counts.corrupted == len(bench.b.frames) == 50
    whole = tcp(b"x" * 1001, family=family, mss=2000)
    l3, l4 = 14, whole.csum_start
    good = 0
    for frame in bench.b.frames:
        assert frame.csum == CSUM_NONE
        assert frame.data[:14] == whole.data[:14]
        addresses = frame.data[l4 - (8 if family == 4 else 32) : l4]
        half = len(addresses) // 2
        pseudo = pseudo_sum(addresses[:half], addresses[half:], 6, len(frame.data) - l4)
        if frame.data[l3:l4] == whole.data[l3:l4]:
            assert not verify(frame.data[l4:], pseudo)
            good += 1
    assert good > 40


@given(st.integers(14, 200), st.integers(1, 40), st.integers(0, 50))
def test_exactly_so_many_bits_flip(size, bits, seed):
    frame = plain(0, max(size, 18))
    after = flip(frame, Rng(seed), bits)
    difference = int.from_bytes(frame.data, "big") ^ int.from_bytes(after.data, "big")
    assert difference.bit_count() == min(bits, (len(frame.data) - 14) * 8)
    assert len(after.data) == len(frame.data)


def test_black_hole():
    bench = Bench()
    with black_hole([bench.up], 900):
        bench.send(plain(1, 914), plain(2, 915), tcp(bytes(5000)), tcp(bytes(2000), mss=800))
        bench.run()
    bench.send(plain(3, 1500))
    bench.run()
    assert bench.counts.black_holed == 6
    assert [len(f.data) for f in bench.b.frames] == [914, 2054, 1500]
    assert bench.up.stages == []


def test_a_stage_of_its_own_for_each_direction():
    with pytest.raises(ConfigurationError, match="make one for each direction"):
        Bench(loss=Loss(0.5))


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ({"loss": "3 apples"}, "loss"),
        ({"corrupt": 2}, "corrupt"),
        ({"delay": "soon"}, "delay"),
        ({"jitter": -1}, "jitter"),
        ({"rate": "fast"}, "rate"),
        ({"queue": "long"}, "queue"),
        ({"queue": 1.5}, "queue"),
        ({"reorder": "x"}, "reorder"),
    ],
)
def test_bad_settings_name_the_link_and_the_setting(bad, what):
    with pytest.raises(ConfigurationError, match=what):
        Bench(**bad)


def test_stages_that_cannot_be():
    with pytest.raises(ConfigurationError):
        Corrupt(0.1, bits=0)
    with pytest.raises(ConfigurationError):
        Jitter(1, distribution="square")
    assert SECOND
