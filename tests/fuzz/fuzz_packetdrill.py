# SPDX-License-Identifier: Apache-2.0
"""Scripts of any bytes: an error with a place, or a script with events."""

from capas.conformance.errors import NotApplicable, ScriptError
from capas.conformance.parser import parse
from capas.conformance.segments import read

SEEDS = [
    b"0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 > S 0:0(0) <mss 1460>\n",
    b"--ip_version=ipv4\n`x`\n+.1 < F. 1:1(0) ack 2 win 3\n+0 %{ assert 1 }%",
]


def test(data: bytes) -> None:
    try:
        assert parse("fuzz", data.decode("latin-1")).events
    except ScriptError as error:
        assert error.line >= 1
    except NotApplicable:
        pass
    if len(data) >= 40:
        read(bytes((0x45 if data[0] & 1 else 0x60,)) + data[1:], 0)
