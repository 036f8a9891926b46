# SPDX-License-Identifier: Apache-2.0
"""BBR on an ideal pipe: a bottleneck of known rate and delay, one flow."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from capas.base.clock import MS, SECOND
from capas.transport.tcp.congestion.base import AckSample, create
from capas.transport.tcp.congestion.bbr import DRAIN, PROBE_BW, PROBE_RTT, STARTUP, Bbr
from capas.transport.tcp.rate import RateSampler

MSS = 1000


class Pipe:
    """Sends one segment at a time, paced, window permitting; every segment is acknowledged."""

    def __init__(self, rate: int, rtt: int) -> None:
        self.cc = Bbr(MSS, 10 * MSS, 0)
        self.rate, self.rtt = rate, rtt
        self.sampler = RateSampler()
        self.now = self.next_send = self.free = self.snd_nxt = self.snd_una = 0
        self.flight: deque[tuple[int, tuple[int, int, int, int, int], int]] = deque()
        self.min_rtt = -1
        self.modes: list[int] = [STARTUP]
        self.largest_queue = 0

    def run(self, until: int) -> None:
        cc = self.cc
        while self.now < until:
            can_send = len(self.flight) * MSS + MSS <= cc.cwnd
            ack_at = self.flight[0][0] if self.flight else until
            if can_send and self.next_send <= ack_at:
                self.now = max(self.now, self.next_send)
                self._send()
            else:
                self.now = max(self.now, ack_at)
                if self.flight:
                    self._ack()
            if cc.mode != self.modes[-1]:
                self.modes.append(cc.mode)

    def _send(self) -> None:
        in_flight = len(self.flight) * MSS
        self.sampler.on_sent(self.now, in_flight)
        s = self.sampler
        record = (self.now, s.delivered, s.delivered_time, s.first_sent_time, s.app_limited)
        self.free = max(self.free, self.now) + MSS * SECOND // self.rate
        self.flight.append((self.free + self.rtt, record, self.now))
        self.snd_nxt += MSS
        self.cc.on_sent(self.now, MSS, in_flight + MSS)
        self.next_send = self.now + MSS * SECOND // self.cc.pacing_rate

    def _ack(self) -> None:
        _, record, sent = self.flight.popleft()
        rtt = self.now - sent
        self.min_rtt = rtt if self.min_rtt < 0 else min(rtt, self.min_rtt)
        s = self.sampler
        s.begin()
        s.on_delivered(self.now, MSS, *record)
        s.finish(self.now, self.min_rtt)
        self.snd_una += MSS
        flight = len(self.flight) * MSS
        self.cc.on_ack(
            AckSample(
                now=self.now, acked=MSS, in_flight=flight, prior_in_flight=flight + MSS, rtt=rtt,
                min_rtt=self.min_rtt, delivered=s.delivered, rate=s.rate,
                snd_una=self.snd_una, snd_nxt=self.snd_nxt, prior_delivered=s.prior_delivered,
            )
        )  # fmt: skip


def test_finds_the_bandwidth_and_the_delay() -> None:
    pipe = Pipe(rate=1_250_000, rtt=40 * MS)  # 10 Mbit/s: 50 segments fill it
    pipe.run(3 * SECOND)
    cc = pipe.cc
    assert pipe.modes[:3] == [STARTUP, DRAIN, PROBE_BW]
    assert 0.95 * 1_250_000 <= cc.path.bandwidth <= 1.05 * 1_250_000
    assert 40 * MS <= cc.path.min_rtt <= 42 * MS
    # delivered at least 90 % of what the bottleneck could carry
    assert pipe.sampler.delivered >= 0.9 * 1_250_000 * 2.9
    assert cc.cwnd <= 2.6 * 1_250_000 * 0.041  # twice the path, and bursts


def test_probes_the_round_trip_every_ten_seconds_and_recovers() -> None:
    pipe = Pipe(rate=250_000, rtt=20 * MS)
    pipe.run(14 * SECOND)
    assert pipe.modes.count(PROBE_RTT) >= 1
    assert pipe.modes[-1] == PROBE_BW
    assert pipe.sampler.delivered >= 0.88 * 250_000 * 14


def test_loss_does_not_shrink_the_estimate() -> None:
    pipe = Pipe(rate=1_250_000, rtt=40 * MS)
    pipe.run(2 * SECOND)
    before = pipe.cc.cwnd
    pipe.cc.on_loss(pipe.now, len(pipe.flight) * MSS)
    pipe.run(pipe.now + 45 * MS)
    pipe.cc.on_recovery_exit(pipe.now)
    assert pipe.cc.cwnd >= before
    assert pipe.cc.ssthresh > 0


def test_timeout_restarts_from_one_segment_and_the_window_returns() -> None:
    pipe = Pipe(rate=1_250_000, rtt=40 * MS)
    pipe.run(2 * SECOND)
    before = pipe.cc.cwnd
    pipe.cc.on_rto(pipe.now, 0)
    assert pipe.cc.cwnd == MSS
    pipe.cc.on_recovery_exit(pipe.now)
    assert pipe.cc.cwnd >= before


@given(
    st.lists(
        st.tuples(st.sampled_from("aaaaalrxus"), st.integers(0, 40_000), st.integers(0, 10**8)),
        max_size=60,
    )
)
def test_window_and_rate_stay_positive(events: list[tuple[str, int, int]]) -> None:
    cc = create("bbr", MSS, 10 * MSS, 0)
    now = una = 0
    for kind, n, t in events:
        now += t
        if kind == "a":
            una = (una + n) & 0xFFFFFFFF
            cc.on_ack(
                AckSample(
                    now=now, acked=n, rtt=t, min_rtt=t, in_flight=n, prior_in_flight=2 * n,
                    delivered=una, rate=n * 10, snd_una=una, snd_nxt=una + n, lost=n // 3,
                )
            )  # fmt: skip
        elif kind == "l":
            cc.on_loss(now, n)
        elif kind == "r":
            cc.on_rto(now, n)
        elif kind == "x":
            cc.on_recovery_exit(now)
        elif kind == "u":
            cc.undo()
        else:
            cc.on_sent(now, n, n)
        assert cc.cwnd >= MSS
        assert cc.pacing_rate > 0
