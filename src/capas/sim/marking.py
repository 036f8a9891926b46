# SPDX-License-Identifier: Apache-2.0
"""Congestion Experienced on a frame, by whatever queue it stands in (RFC 3168 §5).

The bytes come from a host and are not trusted: anything that is not ECN-capable IP is left alone.
"""

from capas.base.checksum import update
from capas.base.frame import Frame
from capas.sim.trains import network_offset


def ecn_of(frame: Frame) -> int:
    """The ECN field (0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE); 0 for anything but IP."""
    data = frame.data
    l3 = network_offset(frame)
    if len(data) < l3 + 20:
        return 0
    version = data[l3] >> 4
    ethertype = data[l3 - 2 : l3]
    if version == 4 and ethertype == b"\x08\x00":
        return data[l3 + 1] & 3
    if version == 6 and ethertype == b"\x86\xdd":
        return (data[l3 + 1] >> 4) & 3
    return 0


def mark_ce(frame: Frame) -> Frame | None:
    """The frame with CE set; None if its transport does not understand ECN."""
    codepoint = ecn_of(frame)
    if codepoint == 0:
        return None
    if codepoint == 3:
        return frame
    data = bytearray(frame.data)
    l3 = network_offset(frame)
    if data[l3] >> 4 == 6:
        data[l3 + 1] |= 0x30
    else:
        old = int.from_bytes(data[l3 : l3 + 2], "big")
        checksum = int.from_bytes(data[l3 + 10 : l3 + 12], "big")
        data[l3 + 1] |= 3
        data[l3 + 10 : l3 + 12] = update(checksum, old, old | 3).to_bytes(2, "big")
    return frame.with_data(bytes(data))
