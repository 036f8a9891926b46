# SPDX-License-Identifier: Apache-2.0
"""TCP options: MSS (RFC 9293 §3.7.1), window scale and timestamps (RFC 7323), SACK (RFC 2018),
Fast Open (RFC 7413).

An option whose length is impossible ends the parsing; what was read before it stands (RFC 9293
§3.1 MUST-7: unknown options are skipped by their length).
"""

from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from capas.wire.tcp import Segment

EOL: Final = 0
NOP: Final = 1
MSS: Final = 2
WINDOW_SCALE: Final = 3
SACK_PERMITTED: Final = 4
SACK: Final = 5
TIMESTAMPS: Final = 8
MD5: Final = 19
FAST_OPEN: Final = 34
EXPERIMENT: Final = 254
FAST_OPEN_MAGIC: Final = b"\xf9\x89"  # RFC 6994 ExID of Fast Open, RFC 7413 appendix A.1

MAX_WINDOW_SCALE: Final = 14  # RFC 7323 §2.3
#: NOP NOP TIMESTAMPS 10: how every aligned stack sends it (RFC 7323 appendix A).
TIMESTAMP_PREFIX: Final = b"\x01\x01\x08\x0a"

MAX_BLOCKS: Final = 4  # SACK blocks in 40 bytes of options (RFC 2018 §3)
MAX_BLOCKS_WITH_TIMESTAMPS: Final = 3

pack_timestamps = Struct("!4sLL").pack
_BLOCKS: Final = tuple(Struct("!%dL" % (2 * n)) for n in range(5))
_unpack_pair = Struct("!LL").unpack_from
#: The options of a SYN in Linux's order: MSS, SACK permitted and timestamps, NOP and window scale.
_SYN: Final = Struct("!HHLLL3sB")
_SYN_KINDS: Final = (0x0204, 0x0402080A, b"\x01\x03\x03")
_unpack_syn = _SYN.unpack_from
_pack_syn = _SYN.pack


def parse_options(data: bytes, start: int, end: int, segment: "Segment") -> None:
    """Fill ``segment`` from the options in ``data[start:end]`` (untrusted bytes)."""
    if end - start == 20:  # perhaps a SYN of Linux, and of ours: all at once
        mss_is, mss, sack_is, val, ecr, scale_is, scale = _unpack_syn(data, start)
        if (mss_is, sack_is, scale_is) == _SYN_KINDS:
            segment.mss, segment.ts_val, segment.ts_ecr, segment.sack_ok = mss, val, ecr, True
            segment.wscale = min(scale, MAX_WINDOW_SCALE)
            return
    i = start
    while i < end:
        kind = data[i]
        if kind == EOL:
            return
        if kind == NOP:
            i += 1
            continue
        if i + 1 >= end:
            return
        length = data[i + 1]
        if length < 2 or i + length > end:
            return
        _parse_one(kind, length, data, i + 2, segment)
        i += length


def _parse_one(kind: int, length: int, data: bytes, at: int, segment: "Segment") -> None:
    if kind == TIMESTAMPS and length == 10:
        segment.ts_val, segment.ts_ecr = _unpack_pair(data, at)
    elif kind == SACK and length >= 10 and (length - 2) % 8 == 0:
        segment.sack = _BLOCKS[(length - 2) // 8].unpack_from(data, at)
    elif kind == MSS and length == 4:
        segment.mss = data[at] << 8 | data[at + 1]
    elif kind == WINDOW_SCALE and length == 3:
        segment.wscale = min(data[at], MAX_WINDOW_SCALE)
    elif kind == SACK_PERMITTED and length == 2:
        segment.sack_ok = True
    elif kind == FAST_OPEN and (length == 2 or (6 <= length <= 18 and length % 2 == 0)):
        segment.cookie = data[at : at + length - 2]
    elif (
        kind == EXPERIMENT
        and (length == 4 or (8 <= length <= 20 and length % 2 == 0))
        and data[at : at + 2] == FAST_OPEN_MAGIC
    ):
        segment.cookie = data[at + 2 : at + length - 2]
        segment.cookie_experimental = True


def timestamps(ts_val: int, ts_ecr: int) -> bytes:
    """The aligned timestamps option, 12 bytes."""
    return pack_timestamps(TIMESTAMP_PREFIX, ts_val, ts_ecr)


def sack_blocks(blocks: list[int]) -> bytes:
    """NOP NOP SACK with flat pairs of raw numbers, 4 + 8n bytes; b"" for none."""
    n = len(blocks) // 2
    if not n:
        return b""
    return b"\x01\x01\x05" + bytes((2 + 8 * n,)) + _BLOCKS[n].pack(*blocks)


def syn_options(
    mss: int,
    wscale: int,
    sack_ok: bool,
    ts_val: int,
    ts_ecr: int,
    cookie: bytes | None = None,
    order: str = "linux",
    experimental: bool = False,
) -> bytes:
    """The options of a SYN; -1 leaves wscale or timestamps out, None the Fast Open cookie.

    ``order`` is the stack's manner: "linux" puts MSS, SACK, TS, WS; "freebsd" MSS, WS, SACK, TS.
    """
    if wscale >= 0 and sack_ok and ts_val >= 0 and cookie is None and order == "linux":
        mss_is, sack_is, scale_is = _SYN_KINDS
        return _pack_syn(mss_is, mss, sack_is, ts_val, ts_ecr, scale_is, wscale)
    out = bytearray((MSS, 4, mss >> 8, mss & 0xFF))
    ts = b"\x08\x0a" + pack_timestamps(b"", ts_val, ts_ecr)[4:] if ts_val >= 0 else b""
    if order == "freebsd":
        if wscale >= 0:
            out += bytes((NOP, WINDOW_SCALE, 3, wscale))
        if sack_ok:
            out += b"\x04\x02"
        if ts:
            while len(out) % 4 != 2:
                out.append(NOP)
        out += ts
    else:
        if sack_ok and ts:
            out += b"\x04\x02" + ts
        elif ts:
            out += b"\x01\x01" + ts
        elif sack_ok:
            out += b"\x01\x01\x04\x02"
        if wscale >= 0:
            out += bytes((NOP, WINDOW_SCALE, 3, wscale))
    if cookie is not None and experimental:
        out += bytes((EXPERIMENT, 4 + len(cookie))) + FAST_OPEN_MAGIC + cookie
    elif cookie is not None:
        out += bytes((FAST_OPEN, 2 + len(cookie))) + cookie
    if order == "freebsd" and len(out) % 4:
        out += bytes(-len(out) % 4)  # EOL and padding
    while len(out) % 4:
        out.append(NOP)
    return bytes(out)
