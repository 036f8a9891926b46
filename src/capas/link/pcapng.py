# SPDX-License-Identifier: Apache-2.0
"""Capture files: pcapng blocks from frames, and a tap with tracers that fills them.

The format is draft-ietf-opsawg-pcapng (no RFC yet), little-endian, with nanoseconds.  The same
calls give the same bytes, on every machine and Python.  Each frame is written as a wire that
finishes checksums would show it: CSUM_PARTIAL is completed first, a super-frame stays one packet
(as tcpdump shows it) with a comment about its segments.

What a host decided (`HostTrace.decided`) becomes a comment on the next frame it sends; why it
dropped a frame (`HostTrace.dropped`) one on the frame it received last.  A dropped note comes after
its frame was captured, so records wait until time moves on: a host deals with a frame at one
instant.  Order in the file is the order of capture.  Bounds: `HELD_RECORDS` and `HELD_BYTES`
waiting, `NOTES` per frame and host; beyond them the oldest records are written without waiting.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final, final

from capas.base.clock import MS
from capas.base.events import Tracer
from capas.base.frame import CSUM_PARTIAL, GSO_ECN, GSO_UDP_L4, Frame
from capas.link.interface import Interface
from capas.link.link import Medium
from capas.link.offload import complete

SECTION: Final = 0x0A0D0D0A  # block types
INTERFACE: Final = 1
NAMES: Final = 4
PACKET: Final = 6
SECRETS: Final = 10
TLS_KEY_LOG: Final = 0x544C534B  # secrets type "TLSK"

LINKTYPE_ETHERNET: Final = 1
LINKTYPE_RAW: Final = 101  # an IPv4 or IPv6 header comes first
SNAPLEN: Final = 262_144  # bytes, tcpdump's default; no frame is longer

OPT_END: Final = 0
OPT_COMMENT: Final = 1
SHB_USERAPPL: Final = 4
IF_NAME: Final = 2
IF_TSRESOL: Final = 9
EPB_FLAGS: Final = 2
INBOUND: Final = 1
OUTBOUND: Final = 2

_COMMENT_MAX: Final = 1000  # bytes of one comment; the format allows 65,535

_BLOCK: Final = Struct("<II")
_LENGTH: Final = Struct("<I")
_SECTION: Final = Struct("<IHHq")
_INTERFACE: Final = Struct("<HHI")
_PACKET: Final = Struct("<IIIIIII")
_OPTION: Final = Struct("<HH")
_FLAGS: Final = Struct("<HHI")
_SECRETS: Final = Struct("<II")
_PAD: Final = (b"", b"\0\0\0", b"\0\0", b"\0")  # by length modulo 4

HELD_RECORDS: Final = 4096
HELD_BYTES: Final = 16 << 20
NOTES: Final = 16  # comments on one frame
NOTE_AGE: Final = 100 * MS  # a decision older than this is not about the next frame


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value + _PAD[len(value) & 3]


def _comment(text: str) -> bytes:
    return _option(OPT_COMMENT, text.encode()[:_COMMENT_MAX].decode(errors="ignore").encode())


def _block(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body) + 12
    return b"".join((_BLOCK.pack(kind, size), body, _LENGTH.pack(size)))


def offload_note(frame: Frame) -> str:
    """What a super-frame becomes on the wire, for people; "" for an ordinary frame."""
    if not frame.gso_type or not frame.gso_size:
        return ""
    kind = "UDP datagrams" if frame.gso_type & ~GSO_ECN == GSO_UDP_L4 else "TCP segments"
    note = f"super-frame: {kind} of {frame.gso_size} bytes"
    return note + ", checksum left to the link" if frame.csum == CSUM_PARTIAL else note


@final
class CaptureWriter:
    """Writes one section.

    ``write``     takes bytes, a block at a time
    ``comment``   about the whole file
    ``hardware``  shb_hardware, for example the world's name; "" leaves it out
    ``epoch``     ns since 1970 of time 0
    """

    __slots__ = ("epoch", "interfaces", "write")

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        comment: str = "",
        hardware: str = "",
        epoch: int = 0,
    ) -> None:
        self.write: Callable[[bytes], object] = write
        self.epoch: int = epoch
        self.interfaces: int = 0
        parts = [_SECTION.pack(0x1A2B3C4D, 1, 0, -1)]
        if comment:
            parts.append(_comment(comment))
        if hardware:
            parts.append(_option(2, hardware.encode()[:_COMMENT_MAX]))
        parts.append(_option(SHB_USERAPPL, b"capas"))
        write(_block(SECTION, *parts, bytes(4)))

    def add_interface(self, name: str, medium: Medium, comment: str = "") -> int:
        """Describe one more interface; returns its id for `packet`."""
        linktype = LINKTYPE_ETHERNET if medium is Medium.ETHERNET else LINKTYPE_RAW
        parts = [_INTERFACE.pack(linktype, 0, SNAPLEN), _option(IF_NAME, name.encode())]
        if comment:
            parts.append(_comment(comment))
        self.write(_block(INTERFACE, *parts, _option(IF_TSRESOL, b"\x09"), bytes(4)))
        self.interfaces += 1
        return self.interfaces - 1

    def packet(
        self,
        interface_id: int,
        frame: Frame,
        now: int,
        outgoing: bool,
        comments: Sequence[str] = (),
    ) -> None:
        """Write a frame captured at ``now`` (ns), with its checksum finished."""
        data = complete(frame).data
        size = len(data)
        kept = data[:SNAPLEN]
        pad = _PAD[len(kept) & 3]
        options = [_FLAGS.pack(EPB_FLAGS, 4, OUTBOUND if outgoing else INBOUND)]
        if frame.gso_type:
            note = offload_note(frame)
            if note:
                options.append(_comment(note))
        for comment in comments:
            options.append(_comment(comment))
        tail = b"".join(options)
        total = 28 + len(kept) + len(pad) + len(tail) + 4 + 4
        time = self.epoch + now
        head = _PACKET.pack(
            PACKET, total, interface_id, time >> 32 & 0xFFFFFFFF, time & 0xFFFFFFFF, len(kept), size
        )
        self.write(b"".join((head, kept, pad, tail, bytes(4), _LENGTH.pack(total))))

    def secrets(self, keylog: bytes) -> None:
        """Write TLS secrets (SSLKEYLOGFILE lines) for the packets that follow."""
        pad = _PAD[len(keylog) & 3]
        self.write(_block(SECRETS, _SECRETS.pack(TLS_KEY_LOG, len(keylog)), keylog, pad))

    def names(self, names: Iterable[tuple[bytes, str]]) -> None:
        """Write what addresses are called, so that readers show names."""
        records: list[bytes] = []
        for address, name in names:
            value = address + name.encode() + b"\0"
            records.append(_option(1 if len(address) == 4 else 2, value))
        self.write(_block(NAMES, *records, bytes(4)))


@final
class Record:
    """A captured frame that may still get comments."""

    __slots__ = ("comments", "frame", "interface_id", "outgoing", "time")

    def __init__(self, interface_id: int, frame: Frame, time: int, outgoing: bool) -> None:
        self.interface_id: int = interface_id
        self.frame: Frame = frame
        self.time: int = time
        self.outgoing: bool = outgoing
        self.comments: list[str] = []


@final
class HostTrace:
    """The `Tracer` of one host; ``then`` hears everything as well."""

    __slots__ = ("name", "noted", "notes", "received", "then")

    def __init__(self, name: str, then: Tracer | None = None) -> None:
        self.name: str = name
        self.then: Tracer | None = then
        self.notes: list[str] = []  # decided, waiting for a frame to be sent
        self.noted: int = 0  # ns, when the last of them was
        self.received: Record | None = None  # the frame being received

    def dropped(self, now: int, counter: str, clause: str) -> None:
        """The frame received last was dropped, or a part of it."""
        record = self.received
        if record is not None and record.time == now and len(record.comments) < NOTES:
            record.comments.append(
                f"dropped: {counter} ({clause})" if clause else f"dropped: {counter}"
            )
        if self.then is not None:
            self.then.dropped(now, counter, clause)

    def decided(self, now: int, event: str, text: str) -> None:
        """Something that concerns the next frame sent."""
        if now - self.noted > NOTE_AGE:
            self.notes.clear()
        self.noted = now
        if len(self.notes) < NOTES:
            self.notes.append(f"{event}: {text}" if text else event)
        if self.then is not None:
            self.then.decided(now, event, text)

    def take(self, now: int) -> list[str]:
        """The notes for a frame sent at ``now``."""
        notes = self.notes
        if not notes:
            return notes
        self.notes = []
        return notes if now - self.noted <= NOTE_AGE else []


@final
class Capture:
    """The `Tap` of any number of interfaces, into one file.

    Close it at the end: the last records wait for comments until then.
    """

    def __init__(self, writer: CaptureWriter) -> None:
        self.writer: CaptureWriter = writer
        self.traces: dict[str, HostTrace] = {}
        self._ports: dict[Interface, tuple[int, HostTrace | None]] = {}
        self._held: deque[Record] = deque()
        self._held_bytes: int = 0

    def tracer(self, host_name: str, then: Tracer | None = None) -> HostTrace:
        """The tracer to give to a host, which may pass everything on to ``then``."""
        trace = self.traces.get(host_name)
        if trace is None:
            trace = self.traces[host_name] = HostTrace(host_name)
        if then is not None and then is not trace:
            trace.then = then
        return trace

    def watch(self, interface: Interface, host_name: str) -> None:
        """Capture ``interface``, named "host:interface" in the file."""
        if interface not in self._ports:
            self._register(interface, f"{host_name}:{interface.name}", self.tracer(host_name))
        interface.taps.append(self)

    def captured(self, interface: Interface, frame: Frame, outgoing: bool, now: int) -> None:
        """A frame passed ``interface``."""
        port = self._ports.get(interface)
        if port is None:
            trace = interface.trace if isinstance(interface.trace, HostTrace) else None
            name = f"{trace.name}:{interface.name}" if trace is not None else interface.name
            port = self._register(interface, name, trace)
        interface_id, trace = port
        self._settle(now)
        record = Record(interface_id, frame, now, outgoing)
        if trace is not None:
            if outgoing:
                record.comments.extend(trace.take(now))
            else:
                trace.received = record
        self._hold(record)

    def packet(
        self, interface_id: int, frame: Frame, now: int, outgoing: bool, comment: str = ""
    ) -> None:
        """A frame of something that is no `Interface` (a switch port, a wire), in its turn."""
        self._settle(now)
        record = Record(interface_id, frame, now, outgoing)
        if comment:
            record.comments.append(comment)
        self._hold(record)

    def secrets(self, keylog: bytes) -> None:
        """TLS secrets of the packets from here on."""
        self.flush()
        self.writer.secrets(keylog)

    def flush(self) -> None:
        """Write all that waits; later notes do not reach it any more."""
        while self._held:
            self._write_oldest()
        self._held_bytes = 0

    def close(self) -> None:
        """The end: write all."""
        self.flush()

    def _register(
        self, interface: Interface, name: str, trace: HostTrace | None
    ) -> tuple[int, HostTrace | None]:
        port = (self.writer.add_interface(name, interface.caps.medium), trace)
        self._ports[interface] = port
        return port

    def _settle(self, now: int) -> None:
        """Write what belongs to earlier instants."""
        held = self._held
        while held and held[0].time < now:
            self._write_oldest()

    def _hold(self, record: Record) -> None:
        held = self._held
        held.append(record)
        self._held_bytes += len(record.frame.data)
        while len(held) > HELD_RECORDS or self._held_bytes > HELD_BYTES:
            self._write_oldest()

    def _write_oldest(self) -> None:
        record = self._held.popleft()
        self._held_bytes -= len(record.frame.data)
        self.writer.packet(
            record.interface_id, record.frame, record.time, record.outgoing, record.comments
        )
