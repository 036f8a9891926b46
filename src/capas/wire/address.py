# SPDX-License-Identifier: Apache-2.0
"""Addresses: packed bytes inside, text at the edges.

An IP address is ``bytes`` of length 4 or 16 and the length *is* the family (RFC 791, RFC 4291); a
MAC address is ``bytes`` of length 6.  Parsers of text raise ValueError naming the offending text.
"""

from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import Final, final

ANY4: Final = bytes(4)
ANY6: Final = bytes(16)
LOOPBACK4: Final = b"\x7f\x00\x00\x01"
LOOPBACK6: Final = bytes(15) + b"\x01"
BROADCAST4: Final = b"\xff\xff\xff\xff"
ALL_NODES6: Final = b"\xff\x02" + bytes(13) + b"\x01"  # ff02::1, RFC 4291 §2.7.1
ALL_ROUTERS6: Final = b"\xff\x02" + bytes(13) + b"\x02"  # ff02::2
ALL_SYSTEMS4: Final = b"\xe0\x00\x00\x01"  # 224.0.0.1, RFC 1112 §4
LINK_LOCAL_PREFIX6: Final = b"\xfe\x80" + bytes(6)  # fe80::/64
BROADCAST_MAC: Final = b"\xff" * 6
ZERO_MAC: Final = bytes(6)
_MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 §2.5.5.2
_COMPATIBLE: Final = bytes(12)  # ::/96, RFC 4291 §2.5.5.1; glibc: unless the next group is 0, too
_SOLICITED: Final = b"\xff\x02" + bytes(9) + b"\x01\xff"  # ff02::1:ff00:0/104


def parse(text: str) -> bytes:
    """Packed form of "192.0.2.1" or "2001:db8::1"."""
    return ip_address(text).packed


def text(address: bytes) -> str:
    """Text of a packed address, IPv6 as RFC 5952 wants it and inet_ntop(3) shows it."""
    if len(address) == 4:
        return "%d.%d.%d.%d" % tuple(address)
    if is_v4_mapped(address):  # RFC 5952 §5; ipaddress does so from Python 3.13 on
        return "::ffff:%d.%d.%d.%d" % tuple(address[12:])
    if address.startswith(_COMPATIBLE) and any(address[12:14]):
        return "::%d.%d.%d.%d" % tuple(address[12:])
    return str(IPv6Address(address))


def parse_mac(text: str) -> bytes:
    """Packed form of "02:00:00:00:00:01" (or with dashes)."""
    parts = text.replace("-", ":").split(":")
    try:
        mac = bytes(int(part, 16) for part in parts if len(part) in (1, 2))
    except ValueError:
        mac = b""
    if len(mac) != 6 or len(parts) != 6:
        raise ValueError(f"{text!r} is not a MAC address such as 02:00:00:00:00:01")
    return mac


def mac_text(mac: bytes) -> str:
    """Text of a packed MAC address."""
    return mac.hex(":")


def is_multicast(address: bytes) -> bool:
    """224.0.0.0/4 or ff00::/8."""
    return address[0] == 0xFF if len(address) == 16 else 224 <= address[0] <= 239


def is_loopback(address: bytes) -> bool:
    """127.0.0.0/8 or ::1."""
    return address[0] == 127 if len(address) == 4 else address == LOOPBACK6


def is_unspecified(address: bytes) -> bool:
    """0.0.0.0 or ::."""
    return address in (ANY4, ANY6)


def is_link_local(address: bytes) -> bool:
    """169.254.0.0/16 (RFC 3927) or fe80::/10."""
    if len(address) == 4:
        return address[0] == 169 and address[1] == 254
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_v4_mapped(address: bytes) -> bool:
    """::ffff:a.b.c.d."""
    return len(address) == 16 and address.startswith(_MAPPED)


def oneself(address: bytes, source: bytes) -> bytes:
    """Where what ``source`` sends to ``address``, which is unspecified, goes (Linux)."""
    if len(source) == len(address) and not is_unspecified(source):
        return source
    return LOOPBACK4 if len(address) == 4 or len(source) == 4 else LOOPBACK6


def map_v4(address: bytes) -> bytes:
    """::ffff:a.b.c.d of a.b.c.d."""
    return _MAPPED + address


