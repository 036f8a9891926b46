# SPDX-License-Identifier: Apache-2.0
"""A listening socket: half-open connections, the accept queue, SYN cookies.

RFC 9293 §3.10.7.2 (LISTEN), RFC 4987 (SYN flooding and its defences).  Both queues are capped: the
half-open one by ``tcp_max_syn_backlog`` (then cookies, or the SYN is dropped), the accept queue by
the backlog (then the handshake's last ACK waits for room).
"""

from collections import deque
from typing import TYPE_CHECKING, final

from capas.transport.endpoint import HANGUP, READ, Endpoint
from capas.transport.tcp import closing
from capas.transport.tcp.env import Environment
from capas.transport.tcp.fastopen import ALL_LISTENERS
from capas.transport.tcp.options import UserOptions
from capas.transport.tcp.states import SYN_RECEIVED

if TYPE_CHECKING:
    from capas.transport.ports import Binding
    from capas.transport.tcp.connection import TcpConnection


@final
class TcpListener:
    """A socket in LISTEN.

    ``options``  inherited by the connections it makes; ``congestion``: "" means the host's
    ``receive_buffer`` ``send_buffer``  bytes, 0: the host's setting
    ``tos`` ``ttl``  of what they send, from the SYN-ACK on; ttl 0: the host's default
    ``deferred``  half-open ones whose last ACK came without the data to wait for, by key
    ``half_open``  connections in SYN-RECEIVED; ``backlog``: cap of the accept queue
    """

    __slots__ = (
        "_close",
        "backlog",
        "binding",
        "children",
        "closed",
        "congestion",
        "deferred",
        "endpoint",
        "env",
        "fastopen_keys",
        "fastopen_no_cookie",
        "fastopen_queue",
        "options",
        "queue",
        "receive_buffer",
        "send_buffer",
        "tos",
        "ttl",
    )

    def __init__(self, env: Environment, binding: "Binding", backlog: int) -> None:
        self.env: Environment = env
        self.binding: Binding = binding
        self.backlog: int = backlog
        self.endpoint: Endpoint = Endpoint(env.ready)
        self.options: UserOptions = UserOptions(env.config)
        self.congestion: str = ""
        self.receive_buffer: int = 0
        self.send_buffer: int = 0
        self.tos: int = 0
        self.ttl: int = 0
        self.queue: deque[TcpConnection] = deque()
        self.children: dict[bytes, TcpConnection] = {}  # half-open, by key
        self.deferred: dict[bytes, None] = {}
        self.closed: bool = False
        self.fastopen_queue: int = 0  # TCP_FASTOPEN: early children at a time
        self.fastopen_no_cookie: bool = False  # TCP_FASTOPEN_NO_COOKIE
        self.fastopen_keys: list[bytes] = []  # TCP_FASTOPEN_KEY, [] the host's

    @property
    def address(self) -> bytes:
        """Packed local address."""
        return self.binding.address

    @property
    def port(self) -> int:
        """Local port."""
        return self.binding.port

    @property
    def half_open(self) -> int:
        """How many connections are in SYN-RECEIVED."""
        return len(self.children)

    def has_room(self) -> bool:
        """Whether the accept queue takes one more (Linux: backlog + 1)."""
        return len(self.queue) <= self.backlog

    def syn_queue_full(self) -> bool:
        """Whether the half-open queue is at its cap."""
        return len(self.children) >= self.env.config.tcp_max_syn_backlog

    def takes_fast_open(self) -> bool:
        """Whether a SYN may bring data here: TCP_FASTOPEN, or the host's setting, and room."""
        limit = self.fastopen_queue
        if not limit and self.env.config.tcp_fastopen & ALL_LISTENERS:
            limit = max(self.backlog, 1)
        waiting = sum(1 for c in self.queue if c.state == SYN_RECEIVED)
        return waiting < limit and self.has_room()

    def early(self, c: "TcpConnection") -> None:
        """A Fast Open child joins the queue before its handshake is over."""
        self.queue.append(c)
        self.endpoint.set_ready(READ)

    def may_establish(self, c: "TcpConnection", bare: bool, now: int) -> bool:
        """The last ACK of a handshake came: is there room?  If not, it is as if it was lost.

        So it is, too, while TCP_DEFER_ACCEPT waits for data and this is ``bare``.
        """
        if bare and c.recovery.timeouts < c.options.defer_accept and c.path.key in self.children:
            self.deferred[c.path.key] = None
            self.env.counters.add("tcp.deferred_accept")
            return False
        if len(self.queue) <= self.backlog:  # as `has_room`
            return True
        self.env.counters.add("tcp.accept_queue_full")
        trace = self.env.trace
        if trace is not None:
            trace.dropped(now, "tcp.accept_queue_full", "")
        if self.env.config.tcp_abort_on_overflow:
            closing.abort(c, now)
        return False

    def established(self, c: "TcpConnection", now: int) -> None:
        """A handshake is complete."""
        self.children.pop(c.path.key, None)
        self.deferred.pop(c.path.key, None)
        if self.closed:
            closing.abort(c, now)
            return
        if c.fast is not None and c.fast.early:
            return  # it is in the queue, or was taken out of it
        self.queue.append(c)
        self.endpoint.set_ready(READ)

    def forget(self, c: "TcpConnection") -> None:
        """A connection ended before it was accepted."""
        self.children.pop(c.path.key, None)
        self.deferred.pop(c.path.key, None)

    def may_repeat(self, c: "TcpConnection") -> tuple[bool, bool]:
        """Whether the SYN-ACK of ``c`` is still worth the wait, and another (Linux).

        A peer that has answered without data is left alone while TCP_DEFER_ACCEPT lasts, and asked
        once more at its end.
        """
        repeats, wanted = c.recovery.timeouts, c.options.defer_accept
        waits = wanted > 0 and c.path.key in self.deferred
        over = repeats >= self.env.config.tcp_synack_retries and (not waits or repeats >= wanted)
        return not over, not waits or repeats >= wanted - 1

    def accept(self, now: int) -> "TcpConnection | None":
        """The next connection, or None.  One that was reset meanwhile is still handed out."""
        if not self.queue:
            self.endpoint.clear(READ)
            return None
        c = self.queue.popleft()
        c.listener = None
        if not self.queue:
            self.endpoint.clear(READ)
        return c

    def close(self, now: int) -> None:
        """Stop listening; connections nobody accepted are reset (Linux inet_csk_listen_stop)."""
        if self.closed:
            return
        self.closed = True
        for c in list(self.children.values()):
            if c.state == SYN_RECEIVED:
                closing.done(c, now)
        self.children.clear()
        while self.queue:
            c = self.queue.popleft()
            c.life.orphan = True
            closing.abort(c, now)
        self.env.stop_listening(self)
        self.endpoint.set_ready(READ | HANGUP)
