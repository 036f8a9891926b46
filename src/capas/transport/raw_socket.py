# SPDX-License-Identifier: Apache-2.0
"""One raw socket: packets of one protocol, written and read by a program (man 7 raw, RFC 3542).

Over IPv4 a program reads whole packets, from the IP header on, over IPv6 what follows the headers.
It writes what follows the IP header, or (IP_HDRINCL, IPV6_HDRINCL) the header as well.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from capas.base.checksum import Buffer, checksum, pseudo_sum
from capas.errors import os_error
from capas.internet.types import PACKET_TOO_BIG, PARAMETER_PROBLEM, IcmpError
from capas.transport.datagram_socket import (
    PMTUDISC_DO,
    PMTUDISC_DONT,
    PMTUDISC_PROBE,
    DatagramSocket,
    Destination,
)
from capas.transport.endpoint import Endpoint
from capas.transport.way import connecting, find_way, may_bind
from capas.wire import address as addr
from capas.wire.icmp import ICMP, ICMPV6

if TYPE_CHECKING:
    from capas.transport.raw import RawLayer

RAW: Final = 255  # IPPROTO_RAW: a socket that only writes, headers and all
_HEADER4: Final = 20
_HEADER6: Final = 40
_LONGEST: Final = 65_535  # bytes of a packet of IPv4, of what follows the header of IPv6
_LONGEST6: Final = _LONGEST + _HEADER6
_TYPE_AND_CODE: Final = 2  # bytes; Linux reads them where it looks for a route
_ICMPV6_CHECKSUM: Final = 2  # where it stands in a message


@final
class RawSocket(DatagramSocket):
    """One socket of `RawLayer`; its ``port`` is the protocol, as Linux shows it.

    ``header_included``  the program writes the IP header, too
    ``checksum_at``      over IPv6, where the checksum stands that the stack sets and verifies (RFC
                         3542 §3.1); -1: it does neither
    ``blocked``          a bit for each type of ICMP message the program does not want
    """

    def __init__(self, layer: "RawLayer", endpoint: Endpoint, size: int, protocol: int) -> None:
        super().__init__(layer.net, endpoint, size, layer.config.udp_receive_buffer)
        self.port = protocol
        self.protocol: int = protocol
        self.header_included: bool = protocol == RAW
        self.checksum_at: int = _ICMPV6_CHECKSUM if size == 16 and protocol == ICMPV6 else -1
        self.blocked: int = 0
        self._shortest: int = 8 if size == 4 else 4
        self._layer: RawLayer = layer

    def bind(self, address: bytes, port: int) -> None:
        """Take only packets to ``address``, and send from it; there are no ports."""
        if len(address) == len(self.wildcard) and self.remote:
            raise os_error(errno.EINVAL)
        if len(address) != len(self.wildcard) or not may_bind(self.net, self, address):
            raise os_error(errno.EADDRNOTAVAIL)
        self.local = self.bound_address = address

    def connect(self, address: bytes, port: int, scope: int = 0) -> None:
        """As `DatagramSocket.connect`."""
        if len(address) != len(self.wildcard):
            raise os_error(errno.ENETUNREACH)
        self.local, self.remote = connecting(self.net, self, address, port, scope)
        self.remote_port = port
        self.scope = scope

    def disconnect(self) -> None:
        """As `DatagramSocket.disconnect`."""
        self.remote = b""
        self.local = self.bound_address

    def release(self) -> None:
        """As `DatagramSocket.release`."""
        self._layer.release(self)

    # -- receiving --------------------------------------------------------------------------------

    def matches(self, src: bytes, dst: bytes, interface: int) -> bool:
        """Whether a packet is for this socket; ``interface`` 0: any."""
        local, device = self.local, self.options.device
        return (
            (local == dst or addr.is_unspecified(local))
            and self.remote in (b"", src)
            and (not device or interface in (0, device))
            and (not addr.is_multicast(dst) or self.takes_group(dst, src, interface))
        )

    def wants(self, data: bytes, l4: int, end: int) -> bool:
        """Whether the filters let a packet pass; of ICMP, none without a header (Linux)."""
        if self.protocol == (ICMP if len(self.wildcard) == 4 else ICMPV6):
            return end - l4 >= self._shortest and not self.blocked >> data[l4] & 1
        return True

    def icmp_error(self, error: IcmpError) -> None:
        """An error about a packet that this socket may have sent."""
        options = self.options
        if error.kind == PACKET_TOO_BIG:
            hard = options.pmtu_discover == PMTUDISC_DO or (
                len(error.dst) == 4 and options.pmtu_discover != PMTUDISC_DONT
            )
        else:
            hard = error.hard or error.kind == PARAMETER_PROBLEM
        if options.receive_errors or (self.remote and hard):
            self.report(error)

    # -- sending ----------------------------------------------------------------------------------

    def send(self, data: Buffer, now: int, to: Destination | None = None) -> int:
        """As `DatagramSocket.send`."""
        size = len(data)
        if size > _LONGEST and len(self.wildcard) == 4:
            raise os_error(errno.EMSGSIZE)
        to = self.destination(to)
        if len(to.address) != len(self.wildcard):
            raise os_error(errno.ENETUNREACH)
        packet = bytes(data)
        sent = (self._send_whole if self.header_included else self._send)(packet, to, now)
        self.net.shared.counters.add("raw.sent" if sent else "raw.not_sent")
        return size

    def _send(self, data: bytes, to: Destination, now: int) -> bool:
        """Below a header of ours; a pending error waits for another call (Linux)."""
        net, options, dst = self.net, self.options, to.address
        if self.protocol in (ICMP, ICMPV6) and len(data) < _TYPE_AND_CODE:
            raise os_error(errno.EFAULT)
        route, source = find_way(net, self, to)
        header, most = (_HEADER4, _LONGEST) if len(dst) == 4 else (_HEADER6, _LONGEST6)
        size = header + len(data)
        discover = options.pmtu_discover
        mtu = net.path_mtu(dst, route, now)
        if discover == PMTUDISC_PROBE:
            mtu = route.interface.mtu
        whole = discover in (PMTUDISC_DO, PMTUDISC_PROBE) or (
            options.dont_fragment and header == _HEADER6
        )
        if size > (mtu if whole else most):
            raise os_error(errno.EMSGSIZE)
        if self.checksum_at >= 0:
            data = self._summed(data, source, dst)
        ttl = to.ttl or (options.multicast_hops if addr.is_multicast(dst) else options.ttl)
        tos = options.tos if to.tos < 0 else to.tos
        df = size <= mtu and discover != PMTUDISC_DONT
        loop = options.multicast_loop
        return net.send(route, source, dst, self.protocol, (data,), None, now, ttl, tos, df, loop)

    def _summed(self, data: bytes, source: bytes, dst: bytes) -> bytes:
        """``data`` with its checksum set, whatever stood there (RFC 3542 §3.1)."""
        at = self.checksum_at
        if at + 2 > len(data):
            raise os_error(errno.EINVAL)
        before, after = data[:at], data[at + 2 :]
        pseudo = pseudo_sum(source, dst, self.protocol, len(data))
        value = checksum(before + b"\0\0" + after, pseudo)
        return before + value.to_bytes(2, "big") + after

    def _send_whole(self, packet: bytes, to: Destination, now: int) -> bool:
        """With the program's own header: of IPv4's, the stack fills in what man 7 raw says."""
        net, dst = self.net, to.address
        route, source = find_way(net, self, to)
        if len(packet) > route.interface.mtu:
            raise os_error(errno.EMSGSIZE)
        loop = self.options.multicast_loop
        if len(dst) == 16:
            if len(packet) < _HEADER6:
                raise os_error(errno.EINVAL)
            self.check_sending()
            return net.ipv6.output(route, dst, (packet,), None, loop, now)
        if len(packet) < _HEADER4:
            raise os_error(errno.EINVAL)
        self.check_sending()
        header = (packet[0] & 15) * 4
        if not _HEADER4 <= header <= len(packet):
            raise os_error(errno.EINVAL)
        packet = self._filled(packet, header, source, dst)
        return net.ipv4.output(route, dst, (packet,), None, loop, now)

    def _filled(self, packet: bytes, header: int, source: bytes, dst: bytes) -> bytes:
        """Its length and checksum, and if they are zero its identification and source."""
        head = bytearray(packet[:header])
        head[2:4] = len(packet).to_bytes(2, "big")
        atomic = head[6] & 0x40
        if head[4:6] == b"\0\0" and not atomic:  # RFC 6864 §4.1: atomic ones need none
            head[4:6] = self.net.ipv4.next_ident(dst).to_bytes(2, "big")
        if head[12:16] == addr.ANY4:
            head[12:16] = source
        head[10:12] = b"\0\0"
        head[10:12] = checksum(head).to_bytes(2, "big")
        return bytes(head) + packet[header:]
