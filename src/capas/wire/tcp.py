# SPDX-License-Identifier: Apache-2.0
"""The TCP header (RFC 9293 §3.1): parsed into a `Segment`, packed from plain numbers.

Flags are ``Final`` ints.  Parsing touches untrusted bytes and returns None for what cannot be a
segment.  Budget: one `unpack_from`, one slice and one constructor for a segment whose only option
is a timestamp, 0.7 us.
"""

from struct import Struct
from typing import Final, final

from capas.base.checksum import Buffer
from capas.wire.tcp_options import TIMESTAMP_PREFIX, parse_options

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20
ECE: Final = 0x40  # RFC 3168 §6.1
CWR: Final = 0x80
AE: Final = 0x100  # RFC 9768 §3.1; was NS (RFC 3540)

HEADER_LENGTH: Final = 20
CHECKSUM_OFFSET: Final = 16
PROTOCOL: Final = 6

_HEADER: Final = Struct("!HHLLHHHH")
_TIMESTAMPS: Final = Struct("!LL")
_unpack_header = _HEADER.unpack_from
pack_header = _HEADER.pack
_unpack_timestamps = _TIMESTAMPS.unpack_from
pack_header = _HEADER.pack

_LETTERS: Final = (
    (SYN, "S"),
    (FIN, "F"),
    (RST, "R"),
    (PSH, "P"),
    (URG, "U"),
    (ECE, "E"),
    (CWR, "W"),
)

_COPY: Final = 4096  # bytes of payload; more is kept as a view until the user reads it


@final
class Segment:
    """One received segment (or super-segment).

    ``seq`` ``ack``  raw numbers in [0, 2**32)
    ``wnd``          the window field, not yet scaled
    ``up``           the urgent pointer field
    ``payload``      bytes, or a view of the frame where a copy costs more than the view;
                     ``length`` = SEG.LEN without SYN and FIN
    ``time``         ns, ingress
    ``count``        wire segments inside a super-segment; ``size``: payload of the largest
    ``ts_val`` ``ts_ecr``  -1 without the option (RFC 7323 §3.2)
    ``sack``         flat pairs (left, right, left, right...), raw numbers; () without the option
    ``mss`` ``wscale``  -1 without the option; ``sack_ok``: SACK permitted
    ``cookie``       Fast Open option (RFC 7413 §2): None absent, b"" a request
    ``cookie_experimental``  it came in the experimental form (RFC 6994)
    ``ecn``          the ECN field of the IP header (RFC 3168 §5)
    """

    __slots__ = (
        "ack",
        "cookie",
        "cookie_experimental",
        "count",
        "ecn",
        "flags",
        "length",
        "mss",
        "payload",
        "sack",
        "sack_ok",
        "seq",
        "size",
        "time",
        "ts_ecr",
        "ts_val",
        "up",
        "wnd",
        "wscale",
    )

    def __init__(
        self,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        payload: bytes | memoryview,
        time: int = 0,
        ts_val: int = -1,
        ts_ecr: int = -1,
        up: int = 0,
    ) -> None:
        self.seq: int = seq
        self.ack: int = ack
        self.flags: int = flags
        self.wnd: int = wnd
        self.up: int = up
        self.payload: bytes | memoryview = payload
        self.length: int = len(payload)
        self.time: int = time
        self.count: int = 1
        self.size: int = self.length
        self.ts_val: int = ts_val
        self.ts_ecr: int = ts_ecr
        self.sack: tuple[int, ...] = ()
        self.mss: int = -1
        self.wscale: int = -1
        self.sack_ok: bool = False
        self.cookie: bytes | None = None
        self.cookie_experimental: bool = False
        self.ecn: int = 0

    def attach(self, body: tuple[Buffer, ...]) -> None:
        """The payload, if it was apart from the headers."""
        self.payload = memoryview(body[0]) if len(body) == 1 else b"".join(body)
        self.size = self.length = len(self.payload)

    def __repr__(self) -> str:
        letters = "".join(letter for bit, letter in _LETTERS if self.flags & bit)
        if self.flags & ACK:
            letters += "."
        return f"Segment[{letters}] {self.seq}({self.length}) ack {self.ack} win {self.wnd}"


def parse(data: bytes, start: int, end: int, time: int) -> Segment | None:
    """The segment in ``data[start:end]``; None if the header does not fit (untrusted bytes)."""
    if end - start < 20:
        return None
    _, _, seq, ack, offset_flags, wnd, _, up = _unpack_header(data, start)
    offset = offset_flags >> 12 << 2
    body = start + offset
    if offset == 32 and body <= end and data[start + 20 : start + 24] == TIMESTAMP_PREFIX:
        ts_val, ts_ecr = _unpack_timestamps(data, start + 24)
        payload = data[body:end] if end - body <= _COPY else memoryview(data)[body:end]
        return Segment(seq, ack, offset_flags & 0x1FF, wnd, payload, time, ts_val, ts_ecr, up)
    if offset < 20 or body > end:
        return None
    payload = data[body:end] if end - body <= _COPY else memoryview(data)[body:end]
    segment = Segment(seq, ack, offset_flags & 0x1FF, wnd, payload, time, -1, -1, up)
    if offset > 20:
        parse_options(data, start + 20, body, segment)
    return segment
