# SPDX-License-Identifier: Apache-2.0
"""Small helpers of everything that prints for people: quantities, ticks, a console."""

import sys
from typing import Final

from rich.console import Console

from capas.base.clock import MS, SECOND, US

#: Column width below which pictures are not drawn wider.
WIDEST: Final = 100


def console() -> Console:
    """Standard output with colours if it is a terminal; at most `WIDEST` columns."""
    found = Console(highlight=False)
    if found.width > WIDEST or not found.is_terminal:
        found = Console(highlight=False, width=WIDEST)
    return found


def plain() -> bool:
    """Whether the output cannot show more than ASCII."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return not encoding.startswith(("utf8", "utf16", "utf32"))


def duration(ns: float) -> str:
    """Such as "20.4 ms" or "1.25 s"."""
    for unit, name in ((SECOND, "s"), (MS, "ms"), (US, "µs")):
        if abs(ns) >= unit:
            return f"{ns / unit:.3g} {name}" if abs(ns) < 100 * unit else f"{ns / unit:.0f} {name}"
    return f"{ns:.0f} ns"


def size(octets: float) -> str:
    """Such as "1.00 MiB", "64 KiB" or "512 B"."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if octets >= unit:
            return f"{octets / unit:.3g} {name}"
    return f"{octets:.0f} B"


def rate(octets: float, ns: int) -> str:
    """Bits per second of ``octets`` in ``ns``."""
    bits = octets * 8 * SECOND / ns if ns > 0 else 0.0
    for unit, name in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bits >= unit:
            return f"{bits / unit:.3g} {name}"
    return f"{bits:.0f} bit/s"


def many(number: int, one: str, several: str = "") -> str:
    """Such as "1 frame" or "2,000 frames"."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def mark(ok: bool) -> str:
    """A tick or a cross, in rich's markup."""
    good, bad = ("ok", "FAILED") if plain() else ("✔", "✘")
    return f"[green]{good}[/]" if ok else f"[bold red]{bad}[/]"
