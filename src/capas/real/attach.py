# SPDX-License-Identifier: Apache-2.0
"""How the kernel is asked for a TAP or TUN device, and what it agrees to (tuntap.rst, if_tun.h).

A kernel takes a whole set of flags or refuses it, so each is asked for richest first.

With virtio headers and a second core it is also asked to let a thread of its own take what we write
when we say so (``IFF_NAPI``; `capas.real.kthread` says when).
"""

import contextlib
import errno
import os
import struct
from typing import Final

from capas.errors import DeviceError
from capas.real.kthread import open_switch, switches
from capas.real.ports import cores

try:
    import fcntl
except ImportError:  # not a Unix: the module imports, opening a device explains
    fcntl = None  # type: ignore[assignment]

CLONE_DEVICE: str = "/dev/net/tun"  # not Final: compiled, tests could not put another here

# linux/if_tun.h; the numbers are _IOW('T', n, int), the same on all architectures but mips, ppc
# and sparc, where capas has never run
TUNSETIFF: Final = 0x400454CA
TUNSETOFFLOAD: Final = 0x400454D0
TUNGETFEATURES: Final = 0x800454CF
TUNSETSNDBUF: Final = 0x400454D4
TUNSETVNETHDRSZ: Final = 0x400454D8
IFF_TUN: Final = 0x0001
IFF_TAP: Final = 0x0002
IFF_NAPI: Final = 0x0010
IFF_MULTI_QUEUE: Final = 0x0100
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000
TUN_F_CSUM: Final = 0x01
TUN_F_TSO4: Final = 0x02
TUN_F_TSO6: Final = 0x04
TUN_F_TSO_ECN: Final = 0x08
TUN_F_USO4: Final = 0x20
TUN_F_USO6: Final = 0x40

NAME_MAX: Final = 15  # IFNAMSIZ - 1
#: Bytes of the kernel's memory that our frames may hold until its thread has taken them: some
#: trains of ours.  Without a thread they never wait.
_WAITING: Final = 16 << 20

_OFFLOADS: Final = (
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
    TUN_F_CSUM,
)


def attach(name: str, kind: int, header: int) -> tuple[int, int, int, int]:
    """A descriptor of device ``name``, which is created if absent and allowed.

    ``kind``    IFF_TAP or IFF_TUN
    ``header``  bytes of virtio_net_hdr to ask for, 0 for plain frames
    Returns the descriptor, the bytes of virtio_net_hdr there are, the TUN_F_* agreed to, and the
    descriptor of `KernelThread`'s switch or -1; raises DeviceError, which says what to do.
    """
    if not hasattr(os, "readv") or fcntl is None:
        raise DeviceError("TAP and TUN devices need Linux; worlds in virtual time work anywhere")
    check_name(name)
    if header and cores() > 1 and switches():
        with contextlib.suppress(DeviceError):
            return *_attach(name, kind | IFF_NAPI, header), open_switch(name)
    return *_attach(name, kind, header), -1


def _attach(name: str, kind: int, header: int) -> tuple[int, int, int]:
    fd = _open_clone_device()
    try:
        vnet = header > 0 and bool(_features(fd) & IFF_VNET_HDR)
        if not _set_interface(fd, name, kind, vnet):
            return fd, 0, 0
        if kind & IFF_NAPI:
            fcntl.ioctl(fd, TUNSETSNDBUF, struct.pack("i", _WAITING))
        return fd, _set_header(fd, header), _set_offload(fd)
    except BaseException:
        os.close(fd)
        raise


def check_name(name: str) -> None:
    """Raise DeviceError if the kernel cannot have an interface of this name."""
    if not name or len(name.encode()) > NAME_MAX:
        raise DeviceError(f"{name!r}: a device name has 1 to {NAME_MAX} characters")
    if name in (".", "..") or any(c in "/:%" or c.isspace() for c in name):
        raise DeviceError(f"{name!r}: a device name has no spaces, slashes, colons or %")


def _open_clone_device() -> int:
    try:
        return os.open(CLONE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DeviceError(
            f"{CLONE_DEVICE} is missing: load the driver with `sudo modprobe tun`, or in a"
            " container pass `--device /dev/net/tun`"
        ) from None
    except PermissionError:
        raise DeviceError(
            f"no permission to open {CLONE_DEVICE}: run as root, or let the administrator"
            f" `chmod 0666 {CLONE_DEVICE}` (creating devices still needs CAP_NET_ADMIN)"
        ) from None
    except OSError as error:
        raise DeviceError(
            f"{CLONE_DEVICE} cannot be opened ({error.strerror}): is the tun driver loaded?"
            " Try `sudo modprobe tun`"
        ) from None


def _features(fd: int) -> int:
    try:
        return int(struct.unpack("I", fcntl.ioctl(fd, TUNGETFEATURES, bytes(4)))[0])
    except OSError:
        return 0


def _set_interface(fd: int, name: str, kind: int, vnet: bool) -> bool:
    """TUNSETIFF, with less and less asked for; returns whether virtio headers are on."""
    attempts = [kind | IFF_NO_PI | IFF_VNET_HDR] if vnet else []
    if not kind & IFF_NAPI:  # which is for super-frames
        attempts.append(kind | IFF_NO_PI)
    attempts += [flags | IFF_MULTI_QUEUE for flags in attempts]
    last = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    for flags in attempts:
        try:
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            return bool(flags & IFF_VNET_HDR)
        except OSError as error:
            last = error
            if error.errno != errno.EINVAL:
                break
    raise _explain(last, name, "tap" if kind & IFF_TAP else "tun") from None


def _explain(error: OSError, name: str, word: str) -> DeviceError:
    """What a failed TUNSETIFF means and what to do about it."""
    make = f"`sudo ip tuntap add dev {name} mode {word} user $USER`"
    if error.errno == errno.EPERM:
        return DeviceError(
            f"no permission for {word} device {name}: let the administrator make it for you with"
            f" {make}, then `sudo ip link set {name} up`; or run with CAP_NET_ADMIN"
        )
    if error.errno == errno.EBUSY:
        return DeviceError(
            f"{word} device {name} is in use by another program: stop that one or choose another"
            " name"
        )
    if error.errno == errno.EINVAL:
        other = "tun" if word == "tap" else "tap"
        return DeviceError(
            f"{name} exists and is not a {word} device: choose another name, or --{other} {name}"
            " if it is one"
        )
    return DeviceError(f"{word} device {name} cannot be attached: {error.strerror}")


def _set_header(fd: int, header: int) -> int:
    """Ask for the header size; the kernel's default of 10 if it has no choice to offer."""
    try:
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", header))
    except OSError:
        return 10
    return header


def _set_offload(fd: int) -> int:
    """Tell the kernel what we take; returns what it agreed to."""
    for flags in _OFFLOADS:
        try:
            fcntl.ioctl(fd, TUNSETOFFLOAD, flags)
            return flags
        except OSError:
            continue
    return 0
