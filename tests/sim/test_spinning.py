# SPDX-License-Identifier: Apache-2.0
"""Programs that read the clock instead of waiting: time goes on for them, in steps that grow."""

import asyncio
import time

import pytest

import capas
from capas.sim.world import World


def spin(seconds: float) -> tuple[float, int]:
    """Read the clock until ``seconds`` have gone by; (how long it was, readings)."""
    begin = time.monotonic()
    readings = 0
    while time.monotonic() < begin + seconds:
        readings += 1
    return time.monotonic() - begin, readings


@pytest.mark.parametrize("seconds", [1e-6, 1e-4, 0.01, 1.0, 10.0])
def test_a_blocking_program_spins(seconds: float) -> None:
    runs = []
    for _ in range(2):
        with World(1) as world:
            a = world.host("a")
            runs.append(world.thread(a, spin, seconds).result())
    assert runs[0] == runs[1]
    took, readings = runs[0]
    late = took - seconds
    assert 0 <= late <= min(0.0021, seconds / 8 + 3e-6)  # the last reading is a step, too
    assert readings < 5000 + 1100 * seconds  # not one for each microsecond


def test_a_callback_of_an_event_loop_spins() -> None:
    world = World(1)
    a = world.host("a")

    async def main() -> tuple[float, int]:
        await asyncio.sleep(0.5)
        return spin(1.0)

    took, readings = capas.run(main, world=world, host=a)
    assert 1 <= took <= 1.0021
    assert readings < 7000


def test_others_go_on_meanwhile() -> None:
    with World(1) as world:
        a, b = world.host("a"), world.host("b")
        world.link(a, b, delay="1ms")
        seen = []

        def clock() -> None:
            for _ in range(10):
                time.sleep(0.1)
                seen.append(round(time.monotonic(), 4))

        world.thread(b, clock)
        world.thread(a, spin, 2.0).result()
        assert seen == pytest.approx([n / 10 for n in range(1, 11)], abs=1e-4)


def test_a_program_that_sends_is_not_waiting() -> None:
    import socket

    from capas.sockets.socket import Socket

    with World(1) as world:
        a, b = world.host("a"), world.host("b")
        world.link(a, b)
        target = capas.wire.address.text(world.names["b"][0])

        def flood() -> int:
            sent = 0
            sock = Socket(socket.AF_INET, socket.SOCK_DGRAM)
            begin = time.monotonic()
            while time.monotonic() < begin + 0.01:
                sock.sendto(b"x", (target, 9))
                sent += 1
            sock.close()
            return sent

        assert world.thread(a, flood).result() > 10_000
