# SPDX-License-Identifier: Apache-2.0
"""Reassembly, both families (RFC 815's aim by a sorted list; RFC 8200 §4.5, RFC 5722, RFC 6946).

A datagram is known by (source, destination, identification, protocol).  Overlapping fragments
condemn it: it and all later fragments of it are dropped until its time is up (RFC 5722 §4, applied
to IPv4, too), but an exact duplicate is only ignored (Linux ignores whatever lies inside a fragment
it holds).  The timer starts with the first fragment and is not restarted.  Held bytes, datagrams
and fragments are capped by `HostConfig`; the oldest datagram makes room.

The result is a `Frame` whose data starts at the IP header (``l3`` 0), header without Fragment
header or flags, ``csum`` CSUM_NONE.  Offsets and lengths are bytes.
"""

from bisect import bisect_left
from typing import Final, final

from capas.base.clock import Timer
from capas.base.frame import CSUM_NONE, CSUM_PARTIAL, Frame
from capas.internet.shared import Shared
from capas.internet.types import (
    INCOMPLETE_CHAIN,
    PARAMETER_PROBLEM,
    REASSEMBLY_EXCEEDED,
    ErrorSender,
)
from capas.link import offload as software
from capas.link.interface import Interface
from capas.wire import ipv4 as wire4
from capas.wire import ipv6 as wire6

_OVERHEAD: Final = 128  # bytes charged per fragment beside its data

Key = tuple[bytes, bytes, int, int]


@final
class Datagram(Timer):
    """One datagram under reassembly; fires when its time is up."""

    __slots__ = (
        "bad",
        "cost",
        "first",
        "first_header",
        "held",
        "interface",
        "key",
        "next_header",
        "owner",
        "pieces",
        "starts",
        "tos",
        "total",
    )

    def __init__(self, owner: "Reassembly", key: Key, interface: Interface) -> None:
        super().__init__()
        self.owner: Reassembly = owner
        self.key: Key = key
        self.interface: Interface = interface
        self.starts: list[int] = []  # offsets of the pieces, sorted
        self.pieces: list[bytes] = []  # parallel to ``starts``
        self.total: int = -1  # payload length, once the last fragment is here
        self.held: int = 0  # payload bytes
        self.cost: int = 0  # bytes charged
        self.first: Frame | None = None  # the first fragment, from its IP header on
        self.first_header: bytes = b""  # what goes before the payload
        self.next_header: int = 0
        self.tos: int = 0  # ECN field, merged
        self.bad: bool = False  # condemned: swallow what else comes

    def fire(self, now: int) -> None:
        """Time is up (RFC 792, RFC 8200 §4.5)."""
        self.owner.expired(self, now)


