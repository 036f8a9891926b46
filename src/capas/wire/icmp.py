# SPDX-License-Identifier: Apache-2.0
"""ICMPv4 (RFC 792, 950, 1191, 1256) and ICMPv6 (RFC 4443) messages.

Both have type, code, checksum, four bytes whose meaning is the type's, and a body; `Message` is
that.  ICMPv6's checksum covers a pseudo-header, so building and verifying take the addresses.
"""

from dataclasses import dataclass
from typing import Final

from capas.base.checksum import Buffer, checksum, ones_sum, pseudo_sum

ICMP: Final = 1  # protocol numbers
ICMPV6: Final = 58

# ICMPv4 types.
ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
SOURCE_QUENCH: Final = 4
REDIRECT: Final = 5
ECHO_REQUEST: Final = 8
TIME_EXCEEDED: Final = 11
PARAMETER_PROBLEM: Final = 12
TIMESTAMP_REQUEST: Final = 13
TIMESTAMP_REPLY: Final = 14
ERRORS4: Final = frozenset((3, 4, 5, 11, 12))

# ICMPv6 types; those below 128 are errors (RFC 4443 §2.1).
UNREACHABLE6: Final = 1
PACKET_TOO_BIG6: Final = 2
TIME_EXCEEDED6: Final = 3
PARAMETER_PROBLEM6: Final = 4
ECHO_REQUEST6: Final = 128
ECHO_REPLY6: Final = 129
MLD_QUERY: Final = 130
MLD_REPORT: Final = 131
MLD_DONE: Final = 132
ROUTER_SOLICITATION: Final = 133
ROUTER_ADVERTISEMENT: Final = 134
NEIGHBOR_SOLICITATION: Final = 135
NEIGHBOR_ADVERTISEMENT: Final = 136
REDIRECT6: Final = 137
MLD2_REPORT: Final = 143


@dataclass(frozen=True, slots=True)
class Message:
    """One ICMP message of either family; ``rest`` is header bytes 4 to 7."""

    type: int
    code: int
    rest: bytes = b"\0\0\0\0"
    body: bytes = b""

    @property
    def identifier(self) -> int:
        """Of an echo or timestamp message."""
        return self.rest[0] << 8 | self.rest[1]

    @property
    def sequence(self) -> int:
        """Of an echo or timestamp message."""
        return self.rest[2] << 8 | self.rest[3]

    @property
    def word(self) -> int:
        """The four bytes as a number: MTU of a packet too big, pointer of a parameter problem."""
        return int.from_bytes(self.rest, "big")

    @staticmethod
    def parse(
        data: Buffer, at: int, end: int, pseudo: int = 0, verify: bool = True
    ) -> "Message | None":
        """The message in ``data[at:end]``; None if cut short or its checksum is wrong.

        ``pseudo``: the pseudo-header's sum (ICMPv6), 0 for ICMPv4.
        """
        if end - at < 8:
            return None
        if verify and ones_sum(memoryview(data)[at:end], pseudo) != 0xFFFF:
            return None
        return Message(
            data[at], data[at + 1], bytes(data[at + 4 : at + 8]), bytes(data[at + 8 : end])
        )

    def build(self, pseudo: int = 0) -> bytes:
        """The bytes; ``pseudo`` from `pseudo6` for ICMPv6."""
        head = bytes((self.type, self.code))
        tail = self.rest + self.body
        return head + checksum(head + b"\0\0" + tail, pseudo).to_bytes(2, "big") + tail

    def build6(self, src: bytes, dst: bytes) -> bytes:
        """The bytes of an ICMPv6 message from ``src`` to ``dst``."""
        return self.build(pseudo_sum(src, dst, ICMPV6, 8 + len(self.body)))


def pseudo6(data: Buffer, l3: int, at: int, end: int) -> int:
    """The pseudo-header sum of the ICMPv6 message ``data[at:end]`` in the packet at ``l3``."""
    src, dst = bytes(data[l3 + 8 : l3 + 24]), bytes(data[l3 + 24 : l3 + 40])
    return pseudo_sum(src, dst, ICMPV6, end - at)


def echo(type: int, identifier: int, sequence: int, payload: bytes) -> Message:
    """An echo request or reply of either family."""
    return Message(type, 0, identifier.to_bytes(2, "big") + sequence.to_bytes(2, "big"), payload)


def is_error(data: Buffer, protocol: int, at: int, end: int) -> bool:
    """Whether a packet's payload is an ICMP error or redirect, about which no error is sent."""
    if at >= end:
        return protocol in (ICMP, ICMPV6)
    kind = data[at]
    if protocol == ICMP:
        return kind not in (0, 8, 9, 10, 13, 14, 15, 16, 17, 18)  # RFC 1812 §4.3.2.7
    if protocol == ICMPV6:
        return kind < 128 or kind == REDIRECT6  # RFC 4443 §2.4 (e.1), (e.2)
    return False
