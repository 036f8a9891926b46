# SPDX-License-Identifier: Apache-2.0
from capas.base.rng import Rng


def test_the_same_seed_gives_the_same_numbers_everywhere() -> None:
    rng = Rng(1)
    assert [rng.u32() for _ in range(3)] == NUMBERS
    assert Rng(1).u64() == Rng(b"1").u64()


NUMBERS = [1548301162, 2139403727, 1631074932]  # Rng(1)


def test_streams_depend_on_seed_and_name_only() -> None:
    a, b = Rng(7), Rng(7)
    a.u64()
    assert a.stream("x").u64() == b.stream("x").u64()
    assert a.stream("x").u64() != a.stream("y").u64()
    assert Rng(7).stream("x").u64() != Rng(8).stream("x").u64()


def test_ranges() -> None:
    rng = Rng(3)
    assert all(0 <= rng.below(6) < 6 for _ in range(1000))
    assert {rng.between(3, 5) for _ in range(200)} == {3, 4, 5}
    assert all(0 <= rng.unit() < 1 for _ in range(100))
    assert all(rng.u16() < 1 << 16 and rng.u32() < 1 << 32 for _ in range(100))
    assert [len(rng.bytes(n)) for n in (0, 1, 7, 8, 9, 100)] == [0, 1, 7, 8, 9, 100]


def test_certain_chances_draw_nothing() -> None:
    rng, other = Rng(3), Rng(3)
    assert not rng.chance(0.0)
    assert rng.chance(1.0)
    assert rng.u64() == other.u64()


def test_chances_come_out_as_said() -> None:
    rng = Rng(5)
    hits = sum(rng.chance(0.02) for _ in range(20_000))
    assert abs(hits - 400) < 5 * (20_000 * 0.02 * 0.98) ** 0.5  # five sigma of the binomial
