# SPDX-License-Identifier: Apache-2.0
"""The end of a world whose programs do not want to end."""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable

import pytest

import capas

_GENUINE = [os.read]  # in a list, where nobody looks for names to replace


def shrugging(call: Callable[[], object]) -> None:
    """A server that logs every error and goes on."""
    while True:
        with contextlib.suppress(BaseException):
            call()


def selects() -> None:
    listener = socket.create_server(("", 7))
    ends = socket.socketpair()
    shrugging(lambda: select.select([listener, ends[0]], [], []))


def accepts() -> None:
    listener = socket.create_server(("", 7))
    shrugging(listener.accept)


def sleeps() -> None:
    shrugging(lambda: time.sleep(1))


def connects() -> None:
    shrugging(lambda: socket.create_connection(("a", 9), 1))


@pytest.mark.parametrize("program", [selects, accepts, sleeps, connects])
def test_a_program_that_survives_being_killed(program: Callable[[], None]) -> None:
    """The stand-ins were gone already: it waited for ever in the machine's select, or spun."""
    with capas.World(seed=1) as world:
        world.link(world.host("a"), world.host("b"), delay="5ms")
        with capas.installed():
            process = world.thread("b", program)
            world.run(until=1)
    assert process.done


@pytest.mark.slow
def test_a_killed_program_that_computes_for_ever_is_broken_off() -> None:
    def computes() -> None:
        with contextlib.suppress(BaseException):
            time.sleep(10)
        while True:
            pass

    with capas.World(seed=1) as world:
        process = world.thread(world.host("a"), computes)
        world.run(until=1)
    assert process.done


@pytest.mark.slow
def test_one_that_cannot_be_broken_off_is_told_of() -> None:
    """It waits for the machine, and afterwards for a world that has no use for it."""
    reader, writer = os.pipe()
    after: list[str] = []

    def reads() -> None:
        with contextlib.suppress(BaseException):
            time.sleep(10)
        with contextlib.suppress(BaseException):
            _GENUINE[0](reader, 1)
        after.append("reads no more")
        with contextlib.suppress(BaseException):
            time.sleep(1)
        after.append("never")

    with capas.World(seed=1) as world:
        process = world.thread(world.host("a"), reads, name="a:reads")
        world.run(until=1)
        with pytest.warns(RuntimeWarning, match=r"a:reads did not end.*test_close\.py"):
            world.close()
    assert process.done
    os.write(writer, b"x")
    for _ in range(1000):
        if after:
            break
        select.select([], [], [], 0.01)
    assert world.run(until=5) is None
    assert after == ["reads no more"]
    os.close(reader)
    os.close(writer)
