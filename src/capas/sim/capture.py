# SPDX-License-Identifier: Apache-2.0
"""One pcapng file of a whole world: an interface per port, switch ports too, virtual timestamps.

The section's comment holds the seed; comments on packets say what the hosts decided.
"""

from collections.abc import Callable
from functools import partial
from typing import IO, cast, final

from capas.host.host import Host
from capas.link.interface import Interface
from capas.link.pcapng import Capture, CaptureWriter
from capas.sim.switch import SwitchPort


@final
class WorldCapture:
    """Writes what passes the ports of a world; a context manager."""

    def __init__(self, file: "str | IO[bytes]", seed: object, epoch: int) -> None:
        self._own: bool = isinstance(file, str) or not hasattr(file, "write")
        self._file: IO[bytes] = open(file, "wb") if self._own else cast("IO[bytes]", file)  # type: ignore[arg-type] # noqa: SIM115
        self.capture: Capture = Capture(
            CaptureWriter(
                partial(self._do, self._file.write),
                comment=f"capas world, seed {seed}",
                epoch=epoch,
            )
        )
        self._taps: list[Interface | SwitchPort] = []
        self.closed: bool = False

    def add_host(self, host: Host) -> None:
        """Capture a host's interfaces and decisions."""
        host.set_trace(self.capture.tracer(host.name, host.trace))
        for interface in host.interfaces:
            self.add_interface(host, interface)

    def add_interface(self, host: Host, interface: Interface) -> None:
        """Capture one more interface of a host."""
        self.capture.watch(interface, host.name)
        self._taps.append(interface)

    def add_switch_port(self, port: SwitchPort) -> None:
        """Capture a port of a switch, which looks enough like an interface."""
        self.capture.watch(cast(Interface, port), port.switch.name)
        self._taps.append(port)

    def secrets(self, keylog: bytes) -> None:
        """Write TLS secrets (SSLKEYLOGFILE lines) for what follows."""
        self.capture.secrets(keylog)

    def close(self) -> None:
        """Stop capturing and finish the file."""
        if self.closed:
            return
        self.closed = True
        for port in self._taps:
            if self.capture in port.taps:
                port.taps.remove(self.capture)
        try:
            self.capture.close()
        finally:
            self._do(self._file.close if self._own else self._file.flush)

    def _do(self, call: Callable[..., object], *arguments: bytes) -> None:
        """Say which file it was, if this fails: a full disk does not."""
        try:
            call(*arguments)
        except OSError as error:
            if self._own and error.filename is None:
                error.filename = self._file.name
            raise

    def __enter__(self) -> "WorldCapture":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
