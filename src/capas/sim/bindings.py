# SPDX-License-Identifier: Apache-2.0
"""What a NAT knows and how it rewrites: bindings with their times, addresses and checksums.

RFC 4787 §4, RFC 5382 §5, RFC 5508 §3, RFC 1624.  Times are ns; a binding whose time is up goes
when it is next looked at, or when room is needed.
"""

from collections.abc import Callable
from typing import Final, final

from capas.base.checksum import update
from capas.base.clock import NEVER, SECOND

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17

UDP_TIMEOUT: Final = 300 * SECOND  # RFC 4787 REQ-5
TCP_TIMEOUT: Final = 7440 * SECOND  # RFC 5382 REQ-5: 2 h 4 min
TRANSITORY: Final = 240 * SECOND  # RFC 5382 REQ-5: opening or closing
ICMP_TIMEOUT: Final = 60 * SECOND  # RFC 5508 REQ-2

_CHECKSUM: Final = {TCP: 16, UDP: 6}  # offset in the transport header
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16

Key = tuple[int, bytes, int]


@final
class Binding:
    """One inside endpoint and its outside port (or echo identifier)."""

    __slots__ = (
        "address",
        "closing",
        "established",
        "expires",
        "heard",
        "outside",
        "port",
        "protocol",
    )

    def __init__(
        self, protocol: int, address: bytes, port: int, outside: int, expires: int
    ) -> None:
        self.protocol: int = protocol
        self.address: bytes = address
        self.port: int = port
        self.outside: int = outside
        self.expires: int = expires  # NEVER: a port forward
        self.heard: bool = False  # something came from outside
        self.established: bool = False
        self.closing: int = 0  # TCP: bits of the sides that sent FIN; 3: over

    def touch(self, flags: int, outgoing: bool, now: int) -> None:
        """A packet of this binding passes; ``flags`` are TCP's."""
        self.heard |= not outgoing
        if self.expires == NEVER:
            return
        if self.protocol != TCP:
            if outgoing:  # RFC 4787 REQ-6
                timeout = UDP_TIMEOUT if self.protocol == UDP else ICMP_TIMEOUT
                self.expires = now + timeout
            return
        if flags & _SYN:
            self.closing = 0
        elif flags & _RST:
            self.closing = 3
        elif flags & _FIN:
            self.closing |= 1 if outgoing else 2
        elif flags & _ACK and self.heard:
            self.established = True
        long = self.established and self.closing != 3
        self.expires = now + (TCP_TIMEOUT if long else TRANSITORY)


def swap(value: int, old: bytes, new: bytes) -> int:
    """A checksum after an even number of bytes changed."""
    for at in range(0, len(old), 2):
        value = update(
            value, int.from_bytes(old[at : at + 2], "big"), int.from_bytes(new[at : at + 2], "big")
        )
    return value


def rewrite(
    data: bytearray,
    l3: int,
    l4: int,
    source: bool,
    address: bytes,
    port: int,
    partial: bool = False,
) -> None:
    """Give the packet at ``l3`` another source or destination; what is missing of it is left."""
    protocol = data[l3 + 9]
    at = l3 + (12 if source else 16)
    old = bytes(data[at : at + 4])
    data[at : at + 4] = address
    check = data[l3 + 10] << 8 | data[l3 + 11]
    data[l3 + 10 : l3 + 12] = swap(check, old, address).to_bytes(2, "big")
    place = l4 + (4 if protocol == ICMP else 0 if source else 2)
    before, after = bytes(data[place : place + 2]), port.to_bytes(2, "big")
    data[place : place + 2] = after
    field = l4 + (2 if protocol == ICMP else _CHECKSUM[protocol])
    if field + 2 > len(data):
        return  # TCP quoted with 8 bytes
    value = data[field] << 8 | data[field + 1]
    if protocol == ICMP:
        value = swap(value, before, after)
    elif partial:
        value = swap(value ^ 0xFFFF, old, address) ^ 0xFFFF
    elif protocol != UDP or value:
        value = swap(value, old + before, address + after)
        if protocol == UDP and value == 0:
            value = 0xFFFF
    data[field : field + 2] = value.to_bytes(2, "big")


@final
class Bindings:
    """The bindings of one NAT; ``limit`` of them at most beside port forwards."""

    def __init__(self, limit: int, drop: Callable[[int, str, str], None]) -> None:
        self.limit: int = limit
        self.inner: dict[Key, Binding] = {}
        self.outer: dict[tuple[int, int], Binding] = {}
        self._drop: Callable[[int, str, str], None] = drop
        self._statics: int = 0
        self._purge_at: int = 0  # ns; before that nothing is looked for

    def insert(self, binding: Binding) -> None:
        """Take a binding in; the first of an inside endpoint is the one it is seen by."""
        if binding.expires == NEVER:
            self._statics += 1
        self.inner.setdefault((binding.protocol, binding.address, binding.port), binding)
        self.outer[binding.protocol, binding.outside] = binding

    def remove(self, binding: Binding) -> None:
        """Forget a binding."""
        self.inner.pop((binding.protocol, binding.address, binding.port), None)
        self.outer.pop((binding.protocol, binding.outside), None)

    def inward(self, protocol: int, port: int, now: int) -> Binding | None:
        """The binding of an outside port."""
        binding = self.outer.get((protocol, port))
        if binding is not None and binding.expires <= now:
            self.remove(binding)
            return None
        return binding

    def outward(self, protocol: int, address: bytes, port: int, now: int) -> Binding | None:
        """The binding of an inside endpoint."""
        binding = self.inner.get((protocol, address, port))
        if binding is not None and binding.expires <= now:
            self.remove(binding)
            return None
        return binding

    def new(self, protocol: int, address: bytes, port: int, now: int) -> Binding | None:
        """A fresh binding; None: dropped and counted, there is no room."""
        if len(self.outer) - self._statics >= self.limit and now >= self._purge_at:
            for binding in [b for b in self.outer.values() if b.expires <= now]:
                self.remove(binding)
            # Every binding lives on for a while; look again when the shortest time may be over.
            soonest = min((b.expires for b in self.outer.values()), default=now)
            self._purge_at = min(soonest, now + ICMP_TIMEOUT)
        if len(self.outer) - self._statics >= self.limit:
            self._drop(now, "nat.full", "RFC 4787 §4.1")
            return None
        outside = self._port(protocol, port, now)
        if outside < 0:
            self._drop(now, "nat.no_port", "RFC 4787 §4.2.1")
            return None
        timeout = {TCP: TRANSITORY, UDP: UDP_TIMEOUT}.get(protocol, ICMP_TIMEOUT)
        binding = Binding(protocol, address, port, outside, now + timeout)
        self.insert(binding)
        return binding

    def _port(self, protocol: int, port: int, now: int) -> int:
        """The same port, or the next free one of its range and parity (REQ-3, REQ-4); -1: none."""
        if self.inward(protocol, port, now) is None:
            return port
        low, high = (2, 1024) if port < 1024 and protocol != ICMP else (1024, 65536)
        count = (high - low) // 2
        start = (port - low) // 2 if port >= low else 0
        for step in range(1, count + 1):
            candidate = low + (start + step) % count * 2 + (port & 1)
            if self.inward(protocol, candidate, now) is None:
                return candidate
        return -1
