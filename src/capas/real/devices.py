# SPDX-License-Identifier: Apache-2.0
"""TAP and TUN of Linux: the kernel's end of a cable, in frames and super-frames.

With ``IFF_VNET_HDR`` each read and write carries a ``struct virtio_net_hdr`` (virtio 1.2 §5.1.6.1)
whose fields are a `Frame`'s facts one to one: NEEDS_CSUM is CSUM_PARTIAL, DATA_VALID is CSUM_VALID,
gso_type and gso_size mean the same.  ``TUNSETOFFLOAD`` tells the kernel what we accept, so that
whole TCP (and UDP) trains of up to 64 KB come in one read.  Where the kernel refuses any of it, the
device's `LinkCaps` say less and the stack splits and sums by itself.

Units: bytes.  Offsets in the header count from the Ethernet header on TAP, from the IP header on
TUN, as in `Frame`.  Budget: one system call and one copy per frame, each way; for a super-frame of
a train no call of a Python function besides (`tests/perf`).
"""

import errno
import os
import struct
from collections.abc import Sequence
from typing import Final

from capas.base.checksum import Buffer
from capas.base.frame import (
    CSUM_NONE,
    CSUM_PARTIAL,
    CSUM_VALID,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    Frame,
)
from capas.errors import DeviceError
from capas.link.link import GSO_MAX_BYTES, LinkCaps, Medium
from capas.link.offload import part, super_frames, wire_segments
from capas.real.device import Device, Landing
from capas.real.gather import READ_MAX, Facts, Gatherer
from capas.real.netdev import get_mtu, set_mtu, try_queue_length, try_up

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
TUNSETVNETHDRSZ: Final = 0x400454D8
IFF_TUN: Final = 0x0001
IFF_TAP: Final = 0x0002
IFF_MULTI_QUEUE: Final = 0x0100
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000
TUN_F_CSUM: Final = 0x01
TUN_F_TSO4: Final = 0x02
TUN_F_TSO6: Final = 0x04
TUN_F_TSO_ECN: Final = 0x08
TUN_F_USO4: Final = 0x20
TUN_F_USO6: Final = 0x40

#: Bytes TCP sends at once: a whole send buffer (tcp_wmem[2]) under one decision.
_TRAIN: Final = (4 << 20) + GSO_MAX_BYTES
#: Frames that may wait for us without super-frames: a whole receive window (tcp_rmem[2]).  The
#: kernel's 500 overflow silently when its TCP trusts the window.
_QUEUE: Final = 4500
VNET_NEEDS_CSUM: Final = 1  # VIRTIO_NET_HDR_F_NEEDS_CSUM
VNET_DATA_VALID: Final = 2  # VIRTIO_NET_HDR_F_DATA_VALID
NAME_MAX: Final = 15  # IFNAMSIZ - 1

#: What we ask for, richest first; a kernel takes a whole set or refuses it.
_OFFLOADS: Final = (
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
    TUN_F_CSUM,
)

#: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset: native byte order unless
#: TUNSETVNETLE/BE say otherwise.
_VNET: Final = struct.Struct("=BBHHHH")
_NO_FACTS: Final[Facts] = (CSUM_NONE, 0, 0, 0, 0)


