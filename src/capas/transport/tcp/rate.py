# SPDX-License-Identifier: Apache-2.0
"""Delivery rate samples: how fast the path took what was sent.

As in the delivery rate estimation of BBR (Cheng et al.) and Linux tcp_rate.c: each sent record
remembers what had been delivered when it left; when it is acknowledged, the bytes delivered since,
divided by the longer of the time spent sending and the time spent acknowledging them, are a sample.
A sample shorter than the smallest round trip is compressed acknowledgements, and no sample.

Use: `on_sent`, then copy ``delivered, delivered_time, first_sent_time, app_limited`` into the
record; for each record newly acknowledged or SACKed `on_delivered`; at the end of the ACK `finish`.
Units: ns, bytes, bytes/s.
"""

from typing import final

from capas.base.clock import SECOND


@final
class RateSampler:
    """Delivery bookkeeping of one connection and the sample of the ACK at hand.

    ``delivered``        bytes delivered so far; ``delivered_time`` when that last grew
    ``first_sent_time``  when the flight that is being measured began
    ``app_limited``      value of ``delivered`` at which the pipe is full again, 0: not limited
    ``rate``             result of `finish`, bytes/s, 0: no sample; ``rate_app_limited`` 0 or 1
    ``prior_delivered``  ``delivered`` when the measured record was sent, -1: nothing measured
    """

    __slots__ = (
        "_ack_start",
        "_record_app_limited",
        "_send_elapsed",
        "app_limited",
        "delivered",
        "delivered_time",
        "first_sent_time",
        "interval",
        "prior_delivered",
        "rate",
        "rate_app_limited",
    )

    def __init__(self) -> None:
        self.delivered: int = 0
        self.delivered_time: int = 0
        self.first_sent_time: int = 0
        self.app_limited: int = 0
        self.rate: int = 0
        self.rate_app_limited: int = 0
        self.interval: int = 0
        self.prior_delivered: int = -1
        self._send_elapsed: int = 0
        self._ack_start: int = 0
        self._record_app_limited: int = 0

    def on_sent(self, now: int, in_flight: int) -> None:
        """A record is about to leave; ``in_flight`` does not count it yet."""
        if in_flight == 0:
            self.first_sent_time = now
            self.delivered_time = now

    def on_delivered(
        self,
        now: int,
        size: int,
        sent_time: int,
        delivered: int,
        delivered_time: int,
        first_sent_time: int,
        app_limited: int,
    ) -> None:
        """A record (its own five facts) was acknowledged for the first time."""
        self.delivered += size
        self.delivered_time = now
        # Of all records of this ACK the one sent last measures: the most recent state.
        if self.prior_delivered < 0 or (
            delivered > self.prior_delivered
            or (delivered == self.prior_delivered and sent_time > self.first_sent_time)
        ):
            self.prior_delivered = delivered
            self._ack_start = delivered_time
            self._send_elapsed = sent_time - first_sent_time
            self._record_app_limited = 1 if app_limited else 0
            self.first_sent_time = sent_time

    def on_clean(
        self,
        now: int,
        size: int,
        sent_time: int,
        delivered: int,
        delivered_time: int,
        first_sent_time: int,
        app_limited: int,
    ) -> None:
        """An ACK delivered ``size`` bytes in order; the facts are those of the record sent last."""
        self.delivered += size
        self.delivered_time = now
        self.prior_delivered = delivered
        self._ack_start = delivered_time
        self._send_elapsed = sent_time - first_sent_time
        self._record_app_limited = 1 if app_limited else 0
        self.first_sent_time = sent_time

    def finish(self, now: int, min_rtt: int) -> int:
        """Compute the ACK's sample; returns ``rate``.  ``min_rtt`` -1 if unknown."""
        self.rate = 0
        if self.app_limited and self.delivered > self.app_limited:
            self.app_limited = 0
        if self.prior_delivered < 0:
            return 0
        interval = now - self._ack_start
        if interval < self._send_elapsed:
            interval = self._send_elapsed
        self.interval = interval
        self.rate_app_limited = self._record_app_limited
        if interval > 0 and interval >= min_rtt:
            self.rate = (self.delivered - self.prior_delivered) * SECOND // interval
        return self.rate

    def begin(self) -> None:
        """A new ACK starts."""
        self.prior_delivered = -1
        self.rate = 0

    def limited_by_application(self, in_flight: int) -> None:
        """Nothing more to send though the window has room."""
        self.app_limited = self.delivered + in_flight or 1
