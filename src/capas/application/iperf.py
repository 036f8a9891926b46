# SPDX-License-Identifier: Apache-2.0
"""Throughput by TCP, in the protocol of iperf3 3.x: both ends of its control connection.

The protocol has no RFC; this is what `iperf3 --debug` shows: a control connection begins with a
cookie of 37 bytes, then single bytes name states, and JSON with a length of four bytes before it
goes between them.  Streams are further connections that begin with the same cookie.  What the other
side says is untrusted and capped: `JSON_MAX`, `STREAMS_MAX`, one test at a time, and patience.
Times are seconds of the event loop, sizes bytes.
"""

import asyncio
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, final

from capas.errors import CapasError

PORT: Final = 5201
COOKIE: Final = 37  # bytes, the last one 0
BLOCK: Final = 131_072  # bytes of one write
STREAMS_MAX: Final = 128
JSON_MAX: Final = 65_536  # bytes
LONGEST: Final = 86_400  # s of a test
PATIENCE: Final = 15.0  # s for the next step of the other side
INTERVAL: Final = 1.0  # s

TEST_START: Final = 1
TEST_RUNNING: Final = 2
TEST_END: Final = 4
PARAM_EXCHANGE: Final = 9
CREATE_STREAMS: Final = 10
SERVER_TERMINATE: Final = 11
CLIENT_TERMINATE: Final = 12
EXCHANGE_RESULTS: Final = 13
DISPLAY_RESULTS: Final = 14
IPERF_DONE: Final = 16
ACCESS_DENIED: Final = 0xFF
SERVER_ERROR: Final = 0xFE

_NOT_IMPLEMENTED: Final = 13  # iperf3's IEUNIMP
_WRITES: Final = 8  # blocks in one turn of the loop, so that other streams have theirs
_TCP_INFO: Final = (6, 11, 104)  # level, option, bytes: up to tcpi_total_retrans
_INFO: Final = struct.Struct("@16xI48xI8xI16xI")  # snd_mss, rtt, snd_cwnd, total_retrans
_LENGTH: Final = struct.Struct("!I")


class IperfError(CapasError):
    """The other side does not take part, or not in this protocol."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is measured; ``amount`` bytes instead of ``seconds`` if not 0."""

    seconds: int = 10
    amount: int = 0
    streams: int = 1
    reverse: bool = False  # the server sends
    block: int = BLOCK

    def as_json(self) -> dict[str, Any]:
        """In iperf3's words."""
        told: dict[str, Any] = {
            "tcp": True, "omit": 0, "time": 0 if self.amount else self.seconds,
            "num": self.amount, "blockcount": 0, "parallel": self.streams, "len": self.block,
            "pacing_timer": 1000, "client_version": "3.12",
        }  # fmt: skip
        if self.reverse:
            told["reverse"] = True
        return told

    @staticmethod
    def from_json(told: Any) -> "Parameters | None":
        """None: asks for what is not here (UDP, SCTP, both ways), or for nonsense."""
        if not isinstance(told, dict) or not told.get("tcp") or told.get("bidirectional"):
            return None
        seconds, amount = _count(told, "time", 0), _count(told, "num", 0)
        streams, block = _count(told, "parallel", 1), _count(told, "len", BLOCK)
        if seconds > LONGEST or not 1 <= streams <= STREAMS_MAX or not 1 <= block <= 1 << 20:
            return None
        return Parameters(seconds, amount, streams, bool(told.get("reverse")), block)


def _count(told: dict[str, Any], key: str, default: int) -> int:
    value = told.get(key, default)
    return value if isinstance(value, int) and value >= 0 else -1


@dataclass(frozen=True, slots=True)
class Interval:
    """What went by between two moments of a test; ``number`` -1 for all streams together."""

    number: int
    start: float
    end: float
    size: int
    retransmits: int = -1  # -1: not known here
    cwnd: int = -1

    @property
    def rate(self) -> float:
        """Bits per second."""
        return self.size * 8 / (self.end - self.start) if self.end > self.start else 0.0


@dataclass(slots=True)
class Result:
    """The end of a test, by stream: bytes and seconds at each end."""

    parameters: Parameters
    seconds: float = 0.0  # at this end
    far_seconds: float = 0.0  # at the other
    sent: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    retransmits: list[int] = field(default_factory=list)
    intervals: list[list[Interval]] = field(default_factory=list)


