# SPDX-License-Identifier: Apache-2.0
"""DHCP messages: parsing, every reader of options."""

from capas.wire import dhcp4
from capas.wire.address import Prefix
from capas.wire.dhcp4 import Dhcp

SEEDS = [
    Dhcp(
        dhcp4.REPLY, dhcp4.ACK, 1, b"\2\0\0\0\0\1", yours=b"\n\0\0\5", options={
            dhcp4.MASK: b"\xff\xff\xff\0", dhcp4.ROUTERS: b"\n\0\0\1", dhcp4.DOMAIN: b"x.test",
            dhcp4.ROUTES: dhcp4.routes_option([(Prefix.parse("10.0.0.0/8"), b"\n\0\0\1")]),
        },
    ).build()[:290],
    Dhcp(dhcp4.REQUEST, dhcp4.DISCOVER, 1, b"\2\0\0\0\0\1").build()[:240]
    + b"\x35\1\1\x34\1\3\xff",
]  # fmt: skip


def test(data: bytes) -> None:
    found = Dhcp.parse(data)
    if found is None:
        return
    for code in found.options:
        found.address(code)
        found.addresses(code)
        found.number(code, 4)
        assert found.text(code).isascii()
    found.routes()
    assert -1 <= found.prefix_length() <= 32
    assert Dhcp.parse(found.build()) == found
