# SPDX-License-Identifier: Apache-2.0
"""Quantities as people write them: "10Mbit", "20ms", 0.02, "2%", "64KiB".

Text and floats exist at the public boundary only; inside, times are ns, sizes bytes, rates bytes
per second (`int`) and probabilities floats in [0, 1].  Whatever cannot be understood raises
`ConfigurationError` naming the setting and the value.
"""

import math
import re
from typing import Final

from capas.base.clock import MS, SECOND, US
from capas.errors import ConfigurationError

#: Accepted for a duration: seconds as a number, or text with a unit.
Time = float | str
#: Accepted for a rate: bytes per second as a number, text with a unit, None for "no limit".
Rate = float | str | None
#: Accepted for a probability: 0..1 as a number, or text such as "2%".
Chance = float | str

_NUMBER: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-zµ/%]*)\s*")
_TIMES: Final = {
    "ns": 1,
    "us": US,
    "µs": US,
    "ms": MS,
    "s": SECOND,
    "sec": SECOND,
    "min": 60 * SECOND,
    "h": 3600 * SECOND,
}
_BITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_BIT_UNITS: Final = ("bit/s", "bits/s", "bps", "bit")
_BYTE_UNITS: Final = ("byte/s", "bytes/s", "b/s")


def _split(text: str) -> tuple[float, str] | None:
    match = _NUMBER.fullmatch(text)
    return None if match is None else (float(match[1]), match[2])


def _finite(value: float) -> bool:
    return not isinstance(value, bool) and math.isfinite(value) and value >= 0


def time_ns(value: Time, what: str = "time") -> int:
    """Nanoseconds of 0.02 (seconds), "20ms", "1.5s", "3min"."""
    if isinstance(value, str):
        parts = _split(value)
        if parts is not None and parts[1] in _TIMES:
            return round(parts[0] * _TIMES[parts[1]])
    elif isinstance(value, int | float) and _finite(value):
        return value * SECOND if isinstance(value, int) else round(value * SECOND)
    raise ConfigurationError(
        f"{what}: {value!r} is not a time; say seconds as a number, or text such as '20ms'"
    )


def rate_bytes(value: Rate, what: str = "rate") -> int:
    """Bytes per second of "10Mbit", "1.5Gbit/s", "300kB/s", 125000 (bytes/s); 0 for None."""
    if value is None:
        return 0
    if isinstance(value, str):
        parts = _split(value)
        if parts is not None:
            scale = _rate_scale(parts[1])
            if scale and (rate := round(parts[0] * scale)) > 0:
                return rate
    elif isinstance(value, int | float) and _finite(value) and round(value) > 0:
        return round(value)
    raise ConfigurationError(
        f"{what}: {value!r} is not a rate; say text such as '10Mbit', bytes per second as a"
        " number, or None for no limit"
    )


def _rate_scale(unit: str) -> float:
    """Bytes per second of one ``unit``; 0 if unknown."""
    low = unit.lower()
    for name in _BIT_UNITS:
        if low.endswith(name):
            return _BITS.get(low[: -len(name)], 0) / 8
    for name in _BYTE_UNITS:
        if low.endswith(name):
            prefix = low[: -len(name)]
            return float(_BITS.get(prefix, 0) or _BINARY.get(prefix, 0))
    return 0.0


def chance(value: Chance, what: str = "probability") -> float:
    """A probability of 0.02 or "2%"."""
    if isinstance(value, str):
        parts = _split(value)
        if parts is not None and parts[1] in ("", "%"):
            number = parts[0] / 100 if parts[1] else parts[0]
            if number <= 1:
                return number
    elif isinstance(value, int | float) and _finite(value) and value <= 1:
        return float(value)
    raise ConfigurationError(
        f"{what}: {value!r} is not a probability; say a number from 0 to 1, or text such as '2%'"
    )


def size_bytes(value: int | str, what: str = "size") -> int:
    """Bytes of 1500, "1500", "64KiB", "1MB"."""
    if isinstance(value, str):
        parts = _split(value)
        if parts is not None:
            low = parts[1].lower()
            prefix = low[:-1] if low.endswith("b") else low
            scale = _BITS.get(prefix, 0) or _BINARY.get(prefix, 0)
            if scale:
                return round(parts[0] * scale)
    elif isinstance(value, int) and _finite(value):
        return value
    raise ConfigurationError(
        f"{what}: {value!r} is not a size; say bytes as a number, or text such as '64KiB'"
    )
