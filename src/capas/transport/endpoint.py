# SPDX-License-Identifier: Apache-2.0
"""What a socket waits on: readiness bits, recorded here and delivered by a driver.

`set_ready` wakes nobody.  The host collects endpoints with new readiness in one list; the driver
takes that list after `Host.flush` and tells the watchers.
"""

from typing import Final, Protocol, final

READ: Final = 1  # data, a connection to accept, or end of stream
WRITE: Final = 2  # room in the send buffer, or connected
ERROR: Final = 4  # an error is pending (SO_ERROR)
HANGUP: Final = 8  # both directions are over
URGENT: Final = 16  # an octet out of line (RFC 9293 §3.8.5)


class Watcher(Protocol):
    """Somebody who waits: a selector, a blocked thread."""

    __slots__ = ()

    def endpoint_ready(self, endpoint: "Endpoint") -> None:
        """``endpoint.readiness`` gained a bit."""


@final
class Endpoint:
    """Readiness of one socket.

    ``readiness``  READ | WRITE | ERROR | HANGUP | URGENT, level-triggered
    ``watcher``    whom the driver tells; owned by the socket layer
    ``queued``     on the host's list of endpoints with news, until the host hands that over
    ``eager``      the watcher is told of what comes even if there was some already (EPOLLET)
    """

    __slots__ = ("_ready", "eager", "queued", "readiness", "watcher")

    def __init__(self, ready: "list[Endpoint]") -> None:
        self.readiness: int = 0
        self.watcher: Watcher | None = None
        self._ready: list[Endpoint] = ready
        self.queued: bool = False
        self.eager: bool = False

    def set_ready(self, bits: int) -> None:
        """Add bits; record the edge for the driver."""
        if bits & ~self.readiness or self.eager:
            self.readiness |= bits
            if not self.queued:
                self.queued = True
                self._ready.append(self)

    def clear(self, bits: int) -> None:
        """Remove bits."""
        self.readiness &= ~bits
