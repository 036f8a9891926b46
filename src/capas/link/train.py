# SPDX-License-Identifier: Apache-2.0
"""Trains: segments of one flow that arrived back to back, made one frame (GRO); the only such code.

A device reads frame after frame, each frame's headers into one small buffer, what follows them into
a large one, payload behind payload.  `Train` looks at the headers only and says whether the frame
continues what is there.  So the stack takes a batch from the device as one segment.

A frame joins if nothing is lost by it: plain TCP without IP options, extension headers or
fragments; ACK and perhaps PSH, no option but timestamps; the next sequence number; timestamps that
have not gone back; all other fields, link header included, as in the first; its IP length and IP
checksum right, its TCP checksum declared good by the device or verified here.  All else is handed
up by itself, as it came, to be judged in RFC order.  The timestamps of the first stand for all: the
next acknowledgement echoes just those (RFC 7323 §4.3), and what is newer passes PAWS if they do
(§5.3).  Of acknowledgements without data that advance one after the other, the last stands for all:
they are cumulative (RFC 9293 §3.4), and so is all that comes of it.

Budget: 4 us for the first frame, 0.9 us for each that joins, and where checksums are to be verified
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
#: From the IP length on: that, identification, checksum, then the TCP numbers; without IPv4: two.
_NUMBERS4: Final = Struct("!HH4xH12xLL").unpack_from
_NUMBERS6: Final = Struct("!H38xLL").unpack_from

# Zeros where the frames of a train may differ: IP length, identification and checksum; sequence
# number, PSH and TCP checksum; timestamps; for bare acknowledgements their number and window.
_IPV4: Final = b"\xff\xff" + bytes(4) + b"\xff" * 4 + bytes(2) + b"\xff" * 8
_IPV6: Final = b"\xff" * 4 + bytes(2) + b"\xff" * 34
_DATA: Final = b"\xff" * 4 + bytes(4) + b"\xff" * 5 + b"\xf7" + b"\xff" * 2 + bytes(2) + b"\xff" * 2
_BARE: Final = b"\xff" * 8 + bytes(4) + b"\xff" * 2 + bytes(4) + b"\xff" * 2


def _masks(l3: int, tail: bytes) -> dict[tuple[bool, int], int]:
    """The mask of headers with ``l3`` bytes before IP, by (is it IPv4?, length)."""
    masks = {}
    for ip in (_IPV4, _IPV6):
        for options in (b"", b"\xff" * 4 + bytes(8)):
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
        "_fixed",
        "_head",
        "_ip_sum",
        "_is_v4",
        "_l3",
        "_l4",
        "_mask",
        "_match",
        "_next",
        "_pseudo",
        "_push",
        "_size",
        "_stamp",
        "count",
        "wanted",
    )

    def __init__(self, l3: int, ethernet: bool) -> None:
        self._l3: int = l3
        self._ethernet: bool = ethernet
        self._data_masks = _masks(l3, _DATA)
        self._bare_masks = _masks(l3, _BARE)
        self._head: bytes = b""
        self._is_v4: bool = True
        self._l4: int = 0
        self._mask: int = 0
        self._match: int = 0
        self._next: int = 0
        self._pseudo: int = -1
        self._push: int = 0
        self._size: int = 0
        self._fixed: int = 0  # what the IP length counts besides payload
        self._ip_sum: int = 0  # what length, identification and checksum sum up to, IPv4
        self._stamp: int = -1  # TSval of the last frame, -1 without
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
        if not mask or (is_v4 and int.from_bytes(head[l3:l4], "big") % 65535):
            return False
        if not self._sums_hold(head, body):
            return False
        self._head = bytes(head)
        self._push = head[l4 + 13]
        self._size = n
        self._fixed = end - l3 if is_v4 else end - l4
        if is_v4:
            length, ident, check, _, _ = _NUMBERS4(head, l3 + 2)
            self._ip_sum = (length + ident + check) % 65535
        self._stamp = value >> 32 & _M32 if offset == 32 else -1
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
        """Whether TCP's checksum is right, if it has to be verified."""
        if self._pseudo < 0:
            return True
        l4 = self._l4
        start = self._pseudo + len(head) - l4 + len(body)
        return ones_sum(body, ones_sum(head[l4:], start)) == 0xFFFF

    def joins(self, head: bytearray, rest: memoryview, n: int) -> bool:
        """Whether a frame with ``rest[:n]`` behind its headers continues the train.

        It is part of it then.  One comparison of all that must not change, taken as a number.
        """
        value = int.from_bytes(head, "big")
        if value & self._mask != self._match:
            return False
        if self._is_v4:
            length, ident, check, seq, ack = _NUMBERS4(head, self._l3 + 2)
            # all else in the IP header is as in the first, whose checksum is right
            if (length + ident + check) % 65535 != self._ip_sum:
                return False
        else:
            length, seq, ack = _NUMBERS6(head, self._l3 + 4)
        if length != self._fixed + n:
            return False
        stamp = self._stamp
        if stamp >= 0:
            newer = (value >> 32) - stamp & _M32
            if newer >= 0x80000000:
                return False
            stamp = stamp + newer & _M32
        if self._size:
            if seq != self._next or not n:
                return False
            if self._pseudo >= 0 and not self._sums_hold(head, rest[:n]):
                return False
            self._next = (seq + n) & _M32
            self._push |= head[self._l4 + 13]
        else:
            if n or not 0 < (ack - self._next) & _M32 < 0x80000000:
                return False
            if self._pseudo >= 0 and not self._sums_hold(head, rest[:0]):
                return False
            self._next = ack
            self._head = bytes(head)
        self._stamp = stamp
        self.count += 1
        return True

    def is_of(self, key: bytes, seq: int) -> bool:
        """Whether the train is the connection's with this demultiplexing key, and goes on there."""
        head, l4 = self._head, self._l4
        start = self._l3 + 12 if self._is_v4 else self._l3 + 8
        return head[start : l4 + 4] == key and _LL.unpack_from(head, l4 + 4)[0] == seq

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
