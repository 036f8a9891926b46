# SPDX-License-Identifier: Apache-2.0
"""``capas ping``: echo requests from a host on a TAP or TUN (RFC 792, RFC 4443 §4)."""

import contextlib
import math
from dataclasses import dataclass, field
from typing import Any

import click

from capas.base.clock import MS, SECOND
from capas.cli.lookup import resolve
from capas.cli.options import (
    DeviceOptions,
    StoppedError,
    device_options,
    json_option,
    print_json,
    reports_errors,
)
from capas.cli.station import Station, Waiting
from capas.errors import DeviceError
from capas.internet.echo import REPLY, EchoResult
from capas.internet.types import KIND_NAMES
from capas.transport.endpoint import READ
from capas.wire.address import text

_HEADERS4 = 28  # bytes of IPv4 and ICMP header, as ping tells them


@dataclass(slots=True)
class Tally:
    """What has been sent and what came back; times ns."""

    target: str = ""
    address: str = ""
    size: int = 56
    sent: int = 0
    received: int = 0
    duplicates: int = 0
    errors: int = 0
    started: int = 0
    ended: int = 0
    times: list[int] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)

    def rtt(self) -> dict[str, float] | None:
        """min, avg, max and mean deviation in ms, as ping computes them."""
        if not self.times:
            return None
        n = len(self.times)
        mean = sum(self.times) / n
        squares = sum(t * t for t in self.times) / n
        return {
            "min": min(self.times) / MS,
            "avg": mean / MS,
            "max": max(self.times) / MS,
            "mdev": math.sqrt(max(0.0, squares - mean * mean)) / MS,
        }

    def as_json(self) -> dict[str, Any]:
        """The whole tally."""
        rtt = self.rtt()
        return {
            "ok": self.received > 0,
            "target": self.target,
            "address": self.address,
            "sent": self.sent,
            "received": self.received,
            "duplicates": self.duplicates,
            "errors": self.errors,
            "rtt_ms": None if rtt is None else {k: round(v, 3) for k, v in rtt.items()},
            "replies": self.replies,
        }


@click.command()
@click.argument("target")
@click.option("-c", "--count", type=click.IntRange(1), default=4, show_default=True, metavar="N")
@click.option(
    "-i", "--interval", type=click.FloatRange(0.001), default=1.0, show_default=True, metavar="S",
    help="Seconds between requests.",
)  # fmt: skip
@click.option(
    "-s", "--size", type=click.IntRange(0, 65_507), default=56, show_default=True, metavar="BYTES",
    help="Data in each request.",
)  # fmt: skip
@click.option(
    "-W", "--timeout", type=click.FloatRange(0.001), default=2.0, show_default=True, metavar="S",
    help="Seconds to wait for the last replies.",
)  # fmt: skip
@click.option("-t", "--ttl", type=click.IntRange(1, 255), default=64, metavar="N")
@click.option("-4", "family", flag_value=4, type=int, help="IPv4 only.")
@click.option("-6", "family", flag_value=6, type=int, help="IPv6 only.")
@json_option
@device_options
@reports_errors
def command(
    options: DeviceOptions,
    target: str,
    count: int,
    interval: float,
    size: int,
    timeout: float,
    ttl: int,
    family: int | None,
    as_json: bool,
) -> int:
    """Send echo requests to TARGET (an address or a name) and tell what comes back."""
    tally = Tally(target, size=size)
    plan = Plan(count, round(interval * SECOND), round(timeout * SECOND), ttl, not as_json)
    with Station(options) as station, contextlib.suppress(StoppedError):
        station.run(_ping(station, tally, plan, family or 0))
    if as_json:
        print_json(tally.as_json())
    elif tally.sent:
        _print_summary(tally)
    return 0 if tally.received else 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How to ping; times ns."""

    count: int
    interval: int
    timeout: int
    ttl: int
    talk: bool


class Requests:
    """What was sent, by the 16 bits that the packet has for its number: a long run goes around."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}  # ns
        self._answered: set[int] = set()

    def leave(self, number: int, now: int) -> None:
        """Request ``number`` (from 1) is sent."""
        self._left[number & 0xFFFF] = now
        self._answered.discard(number & 0xFFFF)

    def answered(self, sequence: int, now: int) -> tuple[int, bool]:
        """(how long it took, whether it had been answered before) of a reply."""
        again = sequence in self._answered
        self._answered.add(sequence)
        return now - self._left.get(sequence, now), again


