# SPDX-License-Identifier: Apache-2.0
"""Reading capture files: pcapng and pcap, either byte order, from a file or a stream of pieces.

The bytes are untrusted: what is no capture raises `CapasError` and nothing else, what one block
claims to hold is capped by `LARGEST`.  Frames come one by one; a long file is never held whole.
"""

from collections.abc import Iterable, Iterator
from struct import Struct, unpack_from
from typing import Final, NamedTuple, final

from capas.errors import CapasError

LARGEST: Final = 16 << 20  # bytes of one block
INTERFACES: Final = 65_536  # of one section

_SECTION: Final = 0x0A0D0D0A
_ORDER: Final = 0x1A2B3C4D
_INTERFACE: Final = 1
_SIMPLE: Final = 3
_PACKET: Final = 6
_COMMENT: Final = 1  # option
_NAME: Final = 2
_RESOLUTION: Final = 9
_FLAGS: Final = 2
_MAGICS: Final = {  # of pcap, by its first four bytes: (byte order, ns in one unit of a fraction)
    b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\xc3\xd4": (">", 1000), b"\xa1\xb2\x3c\x4d": (">", 1),
}  # fmt: skip


class Captured(NamedTuple):
    """One packet of a file."""

    time: int  # ns since 1970
    data: bytes
    length: int  # on the wire; more than ``data`` if it was cut
    linktype: int  # 1 Ethernet, 101 IP, ...
    interface: str = ""
    outgoing: bool | None = None
    comments: tuple[str, ...] = ()


@final
class _Pieces:
    """Bytes that come in pieces, read by counts."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._buffer = bytearray()

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        while len(self._buffer) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._buffer += piece
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found


def read(pieces: Iterable[bytes]) -> Iterator[Captured]:
    """The packets; CapasError if the bytes are no capture."""
    source = _Pieces(pieces)
    magic = source.take(4)
    if magic in _MAGICS:
        yield from _pcap(source, *_MAGICS[magic])
    elif magic == _SECTION.to_bytes(4, "big"):
        yield from _pcapng(source)
    elif magic[:2] == b"\x1f\x8b":
        raise CapasError("the capture file is compressed: `gunzip` it first")
    else:
        raise CapasError("neither pcapng nor pcap: not a capture file")


def _pcap(source: _Pieces, order: str, unit: int) -> Iterator[Captured]:
    header = source.take(20)
    if len(header) < 20:
        raise CapasError("the capture file ends in its header")
    linktype = Struct(order + "I").unpack_from(header, 16)[0] & 0xFFFF
    record = Struct(order + "IIII")
    while len(head := source.take(16)) == 16:
        seconds, fraction, kept, length = record.unpack(head)
        if kept > LARGEST:
            raise CapasError(f"the capture file is damaged: a packet of {kept} bytes")
        data = source.take(kept)
        yield Captured(seconds * 10**9 + fraction * unit, data, length, linktype)


@final
class _Port:
    """An interface block: what its packets need."""

    def __init__(self, linktype: int, name: str, resolution: int) -> None:
        self.linktype = linktype
        self.name = name
        # RFC draft: a power of ten, or of two if the highest bit is set
        self.per_second = 1 << (resolution & 127) if resolution & 128 else 10 ** min(resolution, 18)

    def nanoseconds(self, ticks: int) -> int:
        """The time of a packet."""
        return ticks * 10**9 // self.per_second


def _pcapng(source: _Pieces) -> Iterator[Captured]:
    order = "<"
    ports: list[_Port] = []
    kind = _SECTION
    while True:
        head = source.take(8 if kind == _SECTION else 4)
        if kind == _SECTION:
            order = _order(head)
            ports = []
        (size,) = unpack_from(order + "I", head) if len(head) >= 4 else (0,)
        if not 12 <= size <= LARGEST or size % 4:
            raise CapasError(f"the capture file is damaged: a block of {size} bytes")
        rest = head[4:] + source.take(size - 4 - len(head))
        if len(rest) < size - 8:
            return  # cut off while it was written
        body = rest[:-4]
        if kind == _INTERFACE and len(body) >= 8 and len(ports) < INTERFACES:
            ports.append(_port(order, body))
        elif kind == _PACKET and len(body) >= 20:
            found = _packet(order, body, ports)
            if found is not None:
                yield found
        elif kind == _SIMPLE and len(body) >= 4 and ports:
            (length,) = unpack_from(order + "I", body)
            yield Captured(0, body[4 : 4 + length], length, ports[0].linktype, ports[0].name)
        following = source.take(4)
        if len(following) < 4:
            return
        (kind,) = unpack_from(order + "I", following)


def _order(head: bytes) -> str:
    """The byte order of a section, from its length and magic."""
    for order in "<>":
        if len(head) == 8 and unpack_from(order + "I", head, 4)[0] == _ORDER:
            return order
    raise CapasError("the capture file is damaged: a section without byte order")


def _options(order: str, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        code, size = unpack_from(order + "HH", data, at)
        if code == 0 or at + 4 + size > len(data):
            return
        yield code, data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4


def _port(order: str, body: bytes) -> _Port:
    (linktype,) = unpack_from(order + "H", body)
    name, resolution = "", 6
    for code, value in _options(order, body[8:]):
        if code == _NAME:
            name = value.decode("utf-8", "replace")
        elif code == _RESOLUTION and value:
            resolution = value[0]
    return _Port(linktype, name, resolution)


def _packet(order: str, body: bytes, ports: list[_Port]) -> Captured | None:
    number, high, low, kept, length = unpack_from(order + "IIIII", body)
    if number >= len(ports) or kept > len(body) - 20:
        return None
    port = ports[number]
    comments: list[str] = []
    outgoing: bool | None = None
    for code, value in _options(order, body[20 + kept + -kept % 4 :]):
        if code == _COMMENT:
            comments.append(value.decode("utf-8", "replace"))
        elif code == _FLAGS and len(value) == 4:
            outgoing = {1: False, 2: True}.get(unpack_from(order + "I", value)[0] & 3)
    return Captured(
        port.nanoseconds(high << 32 | low), body[20 : 20 + kept], length, port.linktype,
        port.name, outgoing, tuple(comments),
    )  # fmt: skip