def unmap_v4(address: bytes) -> bytes:
    """a.b.c.d of ::ffff:a.b.c.d; anything else as it is."""
    return address[12:] if is_v4_mapped(address) else address


def solicited_node(address: bytes) -> bytes:
    """The solicited-node multicast address of an IPv6 address (RFC 4291 §2.7.1)."""
    return _SOLICITED + address[13:]


def multicast_mac(address: bytes) -> bytes:
    """The Ethernet address of a multicast group (RFC 1112 §6.4, RFC 2464 §7)."""
    if len(address) == 16:
        return b"\x33\x33" + address[12:]
    return bytes((0x01, 0x00, 0x5E, address[1] & 0x7F, address[2], address[3]))


def eui64(mac: bytes) -> bytes:
    """The modified EUI-64 interface identifier, 8 bytes (RFC 4291 appendix A)."""
    return bytes((mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, mac[3], mac[4], mac[5]))


def stable_id(secret: bytes, prefix: bytes, interface: str, count: int) -> bytes:
    """An opaque interface identifier, 8 bytes: the same for each network, another elsewhere.

    RFC 7217 §5; ``count`` is DAD_Counter.
    """
    while True:
        seed = prefix[:8] + count.to_bytes(4, "big") + interface.encode()
        found = blake2b(seed, digest_size=8, key=secret[:64]).digest()
        if not is_reserved_id(found):
            return found
        count += 1


def is_reserved_id(identifier: bytes) -> bool:
    """Whether an interface identifier is nobody's: those of RFC 5453 begin with 0 or fdff:ffff."""
    return not any(identifier[:4]) or identifier[:4] == b"\xfd\xff\xff\xff"


def link_local6(mac: bytes) -> bytes:
    """fe80:: plus the modified EUI-64 of a MAC address."""
    return LINK_LOCAL_PREFIX6 + eui64(mac)


def mask(address: bytes, length: int) -> bytes:
    """The address with all bits after the first ``length`` cleared."""
    bits = len(address) * 8
    value = int.from_bytes(address, "big") >> (bits - length) << (bits - length)
    return value.to_bytes(len(address), "big")


def common_prefix(a: bytes, b: bytes) -> int:
    """How many leading bits two addresses of one family share."""
    return len(a) * 8 - (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()


@final
class Prefix:
    """An address prefix such as 192.0.2.0/24; host bits are cleared."""

    __slots__ = ("address", "length")

    def __init__(self, address: bytes, length: int) -> None:
        if not 0 <= length <= len(address) * 8:
            raise ValueError(f"a prefix length of {length} does not fit {text(address)}")
        self.address: bytes = mask(address, length) if length < len(address) * 8 else address
        self.length: int = length

    @staticmethod
    def parse(text: str) -> "Prefix":
        """Of "10.0.0.0/8"; without a slash, the single address."""
        address, length = parse_interface(text)
        return Prefix(address, length)

    def contains(self, address: bytes) -> bool:
        """Whether ``address`` (of either family) lies within."""
        return len(address) == len(self.address) and mask(address, self.length) == self.address

    def broadcast(self) -> bytes | None:
        """The directed broadcast address; None for IPv6, /31 (RFC 3021) and /32."""
        if len(self.address) != 4 or self.length >= 31:
            return None
        value = int.from_bytes(self.address, "big") | ((1 << (32 - self.length)) - 1)
        return value.to_bytes(4, "big")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prefix):
            return NotImplemented
        return self.address == other.address and self.length == other.length

    def __hash__(self) -> int:
        # Python's own modulus for ints: compiled, a hash must fit a machine word.
        return (int.from_bytes(self.address, "big") * 256 + self.length) % ((1 << 61) - 1)

    def __str__(self) -> str:
        return f"{text(self.address)}/{self.length}"

    def __repr__(self) -> str:
        return f"Prefix({self})"


def parse_interface(text: str) -> tuple[bytes, int]:
    """(address, prefix length) of "192.0.2.1/24"; a missing length means the whole address."""
    host, slash, length = text.partition("/")
    address = parse(host)
    if not slash:
        return address, len(address) * 8
    if not length.isdigit() or int(length) > len(address) * 8:
        raise ValueError(f"{text!r}: the prefix length must be 0 to {len(address) * 8}")
    return address, int(length)
