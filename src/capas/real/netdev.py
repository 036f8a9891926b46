# SPDX-License-Identifier: Apache-2.0
"""The kernel's own side of a TAP or TUN: MTU, up or down, addresses (netdevice(7)).

These are what ``ip link`` and ``ip addr`` do, for interfaces of the current network namespace.
Reading needs no rights; changing needs CAP_NET_ADMIN.
"""

import socket
import struct
from typing import Final, final

from capas.errors import DeviceError
from capas.link.link import ETHERNET_MTU

try:
    import fcntl
except ImportError:  # not a Unix: `capas.real.devices` explains
    fcntl = None  # type: ignore[assignment]

# linux/sockios.h, net/if.h
SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
SIOCSIFADDR: Final = 0x8916
SIOCSIFNETMASK: Final = 0x891C
SIOCGIFMTU: Final = 0x8921
SIOCSIFMTU: Final = 0x8922
SIOCGIFINDEX: Final = 0x8933
IFF_UP: Final = 0x0001


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


def add_kernel_address(name: str, address: bytes, length: int) -> None:
    """Give the kernel's end an address, as ``ip addr add`` does; needs CAP_NET_ADMIN."""
    try:
        if len(address) == 4:
            mask = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
            with _ControlSocket() as control:
                inet = struct.pack("=HH4s8x", socket.AF_INET, 0, address)
                control.call(SIOCSIFADDR, _ifreq(name, inet))
                inet = struct.pack("=HH4s8x", socket.AF_INET, 0, mask.to_bytes(4, "big"))
                control.call(SIOCSIFNETMASK, _ifreq(name, inet))
        else:
            with _ControlSocket(socket.AF_INET6) as control:
                index = struct.unpack_from("i", control.call(SIOCGIFINDEX, _ifreq(name, b"")), 16)
                control.call(SIOCSIFADDR, struct.pack("=16sIi", address, length, index[0]))
    except FileExistsError:
        return
    except PermissionError:
        raise DeviceError(
            f"no permission to give {name} an address: `sudo ip addr add ADDRESS/LENGTH dev {name}`"
        ) from None
    except OSError as error:
        raise DeviceError(
            f"{name} does not take that kernel address ({error.strerror}): is IPv6 on, is the"
            " address one a host may have?"
        ) from None
