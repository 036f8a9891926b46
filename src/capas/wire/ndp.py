# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery messages (RFC 4861 §4) and their options (also RFC 4191, 7527, 8106).

Each message has ``parse(rest, body)`` and ``build() -> (rest, body)``, the four bytes after the
checksum and what follows, as in `capas.wire.icmp.Message`.  Lifetimes are seconds as on the wire,
ReachableTime and RetransTimer milliseconds.  Validation that needs the IP header is the caller's.
"""

from dataclasses import dataclass, field
from typing import Final

SOURCE_MAC: Final = 1
TARGET_MAC: Final = 2
PREFIX_INFO: Final = 3
REDIRECTED: Final = 4
MTU: Final = 5
NONCE: Final = 14  # RFC 3971 §5.3.2, RFC 7527
RDNSS: Final = 25  # RFC 8106 §5.1
DNSSL: Final = 31  # RFC 8106 §5.2

MAX_OPTIONS: Final = 64  # options of one message that are looked at
INFINITY: Final = 0xFFFFFFFF  # seconds: a lifetime without end


@dataclass(frozen=True, slots=True)
class PrefixInfo:
    """The Prefix Information option (RFC 4861 §4.6.2)."""

    prefix: bytes
    length: int
    on_link: bool = True
    autonomous: bool = True
    valid: int = 2_592_000  # seconds, 30 days
    preferred: int = 604_800  # seconds, 7 days

    def build(self) -> bytes:
        """32 bytes."""
        flags = self.on_link << 7 | self.autonomous << 6
        return (
            bytes((PREFIX_INFO, 4, self.length, flags))
            + self.valid.to_bytes(4, "big")
            + self.preferred.to_bytes(4, "big")
            + b"\0\0\0\0"
            + self.prefix
        )


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one message that we know; others are skipped (RFC 4861 §4.6)."""

    source_mac: bytes | None = None
    target_mac: bytes | None = None
    prefixes: tuple[PrefixInfo, ...] = ()
    redirected: bytes | None = None
    mtu: int | None = None
    nonce: bytes | None = None
    rdnss: tuple[tuple[int, tuple[bytes, ...]], ...] = ()  # (lifetime, servers)
    dnssl: tuple[tuple[int, tuple[str, ...]], ...] = ()  # (lifetime, domains)

    @staticmethod
    def parse(data: bytes) -> "Options | None":
        """Of the bytes after a message's fixed part; None if one has length 0 or is cut short."""
        source = target = redirected = nonce = None
        mtu: int | None = None
        prefixes: list[PrefixInfo] = []
        rdnss: list[tuple[int, tuple[bytes, ...]]] = []
        dnssl: list[tuple[int, tuple[str, ...]]] = []
        at, n, count = 0, len(data), 0
        while at < n:
            size = data[at + 1] * 8 if at + 2 <= n else 0
            if size == 0 or at + size > n:
                return None
            count += 1
            if count > MAX_OPTIONS:
                return None
            kind, value = data[at], data[at + 2 : at + size]
            if kind == SOURCE_MAC and size == 8:
                source = value
            elif kind == TARGET_MAC and size == 8:
                target = value
            elif kind == PREFIX_INFO and size == 32 and value[0] <= 128:
                prefixes.append(
                    PrefixInfo(
                        value[14:30],
                        value[0],
                        bool(value[1] & 0x80),
                        bool(value[1] & 0x40),
                        int.from_bytes(value[2:6], "big"),
                        int.from_bytes(value[6:10], "big"),
                    )
                )
            elif kind == REDIRECTED:
                redirected = value[6:]
            elif kind == MTU and size == 8:
                mtu = int.from_bytes(value[2:6], "big")
            elif kind == NONCE:
                nonce = value
            elif kind == RDNSS and size >= 24 and size % 16 == 8:
                servers = tuple(value[i : i + 16] for i in range(6, len(value), 16))
                rdnss.append((int.from_bytes(value[2:6], "big"), servers))
            elif kind == DNSSL and size >= 16:
                domains = _domains(value[6:])
                if domains is not None:
                    dnssl.append((int.from_bytes(value[2:6], "big"), domains))
            at += size
        return Options(
            source,
            target,
            tuple(prefixes),
            redirected,
            mtu,
            nonce,
            tuple(rdnss),
            tuple(dnssl),
        )

    def build(self) -> bytes:
        """The bytes, in the order of the option types."""
        parts: list[bytes] = []
        if self.source_mac is not None:
            parts.append(bytes((SOURCE_MAC, 1)) + self.source_mac)
        if self.target_mac is not None:
            parts.append(bytes((TARGET_MAC, 1)) + self.target_mac)
        parts.extend(prefix.build() for prefix in self.prefixes)
        if self.redirected is not None:
            packet = self.redirected + bytes(-len(self.redirected) % 8)
            parts.append(bytes((REDIRECTED, 1 + len(packet) // 8)) + bytes(6) + packet)
        if self.mtu is not None:
            parts.append(bytes((MTU, 1, 0, 0)) + self.mtu.to_bytes(4, "big"))
        if self.nonce is not None:
            parts.append(_padded(NONCE, self.nonce))
        for lifetime, servers in self.rdnss:
            head = bytes((RDNSS, 1 + 2 * len(servers), 0, 0)) + lifetime.to_bytes(4, "big")
            parts.append(head + b"".join(servers))
        for lifetime, domains in self.dnssl:
            names = b"".join(
                b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"
                for name in domains
            )
            parts.append(_padded(DNSSL, b"\0\0" + lifetime.to_bytes(4, "big") + names))
        return b"".join(parts)


def _padded(kind: int, value: bytes) -> bytes:
    value += bytes(-(len(value) + 2) % 8)
    return bytes((kind, (len(value) + 2) // 8)) + value


def _domains(data: bytes) -> tuple[str, ...] | None:
    """Names in DNS wire form without compression, zero-padded; None if malformed."""
    names: list[str] = []
    labels: list[str] = []
    at, n = 0, len(data)
    while at < n:
        size = data[at]
        at += 1
        if size == 0:
            if labels:
                names.append(".".join(labels))
                labels = []
            continue
        if size > 63 or at + size > n:
            return None
        label = data[at : at + size]
        if any(not 0x21 <= c < 0x7F or c == 0x2E for c in label):
            return None
        labels.append(label.decode("ascii"))
        at += size
    return None if labels else tuple(names)


@dataclass(frozen=True, slots=True)
class RouterSolicitation:
    """RFC 4861 §4.1."""

    options: Options = field(default_factory=Options)

    @staticmethod
    def parse(rest: bytes, body: bytes) -> "RouterSolicitation | None":
        """None if the options are malformed."""
        options = Options.parse(body)
        return None if options is None else RouterSolicitation(options)

    def build(self) -> tuple[bytes, bytes]:
        """(rest, body)."""
        return b"\0\0\0\0", self.options.build()


@dataclass(frozen=True, slots=True)
class RouterAdvertisement:
    """RFC 4861 §4.2, with the preference of RFC 4191 §2.2 (1 high, 0 medium, -1 low)."""

    hop_limit: int = 0  # 0: unspecified
    managed: bool = False
    other: bool = False
    preference: int = 0
    lifetime: int = 1800  # seconds; 0: no default router
    reachable: int = 0  # ms; 0: unspecified
    retrans: int = 0  # ms; 0: unspecified
    options: Options = field(default_factory=Options)

    @staticmethod
    def parse(rest: bytes, body: bytes) -> "RouterAdvertisement | None":
        """None if cut short or the options are malformed."""
        if len(body) < 8:
            return None
        options = Options.parse(body[8:])
        if options is None:
            return None
        flags = rest[1]
        return RouterAdvertisement(
            rest[0],
            bool(flags & 0x80),
            bool(flags & 0x40),
            (0, 1, 0, -1)[flags >> 3 & 3],  # the reserved value counts as medium
            rest[2] << 8 | rest[3],
            int.from_bytes(body[:4], "big"),
            int.from_bytes(body[4:8], "big"),
            options,
        )

    def build(self) -> tuple[bytes, bytes]:
        """(rest, body)."""
        flags = self.managed << 7 | self.other << 6 | (self.preference & 3) << 3
        rest = bytes((self.hop_limit, flags)) + self.lifetime.to_bytes(2, "big")
        times = self.reachable.to_bytes(4, "big") + self.retrans.to_bytes(4, "big")
        return rest, times + self.options.build()


@dataclass(frozen=True, slots=True)
class NeighborSolicitation:
    """RFC 4861 §4.3."""

    target: bytes
    options: Options = field(default_factory=Options)

    @staticmethod
    def parse(rest: bytes, body: bytes) -> "NeighborSolicitation | None":
        """None if cut short, malformed, or the target is multicast."""
        if len(body) < 16 or body[0] == 0xFF:
            return None
        options = Options.parse(body[16:])
        return None if options is None else NeighborSolicitation(body[:16], options)

    def build(self) -> tuple[bytes, bytes]:
        """(rest, body)."""
        return b"\0\0\0\0", self.target + self.options.build()


@dataclass(frozen=True, slots=True)
class NeighborAdvertisement:
    """RFC 4861 §4.4."""

    target: bytes
    router: bool = False
    solicited: bool = False
    override: bool = False
    options: Options = field(default_factory=Options)

    @staticmethod
    def parse(rest: bytes, body: bytes) -> "NeighborAdvertisement | None":
        """None if cut short, malformed, or the target is multicast."""
        if len(body) < 16 or body[0] == 0xFF:
            return None
        options = Options.parse(body[16:])
        if options is None:
            return None
        flags = rest[0]
        return NeighborAdvertisement(
            body[:16], bool(flags & 0x80), bool(flags & 0x40), bool(flags & 0x20), options
        )

    def build(self) -> tuple[bytes, bytes]:
        """(rest, body)."""
        flags = self.router << 7 | self.solicited << 6 | self.override << 5
        return bytes((flags, 0, 0, 0)), self.target + self.options.build()


@dataclass(frozen=True, slots=True)
class Redirect:
    """RFC 4861 §4.5."""

    target: bytes
    destination: bytes
    options: Options = field(default_factory=Options)

    @staticmethod
    def parse(rest: bytes, body: bytes) -> "Redirect | None":
        """None if cut short, malformed, or the destination is multicast."""
        if len(body) < 32 or body[16] == 0xFF:
            return None
        options = Options.parse(body[32:])
        return None if options is None else Redirect(body[:16], body[16:32], options)

    def build(self) -> tuple[bytes, bytes]:
        """(rest, body)."""
        return b"\0\0\0\0", self.target + self.destination + self.options.build()
