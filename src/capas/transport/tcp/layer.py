# SPDX-License-Identifier: Apache-2.0
"""The TCP layer of one host: receive, look up, dispatch; resets for nobody; user OPEN.

RFC 9293 §3.10.7.1 (CLOSED), §3.10.7.2 (LISTEN), §3.10.1 (OPEN); RFC 5927 (ICMP).

Budget of a segment for a connection: parse 0.7 us, one dict lookup, one call.
"""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, final

from capas.base.checksum import Buffer, pseudo_sum, verify
from capas.base.clock import Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters, Tracer
from capas.base.frame import CSUM_NONE, Frame, Offload
from capas.base.memory import Memory
from capas.base.rng import Rng
from capas.base.seq import M32
from capas.errors import os_error
from capas.internet.shared import UNICAST
from capas.internet.types import IcmpError, TransportHandler
from capas.transport.demux import BoundTable, arriving_key, make_key
from capas.transport.endpoint import Endpoint
from capas.transport.ports import Binding, EphemeralPorts, PortBindings, overlap
from capas.transport.tcp import gtsm, icmp, opening
from capas.transport.tcp.connection import TcpConnection
from capas.transport.tcp.cookies import Secrets
from capas.transport.tcp.env import Environment
from capas.transport.tcp.listener import TcpListener
from capas.transport.tcp.path import Path
from capas.transport.tcp.states import CLOSED, TIME_WAIT
from capas.transport.way import sends_from
from capas.wire import address as addr
from capas.wire.tcp import (
    ACK,
    CHECKSUM_OFFSET,
    FIN,
    PROTOCOL,
    RST,
    SYN,
    Segment,
    pack_header,
    parse,
)

if TYPE_CHECKING:
    from capas.internet.net import Internet
    from capas.link.interface import Interface


