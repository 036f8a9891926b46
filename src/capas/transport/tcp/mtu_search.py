# SPDX-License-Identifier: Apache-2.0
"""Searching for the path MTU with data (RFC 4821 §7): where no ICMP message tells it, or it grew.

A probe is new data in a packet larger than those in force.  If it arrives, that size is in force
from then on; if it alone is lost, the size is too large, and that is no sign of congestion.
Between what arrives and what does not the search halves.  `output` decides when a probe may leave,
`acknowledge` and `recovery` what became of it, `expiry` when a black hole is suspected.

Packets are those of IP, in bytes.
"""

from typing import TYPE_CHECKING, Final, final

from capas.base.clock import SECOND
from capas.internet.pmtu import MIN_MTU6

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection

MIN_MTU4: Final = 512 + 40  # bytes; a path that carries less is not looked for
_CLOSE: Final = 8  # bytes; a search this close is over, Linux tcp_probe_threshold
_AGAIN: Final = 600 * SECOND  # ns until a larger size is tried anew (RFC 1191 §6.3)
_TIMESTAMPS: Final = 12  # bytes of option with its padding


@final
class MtuSearch:
    """One connection's search.

    ``search_low`` ``search_high``  what arrives (is taken to, at first), and what may at most
    ``eff_pmtu``    the size in force
    ``probe_size``  of the probe that is out, 0: none; its data is [``seq``, ``end``)
    """

    __slots__ = (
        "_most",
        "_since",
        "eff_pmtu",
        "end",
        "probe_size",
        "search_high",
        "search_low",
        "seq",
    )

    def __init__(self, low: int, eff_pmtu: int, high: int, now: int) -> None:
        self.search_low: int = low
        self.search_high: int = high
        self.eff_pmtu: int = eff_pmtu
        self.probe_size: int = 0
        self.seq: int = 0
        self.end: int = 0
        self._most: int = high
        self._since: int = now

    def next_size(self, ceiling: int, now: int) -> int:
        """The packet to try next, 0: none.  ``ceiling``: what routers and the link allow."""
        if now - self._since >= _AGAIN:
            self.search_high, self._since = self._most, now
        low, high = self.search_low, min(self.search_high, ceiling)
        if (low + high) // 2 <= self.eff_pmtu:
            low = self.eff_pmtu
        return (low + high) // 2 if high - low >= _CLOSE else 0

    def sent(self, size: int, seq: int, end: int) -> None:
        """A probe left."""
        self.probe_size, self.seq, self.end = size, seq, end

    def succeeded(self) -> None:
        """The probe arrived: its size is in force (RFC 4821 §7.6.1)."""
        self.search_low = self.eff_pmtu = self.probe_size
        self.probe_size = 0

    def failed(self) -> None:
        """The probe alone was lost (RFC 4821 §7.6.2)."""
        self.search_high = self.probe_size - 1
        self.probe_size = 0

    def inconclusive(self) -> None:
        """Its data leaves again for another reason: nothing is known (RFC 4821 §7.6.3, §7.6.4)."""
        self.probe_size = 0

    def narrow(self, mtu: int, now: int) -> None:
        """Not even what is in force arrives (RFC 4821 §7.7): begin again at ``mtu``."""
        self.search_low = self.eff_pmtu = mtu
        self.probe_size = 0
        self._since = now


def overhead(c: "TcpConnection") -> int:
    """Bytes of a packet that are not data: the headers, and the timestamps if there are any."""
    return c.path.ip_header + 20 + (_TIMESTAMPS if c.neg.ts_ok else 0)


def begin(c: "TcpConnection", now: int) -> MtuSearch:
    """Search from `HostConfig.tcp_base_mss` on; the caller fits the MSS.

    As in Linux an accepted connection keeps the size it has until a probe finds a larger one.
    """
    path = c.path
    segment = c.neg.peer_mss
    if c.options.maxseg:
        segment = min(segment, c.options.maxseg)
    low = _floored(c, c.config.tcp_base_mss + overhead(c))
    eff_pmtu = path.mtu if c.passive else min(low, path.mtu)
    search = path.search = MtuSearch(low, eff_pmtu, segment + path.ip_header + 20, now)
    return search


def arrived(c: "TcpConnection", search: MtuSearch, now: int) -> None:
    """The probe is acknowledged; the caller fits the MSS."""
    _tell(c, now, "tcp.mtu_probe_success", f"packets of {search.probe_size} bytes arrive")
    search.succeeded()


def lost(c: "TcpConnection", search: MtuSearch, now: int) -> None:
    """The probe is missing, and nothing else; the caller repeats its data."""
    _tell(c, now, "tcp.mtu_probe_failed", f"packets of {search.probe_size} bytes do not arrive")
    board = c.board
    for record in board.records():
        if record.seq >= search.end:
            break
        board.mark_lost(record)  # what is left of it, if only its first part was
    board.outcome.lost = 0  # it tells nothing of congestion
    search.failed()


def _tell(c: "TcpConnection", now: int, counter: str, text: str) -> None:
    c.counters.add(counter)
    if c.trace is not None:
        c.trace.decided(now, "tcp.mtu_probing", f"{c.describe()}: {text} (RFC 4821)")


def suspect_black_hole(c: "TcpConnection", now: int) -> bool:
    """Timeout after timeout: packets of the size in force may vanish; whether smaller ones go now.

    First those of `HostConfig.tcp_base_mss`, then half of them each time.
    """
    path = c.path
    extra = overhead(c)
    if path.search is None:
        mtu = c.config.tcp_base_mss + extra
    else:
        mtu = min(c.config.tcp_base_mss, (path.search.search_low - extra) // 2) + extra
    mtu = _floored(c, mtu)
    if mtu >= path.mtu:
        return False
    text = f"black hole suspected, MTU {path.mtu} -> {mtu}"
    search = path.search if path.search is not None else begin(c, now)
    search.narrow(mtu, now)
    _tell(c, now, "tcp.mtu_black_hole", text)
    return True


def _floored(c: "TcpConnection", mtu: int) -> int:
    """``mtu``, or what every path of the family is taken to carry."""
    return max(mtu, MIN_MTU4 if c.path.ip_header == 20 else MIN_MTU6)
