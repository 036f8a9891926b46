# SPDX-License-Identifier: Apache-2.0
"""Path MTU discovery: what routers told us about paths (RFC 1191, RFC 8201).

One entry per destination, bytes of IP packet.  Entries age after `HostConfig.path_mtu_timeout`
(RFC 1191 §6.3); then the interface's MTU counts again.  Values below the floor
(`HostConfig.min_pmtu` for IPv4, 1280 for IPv6: RFC 8201 §4) are raised to it, values at or above
the current estimate are ignored (RFC 8201 §4), and a router too old to tell its MTU is answered by
the next smaller plateau (RFC 1191 §7.1).  The table is capped; the oldest entry goes first.
"""

from typing import Final, final

from capas.base.config import HostConfig
from capas.base.events import Counters

MIN_MTU6: Final = 1280  # bytes, RFC 8200 §5

#: RFC 1191 §7.1 table 7-1, bytes of IP packet.
PLATEAUS: Final = (65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)


@final
class PathMtu:
    """Learnt path MTUs by destination."""

    __slots__ = ("_config", "_counters", "entries")

    def __init__(self, config: HostConfig, counters: Counters) -> None:
        self._config: HostConfig = config
        self._counters: Counters = counters
        self.entries: dict[bytes, tuple[int, int]] = {}  # destination -> (mtu, valid until)

    def get(self, dst: bytes, limit: int, now: int) -> int:
        """The path MTU to ``dst``: what was learnt, never more than ``limit`` (the link's)."""
        entry = self.entries.get(dst)
        if entry is None:
            return limit
        mtu, until = entry
        if now >= until:
            del self.entries[dst]
            return limit
        return mtu if mtu < limit else limit

    def learned(self, dst: bytes, mtu: int, packet: int, limit: int, now: int) -> int:
        """A router says a packet to ``dst`` was too big; return the new path MTU, 0 if ignored.

        ``mtu`` from the message, 0 if it says none; ``packet`` the quoted packet's own length;
        ``limit`` the first link's MTU.
        """
        v4 = len(dst) == 4
        if mtu == 0 and v4:
            size = packet if 0 < packet <= limit else self.get(dst, limit, now)
            mtu = next((p for p in PLATEAUS if p < size), PLATEAUS[-1])
        floor = self._config.min_pmtu if v4 else MIN_MTU6
        mtu = max(mtu, min(floor, limit))
        current = self.get(dst, limit, now)
        if mtu >= current:
            if mtu == current and dst in self.entries:
                return mtu  # said again: the estimate stands, its age does not change
            self._counters.add("ip.pmtu_not_smaller")
            return 0
        entries = self.entries
        entries.pop(dst, None)
        while len(entries) >= self._config.path_mtu_entries:
            del entries[next(iter(entries))]
            self._counters.add("ip.pmtu_evicted")
        entries[dst] = (mtu, now + self._config.path_mtu_timeout)
        self._counters.add("ip.pmtu_learned")
        return mtu

    def forget(self, dst: bytes = b"") -> None:
        """Forget one destination, or all."""
        if dst:
            self.entries.pop(dst, None)
        else:
            self.entries.clear()

    def restore(self, dst: bytes, entry: tuple[int, int] | None) -> None:
        """Take back what was learnt for ``dst``: a transport does not believe it."""
        if entry is None:
            self.entries.pop(dst, None)
        else:
            self.entries[dst] = entry
