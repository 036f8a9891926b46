# SPDX-License-Identifier: Apache-2.0
"""``capas nc``: standard input and output as a TCP connection or UDP exchange."""

import asyncio
import json
import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

import click

from capas.application.services import WELL_KNOWN
from capas.cli.lookup import resolve
from capas.cli.options import (
    DeviceOptions,
    device_options,
    json_option,
    os_text,
    print_json,
    reports_errors,
)
from capas.cli.station import Station
from capas.errors import CapasError, ConfigurationError
from capas.wire.address import parse, text

_PIECE = 1 << 16
_DATAGRAM = 1 << 14  # of one read; as OpenBSD nc
_UDP_IDLE = 1.0  # s to wait for answers after the end of input
_HIGH = 1 << 20  # bytes read from standard input and not yet written


@dataclass(slots=True)
class Totals:
    """What went by."""

    local: str = ""
    peer: str = ""
    sent: int = 0
    received: int = 0


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[HOST] PORT")
@click.option("-l", "--listen", is_flag=True, help="Wait for one connection (or datagram).")
@click.option("-u", "--udp", is_flag=True, help="UDP instead of TCP.")
@click.option("-z", "--zero", is_flag=True, help="Only see whether somebody listens.")
@click.option(
    "-N", "--shutdown", is_flag=True, help="(always done) shut down after standard input ends."
)
@click.option(
    "-w", "--timeout", type=click.FloatRange(0.001), default=None, metavar="S",
    help="Give up connecting, and end an idle exchange, after S seconds.",
)  # fmt: skip
@json_option
@device_options
@reports_errors
def command(
    options: DeviceOptions,
    words: tuple[str, ...],
    listen: bool,
    udp: bool,
    zero: bool,
    shutdown: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Connect to PORT of HOST, or with -l wait on PORT; copy both ways until both ends are done.

    PORT is a number or a well-known name.  With --json the totals go to standard error.
    """
    if listen and zero:
        raise click.UsageError("-l waits for somebody, -z does not wait: say one of them")
    host, port = _target(words, listen, udp)
    totals = Totals()

    async def main() -> None:
        await station.usable()
        address = "" if host is None else text(await resolve(station, host))
        if listen:
            if address and not station.host.net.is_local(parse(address)):
                raise ConfigurationError(f"{host} is no address of this host: see --address")
            await (_listen_udp if udp else _listen_tcp)(address, port, totals, timeout)
            return
        await (_talk_udp if udp else _talk_tcp)(address, port, totals, timeout, zero)

    with Station(options) as station:
        station.run(main())
    if zero and not as_json:
        proto = "udp" if udp else "tcp"
        name = WELL_KNOWN.name(port, proto) or "*"
        click.echo(f"Connection to {host} {port} port [{proto}/{name}] succeeded!", err=True)
    if as_json:
        told = {
            "ok": True,
            "local": totals.local,
            "peer": totals.peer,
            "sent": totals.sent,
            "received": totals.received,
        }
        if zero:
            print_json(told)
        else:
            click.echo(json.dumps(told), err=True)
    return 0


def _target(words: tuple[str, ...], listen: bool, udp: bool) -> tuple[str | None, int]:
    if len(words) > 2 or (len(words) == 1 and not listen):
        raise click.UsageError("say HOST and PORT, or -l and PORT")
    port = WELL_KNOWN.port(words[-1], "udp" if udp else "tcp")
    if not port:
        raise click.UsageError(f"{words[-1]!r} is neither a port number nor a well-known name")
    return (words[0] if len(words) == 2 else None), port


# -- standard input -----------------------------------------------------------------------------


class StandardInput:
    """Pieces of standard input, read by a thread of its own: files and terminals alike.

    A piece has ``size`` bytes or fewer.

    The thread is a daemon: one that hangs in a terminal's read does not keep the program.
    """

    def __init__(self, size: int = _PIECE) -> None:
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = threading.Semaphore(_HIGH // size)
        threading.Thread(target=self._read, name="capas-stdin", daemon=True).start()

    def _read(self) -> None:
        try:
            descriptor = sys.stdin.fileno()
        except (OSError, ValueError, AttributeError):
            descriptor = -1
        while True:
            self._room.acquire()
            try:
                piece = os.read(descriptor, self._size) if descriptor >= 0 else b""
            except OSError:
                piece = b""
            try:
                self._loop.call_soon_threadsafe(self._queue.put_nowait, piece)
            except RuntimeError:
                return  # the loop is closed
            if not piece:
                return

    async def read(self) -> bytes:
        """The next piece; b"" at the end."""
        piece = await self._queue.get()
        self._room.release()
        return piece


def _put(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


# -- TCP -----------------------------------------------------------------------------


async def _talk_tcp(
    host: str, port: int, totals: Totals, timeout: float | None, zero: bool
) -> None:
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port, limit=_HIGH)
    except TimeoutError:
        raise CapasError(f"connect to {host} port {port} (tcp): timed out") from None
    except OSError as error:
        raise CapasError(f"connect to {host} port {port} (tcp): {os_text(error)}") from None
    if zero:
        writer.close()
        return
    await _exchange(reader, writer, totals, timeout)


async def _listen_tcp(address: str, port: int, totals: Totals, timeout: float | None) -> None:
    """Serve the first connection (to ``address``; "": to any of ours), refuse the rest."""
    loop = asyncio.get_running_loop()
    first: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first.done():
            writer.close()
        else:
            first.set_result((reader, writer))

    servers = [
        await asyncio.start_server(connected, own, port, limit=_HIGH)
        for own in ([address] if address else ["0.0.0.0", "::"])
    ]
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await first
    except TimeoutError:
        raise CapasError(f"nobody connected to port {port}") from None
    finally:
        for server in servers:
            server.close()
    await _exchange(reader, writer, totals, timeout)


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    totals: Totals,
    timeout: float | None,
) -> None:
    """Copy both ways until the peer has closed and our input has ended."""
    totals.local, totals.peer = _pair(writer)
    pump = asyncio.create_task(_pump_out(writer, totals))
    try:
        while True:
            async with asyncio.timeout(timeout):
                data = await reader.read(_PIECE)
            if not data:
                break
            totals.received += len(data)
            _put(data)
        if not sys.stdin.isatty():
            await pump  # the peer has no more to say, we may have
    except TimeoutError:
        pass  # idle for as long as was asked
    finally:
        pump.cancel()
        writer.close()
    try:
        await writer.wait_closed()
    except OSError as error:
        raise CapasError(f"{totals.peer}: {os_text(error)}") from None


async def _pump_out(writer: asyncio.StreamWriter, totals: Totals) -> None:
    source = StandardInput()
    try:
        while piece := await source.read():
            writer.write(piece)
            totals.sent += len(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        pass  # the reading side says why


def _pair(writer: asyncio.StreamWriter) -> tuple[str, str]:
    def shown(name: Any) -> str:
        return f"{name[0]} port {name[1]}" if name else ""

    return shown(writer.get_extra_info("sockname")), shown(writer.get_extra_info("peername"))


# -- UDP -----------------------------------------------------------------------------


class _Datagrams(asyncio.DatagramProtocol):
    """What arrives goes to standard output; the first peer becomes ours if we listen."""

    def __init__(self, totals: Totals) -> None:
        self.totals = totals
        self.peer: Any = None
        self.heard = asyncio.Event()
        self.error: OSError | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.peer is None:
            self.peer = addr
        self.totals.received += len(data)
        _put(data)
        self.heard.set()

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self.error = exc
        self.heard.set()


async def _talk_udp(
    host: str, port: int, totals: Totals, timeout: float | None, zero: bool
) -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _Datagrams(totals), remote_addr=(host, port)
    )
    totals.peer = f"{host} port {port}"
    try:
        if zero:
            transport.sendto(b"\0")
            await _heard(protocol, timeout or 1.0)
        else:
            await _udp_exchange(transport, protocol, None, timeout)
        if protocol.error is not None:
            raise CapasError(f"{host} port {port} (udp): {os_text(protocol.error)}")
    finally:
        transport.close()


async def _listen_udp(address: str, port: int, totals: Totals, timeout: float | None) -> None:
    """Talk with whoever speaks first (to ``address``; "": on whichever family)."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _Datagrams(totals), local_addr=(address or "::", port)
    )
    try:
        if not await _heard(protocol, timeout):
            raise CapasError(f"nobody spoke to port {port}")
        await _udp_exchange(transport, protocol, protocol.peer, timeout)
    finally:
        transport.close()


async def _heard(protocol: _Datagrams, timeout: float | None) -> bool:
    protocol.heard.clear()
    try:
        async with asyncio.timeout(timeout):
            await protocol.heard.wait()
    except TimeoutError:
        return False
    return True


async def _udp_exchange(
    transport: asyncio.DatagramTransport, protocol: _Datagrams, peer: Any, timeout: float | None
) -> None:
    """Send each piece of input; end after an error, or when idle after the input's end."""

    async def pump() -> None:
        source = StandardInput(_DATAGRAM)
        while piece := await source.read():
            transport.sendto(piece, peer)
            protocol.totals.sent += len(piece)
        protocol.heard.set()  # from now on an idle second is the end

    task = asyncio.create_task(pump())
    try:
        while protocol.error is None:
            patience = timeout or (_UDP_IDLE if task.done() else None)
            if not await _heard(protocol, patience) and task.done():
                return
    finally:
        task.cancel()
