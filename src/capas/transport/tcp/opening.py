# SPDX-License-Identifier: Apache-2.0
"""How connections begin: active OPEN, a SYN for a listener, a SYN cookie, reuse of TIME-WAIT.

RFC 9293 §3.5, §3.10.7.2; RFC 4987; RFC 6191.
"""

from typing import TYPE_CHECKING

from capas.base.seq import M32
from capas.transport.endpoint import READ, WRITE
from capas.transport.tcp import closing, cookies, handshake
from capas.transport.tcp import timers as tt
from capas.transport.tcp.connection import TcpConnection
from capas.transport.tcp.path import Path
from capas.transport.tcp.record import EVER_RETRANS
from capas.transport.tcp.states import SYN_RECEIVED, SYN_SENT
from capas.transport.tcp.user import fit_receive_buffer
from capas.wire import address as addr
from capas.wire.tcp import ACK, RST, SYN, Segment

if TYPE_CHECKING:
    from capas.link.interface import Interface
    from capas.transport.tcp.layer import TcpLayer
    from capas.transport.tcp.listener import TcpListener

FourTuple = tuple[bytes, int, bytes, int, bytes]  # local, its port, remote, its port; as a key


def active(c: TcpConnection, now: int) -> None:
    """Send the SYN of an active OPEN."""
    c.set_state(SYN_SENT, now)
    c.neg.active = True
    c.counters.add("tcp.active_opens")
    handshake.send_syn(c, now)
    c.timers.set(tt.RTO, now + c.rtt.rto)
    limit = c.options.user_timeout or c.options.connect_timeout
    if limit:
        c.timers.set(tt.USER, now + limit)


def listen_arrives(
    layer: "TcpLayer",
    listener: "TcpListener",
    seg: Segment,
    path: FourTuple,
    interface: "Interface",
    now: int,
) -> bool:
    """A segment for a listener: first RST, second ACK, third SYN.  False: answer with a reset."""
    flags = seg.flags
    if flags & RST:
        return True
    if flags & ACK:
        if flags & SYN and layer.config.tcp_manners == "freebsd":
            return True  # dropped in silence
        return not flags & SYN and _cookie_returns(layer, listener, seg, path, interface, now)
    if not flags & SYN:
        return True  # neither RST, ACK nor SYN: drop it (fourth)
    if not listener.has_room():
        layer.counters.add("tcp.accept_queue_full")
        return True
    if len(layer.table) >= layer.config.tcp_connections:
        layer.counters.add("tcp.connections_full")
        return True
    if layer.env.memory.full:
        layer.counters.add("tcp.memory_full")
        return True
    if layer.config.tcp_syncookies == 2 or listener.syn_queue_full():
        layer.counters.add("tcp.syn_queue_full")
        if layer.config.tcp_syncookies:
            _send_cookie(layer, listener, seg, path, interface, now)
        return True
    c = _child(layer, listener, path, interface, now)
    listener.children[c.path.key] = c
    layer.table[c.path.key] = c
    layer.counters.add("tcp.passive_opens")
    c.set_state(SYN_RECEIVED, now)
    handshake.take_syn(c, seg, now)
    if seg.cookie is not None or seg.length:
        layer.env.fastopen.serve(listener, c, seg)
        if c.fast is not None and c.fast.early:
            _early_child(listener, c, seg)
    handshake.send_syn(c, now)
    c.timers.set(tt.RTO, now + c.rtt.rto)
    return True


def _early_child(listener: "TcpListener", c: TcpConnection, seg: Segment) -> None:
    """Fast Open: the user may have the connection before the handshake ends (RFC 7413 §4.2.2)."""
    c.counters.add("tcp.fastopen_accepted")
    if seg.length:
        c.rx.accept(seg.payload)
        c.life.syn_data_acked = True
        c.endpoint.set_ready(READ)
    c.endpoint.set_ready(WRITE)
    listener.early(c)


