# SPDX-License-Identifier: Apache-2.0
"""BBR, version 1: pace at the bottleneck's bandwidth, keep about one path's worth in flight.

Cardwell et al. (2016) and Linux 6.18 tcp_bbr.c.  STARTUP doubles per round until the pipe is full,
DRAIN empties the queue that made, PROBE_BW cycles the pacing gain 5/4, 3/4, 1 x 6, and PROBE_RTT
shrinks to four segments for 200 ms when the smallest round trip has not been seen for ten seconds.
Loss moves it only for one round (packet conservation), so it keeps its rate on paths that lose at
random.  The phase in which PROBE_BW begins comes from the time, not from a random number.
Units: bytes, ns, bytes/s; gains in 1/256.
"""

from typing import ClassVar, Final

from capas.base.clock import MS, SECOND, US
from capas.transport.tcp.congestion.base import (
    LOSS,
    OPEN,
    RECOVERY,
    AckSample,
    CongestionControl,
    register,
)
from capas.transport.tcp.congestion.bbr_model import UNIT, Aggregation, PathModel

HIGH_GAIN: Final = UNIT * 2885 // 1000 + 1  # 2/ln 2: doubles the rate per round
DRAIN_GAIN: Final = UNIT * 1000 // 2885
CWND_GAIN: Final = 2 * UNIT
CYCLE: Final = (UNIT * 5 // 4, UNIT * 3 // 4, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT)
MIN_SEGMENTS: Final = 4  # smallest window, and the window of PROBE_RTT
PROBE_RTT_TIME: Final = 200 * MS
MARGIN_PERCENT: Final = 1  # pace a little below the estimate, so that queues drain
BURST_MAX: Final = 65_536  # bytes in one super-frame
LOW_RATE: Final = 150_000  # bytes/s (1.2 Mbit/s): below it bursts are one segment

STARTUP: Final = 0
DRAIN: Final = 1
PROBE_BW: Final = 2
PROBE_RTT: Final = 3


class Bbr(CongestionControl):
    """BBR v1.  ``mode`` is STARTUP, DRAIN, PROBE_BW or PROBE_RTT."""

    name: ClassVar[str] = "bbr"
    uses_prr: ClassVar[bool] = False
    paces: ClassVar[bool] = True

    def __init__(self, mss: int, initial_window: int, now: int) -> None:
        super().__init__(mss, initial_window, now)
        self.path: PathModel = PathModel(now)
        self.aggregation: Aggregation = Aggregation(now)
        self.mode: int = STARTUP
        self.pacing_gain: int = HIGH_GAIN
        self.cwnd_gain: int = HIGH_GAIN
        self.cycle_index: int = 0
        self.cycle_start: int = now
        self.probe_end: int = 0  # when PROBE_RTT may end, 0: window not yet small
        self.probe_round_done: bool = False
        self.conserving: bool = False  # first round of recovery: send what was delivered
        self.restarting: bool = False  # from idle
        self.entered: int = OPEN  # phase seen by the previous ACK
        # Before the first sample: the initial window in a millisecond (Linux), gained.
        self.pacing_rate = initial_window * 1000 * HIGH_GAIN // UNIT

    # -- events -----------------------------------------------------------------------------------

    def on_sent(self, now: int, size: int, in_flight: int) -> None:
        """As the base; a start from idle is paced at the estimate, without gain."""
        if in_flight <= size and self.path.bandwidth and now > self.last_sent:
            self.restarting = True
            self.aggregation.restart(now)
            if self.mode == PROBE_BW:
                self._pace(UNIT)
            elif self.mode == PROBE_RTT:
                self._maybe_end_probe_rtt(now)
        super().on_sent(now, size, in_flight)

    def on_ack(self, s: AckSample) -> None:
        """Update the model, then the phase, then rate and window."""
        path = self.path
        path.update(s)
        if path.round_start:
            self.conserving = False
        self.aggregation.update(s, path, self.cwnd)
        self._cycle(s)
        self._leave_startup(s)
        self._probe_rtt(s)
        self._set_gains()
        self._pace(self.pacing_gain)
        self._set_cwnd(s)
        self.note_round(s)

    def on_loss(self, now: int, in_flight: int) -> None:
        """Recovery begins: one round of packet conservation; ssthresh plays no part."""
        self._save_cwnd()
        self.phase = RECOVERY

    def on_ecn(self, now: int, ce_bytes: int) -> None:
        """Version 1 does not listen to marks."""

    def on_rto(self, now: int, in_flight: int) -> None:
        """Timeout: one segment; the window returns with the acknowledgements."""
        self._save_cwnd()
        self.path.restart_full_check()
        self.phase = self.entered = LOSS
        self.conserving = False
        self.cwnd = self.mss

    def on_recovery_exit(self, now: int) -> None:
        """The window of before comes back at once: the model, not loss, sets it."""
        self._restore_cwnd()

    def undo(self) -> None:
        """The loss was none."""
        self.path.restart_full_check()
        self._restore_cwnd()

    def idle_restart(self, now: int, rto: int) -> None:
        """Pacing makes a restart window needless."""

    # -- window and rate --------------------------------------------------------------------------

    def _save_cwnd(self) -> None:
        if self.phase == OPEN and self.mode != PROBE_RTT:
            self.prior_cwnd = self.cwnd
        else:
            self.prior_cwnd = max(self.prior_cwnd, self.cwnd)

    def _restore_cwnd(self) -> None:
        self.phase = self.entered = OPEN
        self.conserving = False
        if self.mode != PROBE_RTT:
            self.cwnd = max(self.cwnd, self.prior_cwnd)

    def _pace(self, gain: int) -> None:
        path = self.path
        if path.bandwidth == 0:
            if path.min_rtt > 0:
                self.pacing_rate = self.cwnd * SECOND * HIGH_GAIN // (path.min_rtt * UNIT)
            return
        rate = path.bandwidth * gain * (100 - MARGIN_PERCENT) // (UNIT * 100)
        if path.full or rate > self.pacing_rate:
            self.pacing_rate = max(rate, self.mss)

    def _burst(self) -> int:
        """Bytes sent in one go at the present rate: a millisecond's worth, in whole segments."""
        least = 1 if self.pacing_rate < LOW_RATE else 2
        segments = max(min(self.pacing_rate >> 10, BURST_MAX) // self.mss, least)
        return segments * self.mss

    def _inflight(self, gain: int) -> int:
        """Bytes to have in flight at ``gain``, with room for bursts at both ends."""
        if self.path.min_rtt < 0:
            return self.initial_window
        target = self.path.bdp(gain) + 3 * self._burst()
        pair = 2 * self.mss
        target = -(-target // pair) * pair  # delayed ACKs come in pairs
        if self.mode == PROBE_BW and self.cycle_index == 0:
            target += pair
        return target

    def _set_cwnd(self, s: AckSample) -> None:
        acked, cwnd, mss = s.acked, self.cwnd, self.mss
        if acked > 0:
            if s.lost > 0:
                cwnd = max(cwnd - s.lost, mss)
            if self.phase == RECOVERY and self.entered != RECOVERY:
                self.entered = RECOVERY
                self.conserving = True
                self.path.end_round(s.delivered, s.snd_nxt)
                cwnd = s.in_flight + acked
            if self.conserving:
                cwnd = max(cwnd, s.in_flight + acked)
            else:
                target = self._inflight(self.cwnd_gain)
                if self.path.full:
                    cwnd = min(cwnd + acked, target + self.aggregation.extra)
                elif cwnd < target or s.delivered < self.initial_window:
                    cwnd += acked
                cwnd = max(cwnd, MIN_SEGMENTS * mss)
            self.cwnd = max(cwnd, mss)
        if self.mode == PROBE_RTT:
            self.cwnd = min(self.cwnd, MIN_SEGMENTS * mss)

    # -- phases -----------------------------------------------------------------------------------

    def _set_gains(self) -> None:
        if self.mode == STARTUP:
            self.pacing_gain = self.cwnd_gain = HIGH_GAIN
        elif self.mode == DRAIN:
            self.pacing_gain, self.cwnd_gain = DRAIN_GAIN, HIGH_GAIN
        elif self.mode == PROBE_BW:
            self.pacing_gain, self.cwnd_gain = CYCLE[self.cycle_index], CWND_GAIN
        else:
            self.pacing_gain = self.cwnd_gain = UNIT

    def _leave_startup(self, s: AckSample) -> None:
        if self.mode == STARTUP and self.path.full:
            self.mode = DRAIN
            self.ssthresh = max(self._inflight(UNIT), MIN_SEGMENTS * self.mss)
        if self.mode == DRAIN and s.in_flight <= self._inflight(UNIT):
            self._enter_probe_bw(s.now)

    def _enter_probe_bw(self, now: int) -> None:
        self.mode = PROBE_BW
        # Any phase but the draining one; flows that start together should not probe together.
        self.cycle_index = (7 - now // US % 7 + 1) % 8
        self.cycle_start = now

    def _cycle(self, s: AckSample) -> None:
        if self.mode != PROBE_BW:
            return
        long_enough = s.now - self.cycle_start > max(self.path.min_rtt, 0)
        gain = CYCLE[self.cycle_index]
        if gain > UNIT:
            done = long_enough and (s.lost > 0 or s.prior_in_flight >= self._inflight(gain))
        elif gain < UNIT:
            done = long_enough or s.prior_in_flight <= self._inflight(UNIT)
        else:
            done = long_enough
        if done:
            self.cycle_index = (self.cycle_index + 1) % len(CYCLE)
            self.cycle_start = s.now

    def _probe_rtt(self, s: AckSample) -> None:
        if self.path.expired and not self.restarting and self.mode != PROBE_RTT:
            self._save_cwnd()
            self.mode = PROBE_RTT
            self.probe_end = 0
        if self.mode == PROBE_RTT:
            if self.probe_end == 0:
                if s.in_flight <= MIN_SEGMENTS * self.mss:
                    self.probe_end = s.now + PROBE_RTT_TIME
                    self.probe_round_done = False
                    self.path.end_round(s.delivered, s.snd_nxt)
            else:
                if self.path.round_start:
                    self.probe_round_done = True
                if self.probe_round_done:
                    self._maybe_end_probe_rtt(s.now)
        if s.acked > 0:
            self.restarting = False

    def _maybe_end_probe_rtt(self, now: int) -> None:
        if self.probe_end == 0 or now <= self.probe_end:
            return
        self.path.min_rtt_time = now
        self.cwnd = max(self.cwnd, self.prior_cwnd)
        if self.path.full:
            self._enter_probe_bw(now)
        else:
            self.mode = STARTUP


register("bbr", Bbr)