async def _ping(station: Station, tally: Tally, plan: Plan, family: int) -> None:
    await station.usable()
    dst = await resolve(station, tally.target, family)
    tally.address = text(dst)
    if plan.talk:
        total = f"({tally.size + _HEADERS4})" if len(dst) == 4 else ""
        click.echo(f"PING {tally.target} ({tally.address}) {tally.size}{total} bytes of data.")
    endpoint = station.host.new_endpoint()
    waiting = Waiting(endpoint)
    session = station.host.icmp.open_echo(endpoint)
    payload = bytes(i & 0xFF for i in range(tally.size))
    requests = Requests()
    tally.started = tally.ended = due = station.now()
    try:
        while True:
            now = station.now()
            if tally.sent < plan.count and now >= due:
                tally.sent += 1
                requests.leave(tally.sent, now)
                if not session.send(dst, tally.sent, payload, now, plan.ttl):
                    raise DeviceError(f"{tally.address}: network is unreachable")
                due = now + (plan.interval if tally.sent < plan.count else plan.timeout)
            while (result := session.receive()) is not None:
                _told(result, tally, plan, requests)
            tally.ended = station.now()
            done = tally.received + tally.errors >= plan.count
            if tally.sent >= plan.count and (done or tally.ended >= due):
                return
            await waiting.ready(READ, max(0, due - tally.ended) / SECOND)
    finally:
        session.close()


def _told(result: EchoResult, tally: Tally, plan: Plan, requests: Requests) -> None:
    """One answer or error."""
    sequence = result.sequence
    source = text(result.source)
    if result.kind != REPLY:
        tally.errors += 1
        name = KIND_NAMES.get(result.kind, f"type {result.type} code {result.code}")
        tally.replies.append({"sequence": sequence, "from": source, "error": name})
        if plan.talk:
            click.echo(f"From {source} icmp_seq={sequence} {name.capitalize()}")
        return
    took, again = requests.answered(sequence, result.time)
    if again:
        tally.duplicates += 1
    else:
        tally.received += 1
    tally.times.append(took)
    reply = {"sequence": sequence, "from": source, "ttl": result.ttl, "ms": round(took / MS, 3)}
    tally.replies.append(reply)
    if plan.talk:
        click.echo(
            f"{result.size + 8} bytes from {source}: icmp_seq={sequence} ttl={result.ttl}"
            f" time={_ms(took)} ms{' (DUP!)' if again else ''}"
        )


def _ms(ns: int) -> str:
    """Milliseconds with as many digits as ping gives them."""
    ms = ns / MS
    digits = 3 if ms < 1 else 2 if ms < 10 else 1 if ms < 100 else 0
    return f"{ms:.{digits}f}"


def _print_summary(tally: Tally) -> None:
    lost = tally.sent - tally.received
    click.echo(f"\n--- {tally.target} ping statistics ---")
    duplicates = f"+{tally.duplicates} duplicates, " if tally.duplicates else ""
    errors = f"+{tally.errors} errors, " if tally.errors else ""
    click.echo(
        f"{tally.sent} packets transmitted, {tally.received} received, {duplicates}{errors}"
        f"{100 * lost / tally.sent:.4g}% packet loss, time {(tally.ended - tally.started) // MS}ms"
    )
    rtt = tally.rtt()
    if rtt is not None:
        click.echo(
            "rtt min/avg/max/mdev = "
            + "/".join(f"{rtt[name]:.3f}" for name in ("min", "avg", "max", "mdev"))
            + " ms"
        )
