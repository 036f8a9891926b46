# SPDX-License-Identifier: Apache-2.0
"""How connections end: CLOSE, ABORT, resets, errors, TIME-WAIT (RFC 9293 §3.6, §3.9.1, §3.10).

Every way out goes through `done`, so timers, buffers and the demultiplexing entry go together.
"""

import errno
from typing import TYPE_CHECKING

from capas.base.seq import M32
from capas.transport.endpoint import ERROR, HANGUP, READ, WRITE
from capas.transport.tcp import manners, segments
from capas.transport.tcp import timers as tt
from capas.transport.tcp.receiver import ACK_NOW
from capas.transport.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from capas.wire.tcp import ACK, RST

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection


def shutdown(c: "TcpConnection", now: int) -> None:
    """Queue FIN behind the data (RFC 9293 §3.10.4 CLOSE)."""
    state = c.state
    if state == SYN_SENT:
        done(c, now)
        return
    if state not in (SYN_RECEIVED, ESTABLISHED, CLOSE_WAIT):
        return
    c.tx.fin_queued = True
    if state == CLOSE_WAIT or c.life.read_shut:
        c.endpoint.set_ready(HANGUP)
    if state == SYN_RECEIVED:
        return  # "queue for processing after entering ESTABLISHED": `connected` goes on
    c.set_state(LAST_ACK if state == CLOSE_WAIT else FIN_WAIT_1, now)
    c.want_output()


def close(c: "TcpConnection", now: int) -> None:
    """The user's socket is gone: FIN, or a reset where data is lost or SO_LINGER says so."""
    c.life.orphan = True
    c.endpoint.watcher = None
    state = c.state
    if state == CLOSED:
        return
    if state in (LISTEN, SYN_SENT):
        done(c, now)
        return
    if state == TIME_WAIT:
        return
    if c.rx.buffered or c.options.linger == 0:
        # Unread data is lost: the peer must hear of it (RFC 2525 §2.17, RFC 1122 §4.2.2.13).
        c.counters.add("tcp.abort_on_close")
        if c.dirty:
            c.output(now)  # what was written before leaves before
        abort(c, now)
        return
    c.life.reader_gone = True
    shutdown(c, now)
    if c.state == FIN_WAIT_2:
        fin_wait_2(c, now)


def abort(c: "TcpConnection", now: int) -> None:
    """<SEQ=SND.NXT><CTL=RST> while the peer may wait for something (RFC 9293 §3.10.5)."""
    silent = c.state in (CLOSING, LAST_ACK) and c.fin_sent()
    if SYN_RECEIVED <= c.state < TIME_WAIT and not silent:
        segments.send_reset(c, now)
    done(c, now)


def fail(c: "TcpConnection", error: int, now: int) -> None:
    """The connection is over; ``error`` (errno) is what the user hears."""
    c.error = error
    trace = c.trace
    if trace is not None:
        name = errno.errorcode.get(error, str(error))
        trace.decided(now, "tcp.error", f"{c.describe()}: {name}")
    done(c, now)


def done(c: "TcpConnection", now: int) -> None:
    """Enter CLOSED: nothing is left but what the user may still read."""
    if c.state == CLOSED:
        return
    c.set_state(CLOSED, now)
    c.timers.give_up()
    c.tx.drop()
    life = c.life
    if life.orphan and (c.rx.buffered or c.rx.ooo is not None):
        c.rx.discard()
    if life.charged:
        c.env.memory.charge(-life.charged)
        life.charged = 0
    c.env.gone(c, now)
    bits = READ | WRITE | HANGUP | (ERROR if c.error else 0)
    if life.orphan and c.options.linger <= 0:
        c.endpoint.readiness |= bits  # there is nobody to tell
    else:
        c.endpoint.set_ready(bits)


def time_wait(c: "TcpConnection", now: int) -> None:
    """Start the time-wait timer, turn off the others (RFC 9293 §3.10.7.4)."""
    c.set_state(TIME_WAIT, now)
    c.timers.clear_all()
    c.tx.drop()
    c.timers.set(tt.TIME_WAIT, now + c.config.tcp_time_wait)
    c.env.time_wait(c, now)
    c.endpoint.set_ready(READ | WRITE | HANGUP)


def fin_wait_2(c: "TcpConnection", now: int) -> None:
    """Nobody waits for the peer's FIN of a closed socket for ever (Linux tcp_fin_timeout)."""
    if c.life.orphan and c.options.linger2 < 0:
        abort(c, now)
    elif c.life.orphan:
        c.timers.set(tt.TIME_WAIT, now + c.options.linger2)
        if c.options.linger > 0:
            c.endpoint.set_ready(HANGUP)  # close(2) waits for this


def refuse(c: "TcpConnection", raw_ack: int, now: int) -> None:
    """<SEQ=SEG.ACK><CTL=RST>: an acknowledgement of something never sent."""
    c.counters.add("tcp.resets_out")
    c.path.send(raw_ack & M32, 0, RST, 0, 0, b"", (), 0, False, 0, now)


def reset_by_syn(c: "TcpConnection", now: int) -> None:
    """A SYN in the window ends the connection (RFC 793 §3.9)."""
    segments.send_reset(c, now)
    fail(c, errno.ECONNRESET, now)


def challenge(c: "TcpConnection", now: int) -> None:
    """Challenge ACK (RFC 5961 §3.2, §4.2, §5.2), limited per host and per connection."""
    if not c.life.may_answer_invalid(now, c.config.tcp_invalid_ratelimit):
        c.counters.add("tcp.challenge_limited")
        return
    if c.env.may_challenge(now):
        c.counters.add("tcp.challenge_acks")
        if manners.freebsd(c):
            segments.transmit(c, c.tx.snd_nxt, 0, ACK, now)  # never with the FIN
            return
        c.rx.ack = ACK_NOW
        c.want_output()


def connected(c: "TcpConnection", now: int) -> None:
    """ESTABLISHED: tell the user, or put it on the listener's accept queue."""
    c.counters.add("tcp.established")
    c.life.born = now
    if c.options.keepalive:
        c.timers.set(tt.KEEPALIVE, now + c.options.keepidle)
    c.endpoint.set_ready(WRITE)
    if c.listener is not None:
        c.listener.established(c, now)
    if c.tx.fin_queued and c.state == ESTABLISHED:
        c.set_state(FIN_WAIT_1, now)


def peer_closed(c: "TcpConnection") -> None:
    """The peer's FIN: reads end."""
    bits = READ
    if c.state != CLOSE_WAIT:
        bits |= HANGUP
    c.endpoint.clear(READ)  # though data may wait: the end is news to POLLRDHUP
    c.endpoint.set_ready(bits)
