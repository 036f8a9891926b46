# SPDX-License-Identifier: Apache-2.0
"""IGMP and MLD parsers."""

from capas.base.checksum import checksum
from capas.base.clock import SECOND
from capas.wire.igmp import QUERY, REPORT2, REPORT3, Igmp, Mld, build_report2, parse_report2

GROUP = bytes((239, 1, 2, 3))
SEEDS = [
    Igmp(QUERY, bytes(4), SECOND).build(),
    Igmp(QUERY, GROUP, SECOND, 3).build(),
    Igmp(QUERY, GROUP, SECOND, 3, (), (GROUP, GROUP), True, 7, 900 * SECOND).build(),
    Igmp(REPORT2, GROUP).build(),
    Igmp(REPORT3, bytes(4), 0, 3, ((4, GROUP, (GROUP,)), (1, GROUP, ()))).build(),
    b"".join(Mld(bytes(16), SECOND, 2, (bytes(16),)).build()),
    b"".join(build_report2(((5, bytes(16), (bytes(16),)),))),
]


def test(data: bytes) -> None:
    Igmp.parse(data, 0, len(data))
    if len(data) >= 4:
        zeroed = data[:2] + b"\0\0" + data[4:]
        good = data[:2] + checksum(zeroed).to_bytes(2, "big") + data[4:]
        message = Igmp.parse(good, 0, len(good))
        if message is not None:
            again = message.build()
            assert Igmp.parse(again, 0, len(again)) == message or message.version < 3
    rest, body = data[:4].ljust(4, b"\0"), data[4:]
    asked = Mld.parse(rest, body)
    if asked is not None:
        assert Mld.parse(*asked.build()) == asked
    records = parse_report2(rest, body)
    if records is not None:
        assert parse_report2(*build_report2(records)) == records
