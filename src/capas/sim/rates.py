# SPDX-License-Identifier: Apache-2.0
"""How fast a direction of a wire serialises: constant, token bucket, or by a trace.

Rates are bytes per second, times ns.  A rate answers one question, when a burst of bytes that
starts at a time is out, and may remember what it gave (the token bucket does).
"""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from typing import final

from capas.base.clock import NEVER, SECOND
from capas.base.native import mypyc_attr
from capas.errors import ConfigurationError
from capas.sim.units import Rate, Time, rate_bytes, size_bytes, time_ns


@mypyc_attr(allow_interpreted_subclasses=True)
class LineRate(ABC):
    """When bytes handed over at a time have left."""

    @abstractmethod
    def finish(self, start: int, size: int) -> int:
        """When the last of ``size`` bytes is out if the first may go at ``start``."""


@final
class ConstantRate(LineRate):
    """The same rate always."""

    __slots__ = ("rate",)

    def __init__(self, rate: Rate) -> None:
        self.rate: int = rate_bytes(rate)
        if not self.rate:
            raise ConfigurationError("rate: a constant rate must be more than nothing")

    def finish(self, start: int, size: int) -> int:
        """When the last byte is out."""
        return start + size * SECOND // self.rate


@final
class TokenBucket(LineRate):
    """``burst`` bytes go at once, the long run keeps to ``rate`` (RFC 2697's committed part)."""

    __slots__ = ("_at", "_tokens", "burst", "peak", "rate")

    def __init__(self, rate: Rate, burst: int | str, peak: Rate = None) -> None:
        self.rate: int = rate_bytes(rate)
        self.burst: int = size_bytes(burst, "burst")
        self.peak: int = rate_bytes(peak, "peak")
        if not self.rate or not self.burst:
            raise ConfigurationError("a token bucket needs a rate and a burst of more than nothing")
        self._tokens: int = self.burst * SECOND  # byte-nanoseconds, so that nothing is rounded away
        self._at: int = 0

    def finish(self, start: int, size: int) -> int:
        """When the last byte is out."""
        limit = self.burst * SECOND
        tokens = min(limit, self._tokens + max(0, start - self._at) * self.rate)
        tokens -= size * SECOND
        self._tokens = tokens
        self._at = max(start, self._at)
        end = start if tokens >= 0 else self._at + -tokens // self.rate
        if self.peak:
            end = max(end, start + size * SECOND // self.peak)
        return end


@final
class TraceRate(LineRate):
    """A rate that changes at given times: ``[(0, "10Mbit"), (2.5, "1Mbit"), (3, None), ...]``.

    None (or 0) stands for an outage.  With ``repeat`` the trace starts over after that time.
    """

    __slots__ = ("_rates", "_times", "repeat")

    def __init__(self, trace: Sequence[tuple[Time, Rate]], repeat: Time | None = None) -> None:
        self._times: list[int] = [time_ns(when, "trace") for when, _ in trace]
        self._rates: list[int] = [rate_bytes(rate or None, "trace") for _, rate in trace]
        self.repeat: int = NEVER if repeat is None else time_ns(repeat, "repeat")
        if not trace or self._times[0] != 0 or sorted(set(self._times)) != self._times:
            raise ConfigurationError("trace: times must start at 0 and rise")
        if self.repeat <= self._times[-1]:
            raise ConfigurationError("trace: it must repeat after its last time, not before")
        if not (any(self._rates) if repeat is not None else self._rates[-1]):
            raise ConfigurationError("trace: a rate of nothing for ever lets nothing out")

    def finish(self, start: int, size: int) -> int:
        """When the last byte is out."""
        left = size * SECOND
        round_start = start - start % self.repeat if self.repeat != NEVER else 0
        offset = start - round_start
        index = bisect_right(self._times, offset) - 1
        while True:
            rate = self._rates[index]
            last = index + 1 == len(self._times)
            end = self.repeat if last else self._times[index + 1]
            if rate:
                room = (end - offset) * rate
                if left <= room:
                    return round_start + offset + left // rate
                left -= room
            offset = end
            index += 1
            if last:
                round_start += self.repeat
                offset = index = 0


def line_rate(value: "Rate | LineRate", what: str = "link") -> LineRate | None:
    """A `LineRate` of what a user gave; None for no limit."""
    if value is None or isinstance(value, LineRate):
        return value
    return ConstantRate(rate_bytes(value, f"{what}: rate"))