def _child(
    layer: "TcpLayer",
    listener: "TcpListener",
    path: FourTuple,
    interface: "Interface",
    now: int,
    iss: int = -1,
) -> TcpConnection:
    local, local_port, remote, remote_port, key = path
    # Link-local addresses begin with 169 or 254.
    scope = interface.index if remote[0] >= 169 and addr.is_link_local(remote) else 0
    way = Path(layer.net, local, local_port, remote, remote_port, scope, key)
    way.tos, way.ttl = listener.tos, listener.ttl
    way.on_link = listener.options.dont_route
    if iss < 0:
        iss = layer.secrets.iss(way.key, now)
    c = TcpConnection(layer.env, way, iss, layer.secrets.ts_offset(way.key), now, listener)
    if listener.congestion:
        c.set_congestion(listener.congestion)
    if listener.options.max_pacing_rate:
        c.cc.limit_pacing(listener.options.max_pacing_rate)
    if listener.receive_buffer:
        c.set_receive_buffer(listener.receive_buffer)
    if listener.options.window_clamp or listener.options.rcvlowat > 1:
        fit_receive_buffer(c)
    if listener.send_buffer:
        c.set_send_buffer(listener.send_buffer)
    return c


def _send_cookie(
    layer: "TcpLayer",
    listener: "TcpListener",
    seg: Segment,
    path: FourTuple,
    interface: "Interface",
    now: int,
) -> None:
    """Answer a SYN and keep nothing (RFC 4987 §3.6)."""
    layer.counters.add("tcp.cookies_sent")
    c = _child(layer, listener, path, interface, now)
    c.listener = None
    irs = seg.seq
    default = handshake.default_mss(layer.config, path[2])
    mss = seg.mss if seg.mss > 0 else default
    iss = layer.secrets.cookie(c.path.key, irs, mss, now)
    handshake.take_syn(c, seg, now)
    c.neg.ecn_ok = False
    if c.neg.ts_ok:
        ts = handshake.ts_now(c, now)
        wanted = cookies.encode_options(
            ts, seg.wscale if c.neg.wscale_ok else -1, c.neg.sack_ok, False
        )
        c.neg.ts_offset = (c.neg.ts_offset + wanted - ts) & M32
    else:
        # Without timestamps nothing but the MSS can be remembered.
        c.neg.sack_ok = c.neg.wscale_ok = False
    c.tx.iss = c.tx.snd_una = c.tx.snd_nxt = iss
    handshake.send_syn(c, now)


def _cookie_returns(
    layer: "TcpLayer",
    listener: "TcpListener",
    seg: Segment,
    path: FourTuple,
    interface: "Interface",
    now: int,
) -> bool:
    """An ACK for a listener: perhaps the end of a handshake we kept nothing of."""
    if not layer.config.tcp_syncookies or not layer.counters.get("tcp.cookies_sent"):
        return False
    if not listener.has_room():
        layer.counters.add("tcp.accept_queue_full")
        return True
    irs = (seg.seq - 1) & M32
    iss = (seg.ack - 1) & M32
    c = _child(layer, listener, path, interface, now, iss)
    mss = layer.secrets.check(c.path.key, irs, iss, now)
    if not mss:
        layer.counters.add("tcp.cookies_failed")
        return False
    layer.counters.add("tcp.cookies_received")
    layer.table[c.path.key] = c
    syn = Segment(irs, 0, SYN, seg.wnd, b"", now)
    syn.mss = mss
    if seg.ts_val >= 0 and seg.ts_ecr >= 0:
        syn.ts_val = seg.ts_val
        syn.wscale, syn.sack_ok, _ = cookies.decode_options(seg.ts_ecr)
    c.set_state(SYN_RECEIVED, now)
    handshake.take_syn(c, syn, now)
    c.tx.snd_nxt = iss + 1
    c.board.sent(iss, iss + 1, now, 0)
    record = c.board.first()
    if record is not None:
        record.flags |= EVER_RETRANS  # nobody knows when the SYN-ACK left: no sample
    c.segment_arrives(seg, now)
    return True


def may_reopen(old: TcpConnection, seg: Segment) -> bool:
    """RFC 6191 §2: a newer timestamp, or without timestamps a higher sequence number."""
    rx = old.rx
    if old.neg.ts_ok and seg.ts_val >= 0 and rx.ts_recent >= 0:
        ahead = (seg.ts_val - rx.ts_recent) & M32
        if 0 < ahead < 0x80000000:
            return True
        if ahead:
            return False
    return 0 < ((seg.seq - rx.rcv_nxt) & M32) < 0x80000000


def close_time_wait(old: TcpConnection, now: int) -> None:
    """End a TIME-WAIT early."""
    closing.done(old, now)
