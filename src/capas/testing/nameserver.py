# SPDX-License-Identifier: Apache-2.0
"""A DNS server for tests: A and AAAA of the names of a world (RFC 1034, 1035, 3596).

It is a blocking program on a host of the world, so that names are asked for by real datagrams,
which faults can lose, hold and delay.  Received bytes are untrusted: nonsense gets no answer.
"""

import socket as std
from collections.abc import Mapping
from struct import Struct
from typing import Final

from capas.sockets.socket import Socket

PORT: Final = 53
TTL: Final = 5  # seconds
_HEADER: Final = Struct("!6H")
_RR: Final = Struct("!HHHIH")
_KINDS: Final = {1: 4, 28: 16}  # A, AAAA -> bytes of an address


def question(data: bytes) -> tuple[str, int, int] | None:
    """(name, type, end) of the one question of a query; None if it is malformed."""
    if len(data) < 12:
        return None
    _, flags, questions, _, _, _ = _HEADER.unpack_from(data)
    if flags & 0xF800 or questions != 1:
        return None
    labels: list[str] = []
    at = 12
    while at < len(data) and data[at]:
        length = data[at]
        if length > 63 or at + 1 + length >= len(data) or len(labels) > 127:
            return None
        labels.append(data[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    if at + 5 > len(data) or data[at + 3 : at + 5] != b"\x00\x01":
        return None
    return ".".join(labels).lower(), data[at + 1] << 8 | data[at + 2], at + 5


def answer(data: bytes, names: Mapping[str, list[bytes]]) -> bytes | None:
    """The response to a query; None if there is none."""
    asked = question(data)
    if asked is None:
        return None
    name, kind, end = asked
    found = names.get(name)
    size = _KINDS.get(kind, 0)
    records = [address for address in found or () if len(address) == size]
    number = data[0] << 8 | data[1]
    flags = 0x8580 if found is not None else 0x8583  # response, authoritative, recursion; NXDOMAIN
    parts = [_HEADER.pack(number, flags, 1, len(records), 0, 0), data[12:end]]
    for address in records:
        parts += [_RR.pack(0xC00C, kind, 1, TTL, size), address]
    return b"".join(parts)


def serve(names: Mapping[str, list[bytes]]) -> None:
    """Answer questions for ever, on the current host."""
    with Socket(std.AF_INET, std.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", PORT))
        while True:
            data, peer = sock.recvfrom(4096)
            response = answer(data, names)
            if response is not None:
                sock.sendto(response, peer)
