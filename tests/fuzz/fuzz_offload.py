# SPDX-License-Identifier: Apache-2.0
"""Offload work on frames whose facts and headers lie (a forwarded frame, a hostile peer).

The first seven bytes are the facts, the rest is the packet.
"""

from struct import Struct

from capas.base.frame import Frame
from capas.link.offload import complete, merge, split

FACTS = Struct("!BBBBHB")

TCP4 = bytes.fromhex(
    "4500007c0007400040060000c0000201c0000202"  # IPv4
    "03e8005000000001000000055018020000000000"  # TCP
) + bytes(84)
SEEDS = [
    FACTS.pack(1, 20, 16, 1, 20, 0) + TCP4,
    FACTS.pack(0, 20, 16, 1, 20, 0) + TCP4,
    FACTS.pack(2, 20, 16, 0, 0, 0) + TCP4,
    FACTS.pack(1, 40, 16, 4, 20, 0) + b"\x60\0\0\0\0\x3c\x06\x40" + bytes(32) + TCP4[20:],
    FACTS.pack(1, 20, 6, 5, 9, 0) + TCP4,
]


def test(data: bytes) -> None:
    if len(data) < FACTS.size:
        return
    csum, start, offset, kind, size, repeat = FACTS.unpack_from(data)
    packet = data[FACTS.size :]
    frame = Frame(packet, 0, csum % 3, start, offset, kind, size)
    complete(frame)
    for finish in (False, True):
        for part in split(frame, 0, finish=finish):
            complete(part)
    plain = Frame(packet, 0, csum % 3, start, offset)
    frames = [plain] * (repeat % 4) + [frame]
    assert len(merge(frames, 0)) <= len(frames)
