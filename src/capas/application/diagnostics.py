# SPDX-License-Identifier: Apache-2.0
"""ping and traceroute as coroutines on a host (RFC 792, RFC 4443; RFC 1122 §3.2.2.6).

Both send echo requests; traceroute gives them a growing TTL and listens for who reports
"time exceeded".  They run under an event loop on the host's own driver, in virtual or real time.
Times are ns, sizes bytes of payload, addresses packed.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, final

from capas.base.clock import MS
from capas.host.host import Host
from capas.internet.echo import REPLY, EchoResult
from capas.internet.types import KIND_NAMES, TIME_EXCEEDED
from capas.sockets.driver import driver_of
from capas.transport.endpoint import Endpoint
from capas.wire.address import text

DEFAULT_SIZE: Final = 56  # bytes of payload, as ping has sent since 1983
MAX_HOPS: Final = 30
PROBES: Final = 3  # for each hop
GAP_LIMIT: Final = 8  # silent hops in a row after which traceroute gives up


class Echo(NamedTuple):
    """What became of one request; without an answer ``source`` is b"" and ``rtt`` -1."""

    sequence: int
    source: bytes = b""
    ttl: int = 0
    rtt: int = -1
    size: int = 0
    error: str = ""  # "" for a reply or silence, else what was reported
    mtu: int = 0

    @property
    def answered(self) -> bool:
        """Whether the target itself replied."""
        return self.rtt >= 0 and not self.error


class Hop(NamedTuple):
    """One step of a route: who answered each probe, and when; ``rtts`` holds -1 for silence."""

    ttl: int
    sources: tuple[bytes, ...]
    rtts: tuple[int, ...]
    reached: bool
    error: str = ""

    @property
    def source(self) -> bytes:
        """The first who answered; b"" if nobody did."""
        return next((source for source in self.sources if source), b"")


@final
class EchoClient:
    """An echo session that can be awaited; use it as a context manager."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._driver = driver_of(host)
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._endpoint = host.new_endpoint()
        self._endpoint.watcher = self
        self._session = host.icmp.open_echo(self._endpoint)
        self._sent: dict[int, int] = {}  # sequence -> ns

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """The driver says that something came."""
        self._event.set()

    def __enter__(self) -> "EchoClient":
        return self

    def __exit__(self, *_: object) -> None:
        with self._driver.lock:
            self._session.close()
            self._endpoint.watcher = None

    def send(
        self, target: bytes, sequence: int, payload: bytes, ttl: int = 0, df: bool = False
    ) -> bool:
        """Send one request; False if it could not leave this host."""
        with self._driver.lock:
            now = self._driver.now()
            self._sent[sequence & 0xFFFF] = now
            sent = self._session.send(target, sequence, payload, now, ttl, df=df)
        self._driver.kick(self._host)
        return sent

    def _take(self) -> EchoResult | None:
        with self._driver.lock:
            return self._session.receive()

    async def answer(self, sequence: int, timeout: float) -> Echo:
        """What came back for one request within ``timeout`` seconds; others are passed over."""
        sequence &= 0xFFFF
        deadline = self._loop.time() + timeout
        while True:
            self._event.clear()
            while (result := self._take()) is not None:
                if result.sequence == sequence:
                    return self._echo(result)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._event.wait()
            except TimeoutError:
                return Echo(sequence)

    def _echo(self, result: EchoResult) -> Echo:
        error = ""
        if result.kind != REPLY:
            error = KIND_NAMES.get(result.kind, f"error {result.type}/{result.code}")
        rtt = result.time - self._sent.get(result.sequence, result.time)
        return Echo(result.sequence, result.source, result.ttl, rtt, result.size, error, result.mtu)


async def ping(
    host: Host,
    target: bytes,
    *,
    count: int = 4,
    interval: float = 1.0,
    size: int = DEFAULT_SIZE,
    timeout: float = 2.0,
    ttl: int = 0,
    df: bool = False,
    on_echo: Callable[[Echo], object] | None = None,
) -> list[Echo]:
    """Ask ``count`` times, ``interval`` seconds apart; what became of each request."""
    loop = asyncio.get_running_loop()
    payload = bytes(n & 0xFF for n in range(size))
    found = []
    with EchoClient(host) as client:
        for sequence in range(1, count + 1):
            started = loop.time()
            if client.send(target, sequence, payload, ttl, df):
                echo = await client.answer(sequence, timeout)
            else:
                echo = Echo(sequence, error=f"no route to {text(target)}")
            found.append(echo)
            if on_echo is not None:
                on_echo(echo)
            rest = started + interval - loop.time()
            if sequence < count and rest > 0:
                await asyncio.sleep(rest)
    return found


async def traceroute(
    host: Host,
    target: bytes,
    *,
    max_hops: int = MAX_HOPS,
    probes: int = PROBES,
    timeout: float = 2.0,
    on_hop: Callable[[Hop], object] | None = None,
) -> list[Hop]:
    """The routers on the way to ``target``, and it as the last if it answers."""
    found: list[Hop] = []
    silent = 0
    with EchoClient(host) as client:
        for ttl in range(1, max_hops + 1):
            echoes = []
            for probe in range(probes):
                sequence = ttl * probes + probe
                if not client.send(target, sequence, bytes(DEFAULT_SIZE), ttl):
                    raise OSError(f"no route to {text(target)}")
                echoes.append(await client.answer(sequence, timeout))
            hop = _hop(ttl, echoes)
            found.append(hop)
            if on_hop is not None:
                on_hop(hop)
            silent = 0 if hop.source else silent + 1
            if hop.reached or hop.error or silent >= GAP_LIMIT:
                break
    return found


def _hop(ttl: int, echoes: list[Echo]) -> Hop:
    exceeded = KIND_NAMES[TIME_EXCEEDED]
    errors = [echo.error for echo in echoes if echo.error not in ("", exceeded)]
    return Hop(
        ttl,
        tuple(echo.source for echo in echoes),
        tuple(echo.rtt for echo in echoes),
        any(echo.answered for echo in echoes),
        errors[0] if errors else "",
    )


def milliseconds(ns: int) -> str:
    """Such as "20.3 ms"; "*" for a request without an answer."""
    if ns < 0:
        return "*"
    return f"{ns / MS:.1f} ms" if ns >= MS else f"{ns / MS:.3f} ms"
