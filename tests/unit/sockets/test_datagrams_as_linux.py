# SPDX-License-Identifier: Apache-2.0
"""Datagram sockets, some of them of both families at once, step by step as Linux's are.

Broadcasts stay out: the machine may have no way for them.
"""

import select
import socket as std
import sys
from typing import Any

import pytest
from beside_linux import Log, Steps, go_alike

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not std.has_dualstack_ipv6(), reason="Linux with IPv6 is missing"
)

NOBODY = 9  # a port where nobody listens
TARGETS = {std.AF_INET: ["127.0.0.1"], std.AF_INET6: ["::1", "::1", "::ffff:127.0.0.1"]}
OWN = {
    std.AF_INET: ["", "127.0.0.1"],
    std.AF_INET6: ["", "::", "::1", "::ffff:127.0.0.1"],
}
POLLED = 0x3FFF  # every bit that poll(2) knows
CALLS = [
    "bind", "bind", "connect", "connect", "send", "send", "sendto", "sendto", "sendto", "to any",
    "recv", "recv", "recvfrom", "peek", "recv_into", "recvmsg", "name", "peer", "error",
    "shutdown", "poll", "only", "only?", "big",
]  # fmt: skip


class Walk(Steps):
    """Of UDP; a port is told by the number of its socket."""

    calls = CALLS

    def open(self) -> Log:
        self.ports: dict[int, int] = {}
        for _ in range(3):
            family = self.chance.choice([std.AF_INET, std.AF_INET6, std.AF_INET6])
            sock = std.socket(family, std.SOCK_DGRAM)
            sock.setblocking(False)
            self.sockets.append(sock)
        return []

    def over(self, number: int) -> None:
        self.ports[self.sockets[number].getsockname()[1]] = number

    def named(self, address: Any) -> Any:
        """An address with the number of a socket for its port."""
        if not isinstance(address, tuple):
            return address
        return address[0], self.ports.get(address[1], "new" if address[1] else 0), *address[2:]

    def target(self, sock: std.socket, hosts: list[str]) -> tuple[str, int]:
        """Somebody to talk to, of the family of ``sock`` at least."""
        port = self.sockets[self.chance.randrange(3)].getsockname()[1]
        return self.chance.choice(hosts), port or NOBODY

    def step(self, sock: std.socket, call: str) -> Any:
        chance, family = self.chance, sock.family
        size = chance.choice([0, 1, 5, 100])
        flags = chance.choice([0, std.MSG_TRUNC])
        target = self.target(sock, TARGETS[family])
        match call:
            case "bind":
                return sock.bind((chance.choice(OWN[family]), 0))
            case "connect":
                return sock.connect(target)
            case "send":
                return sock.send(bytes(size))
            case "sendto":
                return sock.sendto(bytes(size), target)
            case "to any":
                any_host = "0.0.0.0" if family == std.AF_INET else "::"
                return sock.sendto(b"a", (any_host, target[1]))
            case "big":
                return sock.sendto(bytes(chance.choice([65_507, 65_508])), target)
            case "recv":
                return len(sock.recv(1000))
            case "recvfrom" | "peek":
                data, source = sock.recvfrom(50, std.MSG_PEEK if call == "peek" else 0)
                return len(data), self.named(source)
            case "recv_into":
                count, source = sock.recvfrom_into(bytearray(3), 0, flags)
                return count, self.named(source)
            case "recvmsg":
                data, ancillary, shown, source = sock.recvmsg(chance.choice([2, 100]))
                return len(data), ancillary, shown, self.named(source)
            case "name":
                return self.named(sock.getsockname())
            case "peer":
                return self.named(sock.getpeername())
            case "error":
                return sock.getsockopt(std.SOL_SOCKET, std.SO_ERROR)
            case "shutdown":
                return sock.shutdown(chance.choice([std.SHUT_RD, std.SHUT_WR, std.SHUT_RDWR]))
            case "only":
                value = chance.choice([0, 1])
                return sock.setsockopt(std.IPPROTO_IPV6, std.IPV6_V6ONLY, value)
            case "only?":
                return sock.getsockopt(std.IPPROTO_IPV6, std.IPV6_V6ONLY)
        poll = select.poll()
        poll.register(sock, POLLED)
        return poll.poll(0)[0][1] if poll.poll(0) else 0


def walk(seed: int) -> Log:
    return Walk(seed).run()


@pytest.mark.rfc("3493", "3.7")
@pytest.mark.rfc("3493", "5.3")
@pytest.mark.parametrize("seed", range(40))
def test_each_step_is_as_in_linux(seed: int) -> None:
    go_alike(walk, seed)
