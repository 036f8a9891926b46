# SPDX-License-Identifier: Apache-2.0
"""IGMP and MLD parsers."""

from capas.base.checksum import checksum
from capas.base.clock import SECOND
from capas.wire.igmp import QUERY, REPORT2, REPORT3, Igmp, Mld

GROUP = bytes((239, 1, 2, 3))
SEEDS = [
    Igmp(QUERY, bytes(4), SECOND).build(),
    Igmp(QUERY, GROUP, SECOND, 3).build(),
    Igmp(REPORT2, GROUP).build(),
    Igmp(REPORT3, bytes(4), 0, 3, ((4, GROUP, (GROUP,)), (1, GROUP, ()))).build(),
]


def test(data: bytes) -> None:
    Igmp.parse(data, 0, len(data))
    if len(data) >= 4:
        zeroed = data[:2] + b"\0\0" + data[4:]
        good = data[:2] + checksum(zeroed).to_bytes(2, "big") + data[4:]
        message = Igmp.parse(good, 0, len(good))
        if message is not None and message.version < 3:
            again = message.build()
            assert Igmp.parse(again, 0, len(again)) is not None
    Mld.parse(data[:4].ljust(4, b"\0"), data[4:])
