# SPDX-License-Identifier: Apache-2.0
"""One TCP connection: the mediator that owns the parts (RFC 9293 §3.3, §3.9).

It owns, it does not compute: sequence space and buffers live in `Sender` and `Receiver`, what is
outstanding in `Scoreboard`, loss recovery in `Recovery` and `Rack`, deadlines in `TimerTable`.
Arriving segments go to `arrives` (after a fast path for the two commonest kinds), timers to
`expiry`, sending to `output`.  User calls raise what CPython's socket raises.
"""

from typing import TYPE_CHECKING, final

from capas.base.checksum import Buffer
from capas.base.clock import NEVER, SECOND
from capas.base.events import Tracer
from capas.base.seq import M32
from capas.transport.endpoint import ERROR, HANGUP, READ, WRITE, Endpoint
from capas.transport.tcp import arrives, closing, expiry, info, output, user
from capas.transport.tcp import timers as tt
from capas.transport.tcp.acknowledge import acknowledged
from capas.transport.tcp.congestion import base as congestion
from capas.transport.tcp.congestion.base import AckSample, CongestionControl
from capas.transport.tcp.env import Environment
from capas.transport.tcp.fastopen import FastOpen
from capas.transport.tcp.life import Life
from capas.transport.tcp.manners import congestion_name
from capas.transport.tcp.options import Negotiated, UserOptions
from capas.transport.tcp.path import Path
from capas.transport.tcp.rack import Rack
from capas.transport.tcp.receiver import ACK_DELAYED, ACK_NONE, ACK_NOW, OVERHEAD, Receiver
from capas.transport.tcp.recovery import Recovery
from capas.transport.tcp.rtt import RttEstimator
from capas.transport.tcp.scoreboard import Scoreboard
from capas.transport.tcp.sender import Sender
from capas.transport.tcp.states import CLOSED, ESTABLISHED, NAMES, TRANSITIONS
from capas.wire import address as addr
from capas.wire.tcp import ACK, PSH, Segment

if TYPE_CHECKING:
    from capas.base.config import HostConfig
    from capas.base.events import Counters
    from capas.transport.tcp.listener import TcpListener


