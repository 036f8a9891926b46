# SPDX-License-Identifier: Apache-2.0
"""Capture files: nothing but CapasError, and every packet has a line and fields."""

import io
import json
from contextlib import suppress
from struct import pack

from capas.base.frame import Frame
from capas.cli.dump_file import read
from capas.cli.dump_packet import Lines, Packet, fields
from capas.errors import CapasError
from capas.link.link import Medium
from capas.link.pcapng import CaptureWriter


def _pcapng(*frames: bytes) -> bytes:
    out = io.BytesIO()
    writer = CaptureWriter(out.write)
    writer.add_interface("eth0", Medium.ETHERNET)
    for frame in frames:
        writer.packet(0, Frame(frame, 0), 1, True, ("a note",))
    return out.getvalue()


MACS = bytes(12)
IP4 = bytes.fromhex("4500002c0000400040060000") + b"\n\0\0\1\n\0\0\2"
TCP = bytes.fromhex("0050c000000000010000000260120fff00000000020405b4")
IP6 = bytes.fromhex("60000000001c3aff") + bytes(32)
SEEDS = [
    _pcapng(MACS + b"\x08\0" + IP4 + TCP),
    _pcapng(MACS + b"\x86\xdd" + IP6 + b"\x87" + bytes(27), MACS + b"\x08\x06" + bytes(28)),
    pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101) + pack("<IIII", 1, 1, 44, 44) + IP4 + TCP,
]


def test(data: bytes) -> None:
    lines = Lines(link=True)
    with suppress(CapasError):
        for number, captured in enumerate(read([data])):
            packet = Packet(captured)
            assert lines.line(packet)
            json.dumps(fields(packet, number))
