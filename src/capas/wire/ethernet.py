# SPDX-License-Identifier: Apache-2.0
"""Ethernet II framing, the 802.1Q tag, and ARP (RFC 894, RFC 2464, IEEE 802.1Q, RFC 826, RFC 5227).

Frames carry neither preamble nor frame check sequence.  The hot path reads the header by itself
(`capas.link.interface`); `Ethernet` serves tests, tools and captures.  Parsers touch untrusted
bytes and return None for what they do not understand.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from capas.wire.address import BROADCAST_MAC, ZERO_MAC, mac_text, text

HEADER: Final = 14  # bytes
TAG: Final = 4  # bytes of an 802.1Q tag
TYPE_IPV4: Final = 0x0800
TYPE_ARP: Final = 0x0806
TYPE_VLAN: Final = 0x8100  # IEEE 802.1Q customer tag
TYPE_IPV6: Final = 0x86DD
TYPE_MIN: Final = 0x0600  # below: an 802.3 length, IEEE 802.3 §3.2.6

ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2
ARP_SIZE: Final = 28  # bytes, IPv4 over Ethernet

_HEADER: Final = Struct("!6s6sH")
_TAGGED: Final = Struct("!6s6sHHH")
_ARP: Final = Struct("!HHBBH6s4s6s4s")


@dataclass(frozen=True, slots=True)
class Ethernet:
    """A frame's link header; ``ethertype`` is that of the payload, behind the tag if there is one.

    ``vlan`` and ``priority`` are -1 and 0 in an untagged frame; ``payload`` is an offset when
    parsed, and ignored by `build`.
    """

    destination: bytes
    source: bytes
    ethertype: int
    vlan: int = -1
    priority: int = 0
    payload: int = HEADER
    drop_eligible: bool = False  # the tag's DEI bit

    @staticmethod
    def parse(data: bytes) -> "Ethernet | None":
        """The header of a frame; None if it is too short or an 802.3 length frame."""
        if len(data) < HEADER:
            return None
        destination, source, ethertype = _HEADER.unpack_from(data)
        if ethertype == TYPE_VLAN:
            if len(data) < HEADER + TAG:
                return None
            _, _, _, tci, ethertype = _TAGGED.unpack_from(data)
            if ethertype < TYPE_MIN:
                return None
            eligible = tci & 0x1000 != 0
            return Ethernet(
                destination, source, ethertype, tci & 0xFFF, tci >> 13, HEADER + TAG, eligible
            )
        if ethertype < TYPE_MIN:
            return None
        return Ethernet(destination, source, ethertype)

    def build(self) -> bytes:
        """The header's bytes."""
        if self.vlan < 0:
            return _HEADER.pack(self.destination, self.source, self.ethertype)
        tci = self.priority << 13 | self.drop_eligible << 12 | self.vlan
        return _TAGGED.pack(self.destination, self.source, TYPE_VLAN, tci, self.ethertype)

    def __str__(self) -> str:
        tag = f" vlan {self.vlan}" if self.vlan >= 0 else ""
        return f"{mac_text(self.source)} > {mac_text(self.destination)}{tag} 0x{self.ethertype:04x}"


def header(destination: bytes, source: bytes, ethertype: int) -> bytes:
    """The 14 bytes in front of an untagged packet."""
    return _HEADER.pack(destination, source, ethertype)


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP message for IPv4 over Ethernet (RFC 826)."""

    operation: int
    sender_mac: bytes
    sender: bytes
    target_mac: bytes
    target: bytes

    @staticmethod
    def parse(data: bytes, offset: int = 0) -> "Arp | None":
        """The message at ``offset``; None if short, or not IPv4 over Ethernet, or no known opcode.

        Trailing bytes are Ethernet padding.
        """
        if len(data) - offset < ARP_SIZE:
            return None
        hardware, protocol, mac_size, size, operation, sha, spa, tha, tpa = _ARP.unpack_from(
            data, offset
        )
        if hardware != 1 or protocol != TYPE_IPV4 or mac_size != 6 or size != 4:
            return None
        if operation not in (ARP_REQUEST, ARP_REPLY):
            return None
        return Arp(operation, sha, spa, tha, tpa)

    def build(self) -> bytes:
        """The message's 28 bytes."""
        return _ARP.pack(
            1,
            TYPE_IPV4,
            6,
            4,
            self.operation,
            self.sender_mac,
            self.sender,
            self.target_mac,
            self.target,
        )

    @staticmethod
    def request(mac: bytes, sender: bytes, target: bytes) -> "Arp":
        """Who has ``target``?  ``sender`` 0.0.0.0: a probe; same: an announcement."""
        return Arp(ARP_REQUEST, mac, sender, ZERO_MAC, target)

    def reply(self, mac: bytes) -> "Arp":
        """The answer of the owner of ``target``, whose MAC is ``mac``."""
        return Arp(ARP_REPLY, mac, self.target, self.sender_mac, self.sender)

    def is_probe(self) -> bool:
        """A request with an all-zero sender (RFC 5227 §1.1)."""
        return self.operation == ARP_REQUEST and self.sender == b"\0\0\0\0"

    def is_announcement(self) -> bool:
        """Gratuitous: sender and target are one (RFC 5227 §1.1)."""
        return self.sender == self.target

    def __str__(self) -> str:
        if self.operation == ARP_REQUEST:
            return f"who has {text(self.target)}? tell {text(self.sender)}"
        return f"{text(self.sender)} is at {mac_text(self.sender_mac)}"


def is_group(mac: bytes) -> bool:
    """Whether a MAC address is a multicast or broadcast one (IEEE 802 I/G bit)."""
    return mac[0] & 1 == 1


__all__ = [
    "ARP_REPLY",
    "ARP_REQUEST",
    "ARP_SIZE",
    "BROADCAST_MAC",
    "HEADER",
    "TAG",
    "TYPE_ARP",
    "TYPE_IPV4",
    "TYPE_IPV6",
    "TYPE_MIN",
    "TYPE_VLAN",
    "Arp",
    "Ethernet",
    "header",
    "is_group",
]
