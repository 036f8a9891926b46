# SPDX-License-Identifier: Apache-2.0
"""CUBIC (RFC 9438) with HyStart++ (RFC 9406), in integers only.

The window follows W(t) = C (t - K)^3 + W_max with C = 0.4 segments/s^3 and beta = 717/1024, but is
never slower than Reno would be (Reno-friendly region, RFC 9438 §4.3).  Time in the function is in
1/1024 s, windows in segments, so that every Python computes the same: the cube root is Newton's,
on integers.  Fast convergence (§4.7), spurious events undone with their epoch (§4.9).
"""

from typing import ClassVar, Final

from capas.base.clock import MS, SECOND
from capas.transport.tcp.congestion.base import (
    MIN_CWND_SEGMENTS,
    AckSample,
    register,
)
from capas.transport.tcp.congestion.hystart import GO_ON, LEAVE, LINUX, RFC9406, SLOWER, HyStart
from capas.transport.tcp.congestion.reno import Reno

BETA: Final = 717  # /1024: 0.7, RFC 9438 §4.6
BETA_SCALE: Final = 1024
HZ: Final = 1024  # units of t per second
C_SCALED: Final = 410  # C = 0.4 * 1024
RENO_ALPHA: Final = 15  # 8 * (1 + beta) / (3 * (1 - beta)), RFC 9438 eq. 4 (an eighth per unit)
UPDATE_INTERVAL: Final = SECOND // 32  # recompute at most this often while cwnd stands still
SAMPLE_PAUSE: Final = SECOND  # RTT samples right after recovery mislead HyStart (Linux)


