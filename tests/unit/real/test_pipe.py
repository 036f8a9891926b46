# SPDX-License-Identifier: Apache-2.0
"""Pipes: anything that takes bytes in and gives bytes out."""

import os
import socket

import pytest

from capas.base.frame import Frame
from capas.link.link import Medium
from capas.real.pipe import CallbackPipe, Pipe

KINDS = [socket.SOCK_DGRAM] + ([socket.SOCK_SEQPACKET] if os.name == "posix" else [])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_descriptor", [False, True])
def test_messages_keep_their_boundaries(kind: socket.SocketKind, as_descriptor: bool) -> None:
    far, near = socket.socketpair(socket.AF_UNIX, kind)
    pipe = Pipe(near.detach() if as_descriptor else near, mtu=100)
    assert pipe.caps.medium is Medium.IP and not pipe.caps.csum and pipe.caps.gso_types == ()
    far.send(b"one")
    far.send(b"two")
    first, second = pipe.read(7), pipe.read(8)
    assert first is not None and (first.data, first.time) == (b"one", 7)
    assert second is not None and (second.data, second.time) == (b"two", 8)
    assert pipe.read(9) is None and not pipe.gone
    assert pipe.transmit(Frame(b"three")) and pipe.transmit(Frame(b"four"))
    assert (far.recv(99), far.recv(99)) == (b"three", b"four")
    pipe.close()
    pipe.close()
    assert pipe.fileno() == -1
    far.close()


@pytest.mark.parametrize("as_descriptor", [False, True])
def test_a_stream_is_refused(as_descriptor: bool) -> None:
    """Two packets would arrive as one, and none would be right."""
    ends = socket.socketpair()
    with pytest.raises(ValueError, match="SOCK_DGRAM"):
        Pipe(ends[0].fileno() if as_descriptor else ends[0])
    for end in ends:
        end.close()


def test_a_fifo_is_refused() -> None:
    ends = os.pipe()
    with pytest.raises(ValueError, match="SOCK_DGRAM"):
        Pipe(ends[0])
    for end in ends:
        os.close(end)


def test_a_full_pipe_is_busy() -> None:
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pipe = Pipe(near)
    frame = Frame(bytes(1000))
    assert any(not pipe.transmit(frame) for _ in range(10_000))
    assert pipe.busy
    far.recv(2000)
    assert pipe.transmit(frame)
    pipe.close()
    far.close()


def test_the_other_side_closes() -> None:
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipe = Pipe(near)
    far.close()
    assert pipe.read(0) is None
    assert pipe.gone
    pipe.close()
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pipe = Pipe(near)
    far.close()
    assert pipe.transmit(Frame(b"x"))
    assert pipe.counters.get("device.refused") == 1
    pipe.close()


def test_a_pair_of_callables() -> None:
    sent: list[bytes] = []
    woken: list[int] = []
    pipe = CallbackPipe(sent.append, limit=2)
    pipe.wake = lambda: woken.append(1)
    assert pipe.fileno() == -1 and pipe.read(0) is None
    assert pipe.feed(b"a") and pipe.feed(bytearray(b"b"))
    assert not pipe.feed(b"c")
    assert pipe.counters.get("device.queue_full") == 1 and len(woken) == 2
    a, b = pipe.read(1), pipe.read(2)
    assert a is not None and b is not None and (a.data, b.data) == (b"a", b"b")
    assert type(b.data) is bytes
    assert pipe.transmit(Frame(b"out")) and sent == [b"out"]
    pipe.close()
    assert not pipe.feed(b"d")
    assert pipe.transmit(Frame(b"late")) and sent == [b"out"]


def test_a_callable_that_is_full() -> None:
    room = [False]
    pipe = CallbackPipe(lambda data: room[0])
    assert not pipe.transmit(Frame(b"x")) and pipe.busy
    room[0] = True
    pipe.ready()
    assert not pipe.busy and pipe.transmit(Frame(b"x")) and not pipe.busy
