# SPDX-License-Identifier: Apache-2.0
"""Reno, CUBIC, HyStart++ and the registry, driven by hand-made samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.base.clock import MS, SECOND
from capas.transport.tcp.congestion import base
from capas.transport.tcp.congestion.base import AckSample, CongestionControl
from capas.transport.tcp.congestion.cubic import Cubic, cube_root
from capas.transport.tcp.congestion.reno import Reno

MSS = 1000


def run_round(cc: CongestionControl, now: int, rtt: int, una: int) -> tuple[int, int]:
    """Send a window and have it acknowledged, two segments per ACK, one RTT later."""
    flight = cc.cwnd // cc.mss * cc.mss
    cc.on_sent(now, flight, flight + 1)  # never idle
    now += rtt
    top = una + flight
    left = flight
    while left:
        size = min(2 * cc.mss, left)
        left -= size
        una += size
        cc.cwnd_limited = 1
        cc.on_ack(
            AckSample(
                now=now, acked=size, in_flight=left, prior_in_flight=left + size,
                rtt=rtt, min_rtt=rtt, snd_una=una, snd_nxt=top,
            )
        )  # fmt: skip
    return now, una


@pytest.mark.rfc("5681", "3.1")
def test_slow_start_doubles_per_round() -> None:
    cc = Reno(MSS, 10 * MSS, 0)
    run_round(cc, 0, 100 * MS, 0)
    assert cc.cwnd == 20 * MSS


@pytest.mark.rfc("5681", "3.1")
def test_congestion_avoidance_adds_one_segment_per_round() -> None:
    cc = Reno(MSS, 10 * MSS, 0)
    cc.ssthresh = 10 * MSS
    now, una = 0, 0
    for expected in (11, 12, 13):
        now, una = run_round(cc, now, 100 * MS, una)
        assert cc.cwnd == expected * MSS


@pytest.mark.rfc("5681", "3.1", "eq. 4")
def test_reno_halves_on_loss_and_restarts_on_timeout() -> None:
    cc = Reno(MSS, 10 * MSS, 0)
    cc.on_loss(0, 10 * MSS)
    assert cc.ssthresh == 5 * MSS
    assert cc.cwnd == 10 * MSS  # PRR brings it down
    cc.on_recovery_exit(1)
    assert cc.cwnd == 5 * MSS
    cc.on_rto(2, 5 * MSS)
    assert (cc.cwnd, cc.ssthresh) == (MSS, 2 * MSS)
    cc.on_rto(3, MSS)  # again: ssthresh stays (RFC 5681 §3.1)
    assert cc.ssthresh == 2 * MSS
    cc.on_recovery_exit(4)
    assert cc.cwnd == MSS  # slow start goes on


def test_undo_restores_window_and_threshold() -> None:
    for cc in (Reno(MSS, 10 * MSS, 0), Cubic(MSS, 10 * MSS, 0)):
        cc.on_loss(0, 10 * MSS)
        cc.cwnd = 6 * MSS
        cc.undo()
        assert cc.cwnd == 10 * MSS
        assert cc.ssthresh == base.INFINITE_SSTHRESH
        cc.cwnd = 3 * MSS
        cc.undo()  # nothing left to undo
        assert cc.cwnd == 3 * MSS


@pytest.mark.rfc("7661", "4")
def test_window_does_not_grow_when_not_limited_by_it() -> None:
    for cc in (Reno(MSS, 10 * MSS, 0), Cubic(MSS, 10 * MSS, 0)):
        cc.cwnd_limited = 0
        cc.on_sent(0, 2 * MSS, 2 * MSS)
        cc.on_ack(AckSample(now=1, acked=2 * MSS, prior_in_flight=2 * MSS, rtt=1, snd_una=1))
        assert cc.cwnd == 10 * MSS


def test_slow_start_grows_when_more_than_half_the_window_is_used() -> None:
    cc = Reno(MSS, 10 * MSS, 0)
    cc.cwnd_limited = 0
    cc.on_sent(0, 9 * MSS, 9 * MSS)
    cc.on_ack(AckSample(now=1, acked=9 * MSS, prior_in_flight=9 * MSS, rtt=1))
    assert cc.cwnd == 19 * MSS
    cc.on_sent(2, 9 * MSS, 9 * MSS)
    cc.on_ack(AckSample(now=3, acked=9 * MSS, prior_in_flight=9 * MSS, rtt=1))
    assert cc.cwnd == 19 * MSS  # more than twice what was used: enough


@pytest.mark.rfc("5681", "4.1")
def test_idle_restart_decays_to_the_initial_window() -> None:
    cc = Reno(MSS, 10 * MSS, 0)
    cc.cwnd = 64 * MSS
    cc.on_sent(0, MSS, MSS)
    cc.idle_restart(SECOND, 2 * SECOND)
    assert cc.cwnd == 64 * MSS
    cc.idle_restart(3 * SECOND, 2 * SECOND)
    assert cc.cwnd == 32 * MSS
    cc.on_sent(3 * SECOND, MSS, MSS)
    cc.idle_restart(1000 * SECOND, 2 * SECOND)
    assert cc.cwnd == 10 * MSS
    assert cc.ssthresh >= 24 * MSS


@given(st.integers(0, 1 << 90))
def test_cube_root_is_exact(n: int) -> None:
    x = cube_root(n)
    assert x**3 <= n < (x + 1) ** 3


@pytest.mark.rfc("9438", "4.6")
def test_cubic_multiplies_by_seven_tenths() -> None:
    cc = Cubic(MSS, 100 * MSS, 0)
    cc.on_loss(0, 100 * MSS)
    assert cc.ssthresh == 70 * MSS
    assert cc.w_max == 100
    cc.on_recovery_exit(1)
    cc.on_loss(2, 70 * MSS)  # fast convergence (§4.7)
    assert cc.w_max == 70 * 1741 // 2048


@pytest.mark.rfc("9438", "4.2")
def test_cubic_returns_to_w_max_after_k() -> None:
    cc = Cubic(MSS, 400 * MSS, 0)
    cc.on_loss(0, 400 * MSS)
    cc.on_recovery_exit(0)
    now, una = 0, 0
    rtt = 100 * MS
    k = (400 * 0.3 / 0.4) ** (1 / 3)  # seconds
    while now < k * SECOND:
        now, una = run_round(cc, now, rtt, una)
    assert 392 * MSS <= cc.cwnd <= 408 * MSS
    plateau = cc.cwnd
    for _ in range(10):
        now, una = run_round(cc, now, rtt, una)
    assert cc.cwnd <= plateau * 102 // 100  # concave end: hardly moves
    for _ in range(40):
        now, una = run_round(cc, now, rtt, una)
    assert cc.cwnd > 440 * MSS  # convex region


@pytest.mark.rfc("9438", "4.3")
def test_cubic_is_not_slower_than_reno_on_short_paths() -> None:
    cubic, reno = Cubic(MSS, 20 * MSS, 0), Reno(MSS, 20 * MSS, 0)
    for cc in (cubic, reno):
        cc.on_loss(0, 20 * MSS)
        cc.on_recovery_exit(0)
        now, una = 0, 0
        for _ in range(200):
            now, una = run_round(cc, now, 5 * MS, una)
    # AIMD with alpha 0.53 and beta 0.7 has Reno's average, so over one long epoch half its slope
    assert cubic.cwnd >= 14 * MSS + 200 * MSS // 2


@pytest.mark.rfc("9406", "4.2")
def test_hystart_slows_down_when_the_round_trip_grows() -> None:
    cc = Cubic(MSS, 32 * MSS, 0)
    now, una = run_round(cc, 0, 100 * MS, 0)
    assert cc.cwnd == 64 * MSS
    now, una = run_round(cc, now, 130 * MS, una)
    assert cc.hystart.in_css
    before = cc.cwnd
    now, una = run_round(cc, now, 130 * MS, una)
    assert cc.cwnd <= before * 126 // 100  # a quarter of the pace
    for _ in range(6):
        now, una = run_round(cc, now, 130 * MS, una)
    assert cc.ssthresh < base.INFINITE_SSTHRESH  # five such rounds: congestion avoidance


@pytest.mark.rfc("9406", "4.2")
def test_hystart_resumes_when_the_rise_was_noise() -> None:
    cc = Cubic(MSS, 32 * MSS, 0)
    now, una = run_round(cc, 0, 100 * MS, 0)
    now, una = run_round(cc, now, 130 * MS, una)
    assert cc.hystart.in_css
    now, una = run_round(cc, now, 100 * MS, una)
    assert not cc.hystart.in_css
    assert cc.ssthresh == base.INFINITE_SSTHRESH


def test_registry() -> None:
    assert {"reno", "cubic"} <= set(base.available())
    assert isinstance(base.create("reno", MSS, 10 * MSS, 0), Reno)
    assert base.known("cubic")
    assert not base.known("no such thing")
    with pytest.raises(KeyError):
        base.create("no such thing", MSS, MSS, 0)
    with pytest.raises(ValueError, match="registered"):
        base.register("reno", Cubic)


@given(
    st.sampled_from(["reno", "cubic"]),
    st.lists(st.tuples(st.sampled_from("aaaalrueix"), st.integers(0, 60_000)), max_size=60),
)
def test_windows_stay_sane(name: str, events: list[tuple[str, int]]) -> None:
    cc = base.create(name, MSS, 10 * MSS, 0)
    now = una = 0
    for kind, n in events:
        now += n * 1000
        if kind == "a":
            una = (una + n) & 0xFFFFFFFF
            cc.on_sent(now, n, n)
            cc.on_ack(AckSample(now=now, acked=n, rtt=n, min_rtt=n, snd_una=una, snd_nxt=una + n))
        elif kind == "l":
            cc.on_loss(now, n)
        elif kind == "r":
            cc.on_rto(now, n)
        elif kind == "u":
            cc.undo()
        elif kind == "e":
            cc.on_ecn(now, n)
        elif kind == "i":
            cc.idle_restart(now, 1_000_000)
        else:
            cc.on_recovery_exit(now)
        assert cc.cwnd >= MSS
        assert cc.ssthresh >= 2 * MSS
        assert isinstance(cc.cwnd, int)
