# SPDX-License-Identifier: Apache-2.0
"""What ioctl(2) answers about a socket and about interfaces (man 7 tcp, man 7 netdevice).

An answer takes the place of the beginning of what was passed: an int, or a struct ifreq of 40
bytes, which begins with the name of an interface.
"""

import errno
import sys
from collections.abc import Callable
from functools import partial
from socket import AF_INET
from struct import Struct
from typing import Final

from capas.link.interface import Interface
from capas.link.link import Medium
from capas.link.parts import InterfaceAddress
from capas.sockets.description import Description
from capas.sockets.failure import fail
from capas.sockets.stream import StreamDescription
from capas.transport.tcp import states
from capas.wire import address as addr

# Linux 6.18, ioctls.h and sockios.h
FIONCLEX: Final = 0x5450
FIOCLEX: Final = 0x5451
FIONBIO: Final = 0x5421
_FIONREAD: Final = 0x541B
_TIOCOUTQ: Final = 0x5411
_SIOCATMARK: Final = 0x8905
_SIOCGIFNAME: Final = 0x8910
_SIOCGIFFLAGS: Final = 0x8913
_SIOCGIFADDR: Final = 0x8915
_SIOCGIFBRDADDR: Final = 0x8919
_SIOCGIFNETMASK: Final = 0x891B
_SIOCGIFMTU: Final = 0x8921
_SIOCGIFHWADDR: Final = 0x8927
_SIOCGIFINDEX: Final = 0x8933

_IFNAMSIZ: Final = 16
_IFREQ: Final = 40  # bytes
_INT: Final = Struct("@i")
_SHORT: Final = Struct("@h")
_SOCKADDR_IN: Final = Struct("@HH4s8x")
_HARDWARE: Final = Struct("@H6s")  # the beginning of a struct sockaddr

# Linux 6.18, if.h and if_arp.h: by kind of link
_UP: Final = 0x41  # IFF_UP | IFF_RUNNING
_FLAGS: Final = {Medium.ETHERNET: 0x1002, Medium.IP: 0x1090, Medium.LOOPBACK: 0x8}
_ARPHRD: Final = {Medium.ETHERNET: 1, Medium.IP: 0xFFFE, Medium.LOOPBACK: 772}


def answer(description: Description, request: int, passed: bytes) -> bytes:
    """The beginning of what comes back; ENOTTY for requests that are not known."""
    if request == FIONBIO:
        description.nonblocking = bool(_INT.unpack(passed[:4].ljust(4, b"\0"))[0])
        return b""
    count = _COUNTS.get(request)
    if count is not None:
        return count(description).to_bytes(4, sys.byteorder)
    part = _IPV4.get(request) if description.family == AF_INET else None
    show = _SHOWN.get(request) if part is None else partial(_address, part)
    if show is None:
        raise fail(errno.ENOTTY)
    interface = _interface(description, request, passed.ljust(_IFREQ, b"\0"))
    return interface.name.encode().ljust(_IFNAMSIZ, b"\0") + show(interface)


def _interface(description: Description, request: int, ifreq: bytes) -> Interface:
    """The interface of a struct ifreq; ENODEV."""
    wanted = ifreq[: _IFNAMSIZ - 1].partition(b"\0")[0]
    (index,) = _INT.unpack_from(ifreq, _IFNAMSIZ)
    for interface in description.host.interfaces:
        if request == _SIOCGIFNAME:
            if interface.index == index:
                return interface
        elif interface.name.encode() == wanted:
            return interface
    raise fail(errno.ENODEV)


def _unsent(description: Description) -> int:
    """TIOCOUTQ: octets of a stream that the peer has not acknowledged."""
    if not isinstance(description, StreamDescription):
        return 0
    if description.listener is not None:
        raise fail(errno.EINVAL)
    connection = description.connection
    if connection is None or connection.state in (states.SYN_SENT, states.SYN_RECEIVED):
        return 0
    tx = connection.tx
    return tx.queue_end + tx.fin_queued - tx.snd_una


def _address(part: Callable[[InterfaceAddress], bytes], interface: Interface) -> bytes:
    """Of the first IPv4 address (EADDRNOTAVAIL)."""
    for own in interface.addresses:
        if len(own.address) == 4:
            return _SOCKADDR_IN.pack(AF_INET, 0, part(own))
    raise fail(errno.EADDRNOTAVAIL)


def _broadcast(own: InterfaceAddress) -> bytes:
    loopback = addr.is_loopback(own.address)
    return (None if loopback else own.prefix().broadcast()) or addr.ANY4


def _flags(interface: Interface) -> bytes:
    return _SHORT.pack(_FLAGS[interface.caps.medium] | (_UP if interface.up else 0))


def _hardware(interface: Interface) -> bytes:
    medium = interface.caps.medium
    mac = interface.mac if medium is Medium.ETHERNET else addr.ZERO_MAC
    return _HARDWARE.pack(_ARPHRD[medium], mac)


_COUNTS: Final[dict[int, Callable[[Description], int]]] = {
    _FIONREAD: lambda description: description.unread(),
    _TIOCOUTQ: _unsent,
    _SIOCATMARK: lambda description: int(description.at_mark()),
}
_IPV4: Final[dict[int, Callable[[InterfaceAddress], bytes]]] = {
    _SIOCGIFADDR: lambda own: own.address,
    _SIOCGIFNETMASK: lambda own: addr.mask(addr.BROADCAST4, own.prefix_length),
    _SIOCGIFBRDADDR: _broadcast,
}
_SHOWN: Final[dict[int, Callable[[Interface], bytes]]] = {
    _SIOCGIFNAME: lambda interface: _INT.pack(interface.index),
    _SIOCGIFINDEX: lambda interface: _INT.pack(interface.index),
    _SIOCGIFMTU: lambda interface: _INT.pack(interface.mtu),
    _SIOCGIFFLAGS: _flags,
    _SIOCGIFHWADDR: _hardware,
}
KNOWN: Final = (FIONBIO, *_COUNTS, *_IPV4, *_SHOWN)
