# SPDX-License-Identifier: Apache-2.0
"""Trains: segments of one flow that arrived back to back, made one frame (GRO); the only such code.

A device reads frame after frame, each frame's headers into one small buffer, what follows them into
a large one, payload behind payload.  `Train` looks at the headers only and says whether the frame
continues what is there.  So the stack takes a batch from the device as one segment.

A frame joins if nothing is lost by it: plain TCP without IP options, extension headers or
fragments; ACK and perhaps PSH, no option but timestamps; the next sequence number; all other
fields, link header and timestamps included, as in the first; its IP length and IP checksum right,
its TCP checksum declared good by the device or verified here.  All else is handed up by itself, as
it came, to be judged in RFC order.  Of acknowledgements without data that advance one after the
other, the last stands for all: they are cumulative (RFC 9293 §3.4), and so is all that comes of it.

Budget: 4 us for the first frame, 1 us for each that joins, and where checksums are to be verified
1.5 us for 1,460 bytes.  Bytes are untrusted.
"""

from struct import Struct
from typing import Final, final

from capas.base.checksum import Buffer, ones_sum
from capas.base.frame import CSUM_VALID, GSO_TCPV4, GSO_TCPV6, Frame
from capas.wire.ethernet import TYPE_IPV4, TYPE_IPV6
from capas.wire.tcp_options import TIMESTAMP_PREFIX

_ACK: Final = 0x10
_PSH: Final = 0x08
_TCP: Final = 6
_TIMESTAMPS: Final = 12  # bytes of options: two NOPs and timestamps (RFC 7323 appendix A)
_TYPE4: Final = TYPE_IPV4.to_bytes(2, "big")
_TYPE6: Final = TYPE_IPV6.to_bytes(2, "big")
_M32: Final = 0xFFFFFFFF
_H: Final = Struct("!H")
_HHH: Final = Struct("!HHH")
_LL: Final = Struct("!LL")

# Zeros where the frames of a train may differ: IP length, identification and checksum; sequence
# number, PSH and TCP checksum; for bare acknowledgements their number, window and timestamps.
_IPV4: Final = b"\xff\xff" + bytes(4) + b"\xff" * 4 + bytes(2) + b"\xff" * 8
_IPV6: Final = b"\xff" * 4 + bytes(2) + b"\xff" * 34
_DATA: Final = b"\xff" * 4 + bytes(4) + b"\xff" * 5 + b"\xf7" + b"\xff" * 2 + bytes(2) + b"\xff" * 2
_BARE: Final = b"\xff" * 8 + bytes(4) + b"\xff" * 2 + bytes(4) + b"\xff" * 2


def _masks(l3: int, tail: bytes, option: bytes) -> dict[tuple[bool, int], int]:
    """The mask of headers with ``l3`` bytes before IP, by (is it IPv4?, length)."""
    masks = {}
    for ip in (_IPV4, _IPV6):
        for options in (b"", b"\xff" * 4 + option * 8):
            mask = b"\xff" * l3 + ip + tail + options
            masks[ip is _IPV4, len(mask)] = int.from_bytes(mask, "big")
    return masks


