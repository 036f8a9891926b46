# SPDX-License-Identifier: Apache-2.0
"""What a TCP layer lends its connections: settings, services and the way upward.

A connection knows neither its layer nor its host; it holds one `Environment` and calls the
handlers registered there.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, final

from capas.base.clock import SECOND, Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters, Tracer
from capas.base.memory import Memory
from capas.base.rng import Rng
from capas.transport.endpoint import Endpoint
from capas.transport.tcp.congestion.base import AckSample
from capas.transport.tcp.fastopen import FastOpenHost
from capas.transport.tcp.record import Outcome

if TYPE_CHECKING:
    from capas.internet.net import Internet
    from capas.transport.tcp.connection import TcpConnection
    from capas.transport.tcp.listener import TcpListener


@final
class Environment:
    """Shared by all connections of one host.

    ``fastopen``  cookies and their memory (RFC 7413)
    ``dirty``   connections with something to send; `TcpLayer.flush` empties it
    ``gone``    called when a connection is CLOSED for good; ``time_wait``: when it enters TIME-WAIT
    ``stop_listening``  called when a listener closes
    ``gtsm``    some socket wants to hear nobody from afar
    ``memory``  what the host's queues hold together
    ``ready``   the host's list of endpoints with news
    ``sample`` ``outcome``  what one acknowledgement did; valid until the next: one pair serves all
    """

    __slots__ = (
        "_challenge_second",
        "_challenges",
        "config",
        "counters",
        "dirty",
        "fastopen",
        "gone",
        "gtsm",
        "memory",
        "net",
        "outcome",
        "ready",
        "rng",
        "sample",
        "scheduler",
        "stop_listening",
        "time_wait",
        "trace",
    )

    def __init__(
        self,
        net: "Internet",
        config: HostConfig,
        counters: Counters,
        scheduler: Scheduler,
        rng: Rng,
        ready: list[Endpoint],
        memory: Memory,
        gone: "Callable[[TcpConnection, int], None]",
        time_wait: "Callable[[TcpConnection, int], None]",
        stop_listening: "Callable[[TcpListener], None]",
    ) -> None:
        self.net: Internet = net
        self.config: HostConfig = config
        self.counters: Counters = counters
        self.scheduler: Scheduler = scheduler
        self.rng: Rng = rng
        self.ready: list[Endpoint] = ready
        self.memory: Memory = memory
        self.gone: Callable[[TcpConnection, int], None] = gone
        self.time_wait: Callable[[TcpConnection, int], None] = time_wait
        self.stop_listening: Callable[[TcpListener], None] = stop_listening
        self.fastopen: FastOpenHost = FastOpenHost(config, rng.stream("fastopen"))
        self.dirty: list[TcpConnection] = []
        self.trace: Tracer | None = None
        self.sample: AckSample = AckSample()
        self.outcome: Outcome = Outcome()
        self.gtsm: bool = False
        self._challenge_second: int = -1
        self._challenges: int = 0

    def may_challenge(self, now: int) -> bool:
        """Challenge ACKs per second and host (RFC 5961 §7); the limit varies against probing."""
        second = now // SECOND
        if second != self._challenge_second:
            self._challenge_second = second
            limit = self.config.tcp_challenge_ack_limit
            self._challenges = (limit + 1) // 2 + self.rng.below(max(limit, 1))
        if self._challenges <= 0:
            self.counters.add("tcp.challenge_limited")
            return False
        self._challenges -= 1
        return True
