# SPDX-License-Identifier: Apache-2.0
"""Offload work on frames whose facts and headers lie (a forwarded frame, a hostile peer).

The first seven bytes are the facts, the rest is the packet.
"""

from struct import Struct

from capas.base.frame import Frame
from capas.link.offload import complete, split
from capas.link.train import Train

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
    FACTS.pack(1, 20, 16, 0, 0, 3) + b"\x45\0\0\x7c\0\0\x40\0\x40\6\xb6\x78" + TCP4[12:],
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
    for length in (len(packet) % 128, 40, 52, 60, 72):
        if 20 <= length <= len(packet):
            gather(packet, length, csum % 3 == 0, repeat % 4, size)


def gather(packet: bytes, length: int, verify: bool, repeat: int, size: int) -> None:
    """A train whose frames' headers, read as ``length`` bytes, begin with the packet's."""
    head, body = bytearray(packet[:length]), memoryview(packet)[length:]
    train = Train(0, False)
    if not train.begin(head, body, verify):
        return
    payload = bytes(body)
    seq = 24 if head[0] == 0x45 else 44
    for _ in range(repeat):
        after = int.from_bytes(head[seq : seq + 4], "big") + len(body) & 0xFFFFFFFF
        head[seq : seq + 4] = after.to_bytes(4, "big")
        if train.joins(head, body, len(body)):
            payload += body
    assert len(train.frame(0, payload, size, 0)) == length + len(payload)
