# SPDX-License-Identifier: Apache-2.0
"""`TcpInfo`: a plain copy of what a connection knows, for tests, tools and TCP_INFO.

Field names are Linux's (struct tcp_info without the prefix); times ns, sizes bytes, except where
the name says segments.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from capas.transport.tcp import states
from capas.transport.tcp import timers as tt
from capas.transport.tcp.life import BUSY, RWND_LIMITED
from capas.transport.tcp.recovery import in_flight

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection


@dataclass(slots=True)
class TcpInfo:
    """The state of one connection at one moment."""

    state: int
    state_name: str
    ca_state: int  # 0 open, 1 disorder, 2 cwr, 3 recovery, 4 loss
    retransmits: int  # timeouts in a row
    probes: int
    backoff: int
    ts_ok: bool
    sack_ok: bool
    wscale_ok: bool
    ecn_ok: bool
    snd_wscale: int
    rcv_wscale: int
    rto: int  # ns
    ato: int  # ns
    snd_mss: int
    rcv_mss: int
    rtt: int  # srtt, ns
    rttvar: int  # mean deviation, ns, without the floor of the RTO
    min_rtt: int
    snd_cwnd: int  # bytes
    snd_ssthresh: int
    snd_wnd: int
    rcv_wnd: int
    rcv_space: int
    pmtu: int
    unacked: int  # bytes in [SND.UNA, SND.NXT)
    sacked: int
    lost: int
    retrans: int
    in_flight: int
    reordering: int  # segments
    total_retrans: int  # bytes retransmitted on the connection
    advmss: int  # the MSS option we announced
    syn_data: bool  # Fast Open carried data that was acknowledged (TCPI_OPT_SYN_DATA)
    syn_data_sent: int  # bytes of it in our SYN
    last_data_sent: int  # ns ago
    last_data_received: int
    last_ack_received: int
    busy_time: int  # ns with data outstanding
    rwnd_limited: int  # ns held up by the peer's window
    notsent: int
    unread: int
    bytes_acked: int
    bytes_received: int
    bytes_sent: int  # repeats included
    dsack_dups: int  # segments
    reord_seen: int  # times
    rcv_ooopack: int  # segments
    total_rto: int  # timeouts
    delivered: int
    delivery_rate: int  # bytes/s
    pacing_rate: int
    max_pacing_rate: int
    congestion: str
    timer: str  # the next timer, "" if none
    segs_out: int = 0  # segments, repeats included
    data_segs_out: int = 0  # those with data
    syn_acked: bool = False  # of an active open: Linux counts it in bytes_acked


def snapshot(c: "TcpConnection", now: int) -> TcpInfo:
    """The connection as it is now."""
    info = _sequence_and_window(c, now)
    info.segs_out, info.data_segs_out = c.life.segs_out, c.life.data_segs_out
    info.syn_acked = c.neg.active and c.tx.snd_una > c.tx.iss
    return info


def _sequence_and_window(c: "TcpConnection", now: int) -> TcpInfo:
    tx, rx, board, rtt, cc = c.tx, c.rx, c.board, c.rtt, c.cc
    earliest = min(range(tt.KINDS), key=c.timers.deadlines.__getitem__)
    return TcpInfo(
        state=c.state,
        state_name=states.NAMES[c.state],
        ca_state=c.recovery.phase,
        retransmits=c.recovery.timeouts,
        probes=c.life.probes,
        backoff=rtt.backoff,
        ts_ok=c.neg.ts_ok,
        sack_ok=c.neg.sack_ok,
        wscale_ok=c.neg.wscale_ok,
        ecn_ok=c.neg.ecn_ok,
        snd_wscale=tx.snd_wscale,
        rcv_wscale=rx.rcv_wscale,
        rto=rtt.rto,
        ato=c.config.tcp_delayed_ack,
        snd_mss=tx.mss,
        rcv_mss=rx.rcv_mss,
        rtt=rtt.srtt,
        rttvar=rtt.mdev,
        min_rtt=max(rtt.min_rtt, 0),
        snd_cwnd=cc.cwnd,
        snd_ssthresh=cc.ssthresh,
        snd_wnd=tx.snd_wnd,
        rcv_wnd=rx.window(),
        rcv_space=rx.limit,
        pmtu=c.path.mtu,
        unacked=tx.snd_nxt - tx.snd_una,
        sacked=board.sacked,
        lost=board.lost,
        retrans=board.retrans,
        in_flight=in_flight(c),
        reordering=c.recovery.reordering,
        total_retrans=c.life.retransmitted,
        advmss=c.life.advmss,
        syn_data=c.life.syn_data_acked,
        syn_data_sent=c.fast.size if c.fast is not None and c.life.syn_data_acked else 0,
        last_data_sent=now - c.life.data_sent,
        last_data_received=now - max(c.life.data_heard, c.life.born),
        last_ack_received=now - c.life.heard,
        busy_time=c.life.chrono.total(BUSY, now),
        rwnd_limited=c.life.chrono.total(RWND_LIMITED, now),
        notsent=max(tx.queue_end - tx.snd_nxt, 0),
        unread=rx.buffered,
        bytes_acked=max(tx.snd_una - tx.iss - 1, 0),
        bytes_received=max(rx.rcv_nxt - rx.irs - 1, 0),
        bytes_sent=max(min(tx.snd_nxt, tx.queue_end) - tx.iss - 1, 0) + c.life.retransmitted,
        dsack_dups=c.recovery.dsacks,
        reord_seen=c.rack.reordering_seen,
        rcv_ooopack=rx.ooo_segments,
        total_rto=c.recovery.rtos,
        delivered=board.rate.delivered,
        delivery_rate=board.rate.rate,
        pacing_rate=min(cc.pacing_rate, cc.max_pacing_rate or cc.pacing_rate),
        max_pacing_rate=cc.max_pacing_rate,
        congestion=cc.name,
        timer=tt.NAMES[earliest] if c.timers.is_set(earliest) else "",
    )
