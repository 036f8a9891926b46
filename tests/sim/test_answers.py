# SPDX-License-Identifier: Apache-2.0
"""How few segments a short connection takes when the programs answer at once."""

import asyncio
from typing import Any

import pytest

import capas
from capas.base.frame import Frame
from capas.link.interface import Interface
from capas.wire.tcp import ACK, FIN, PSH, SYN

ANSWER = 10_000


class Seen:
    """The TCP segments of one interface: (outgoing, flags, bytes of payload)."""

    def __init__(self) -> None:
        self.segments: list[tuple[bool, int, int]] = []

    def captured(self, interface: Interface, frame: Frame, outgoing: bool, now: int) -> None:
        data = frame.data
        if data[12:14] == b"\x08\x00" and data[23] == 6:
            header = 34 + (data[46] >> 4) * 4
            self.segments.append((outgoing, data[47], len(frame) - header))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(100)
    writer.write(bytes(ANSWER))
    writer.close()


def segments(wait: float = 0.0) -> list[tuple[bool, int, int]]:
    """Those of one question and answer; the client thinks for ``wait`` seconds."""
    world = capas.World(seed=1)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, rate="1Gbit", delay="1ms")
    seen = Seen()

    async def main() -> None:
        await capas.spawn(server, asyncio.start_server(answer, port=7))
        client.interfaces[1].taps.append(seen)
        reader, writer = await asyncio.open_connection("server", 7)
        if wait:
            await asyncio.sleep(wait)
        writer.write(bytes(100))
        assert len(await reader.read(-1)) == ANSWER
        writer.close()
        await asyncio.sleep(1)

    capas.run(main, world=world, host="client")
    return seen.segments


@pytest.mark.rfc("9293", "3.8.6.3")
def test_acknowledgements_ride_on_answers() -> None:
    assert segments() == [
        (True, SYN, 0),
        (False, SYN | ACK, 0),
        (True, ACK | PSH, 100),
        (False, ACK | PSH | FIN, ANSWER),
        (True, ACK | FIN, 0),
        (False, ACK, 0),
    ]


def test_who_thinks_first_acknowledges_first() -> None:
    found: list[Any] = segments(wait=0.5)
    assert found[2:4] == [(True, ACK, 0), (True, ACK | PSH, 100)]