@final
class Train:
    """What has been gathered since `begin`; headers are ``l3`` bytes and then IP and TCP.

    ``count``   frames joined
    ``wanted``  how long the headers of the flow seen last are, 0 if not known
    """

    __slots__ = (
        "_bare_masks",
        "_data_masks",
        "_ethernet",
        "_head",
        "_is_v4",
        "_l3",
        "_l4",
        "_mask",
        "_match",
        "_next",
        "_pseudo",
        "_push",
        "_size",
        "count",
        "wanted",
    )

    def __init__(self, l3: int, ethernet: bool) -> None:
        self._l3: int = l3
        self._ethernet: bool = ethernet
        self._data_masks = _masks(l3, _DATA, b"\xff")
        self._bare_masks = _masks(l3, _BARE, b"\0")
        self._head: bytes = b""
        self._is_v4: bool = True
        self._l4: int = 0
        self._mask: int = 0
        self._match: int = 0
        self._next: int = 0
        self._pseudo: int = -1
        self._push: int = 0
        self._size: int = 0
        self.count: int = 0
        self.wanted: int = 0

    def begin(self, head: bytearray, body: memoryview, verify: bool) -> bool:
        """Whether a frame may be the first of a train; ``verify``: nobody has checked its sum.

        If False and ``wanted`` is not ``len(head)``, the next frame's headers should be read so
        long.
        """
        l3 = self._l3
        n = len(body)
        self.count = 0
        self._is_v4 = is_v4 = head[l3] == 0x45
        self._l4 = l4 = l3 + 20 if is_v4 else l3 + 40
        end = len(head)
        if end < l4 + 20:  # IPv6 behind IPv4: so long, if with timestamps
            self.wanted = l4 + 20 + _TIMESTAMPS
            return False
        if not self._plain(head, end + n):
            return False
        offset = head[l4 + 12] >> 4 << 2
        if n:
            self.wanted = l4 + offset
        if l4 + offset != end or head[l4 + 13] & ~_PSH != _ACK:
            return False
        if offset == 32 and head[l4 + 20 : l4 + 24] != TIMESTAMP_PREFIX:
            return False
        self._mask = mask = (self._data_masks if n else self._bare_masks).get((is_v4, end), 0)
        value = int.from_bytes(head, "big")
        self._match = value & mask
        seq, ack = _LL.unpack_from(head, l4 + 4)
        self._next = (seq + n) & _M32 if n else ack
        self._pseudo = -1
        if verify:
            self._pseudo = ones_sum(head[l3 + 12 : l4] if is_v4 else head[l3 + 8 : l4], _TCP)
        if not mask or not self._sums_hold(head, body):
            return False
        self._head = bytes(head)
        self._push = head[l4 + 13]
        self._size = n
        self.count = 1
        return True

    def _plain(self, head: bytearray, end: int) -> bool:
        """Whether the headers are those of one whole TCP packet that ends at ``end``."""
        l3 = self._l3
        if self._ethernet and head[l3 - 2 : l3] != (_TYPE4 if self._is_v4 else _TYPE6):
            return False
        if self._is_v4:
            total, _, fragment = _HHH.unpack_from(head, l3 + 2)
            return head[l3 + 9] == _TCP and not fragment & 0xBFFF and l3 + int(total) == end
        if head[l3] >> 4 != 6 or head[l3 + 6] != _TCP:
            return False
        return l3 + 40 + int(_H.unpack_from(head, l3 + 4)[0]) == end

    def _sums_hold(self, head: bytearray, body: Buffer) -> bool:
        """Whether the IPv4 checksum is right, and TCP's, if it has to be verified."""
        l3, l4 = self._l3, self._l4
        if self._is_v4 and int.from_bytes(head[l3:l4], "big") % 65535:
            return False
        if self._pseudo < 0:
            return True
        start = self._pseudo + len(head) - l4 + len(body)
        return ones_sum(body, ones_sum(head[l4:], start)) == 0xFFFF

    def joins(self, head: bytearray, body: memoryview) -> bool:
        """Whether a frame continues the train; it is part of it then."""
        value = int.from_bytes(head, "big")
        if value & self._mask != self._match:
            return False
        n = len(body)
        l3, l4 = self._l3, self._l4
        length = l3 + 2 if self._is_v4 else l3 + 4
        if _H.unpack_from(head, length)[0] != len(head) + n - (l3 if self._is_v4 else l4):
            return False
        seq, ack = _LL.unpack_from(head, l4 + 4)
        if self._size:
            if seq != self._next or not n or not self._sums_hold(head, body):
                return False
            self._next = (seq + n) & _M32
            self._push |= head[l4 + 13]
        else:
            if n or not 0 < (ack - self._next) & _M32 < 0x80000000:
                return False
            if not self._sums_hold(head, body):
                return False
            self._next = ack
            self._head = bytes(head)
        self.count += 1
        return True

    def frame(self, skip: int, body: Buffer, segment: int, now: int) -> Frame:
        """The train as one frame, without the first ``skip`` bytes of the headers.

        ``body`` is the payload of all, ``segment`` the payload of a wire segment, 0: of the first.
        """
        head = self._head[skip:]
        if not body:
            return Frame(head, now, CSUM_VALID)
        l3, l4 = self._l3 - skip, self._l4 - skip
        flags = bytes((self._push,))
        if self._is_v4:
            ip = head[l3 : l3 + 2] + _H.pack(len(head) - l3) + head[l3 + 4 : l3 + 10]
            ip += bytes(2) + head[l3 + 12 : l4]
            check = (-int.from_bytes(ip, "big")) % 65535
            ip = ip[:10] + _H.pack(check) + ip[12:]
            kind = GSO_TCPV4
        else:
            ip = head[l3 : l3 + 4] + _H.pack(len(head) - l4) + head[l3 + 6 : l4]
            kind = GSO_TCPV6
        data = b"".join((head[:l3], ip, head[l4 : l4 + 13], flags, head[l4 + 14 :]))
        return Frame(data, now, CSUM_VALID, 0, 0, kind, segment or self._size, 0, (body,))