@final
class TcpConnection(tt.Owner):
    """One connection, in any state.

    ``endpoint``  readiness for the socket; ``options``: what the user set; ``neg``: what was agreed
    ``listener``  who made it, for a passive open; None for an active one
    ``error``     errno pending for the user, 0 none
    """

    __slots__ = (
        "board",
        "cc",
        "config",
        "counters",
        "dirty",
        "endpoint",
        "env",
        "error",
        "fast",
        "life",
        "listener",
        "neg",
        "options",
        "path",
        "peer_syn",
        "rack",
        "recovery",
        "rtt",
        "rx",
        "sample",
        "state",
        "timers",
        "tx",
    )

    def __init__(
        self,
        env: Environment,
        path: Path,
        iss: int,
        ts_offset: int,
        now: int,
        listener: "TcpListener | None" = None,
    ) -> None:
        config = env.config
        self.env: Environment = env
        self.config: HostConfig = config
        self.counters: Counters = env.counters
        self.path: Path = path
        self.state: int = CLOSED
        self.error: int = 0
        self.dirty: bool = False
        self.listener: TcpListener | None = listener
        self.peer_syn: Segment | None = None
        self.fast: FastOpen | None = None
        self.endpoint: Endpoint = Endpoint(env.ready)
        self.options: UserOptions = UserOptions(config) if listener is None else listener.options
        self.neg: Negotiated = Negotiated(ts_offset)
        path.refresh(now)
        mss = path.max_segment
        self.tx: Sender = Sender(iss, mss, config.tcp_send_buffer, config.tcp_send_buffer_max)
        self.rx: Receiver = Receiver(config.tcp_receive_buffer, config.tcp_receive_buffer_max)
        self.rx.eager = config.tcp_manners == "freebsd"
        self.board: Scoreboard = Scoreboard(env.outcome)
        self.rtt: RttEstimator = RttEstimator(
            config.tcp_rto_initial,
            config.tcp_rto_min,
            config.tcp_rto_max,
            config.tcp_rto_whole_floor,
            config.tcp_rto_slop,
        )
        self.cc: CongestionControl = congestion.create(
            congestion_name(config, config.tcp_congestion),
            mss,
            config.tcp_initial_window * mss,
            now,
        )
        self.sample: AckSample = env.sample
        self.recovery: Recovery = Recovery(config.tcp_reordering)
        self.rack: Rack = Rack()
        self.timers: tt.TimerTable = tt.TimerTable(env.scheduler, self)
        self.life: Life = Life(now)

    # -- names ----------------------------------------------------------------------------------

    @property
    def trace(self) -> Tracer | None:
        """Who listens to decisions, if anyone."""
        return self.env.trace

    @property
    def passive(self) -> bool:
        """Opened by a listener."""
        return self.listener is not None

    @property
    def local_address(self) -> bytes:
        """Packed."""
        return self.path.local

    @property
    def local_port(self) -> int:
        """Port of this end."""
        return self.path.local_port

    @property
    def remote_address(self) -> bytes:
        """Packed."""
        return self.path.remote

    @property
    def remote_port(self) -> int:
        """Port of the other end."""
        return self.path.remote_port

    def describe(self) -> str:
        """ "192.0.2.1:80 -> 192.0.2.9:40000", for traces."""
        path = self.path
        here = f"{addr.text(path.local)}:{path.local_port}"
        return f"{here} -> {addr.text(path.remote)}:{path.remote_port}"

    def __repr__(self) -> str:
        return f"<TcpConnection {self.describe()} {NAMES[self.state]}>"

    # -- from below -----------------------------------------------------------------------------

    def segment_arrives(self, seg: Segment, now: int) -> None:
        """A segment for this connection: the fast path of ESTABLISHED, or RFC order."""
        self.life.heard = now
        if (
            self.state == ESTABLISHED
            and seg.flags & ~PSH == ACK
            and not seg.sack
            and self.config.tcp_fast_path
        ):
            rx, tx = self.rx, self.tx
            if (
                seg.seq == rx.rcv_nxt & M32
                and rx.ooo is None
                and rx.mark is None
                and rx.fin_seq < 0
                and (seg.ack - tx.snd_una) & M32 <= tx.snd_nxt - tx.snd_una
                and self._timestamp_current(seg, now)
                and not self.recovery.phase
                and not self.life.reader_gone
                and not self.env.memory.full
            ):
                length = seg.length
                if length:
                    ahead = (seg.ack - tx.snd_una) & M32
                    if (
                        length <= rx.rcv_adv - rx.rcv_nxt
                        and ahead <= tx.snd_nxt - tx.snd_una
                        and (ahead or seg.wnd << tx.snd_wscale == tx.snd_wnd)
                        and not self.neg.ecn_ok
                    ):
                        # Header prediction: the next data, with or without an acknowledgement.
                        if ahead:
                            seg.seq = rx.rcv_nxt
                            seg.ack = tx.snd_una + ahead
                            acknowledged(self, seg, now)
                        else:
                            tx.snd_wl1 = rx.rcv_nxt
                        rx.accept(seg.payload, seg.size)
                        endpoint = self.endpoint
                        untold = not endpoint.readiness & READ or endpoint.eager
                        if untold and rx.buffered >= self.options.rcvlowat:
                            endpoint.set_ready(READ)
                        self.acknowledgement_policy(length, seg.count, False, now)
                        if not self.dirty:
                            self.want_output()
                        return
                else:
                    ahead = (seg.ack - tx.snd_una) & M32
                    if 0 < ahead <= tx.snd_nxt - tx.snd_una:
                        # The next acknowledgement, nothing else.
                        seg.seq = rx.rcv_nxt
                        seg.ack = tx.snd_una + ahead
                        acknowledged(self, seg, now)
                        return
        arrives.segment_arrives(self, seg, now)

    def _timestamp_current(self, seg: Segment, now: int) -> bool:
        """TS.Recent moves forward as in the slow path; False sends the segment there."""
        if not self.neg.ts_ok:
            return True
        rx = self.rx
        if seg.ts_val < 0 or ((seg.ts_val - rx.ts_recent) & M32) >= 0x80000000:
            return False
        if rx.rcv_nxt <= rx.last_ack_sent:
            rx.ts_recent = seg.ts_val
            rx.ts_recent_time = now
        return True

    def acknowledgement_policy(self, n: int, count: int, gap_filled: bool, now: int) -> None:
        """``n`` bytes came in order in ``count`` wire segments: acknowledge now or later.

        RFC 1122 §4.2.3.2, RFC 5681 §4.2: at least every second full segment, at once around gaps;
        at once too in the beginning, so that the peer's window opens (Linux quickack).
        """
        rx, life = self.rx, self.life
        life.data_heard = now
        if rx.ack == ACK_NOW:
            return
        quick = self.options.quickack
        if (
            gap_filled
            or rx.ooo is not None
            or count > 1
            or rx.rcv_nxt - rx.last_ack_sent > rx.rcv_mss
            or (rx.eager and rx.ack == ACK_DELAYED)  # FreeBSD: every second segment
            or quick == 1
        ):
            rx.ack = ACK_NOW
        elif rx.quick and not life.pingpong and quick != 0:
            rx.quick -= 1
            rx.ack = ACK_NOW
        else:
            rx.ack = ACK_DELAYED

    def acknowledged_now(self, now: int, data: bool) -> None:
        """A segment with the current acknowledgement leaves; ``data``: with text of ours."""
        rx, life = self.rx, self.life
        if data and now - life.data_heard < self.config.tcp_delayed_ack:
            life.pingpong = True
        if rx.ack != ACK_NONE:
            rx.ack = ACK_NONE
            if self.timers.deadlines[tt.DELACK] != NEVER:
                self.timers.clear(tt.DELACK)
        rx.last_ack_sent = rx.rcv_nxt
        rx.dsack = None

    def on_timer(self, kind: int, now: int) -> None:
        """A timer of the table expired."""
        expiry.expired(self, kind, now)

    # -- state ----------------------------------------------------------------------------------

    def set_state(self, new: int, now: int) -> None:
        """Change state, along the table only."""
        assert new in TRANSITIONS[self.state], f"{NAMES[self.state]} -> {NAMES[new]}"
        trace = self.env.trace
        if trace is not None:
            text = f"{self.describe()}: {NAMES[self.state]} -> {NAMES[new]}"
            trace.decided(now, "tcp.state", text)
        self.state = new

    def want_output(self) -> None:
        """Have `output` called at the next flush."""
        if not self.dirty:
            self.dirty = True
            self.env.dirty.append(self)

    def output(self, now: int) -> None:
        """Send what may be sent; account for what is held."""
        self.dirty = False
        output.output(self, now)
        self.account()

    def account(self) -> None:
        """Tell the host what this connection holds."""
        held = self.rx.buffered + self.tx.queue_end - self.tx.base
        if self.rx.ooo is not None:
            held += self.rx.ooo.bytes + len(self.rx.ooo) * OVERHEAD
        if held != self.life.charged:
            self.env.memory.charge(held - self.life.charged)
            self.life.charged = held

    def fin_sent(self) -> bool:
        """Our FIN has left."""
        tx = self.tx
        return tx.fin_queued and tx.snd_nxt > tx.queue_end

    def fin_acknowledged(self) -> bool:
        """Our FIN is acknowledged."""
        tx = self.tx
        return tx.fin_queued and tx.snd_una > tx.queue_end

    def writable(self) -> None:
        """Report room in the send buffer once a third of it is free (Linux)."""
        tx = self.tx
        if (
            not self.endpoint.readiness & WRITE
            and tx.room() * 3 >= tx.limit
            and 2 * (tx.queue_end - tx.snd_nxt) < self.options.notsent_lowat
        ):
            self.endpoint.set_ready(WRITE)

    def path_works(self, now: int) -> None:
        """Progress: tell the neighbour machine, at most once a second (RFC 4861 §7.3.1)."""
        route = self.path.route
        if now - self.life.confirmed >= SECOND and route is not None:
            self.life.confirmed = now
            if route.interface.ethernet:
                self.env.net.confirm(route, self.path.remote, now)

    # -- user calls (RFC 9293 §3.9.1) -------------------------------------------------------------

    def send(self, data: Buffer, now: int, more: bool = False, record: bool = False) -> int:
        """SEND: queue bytes; how many were taken, 0 when the buffer is full.

        ``more`` promises that further bytes follow at once (MSG_MORE): a short rest waits for them.
        ``record`` ends a record (MSG_EOR): no segment carries this and what comes later.
        """
        return user.send(self, data, more, record)

    def receive(self, limit: int, now: int, peek: bool = False, skip: int = 0) -> bytes | None:
        """RECEIVE: buffered bytes; b"" at the end of the stream, None if there are none yet."""
        return user.receive(self, limit, now, peek, skip)

    def receive_ended(self) -> bool:
        """No more data will ever come."""
        return user.receive_ended(self)

    def shutdown(self, now: int) -> None:
        """CLOSE of RFC 9293: no more data from us; FIN follows what is queued."""
        closing.shutdown(self, now)

    def shutdown_read(self, now: int) -> None:
        """SHUT_RD: reads give the end of the stream."""
        self.life.read_shut = True
        self.endpoint.set_ready(READ | HANGUP if self.tx.fin_queued else READ)

    def close(self, now: int) -> None:
        """close(2): the socket is gone; the connection ends by itself."""
        closing.close(self, now)

    def abort(self, now: int) -> None:
        """ABORT: a reset to the peer, and CLOSED."""
        closing.abort(self, now)

    def take_error(self) -> int:
        """SO_ERROR: the pending errno, once."""
        error, self.error = self.error, 0
        self.endpoint.clear(ERROR)
        return error

    def info(self, now: int = -1) -> info.TcpInfo:
        """STATUS: a plain copy; ``now`` dates the ages in it."""
        return info.snapshot(self, now if now >= 0 else self.life.heard)

    def set_receive_buffer(self, size: int) -> None:
        """SO_RCVBUF: fixes the buffer, no more tuning."""
        self.rx.limit = max(size, 2304)
        self.rx.auto_max = 0

    def set_send_buffer(self, size: int) -> None:
        """SO_SNDBUF: fixes the buffer, no more tuning."""
        self.tx.limit = max(size, 4608)
        self.tx.auto_max = 0
        if self.state >= ESTABLISHED:  # before, room in the buffer is nothing to be told of
            self.writable()

    def set_congestion(self, name: str) -> None:
        """TCP_CONGESTION; KeyError for an unknown name."""
        user.set_congestion(self, name)
