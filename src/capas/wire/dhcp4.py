# SPDX-License-Identifier: Apache-2.0
"""DHCPv4 messages and options (RFC 2131 §2, RFC 2132, RFC 3396, RFC 3442).

One message is one UDP datagram of at least 300 bytes (RFC 1542 §2.1): BOOTP's fixed fields, a magic
cookie, options.  An option that stands several times is one long option (RFC 3396 §7); options may
go on in the fields ``file`` and ``sname`` ("overload", RFC 2132 §9.3).  Received bytes are
untrusted: `Dhcp.parse` answers None for what cannot be read, the readers of options an empty value.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from capas.wire.address import ANY4, Prefix

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68

REQUEST: Final = 1  # op
REPLY: Final = 2

# Message types, RFC 2132 §9.6.
DISCOVER: Final = 1
OFFER: Final = 2
REQUEST_ADDRESS: Final = 3  # DHCPREQUEST
DECLINE: Final = 4
ACK: Final = 5
NAK: Final = 6
RELEASE: Final = 7
INFORM: Final = 8

KINDS: Final = {
    DISCOVER: "Discover", OFFER: "Offer", REQUEST_ADDRESS: "Request", DECLINE: "Decline",
    ACK: "ACK", NAK: "NACK", RELEASE: "Release", INFORM: "Inform",
}  # fmt: skip

# Options, RFC 2132.
MASK: Final = 1
ROUTERS: Final = 3
NAMESERVERS: Final = 6
HOSTNAME: Final = 12
DOMAIN: Final = 15
MTU: Final = 26
BROADCAST: Final = 28
REQUESTED: Final = 50  # address
LEASE: Final = 51  # seconds
OVERLOAD: Final = 52
KIND: Final = 53
SERVER: Final = 54  # address of the server that is meant, or answers
WANTED: Final = 55  # options asked for
MESSAGE: Final = 56  # why not
MAX_SIZE: Final = 57  # bytes of a message the sender takes
RENEWAL: Final = 58  # T1, seconds
REBINDING: Final = 59  # T2
CLIENT: Final = 61  # identifier
ROUTES: Final = 121  # classless static routes, RFC 3442

INFINITE: Final = 0xFFFFFFFF  # a lease for ever, RFC 2131 §3.3
_PAD: Final = 0
_END: Final = 255
_ETHERNET: Final = 1  # htype
_COOKIE: Final = b"\x63\x82\x53\x63"
_FIXED: Final = Struct("!4BIHH4s4s4s4s16s64s128s4s")
_MINIMUM: Final = 300  # bytes, RFC 1542 §2.1
_SNAME: Final = slice(44, 108)
_FILE: Final = slice(108, 236)
_BROADCAST_FLAG: Final = 0x8000


@dataclass(frozen=True, slots=True)
class Dhcp:
    """One message; ``kind`` is its type, ``options`` the others by number, in order.

    ``client``     the sender's own address (ciaddr), if it has one
    ``yours``      what the server gives (yiaddr)
    ``relay``      giaddr, 0.0.0.0 if none; ``secs``: since the client began
    ``broadcast``  the client cannot receive unicasts yet
    """

    op: int
    kind: int
    xid: int
    mac: bytes
    client: bytes = ANY4
    yours: bytes = ANY4
    next_server: bytes = ANY4
    relay: bytes = ANY4
    secs: int = 0
    broadcast: bool = False
    options: dict[int, bytes] = field(default_factory=dict)

    @staticmethod
    def parse(data: bytes) -> "Dhcp | None":
        """The message; None if it is malformed, no DHCP, or not of an Ethernet host."""
        if len(data) < _FIXED.size:
            return None
        fields = _FIXED.unpack_from(data)
        op, htype, hlen, _, xid, secs, flags, *addresses, mac, _, _, magic = fields
        if op not in (REQUEST, REPLY) or htype != _ETHERNET or hlen != 6 or magic != _COOKIE:
            return None
        options: dict[int, bytes] = {}
        if not _collect(data[_FIXED.size :], options):
            return None
        overload = options.pop(OVERLOAD, b"\0")
        if len(overload) != 1 or overload[0] > 3:
            return None
        for bit, part in ((1, _FILE), (2, _SNAME)):  # in this order, RFC 2131 §4.1
            if overload[0] & bit and not _collect(data[part], options):
                return None
        kind = options.pop(KIND, b"")
        if len(kind) != 1 or kind[0] not in KINDS:
            return None
        broadcast = bool(flags & _BROADCAST_FLAG)
        client, yours, server, relay = addresses
        return Dhcp(
            op, kind[0], xid, mac[:6], client, yours, server, relay, secs, broadcast, options
        )

    def build(self) -> bytes:
        """The bytes of the datagram."""
        parts = [
            _FIXED.pack(
                self.op, _ETHERNET, 6, 0, self.xid, self.secs,
                _BROADCAST_FLAG if self.broadcast else 0,
                self.client, self.yours, self.next_server, self.relay, self.mac, b"", b"", _COOKIE,
            ),
            bytes((KIND, 1, self.kind)),
        ]  # fmt: skip
        for code, value in self.options.items():
            for i in range(0, max(1, len(value)), 255):
                piece = value[i : i + 255]
                parts.append(bytes((code, len(piece))) + piece)
        parts.append(bytes((_END,)))
        return b"".join(parts).ljust(_MINIMUM, b"\0")

    # -- options, "" or 0 or () if absent or malformed ------------------------------------------

    def address(self, code: int) -> bytes:
        """An option of one address; b"" if there is none."""
        value = self.options.get(code, b"")
        return value if len(value) == 4 else b""

    def addresses(self, code: int) -> tuple[bytes, ...]:
        """An option of one or more addresses."""
        value = self.options.get(code, b"")
        if len(value) % 4:
            return ()
        return tuple(value[i : i + 4] for i in range(0, len(value), 4))

    def number(self, code: int, size: int) -> int:
        """An unsigned number of ``size`` bytes; -1 if there is none."""
        value = self.options.get(code, b"")
        return int.from_bytes(value, "big") if len(value) == size else -1

    def text(self, code: int) -> str:
        """A text of printing ASCII characters."""
        value = self.options.get(code, b"").rstrip(b"\0")
        shown = value.decode("ascii", "replace")
        return shown if value.isascii() and shown.isprintable() else ""

    def prefix_length(self) -> int:
        """The subnet mask as a prefix length; -1 if there is none, or it has holes."""
        mask = self.number(MASK, 4)
        length = mask.bit_count()
        return length if mask >= 0 and mask == mask_number(length) else -1

    def routes(self) -> tuple[tuple[Prefix, bytes], ...]:
        """(destination, gateway) of each classless static route; gateway 0.0.0.0: on the link."""
        value = self.options.get(ROUTES, b"")
        found = []
        at = 0
        while at < len(value):
            length = value[at]
            size = (length + 7) // 8
            end = at + 1 + size + 4
            if length > 32 or end > len(value):
                return ()
            prefix = Prefix(value[at + 1 : at + 1 + size].ljust(4, b"\0"), length)
            found.append((prefix, value[end - 4 : end]))
            at = end
        return tuple(found)


def mask_number(length: int) -> int:
    """The subnet mask of a prefix length, as a number."""
    return (1 << 32) - (1 << 32 - length)


def routes_option(routes: Iterable[tuple[Prefix, bytes]]) -> bytes:
    """The value of option 121."""
    return b"".join(
        bytes((prefix.length,)) + prefix.address[: (prefix.length + 7) // 8] + gateway
        for prefix, gateway in routes
    )


def _collect(data: bytes, options: dict[int, bytes]) -> bool:
    """Add the options in ``data``, up to its end or an end option; False if one is cut short."""
    at = 0
    while at < len(data):
        code = data[at]
        if code == _END:
            return True
        if code == _PAD:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            return False
        end = at + 2 + data[at + 1]
        options[code] = options.get(code, b"") + data[at + 2 : end]
        at = end
    return True
