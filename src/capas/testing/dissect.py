# SPDX-License-Identifier: Apache-2.0
"""Frames in words, for the page of a failed test: flags, relative numbers, lengths, first bytes."""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple, final

from capas.base.clock import MS
from capas.base.seq import diff
from capas.link.link import Medium
from capas.sim.trains import network_offset
from capas.testing.tracks import Hop
from capas.wire import tcp
from capas.wire.address import text as address_text

_FLAGS: Final = ((tcp.SYN, "SYN"), (tcp.FIN, "FIN"), (tcp.RST, "RST"))
_LONG: Final = 250 * MS  # a way that is told of
_SHOWN: Final = 24  # bytes of payload in a label
_ICMP: Final = {
    1: "ICMP unreachable", 3: "ICMP unreachable", 0: "echo reply", 8: "echo request",
    128: "echo request", 129: "echo reply", 135: "neighbour solicitation",
    136: "neighbour advertisement", 2: "packet too big",
}  # fmt: skip


class Row(NamedTuple):
    """One frame, ready to be drawn."""

    hop: Hop
    kind: str  # "tcp", "udp", "other"
    text: str
    target: str  # the host it is meant for, "" if nobody's
    receivers: tuple[str, ...]
    state: str  # "arrived", "lost", "under way"
    connection: int = -1  # of `Names.connections`, by number
    again: bool = False  # a TCP segment whose bytes were sent before

    @property
    def lost(self) -> bool:
        """Whether a packet of it never arrived."""
        return self.state == "lost"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts at both ends."""
        return (self.hop.host, *self.receivers, self.target)


@final
class Names:
    """Knows which host has which address, and the connections seen.

    ``connections``  (host, port, host, port) of each TCP connection, who began it first
    """

    def __init__(
        self, names: Mapping[str, list[bytes]], under_way: Collection[int] = frozenset()
    ) -> None:
        self._under_way: Collection[int] = under_way  # marks of frames that have not arrived yet
        self.connections: list[tuple[str, int, str, int]] = []
        self._number: dict[tuple[bytes, int, bytes, int], int] = {}
        self._highest: dict[tuple[str, tuple[bytes, int, bytes, int]], int] = {}  # sent by a host
        self._hosts: dict[bytes, str] = {
            address: name for name, addresses in names.items() for address in addresses
        }
        self._first: dict[tuple[bytes, int, bytes, int], int] = {}

    def row(self, hop: Hop) -> Row:
        """The row of one frame on one wire."""
        self._last: tuple[int, bool] = (-1, False)
        kind, words, target = self._words(hop)
        receivers = tuple(dict.fromkeys(host for _, host, _ in hop.arrivals))
        missing = hop.packets - hop.arrived
        way = hop.arrivals[0][0] - hop.time if hop.arrivals else 0
        if way >= _LONG:
            words += f", there {way // MS} ms later"
        if hop.packets > 1:
            words += f" ({hop.packets} packets"
            words += f", {missing} lost)" if 0 < missing < hop.packets else ")"
        elif hop.arrived > 1 and len(receivers) == 1:
            words += f" (×{hop.arrived})"
        state = "lost" if missing > 0 and target != "*" else "arrived"
        if state == "lost" and hop.frame.mark in self._under_way:
            state = "under way"
        return Row(hop, kind, words, target, receivers, state, *self._last)

    def _words(self, hop: Hop) -> tuple[str, str, str]:
        frame = hop.frame
        data = frame.data
        if hop.interface.link.caps.medium is not Medium.ETHERNET:
            return "other", f"{len(data)} bytes", ""
        l3 = network_offset(frame)
        kind = data[l3 - 2 : l3]
        if kind == b"\x08\x06":
            asked = address_text(data[l3 + 24 : l3 + 28])
            word = "who has" if data[l3 + 7] == 1 else "ARP answer to"
            return "other", f"{word} {asked}", self._hosts.get(data[l3 + 24 : l3 + 28], "*")
        if kind == b"\x08\x00" and len(data) >= l3 + 20:
            src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
            protocol, l4 = data[l3 + 9], l3 + (data[l3] & 15) * 4
            end = l3 + int.from_bytes(data[l3 + 2 : l3 + 4], "big")
            if int.from_bytes(data[l3 + 6 : l3 + 8], "big") & 0x1FFF:
                protocol = -1
        elif kind == b"\x86\xdd" and len(data) >= l3 + 40:
            src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
            protocol, l4 = data[l3 + 6], l3 + 40
            end = l4 + int.from_bytes(data[l3 + 4 : l3 + 6], "big")
        else:
            return "other", f"{len(data)} bytes", "*"
        if frame.gso_size:
            end = len(data)
        group = dst[0] >= 0xE0 if len(dst) == 4 else dst[0] == 0xFF
        target = "*" if group else self._hosts.get(dst, "")
        name, words = self._transport(hop, src, dst, protocol, l4, min(end, len(data)))
        return name, words, target

    def _transport(
        self, hop: Hop, src: bytes, dst: bytes, protocol: int, l4: int, end: int
    ) -> tuple[str, str]:
        data = hop.frame.data
        if protocol == 6 and end - l4 >= 20:
            segment = tcp.parse(data, l4, end, hop.time)
            if segment is not None:
                ports = (data[l4] << 8 | data[l4 + 1], data[l4 + 2] << 8 | data[l4 + 3])
                key = (src, ports[0], dst, ports[1])
                return "tcp", self._segment(hop.host, segment, key) + _peek(bytes(segment.payload))
        if protocol == 17 and end - l4 >= 8:
            port = min(data[l4] << 8 | data[l4 + 1], data[l4 + 2] << 8 | data[l4 + 3])
            word = "DNS" if port == 53 else f"udp {port},"
            return "udp", f"{word} {end - l4 - 8} bytes" + _peek(data[l4 + 8 : end])
        if protocol in (1, 58) and end > l4:
            return "other", _ICMP.get(data[l4], f"ICMP type {data[l4]}")
        return "other", {-1: "fragment", 0: "multicast listeners"}.get(
            protocol, f"protocol {protocol}"
        )

    def _segment(self, host: str, segment: tcp.Segment, key: tuple[bytes, int, bytes, int]) -> str:
        if segment.flags & tcp.SYN and self._first.get(key) != segment.seq:
            self._first[key] = segment.seq
            self._highest = {known: end for known, end in self._highest.items() if known[1] != key}
            if not segment.flags & tcp.ACK:
                self._connect(key)
        if key not in self._number:
            self._connect(key)
        first = self._first.setdefault(key, segment.seq)
        start = diff(segment.seq, first)
        end = start + segment.length + bool(segment.flags & (tcp.SYN | tcp.FIN))
        again = start < end <= self._highest.get((host, key), -1)
        self._highest[host, key] = max(end, self._highest.get((host, key), -1))
        self._last = self._number[key], again
        back = self._first.get((*key[2:], *key[:2]))
        words = [name for bit, name in _FLAGS if segment.flags & bit]
        if segment.length:
            seq = diff(segment.seq, first)
            words.append(f"{seq}…{seq + segment.length}")
        if segment.flags & tcp.ACK and back is not None:
            words.append(f"ack {diff(segment.ack, back)}")
        if segment.sack:
            words.append(f"sack ×{len(segment.sack) // 2}")
        if again:
            words.append("again")
        return " ".join(words)

    def _connect(self, key: tuple[bytes, int, bytes, int]) -> None:
        self._number[key] = self._number[key[2:] + key[:2]] = len(self.connections)
        ends = [self._hosts.get(address) or address_text(address) for address in (key[0], key[2])]
        self.connections.append((ends[0], key[1], ends[1], key[3]))


def _peek(payload: bytes) -> str:
    """The first bytes of a payload, if they are text."""
    start = payload[:_SHOWN].split(b"\r\n")[0].split(b"\n")[0]
    if not start or not start.isascii() or not start.decode("ascii").isprintable():
        return ""
    return f" “{start.decode()}{'…' if len(payload) > len(start) else ''}”"
