# SPDX-License-Identifier: Apache-2.0
"""Queries into the DNS server: nothing raises, answers fit, what is wrong is counted."""

from capas.application import names
from capas.base.events import Counters

ZONE = names.Zone(
    {
        "x.test": {"SOA": "ns.x.test. root.x.test. 1 3600 600 86400 60", "A": "192.0.2.1"},
        "www.x.test": {"CNAME": "x.test."},
    }
)
QUESTION = b"\0\7\1\0\0\1\0\0\0\0\0\0"
SEEDS = [
    QUESTION + b"\1x\4test\0\0\1\0\1",
    QUESTION + b"\3www\1x\4test\0\0\x1c\0\1",
    QUESTION + b"\xc0\x0c\0\1\0\1",
    b"\0\7\1\0\0\1\0\0\0\0\0\1\1x\4test\0\0\1\0\1\0\0\x29\x04\xd0\0\0\0\0\0\0",
]


def test(data: bytes) -> None:
    counters = Counters()
    answer = names.respond(ZONE, data, 0, counters)
    if answer is None:
        assert counters.snapshot()
    else:
        assert answer[:2] == data[:2]
        assert answer[2] & 0x80
        assert len(answer) <= names.UDP_EDNS
