# SPDX-License-Identifier: Apache-2.0
"""A datagram socket: UDP below POSIX's calls (RFC 768, RFC 3493, RFC 3542, man 7 ip, man 7 udp)."""

import errno
import socket
import struct
from typing import Final

from capas.base.checksum import Buffer
from capas.base.clock import SECOND, US
from capas.host.host import Host
from capas.internet.types import IcmpError
from capas.sockets import options
from capas.sockets.addresses import reached
from capas.sockets.description import Address, Ancillary, Description, Received
from capas.sockets.driver import Driver
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_DONTWAIT, MSG_ERRQUEUE, MSG_OOB, MSG_PEEK, MSG_TRUNC
from capas.transport.datagram_socket import Datagram, Destination
from capas.transport.endpoint import HANGUP
from capas.transport.udp_socket import UdpSocket
from capas.wire import address as addr

_IP_PKTINFO: Final = options.number("IP_PKTINFO", 8)
_IPV6_PKTINFO: Final = options.number("IPV6_PKTINFO", 50)
_IPV6_HOPLIMIT: Final = options.number("IPV6_HOPLIMIT", 52)
_IPV6_TCLASS: Final = options.number("IPV6_TCLASS", 67)
_IP_TTL: Final = options.number("IP_TTL", 2)
_IP_TOS: Final = options.number("IP_TOS", 1)
_IP_RECVERR: Final = options.number("IP_RECVERR", 11)
_IPV6_RECVERR: Final = options.number("IPV6_RECVERR", 25)
_SEGMENT: Final = 103  # UDP_SEGMENT
_GRO: Final = 104  # UDP_GRO
_TIMESTAMP: Final = options.number("SO_TIMESTAMP", 29)
_TIMESTAMP_NS: Final = options.number("SO_TIMESTAMPNS", 35)

_TIME: Final = struct.Struct("@ll")  # seconds and what is left of one: struct timeval, timespec
_PKTINFO4: Final = struct.Struct("@i4s4s")  # interface index, local address, header destination
_PKTINFO6: Final = struct.Struct("@16sI")
_EXTENDED_ERROR: Final = struct.Struct("@IBBBBII")  # struct sock_extended_err
_SOCKADDR4: Final = struct.Struct("@H2s4s8x")
_SOCKADDR6: Final = struct.Struct("@H2sI16sI")
_ORIGIN_ICMP4: Final = 2
_ORIGIN_ICMP6: Final = 3

#: option name -> attribute of `UdpOptions`
_PLAIN: Final = {
    "broadcast": "broadcast",
    "reuse_address": "reuse_address",
    "reuse_port": "reuse_port",
    "no_check_tx": "no_check_tx",
    "no_check_rx": "no_check_rx",
    "gro": "gro",
    "v6only": "v6only",
    "multicast_all": "multicast_all",
    "multicast_loop": "multicast_loop",
    "multicast_loop6": "multicast_loop",
    "receive_errors": "receive_errors",
    "receive_errors6": "receive_errors",
}
_NUMBERS: Final = {
    "device": "device",
    "segment": "segment",
    "receive_buffer": "receive_buffer",
    "ttl": "ttl",
    "tos": "tos",
    "hops": "ttl",
    "tclass": "tos",
    "multicast_ttl": "multicast_hops",
    "multicast_hops": "multicast_hops",
    "pmtu_discover": "pmtu_discover",
    "pmtu_discover6": "pmtu_discover",
}
#: what -1 ("the default") stands for
_DEFAULT: Final = {"multicast_hops": 1}
#: receiving any of these costs ancillary data
_WANTED: Final = (
    "packet_info",
    "packet_info6",
    "receive_ttl",
    "receive_hops",
    "receive_tos",
    "receive_tclass",
    "timestamp",
    "timestamp_ns",
    "gro",
)


