# SPDX-License-Identifier: Apache-2.0
"""Who holds a port, and ephemeral ports that cannot be guessed (RFC 6056 §3.3.4, double hash).

``F`` of the remote end gives the offset where its row of ports begins, ``G`` picks the counter that
walks the row; so ports towards one server follow each other (no early reuse), while nobody else can
tell where they stand.  TCP and UDP each have one of these.  Without a remote end (a socket bound to
port 0) the empty address hashes like any other.
"""

import errno
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, final

from capas.base.config import HostConfig
from capas.base.rng import Rng
from capas.errors import os_error
from capas.wire.address import ANY6, is_unspecified

_COUNTERS: Final = 64  # RFC 6056 §3.3.4: TABLE_LENGTH, 10 bytes would do


@final
class EphemeralPorts:
    """Chooses ports in [config.port_low, config.port_high]."""

    __slots__ = ("_config", "_counters", "_f_key", "_g_key", "_rng")

    def __init__(self, config: HostConfig, rng: Rng) -> None:
        self._config: HostConfig = config
        self._rng: Rng = rng
        self._f_key: bytes = b""
        self._g_key: bytes = b""
        self._counters: list[int] = []

    def _draw(self) -> None:
        """The secrets: many a host never asks for a port."""
        rng = self._rng
        self._f_key = rng.bytes(16)
        self._g_key = rng.bytes(16)
        self._counters.extend([rng.u16() for _ in range(_COUNTERS)])

    def pick(
        self,
        local: bytes,
        remote: bytes,
        remote_port: int,
        free: Callable[[int], bool],
        span: int = 0,
    ) -> int:
        """A port for which ``free(port)``; 0 if none is left (EADDRINUSE or EADDRNOTAVAIL).

        ``span``  IP_LOCAL_PORT_RANGE, the last port in the upper half; it only narrows the host's
        """
        low, high = self._config.port_low, self._config.port_high
        first, last = span & 0xFFFF, span >> 16 & 0xFFFF
        if low <= first <= high:
            low = first
        if low <= last <= high:
            high = last
        count = high - low + 1
        if count <= 0:
            return 0
        if not self._counters:
            self._draw()
        name = local + b"|" + remote + remote_port.to_bytes(2, "big")
        offset = int.from_bytes(blake2b(name, digest_size=8, key=self._f_key).digest(), "big")
        index = blake2b(name, digest_size=1, key=self._g_key).digest()[0] % _COUNTERS
        counters = self._counters
        for _ in range(count):
            port = low + (offset + counters[index]) % count
            counters[index] += 1
            if free(port):
                return port
        return 0


def overlap(a: bytes, a_v6only: bool, b: bytes, b_v6only: bool) -> bool:
    """Whether two local addresses can receive the same packet (families mix: RFC 3493 §5.3)."""
    if len(a) == len(b):
        return a == b or is_unspecified(a) or is_unspecified(b)
    if len(a) == 16:
        return a == ANY6 and not a_v6only
    return b == ANY6 and not b_v6only


@final
class Binding:
    """A TCP port held by a socket that was bound, and by its listener."""

    __slots__ = (
        "address",
        "device",
        "listening",
        "on_link",
        "port",
        "prefer_source",
        "reuse_address",
        "reuse_port",
        "span",
        "v6only",
    )

    def __init__(
        self,
        address: bytes,
        port: int,
        reuse_address: bool = False,
        reuse_port: bool = False,
        v6only: bool = True,
        device: int = 0,
        span: int = 0,
        prefer_source: int = 0,
        on_link: bool = False,
    ) -> None:
        self.address: bytes = address
        self.port: int = port
        self.reuse_address: bool = reuse_address
        self.reuse_port: bool = reuse_port
        self.v6only: bool = v6only
        self.device: int = device
        self.span: int = span  # as for `EphemeralPorts.pick`
        self.prefer_source: int = prefer_source  # as for `Internet.source`
        self.on_link: bool = on_link  # likewise
        self.listening: bool = False


@final
class PortBindings:
    """The bound TCP ports of a host, by Linux's rules (inet_csk_bind_conflict)."""

    __slots__ = ("ephemeral", "ports")

    def __init__(self, ephemeral: EphemeralPorts) -> None:
        self.ephemeral: EphemeralPorts = ephemeral
        self.ports: dict[int, list[Binding]] = {}

    def bind(self, wanted: Binding, remote: bytes = b"", remote_port: int = 0) -> Binding:
        """Hold ``wanted.port``, or pick one if it is 0; OSError EADDRINUSE."""
        if wanted.port == 0:
            ports = self.ports
            wanted.port = self.ephemeral.pick(
                wanted.address, remote, remote_port, lambda port: port not in ports, wanted.span
            )
            if wanted.port == 0:
                raise os_error(errno.EADDRINUSE)
        elif self.conflict(wanted):
            raise os_error(errno.EADDRINUSE)
        self.ports.setdefault(wanted.port, []).append(wanted)
        return wanted

    def listen(self, binding: Binding) -> None:
        """``binding`` starts to listen: no other listener may be in its way (EADDRINUSE)."""
        binding.listening = True
        if self.conflict(binding):
            binding.listening = False
            raise os_error(errno.EADDRINUSE)

    def conflict(self, wanted: Binding) -> bool:
        """Whether somebody holds what ``wanted`` asks for."""
        for other in self.ports.get(wanted.port, ()):
            if other is wanted:
                continue
            if wanted.device and other.device and wanted.device != other.device:
                continue
            if wanted.reuse_address and other.reuse_address and not other.listening:
                continue
            if wanted.reuse_port and other.reuse_port:
                continue
            if overlap(wanted.address, wanted.v6only, other.address, other.v6only):
                return True
        return False

    def release(self, binding: Binding) -> None:
        """Nobody holds it any more."""
        held = self.ports[binding.port]
        held.remove(binding)
        if not held:
            del self.ports[binding.port]
