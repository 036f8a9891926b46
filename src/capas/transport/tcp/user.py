# SPDX-License-Identifier: Apache-2.0
"""The user's SEND and RECEIVE (RFC 9293 §3.9.1, §3.10.2, §3.10.3).

They raise what CPython's socket raises, through `capas.errors.os_error`; CLOSE and ABORT are in
`closing`.
"""

import errno
from typing import TYPE_CHECKING

from capas.base.checksum import Buffer
from capas.errors import os_error
from capas.transport.endpoint import READ, WRITE
from capas.transport.tcp import urgent
from capas.transport.tcp.congestion import base as congestion
from capas.transport.tcp.manners import congestion_name
from capas.transport.tcp.receiver import ACK_DELAYED, ACK_NOW
from capas.transport.tcp.recovery import in_flight
from capas.transport.tcp.states import CAN_SEND, CLOSED, SYN_SENT

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection


def send(c: "TcpConnection", data: Buffer, more: bool, record: bool) -> int:
    """SEND: queue bytes; how many were taken, 0 when the buffer is full.

    ``more`` promises that further bytes follow at once (MSG_MORE): a short rest waits for them.
    ``record`` ends a record (MSG_EOR): no segment carries this and what comes later.
    """
    if c.error:
        raise os_error(c.take_error())
    if not CAN_SEND[c.state] or c.tx.fin_queued:
        raise os_error(errno.EPIPE)
    if c.state == SYN_SENT and not c.endpoint.readiness & WRITE:
        return 0
    tx = c.tx
    if c.env.memory.full and len(tx):
        c.counters.add("tcp.memory_full")
        c.endpoint.clear(WRITE)  # until what is held is acknowledged
        return 0
    if tx.queue_end - tx.snd_nxt + len(data) > c.options.notsent_lowat:
        data = memoryview(data)[: _lowat_room(c)]
    taken = tx.append(data)
    if not more or taken < len(data):
        tx.push_end = tx.queue_end
    if record and taken == len(data):
        tx.eor.append(tx.queue_end)
    if taken < len(data) or tx.queue_end - tx.snd_nxt >= c.options.notsent_lowat:
        c.endpoint.clear(WRITE)
    if taken:
        c.want_output()
    return taken


def _lowat_room(c: "TcpConnection") -> int:
    """Bytes to take though TCP_NOTSENT_LOWAT is near.

    As Linux: while less than the limit waits, what can leave now and one run more.
    """
    tx = c.tx
    waiting = tx.queue_end - tx.snd_nxt
    if waiting >= c.options.notsent_lowat:
        return 0
    mss = tx.mss
    leaving = min(c.cc.cwnd - in_flight(c), tx.snd_una + tx.snd_wnd - tx.snd_nxt)
    run = max(min(tx.max_wnd >> 1, 65_535) // mss * mss, mss)
    return max(leaving, 0) + run - waiting


def receive(c: "TcpConnection", limit: int, now: int, peek: bool, skip: int = 0) -> bytes | None:
    """RECEIVE: buffered bytes; b"" at the end of the stream, None if there are none yet.

    ``skip``: `peek` begins so many bytes on.
    """
    rx = c.rx
    data: bytes | None = None
    if rx.mark is not None:
        data = urgent.peek(c, limit, skip) if peek else urgent.read(c, limit)
    elif rx.buffered > skip:
        data = rx.peek(limit + skip)[skip:] if peek else rx.read(limit)
    if data is not None:
        if not peek:
            _after_read(c, now)
        return data
    if c.error and not rx.finished():  # after a FIN, what came before it counts
        raise os_error(c.take_error())
    if receive_ended(c):
        return b""
    if c.state == SYN_SENT:
        return None
    c.endpoint.clear(READ)
    return None


def receive_into(c: "TcpConnection", room: memoryview, now: int) -> int | None:
    """As `receive`, copied into ``room``; how many bytes, 0 at the end of the stream."""
    rx = c.rx
    if not rx.buffered or rx.mark is not None:
        data = receive(c, len(room), now, False)
        if data is None:
            return None
        room[: len(data)] = data
        return len(data)
    n = rx.read_into(room)
    _after_read(c, now)
    return n


def receive_ended(c: "TcpConnection") -> bool:
    """No more data will ever come."""
    rx = c.rx  # as `Receiver.finished`, without its call
    return c.life.read_shut or c.state == CLOSED or 0 <= rx.fin_seq < rx.rcv_nxt


def _after_read(c: "TcpConnection", now: int) -> None:
    """The buffer emptied: tune it, and tell the peer if its window was nearly shut."""
    rx = c.rx
    short = rx.buffered < c.options.rcvlowat if rx.mark is None else not urgent.readable(c)
    if short and not receive_ended(c):
        c.endpoint.readiness &= ~READ
    if rx.ack == ACK_DELAYED and not rx.buffered:
        _read_all(c)
    if rx.auto_max:
        rx.tune(now, c.rtt.srtt)
    c.account()
    window = rx.rcv_adv - rx.rcv_nxt if rx.rcv_adv > rx.rcv_nxt else 0
    space = rx.limit - rx.buffered
    if (
        space >= 2 * window
        and (rx.eager or 2 * window <= rx.best)
        and space - window >= min(rx.rcv_mss, rx.limit // 2)
    ):
        rx.ack = ACK_NOW
        c.want_output()


def fit_receive_buffer(c: "TcpConnection") -> None:
    """The buffer as TCP_WINDOW_CLAMP and SO_RCVLOWAT want it.

    A buffer as small as the clamp offers no more than that.  What SO_RCVLOWAT waits for has room
    twice, as Linux gives it unless the user fixed the buffer: else half of the buffer is enough.
    """
    rx, clamp, low = c.rx, c.options.window_clamp, c.options.rcvlowat
    if rx.auto_max:
        rx.auto_max = c.config.tcp_receive_buffer_max
        rx.limit = max(rx.limit, c.config.tcp_receive_buffer, min(2 * low, rx.auto_max))
    if clamp:
        rx.limit = min(rx.limit, clamp)
        rx.auto_max = min(rx.auto_max, clamp)
    if low > rx.limit >> 1:
        c.options = c.options.copy()
        c.options.rcvlowat = low = rx.limit >> 1
    if rx.buffered >= low and rx.mark is None:
        c.endpoint.set_ready(READ)
    elif rx.buffered < low and not receive_ended(c):
        c.endpoint.clear(READ)


def _read_all(c: "TcpConnection") -> None:
    """A short segment was read: unless an answer is likely, nothing is left to wait for (Linux).

    The peer's next short segment may wait for this acknowledgement (Nagle).
    """
    rx = c.rx
    short = rx.rcv_nxt - rx.last_ack_sent < rx.rcv_mss
    if short and not c.life.pingpong and c.options.quickack != 0 and not rx.eager:
        rx.ack = ACK_NOW
        c.want_output()


def set_congestion(c: "TcpConnection", name: str) -> None:
    """TCP_CONGESTION: another algorithm goes on with the window; KeyError for an unknown name."""
    old = c.cc
    if name != old.name:
        name = congestion_name(c.config, name)
        c.cc = congestion.create(name, c.tx.mss, old.initial_window, c.life.heard)
        c.cc.cwnd = old.cwnd
        c.cc.ssthresh = old.ssthresh
        if old.max_pacing_rate:
            c.cc.limit_pacing(old.max_pacing_rate)
