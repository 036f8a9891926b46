# SPDX-License-Identifier: Apache-2.0
"""Opening: what the two SYNs say and agree on (RFC 9293 §3.5, §3.7.1; RFC 7323; RFC 2018).

The functions work on a connection's parts; the decision what to answer to which segment is
`arrives`'s.
"""

from typing import TYPE_CHECKING, Final

from capas.base.clock import MS, NEVER, SECOND
from capas.base.seq import M32
from capas.transport.tcp import manners, mtu_search, recovery
from capas.transport.tcp import timers as tt
from capas.wire import tcp_options
from capas.wire.tcp import ACK, CWR, ECE, SYN, Segment

if TYPE_CHECKING:
    from capas.base.config import HostConfig
    from capas.transport.tcp.connection import TcpConnection

SMALL_MSS: Final = 8  # bytes: below this no payload could ever leave
SMALLEST_PEER_MSS: Final = 64  # bytes: a peer that says less is not believed (as Linux)
MAX_WINDOW: Final = 65_535  # unscaled, bytes
FALLBACK_RTO: Final = 3 * SECOND  # RFC 6298 §5.7


def window_shift(config: "HostConfig", limit: int) -> int:
    """The smallest shift that lets the largest buffer be advertised (RFC 7323 §2.3)."""
    space = config.tcp_receive_buffer_max
    shift = (space if space > limit else limit).bit_length() - 16
    return 0 if shift < 0 else min(shift, tcp_options.MAX_WINDOW_SCALE)


def initial_receive_window(c: "TcpConnection", mss: int) -> int:
    """The window a SYN offers, unscaled.

    Linux sets half of the buffer aside for overhead and offers whole segments; FreeBSD offers the
    buffer.
    """
    limit = c.rx.limit
    if c.config.tcp_manners == "freebsd":
        return min(limit, MAX_WINDOW)
    space = limit >> 1
    return min(space - space % mss if space > mss else space, MAX_WINDOW)


