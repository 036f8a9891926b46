# SPDX-License-Identifier: Apache-2.0
"""Super-frames seen as trains: how many packets, how long each header.

Only sizes are computed here; taking a train apart is `capas.link.offload.split`.
"""

from typing import Final

from capas.base.frame import CSUM_PARTIAL, GSO_UDP_L4, Frame
from capas.link.offload import transport_offset

ETHERNET_OVERHEAD: Final = 24  # preamble 8, FCS 4, gap 12: bytes per frame beside the header
ETHERNET_MINIMUM: Final = 60  # bytes of a frame without FCS


def header_length(frame: Frame) -> int:
    """Bytes of link, network and transport header of a super-frame, repeated in each packet."""
    if frame.csum == CSUM_PARTIAL:
        start = frame.csum_start
    else:
        start = transport_offset(frame.data, network_offset(frame))
    if frame.gso_type == GSO_UDP_L4:
        return start + 8
    return start + (frame.data[start + 12] >> 4) * 4


def packets_of(frame: Frame) -> tuple[int, int]:
    """(packets, header bytes each) of a frame; (1, 0) when it is no train."""
    size = frame.gso_size
    if not size:
        return 1, 0
    header = header_length(frame)
    payload = len(frame.data) - header
    return (1, 0) if payload <= size else ((payload + size - 1) // size, header)


def network_offset(frame: Frame) -> int:
    """Where the network header starts in an Ethernet frame: after up to two VLAN tags."""
    data = frame.data
    offset = 12
    for _ in range(2):
        if data[offset : offset + 2] in (b"\x81\x00", b"\x88\xa8"):
            offset += 4
    return offset + 2
