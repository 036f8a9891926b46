# SPDX-License-Identifier: Apache-2.0
"""The two roles of an iperf3 test: `measure`, the client, and `start`, the server on port 5201."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, final

from capas.application import iperf
from capas.application.iperf import Interval, IperfError, Parameters, Peer, Result, Streams
from capas.application.serving import ANY, Service, listen_tcp
from capas.base.rng import Rng

Tell = Callable[[list[Interval]], None]
_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz234567"  # of a cookie
_POLL: Final = 0.01  # s between looks whether an amount has been sent
_LATE: Final = 30.0  # s a client may take longer than it said


async def measure(
    address: str,
    port: int = iperf.PORT,
    parameters: Parameters | None = None,
    *,
    tell: Tell | None = None,
    seed: int | bytes = 0,
) -> Result:
    """Test against a server; ``tell`` hears of each interval.  OSError, `IperfError`."""
    wanted = parameters or Parameters()
    rng = Rng(seed).stream("iperf")
    cookie = bytes(_LETTERS[rng.below(32)] for _ in range(iperf.COOKIE - 1)) + b"\0"
    streams = Streams(wanted, not wanted.reverse, tell)
    control = await _connect(address, port, cookie)
    try:
        while True:
            state = await control.state()
            if state == iperf.PARAM_EXCHANGE:
                control.tell_json(wanted.as_json())
            elif state == iperf.CREATE_STREAMS:
                for _ in range(wanted.streams):
                    peer = await _connect(address, port, cookie)
                    peer.counts = wanted.reverse
                    streams.peers.append(peer)
            elif state == iperf.TEST_RUNNING:
                await _run(control, streams)
            elif state == iperf.EXCHANGE_RESULTS:
                control.tell_json(streams.as_json())
                streams.learn(await control.json())
            elif state == iperf.DISPLAY_RESULTS:
                control.tell(iperf.IPERF_DONE)
                return streams.result
            elif state == iperf.ACCESS_DENIED:
                raise IperfError("the server is busy with another test")
            elif state in (iperf.SERVER_TERMINATE, iperf.SERVER_ERROR):
                raise IperfError("the server has ended the test")
            elif state != iperf.TEST_START:
                raise IperfError(f"the server speaks another protocol (state {state})")
    finally:
        streams.close()
        control.transport.close()


async def _connect(address: str, port: int, cookie: bytes) -> Peer:
    _, peer = await asyncio.get_running_loop().create_connection(Peer, address, port)
    peer.transport.write(cookie)
    return peer


async def _run(control: Peer, streams: Streams) -> None:
    """Send or count for as long as was wanted, then say so."""
    wanted = streams.parameters
    streams.start()
    if wanted.amount:
        while not streams.done() and not control.lost.is_set():
            await asyncio.sleep(_POLL)
    else:
        try:
            async with asyncio.timeout(wanted.seconds):
                await control.lost.wait()
        except TimeoutError:
            pass
    if control.lost.is_set():
        raise IperfError("the server has left the test")
    streams.stop()
    control.tell(iperf.TEST_END)


@final
class _Server:
    """One test at a time; whoever comes meanwhile is told that the server is busy."""

    def __init__(self, tell: Tell | None) -> None:
        self._tell = tell
        self._cookie: bytes = b""
        self._streams: Streams | None = None  # wants streams
        self._complete: asyncio.Event = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.tests: int = 0
        self._over: bool = False  # the results of the last test are told: the next may begin

    def accept(self) -> Peer:
        """A connection whose cookie says what it is for."""
        peer = Peer(self._greeted)
        asyncio.get_running_loop().call_later(iperf.PATIENCE, peer.expect_greeting)
        return peer

    def _greeted(self, peer: Peer, cookie: bytes) -> None:
        streams = self._streams
        if self.task is None or self.task.done() or self._over:
            self._cookie, self._over = cookie, False
            self.task = asyncio.get_running_loop().create_task(self._serve(peer, self.task))
        elif cookie == self._cookie and streams is not None:
            peer.counts = not streams.sending
            streams.peers.append(peer)
            if len(streams.peers) == streams.parameters.streams:
                self._streams = None
                self._complete.set()
        else:
            peer.tell(iperf.ACCESS_DENIED)
            peer.transport.close()

    async def _serve(self, control: Peer, before: "asyncio.Task[None] | None") -> None:
        if before is not None:  # its client may not have said goodbye yet
            before.cancel()
            await asyncio.wait([before])
        streams: Streams | None = None
        try:
            control.tell(iperf.PARAM_EXCHANGE)
            wanted = Parameters.from_json(await control.json())
            if wanted is None:
                control.refuse()
                return
            streams = self._streams = Streams(wanted, wanted.reverse, self._tell)
            self._complete.clear()
            control.tell(iperf.CREATE_STREAMS)
            async with asyncio.timeout(iperf.PATIENCE):
                await self._complete.wait()
            control.tell(iperf.TEST_START)
            control.tell(iperf.TEST_RUNNING)
            streams.start()
            if await control.state((wanted.seconds or iperf.LONGEST) + _LATE) != iperf.TEST_END:
                return
            streams.stop()
            if streams.sending:
                streams.close()  # as iperf3: its client reads to the end before it goes on
            control.tell(iperf.EXCHANGE_RESULTS)
            streams.learn(await control.json())
            control.tell_json(streams.as_json())
            control.tell(iperf.DISPLAY_RESULTS)
            self.tests += 1
            self._over = True
            await control.state()
        except (IperfError, TimeoutError, OSError):
            pass  # the next one may come
        finally:
            self._streams = None
            if streams is not None:
                streams.close()
            control.transport.close()

    def close(self) -> None:
        """The test that runs is over, too."""
        if self.task is not None:
            self.task.cancel()


async def start(
    port: int = iperf.PORT, addresses: Sequence[str] = ANY, *, tell: Tell | None = None
) -> Service:
    """Serve tests on both families; ``tell`` hears of each interval."""
    server = _Server(tell)
    service = Service("iperf", port)
    await listen_tcp(service, server.accept, port, addresses)
    service.closers.append(server.close)
    return service