class TunTap(Device):
    """A TAP or TUN device of the kernel this program runs on; use `open_tap` or `open_tun`.

    ``header``    bytes of virtio_net_hdr before each frame: 0, 10 or 12
    ``offloads``  TUN_F_* the kernel agreed to
    """

    def __init__(self, fd: int, name: str, caps: LinkCaps, header: int, offloads: int) -> None:
        super().__init__(name)
        self.caps = caps
        self.sink = None
        self.header: int = header
        self.offloads: int = offloads
        self._fd: int = fd
        self._into = bytearray(header + READ_MAX)
        self._view = memoryview(self._into)
        l2 = 14 if caps.medium is Medium.ETHERNET else 0
        self._gatherer = Gatherer(header, l2, self._facts)
        self._plain = bytes(header)
        self._told: tuple[int, ...] = ()  # the facts in the header that was made last
        self._header = b""
        os.set_blocking(fd, False)

    def fileno(self) -> int:
        """The descriptor of /dev/net/tun, -1 once closed."""
        return self._fd

    def read(self, now: int) -> Frame | None:
        """One frame or super-frame with the facts the kernel told about it."""
        if self._gatherer.ahead():
            return self._gatherer.take_ahead(now)
        try:
            size = os.readv(self._fd, (self._into,))
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self._lost(error)
            return None
        header = self.header
        if size <= header:
            return None
        data = bytes(self._view[header:size])
        return Frame(data, now, *self._facts(self._into, size - header))

    def read_train(self, now: int, landing: Landing | None = None) -> Frame | None:
        """As `read`, but what arrived back to back of one flow comes as one frame."""
        try:
            return self._gatherer.read(self._fd, now, landing)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self._lost(error)
            return None

    def ahead(self) -> bool:
        """Whether a frame was read that belongs behind a train."""
        return self._gatherer.ahead()

    def _facts(self, header: bytearray, size: int) -> Facts:
        """What the virtio_net_hdr says about a frame of ``size`` bytes."""
        if self.header == 0:
            return _NO_FACTS
        flags, gso_type, _, gso_size, start, offset = _VNET.unpack_from(header)
        if flags & VNET_NEEDS_CSUM and start + offset + 2 <= size:
            return CSUM_PARTIAL, start, offset, gso_type, gso_size
        if flags & VNET_DATA_VALID:
            return CSUM_VALID, 0, 0, gso_type, gso_size
        return CSUM_NONE, 0, 0, gso_type, gso_size

    def transmit(self, frame: Frame) -> bool:
        """Write ``frame``; False only when the descriptor would block."""
        if self.header == 0:
            return self._write([(frame.data,)]) == 1
        plain = frame.csum == CSUM_NONE and frame.gso_type == 0
        before = self._plain if plain else self._vnet_header(frame)
        return self._write([(before, frame.data, *frame.body)]) == 1

    def transmit_train(self, frame: Frame, l3: int) -> tuple[int, list[Frame]]:
        """Write a train part by part, each with one call and no copy of payload."""
        if not self.caps.gso_types:
            segments = wire_segments(frame, l3)
            sent = self._write(segments)
            return sent, [Frame(b"".join(one), frame.time) for one in segments[sent:]]
        most = self.caps.gso_max
        if len(frame) - l3 <= most:
            return (1, []) if self.transmit(frame) else (0, [frame])
        alone = _VNET.pack(VNET_NEEDS_CSUM, 0, 0, 0, frame.csum_start, frame.csum_offset)
        alone = alone.ljust(self.header, b"\0")
        parts = super_frames(frame, l3, most, self._vnet_header(frame), alone)
        sent = self._write(parts)
        return sent, [part(frame, pieces) for pieces in parts[sent:]]

    def _write(self, frames: Sequence[Sequence[Buffer]]) -> int:
        """Write frames, how many, until the descriptor would block.

        One right behind the other: a receiver that has to wait for the next goes to sleep, and to
        wake it costs us more than the frame.
        """
        fd, writev = self._fd, os.writev
        sent = 0
        for pieces in frames:
            try:
                writev(fd, pieces)
            except BlockingIOError:
                self.busy = True
                break
            except OSError as error:
                self._refused(error)
            sent += 1
        return sent

    def _vnet_header(self, frame: Frame) -> bytes:
        """The virtio_net_hdr that says what ``frame`` says; super-frames of a flow share one."""
        start, gso_type, size = frame.csum_start, frame.gso_type, frame.gso_size
        length = 0
        if frame.csum != CSUM_PARTIAL:
            start = offset = 0
            flags = VNET_DATA_VALID if frame.csum == CSUM_VALID else 0
        else:
            offset, flags = frame.csum_offset, VNET_NEEDS_CSUM
            if gso_type:
                length = start + 8
                if gso_type != GSO_UDP_L4:
                    length = start + (frame.data[start + 12] >> 4) * 4
        facts = flags, gso_type, length, size, start, offset
        if facts != self._told:
            self._told = facts
            self._header = _VNET.pack(*facts).ljust(self.header, b"\0")
        return self._header

    def _refused(self, error: OSError) -> None:
        """A frame the kernel would not take is a frame lost on the wire."""
        if error.errno == errno.EIO:
            self.counters.add("device.down")  # the interface is not up
        elif error.errno in (errno.ENOBUFS, errno.ENOMEM):
            self.counters.add("device.no_buffers")
        else:
            self.counters.add("device.refused")
            if error.errno in (errno.EBADFD, errno.EBADF, errno.ENODEV):
                self.gone = True

    def _lost(self, error: OSError) -> None:
        """Reading failed: the device was deleted under us."""
        self.counters.add("device.read_error")
        if error.errno in (errno.EBADFD, errno.EBADF, errno.ENODEV, errno.EFAULT):
            self.gone = True

    def close(self) -> None:
        """Detach; a device made by `open_tap` or `open_tun` vanishes with it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_tap(
    name: str, *, offload: bool = True, header: int = 10, mtu: int = 0, up: bool = True
) -> TunTap:
    """Attach to TAP device ``name`` (Ethernet frames), creating it if absent and allowed.

    ``offload``  ask for virtio headers, checksums and super-frames
    ``header``   bytes of virtio_net_hdr, 10 or 12
    ``mtu``      set the device's MTU (needs rights); 0 takes the device's own
    ``up``       try to bring the device up
    """
    return _open(name, IFF_TAP, offload, header, mtu, up)


def open_tun(
    name: str, *, offload: bool = True, header: int = 10, mtu: int = 0, up: bool = True
) -> TunTap:
    """Attach to TUN device ``name`` (IP packets); arguments as for `open_tap`."""
    return _open(name, IFF_TUN, offload, header, mtu, up)


def _open(name: str, kind: int, offload: bool, header: int, mtu: int, up: bool) -> TunTap:
    word = "tap" if kind == IFF_TAP else "tun"
    if not hasattr(os, "readv") or fcntl is None:
        raise DeviceError("TAP and TUN devices need Linux; worlds in virtual time work anywhere")
    check_name(name)
    if header not in (10, 12):
        raise ValueError("the virtio header has 10 or 12 bytes")
    fd = _open_clone_device()
    try:
        vnet = offload and bool(_features(fd) & IFF_VNET_HDR)
        vnet = _set_interface(fd, name, kind, vnet, word)
        offloads = 0
        if vnet:
            header = _set_header(fd, header)
            offloads = _set_offload(fd)
        if mtu:
            set_mtu(name, mtu)
        elif not mtu:
            mtu = get_mtu(name)
        if not vnet:
            try_queue_length(name, _QUEUE)
        if up:
            try_up(name)
    except BaseException:
        os.close(fd)
        raise
    medium = Medium.ETHERNET if kind == IFF_TAP else Medium.IP
    gso: tuple[int, ...] = ()
    if vnet:
        # writing is the kernel's receive side: it takes TCP super-frames since virtio headers
        # exist, UDP ones since it offers USO
        gso = (GSO_TCPV4, GSO_TCPV6)
        if offloads & TUN_F_USO4:
            gso = (*gso, GSO_UDP_L4)
    train = _TRAIN if vnet else GSO_MAX_BYTES - 100  # without super-frames: all its headers fit too
    caps = LinkCaps(mtu, medium, vnet, gso, train=train)
    return TunTap(fd, name, caps, header if vnet else 0, offloads)


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


def _set_interface(fd: int, name: str, kind: int, vnet: bool, word: str) -> bool:
    """TUNSETIFF, with less and less asked for; returns whether virtio headers are on."""
    attempts = [kind | IFF_NO_PI]
    if vnet:
        attempts.insert(0, kind | IFF_NO_PI | IFF_VNET_HDR)
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
    raise _explain(last, name, word) from None


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
