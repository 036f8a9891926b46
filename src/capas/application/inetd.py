# SPDX-License-Identifier: Apache-2.0
"""The small services every host once had: echo, discard, daytime and chargen, over TCP and UDP.

RFC 862 (echo, port 7), RFC 863 (discard, 9), RFC 867 (daytime, 13), RFC 864 (chargen, 19).

A UDP server here never answers a datagram that comes from the port of another such service, or two
of them would answer each other for ever.  Flow control is the transport's: a peer that does not
read stops the server from reading, nothing piles up.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from capas.application.serving import ANY, Service, listen_tcp, listen_udp
from capas.base.rng import Rng

Wall = Callable[[], float]  # seconds since the Unix epoch

PORTS: Final = {"echo": 7, "discard": 9, "daytime": 13, "chargen": 19}

#: Source ports no UDP service here answers: those of services that answer anything.
LOOPING_PORTS: Final = frozenset((0, 7, 13, 17, 19, 37))

_LINE: Final = 72  # characters of a chargen line, RFC 864
_FIRST: Final = 32  # the printing characters of US-ASCII: 32 to 126
_COUNT: Final = 95
_RING: Final = bytes(range(_FIRST, _FIRST + _COUNT)) * 2
#: Characters of a chargen datagram: RFC 864 says 0 to 512; asyncio cannot send 0 before 3.13.
_UDP_MOST: Final = 512


def chargen_line(number: int) -> bytes:
    """Line ``number`` of the popular pattern of RFC 864, with its CR LF."""
    start = number % _COUNT
    return _RING[start : start + _LINE] + b"\r\n"


#: One turn of the pattern: 95 lines, 7030 bytes.
PATTERN: Final = b"".join(chargen_line(n) for n in range(_COUNT))

#: What one write of chargen takes: some super-frames, a whole number of patterns.
_BLOCK: Final = PATTERN * 72

#: Where discard lets everything go; as much as may arrive in one turn.
_DISCARDED: Final = memoryview(bytearray(2 << 20))

# Names are written out, not by strftime, which follows the locale.
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip


def daytime_text(seconds: float) -> bytes:
    """Such as "Tuesday, February 22, 1982 17:37:43-UTC": the first syntax of RFC 867."""
    moment = datetime.fromtimestamp(seconds, UTC)
    day = f"{_DAYS[moment.weekday()]}, {_MONTHS[moment.month - 1]} {moment.day}, {moment.year}"
    return f"{day} {moment:%H:%M:%S}-UTC\r\n".encode("ascii")


class _Stream(asyncio.Protocol):
    """Base: remembers the transport."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport


class _EchoStream(_Stream):
    """Sends back what it gets; stops reading while the peer does not read."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class _DiscardStream(asyncio.BufferedProtocol):
    """Throws away what it gets: all of them into the same memory."""

    def get_buffer(self, sizehint: int) -> memoryview:
        return _DISCARDED

    def buffer_updated(self, nbytes: int) -> None:
        pass


class _DaytimeStream(_Stream):
    """Says the time and closes; input is ignored."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(daytime_text(self._wall()))
        self.transport.close()


class _ChargenStream(_Stream):
    """Sends the pattern until the peer has had enough; input is ignored."""

    def __init__(self) -> None:
        self._open = False
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._open = True
        asyncio.get_running_loop().call_soon(self._more)

    def _more(self) -> None:
        # Not more than the connection holds: a fast reader does not starve the others.
        while self._open and not self._paused and not self.transport.is_closing():
            self.transport.write(_BLOCK)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._more()

    def eof_received(self) -> bool:
        return True  # a peer that only listens may have closed its half

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False


class _UdpService(asyncio.DatagramProtocol):
    """Answers each datagram with ``answer(data)``; None means no answer."""

    transport: asyncio.DatagramTransport

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if addr[1] in LOOPING_PORTS:
            return
        answer = self._answer(data)
        if answer is not None:
            self.transport.sendto(answer, addr)


async def start(
    name: str,
    port: int | None = None,
    addresses: Sequence[str] = ANY,
    *,
    wall: Wall | None = None,
    seed: int = 0,
) -> Service:
    """Serve ``name`` ("echo", "discard", "daytime" or "chargen") over TCP and UDP.

    ``port`` defaults to the well-known one, ``wall`` is where daytime reads the time (None: the
    program's), ``seed`` where the random lengths of chargen datagrams (RFC 864) come from.
    """
    if name not in PORTS:
        raise ValueError(f"no small service is called {name!r}; there are {', '.join(PORTS)}")
    rng = Rng(seed).stream("chargen")
    clock = wall if wall is not None else time.time  # looked up now: a virtual world replaces it
    stream: Callable[[], asyncio.BaseProtocol]
    answer: Callable[[bytes], bytes | None]
    if name == "echo":
        stream, answer = _EchoStream, bytes
    elif name == "discard":
        stream, answer = _DiscardStream, _nothing
    elif name == "daytime":
        stream, answer = (lambda: _DaytimeStream(clock)), (lambda _: daytime_text(clock()))
    else:
        stream, answer = _ChargenStream, (lambda _: PATTERN[: rng.between(1, _UDP_MOST)])
    service = Service(name, PORTS[name] if port is None else port)
    await listen_tcp(service, stream, service.port, addresses)
    await listen_udp(service, lambda: _UdpService(answer), service.port, addresses)
    return service


def _nothing(_: bytes) -> None:
    """Discard's answer."""