def ts_now(c: "TcpConnection", now: int) -> int:
    """TSval: a millisecond clock plus the connection's offset (RFC 7323 §5.4)."""
    return (now // MS + c.neg.ts_offset) & M32


def advertised_mss(c: "TcpConnection") -> int:
    """The MSS option's value: MTU less fixed headers, without options (RFC 6691)."""
    path = c.path
    if c.rx.eager:
        mss = manners.announced_segment(c)
    else:
        mss = min(path.max_segment, path.largest_segment)
    if c.config.tcp_advmss:
        mss = min(mss, c.config.tcp_advmss)
    if c.options.maxseg:
        mss = min(mss, c.options.maxseg)
    return min(mss, 65_535)


def send_syn(c: "TcpConnection", now: int) -> None:
    """Send our SYN, with ACK when the peer's has come (also when repeating it)."""
    config, neg, rx, tx = c.config, c.neg, c.rx, c.tx
    passive = rx.irs >= 0 and c.peer_syn is not None
    flags = SYN
    ts_val = ts_ecr = -1
    if passive:
        flags |= ACK
        ts_ok, sack_ok, wscale_ok = neg.ts_ok, neg.sack_ok, neg.wscale_ok
        if neg.ecn_ok:
            flags |= ECE
        ts_ecr = max(rx.ts_recent, 0)
    else:
        ts_ok, sack_ok = config.tcp_timestamps, config.tcp_sack
        wscale_ok = config.tcp_window_scaling
        if config.tcp_ecn == 1 and c.recovery.timeouts <= config.tcp_ecn_retries:
            flags |= ECE | CWR  # not on later attempts: RFC 3168 §6.1.1.1
        ts_ecr = 0
    if ts_ok:
        ts_val = (now // MS + neg.ts_offset) & M32
    shift = -1
    if wscale_ok:  # as agreed when the peer's SYN came, if it has
        shift = rx.rcv_wscale if passive else window_shift(config, rx.limit)
    mss = c.life.advmss = c.life.advmss if passive else advertised_mss(c)
    fast = c.fast
    cookie, experimental, size = None, False, 0
    if fast is not None and (passive or not (c.recovery.timeouts or fast.repeated)):
        cookie, experimental, size = fast.cookie, fast.experimental, fast.size
    elif fast is not None:
        fast.repeated = True  # without option and data: they may be why it was lost
    options = tcp_options.syn_options(
        mss, shift, sack_ok, ts_val, ts_ecr, cookie, config.tcp_option_order, experimental
    )
    if c.options.no_options:
        options = b""
    wnd = initial_receive_window(c, mss)
    if tx.snd_nxt == tx.iss:
        tx.snd_nxt = tx.iss + 1
        c.board.sent(tx.iss, tx.iss + 1, now, 0)
        if size:
            tx.snd_nxt += size
            c.board.sent(tx.iss + 1, tx.snd_nxt, now, 1)
    if passive:
        rx.rcv_adv = max(rx.rcv_adv, rx.rcv_nxt + wnd)
        rx.last_ack_sent = rx.rcv_nxt
    c.counters.add("tcp.segments_out")
    c.life.segs_out += neg.active  # Linux's connection does not count its SYN-ACKs
    c.path.send(
        tx.iss & M32,
        rx.rcv_nxt & M32 if passive else 0,
        flags,
        wnd,
        0,
        options,
        tx.pieces(tx.iss + 1, size) if size else (),
        size,
        False,
        0,
        now,
    )


def take_syn(c: "TcpConnection", seg: Segment, now: int) -> None:
    """The peer's SYN (or SYN-ACK) arrived: agree on options, start RCV.*."""
    config, neg, rx, tx = c.config, c.neg, c.rx, c.tx
    if c.options.no_options:
        seg.ts_val, seg.wscale, seg.mss, seg.sack_ok = -1, -1, -1, False
    c.peer_syn = seg
    neg.ts_ok = config.tcp_timestamps and seg.ts_val >= 0
    neg.sack_ok = config.tcp_sack and seg.sack_ok
    neg.wscale_ok = config.tcp_window_scaling and seg.wscale >= 0
    if seg.flags & ACK:
        neg.ecn_ok = config.tcp_ecn == 1 and seg.flags & (ECE | CWR) == ECE
    else:
        neg.ecn_ok = config.tcp_ecn != 0 and seg.flags & (ECE | CWR) == ECE | CWR
    if seg.mss > 0:
        neg.peer_mss = seg.mss if seg.mss > SMALLEST_PEER_MSS else SMALLEST_PEER_MSS
    else:
        neg.peer_mss = default_mss(config, c.path.remote)
    c.life.advmss = advertised_mss(c)
    rx.start(seg.seq, initial_receive_window(c, c.life.advmss))
    if neg.wscale_ok:
        tx.snd_wscale = seg.wscale
        rx.rcv_wscale = window_shift(config, rx.limit)
    if neg.ts_ok:
        rx.ts_recent = seg.ts_val
        rx.ts_recent_time = now
    tx.snd_wnd = seg.wnd  # never scaled in a SYN (RFC 7323 §2.2)
    tx.max_wnd = max(tx.max_wnd, seg.wnd)
    tx.snd_wl1 = seg.seq
    if c.listener is None:
        c.path.refresh(now)  # time has passed since our SYN; a child's is new
    fit_mss(c)
    if rx.eager or config.tcp_round_receive_buffer:
        manners.round_receive_buffer(c)
    window = max(config.tcp_initial_window, 1) * tx.mss
    c.cc.initial_window = window
    c.cc.cwnd = window


def repeat_plain_syn(c: "TcpConnection", now: int) -> None:
    """Our SYN with data was too big for the path: at once again, without (RFC 7413 §4.2.1)."""
    first = c.board.first()
    if first is not None and c.fast is not None:
        c.board.retransmitted(first, now)
        c.fast.repeated = True
        c.counters.add("tcp.syn_retransmitted")
        send_syn(c, now)


def syn_acknowledged(c: "TcpConnection", seg: Segment, now: int) -> None:
    """Our SYN is acknowledged: the first round-trip sample, the timer off.

    A repeated SYN is no sample (Karn), but its timestamp is; without either the RTO goes up to 3 s
    (RFC 6298 §5.7).  More than one loss: data begins with one segment (RFC 5681 §3.1, Linux).
    """
    tx, board = c.tx, c.board
    first_sent = -1
    if board.clean(seg.ack):
        first_sent, _ = board.acked_clean(seg.ack, now)
    else:
        board.outcome.reset()
        board.rate.begin()
        board.acked(seg.ack, now)
        first_sent = board.outcome.first_sent
    tx.snd_una = seg.ack
    if seg.ack > tx.base:
        tx.release(seg.ack)
    if c.rtt.backoff:
        c.rtt.reset_backoff()
    if first_sent >= 0:
        c.rtt.sample(now - first_sent, now)
    elif c.recovery.timeouts:
        elapsed = (ts_now(c, now) - seg.ts_ecr) & M32
        if c.neg.ts_ok and seg.ts_ecr > 0 and elapsed < 0x7FFFFFFF:
            c.rtt.sample(max(elapsed, 1) * MS, now)
        else:
            c.rtt.rto = max(c.rtt.rto, min(FALLBACK_RTO, c.config.tcp_rto_max))
        if c.recovery.timeouts > 1:
            c.cc.cwnd = tx.mss
    c.recovery.timeouts = 0
    c.timers.clear(tt.RTO)
    if c.timers.deadlines[tt.USER] != NEVER:
        c.timers.clear(tt.USER)


def fast_open_answered(c: "TcpConnection", seg: Segment) -> None:
    """Data of our SYN that was not taken is sent again at once (RFC 7413 §4.2.1)."""
    tx = c.tx
    complete = tx.snd_una == tx.snd_nxt
    c.env.fastopen.answered(c, seg, complete)
    if not complete:
        c.board.mark_all_lost()
        recovery.repair_only(c)
        c.counters.add("tcp.fastopen_data_ignored")
    elif c.fast is not None and c.fast.size:
        c.life.syn_data_acked = True


def established(c: "TcpConnection", now: int) -> None:
    """The handshake is complete: how many acknowledgements to send at once."""
    rx = c.rx
    c.peer_syn = None
    if rx.eager or c.config.tcp_round_receive_buffer:
        manners.round_receive_buffer(c)
    rx.quick = 0 if rx.eager else max(2, min(16, rx.window() // (2 * c.tx.mss)))
    if c.config.tcp_mtu_probing > 1:
        mtu_search.begin(c, now)
        update_mss(c, now)
    if c.neg.ecn_ok:
        c.counters.add("tcp.ecn_negotiated")


def default_mss(config: "HostConfig", remote: bytes) -> int:
    """What a peer without an MSS option takes (RFC 9293 §3.7.1 MUST-15)."""
    return config.tcp_default_mss if len(remote) == 4 else config.tcp_default_mss6


def update_mss(c: "TcpConnection", now: int) -> None:
    """As `fit_mss`, after another look at the path."""
    c.path.refresh(now)
    fit_mss(c)


def fit_mss(c: "TcpConnection") -> None:
    """Eff.snd.MSS from the peer's option, the path and our own options (RFC 9293 §3.7.1)."""
    path, neg, tx = c.path, c.neg, c.tx
    mss = min(neg.peer_mss, path.max_segment)
    if c.options.maxseg:
        mss = min(mss, c.options.maxseg)
    mss = max(mss - (12 if neg.ts_ok else 0), SMALL_MSS)
    if mss != tx.mss:
        tx.mss = mss
        c.cc.set_mss(mss)
