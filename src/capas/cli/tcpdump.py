# SPDX-License-Identifier: Apache-2.0
"""``capas tcpdump``: packets in lines, of a running host or of a capture file."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import click

from capas.cli.control import stream
from capas.cli.dump_file import Captured, read
from capas.cli.dump_filter import compile_filter
from capas.cli.dump_packet import Lines, Packet, fields
from capas.cli.options import on_option, reports_errors
from capas.errors import DeviceError

_PIECE: Final = 1 << 16
_LINE: Final = 16  # bytes in a line of -x


@click.command(
    epilog="Examples: capas tcpdump -c 10 tcp port 80; capas tcpdump -r demo.pcapng 'not udp'. A"
    " filter knows host, net, port, portrange with src and dst, ether host, vlan, less, greater,"
    " proto, ip, ip6, arp, tcp, udp, icmp, icmp6, and, or, not and parentheses."
)
@click.argument("words", nargs=-1, metavar="[FILTER]")
@click.option("-r", "--read", "source", metavar="FILE", help="This pcapng or pcap; - is stdin.")
@click.option("-w", "--write", metavar="FILE", help="Write pcapng instead of lines (no filter).")
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="So many packets.")
@click.option("-e", "--link", is_flag=True, help="With MAC addresses.")
@click.option("-x", "--hex", "hexadecimal", is_flag=True, help="With their bytes.")
@click.option("-S", "--absolute", is_flag=True, help="TCP sequence numbers as they are.")
@click.option("-t", "--no-time", is_flag=True, help="Without the time.")
@click.option("-n", "--numeric", is_flag=True, help="Numbers instead of names: always so.")
@click.option("-q", "--quiet", is_flag=True, help="Without what the host said about a packet.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, Wireshark's names.")
@on_option
@reports_errors
def command(
    words: tuple[str, ...],
    source: str | None,
    write: str | None,
    count: int | None,
    link: bool,
    hexadecimal: bool,
    absolute: bool,
    no_time: bool,
    numeric: bool,
    quiet: bool,
    as_json: bool,
    on: str | None,
) -> int:
    """Show the packets of a host that runs by `capas up`, or of the capture FILE.

    Lines are as tcpdump's; what the host decided about a packet (why it dropped it, which timer
    made it send) stands below it.
    """
    wanted = compile_filter(" ".join(words))
    if write is not None and (words or as_json or source is not None):
        raise click.UsageError("-w writes what a running host sees: without -r, --json and filter")
    pieces = stream(on) if source is None else _pieces(source)
    if write is not None:
        return _write(pieces, write)
    lines = Lines(absolute=absolute, link=link)
    shown = number = 0
    try:
        for number, captured in enumerate(read(pieces), 1):
            packet = Packet(captured)
            if not wanted(packet):
                continue
            if as_json:
                _say(json.dumps(fields(packet, number)))
            else:
                _say(("" if no_time else _time(captured) + " ") + lines.line(packet))
                for note in () if quiet else captured.comments:
                    _say(f"\t# {note}")
                if hexadecimal:
                    _dump(captured)
            shown += 1
            if shown == count:
                break
    except KeyboardInterrupt:
        pass  # the way to end it
    if not as_json and source is None:
        click.echo(f"{shown} packets shown of {number}", err=True)
    return 0


def _pieces(path: str) -> Iterator[bytes]:
    if path == "-":
        yield from iter(lambda: os.read(sys.stdin.fileno(), _PIECE), b"")
        return
    try:
        with Path(path).open("rb") as file:
            yield from iter(lambda: file.read(_PIECE), b"")
    except OSError as error:
        raise DeviceError(f"{path}: {error.strerror}") from None


def _write(pieces: Iterable[bytes], path: str) -> int:
    try:
        file: IO[bytes] = sys.stdout.buffer if path == "-" else open(path, "wb")  # noqa: SIM115
    except OSError as error:
        raise DeviceError(f"{path}: {error.strerror}") from None
    with file:
        try:
            for piece in pieces:
                file.write(piece)
                file.flush()
        except KeyboardInterrupt:
            pass  # the way to end it
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()  # whoever watches sees each packet as it comes


def _time(captured: Captured) -> str:
    seconds, fraction = divmod(captured.time, 10**9)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{fraction // 1000:06d}"


def _dump(captured: Captured) -> None:
    """The bytes of the network packet, as -x shows them."""
    data = captured.data[14:] if captured.linktype == 1 else captured.data
    for at in range(0, len(data), _LINE):
        row = data[at : at + _LINE].hex()
        _say(f"\t0x{at:04x}:  {' '.join(row[i : i + 4] for i in range(0, len(row), 4))}")
