# SPDX-License-Identifier: Apache-2.0
"""``capas traceroute``: who is on the way (RFC 1393's idea before that RFC: rising TTLs).

UDP to ports from 33434 on by default, where nobody listens, so that the target answers "port
unreachable"; echo requests with -I.  Three probes a hop, all of one hop at a time.
"""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final, final

import click

from capas.base.clock import MS
from capas.cli.lookup import resolve
from capas.cli.options import (
    DeviceOptions,
    device_options,
    json_option,
    print_json,
    reports_errors,
)
from capas.cli.station import Station, Waiting
from capas.errors import DeviceError
from capas.internet.echo import REPLY
from capas.internet.types import (
    ADMIN,
    PACKET_TOO_BIG,
    TIME_EXCEEDED,
    UNREACHABLE_HOST,
    UNREACHABLE_NET,
    UNREACHABLE_PORT,
    UNREACHABLE_PROTO,
)
from capas.transport.endpoint import ERROR, READ
from capas.wire.address import text

_PORT: Final = 33434
_MARKS: Final = {
    UNREACHABLE_NET: "!N",
    UNREACHABLE_HOST: "!H",
    UNREACHABLE_PROTO: "!P",
    PACKET_TOO_BIG: "!F",
    ADMIN: "!X",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered a probe and how; ``last``: there is nothing behind."""

    address: bytes
    took: int
    mark: str = ""
    last: bool = False


class Prober(ABC):
    """A way to probe."""

    def __init__(self, station: Station, dst: bytes, payload: bytes) -> None:
        self.station = station
        self.dst = dst
        self.payload = payload
        self.number = 0

    @abstractmethod
    async def probe(self, ttl: int, timeout: float) -> Answer | None:
        """Send one probe and wait for its answer; None if none comes."""

    def judge(self, source: bytes, kind: int, took: int) -> Answer:
        """What an ICMP error says about the way."""
        if kind == TIME_EXCEEDED:
            return Answer(source, took)
        if kind == UNREACHABLE_PORT and source == self.dst:
            return Answer(source, took, "", True)
        return Answer(source, took, _MARKS.get(kind, "!"), True)


@final
class UdpProber(Prober):
    """A datagram from a socket of its own to a port of its own."""

    async def probe(self, ttl: int, timeout: float) -> Answer | None:
        """Whoever reports an error about it."""
        station = self.station
        endpoint = station.host.new_endpoint()
        waiting = Waiting(endpoint)
        socket = station.host.udp.open(endpoint, len(self.dst))
        socket.options.receive_errors = True
        socket.options.ttl = ttl
        port = _PORT + self.number
        self.number += 1
        try:
            socket.connect(self.dst, port)
            start = station.now()
            socket.send(self.payload, start)
            if not await waiting.ready(ERROR | READ, timeout):
                return None
            took = station.now() - start
            error = socket.next_error()
            if error is None:  # somebody listens there after all
                return Answer(self.dst, took, "", True)
            return self.judge(error.reporter, error.kind, took)
        except OSError as error:
            raise DeviceError(f"{text(self.dst)}: {error.strerror}") from None
        finally:
            socket.close(station.now())


@final
class EchoProber(Prober):
    """An echo request from a session of its own."""

    async def probe(self, ttl: int, timeout: float) -> Answer | None:
        """Whoever answers it or reports an error about it."""
        station = self.station
        endpoint = station.host.new_endpoint()
        waiting = Waiting(endpoint)
        session = station.host.icmp.open_echo(endpoint)
        self.number += 1
        try:
            start = station.now()
            if not session.send(self.dst, self.number, self.payload, start, ttl):
                raise DeviceError(f"{text(self.dst)}: network is unreachable")
            await waiting.ready(READ, timeout)
            result = session.receive()
            if result is None:
                return None
            took = result.time - start
            if result.kind == REPLY:
                return Answer(result.source, took, "", True)
            return self.judge(result.source, result.kind, took)
        finally:
            session.close()


@click.command()
@click.argument("target")
@click.option("-m", "--max-hops", type=click.IntRange(1, 255), default=30, show_default=True)
@click.option("-q", "--queries", type=click.IntRange(1, 10), default=3, show_default=True)
@click.option(
    "-w", "--wait", type=click.FloatRange(0.001), default=3.0, show_default=True, metavar="S",
    help="Seconds to wait for an answer.",
)  # fmt: skip
@click.option("-I", "--icmp", is_flag=True, help="Probe with echo requests instead of UDP.")
@click.option("-4", "family", flag_value=4, type=int, help="IPv4 only.")
@click.option("-6", "family", flag_value=6, type=int, help="IPv6 only.")
@click.option("--size", type=click.IntRange(0, 1400), default=32, show_default=True, help="Data.")
@json_option
@device_options
@reports_errors
def command(
    options: DeviceOptions,
    target: str,
    max_hops: int,
    queries: int,
    wait: float,
    icmp: bool,
    family: int | None,
    size: int,
    as_json: bool,
) -> int:
    """Show each router on the way to TARGET (an address or a name)."""

    async def main() -> dict[str, Any]:
        await station.usable()
        dst = await resolve(station, target, family or 0)
        prober = (EchoProber if icmp else UdpProber)(station, dst, bytes(size))
        if not as_json:
            bytes_on_wire = size + (28 if len(dst) == 4 else 48)
            click.echo(
                f"traceroute to {target} ({text(dst)}), {max_hops} hops max,"
                f" {bytes_on_wire} byte packets"
            )
        return await _trace(prober, max_hops, queries, wait, not as_json)

    with Station(options) as station:
        result = station.run(main())
    if as_json:
        print_json({"ok": result["reached"], "target": target, **result})
    return 0 if result["reached"] else 1


async def _trace(
    prober: Prober, max_hops: int, queries: int, wait: float, talk: bool
) -> dict[str, Any]:
    """All hops, told as they come."""
    hops: list[dict[str, Any]] = []
    reached = False
    for ttl in range(1, max_hops + 1):
        answers = await asyncio.gather(*(prober.probe(ttl, wait) for _ in range(queries)))
        if talk:
            click.echo(f"{ttl:2d}  {_line(answers)}")
        hops.append(
            {
                "ttl": ttl,
                "probes": [
                    None
                    if answer is None
                    else {
                        "address": text(answer.address),
                        "ms": round(answer.took / MS, 3),
                        **({"mark": answer.mark} if answer.mark else {}),
                    }
                    for answer in answers
                ],
            }
        )
        got = [answer for answer in answers if answer is not None]
        if any(answer.last for answer in got):
            reached = any(answer.last and answer.address == prober.dst for answer in got)
            break
    return {"address": text(prober.dst), "reached": reached, "hops": hops}


def _line(answers: list[Answer | None]) -> str:
    """One hop as traceroute prints it: an address whenever it changes, then its times."""
    words: list[str] = []
    before = b""
    for answer in answers:
        if answer is None:
            words.append("*")
            continue
        if answer.address != before:
            words.append(text(answer.address))
            before = answer.address
        words.append(f"{answer.took / MS:.3f} ms")
        if answer.mark:
            words.append(answer.mark)
    return "  ".join(words)
