# SPDX-License-Identifier: Apache-2.0
"""TCP_INFO: `TcpInfo` in the layout of Linux's ``struct tcp_info`` (Linux 6.18, uapi/linux/tcp.h).

Times there are microseconds, windows and queues are segments.
"""

from struct import Struct
from typing import Final

from capas.base.clock import MS, US
from capas.sockets.options import UNLIMITED
from capas.transport.tcp import states
from capas.transport.tcp.congestion.base import INFINITE_SSTHRESH
from capas.transport.tcp.info import TcpInfo
from capas.transport.tcp.listener import TcpListener

_LAYOUT: Final = Struct("@8B24I4Q6IQQQQ2I2Q6I2HI")
_QUEUES: Final = Struct("@II")
_UNACKED: Final = 24  # offset of tcpi_unacked, tcpi_sacked follows

_NO_SSTHRESH: Final = 0x7FFFFFFF  # Linux TCP_INFINITE_SSTHRESH

#: our state -> Linux's number
_STATES: Final = {
    states.ESTABLISHED: 1,
    states.SYN_SENT: 2,
    states.SYN_RECEIVED: 3,
    states.FIN_WAIT_1: 4,
    states.FIN_WAIT_2: 5,
    states.TIME_WAIT: 6,
    states.CLOSED: 7,
    states.CLOSE_WAIT: 8,
    states.LAST_ACK: 9,
    states.LISTEN: 10,
    states.CLOSING: 11,
}


def _u32(value: int) -> int:
    return min(max(value, 0), 0xFFFFFFFF)


def pack(info: TcpInfo | None, listener: TcpListener | None = None) -> bytes:
    """The bytes getsockopt(TCP_INFO) fills in; without a connection there is little to tell.

    Of a listener tcpi_unacked is how many wait to be accepted, tcpi_sacked how many may (Linux).
    """
    if info is None:
        filled = bytearray(_LAYOUT.size)
        filled[0] = _STATES[states.CLOSED]
        if listener is not None:
            filled[0] = _STATES[states.LISTEN]
            _QUEUES.pack_into(filled, _UNACKED, len(listener.queue), listener.backlog)
        return bytes(filled)
    return _LAYOUT.pack(*_small(info), *_path(info), *_totals(info))


def _micros(time: int) -> int:
    return _u32(time // US)


def _millis(time: int) -> int:
    return _u32(time // MS)


def _segments(info: TcpInfo, size: int) -> int:
    return _u32(-(-size // max(info.snd_mss, 1)))


def _delivered(info: TcpInfo) -> int:
    """Packets delivered: the SYN is one, with its Fast Open data."""
    if not info.delivered:
        return 0
    return 1 + _segments(info, max(info.delivered - 1 - info.syn_data_sent, 0))


def _small(info: TcpInfo) -> tuple[int, ...]:
    """The eight octets in front, tcpi_state to the bit fields."""
    options = info.ts_ok | info.sack_ok << 1 | info.wscale_ok << 2 | info.ecn_ok << 3
    options |= info.syn_data << 5
    return (
        _STATES[info.state],
        info.ca_state & 0xFF,
        min(info.retransmits, 255),
        min(info.probes, 255),
        min(info.backoff, 255),
        options,
        (info.snd_wscale & 15) | (info.rcv_wscale & 15) << 4,
        0,
    )


def _path(info: TcpInfo) -> tuple[int, ...]:
    """tcpi_rto to tcpi_total_retrans."""
    mss = max(info.snd_mss, 1)
    queues = (info.unacked, info.sacked, info.lost, info.retrans)
    return (
        _micros(info.rto),
        _micros(info.ato),
        info.snd_mss,
        info.rcv_mss,
        *(_segments(info, size) for size in queues),
        0,
        _millis(info.last_data_sent),
        0,  # last_ack_sent: Linux does not fill it either
        _millis(info.last_data_received),
        _millis(info.last_ack_received),
        info.pmtu,
        _u32(info.rcv_wnd),
        _micros(info.rtt),
        _micros(info.rttvar),
        _NO_SSTHRESH if info.snd_ssthresh >= INFINITE_SSTHRESH else info.snd_ssthresh // mss,
        info.snd_cwnd // mss,
        info.advmss,
        info.reordering,
        0,
        _u32(info.rcv_space),
        _segments(info, info.total_retrans),
    )


def _totals(info: TcpInfo) -> tuple[int, ...]:
    """tcpi_pacing_rate to tcpi_total_rto_time."""
    return (
        info.pacing_rate,
        info.max_pacing_rate or UNLIMITED,
        info.bytes_acked + info.syn_acked,
        info.bytes_received,
        *(_u32(info.segs_out), 0),  # segments in: not kept
        _u32(info.notsent),
        _micros(info.min_rtt),
        *(0, _u32(info.data_segs_out)),
        info.delivery_rate,
        _micros(info.busy_time),
        _micros(info.rwnd_limited),
        0,  # limited by the send buffer: not kept
        _delivered(info),
        0,
        info.bytes_sent,
        info.total_retrans,
        info.dsack_dups,
        info.reord_seen,
        info.rcv_ooopack,
        _u32(info.snd_wnd),
        _u32(info.rcv_wnd),
        0,  # rehash: there are no flow labels to change
        min(info.total_rto, 0xFFFF),
        *(0, 0),  # timeouts that were recovered from, and their time: not kept
    )