@final
class TcpLayer(TransportHandler):
    """TCP of one host; the transport handler of protocol 6 over both families.

    ``table``     connections by demultiplexing key; ``listeners``: by address and port
    ``dirty``     connections that want `output` at the next `flush`
    ``bindings``  who holds which port
    """

    __slots__ = (
        "_local",
        "_waiting",
        "bindings",
        "config",
        "counters",
        "dirty",
        "env",
        "listeners",
        "net",
        "secrets",
        "table",
    )

    def __init__(
        self,
        net: "Internet",
        config: HostConfig,
        counters: Counters,
        scheduler: Scheduler,
        rng: Rng,
        ready: list[Endpoint],
        memory: Memory,
    ) -> None:
        self.net: Internet = net
        self._local: dict[bytes, int] = net.shared.local
        self.config: HostConfig = config
        self.counters: Counters = counters
        self.secrets: Secrets = Secrets(rng.stream("secrets"))
        self.bindings: PortBindings = PortBindings(EphemeralPorts(config, rng.stream("ports")))
        self.table: dict[bytes, TcpConnection] = {}
        self.listeners: BoundTable[TcpListener] = BoundTable()
        self.env: Environment = Environment(
            net,
            config,
            counters,
            scheduler,
            rng.stream("connections"),
            ready,
            memory,
            self._gone,
            self._time_wait,
            self._stop_listening,
        )
        self.dirty: list[TcpConnection] = self.env.dirty
        self._waiting: dict[bytes, TcpConnection] = {}  # TIME-WAIT, oldest first

    @property
    def trace(self) -> Tracer | None:
        """Who listens to decisions."""
        return self.env.trace

    @trace.setter
    def trace(self, trace: Tracer | None) -> None:
        self.env.trace = trace

    # -- from below -----------------------------------------------------------------------------

    def receive(
        self, interface: "Interface", frame: Frame, l3: int, l4: int, end: int, now: int
    ) -> None:
        """A TCP packet in ``frame.data[l4:end]`` (untrusted bytes)."""
        data = frame.data
        counts = self.counters.values  # as `add`, for each segment
        counts["tcp.segments_in"] = counts.get("tcp.segments_in", 0) + 1
        if end - l4 < 20:
            self._drop(now, "tcp.truncated", "RFC 9293 §3.1")
            return
        if frame.csum == CSUM_NONE and not self._verify(data, l3, l4, end):
            self._drop(now, "tcp.bad_checksum", "RFC 9293 §3.1 MUST-3")
            return
        segment = parse(data, l4, end, now)
        if segment is None:
            self._drop(now, "tcp.bad_header", "RFC 9293 §3.1")
            return
        if segment.flags & (SYN | FIN) == SYN | FIN and self.config.tcp_drop_synfin:
            self._drop(now, "tcp.syn_fin", "")
            return
        if frame.body:
            segment.attach(frame.body)
        if frame.gso_size:
            segment.count = -(-segment.length // frame.gso_size)
            segment.size = min(segment.length, frame.gso_size)
        # IPv4 without options has the key in one piece; no call for it.
        key = data[l3 + 12 : l4 + 4] if l4 - l3 == 20 else arriving_key(data, l3, l4)
        connection = self.table.get(key)
        if self.env.gtsm and gtsm.too_far(connection or self.listener(key), data, l3):
            self._drop(now, "tcp.min_ttl", "RFC 5082 §3")
            return
        if connection is not None:
            if connection.neg.ecn_ok:
                segment.ecn = _ecn(data, l3)
            if connection.state != TIME_WAIT or not self._reopen(connection, segment, key, now):
                connection.segment_arrives(segment, now)
                return
        half = (len(key) - 4) >> 1
        local, remote = key[half:-4], key[:half]
        # Each SYN comes here: a function is called only where the address leaves a doubt.
        if (
            (interface.ethernet and data[0] & 1)
            or (self._local.get(local) != UNICAST and self._is_group(local))
            or (remote[0] >= 224 and addr.is_multicast(remote))
        ):
            self._drop(now, "tcp.multicast", "RFC 9293 §3.9.2.3 MUST-57")
            return
        self._no_connection(interface, segment, key, local, remote, now)

    def _is_group(self, local: bytes) -> bool:
        return addr.is_multicast(local) or self.net.is_broadcast(local)

    def _verify(self, data: bytes, l3: int, l4: int, end: int) -> bool:
        if data[l3] >> 4 == 4:
            src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
        else:
            src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
        return verify(memoryview(data)[l4:end], pseudo_sum(src, dst, PROTOCOL, end - l4))

    def _no_connection(
        self,
        interface: "Interface",
        segment: Segment,
        key: bytes,
        local: bytes,
        remote: bytes,
        now: int,
    ) -> None:
        """LISTEN (§3.10.7.2) or CLOSED (§3.10.7.1)."""
        ports = int.from_bytes(key[-4:], "big")
        local_port, remote_port = ports & 0xFFFF, ports >> 16
        listener = self.listener(key)
        if listener is not None:
            path = (local, local_port, remote, remote_port, key)
            if opening.listen_arrives(self, listener, segment, path, interface, now):
                return
        else:
            self.counters.add("tcp.no_listener")
            if self.env.trace is not None:
                self.env.trace.dropped(now, "tcp.no_listener", "RFC 9293 §3.10.7.1")
            silent = self.config.tcp_blackhole
            if silent == 2 or (silent == 1 and segment.flags & SYN):
                return  # FreeBSD's net.inet.tcp.blackhole: closed ports do not answer
        self.reset(local, local_port, remote, remote_port, segment, now, interface.index)

    def listener(self, key: bytes) -> TcpListener | None:
        """Who listens where a segment with this key goes."""
        found = self.listeners.find(key[(len(key) - 4) >> 1 : -4], key[-2] << 8 | key[-1])
        if not found:
            return None
        if len(found) == 1:
            return found[0]
        return found[int.from_bytes(key[:-2], "big") % 65521 % len(found)]  # SO_REUSEPORT

    def reset(
        self,
        local: bytes,
        local_port: int,
        remote: bytes,
        remote_port: int,
        segment: Segment,
        now: int,
        interface_index: int = 0,
    ) -> None:
        """Answer a segment that belongs to nobody (RFC 9293 §3.10.7.1); never a reset."""
        flags = segment.flags
        if flags & RST:
            return
        if flags & ACK:
            seq, ack, out = segment.ack, 0, RST
        else:
            length = segment.length + (flags & SYN != 0) + (flags & FIN)
            seq, ack, out = 0, (segment.seq + length) & M32, RST | ACK
        scope = interface_index if addr.is_link_local(remote) else 0
        route = self.net.route(remote, scope)
        if route is None:
            return
        total = pseudo_sum(local, remote, PROTOCOL, 20)
        header = pack_header(local_port, remote_port, seq & M32, ack, 20 << 10 | out, 0, total, 0)
        self.counters.add("tcp.resets_out")
        self.counters.add("tcp.segments_out")
        self.net.send(route, local, remote, PROTOCOL, (header,), Offload(0, CHECKSUM_OFFSET), now)

    def _reopen(self, old: TcpConnection, segment: Segment, key: bytes, now: int) -> bool:
        """A new SYN for a pair in TIME-WAIT (RFC 9293 §3.6.1, RFC 6191): make room for it."""
        if segment.flags & (SYN | ACK | RST) != SYN:
            return False
        if not opening.may_reopen(old, segment):
            return False
        if self.listener(key) is None:
            return False
        self.secrets.beyond(key, old.tx.snd_nxt & M32)
        self.counters.add("tcp.time_wait_reused")
        opening.close_time_wait(old, now)
        return True

    def icmp_error(self, error: "IcmpError", now: int) -> bool:
        """An ICMP error quotes a segment of ours (RFC 5927); False if it is not credible."""
        return icmp.arrives(self.table, self.counters, error, now)

    def flush(self, now: int) -> None:
        """Every connection with something to say says it once."""
        dirty = self.dirty
        while dirty:
            batch = dirty.copy()
            dirty.clear()
            for connection in batch:
                connection.output(now)

    # -- user OPEN ------------------------------------------------------------------------------

    def connect(
        self,
        binding: Binding,
        remote: bytes,
        remote_port: int,
        now: int,
        setup: Callable[[TcpConnection], None] | None = None,
        interface_index: int = 0,
        fast: Buffer | None = None,
    ) -> TcpConnection:
        """Active OPEN.  ``binding`` says what was bound; port 0 or address b"" are chosen here.

        ``fast`` asks for Fast Open with this data in the SYN; ``c.fast.size`` says how much fits.

        Raises OSError: ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE, ENOBUFS.
        """
        route = self.net.route(remote, interface_index, binding.on_link)
        if route is None or addr.is_multicast(remote) or self.net.is_broadcast(remote):
            raise os_error(errno.ENETUNREACH)  # RFC 9293 §3.9.1.1 MUST-46
        local = binding.address
        if len(local) != len(remote) or not sends_from(self.net, local):
            chosen = self.net.source(remote, route, binding.prefer_source)
            if chosen is None:
                raise os_error(errno.EADDRNOTAVAIL)
            local = chosen
        if len(self.table) >= self.config.tcp_connections:
            self.counters.add("tcp.connections_full")
            raise os_error(errno.ENOBUFS)
        port = binding.port or self._ephemeral(local, remote, remote_port, binding.span)
        key = make_key(local, port, remote, remote_port)
        old = self.table.get(key)
        if old is not None:
            if old.state != TIME_WAIT or now - old.life.heard < self.config.tcp_rto_initial:
                raise os_error(errno.EADDRNOTAVAIL)
            opening.close_time_wait(old, now)
            self.secrets.beyond(key, old.tx.snd_nxt & M32)
        path = Path(self.net, local, port, remote, remote_port, interface_index)
        path.on_link = binding.on_link
        c = TcpConnection(
            self.env, path, self.secrets.iss(key, now), self.secrets.ts_offset(key), now
        )
        if setup is not None:
            setup(c)
        self.table[key] = c
        if fast is not None:
            size = self.env.fastopen.prepare(c, len(fast))
            if size:
                c.tx.append(memoryview(fast)[:size])
                c.tx.push_end = c.tx.queue_end
        opening.active(c, now)
        return c

    def _ephemeral(self, local: bytes, remote: bytes, remote_port: int, span: int) -> int:
        def free(port: int) -> bool:
            return (
                port not in self.bindings.ports
                and make_key(local, port, remote, remote_port) not in self.table
            )

        port = self.bindings.ephemeral.pick(local, remote, remote_port, free, span)
        if not port:
            raise os_error(errno.EADDRNOTAVAIL)
        return port

    def bind(self, wanted: Binding) -> Binding:
        """Hold a port; OSError EADDRINUSE.

        As in Linux (inet_csk_bind_conflict), connections from that port are in the way, those in
        TIME-WAIT too, unless both have SO_REUSEADDR: the famous error of a server started again.
        """
        if wanted.port:
            for c in self.table.values():
                path = c.path
                if (
                    path.local_port == wanted.port
                    and not (wanted.reuse_address and c.options.reuse_address)
                    and overlap(wanted.address, wanted.v6only, path.local, True)
                ):
                    raise os_error(errno.EADDRINUSE)
        return self.bindings.bind(wanted)

    def listen(self, binding: Binding, backlog: int, now: int) -> TcpListener:
        """Passive OPEN on a bound port; OSError EADDRINUSE if another listener is in the way."""
        self.bindings.listen(binding)
        listener = TcpListener(self.env, binding, backlog)
        self.listeners.add(binding.address, binding.port, listener, self._dual(binding))
        return listener

    def _dual(self, binding: Binding) -> bool:
        return binding.address == addr.ANY6 and not binding.v6only

    # -- what connections call ------------------------------------------------------------------

    def _stop_listening(self, listener: TcpListener) -> None:
        binding = listener.binding
        binding.listening = False
        self.listeners.remove(binding.address, binding.port, listener, self._dual(binding))

    def _gone(self, c: TcpConnection, now: int) -> None:
        key = c.path.key
        if self.table.get(key) is c:
            del self.table[key]
        self._waiting.pop(key, None)
        if c.listener is not None:
            c.listener.forget(c)

    def _time_wait(self, c: TcpConnection, now: int) -> None:
        waiting = self._waiting
        waiting[c.path.key] = c
        if len(waiting) > self.config.tcp_time_wait_limit:
            self.counters.add("tcp.time_wait_full")
            opening.close_time_wait(next(iter(waiting.values())), now)

    def connections(self) -> list[TcpConnection]:
        """All connections, in the order they were made."""
        return [c for c in self.table.values() if c.state != CLOSED]

    def _drop(self, now: int, counter: str, clause: str) -> None:
        self.counters.add(counter)
        if self.env.trace is not None:
            self.env.trace.dropped(now, counter, clause)


def _ecn(data: bytes, l3: int) -> int:
    """The ECN field of the IP header."""
    if data[l3] >> 4 == 4:
        return data[l3 + 1] & 3
    return data[l3 + 1] >> 4 & 3
