# SPDX-License-Identifier: Apache-2.0
"""The frame: bytes on a link and the offload facts that travel with them.

The facts have the shape of the kernel's ``struct virtio_net_hdr`` (virtio 1.2 §5.1.6), so that one
super-frame means the same on a simulated wire and on ``/dev/net/tun``.  A frame's bytes never
change; whoever alters one builds another.
"""

from typing import Final, final

from capas.base.checksum import Buffer

#: The transport checksum is in the bytes and nobody has verified it.
CSUM_NONE: Final = 0
#: The checksum field holds the pseudo-header sum only; ``csum_start``/``csum_offset`` say where to
#: finish it (VIRTIO_NET_HDR_F_NEEDS_CSUM).  The data never left memory: a receiver trusts it.
CSUM_PARTIAL: Final = 1
#: Somebody below has verified the checksum (VIRTIO_NET_HDR_F_DATA_VALID).
CSUM_VALID: Final = 2

#: VIRTIO_NET_HDR_GSO_*: what a super-frame splits into.
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
GSO_UDP_L4: Final = 5
#: Bit beside TCPV4/TCPV6: the first segment carries CWR (RFC 3168 §6.1.2).
GSO_ECN: Final = 0x80


@final
class Frame:
    """One frame (or super-frame) on a link; immutable by convention.

    ``data``        the whole frame, contiguous (Ethernet header included where the medium has one)
    ``body``        TCP payload that follows ``data`` and is apart from it, in pieces: of a *train*,
                    many segments under one header, which may be longer than an IP packet can be.
                    Received, its IP length covers the headers alone.  Empty for all other
                    frames; only between an interface and a device that says so (`LinkCaps.train`,
                    `Interface.takes_trains`), so nobody else need know.
    ``time``        ns, when it arrived or left
    ``csum``        CSUM_NONE | CSUM_PARTIAL | CSUM_VALID
    ``csum_start``  offset in ``data`` where checksumming starts (CSUM_PARTIAL)
    ``csum_offset`` offset from ``csum_start`` of the checksum field
    ``gso_type``    GSO_*; ``gso_size``: payload bytes per wire segment (0 without GSO)
    ``mark``        free for tests and capture
    """

    __slots__ = (
        "body",
        "csum",
        "csum_offset",
        "csum_start",
        "data",
        "gso_size",
        "gso_type",
        "mark",
        "time",
    )

    def __init__(
        self,
        data: bytes,
        time: int = 0,
        csum: int = CSUM_NONE,
        csum_start: int = 0,
        csum_offset: int = 0,
        gso_type: int = GSO_NONE,
        gso_size: int = 0,
        mark: int = 0,
        body: tuple[Buffer, ...] = (),
    ) -> None:
        self.data: bytes = data
        self.body: tuple[Buffer, ...] = body
        self.time: int = time
        self.csum: int = csum
        self.csum_start: int = csum_start
        self.csum_offset: int = csum_offset
        self.gso_type: int = gso_type
        self.gso_size: int = gso_size
        self.mark: int = mark

    def __len__(self) -> int:
        """Bytes, the body's included."""
        size = len(self.data)
        for piece in self.body:
            size += len(piece)
        return size

    def joined(self) -> "Frame":
        """The same frame in one piece."""
        if not self.body:
            return self
        return self.with_data(b"".join((self.data, *self.body)))

    def with_data(self, data: bytes) -> "Frame":
        """The same facts about other bytes of the same layout (a forwarded header, say)."""
        return Frame(
            data,
            self.time,
            self.csum,
            self.csum_start,
            self.csum_offset,
            self.gso_type,
            self.gso_size,
            self.mark,
        )


@final
class Offload:
    """What a transport asks of the link for one packet; offsets count from the IP header's start.

    ``csum_start``  where the transport header starts; ``csum_offset`` of its checksum field, which
    already holds the folded pseudo-header sum.  ``gso_type``/``gso_size`` as in `Frame`.
    """

    __slots__ = ("csum_offset", "csum_start", "gso_size", "gso_type")

    def __init__(
        self, csum_start: int, csum_offset: int, gso_type: int = GSO_NONE, gso_size: int = 0
    ) -> None:
        self.csum_start: int = csum_start
        self.csum_offset: int = csum_offset
        self.gso_type: int = gso_type
        self.gso_size: int = gso_size
