# SPDX-License-Identifier: Apache-2.0
"""UDP: who gets a datagram (RFC 768, RFC 1122 §4.1, RFC 8200 §8.1, RFC 6935, RFC 8085).

Receiving: connected sockets first, then those bound to the address, then the wildcard; every match
for multicast and broadcast; port unreachable when nobody is there.  Errors of ICMP reach the socket
that sent the quoted datagram.  The bytes of received datagrams are untrusted: what is malformed is
counted and dropped.  Budget: 1.5 us per datagram beside the checksum.  Units: ns, bytes.
"""

import errno
from typing import Final, final
from zlib import crc32

from capas.base.checksum import Buffer
from capas.base.clock import Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters, Tracer
from capas.base.frame import CSUM_NONE, GSO_UDP_L4, Frame
from capas.base.rng import Rng
from capas.errors import os_error
from capas.internet.net import Internet
from capas.internet.types import PACKET_TOO_BIG, IcmpError, TransportHandler
from capas.link.interface import Interface
from capas.transport.datagram_socket import PMTUDISC_DONT, PMTUDISC_WANT, Datagram, Destination
from capas.transport.demux import arriving_key, make_key
from capas.transport.endpoint import Endpoint
from capas.transport.ports import EphemeralPorts, overlap
from capas.transport.udp_output import send
from capas.transport.udp_socket import UdpSocket
from capas.transport.way import connecting, may_bind
from capas.wire import address as addr
from capas.wire import udp as wire

_CONNECTED: Final = 8  # points of a match, Linux compute_score: the highest wins
_BOUND: Final = 4
_DEVICE: Final = 2
_FAMILY: Final = 1


