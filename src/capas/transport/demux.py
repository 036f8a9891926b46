# SPDX-License-Identifier: Apache-2.0
"""Who gets a packet: connected pairs first, then the bound, then the wildcard.

Source, destination and both ports lie side by side on the wire in IPv4 and IPv6, so the key of a
connection is one slice of the packet: 12 or 36 bytes, in the order of an *arriving* packet (remote
address, local address, remote port, local port).
"""

from typing import Generic, TypeVar, final

T = TypeVar("T")


def arriving_key(data: bytes, l3: int, l4: int) -> bytes:
    """The demultiplexing key of the packet in ``data`` with its IP header at ``l3``."""
    if data[l3] >> 4 == 4:
        if l4 - l3 == 20:
            return data[l3 + 12 : l4 + 4]
        return data[l3 + 12 : l3 + 20] + data[l4 : l4 + 4]
    if l4 - l3 == 40:
        return data[l3 + 8 : l4 + 4]
    return data[l3 + 8 : l3 + 40] + data[l4 : l4 + 4]


def make_key(local: bytes, local_port: int, remote: bytes, remote_port: int) -> bytes:
    """The key under which a connection's segments will arrive."""
    return remote + local + (remote_port << 16 | local_port).to_bytes(4, "big")


@final
class BoundTable(Generic[T]):
    """Sockets bound to (local address, port), several per pair with SO_REUSEPORT.

    A wildcard is the family's all-zero address; `find` also looks under the IPv6 wildcard for IPv4
    packets when that socket said it takes both families.
    """

    __slots__ = ("_bound", "_dual", "ports")

    def __init__(self) -> None:
        self._bound: dict[tuple[bytes, int], list[T]] = {}
        self._dual: dict[int, list[T]] = {}
        self.ports: dict[int, int] = {}  # port -> how many sockets hold it

    def add(self, address: bytes, port: int, item: T, dual: bool = False) -> None:
        """Bind ``item``; ``dual``: an IPv6 wildcard that also takes IPv4."""
        self._bound.setdefault((address, port), []).append(item)
        if dual:
            self._dual.setdefault(port, []).append(item)
        self.ports[port] = self.ports.get(port, 0) + 1

    def remove(self, address: bytes, port: int, item: T, dual: bool = False) -> None:
        """Undo `add`."""
        items = self._bound[address, port]
        items.remove(item)
        if not items:
            del self._bound[address, port]
        if dual:
            both = self._dual[port]
            both.remove(item)
            if not both:
                del self._dual[port]
        self.ports[port] -= 1
        if not self.ports[port]:
            del self.ports[port]

    def at(self, address: bytes, port: int) -> list[T]:
        """All bound to exactly this pair."""
        return self._bound.get((address, port), [])

    def dual(self, port: int) -> list[T]:
        """IPv6 wildcards on ``port`` that also take IPv4."""
        return self._dual.get(port, [])

    def on_port(self, port: int) -> list[tuple[bytes, T]]:
        """All bound to ``port`` on any address, with that address."""
        if port not in self.ports:
            return []
        return [(a, item) for (a, p), items in self._bound.items() if p == port for item in items]

    def find(self, address: bytes, port: int) -> list[T]:
        """The candidates for a packet to ``address``: the exact binding before the wildcard."""
        if port not in self.ports:
            return []
        found = self._bound.get((address, port))
        if found:
            return found
        found = self._bound.get((bytes(len(address)), port))
        if found:
            return found
        return self._dual.get(port, []) if len(address) == 4 else []
