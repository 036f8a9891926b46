# SPDX-License-Identifier: Apache-2.0
"""TCP_INFO: `TcpInfo` in the layout of Linux's ``struct tcp_info`` (Linux 6.18, uapi/linux/tcp.h).

Times there are microseconds, windows and queues are segments.
"""

from struct import Struct
from typing import Final

from capas.base.clock import US
from capas.transport.tcp import states
from capas.transport.tcp.info import TcpInfo

_LAYOUT: Final = Struct("@8B24I4Q6IQQQQ2I2Q4I")

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


def pack(info: TcpInfo | None, listening: bool = False) -> bytes:
    """The bytes getsockopt(TCP_INFO) fills in; all zero but the state without a connection."""
    if info is None:
        return bytes((10 if listening else 7,)) + bytes(_LAYOUT.size - 1)
    mss = max(info.snd_mss, 1)
    options = info.ts_ok | info.sack_ok << 1 | info.wscale_ok << 2 | info.ecn_ok << 3

    def segments(size: int) -> int:
        return _u32(-(-size // mss))

    def micros(time: int) -> int:
        return _u32(time // US)

    return _LAYOUT.pack(
        _STATES[info.state],
        info.ca_state & 0xFF,
        min(info.retransmits, 255),
        min(info.probes, 255),
        min(info.backoff, 255),
        options,
        (info.snd_wscale & 15) | (info.rcv_wscale & 15) << 4,
        0,
        micros(info.rto),
        micros(info.ato),
        info.snd_mss,
        info.rcv_mss,
        segments(info.unacked),
        segments(info.sacked),
        segments(info.lost),
        segments(info.retrans),
        0,
        0,
        0,
        0,
        0,
        info.pmtu,
        _u32(info.rcv_wnd),
        micros(info.rtt),
        micros(info.rttvar),
        segments(info.snd_ssthresh),
        segments(info.snd_cwnd),
        info.rcv_mss,
        info.reordering,
        0,
        _u32(info.rcv_space),
        0,
        info.pacing_rate,
        (1 << 64) - 1,
        info.bytes_acked,
        info.bytes_received,
        0,
        0,
        _u32(info.notsent),
        micros(info.min_rtt),
        0,
        0,
        info.delivery_rate,
        0,
        0,
        0,
        segments(info.delivered),
        0,
        info.bytes_acked,
        0,
        0,
        0,
        0,
        _u32(info.snd_wnd),
    )
