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
from capas.link.link import GSO_MAX_BYTES, LinkCaps, Medium
from capas.link.offload import part, super_frames, wire_segments
from capas.real.attach import IFF_TAP, IFF_TUN, TUN_F_USO4, attach
from capas.real.device import Device, Landing
from capas.real.gather import READ_MAX, Facts, Gatherer
from capas.real.kthread import KernelThread
from capas.real.netdev import get_mtu, set_mtu, try_queue_length, try_up

#: Bytes TCP sends at once: a whole send buffer (tcp_wmem[2]) under one decision.
_TRAIN: Final = (4 << 20) + GSO_MAX_BYTES
#: Frames that may wait for us without super-frames: a whole receive window (tcp_rmem[2]).  The
#: kernel's 500 overflow silently when its TCP trusts the window.
_QUEUE: Final = 4500
VNET_NEEDS_CSUM: Final = 1  # VIRTIO_NET_HDR_F_NEEDS_CSUM
VNET_DATA_VALID: Final = 2  # VIRTIO_NET_HDR_F_DATA_VALID

#: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset: native byte order unless
#: TUNSETVNETLE/BE say otherwise.
_VNET: Final = struct.Struct("=BBHHHH")
_NO_FACTS: Final[Facts] = (CSUM_NONE, 0, 0, 0, 0)


class TunTap(Device):
    """A TAP or TUN device of the kernel this program runs on; use `open_tap` or `open_tun`.

    ``header``    bytes of virtio_net_hdr before each frame: 0, 10 or 12
    ``offloads``  TUN_F_* the kernel agreed to
    ``thread``    the kernel's that may take our frames, None: there is none
    """

    def __init__(
        self,
        fd: int,
        name: str,
        caps: LinkCaps,
        header: int,
        offloads: int,
        thread: KernelThread | None = None,
    ) -> None:
        super().__init__(name)
        self.caps = caps
        self.sink = None
        self.header: int = header
        self.offloads: int = offloads
        self.thread: KernelThread | None = thread
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
            frame = self._gatherer.read(self._fd, now, landing)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self._lost(error)
            return None
        thread = self.thread
        if thread is not None and frame is not None and (frame.body or thread.running):
            thread.came(len(frame), now)
        return frame

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
        if self.thread is not None:
            self.thread.close()
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
    if header not in (10, 12):
        raise ValueError("the virtio header has 10 or 12 bytes")
    fd, header, offloads, switch = attach(name, kind, header if offload else 0)
    vnet = header > 0
    try:
        if mtu:
            set_mtu(name, mtu)
        else:
            mtu = get_mtu(name)
        if not vnet:
            try_queue_length(name, _QUEUE)
        if up:
            try_up(name)
    except BaseException:
        os.close(fd)
        if switch >= 0:
            os.close(switch)
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
    thread = KernelThread(switch) if switch >= 0 else None
    return TunTap(fd, name, caps, header, offloads, thread)
