# SPDX-License-Identifier: Apache-2.0
"""``capas iperf``: throughput by TCP, to or as an iperf3; output as iperf3's."""

import asyncio
import contextlib
import os
from typing import Any

import click

from capas.application import iperf, iperf_ends
from capas.application.iperf import Interval, Parameters, Result
from capas.cli.lookup import resolve
from capas.cli.options import (
    DeviceOptions,
    StoppedError,
    device_options,
    json_option,
    os_text,
    print_json,
    reports_errors,
)
from capas.cli.station import Station
from capas.errors import CapasError
from capas.wire.address import text

_HEADING = "[ ID] Interval           Transfer     Bitrate         Retr  Cwnd"
_RULE = "- " * 25


@click.command(
    epilog="Example: capas iperf --tap tap0 --address 192.0.2.2/24 -c 192.0.2.1 ; the other end is"
    " `iperf3 -s`. capas up --serve iperf is a server beside others."
)
@click.option("-c", "--client", "server", metavar="HOST", help="Test against this iperf3 server.")
@click.option("-s", "--server", "serve", is_flag=True, help="Be the server, until interrupted.")
@click.option("-p", "--port", type=click.IntRange(1, 65535), default=iperf.PORT, show_default=True)
@click.option(
    "-t", "--time", "seconds", type=click.IntRange(1, iperf.LONGEST), default=10,
    show_default=True, metavar="S", help="Seconds to measure.",
)  # fmt: skip
@click.option(
    "-n", "--bytes", "amount", type=click.IntRange(1), metavar="N", help="Bytes instead of a time."
)
@click.option(
    "-P", "--parallel", "streams", type=click.IntRange(1, iperf.STREAMS_MAX), default=1,
    show_default=True, metavar="N", help="Connections at once.",
)  # fmt: skip
@click.option("-R", "--reverse", is_flag=True, help="The server sends.")
@click.option(
    "-l", "--length", "block", type=click.IntRange(1, 1 << 20), default=iperf.BLOCK,
    show_default=True, metavar="N", help="Bytes of one write.",
)  # fmt: skip
@json_option
@device_options
@reports_errors
def command(
    options: DeviceOptions,
    server: str | None,
    serve: bool,
    port: int,
    seconds: int,
    amount: int | None,
    streams: int,
    reverse: bool,
    block: int,
    as_json: bool,
) -> int:
    """Measure how much TCP carries: to an iperf3 server (-c HOST), or as one (-s)."""
    if (server is None) != serve:
        raise click.UsageError("say either -c HOST or -s")
    parameters = Parameters(seconds, amount or 0, streams, reverse, block)
    tell = None if as_json else _tell

    async def client() -> Result:
        await station.usable()
        address = text(await resolve(station, str(server)))
        if not as_json:
            click.echo(f"Connecting to host {address}, port {port}")
            click.echo(_HEADING)
        try:
            return await iperf_ends.measure(
                address, port, parameters, tell=tell, seed=os.urandom(16)
            )
        except OSError as error:
            raise CapasError(f"{address} port {port}: {os_text(error)}") from None

    async def serving() -> None:
        await station.usable()
        with await iperf_ends.start(port, tell=tell):
            click.echo(f"Server listening on {port}, iperf3's protocol", err=as_json)
            await asyncio.get_running_loop().create_future()

    with Station(options) as station:
        if serve:
            with contextlib.suppress(StoppedError):  # the way to end it
                station.run(serving())
            return 0
        result = station.run(client())
    if as_json:
        print_json({"ok": True, **as_dict(result)})
    else:
        for line in ending(result):
            click.echo(line)
    return 0


def _tell(rows: list[Interval]) -> None:
    for row in rows:
        click.echo(line_of(row))
    if len(rows) > 1:
        click.echo(line_of(_sum(rows)))
        click.echo(_RULE)


def _sum(rows: list[Interval]) -> Interval:
    again = sum(row.retransmits for row in rows) if rows[0].retransmits >= 0 else -1
    return Interval(-1, rows[0].start, rows[0].end, sum(row.size for row in rows), again)


def line_of(row: Interval, ending: str = "") -> str:
    """One row of the table."""
    name = "SUM" if row.number < 0 else f"{row.number:3d}"
    retries = f"{row.retransmits:3d}" if row.retransmits >= 0 else " " * 3
    last = f"{_binary(row.cwnd):>11}" if row.cwnd >= 0 else f"{ending:>18}"
    line = f"[{name}] {row.start:6.2f}-{row.end:<6.2f} sec {_binary(row.size):>11}"
    return f"{line}  {_decimal(row.rate):<15}{retries}  {last}".rstrip()


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    unit = 0
    while value >= step and unit < len(units) - 1:
        value /= step
        unit += 1
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {units[unit]}"


def _binary(size: float) -> str:
    return _scaled(size, 1024, ("Bytes", "KBytes", "MBytes", "GBytes", "TBytes"))


def _decimal(rate: float) -> str:
    return _scaled(rate, 1000, ("bits/sec", "Kbits/sec", "Mbits/sec", "Gbits/sec"))


def ends(result: Result) -> list[tuple[Interval, Interval]]:
    """(as sent, as received) of each stream."""
    rows = []
    spans = (result.seconds, result.far_seconds)
    if result.parameters.reverse:
        spans = spans[::-1]
    for number, (sent, received) in enumerate(zip(result.sent, result.received, strict=True)):
        again = result.retransmits[number] if number < len(result.retransmits) else -1
        name = iperf.stream_id(number)
        rows.append(
            (
                Interval(name, 0.0, spans[0], sent, again),
                Interval(name, 0.0, spans[1], received),
            )
        )
    return rows


def ending(result: Result) -> list[str]:
    """What is said after the last interval."""
    lines = [_RULE, "[ ID] Interval           Transfer     Bitrate         Retr"]
    rows = ends(result)
    if len(rows) > 1:
        rows.append((_sum([sent for sent, _ in rows]), _sum([received for _, received in rows])))
    for sent, received in rows:
        lines += [line_of(sent, "sender"), line_of(received, "receiver")]
    return [*lines, "", "iperf Done."]


def _row(row: Interval) -> dict[str, Any]:
    told: dict[str, Any] = {
        "start": row.start, "end": row.end, "seconds": row.end - row.start,
        "bytes": row.size, "bits_per_second": row.rate,
    }  # fmt: skip
    if row.retransmits >= 0:
        told["retransmits"] = row.retransmits
    if row.cwnd >= 0:
        told["snd_cwnd"] = row.cwnd
    return told


def as_dict(result: Result) -> dict[str, Any]:
    """The result by iperf3's own JSON names."""
    rows = ends(result)
    wanted = result.parameters
    return {
        "start": {
            "version": "capas",
            "test_start": {
                "protocol": "TCP", "num_streams": wanted.streams, "blksize": wanted.block,
                "duration": wanted.seconds, "bytes": wanted.amount, "reverse": int(wanted.reverse),
            },
        },
        "intervals": [
            {
                "streams": [{"socket": row.number, **_row(row)} for row in interval],
                "sum": _row(_sum(interval)),
            }
            for interval in result.intervals
        ],
        "end": {
            "streams": [
                {"sender": _row(sent), "receiver": _row(received)} for sent, received in rows
            ],
            "sum_sent": _row(_sum([sent for sent, _ in rows])),
            "sum_received": _row(_sum([received for _, received in rows])),
        },
    }  # fmt: skip
