# SPDX-License-Identifier: Apache-2.0
"""The same program on Linux's sockets over loopback and on a host's: whether they go alike."""

import ctypes
import errno
import os
import random
import shutil
import socket as std
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from capas.real.netdev import try_up
from capas.sim.world import World
from capas.sockets import modules
from capas.sockets.driver import VIRTUAL_FD

Log = list[tuple[str, object]]
Walk = Callable[[int], Log]  # by a seed
#: On loopback, all that a call sets off is over after this, s.
MOMENT = 0.004
ON_LINK = tuple(
    f"{net}{n}/{bits}" for net, bits in (("10.9.0.", 24), ("fd09::", 64)) for n in (1, 2, 3)
)
_LINK = "\n".join((
    "ip link add eth0 index 2 type veth peer name other index 3",
    *(f"ip address add {text} dev eth0 {'nodad' if ':' in text else ''}" for text in ON_LINK),
    "ip link set eth0 up",
    "ip link set other up",
))  # fmt: skip
_CLONE_NEWNET = 0x40000000
_ATTEMPTS = 3  # a busy machine is late now and then, the same way hardly so often


class Steps:
    """Calls of chance on some sockets, and what they gave; subclasses know the sockets."""

    count = 25
    calls: Sequence[str]

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.sockets: list[std.socket] = []

    def run(self) -> Log:
        log = self.open()
        for _ in range(self.count):
            number = self.chance.randrange(len(self.sockets))
            call = self.chance.choice(self.calls)
            try:
                result = self.step(self.sockets[number], call)
            except OSError as error:
                result = errno.errorcode[error.errno or 0]
            self.over(number)
            time.sleep(MOMENT)
            log.append((f"{number} {call}", result))
        for sock in self.sockets:
            sock.close()
        return log

    def open(self) -> Log:
        """Make the sockets; the beginning of the log."""
        raise NotImplementedError

    def step(self, sock: std.socket, call: str) -> Any:
        """What one call gives; OSError."""
        raise NotImplementedError

    def over(self, number: int) -> None:
        """A step of this socket is over."""


def go_alike(walk: Walk, seed: int, *, apart: bool = False, linked: bool = False) -> None:
    """Fails with the first step that differs, and what went before it.

    ``apart``: on Linux in a network namespace, where nobody else sends anything; needs root
    ``linked``: there, interface 2 is Ethernet with the addresses `ON_LINK`
    """
    with modules.installed():
        world = World(1)
        host = world.host("a")
        if linked:
            world.link(host, world.host("b"))
            for text in ON_LINK:
                host.add_address(host.interface("eth0"), text)
            world.run_for(3)  # duplicate detection
        ours = world.thread(host, _watched, walk, seed, True).result()
    for _ in range(_ATTEMPTS):
        linux = _apart(walk, seed, linked) if apart else _watched(walk, seed, False)
        if ours == linux:
            return
    found = zip(ours, linux, strict=False)
    step = next(n for n, (mine, theirs) in enumerate(found) if mine != theirs)
    before = "\n  ".join(map(str, ours[max(0, step - 20) : step]))
    pytest.fail(f"after\n  {before}\nours  {ours[step]}\nlinux {linux[step]}")


def _apart(walk: Walk, seed: int, linked: bool) -> Log:
    """A thread has the namespace to itself, and takes it along."""
    if linked and shutil.which("ip") is None:
        pytest.skip("ip is missing")

    def run() -> Log:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            pytest.skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        assert try_up("lo")
        if linked:
            subprocess.run(["sh", "-ec", _LINK], check=True)
        return _watched(walk, seed, False)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def _watched(walk: Walk, seed: int, virtual: bool) -> Log:
    log = walk(seed)
    with std.socket() as sock:
        assert (sock.fileno() >= VIRTUAL_FD) is virtual
    return log
