# SPDX-License-Identifier: Apache-2.0
"""UDP headers and quoted errors into a host's UDP layer: nothing raises, queues stay bounded."""

from capas.base.config import HostConfig
from capas.base.frame import CSUM_NONE, CSUM_VALID, GSO_UDP_L4, Frame
from capas.base.rng import Rng
from capas.host.host import Host
from capas.internet.types import UNREACHABLE_PORT, IcmpError
from capas.wire import address as addr
from capas.wire import udp

LOCAL, REMOTE = addr.LOOPBACK4, bytes((127, 0, 0, 2))
HEAD = bytes.fromhex("4500001c000100004011000000000000") + bytes(4)

SEEDS = [
    udp.build(REMOTE, LOCAL, 9, 7, b"payload") + b"payload",
    udp.build(REMOTE, LOCAL, 7, 9, b"") * 2,
    b"\0\x09\0\x07\0\x0c\0\0abcd",
]


def test(data: bytes) -> None:
    host = Host("fuzz", HostConfig(), Rng(1))
    socket = host.udp.open()
    socket.options.receive_buffer = 1000
    socket.bind(addr.ANY4, 7)
    other = host.udp.open()
    other.connect(REMOTE, 9)
    head = HEAD[:12] + REMOTE + LOCAL
    frames = (
        Frame(head + data, 0, CSUM_NONE),
        Frame(head + data, 0, CSUM_VALID),
        Frame(head + data, 0, CSUM_VALID, 0, 0, GSO_UDP_L4, len(data) % 7),
    )
    for frame in frames:
        host.udp.receive(host.interfaces[0], frame, 0, 20, len(frame.data), 0)
    host.udp.icmp_error(IcmpError(UNREACHABLE_PORT, 3, 3, LOCAL, REMOTE, REMOTE, 17, data), 0)
    assert socket.queued <= 1000 + 256 + len(data)
    fields = udp.parse(data, 0, len(data))
    assert fields is None or 8 <= fields[2] <= len(data)
