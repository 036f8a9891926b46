# SPDX-License-Identifier: Apache-2.0
"""The kernel's own side of a TAP or TUN: MTU, up or down, addresses (netdevice(7)).

These are what ``ip link`` and ``ip addr`` do, for interfaces of the current network namespace.
Reading needs no rights; changing needs CAP_NET_ADMIN.
"""

import contextlib
import errno
import os
import socket
import struct
from typing import Final, final

from capas.errors import DeviceError
from capas.internet.pmtu import MIN_MTU6
from capas.link.link import ETHERNET_MTU
from capas.wire.address import text

try:
    import fcntl
except ImportError:  # not a Unix: `capas.real.attach` explains
    fcntl = None  # type: ignore[assignment]

# linux/sockios.h, net/if.h
SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
SIOCGIFMTU: Final = 0x8921
SIOCSIFMTU: Final = 0x8922
SIOCSIFTXQLEN: Final = 0x8943
IFF_UP: Final = 0x0001

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
NLM_F_REQUEST: Final = 0x001
NLM_F_ACK: Final = 0x004
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
RTM_NEWADDR: Final = 20
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_BROADCAST: Final = 4
IFA_F_NODAD: Final = 0x02


@final
class _ControlSocket:
    """A datagram socket for interface ioctls of the current network namespace."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self._socket = socket.socket(family, socket.SOCK_DGRAM)

    def __enter__(self) -> "_ControlSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, request: int, argument: bytes) -> bytes:
        """One ioctl; returns the argument as the kernel left it."""
        return fcntl.ioctl(self._socket.fileno(), request, argument)


def _ifreq(name: str, rest: bytes) -> bytes:
    return struct.pack("16s24s", name.encode(), rest)


def get_mtu(name: str) -> int:
    """The MTU of an interface, bytes; 1500 where it cannot be asked."""
    try:
        with _ControlSocket() as control:
            answer = control.call(SIOCGIFMTU, _ifreq(name, b""))
    except OSError:
        return ETHERNET_MTU
    return int(struct.unpack_from("i", answer, 16)[0])


def set_mtu(name: str, mtu: int) -> None:
    """Set the MTU of an interface; needs CAP_NET_ADMIN."""
    try:
        with _ControlSocket() as control:
            control.call(SIOCSIFMTU, _ifreq(name, struct.pack("i", mtu)))
    except PermissionError:
        raise DeviceError(
            f"no permission to set the MTU of {name}: `sudo ip link set {name} mtu {mtu}`"
        ) from None
    except OSError as error:
        raise DeviceError(f"{name} does not take an MTU of {mtu}: {error.strerror}") from None


def is_up(name: str) -> bool:
    """Whether the interface is administratively up."""
    try:
        with _ControlSocket() as control:
            answer = control.call(SIOCGIFFLAGS, _ifreq(name, b""))
    except OSError:
        return False
    return bool(struct.unpack_from("H", answer, 16)[0] & IFF_UP)


def try_up(name: str) -> bool:
    """Bring the interface up if we may; returns whether it is up now."""
    try:
        with _ControlSocket() as control:
            answer = control.call(SIOCGIFFLAGS, _ifreq(name, b""))
            flags = struct.unpack_from("H", answer, 16)[0]
            if not flags & IFF_UP:
                control.call(SIOCSIFFLAGS, _ifreq(name, struct.pack("H", flags | IFF_UP)))
    except OSError:
        return is_up(name)
    return True


def try_queue_length(name: str, frames: int) -> None:
    """Let so many frames wait for whoever reads the device, if we may change it."""
    with contextlib.suppress(OSError), _ControlSocket() as control:
        control.call(SIOCSIFTXQLEN, _ifreq(name, struct.pack("i", frames)))


def add_kernel_address(name: str, address: bytes, length: int) -> None:
    """Give the kernel's end an address, as ``ip addr add ... nodad`` does; needs CAP_NET_ADMIN.

    Without the kernel's own duplicate address detection, because the address must be usable at
    once (a kernel whose address is tentative sends from ::1 even onto a cable), and because the
    host at the other end of this cable, ours, does its own.
    """
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    try:
        index = socket.if_nametoindex(name)
        body = struct.pack("=BBBBi", family, length, IFA_F_NODAD, 0, index)
        body += b"".join(_attribute(kind, address) for kind in (IFA_LOCAL, IFA_ADDRESS))
        if len(address) == 4 and length < 31:
            host_bits = (1 << (32 - length)) - 1
            broadcast = int.from_bytes(address, "big") | host_bits
            body += _attribute(IFA_BROADCAST, broadcast.to_bytes(4, "big"))
        _netlink(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body)
    except FileExistsError:
        return
    except OSError as error:
        raise DeviceError(_why_not(name, f"{text(address)}/{length}", error)) from None


def _why_not(name: str, address: str, error: OSError) -> str:
    """Why the kernel does not take an address, and what to do about it."""
    if error.errno == errno.EPERM:
        return (
            f"no permission to give {name} the kernel address {address}: `sudo ip addr add"
            f" {address} dev {name}`, then leave --kernel-address out"
        )
    told = f"{name} does not take the kernel address {address} ({error.strerror})"
    if ":" in address and get_mtu(name) < MIN_MTU6:
        return f"{told}: IPv6 needs an MTU of {MIN_MTU6} bytes or more"
    if ":" in address and error.errno == errno.EACCES:
        return f"{told}: IPv6 is off: `sudo sysctl net.ipv6.conf.all.disable_ipv6=0`"
    return f"{told}: is it one that a host may have?"


def _attribute(kind: int, value: bytes) -> bytes:
    """A struct rtattr, padded to 4 bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _netlink(kind: int, flags: int, body: bytes) -> None:
    """One rtnetlink(7) request and its acknowledgement; OSError if that says so."""
    head = struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.bind((0, 0))
        netlink.send(head + body)
        answer = netlink.recv(65_536)
    number = -struct.unpack_from("=i", answer, 16)[0]
    if number:
        raise OSError(number, os.strerror(number))
