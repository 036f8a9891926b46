# SPDX-License-Identifier: Apache-2.0
"""What a driver sleeps on: devices, wake-ups, an event loop's own selector."""

import selectors
import socket
from collections.abc import Iterator

import pytest

from capas.base.frame import Frame
from capas.real.clock import MonotonicClock
from capas.real.pipe import CallbackPipe, Pipe
from capas.real.poller import SelectorPoller, make_poller
from capas.real.ports import Ports


class Sink:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.ready: list[int] = []

    def receive(self, frame: Frame, now: int) -> None:
        self.frames.append(frame.data)

    def link_ready(self, now: int) -> None:
        self.ready.append(now)


@pytest.fixture(params=[make_poller, SelectorPoller])
def ports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    monkeypatch.setattr("capas.real.ports.make_poller", request.param)
    ports = Ports(4)
    yield ports
    ports.close()


def piped(ports: Ports) -> tuple[socket.socket, Pipe, Sink]:
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pipe, sink = Pipe(near), Sink()
    pipe.sink = sink
    ports.add(pipe)
    settle(ports)
    return far, pipe, sink


def settle(ports: Ports) -> None:
    ports.sleep(0)
    ports.take_in(0)


def test_a_batch_at_a_time(ports: Ports) -> None:
    far, _, sink = piped(ports)
    for i in range(6):
        far.send(bytes([i]))
    settle(ports)
    assert len(sink.frames) == 4
    settle(ports)
    assert sink.frames == [bytes([i]) for i in range(6)]
    far.close()


def test_waking(ports: Ports) -> None:
    ports.wake()
    ports.sleep(None)
    ports.take_in(0)
    ports.sleep(0)
    assert not ports.loop_ready


def test_a_busy_device_is_told_when_it_is_free(ports: Ports) -> None:
    far, pipe, sink = piped(ports)
    frame = Frame(bytes(1000))
    while pipe.transmit(frame):
        pass
    assert not ports.busy_links(0)
    settle(ports)
    assert sink.ready == []
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        while far.recv(2000):
            pass
    ports.sleep(1)
    ports.take_in(5)
    assert sink.ready == [5] and not pipe.busy
    far.close()


def test_devices_without_a_descriptor(ports: Ports) -> None:
    pipe, sink = CallbackPipe(lambda data: False), Sink()
    pipe.sink = sink
    ports.add(pipe)
    settle(ports)
    for i in range(6):
        pipe.feed(bytes([i]))
    ports.sleep(None)
    ports.take_in(0)
    ports.sleep(None)  # more is waiting: it does not sleep
    ports.take_in(0)
    assert len(sink.frames) == 6
    assert not pipe.transmit(Frame(b"x"))
    assert not ports.busy_links(1)
    pipe.ready()
    ports.sleep(None)
    assert ports.busy_links(2) and sink.ready == [2]


def test_a_vanished_device_is_reported_once(ports: Ports) -> None:
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipe = Pipe(near)
    gone: list[object] = []
    ports.on_gone = gone.append
    ports.add(pipe)
    far.close()
    settle(ports)
    settle(ports)
    assert gone == [pipe]
    pipe.close()


class Bare(selectors.SelectSelector):
    """As on systems whose selector has no descriptor."""


@pytest.mark.parametrize("kind", [selectors.DefaultSelector, Bare])
def test_an_event_loops_selector(ports: Ports, kind: type[selectors.BaseSelector]) -> None:
    loop = kind()
    here, there = socket.socketpair()
    loop.register(here, selectors.EVENT_READ)
    ports.watch_loop(loop)
    settle(ports)
    assert not ports.loop_ready
    there.send(b"x")
    ports.sleep(1)
    ports.take_in(0)
    assert ports.loop_ready
    ports.watch_loop(None)
    settle(ports)
    assert not ports.loop_ready
    loop.close()
    here.close()
    there.close()


def test_clocks_start_anywhere_and_never_go_back() -> None:
    one, two = MonotonicClock(), MonotonicClock()
    assert one.offset != two.offset
    a, b = one.now(), one.now()
    assert 0 < a <= b < 1 << 62


def test_a_lively_port_is_looked_at_before_sleeping(ports: Ports) -> None:
    with selectors.DefaultSelector() as loop:
        ports.watch_loop(loop)
        far, _, sink = piped(ports)
        for i in range(3):  # what came at once makes the next wait a lively one
            far.send(bytes([i]))
            ports.sleep(60)
            ports.take_in(0)
        assert sink.frames == [b"\0", b"\1", b"\2"]
        clock = MonotonicClock()
        before = clock.now()
        ports.sleep(0.01)  # nothing comes: it ends when it should, not when the looking ends
        assert clock.now() - before >= 9_000_000
        ports.wake()
        ports.sleep(60)
        ports.take_in(0)
        ports.watch_loop(None)
        far.close()