def cube_root(n: int) -> int:
    """Largest x with x**3 <= n, by Newton's method on integers."""
    if n <= 0:
        return 0
    x = 1 << -(-n.bit_length() // 3)
    while True:
        y = (2 * x + n // (x * x)) // 3
        if y >= x:
            return x
        x = y


class Cubic(Reno):
    """RFC 9438.  Private windows are in segments, ``epoch`` in ns (-1: none)."""

    __slots__ = (
        "_watch",
        "epoch",
        "k",
        "origin",
        "reno_credit",
        "saved",
        "segments_per_growth",
        "updated",
        "updated_cwnd",
        "w_max",
        "w_reno",
    )

    name: ClassVar[str] = "cubic"
    hystart_mode: ClassVar[int] = RFC9406

    def __init__(self, mss: int, initial_window: int, now: int) -> None:
        super().__init__(mss, initial_window, now)
        self._watch: HyStart | None = None  # idle connections do without
        self.epoch: int = -1
        self.w_max: int = 0
        self.origin: int = 0  # plateau of the current epoch
        self.k: int = 0  # in 1/1024 s
        self.w_reno: int = 0  # what Reno would have, RFC 9438 W_est
        self.reno_credit: int = 0  # acknowledged bytes not yet in w_reno
        self.segments_per_growth: int = 0  # Linux cnt: ACKed segments per segment of growth
        self.updated: int = 0
        self.updated_cwnd: int = 0
        self.saved: tuple[int, int, int, int, int] | None = None

    # -- events -----------------------------------------------------------------------------------

    def on_sent(self, now: int, size: int, in_flight: int) -> None:
        """As the base; an idle application stops the cubic clock."""
        if in_flight <= size and self.epoch >= 0 and now > self.last_sent:
            # The application paused: time stood still for the cubic function (RFC 9438 §5.8).
            self.epoch = min(self.epoch + now - self.last_sent, now)
        self.last_sent = now
        if in_flight > self.max_in_flight:
            self.max_in_flight = in_flight

    def on_ack(self, s: AckSample) -> None:
        """Slow start under HyStart's watch, then the cubic function."""
        acked = s.acked
        if acked > 0 and s.advanced and not s.in_recovery and self.may_grow():
            divisor = 1
            if self.cwnd < self.ssthresh:
                divisor = self._watch_slow_start(s)
            if self.cwnd < self.ssthresh:
                if divisor > 1:
                    acked = self.slow_start(-(-acked // divisor))
                else:
                    acked = self.slow_start(acked)
            if acked > 0 and self.cwnd >= self.ssthresh:
                self._update(s.now, acked, s.min_rtt)
                self.additive(self.segments_per_growth * self.mss, acked)
        elif self._watch is not None and s.rtt >= 0 and self.cwnd < self.ssthresh:
            self._watch_slow_start(s)  # from when the window was used for the first time
        self.note_round(s)

    @property
    def hystart(self) -> HyStart:
        """The watch over slow start."""
        if self._watch is None:
            self._watch = HyStart(self.hystart_mode)
        return self._watch

    def on_loss(self, now: int, in_flight: int) -> None:
        """As the base; slow start is over for good."""
        self.hystart.stop()
        super().on_loss(now, in_flight)

    def on_rto(self, now: int, in_flight: int) -> None:
        """As the base; the cubic epoch is forgotten."""
        super().on_rto(now, in_flight)
        # After a timeout nothing known of the path counts (RFC 9438 §4.8; Linux bictcp_reset).
        self._watch = None
        if self.hystart_mode == RFC9406:
            self.hystart.stop()
        self._forget()

    def undo(self) -> None:
        """Restore the epoch with the window (RFC 9438 §4.9)."""
        super().undo()
        if self.saved is not None:
            self.epoch, self.w_max, self.origin, self.k, self.w_reno = self.saved
            self.saved = None

    # -- the algorithm ----------------------------------------------------------------------------

    def reduced(self, now: int, in_flight: int) -> int:
        """ssthresh after a congestion event (§4.6); remembers W_max."""
        self.saved = (self.epoch, self.w_max, self.origin, self.k, self.w_reno)
        mss = self.mss
        segments = self.cwnd // mss
        self.epoch = -1
        if segments < self.w_max:  # fast convergence: make room for a newcomer
            self.w_max = segments * (BETA_SCALE + BETA) // (2 * BETA_SCALE)
        else:
            self.w_max = segments
        return max(segments * BETA // BETA_SCALE, MIN_CWND_SEGMENTS) * mss

    def _watch_slow_start(self, s: AckSample) -> int:
        """Ask HyStart; returns by how much slow start's growth is divided."""
        rtt = s.rtt
        if self.epoch >= 0 and s.now - self.epoch < SAMPLE_PAUSE:
            rtt = -1
        mss = self.mss
        acks = max(s.acked // (2 * mss), 1)  # that of a super-frame stands for many
        watch = self._watch or self.hystart
        verdict = watch.sample(s.snd_una, s.snd_nxt, rtt, s.min_rtt, self.cwnd // mss, acks)
        if verdict == GO_ON:
            return 1
        if verdict == SLOWER:
            return 4
        if verdict == LEAVE:
            self.ssthresh = self.cwnd
            watch.stop()
        return 1

    def _update(self, now: int, acked: int, min_rtt: int) -> None:
        """Set ``segments_per_growth`` so that the window meets the cubic function an RTT ahead."""
        mss = self.mss
        segments = max(self.cwnd // mss, 1)
        self.reno_credit += acked
        if self.epoch < 0:
            self._begin_epoch(now, segments, acked)
        elif self.updated_cwnd == segments and now - self.updated <= UPDATE_INTERVAL:
            return
        if now - self.updated >= MS or self.updated_cwnd != segments:
            self.updated = now
            self.updated_cwnd = segments
            t = (now - self.epoch + max(min_rtt, 0)) * HZ // SECOND
            offset = t - self.k
            delta = (C_SCALED * abs(offset) ** 3) >> 40
            target = self.origin - delta if offset < 0 else self.origin + delta
            if target > segments:
                count = segments // (target - segments)
            else:
                count = 100 * segments
            if self.w_max == 0 and count > 20:
                count = 20  # no idea where the plateau is: 5 % per round trip
            self.segments_per_growth = max(count, 2)
        self._reno_friendly(segments)

    def _begin_epoch(self, now: int, segments: int, acked: int) -> None:
        self.epoch = now
        self.reno_credit = acked
        self.w_reno = segments
        self.updated = -SECOND
        if self.w_max <= segments:
            self.k = 0
            self.origin = segments
        else:
            self.k = cube_root(((1 << 40) // C_SCALED) * (self.w_max - segments))
            self.origin = self.w_max

    def _reno_friendly(self, segments: int) -> None:
        step = max(segments * RENO_ALPHA >> 3, 1) * self.mss
        if self.reno_credit > step:
            grown = (self.reno_credit - 1) // step
            self.reno_credit -= grown * step
            self.w_reno += grown
        if self.w_reno > segments:
            limit = segments // (self.w_reno - segments)
            self.segments_per_growth = max(min(self.segments_per_growth, limit), 2)

    def _forget(self) -> None:
        self.epoch = -1
        self.w_max = 0
        self.origin = 0
        self.k = 0
        self.w_reno = 0
        self.reno_credit = 0
        self.updated_cwnd = 0


class LinuxCubic(Cubic):
    """CUBIC that leaves slow start by Linux's HyStart delay rule instead of RFC 9406."""

    __slots__ = ()

    hystart_mode: ClassVar[int] = LINUX


register("cubic", Cubic)
register("cubic-linux", LinuxCubic)
