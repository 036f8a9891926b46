# SPDX-License-Identifier: Apache-2.0
"""Descriptors of ours in the system calls that take any descriptor."""

import errno
import importlib
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Listener
from typing import Any

import pytest

import capas

fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")


@pytest.fixture
def world() -> capas.World:
    world = capas.World(1)
    world.link(world.host("a"), world.host("b"), delay="10ms")
    return world


def on(world: capas.World, host: str, program: Callable[[], Any]) -> Any:
    with capas.installed():
        return world.thread(host, program).result()


def test_flags_of_a_descriptor_and_of_its_socket(world: capas.World) -> None:
    def program() -> None:
        with socket.socket() as sock:
            fd = sock.fileno()
            assert fcntl.fcntl(fd, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
            fcntl.fcntl(sock, fcntl.F_SETFD, 0)
            assert sock.get_inheritable()
            assert os.get_inheritable(fd)
            os.set_inheritable(fd, False)
            assert not sock.get_inheritable()

            assert fcntl.fcntl(sock, fcntl.F_GETFL) == os.O_RDWR
            sock.settimeout(3)
            assert not os.get_blocking(fd)
            sock.settimeout(None)
            assert os.get_blocking(fd)
            with pytest.raises(OSError) as caught:
                fcntl.fcntl(sock, fcntl.F_GETLK, b"")
            assert caught.value.errno == errno.EINVAL
            copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
            os.close(copy)
            with pytest.raises(OSError) as caught:
                os.close(copy)
            assert caught.value.errno == errno.EBADF
            sock.getsockname()

    on(world, "a", program)


def test_a_socket_that_fcntl_made_non_blocking(world: capas.World) -> None:
    def program() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 5000))
            fcntl.fcntl(sock, fcntl.F_SETFL, os.O_RDWR | os.O_NONBLOCK)
            assert sock.gettimeout() is None
            with pytest.raises(BlockingIOError):
                sock.recv(1)
            assert fcntl.ioctl(sock, termios.FIONREAD, b"\0" * 4) == bytes(4)
            sock.sendto(b"abc", ("127.0.0.1", 5000))
            time.sleep(0.001)
            room = bytearray(4)
            assert fcntl.ioctl(sock, termios.FIONREAD, room) == 0
            assert struct.unpack("=i", room) == (3,)
            assert sock.recv(10) == b"abc"
            fcntl.ioctl(sock, termios.FIONBIO, struct.pack("=i", 0))
            assert os.get_blocking(sock.fileno())

    on(world, "a", program)


def test_read_and_write(world: capas.World) -> None:
    def server() -> None:
        with socket.create_server(("", 7)) as listener:
            sock, _ = listener.accept()
            os.write(sock.fileno(), os.read(sock.fileno(), 100)[::-1])
            os.close(sock.detach())

    def client() -> bytes:
        with socket.create_connection(("b", 7)) as sock:
            assert os.write(sock.fileno(), b"abc") == 3
            return os.read(sock.fileno(), 100) + os.read(sock.fileno(), 100)

    with capas.installed():
        world.thread("b", server)
        assert world.thread("a", client).result() == b"cba"


def test_connections_of_multiprocessing(world: capas.World) -> None:
    def server() -> None:
        with Listener(("", 6000), authkey=b"key") as listener, listener.accept() as connection:
            connection.send(connection.recv() * 2)

    def client() -> Any:
        with Client(("b", 6000), authkey=b"key") as connection:
            connection.send(["ab"])
            assert connection.poll(1)
            return connection.recv()

    with capas.installed():
        world.thread("b", server)
        assert world.thread("a", client).result() == ["ab", "ab"]
    assert Listener is not None  # the genuine one works again:
    with Listener() as listener, Client(listener.address) as one, listener.accept() as other:
        one.send(1)
        assert other.recv() == 1


def test_a_module_that_is_imported_while_a_world_runs(world: capas.World) -> None:
    def program() -> None:
        del sys.modules["fcntl"]
        late = importlib.import_module("fcntl")
        with socket.socket() as sock:
            assert late.fcntl(sock, late.F_GETFL) == os.O_RDWR

    try:
        on(world, "a", program)
        later = sys.modules["fcntl"]
        with pytest.raises(OSError):
            later.fcntl(1 << 20, later.F_GETFL)
        assert later.fcntl.__module__ == "fcntl"
    finally:
        sys.modules["fcntl"] = fcntl


def test_interfaces_are_the_hosts(world: capas.World) -> None:
    def program() -> None:
        assert socket.if_nameindex() == [(1, "lo"), (2, "eth0")]
        assert socket.if_nametoindex("eth0") == 2
        assert socket.if_indextoname(1) == "lo"
        with pytest.raises(OSError):
            socket.if_nametoindex("eth7")
        with pytest.raises(OSError) as caught:
            socket.if_indextoname(7)
        assert caught.value.errno == errno.ENXIO

    on(world, "a", program)
    assert socket.if_nameindex() != []