@final
class UdpLayer(TransportHandler):
    """All UDP sockets of a host; the handler of protocol 17."""

    def __init__(
        self,
        net: Internet,
        config: HostConfig,
        counters: Counters,
        scheduler: Scheduler,
        rng: Rng,
        ready: list[Endpoint],
    ) -> None:
        self.net: Internet = net
        self.config: HostConfig = config
        self.counters: Counters = counters
        self.scheduler: Scheduler = scheduler
        self.trace: Tracer | None = None
        self.sockets: dict[int, list[UdpSocket]] = {}  # by local port, in order of binding
        self._connected: dict[bytes, UdpSocket] = {}  # by arriving key
        self._ready: list[Endpoint] = ready
        self._ephemeral: EphemeralPorts = EphemeralPorts(config, rng.stream("ports"))
        self._spread: int = rng.u32()  # key of the SO_REUSEPORT choice

    def open(self, endpoint: Endpoint | None = None, size: int = 4) -> UdpSocket:
        """A new socket of the family whose addresses are ``size`` bytes long."""
        if endpoint is None:
            endpoint = Endpoint(self._ready)
        return UdpSocket(self, endpoint, size)

    # -- receiving ------------------------------------------------------------------------------

    def receive(
        self, interface: Interface, frame: Frame, l3: int, l4: int, end: int, now: int
    ) -> None:
        """``frame.data[l4:end]`` is a datagram for us."""
        data = frame.data
        fields = wire.parse(data, l4, end)
        if fields is None:
            self._drop(now, "udp.malformed", "RFC 768")
            return
        source_port, port, length, checksum = fields
        if data[l3] >> 4 == 4:
            src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
            ttl, tos = data[l3 + 8], data[l3 + 1]
        else:
            src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
            ttl, tos = data[l3 + 7], (data[l3] << 4 | data[l3 + 1] >> 4) & 0xFF
        unchecked = checksum == 0 and len(dst) == 16
        if checksum and frame.csum == CSUM_NONE and not wire.verify(data, l4, length, src, dst):
            self._drop(now, "udp.bad_checksum", "RFC 768")
            return
        segment = frame.gso_size if frame.gso_type == GSO_UDP_L4 else 0
        if segment:
            length = end - l4
        payload = data[l4 + wire.HEADER_SIZE : l4 + length]
        datagram = Datagram(payload, src, source_port, dst, interface.index, ttl, tos, now, segment)
        if addr.is_multicast(dst) or self.net.is_broadcast(dst):
            self._group(datagram, port, unchecked, now)
            return
        found = self._connected.get(arriving_key(data, l3, l4))
        if found is None or (found.options.device not in (0, interface.index)):
            found = self._find(dst, port, src, source_port, interface.index)
        if found is None:
            if unchecked and not self.config.udp_zero_checksum6:
                self._drop(now, "udp.zero_checksum6", "RFC 8200 §8.1")
                return
            self._drop(now, "udp.no_port", "RFC 1122 §4.1.3.1")
            self.net.send_icmp_port_unreachable(interface, frame, l3, now)
            return
        self._deliver(found, datagram, unchecked, now)

    def _deliver(self, socket: UdpSocket, datagram: Datagram, unchecked: bool, now: int) -> None:
        if unchecked and not (socket.options.no_check_rx or self.config.udp_zero_checksum6):
            self._drop(now, "udp.zero_checksum6", "RFC 8200 §8.1")
            return
        segment = datagram.segment
        if segment == 0 or socket.options.gro:
            self._queue(socket, datagram, now)
            return
        data = datagram.data
        for i in range(0, len(data), segment):
            part = Datagram(
                data[i : i + segment],
                datagram.source,
                datagram.source_port,
                datagram.destination,
                datagram.interface,
                datagram.ttl,
                datagram.tos,
                datagram.time,
            )
            self._queue(socket, part, now)

    def _queue(self, socket: UdpSocket, datagram: Datagram, now: int) -> None:
        if socket.deliver(datagram):
            self.counters.add("udp.received")
        else:
            self._drop(now, "udp.receive_buffer_full", "")

    def _group(self, datagram: Datagram, port: int, unchecked: bool, now: int) -> None:
        """To every socket that listens for this group or broadcast (RFC 1112, RFC 919)."""
        dst = datagram.destination
        index = datagram.interface
        multicast = addr.is_multicast(dst)
        if multicast and not self.net.shared.hears(index, dst, datagram.source):
            self._drop(now, "udp.source_filtered", "RFC 3376 §3.2")
            return
        taken = False
        for socket in self.sockets.get(port, ()):
            if _score(socket, dst, datagram.source, datagram.source_port, index) < 0:
                continue
            if multicast and not socket.takes_group(dst, datagram.source, index):
                continue
            self._deliver(socket, datagram, unchecked, now)
            taken = True
        if not taken:
            self._drop(now, "udp.no_group", "RFC 1122 §4.1.3.1")

    def _find(
        self, dst: bytes, port: int, src: bytes, source_port: int, interface: int
    ) -> UdpSocket | None:
        """The best match; among equals the last bound, or by flow with SO_REUSEPORT."""
        best = -1
        matches: list[UdpSocket] = []
        for socket in self.sockets.get(port, ()):
            score = _score(socket, dst, src, source_port, interface)
            if score > best:
                best, matches = score, [socket]
            elif score == best and score >= 0:
                matches.append(socket)
        if not matches:
            return None
        last = matches[-1]
        if len(matches) == 1 or not last.options.reuse_port:
            return last
        flow = dst + src + source_port.to_bytes(2, "big")
        return matches[(crc32(flow, self._spread) * len(matches)) >> 32]

    def icmp_error(self, error: IcmpError, now: int) -> None:
        """An error about a datagram of ours (RFC 1122 §4.1.3.3), `error.quote` is its header."""
        quote = error.quote
        if len(quote) < 4:
            self.counters.add("udp.short_quote")
            return
        port = int.from_bytes(quote[:2], "big")
        remote_port = int.from_bytes(quote[2:4], "big")
        socket = self._find(error.src, port, error.dst, remote_port, 0)
        if socket is None:
            self.counters.add("udp.error_for_nobody")
            return
        options = socket.options
        if error.kind == PACKET_TOO_BIG:
            # The path MTU is learnt already; only who forbade fragments must hear of it.
            if options.pmtu_discover in (PMTUDISC_DONT, PMTUDISC_WANT):
                return
        elif not options.receive_errors and not (socket.remote and error.hard):
            return
        socket.report(error)

    # -- binding --------------------------------------------------------------------------------

    def bind(self, socket: UdpSocket, address: bytes, port: int) -> None:
        """Bind ``socket``; port 0 picks one."""
        if socket.port:
            raise os_error(errno.EINVAL)
        if not may_bind(self.net, socket, address):
            raise os_error(errno.EADDRNOTAVAIL)
        if port or not socket.options.bind_no_port:
            self._take(socket, address, port, b"", 0)
        socket.local = socket.bound_address = address

    def bind_to_send(self, socket: UdpSocket, address: bytes, port: int) -> None:
        """Pick a port if it has none, by whom it is to send to (RFC 6056 §3.3.3)."""
        if socket.port == 0:
            self._take(socket, socket.local, 0, address, port)

    def _take(
        self, socket: UdpSocket, address: bytes, port: int, remote: bytes, remote_port: int
    ) -> None:
        def free(candidate: int) -> bool:
            return not any(
                _conflict(socket, address, other) for other in self.sockets.get(candidate, ())
            )

        if port == 0:
            unused, pick, span = self.sockets, self._ephemeral.pick, socket.options.span
            port = pick(address, remote, remote_port, lambda n: n not in unused, span) or pick(
                address, remote, remote_port, free, span
            )
            if port == 0:
                raise os_error(errno.EAGAIN if remote else errno.EADDRINUSE)  # bind(2) says this
        elif not free(port):
            raise os_error(errno.EADDRINUSE)
        socket.local = address
        socket.port = port
        self.sockets.setdefault(port, []).append(socket)

    def connect(self, socket: UdpSocket, address: bytes, port: int, scope: int) -> None:
        """Fix the remote end and, if it was a wildcard, the local address."""
        if socket.remote:
            self._forget(socket)
        local, address = connecting(self.net, socket, address, port, scope)
        if socket.port == 0:
            self._take(socket, local, 0, address, port)
        socket.local = local
        socket.remote = address
        socket.remote_port = port
        socket.scope = scope
        self._connected.setdefault(make_key(local, socket.port, address, port), socket)

    def _forget(self, socket: UdpSocket) -> None:
        key = make_key(socket.local, socket.port, socket.remote, socket.remote_port)
        if self._connected.get(key) is socket:
            del self._connected[key]
        socket.remote = b""
        socket.remote_port = 0
        socket.scope = 0

    def disconnect(self, socket: UdpSocket) -> None:
        """Forget the remote end; an address chosen by `connect` goes with it."""
        if socket.remote:
            self._forget(socket)
            socket.local = socket.bound_address

    def release(self, socket: UdpSocket) -> None:
        """Take ``socket`` out of all tables."""
        if socket.remote:
            self._forget(socket)
        if socket.port:
            sockets = self.sockets[socket.port]
            sockets.remove(socket)
            if not sockets:
                del self.sockets[socket.port]

    def send(
        self, socket: UdpSocket, data: Buffer, now: int, to: Destination, held: bool = False
    ) -> int:
        """Send one datagram, binding first if need be."""
        self.bind_to_send(socket, to.address, to.port)
        return send(self.net, socket, data, now, to, held)

    def _drop(self, now: int, counter: str, clause: str) -> None:
        self.counters.add(counter)
        if self.trace is not None:
            self.trace.dropped(now, counter, clause)


def _score(socket: UdpSocket, dst: bytes, src: bytes, source_port: int, interface: int) -> int:
    """How well a socket fits a datagram; -1: not at all (Linux compute_score)."""
    score = 0
    local = socket.local
    if local == dst:
        score = _BOUND + _FAMILY
    elif not addr.is_unspecified(local):
        return -1
    elif len(local) == len(dst):
        score = _FAMILY
    elif len(local) == 4 or socket.options.v6only:
        return -1
    if socket.remote:
        if socket.remote != src or socket.remote_port != source_port:
            return -1
        score += _CONNECTED
    device = socket.options.device
    if device:
        if interface not in (0, device):
            return -1
        score += _DEVICE
    return score


def _conflict(socket: UdpSocket, address: bytes, other: UdpSocket) -> bool:
    """Whether binding ``socket`` to ``address`` on ``other``'s port is EADDRINUSE (Linux)."""
    mine, theirs = socket.options, other.options
    if mine.device and theirs.device and mine.device != theirs.device:
        return False
    if (mine.reuse_port and theirs.reuse_port) or (mine.reuse_address and theirs.reuse_address):
        return False
    return overlap(address, mine.v6only, other.local, theirs.v6only)