@final
class Peer(asyncio.Protocol):
    """One connection: first a cookie (``greeted`` gets it), then messages, or bytes of a stream."""

    transport: asyncio.Transport

    def __init__(self, greeted: "Callable[[Peer, bytes], None] | None" = None) -> None:
        self.size: int = 0  # bytes of the stream, either way
        self.counts: bool = False  # what comes is a stream's
        self.lost: asyncio.Event = asyncio.Event()
        self.messages: asyncio.StreamReader = asyncio.StreamReader(2 * JSON_MAX)
        self._greeted = greeted
        self._head: bytes = b""
        self._said: int = 0  # bytes of messages
        self._paused: bool = False
        self._block: bytes = b""
        self._left: int = 0  # bytes to send

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Both ends."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """A cookie, a message, or what is measured."""
        if self.counts:
            self.size += len(data)
        elif self._greeted is not None:
            self._head += data
            if len(self._head) >= COOKIE:
                greeted, self._greeted = self._greeted, None
                cookie, rest = self._head[:COOKIE], self._head[COOKIE:]
                greeted(self, cookie)
                if rest:
                    self.data_received(rest)
        else:
            self._said += len(data)
            if self._said > 2 * JSON_MAX + COOKIE:  # parameters and results need no more
                self.transport.abort()
                return
            self.messages.feed_data(data)

    def eof_received(self) -> bool:
        """A stream's end, or the other side has left."""
        self.messages.feed_eof()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self.messages.feed_eof()
        self._left = 0
        self.lost.set()

    # -- control ----------------------------------------------------------------------------------

    def tell(self, state: int) -> None:
        """Name a state."""
        self.transport.write(bytes((state,)))

    def refuse(self) -> None:
        """Not this kind of test."""
        self.transport.write(bytes((SERVER_ERROR,)) + struct.pack("!ii", _NOT_IMPLEMENTED, 0))

    def expect_greeting(self) -> None:
        """Time is up for who has not said what it comes for."""
        if self._greeted is not None:
            self.transport.abort()

    def tell_json(self, value: object) -> None:
        """Parameters or results."""
        data = json.dumps(value).encode()
        self.transport.write(_LENGTH.pack(len(data)) + data)

    async def state(self, patience: float = PATIENCE) -> int:
        """The next state the other side names."""
        return (await self._read(1, patience))[0]

    async def json(self) -> Any:
        """The next JSON value."""
        (size,) = _LENGTH.unpack(await self._read(4, PATIENCE))
        if size > JSON_MAX:
            raise IperfError(f"the other side announces {size} bytes of JSON")
        try:
            return json.loads(await self._read(size, PATIENCE))
        except (ValueError, RecursionError):
            raise IperfError("the other side does not speak iperf3's protocol") from None

    async def _read(self, size: int, patience: float) -> bytes:
        try:
            async with asyncio.timeout(patience):
                return await self.messages.readexactly(size)
        except asyncio.IncompleteReadError:
            raise IperfError("the other side has left the test") from None
        except TimeoutError:
            raise IperfError(f"the other side was silent for {patience:.0f} s") from None

    # -- a stream ---------------------------------------------------------------------------------

    def send(self, block: int, amount: int) -> None:
        """Write blocks until `stop`, or ``amount`` bytes."""
        self._block = bytes(block)
        self._left = amount
        self.transport.set_write_buffer_limits(block)
        self._more()

    def _more(self) -> None:
        for _ in range(_WRITES):
            if self._paused or self._left <= 0 or self.transport.is_closing():
                return
            piece = self._block[: self._left]
            self._left -= len(piece)
            self.size += len(piece)
            self.transport.write(piece)
        asyncio.get_running_loop().call_soon(self._more)

    def pause_writing(self) -> None:
        """The send buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._paused = False
        self._more()

    @property
    def passed(self) -> int:
        """Bytes that went to the network, or came."""
        return self.size - (0 if self.counts else self.transport.get_write_buffer_size())

    def stop(self) -> None:
        """No more; what is still here is not sent."""
        self._left = 0

    def info(self) -> tuple[int, int]:
        """(retransmissions, congestion window in bytes), (-1, -1) where no TCP_INFO tells."""
        sock = self.transport.get_extra_info("socket")
        try:
            data = sock.getsockopt(*_TCP_INFO)
        except (OSError, AttributeError):
            return -1, -1
        if len(data) < _TCP_INFO[2]:
            return -1, -1
        mss, _, cwnd, retransmits = _INFO.unpack_from(data)
        return retransmits, cwnd * mss


def stream_id(number: int) -> int:
    """What iperf3 calls stream ``number`` (from 0): 1, 3, 4, 5, ..."""
    return 1 if number == 0 else number + 2


@final
class Streams:
    """The streams of one test, measured."""

    def __init__(
        self, parameters: Parameters, sending: bool, tell: Callable[[list[Interval]], None] | None
    ) -> None:
        self.parameters: Parameters = parameters
        self.sending: bool = sending
        self.peers: list[Peer] = []
        self.result: Result = Result(parameters)
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        self._began: float = 0.0
        self._before: list[tuple[int, int]] = []
        self._last: float = 0.0

    def start(self) -> None:
        """Begin to send or to count, and to tell of each interval."""
        self._began = self._last = asyncio.get_running_loop().time()
        self._before = [(0, 0)] * len(self.peers)
        share = -(-self.parameters.amount // len(self.peers)) or 1 << 62
        for peer in self.peers:
            if self.sending:
                peer.send(self.parameters.block, share)
        self._task = asyncio.get_running_loop().create_task(self._intervals())

    async def _intervals(self) -> None:
        turn = 1
        while True:
            await asyncio.sleep(self._began + turn * INTERVAL - asyncio.get_running_loop().time())
            self._mark()
            turn += 1

    def _mark(self) -> None:
        """One interval is over."""
        now = asyncio.get_running_loop().time()
        rows: list[Interval] = []
        start, end = self._last - self._began, now - self._began
        for number, peer in enumerate(self.peers):
            size, retransmits = peer.passed, -1
            cwnd = -1
            if self.sending:
                retransmits, cwnd = peer.info()
            before = self._before[number]
            again = retransmits - before[1] if retransmits >= 0 else -1
            rows.append(Interval(stream_id(number), start, end, size - before[0], again, cwnd))
            self._before[number] = (size, retransmits)
        self._last = now
        if len(self.result.intervals) < LONGEST:
            self.result.intervals.append(rows)
        if self._tell is not None:
            self._tell(rows)

    def done(self) -> bool:
        """Whether the amount wanted has passed."""
        return 0 < self.parameters.amount <= sum(peer.passed for peer in self.peers)

    def stop(self) -> None:
        """The end of the measurement; idempotent."""
        if self._task is None:
            return
        self._task.cancel()
        self._task = None
        for peer in self.peers:
            peer.stop()
        if asyncio.get_running_loop().time() - self._last > INTERVAL / 10:
            self._mark()
        self.result.seconds = asyncio.get_running_loop().time() - self._began
        sizes = [peer.passed for peer in self.peers]
        if self.sending:
            self.result.sent = sizes
            self.result.retransmits = [peer.info()[0] for peer in self.peers]
        else:
            self.result.received = sizes

    def as_json(self) -> dict[str, Any]:
        """What this side measured, in iperf3's words."""
        result = self.result
        sizes = result.sent if self.sending else result.received
        known = self.sending and all(n >= 0 for n in result.retransmits)
        return {
            "cpu_util_total": 0, "cpu_util_user": 0, "cpu_util_system": 0,
            "sender_has_retransmits": int(known) if self.sending else -1,
            "streams": [
                {
                    "id": stream_id(number), "bytes": size, "jitter": 0, "errors": 0, "packets": 0,
                    "retransmits": result.retransmits[number] if known else -1,
                    "omitted_errors": 0, "omitted_packets": 0,
                    "start_time": 0, "end_time": result.seconds,
                }
                for number, size in enumerate(sizes)
            ],
        }  # fmt: skip

    def learn(self, told: Any) -> None:
        """What the other side measured."""
        streams = told.get("streams") if isinstance(told, dict) else None
        rows = streams if isinstance(streams, list) else []
        rows = [row if isinstance(row, dict) else {} for row in rows[: len(self.peers)]]
        rows += [{}] * (len(self.peers) - len(rows))
        sizes = [max(0, _count(row, "bytes", 0)) for row in rows]
        far = rows[0].get("end_time")
        known = isinstance(far, int | float) and 0 < far <= 2 * LONGEST
        self.result.far_seconds = float(far) if known else self.result.seconds
        if self.sending:
            self.result.received = sizes
        else:
            self.result.sent = sizes
            self.result.retransmits = [_count(row, "retransmits", -1) for row in rows]

    def close(self) -> None:
        """No stream is left."""
        self.stop()
        for peer in self.peers:
            peer.transport.abort()
