# SPDX-License-Identifier: Apache-2.0
"""One segment on its way: flags, window, options, ECN field (RFC 9293 §3.1, RFC 7323, RFC 3168).

`output` decides what leaves and when; here it gets its header.
"""

from typing import TYPE_CHECKING, Final

from capas.base.clock import MS
from capas.base.seq import M32
from capas.transport.tcp import manners
from capas.transport.tcp.handshake import ts_now
from capas.wire import tcp_options
from capas.wire.tcp import ACK, CWR, ECE, FIN, RST, URG
from capas.wire.tcp_options import TIMESTAMP_PREFIX, pack_timestamps, timestamps

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection

ECT0: Final = 2  # RFC 3168 §5: ECN-capable transport
_NO_PIECES: Final = ()


def transmit(
    c: "TcpConnection", seq: int, n: int, flags: int, now: int, whole: bool = False
) -> bool:
    """Send [seq, seq + n) of the send buffer with ``flags`` | ACK; unwrapped ``seq``.

    ``whole``: as one segment, though it is longer than the MSS (a probe of the path MTU).
    """
    rx, tx = c.rx, c.tx
    wnd = rx.advertise() >> rx.rcv_wscale
    neg = c.neg
    if rx.ooo is None and rx.dsack is None:
        room = -1
        options = b""
        if neg.ts_ok:
            val = (now // MS + neg.ts_offset) & M32
            options = pack_timestamps(TIMESTAMP_PREFIX, val, rx.ts_recent)
    else:
        room = _sack_room(c, n)
        options = _options(c, room, now)
    up = 0
    if tx.snd_up > seq:
        flags |= URG
        up = min(tx.snd_up - seq, 0xFFFF)
    ecn = 0
    if neg.ecn_ok:
        flags, ecn = _ecn_marks(c, seq, n, flags)
    count = 1
    super_frame = n > tx.mss and not whole
    if super_frame:
        c.path.set_segment_size(tx.mss)
        count = -(-n // tx.mss)
    counts = c.counters.values  # as `add`
    counts["tcp.segments_out"] = counts.get("tcp.segments_out", 0) + count
    life = c.life
    life.segs_out += count
    if n:
        life.data_sent = now
        life.data_segs_out += count
    if room != 0:
        c.acknowledged_now(now, n > 0)
    else:  # a bare acknowledgement with the SACK blocks follows, if one was due
        rx.last_ack_sent = rx.rcv_nxt
    return c.path.send(
        seq & M32,
        rx.rcv_nxt & M32,
        flags | ACK,
        wnd if wnd < 65536 else 65535,
        up,
        options,
        tx.pieces(seq, n) if n else _NO_PIECES,
        n,
        super_frame,
        ecn,
        now,
    )


def _sack_room(c: "TcpConnection", n: int) -> int:
    """How many SACK blocks fit beside ``n`` bytes (RFC 9293 §3.7.1); -1: there are none to send."""
    rx = c.rx
    if not c.config.tcp_dsack:
        rx.dsack = None
    if (rx.ooo is None and rx.dsack is None) or not c.neg.sack_ok:
        return -1
    most = tcp_options.MAX_BLOCKS_WITH_TIMESTAMPS if c.neg.ts_ok else tcp_options.MAX_BLOCKS
    if not n:
        return most
    return max(0, min(most, (c.tx.mss - n - 4) // 8))


def _options(c: "TcpConnection", room: int, now: int) -> bytes:
    rx = c.rx
    options = b""
    if c.neg.ts_ok:
        options = timestamps(ts_now(c, now), rx.ts_recent)
    if room > 0:
        options += tcp_options.sack_blocks([edge & M32 for edge in rx.sack(room)])
    return options


def _ecn_marks(c: "TcpConnection", seq: int, n: int, flags: int) -> tuple[int, int]:
    """ECE until the peer says CWR; ECT on new data only (RFC 3168 §6.1.5)."""
    ecn = 0
    if c.life.ecn_echo:
        flags |= ECE
    if n and seq >= c.tx.snd_nxt:
        ecn = ECT0
        if c.recovery.cwr_due:
            c.recovery.cwr_due = False
            flags |= CWR
    return flags, ecn


def send_ack(c: "TcpConnection", now: int) -> None:
    """A segment without data at SND.NXT."""
    if manners.acknowledgements_repeat_fin(c):
        transmit(c, c.tx.snd_nxt - 1, 0, ACK | FIN, now)
    else:
        transmit(c, c.tx.snd_nxt, 0, ACK, now)
    c.counters.add("tcp.acks_out")


def send_probe(c: "TcpConnection", now: int) -> None:
    """A segment the peer must answer: already acknowledged, no data (keep-alive, window probe)."""
    transmit(c, c.tx.snd_una - 1, 0, ACK, now)


def send_reset(c: "TcpConnection", now: int) -> None:
    """<SEQ=SND.NXT><CTL=RST,ACK>, with a timestamp if they are in use (RFC 7323 §3.2)."""
    c.counters.add("tcp.resets_out")
    c.life.segs_out += 1
    options = b""
    if c.neg.ts_ok:
        options = timestamps(ts_now(c, now), max(c.rx.ts_recent, 0))
    seq, ack = c.tx.snd_nxt & M32, c.rx.rcv_nxt & M32
    c.path.send(seq, ack, RST | ACK, 0, 0, options, (), 0, False, 0, now)
