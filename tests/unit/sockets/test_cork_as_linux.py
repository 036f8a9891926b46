# SPDX-License-Identifier: Apache-2.0
"""UDP_CORK and MSG_MORE: which calls make one datagram, as on Linux's sockets over loopback."""

import socket as std
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest
from beside_linux import MOMENT, Log, Steps, go_alike
from test_options_as_linux import tried

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux is missing")
UDP, UDP_CORK = std.IPPROTO_UDP, 1


class Corks(Steps):
    """One that sends to two others, whole datagrams and parts of them."""

    count = 40
    calls: Sequence[str] = ("send", "more", "to", "to more", "cork", "uncork", "empty", "long")

    def open(self) -> Log:
        self.sockets = [std.socket(std.AF_INET, std.SOCK_DGRAM) for _ in range(3)]
        for sock in self.sockets[1:]:
            sock.bind(("127.0.0.1", 0))
        return []

    def step(self, sock: std.socket, call: str) -> Any:
        sender, *readers = self.sockets
        there = self.chance.choice(readers).getsockname()
        data = bytes(self.chance.randrange(256) for _ in range(3))
        if call in ("cork", "uncork"):
            done = tried(sender.setsockopt, UDP, UDP_CORK, int(call == "cork"))
        elif call == "empty":
            done = tried(sender.send, b"")
        elif call == "long":
            done = tried(sender.sendto, bytes(40_000), std.MSG_MORE, there)
        elif call.startswith("to"):
            done = tried(sender.sendto, data, std.MSG_MORE if "more" in call else 0, there)
        else:
            done = tried(sender.send, data, std.MSG_MORE if call == "more" else 0)
        time.sleep(MOMENT)
        heard = [tried(one.recv, 99_999, std.MSG_DONTWAIT) for one in readers]
        sizes = [len(one) if isinstance(one, bytes) else one for one in heard]
        return done, sizes, [one[:9] if isinstance(one, bytes) else one for one in heard]

    def over(self, number: int) -> None:
        """Nobody is to be named."""


class Connected(Corks):
    """To one of them only (else Linux forgets to whom: it keeps both ends in one place)."""

    calls = ("send", "more", "cork", "uncork", "empty")

    def open(self) -> Log:
        super().open()
        self.sockets[0].connect(self.sockets[1].getsockname())
        return []


def late(_: int) -> Log:
    """The end of sending, or an error, comes while a part is held: it leaves all the same."""
    log: Log = []
    with std.socket(std.AF_INET, std.SOCK_DGRAM) as reader:
        reader.bind(("127.0.0.1", 0))
        for ends in (True, False):
            with std.socket(std.AF_INET, std.SOCK_DGRAM) as sender:
                sender.connect(reader.getsockname())
                sender.setsockopt(UDP, UDP_CORK, 1)
                log.append(("held", sender.send(b"held")))
                if ends:
                    log.append(("shutdown", tried(sender.shutdown, std.SHUT_WR)))
                else:
                    sender.setsockopt(std.IPPROTO_IP, 11, 1)  # IP_RECVERR
                    with std.socket(std.AF_INET, std.SOCK_DGRAM) as gone:
                        gone.bind(("127.0.0.1", 0))
                        nobody = gone.getsockname()
                    with std.socket(std.AF_INET, std.SOCK_DGRAM) as other:
                        other.connect(nobody)
                        other.send(b"")
                log.append(("uncork", tried(sender.setsockopt, UDP, UDP_CORK, 0)))
                time.sleep(MOMENT)
                log.append(("heard", tried(reader.recv, 99, std.MSG_DONTWAIT)))
                log.append(("error", sender.getsockopt(std.SOL_SOCKET, std.SO_ERROR)))
    return log


def test_what_is_held_leaves_though_sending_has_ended() -> None:
    go_alike(late, 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", [Corks, Connected])
def test_steps_of_chance(kind: type[Corks], seed: int) -> None:
    go_alike(lambda seed: kind(seed).run(), seed)