@final
class Reassembly:
    """The datagrams of one family under reassembly on one host."""

    __slots__ = ("_shared", "bytes_held", "datagrams", "errors")

    def __init__(self, shared: Shared) -> None:
        self._shared: Shared = shared
        self.datagrams: dict[Key, Datagram] = {}  # oldest first
        self.bytes_held: int = 0
        self.errors: ErrorSender | None = None

    # -- IPv4 -------------------------------------------------------------------------------------

    def receive4(
        self, interface: Interface, frame: Frame, l3: int, l4: int, end: int, now: int
    ) -> Frame | None:
        """A fragment with a checked header; the whole datagram if this completes it."""
        data = frame.data
        word = data[l3 + 6] << 8 | data[l3 + 7]
        more = word & wire4.MF != 0
        offset = (word & wire4.OFFSET_MASK) * 8
        size = end - l4
        if size == 0 or (more and size & 7):
            self._shared.drop(now, "ipv4.fragment_bad_size", "RFC 791 §3.2")
            return None
        if l4 - l3 + offset + size > wire4.MAX_LENGTH:
            self._shared.drop(now, "ipv4.fragment_too_long", "RFC 791 §3.2")
            return None
        protocol = data[l3 + 9]
        if offset == 8 and protocol == 6:
            self._shared.drop(now, "ipv4.fragment_tiny", "RFC 3128 §2")
            return None
        data = _finished(frame)
        ident = data[l3 + 4] << 8 | data[l3 + 5]
        key = (data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20], ident, protocol)
        datagram = self._find(key, interface, now)
        if not self._insert(datagram, offset, data[l4:end], more, data[l3 + 1], now):
            return None
        if offset == 0 and datagram.first is None:
            datagram.first = Frame(data[l3:end], frame.time)
            datagram.first_header = data[l3:l4]
        payload = self._complete(datagram)
        if payload is None:
            return None
        header = datagram.first_header
        if len(header) + len(payload) > wire4.MAX_LENGTH:
            self._shared.drop(now, "ipv4.fragment_too_long", "RFC 791 §3.2")
            return None
        length = (len(header) + len(payload)).to_bytes(2, "big")
        head = bytes((header[0], datagram.tos)) + length + header[4:6] + b"\0\0" + header[8:10]
        header = wire4.with_checksum(head + b"\0\0" + header[12:])
        self._shared.counters.add("ipv4.reassembled")
        return Frame(header + payload, frame.time, CSUM_NONE)

    # -- IPv6 -------------------------------------------------------------------------------------

    def receive6(
        self, interface: Interface, frame: Frame, l3: int, at: int, end: int, now: int
    ) -> Frame | None:
        """A packet with a Fragment header at ``at``; the whole datagram if this completes it.

        What comes back has the first fragment's unfragmentable part without the Fragment header.
        """
        data = frame.data
        shared = self._shared
        if at + 8 > end:
            shared.drop(now, "ipv6.fragment_truncated", "RFC 8200 §4.5")
            return None
        word = data[at + 2] << 8 | data[at + 3]
        offset, more = word & 0xFFF8, word & 1 != 0
        if offset == 0 and not more:
            return self._atomic(frame, l3, at, end)
        size = end - at - 8
        if size == 0:
            shared.drop(now, "ipv6.fragment_bad_size", "RFC 8200 §4.5")
            return None
        if more and size & 7:
            shared.drop(now, "ipv6.fragment_bad_size", "RFC 8200 §4.5")
            self._problem(interface, frame, l3, PARAMETER_PROBLEM, 4, now)
            return None
        if at - l3 - 40 + offset + size > wire6.MAX_PAYLOAD:
            shared.drop(now, "ipv6.fragment_too_long", "RFC 8200 §4.5")
            self._problem(interface, frame, l3, PARAMETER_PROBLEM, at + 2 - l3, now)
            return None
        if offset == 0 and not first_fragment_whole(data, data[at], at + 8, end):
            shared.drop(now, "ipv6.fragment_tiny", "RFC 7112 §5")
            self._problem(interface, frame, l3, INCOMPLETE_CHAIN, 0, now)
            return None
        data = _finished(frame)
        ident = int.from_bytes(data[at + 4 : at + 8], "big")
        key = (data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40], ident, -1)
        datagram = self._find(key, interface, now)
        tos = (data[l3] << 4 | data[l3 + 1] >> 4) & 0xFF
        if not self._insert(datagram, offset, data[at + 8 : end], more, tos, now):
            return None
        if offset == 0 and datagram.first is None:
            datagram.first = Frame(data[l3:end], frame.time)
            datagram.first_header = _without_fragment(data, l3, at)
        payload = self._complete(datagram)
        if payload is None:
            return None
        header = datagram.first_header
        length = len(header) - 40 + len(payload)
        if length > wire6.MAX_PAYLOAD:
            shared.drop(now, "ipv6.fragment_too_long", "RFC 8200 §4.5")
            return None
        tos = datagram.tos
        head = bytes((0x60 | tos >> 4, (tos & 15) << 4 | header[1] & 15)) + header[2:4]
        shared.counters.add("ipv6.reassembled")
        whole = b"".join((head, length.to_bytes(2, "big"), header[6:], payload))
        return Frame(whole, frame.time, CSUM_NONE)

    def _atomic(self, frame: Frame, l3: int, at: int, end: int) -> Frame:
        """An atomic fragment is a whole packet, whatever else is queued (RFC 6946 §4)."""
        data = frame.data
        header = _without_fragment(data, l3, at)
        length = len(header) - 40 + end - at - 8  # Frame offsets count from the IP header now
        whole = header[:4] + length.to_bytes(2, "big") + header[6:] + data[at + 8 : end]
        self._shared.counters.add("ipv6.atomic_fragments")
        out = frame.with_data(whole)
        if frame.csum == CSUM_PARTIAL:
            out.csum_start = frame.csum_start - l3 - 8
        return out

    def _problem(
        self, interface: Interface, frame: Frame, l3: int, kind: int, info: int, now: int
    ) -> None:
        if self.errors is not None:
            self.errors.error(interface, frame, l3, kind, now, info)

    # -- the table --------------------------------------------------------------------------------

    def _find(self, key: Key, interface: Interface, now: int) -> Datagram:
        datagram = self.datagrams.get(key)
        if datagram is None:
            shared = self._shared
            while len(self.datagrams) >= shared.config.reassembly_flows:
                self._evict("ip.reassembly_flows")
            datagram = self.datagrams[key] = Datagram(self, key, interface)
            shared.scheduler.at(now + shared.config.reassembly_timeout, datagram)
        return datagram

    def _insert(
        self, datagram: Datagram, offset: int, piece: bytes, more: bool, tos: int, now: int
    ) -> bool:
        """Take a fragment in; False if nothing changed or the datagram was condemned."""
        shared = self._shared
        if datagram.bad:
            shared.drop(now, "ip.fragment_condemned", "RFC 5722 §4")
            return False
        starts, pieces = datagram.starts, datagram.pieces
        stop = offset + len(piece)
        i = bisect_left(starts, offset)
        if i < len(starts) and starts[i] == offset and pieces[i] == piece:
            shared.counters.add("ip.fragment_duplicate")
            return False
        before = starts[i - 1] + len(pieces[i - 1]) if i else 0
        if before > offset or (i < len(starts) and starts[i] < stop):
            self._condemn(datagram, "ip.fragment_overlap", now)
            return False
        last = starts[-1] + len(pieces[-1]) if starts else 0
        if not more:
            if (datagram.total >= 0 and datagram.total != stop) or last > stop:
                self._condemn(datagram, "ip.fragment_end_moved", now)
                return False
            datagram.total = stop
        elif datagram.total >= 0 and stop > datagram.total:
            self._condemn(datagram, "ip.fragment_end_moved", now)
            return False
        if len(starts) >= shared.config.reassembly_fragments:
            self._condemn(datagram, "ip.reassembly_fragments", now)
            return False
        if datagram.held == 0:
            datagram.tos = tos
        elif not self._merge_ecn(datagram, tos):
            self._condemn(datagram, "ip.fragment_ecn", now)
            return False
        starts.insert(i, offset)
        pieces.insert(i, piece)
        cost = len(piece) + _OVERHEAD
        datagram.held += len(piece)
        datagram.cost += cost
        self.bytes_held += cost
        memory = shared.memory
        memory.charge(cost)
        limit = shared.config.reassembly_bytes
        while self.bytes_held > limit and self.datagrams:
            self._evict("ip.reassembly_bytes")
        while memory.full and self.datagrams:  # a fragment is worth less than what is whole
            self._evict("ip.reassembly_memory")
        return datagram.key in self.datagrams

    def _merge_ecn(self, datagram: Datagram, tos: int) -> bool:
        """Combine ECN codepoints (RFC 3168 §5.3); False for Not-ECT among ECT with CE."""
        have, new = datagram.tos & 3, tos & 3
        if have == new:
            return True
        if (have == 3 and new == 0) or (have == 0 and new == 3):
            return False
        merged = 3 if 3 in (have, new) else 0 if 0 in (have, new) else have
        datagram.tos = datagram.tos & ~3 | merged
        return True

    def _complete(self, datagram: Datagram) -> bytes | None:
        """The payload, if all of it is here; the datagram is forgotten then."""
        if datagram.held != datagram.total or datagram.first is None:
            return None
        payload = b"".join(datagram.pieces)
        self._forget(datagram)
        return payload

    def _condemn(self, datagram: Datagram, counter: str, now: int) -> None:
        self._shared.drop(now, counter, "RFC 5722 §4")
        datagram.bad = True
        self._release(datagram)

    def _release(self, datagram: Datagram) -> None:
        self.bytes_held -= datagram.cost
        self._shared.memory.charge(-datagram.cost)
        datagram.cost = datagram.held = 0
        datagram.starts.clear()
        datagram.pieces.clear()
        datagram.first = None

    def _forget(self, datagram: Datagram) -> None:
        self._release(datagram)
        self._shared.scheduler.cancel(datagram)
        self.datagrams.pop(datagram.key, None)

    def _evict(self, counter: str) -> None:
        """Drop the oldest datagram to make room."""
        self._shared.counters.add(counter)
        self._forget(next(iter(self.datagrams.values())))

    def expired(self, datagram: Datagram, now: int) -> None:
        """The time of a datagram is up: tell its source if its first fragment came."""
        first, bad = datagram.first, datagram.bad
        self._forget(datagram)
        if bad:
            return
        self._shared.drop(now, "ip.reassembly_timeout", "RFC 8200 §4.5")
        if first is not None and self.errors is not None:
            self.errors.error(datagram.interface, first, 0, REASSEMBLY_EXCEEDED, now)


def _finished(frame: Frame) -> bytes:
    """The frame's bytes with no checksum left to complete: pieces cannot carry that fact."""
    return software.complete(frame).data if frame.csum == CSUM_PARTIAL else frame.data


def _without_fragment(data: bytes, l3: int, at: int) -> bytes:
    """The unfragmentable part without the Fragment header at ``at`` (RFC 8200 §4.5)."""
    place = l3 + 6  # of the next-header byte that says "fragment"
    i = l3 + 40
    while i < at:
        place = i
        i += (data[i + 1] + 1) * 8
    return data[l3:place] + data[at : at + 1] + data[place + 1 : at]


#: Bytes of upper-layer header a first fragment must hold (RFC 7112 §4).
_UPPER: Final[dict[int, int]] = {6: 20, 17: 8, 58: 4}


def first_fragment_whole(data: bytes, next_header: int, at: int, end: int) -> bool:
    """Whether a first fragment holds its whole header chain, upper-layer header included."""
    walked = wire6.chain(data, next_header, at, end)
    if walked is None:
        return False
    _, protocol, l4 = walked
    return l4 + _UPPER.get(protocol, 0) <= end
