# SPDX-License-Identifier: Apache-2.0
"""One connection as the script and as the stack know it, and how numbers map between the two.

A script writes sequence numbers relative to the initial ones (except on SYN segments, whose numbers
it writes as they are), timestamps from a base of its own, and no ports; the stack chooses its own.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from capas.conformance.ast import TcpOption, TcpPacket
from capas.conformance.errors import Failed
from capas.conformance.segments import ACK, SYN, Seen, flag_bits, payload

M32: Final = 0xFFFFFFFF

NEW: Final = "new"
LISTENING: Final = "listening"
SYN_RECEIVED: Final = "syn received"  # passive: the script has injected a SYN
SYNACK_SENT: Final = "syn-ack sent"
SYNACK_ACKED: Final = "syn-ack acked"
CONNECTING: Final = "connecting"
SYN_SENT: Final = "syn sent"
SYN_ACKED: Final = "syn acked"


@dataclass(slots=True, eq=False)
class Flow:
    """The connection packets refer to ("socket under test").

    ``local_isn``/``remote_isn`` are pairs (script's number, live number); ``fd`` the script's
    descriptor, -1 before `accept`.
    """

    state: str = NEW
    fd: int = -1
    local: tuple[bytes, int] = (b"", 0)  # live address and port
    remote: tuple[bytes, int] = (b"", 0)
    local_isn: tuple[int, int] = (0, 0)
    remote_isn: tuple[int, int] = (0, 0)
    ts_map: dict[int, int] = field(default_factory=dict)  # script TSval -> live TSval
    ts_base: tuple[int, int] | None = None  # first (script, live) TSval

    # -- offsets to add when going from the script to the wire ------------------------------------

    def _local_offset(self, syn: bool) -> int:
        return self.local_isn[1] - (self.local_isn[0] if syn else 0)

    def _remote_offset(self, syn: bool) -> int:
        return self.remote_isn[1] - (self.remote_isn[0] if syn else 0)

    # -- inbound ----------------------------------------------------------------------------------

    def to_live(self, packet: TcpPacket, scaled_echo: bool) -> TcpPacket:
        """The inbound script packet with live numbers."""
        syn = "S" in packet.flags
        seq = packet.seq
        if not packet.absolute:
            seq = (seq + self._remote_offset(syn)) & M32
        offset = self._local_offset(syn)
        ack = packet.ack
        if ack is not None and "." in packet.flags:
            ack = (ack + offset) & M32
        options = tuple(
            self._option_to_live(option, offset, "." in packet.flags, scaled_echo)
            for option in packet.options or ()
        )
        return replace(packet, seq=seq, ack=ack, options=options)

    def _option_to_live(
        self, option: TcpOption, offset: int, has_ack: bool, scaled: bool
    ) -> TcpOption:
        if option.kind == "sack":
            return replace(option, values=tuple((v + offset) & M32 for v in option.values))
        if option.kind == "TS" and has_ack:
            val, ecr = option.values
            live = self.ts_map.get(ecr)
            if live is None:
                if not scaled or self.ts_base is None:
                    raise Failed(f"the script echoes timestamp {ecr}, which was never sent")
                live = (ecr - self.ts_base[0] + self.ts_base[1]) & M32
            return replace(option, values=(val, live))
        return option

    def inbound_payload(self, packet: TcpPacket) -> bytes:
        """The bytes of an inbound segment: the stream's pattern at its position."""
        syn = "S" in packet.flags
        first = packet.seq - (self.remote_isn[0] if syn else 1)
        return payload(first & M32, packet.length)

    def quoted_seq(self, seq: int) -> int:
        """The live number of our own sequence number quoted in an ICMP message."""
        return (seq + self.local_isn[1]) & M32

    # -- outbound ---------------------------------------------------------------------------------

    def to_script(self, seen: Seen, absolute: bool = False) -> Seen:
        """What the stack sent, in the script's numbers (timestamps apart)."""
        out = seen.copy()
        syn = bool(seen.flags & SYN)
        if not absolute:
            out.seq = (seen.seq - self._local_offset(syn)) & M32
        offset = self._remote_offset(syn)
        if seen.flags & ACK:
            out.ack = (seen.ack - offset) & M32
        out.options = tuple(
            replace(option, values=tuple((v - offset) & M32 for v in option.values))
            if option.kind == "sack"
            else option
            for option in seen.options
        )
        return out

    def map_timestamp(self, expected: TcpPacket, seen: Seen) -> Seen:
        """Learn what the script calls the live timestamp, and rewrite it in the script's terms."""
        script = next((o for o in expected.options or () if o.kind == "TS"), None)
        actual = next((o for o in seen.options if o.kind == "TS"), None)
        if script is None or actual is None:
            return seen
        self.ts_map[script.values[0]] = actual.values[0]
        if self.ts_base is None:
            self.ts_base = script.values[0], actual.values[0]
        mapped = (self.ts_base[0] + actual.values[0] - self.ts_base[1]) & M32
        out = seen.copy()
        out.options = tuple(
            replace(option, values=(mapped, option.values[1])) if option is actual else option
            for option in seen.options
        )
        return out

    def outbound_offset(self, seen: Seen) -> int:
        """Position in the stream of the first payload byte of a mapped outbound segment."""
        if seen.flags & SYN:
            return (seen.seq - self.local_isn[0]) & M32
        return (seen.seq - 1) & M32

    def sends(self, seen: Seen) -> bool:
        """Whether a live packet leaves this connection."""
        return (seen.src, seen.sport) == self.local and (seen.dst, seen.dport) == self.remote

    def claims(self, seen: Seen) -> bool:
        """Whether a live SYN is the one this connecting socket was to send."""
        return (
            self.state == SYN_SENT
            and seen.flags & (SYN | ACK) == SYN
            and (seen.dst, seen.dport) == self.remote
        )


def is_syn(packet: TcpPacket) -> bool:
    """A SYN without ACK."""
    return flag_bits(packet.flags) & (SYN | ACK) == SYN


def is_synack(packet: TcpPacket) -> bool:
    """A SYN with ACK."""
    return flag_bits(packet.flags) & (SYN | ACK) == SYN | ACK
