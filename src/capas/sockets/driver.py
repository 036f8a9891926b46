# SPDX-License-Identifier: Apache-2.0
"""The contract between sockets and whatever makes time pass.

Sockets never wait by themselves.  A driver owns the clock and a set of hosts: `SimDriver` (virtual
time, `capas.sim`) or `RealDriver` (TAP, TUN and pipes, `capas.real`).
"""

from abc import ABC, abstractmethod

from capas.host.host import Host
from capas.transport.endpoint import Endpoint


class Driver(ABC):
    """Makes time pass for a set of hosts."""

    @abstractmethod
    def now(self) -> int:
        """The driver's time, ns."""

    @abstractmethod
    def wall(self) -> float:
        """Seconds since the Unix epoch, as ``time.time()`` should tell a program."""

    @abstractmethod
    def kick(self, host: Host) -> None:
        """User code changed something on ``host``: flush it before waiting."""

    @abstractmethod
    def wait(self, endpoint: Endpoint, mask: int, deadline: int) -> int:
        """Block the calling program until ``endpoint.readiness & mask`` or ``deadline``.

        Returns the ready bits, 0 on timeout.  Raises BlockingInLoopError where blocking would stop
        the event loop that makes time pass.
        """

    @abstractmethod
    def sleep(self, deadline: int) -> None:
        """Block the calling program until ``deadline``."""

    @abstractmethod
    def turn(self, deadline: int) -> None:
        """Let the network run until a watched endpoint gains readiness, or until ``deadline``.

        Called by an event loop's selector.  Returns early if anything the loop should look at has
        happened; a deadline in the past means "what is due now, without waiting".
        """
