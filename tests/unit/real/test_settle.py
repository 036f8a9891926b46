# SPDX-License-Identifier: Apache-2.0
"""A program that writes, closes and ends: the peer gets all of it, through loss too."""

import threading
import time
from contextlib import suppress

import pytest

from capas.errors import DeviceError
from capas.link.link import Medium
from capas.real.driver import RealDriver
from capas.real.pipe import CallbackPipe
from capas.real.settle import settle
from capas.sockets.current import use_host
from capas.sockets.socket import Socket

DATA = bytes(range(256)) * 4096
PORT = 5000


class Ends:
    """Hosts near and far, each with a driver of its own; what near sends may be lost."""

    def __init__(self) -> None:
        self.near, self.far = RealDriver(), RealDriver()
        self.lost = 0  # of every so many packets one; 1: all, 0: none
        self._count = 0
        self._out = CallbackPipe(self._carry, mtu=1400, medium=Medium.IP)
        self._in = CallbackPipe(self._out.feed, mtu=1400, medium=Medium.IP)
        for driver, pipe, last in ((self.near, self._out, 1), (self.far, self._in, 2)):
            driver.attach(driver.host("host"), pipe, addresses=[f"10.8.0.{last}/24"])
        self.got = bytearray()
        self._listening = threading.Event()
        self.receiver = threading.Thread(target=self._receive)
        self.receiver.start()
        assert self._listening.wait(60)

    def _carry(self, packet: bytes) -> bool:
        self._count += 1
        return bool(self.lost and self._count % self.lost == 0) or self._in.feed(packet)

    def _receive(self) -> None:
        with use_host(self.far.hosts[0]), Socket() as listener:
            listener.bind(("10.8.0.2", PORT))
            listener.listen()
            self._listening.set()
            with suppress(DeviceError), listener.accept()[0] as sock:
                while data := sock.recv(10_000):
                    self.got += data

    def send(self) -> None:
        """What a program does that trusts its kernel."""
        with use_host(self.near.hosts[0]), Socket() as sock:
            sock.connect(("10.8.0.2", PORT))
            sock.sendall(DATA)

    def abandon(self) -> None:
        """As `close`, when the receiver waits for ever."""
        self.far.close()
        self.receiver.join(60)

    def close(self) -> None:
        self.near.close()
        self.receiver.join(60)
        self.far.close()


def test_leaving_waits_for_the_peer() -> None:
    ends = Ends()
    ends.lost = 9
    with ends.near:
        ends.send()
    ends.close()
    assert ends.got == DATA


def test_it_waits_no_longer_than_asked_and_says_who_still_waits() -> None:
    ends = Ends()
    told: list[float] = []
    with use_host(ends.near.hosts[0]), Socket() as sock:
        sock.connect(("10.8.0.2", PORT))
        assert settle(ends.near, 60) == 0  # it is open: nobody waits for its end
        ends.lost = 1
        sock.sendall(DATA[:1000])
    begin = time.monotonic()
    assert settle(ends.near, 0) == 1
    assert time.monotonic() - begin < 2 and not told
    assert settle(ends.near, 2.2, lambda: told.append(time.monotonic())) == 1
    assert len(told) == 1
    ends.lost = 0
    assert settle(ends.near, 60) == 0
    ends.close()
    assert ends.got == DATA[:1000]


def test_who_leaves_by_an_error_does_not_wait() -> None:
    ends = Ends()
    begin = time.monotonic()
    with pytest.raises(KeyError), ends.near:
        with use_host(ends.near.hosts[0]), Socket() as sock:
            sock.connect(("10.8.0.2", PORT))
            ends.lost = 1
            sock.sendall(DATA[:1000])
        raise KeyError
    assert time.monotonic() - begin < 4
    assert ends.near.closed and not ends.got
    ends.abandon()