class DatagramDescription(Description):
    """A UDP socket of one host."""

    def __init__(self, host: Host, driver: Driver, family: int, proto: int) -> None:
        endpoint = host.new_endpoint()
        super().__init__(host, driver, family, int(socket.SOCK_DGRAM), proto or 17, endpoint)
        self.udp: UdpSocket = host.udp.open(endpoint, 16 if family == socket.AF_INET6 else 4)
        self._ancillary: bool = False

    @property
    def kind(self) -> int:
        """UDP has the options of datagrams."""
        return options.DATAGRAM

    def bind(self, address: Address) -> None:
        """bind(2)."""
        packed, port, scope = address
        if addr.is_link_local(packed) and scope:
            self.udp.options.device = scope
        self.udp.bind(packed, port)
        if len(packed) == 16 and not addr.is_unspecified(packed):
            self.settings.values["v6only"] = 1
            self.udp.options.v6only = True

    def connect(self, address: Address | None) -> bool:
        """connect(2): only fixes the remote end."""
        if address is None:
            self.udp.disconnect()
            return True
        packed, port, scope = address
        self.udp.connect(self._reached(packed), port, scope)
        return True

    def _reached(self, packed: bytes) -> bytes:
        udp = self.udp
        return reached(self.family == socket.AF_INET6, udp.options.v6only, packed, udp.local)

    # -- sending ----------------------------------------------------------------------------------

    def send(
        self, data: Buffer, flags: int, address: Address | None, ancillary: Ancillary
    ) -> int | None:
        """send(2) and its kind: one datagram; never blocks."""
        if flags & MSG_OOB:
            raise fail(errno.EOPNOTSUPP)
        udp = self.udp
        if not udp.port:  # as Linux, before it finds that it cannot be sent
            udp.bind_to_send(*(address[:2] if address is not None else (b"", 0)))
        to: Destination | None = None
        if address is not None:
            packed, port, scope = address
            packed = self._reached(packed)
            if not port:
                raise fail(errno.EINVAL)
            to = Destination(packed, port, scope)
        if ancillary:
            if to is None:
                if not udp.remote:
                    raise fail(errno.EDESTADDRREQ)
                to = Destination(udp.remote, udp.remote_port, udp.scope)
            for level, kind, value in ancillary:
                _control(to, level, kind, value)
        taken = udp.send(bytes(data), self.driver.now(), to)
        self.driver.kick(self.host)
        return taken

    # -- receiving --------------------------------------------------------------------------------

    def receive(self, limit: int, flags: int) -> Received | None:
        """recv(2) and its kind: one datagram, what does not fit is lost."""
        if flags & MSG_ERRQUEUE:
            error = self.udp.next_error()
            if error is None:
                raise fail(errno.EAGAIN)
            return self._error(error, limit)
        datagram = self.udp.receive(bool(flags & MSG_PEEK))
        if datagram is None:
            # Who does not wait learns nothing of the shutdown (Linux).
            return Received(b"") if self.udp.read_shut and not flags & MSG_DONTWAIT else None
        data = datagram.data
        result = Received(
            data if len(data) <= limit else data[:limit],
            (datagram.source, datagram.source_port, datagram.interface),
        )
        if len(data) > limit:
            result.flags = MSG_TRUNC
            result.whole = len(data)
        if self._ancillary:
            self._describe(result.ancillary, datagram)
        return result

    def _came(self, datagram: Datagram) -> int:
        """When it came, ns since 1970."""
        return int(self.driver.wall() * SECOND) - (self.now() - datagram.time)

    def _describe(self, ancillary: Ancillary, datagram: Datagram) -> None:
        get = self.settings.get
        destination = datagram.destination
        if get("timestamp_ns"):
            nanos = _TIME.pack(*divmod(self._came(datagram), SECOND))
            ancillary.append((options.SOL_SOCKET, _TIMESTAMP_NS, nanos))
        elif get("timestamp"):
            seconds, rest = divmod(self._came(datagram), SECOND)
            ancillary.append((options.SOL_SOCKET, _TIMESTAMP, _TIME.pack(seconds, rest // US)))
        if len(destination) == 4:
            if get("packet_info"):
                info = _PKTINFO4.pack(datagram.interface, destination, destination)
                ancillary.append((options.IP, _IP_PKTINFO, info))
            if get("receive_ttl"):
                ancillary.append((options.IP, _IP_TTL, struct.pack("@i", datagram.ttl)))
            if get("receive_tos"):
                ancillary.append((options.IP, _IP_TOS, bytes((datagram.tos,))))
        if self.family == socket.AF_INET6:
            if get("packet_info6"):
                shown = destination if len(destination) == 16 else addr.map_v4(destination)
                info = _PKTINFO6.pack(shown, datagram.interface)
                ancillary.append((options.IPV6, _IPV6_PKTINFO, info))
            if get("receive_hops"):
                ancillary.append((options.IPV6, _IPV6_HOPLIMIT, struct.pack("@i", datagram.ttl)))
            if get("receive_tclass"):
                ancillary.append((options.IPV6, _IPV6_TCLASS, struct.pack("@i", datagram.tos)))
        if datagram.segment and get("gro"):
            ancillary.append((options.UDP, _GRO, struct.pack("@H", datagram.segment)))

    def _error(self, error: IcmpError, limit: int) -> Received:
        """An entry of the error queue: payload of the datagram that failed, sock_extended_err."""
        v4 = len(error.dst) == 4
        extended = _EXTENDED_ERROR.pack(
            error.errno,
            _ORIGIN_ICMP4 if v4 else _ORIGIN_ICMP6,
            error.type,
            error.code,
            0,
            error.mtu,
            0,
        )
        if v4:
            extended += _SOCKADDR4.pack(socket.AF_INET, b"\0\0", error.reporter)
        else:
            extended += _SOCKADDR6.pack(socket.AF_INET6, b"\0\0", 0, error.reporter, 0)
        level, kind = (options.IP, _IP_RECVERR) if v4 else (options.IPV6, _IPV6_RECVERR)
        port = int.from_bytes(error.quote[2:4], "big")
        payload = error.quote[8 : 8 + limit]
        return Received(payload, (error.dst, port, 0), MSG_ERRQUEUE, [(level, kind, extended)])

    # -- the rest ---------------------------------------------------------------------------------

    def shutdown(self, how: int) -> None:
        """shutdown(2): ENOTCONN if it has no remote end, but who reads wakes (Linux)."""
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self.udp.shutdown_read()
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self.udp.write_shut = True
        if self.udp.write_shut and self.udp.read_shut:
            self.endpoint.set_ready(HANGUP)
        self.kick()
        if not self.udp.remote:
            raise fail(errno.ENOTCONN)

    def peer_ended(self) -> bool:
        """Of no peer here: of our own reading."""
        return self.udp.read_shut

    def local_address(self) -> Address:
        """getsockname(2)."""
        return self.udp.local, self.udp.port, self.udp.options.device

    def remote_address(self) -> Address:
        """getpeername(2)."""
        if not self.udp.remote:
            raise fail(errno.ENOTCONN)
        return self.udp.remote, self.udp.remote_port, self.udp.scope

    def take_error(self) -> int:
        """SO_ERROR."""
        return self.udp.take_error()

    def close(self) -> None:
        """The last descriptor was closed."""
        self.udp.close(self.driver.now())
        self.driver.kick(self.host)

    # -- options ----------------------------------------------------------------------------------

    def has_address(self) -> bool:
        """Bound, by a call or by sending."""
        return self.udp.port != 0

    def default_buffer(self, name: str) -> int:
        """Linux's rmem_default and wmem_default."""
        config = self.host.config
        return config.udp_receive_buffer if name == "receive_buffer" else config.udp_send_buffer

    def apply(self, name: str, value: int) -> None:
        """Write the value where UDP looks."""
        attribute = _PLAIN.get(name)
        if attribute is not None:
            setattr(self.udp.options, attribute, bool(value))
        else:
            attribute = _NUMBERS.get(name)
            if attribute is not None:
                setattr(self.udp.options, attribute, value if value >= 0 else _DEFAULT.get(name, 0))
        if name in _WANTED:
            self._ancillary = any(self.settings.get(wanted) for wanted in _WANTED)

    def get_special(self, name: str) -> int | bytes:
        """Path MTU, multicast interface."""
        udp = self.udp
        if name in ("path_mtu", "path_mtu6"):
            route = self.host.net.route(udp.remote, udp.scope) if udp.remote else None
            if route is None:
                raise fail(errno.ENOTCONN)
            return self.host.net.path_mtu(udp.remote, route, self.now())
        index = udp.options.multicast_interface
        if name == "multicast_interface6":
            return index
        if name == "multicast_interface":
            link = self.host.net.interface(index)
            own = [a.address for a in link.addresses if len(a.address) == 4] if link else []
            return own[0] if own else addr.ANY4
        if name == "ip_options":
            return b""
        return super().get_special(name)

    def set_special(self, name: str, value: int | bytes) -> None:
        """Multicast membership and interface."""
        udp = self.udp
        if name in ("join", "leave", "join6", "leave6"):
            group, index = self._membership(name, value)
            (udp.join if name.startswith("join") else udp.leave)(group, index, self.now())
            self.kick()
        elif name == "multicast_interface6":
            udp.options.multicast_interface = self._link(options.as_int(value))
        elif name == "multicast_interface":
            packed = struct.pack("@I", value) if isinstance(value, int) else value
            udp.options.multicast_interface = self._interface4(
                packed[4:] if len(packed) >= 8 else packed
            )
        else:
            super().set_special(name, value)

    def _membership(self, name: str, value: int | bytes) -> tuple[bytes, int]:
        """(group, interface index) of ip_mreq, ip_mreqn or ipv6_mreq."""
        if isinstance(value, int):
            raise fail(errno.EINVAL)
        if name.endswith("6"):
            if len(value) < _PKTINFO6.size:
                raise fail(errno.EINVAL)
            group, index = _PKTINFO6.unpack_from(value)
            return group, self._link(index)
        if len(value) < 8:
            raise fail(errno.EINVAL)
        return value[:4], self._interface4(value[4:])

    def _interface4(self, value: bytes) -> int:
        """Interface index of an in_addr, maybe with the index that ip_mreqn adds; 0: any."""
        if len(value) >= 8:
            index = int(struct.unpack_from("@i", value, 4)[0])
            if index:
                return self._link(index)
        address = value[:4]
        if len(address) < 4:
            raise fail(errno.EINVAL)
        if address == addr.ANY4:
            return 0
        for link in self.host.interfaces:
            if any(own.address == address for own in link.addresses):
                return link.index
        raise fail(errno.ENODEV)

    def _link(self, index: int) -> int:
        if index and self.host.net.interface(index) is None:
            raise fail(errno.ENODEV)
        return index


def _control(to: Destination, level: int, kind: int, value: bytes) -> None:
    """One control message of sendmsg (RFC 3542 §6, man 7 ip)."""
    if level == options.IP and kind == _IP_PKTINFO and len(value) >= _PKTINFO4.size:
        index, local, _ = _PKTINFO4.unpack_from(value)
        to.interface = index
        to.source = b"" if local == addr.ANY4 else local
    elif level == options.IPV6 and kind == _IPV6_PKTINFO and len(value) >= _PKTINFO6.size:
        local, index = _PKTINFO6.unpack_from(value)
        to.interface = index
        local = addr.unmap_v4(local)
        to.source = b"" if addr.is_unspecified(local) else local
    elif (level, kind) in ((options.IP, _IP_TTL), (options.IPV6, _IPV6_HOPLIMIT)):
        to.ttl = options.as_int(value)
    elif (level, kind) in ((options.IP, _IP_TOS), (options.IPV6, _IPV6_TCLASS)):
        to.tos = options.as_int(value)
    elif (level, kind) == (options.UDP, _SEGMENT) and len(value) >= 2:
        to.segment = int(struct.unpack_from("@H", value)[0])
    else:
        raise fail(errno.EINVAL)
