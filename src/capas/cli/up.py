# SPDX-License-Identifier: Apache-2.0
"""``capas up``: a host in real time on a TAP or TUN, serving until it is interrupted."""

import asyncio
import errno
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from capas.application import advertise, dhcp_server, inetd, iperf, iperf_ends, mail, names, web
from capas.application.services import WELL_KNOWN
from capas.application.serving import Service
from capas.cli.control import ControlServer
from capas.cli.options import (
    DeviceOptions,
    ParamType,
    StoppedError,
    device_options,
    json_option,
    print_json,
    reports_errors,
)
from capas.cli.station import DeviceGoneError, Station
from capas.errors import CapasError, ConfigurationError, DeviceError
from capas.wire.address import mac_text

#: What can be served: name -> (default port, what stands behind "=", or "").
SERVICES: Final = {
    "http": (web.PORT, "DIRECTORY"),
    "smtp": (mail.PORT, "MAILDIR"),
    "dns": (53, "HOSTSFILE"),
    "dhcp": (67, "FIRST-LAST[,router=A][,dns=A][,lease=S][,MAC=A]"),
    "ra": (0, "[dns=A6][,domain=D][,mtu=N][,lifetime=S]"),
    "iperf": (iperf.PORT, ""),
    **{name: (port, "") for name, port in inetd.PORTS.items()},
}


@dataclass(frozen=True, slots=True)
class Serve:
    """One --serve option."""

    name: str
    port: int
    path: str


class ServeType(ParamType):
    """NAME[:PORT][=PATH]; the path from the working directory, or from ``base``."""

    name = "service"

    def __init__(self, base: Path | None = None) -> None:
        self.base: Path = base if base is not None else Path()

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Serve:
        """A `Serve`, checked as far as the file system can tell."""
        if isinstance(value, Serve):
            return value
        head, equals, path = str(value).partition("=")
        name, colon, digits = head.partition(":")
        if name not in SERVICES:
            self.fail(f"{name!r} cannot be served; there are {', '.join(SERVICES)}", param, ctx)
        port, wants = SERVICES[name]
        if colon:
            if not (digits.isascii() and digits.isdigit() and 0 < int(digits) <= 65535):
                self.fail(f"{value!r}: a port is a number from 1 to 65535", param, ctx)
            port = int(digits)
        if wants and not path and not wants.startswith("["):
            self.fail(f"{value!r}: say {name}:{port}={wants}", param, ctx)
        if equals and not wants:
            self.fail(f"{value!r}: {name} needs nothing after a =", param, ctx)
        if name in ("dhcp", "ra"):
            try:
                if name == "dhcp":
                    dhcp_server.Pool.parse(path)
                else:
                    advertise.configuration(path, router=False)
            except ConfigurationError as error:
                self.fail(str(error), param, ctx)
        if name in ("http", "dns", "smtp"):
            path = self._file(name, path, param, ctx)
        return Serve(name, port, path)

    def _file(
        self, name: str, text: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The path of what is served; it must be there, but for a Maildir."""
        path = self.base / text
        if name == "http" and not path.is_dir():
            self.fail(f"'{path}' is not a directory: there is nothing to serve", param, ctx)
        if name == "dns" and not path.is_file():
            self.fail(f"'{path}' is not a file of lines `ADDRESS NAME...`", param, ctx)
        if name == "smtp" and path.exists() and not path.is_dir():
            self.fail(f"'{path}' is a file; a Maildir is a directory", param, ctx)
        return str(path)


@click.command(
    epilog="Example: capas up --tap tap0 --address 192.0.2.2/24 --kernel-address 192.0.2.1/24"
    " --serve http:80=. ; then `curl http://192.0.2.2/` from another terminal."
)
@click.option(
    "--serve",
    type=ServeType(),
    multiple=True,
    metavar="SERVICE",
    help="http:80=DIR, smtp:25=MAILDIR, dns:53=HOSTSFILE, dhcp=FIRST-LAST[,router=A][,dns=A]"
    "[,lease=S][,domain=D][,mtu=N][,MAC=A], ra[=dns=A6] (router advertisements),"
    " iperf:5201, echo:7, discard:9, daytime:13 or chargen:19; once for each.",
)
@click.option(
    "--ready-file", metavar="FILE", help="Made when everything serves; removed at the end."
)
@click.option(
    "--control/--no-control", default=True, show_default=True,
    help="Let `capas ss`, `ip` and `tcpdump` of this user look at the host.",
)  # fmt: skip
@json_option
@device_options
@reports_errors
def command(
    options: DeviceOptions,
    serve: tuple[Serve, ...],
    ready_file: str | None,
    control: bool,
    as_json: bool,
) -> int:
    """Bring a host up on a TAP or TUN device and serve until SIGINT, SIGTERM or SIGHUP.

    The host answers ARP, neighbour discovery, ping and traceroute by itself; --serve adds servers
    on both families.  Impairments (--loss, --delay, ...) work on each direction of the device.
    """
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    if ready_file is not None:
        _not_ready(Path(ready_file))
    with Station(options) as station:
        started = time.monotonic()
        gone: DeviceGoneError | None = None
        try:
            station.run(_serve(station, serve, ready_file, console, control))
        except StoppedError:
            pass
        except DeviceGoneError as error:
            gone = error
        finally:
            if ready_file is not None:
                Path(ready_file).unlink(missing_ok=True)
        summary = _summary(station, time.monotonic() - started, serve)
    if as_json:
        print_json({"ok": gone is None, **summary})
    else:
        _print_summary(console, summary)
    if gone is not None:
        raise gone
    return 0


async def _serve(
    station: Station,
    serve: tuple[Serve, ...],
    ready_file: str | None,
    console: Console,
    control: bool,
) -> None:
    """Serve until cancelled."""
    services: list[Service] = []
    asked = await _control(station, console) if control else None
    try:
        await station.usable()
        for wanted in serve:
            services.append(await start(wanted))
        _announce(station, serve, console)
        if ready_file is not None:
            _write_ready(Path(ready_file), station, serve)
        await asyncio.get_running_loop().create_future()
    finally:
        if asked is not None:
            asked.close()
        for service in services:
            service.close()
        await asyncio.sleep(0)  # their connections get a turn to say goodbye


async def _control(station: Station, console: Console) -> ControlServer | None:
    """What answers `capas ss` and its kin; a host that cannot have it runs without."""
    try:
        asked = ControlServer(station.host, station.driver, station.device.name)
        await asked.start()
    except (OSError, CapasError) as error:
        console.print(f"capas ss, ip and tcpdump cannot ask this host: {error}")
        return None
    return asked


async def start(wanted: Serve) -> Service:
    """One server."""
    try:
        if wanted.name == "http":
            return await web.start(wanted.port, directory=wanted.path, wall=time.time)
        if wanted.name == "smtp":
            return await mail.start(
                wanted.port, store=mail.MaildirStore(wanted.path), wall=time.time
            )
        if wanted.name == "dhcp":
            return await dhcp_server.start(wanted.path, wanted.port)
        if wanted.name == "ra":
            return await advertise.start(wanted.path)
        if wanted.name == "iperf":
            return await iperf_ends.start(wanted.port)
        if wanted.name == "dns":
            return await names.start(_zone(Path(wanted.path)), wanted.port)
        return await inetd.start(wanted.name, wanted.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise DeviceError(
                f"port {wanted.port} serves something already: give {wanted.name} another port"
                f" (--serve {wanted.name}:PORT)"
            ) from None
        raise


def _zone(path: Path) -> names.Zone:
    """The records of a hosts file."""
    zone = names.Zone({})
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise CapasError(f"{path}: not UTF-8 text of lines `ADDRESS NAME...`") from None
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            for name in words[1:]:
                zone.add_host(name, [words[0]])
        except ValueError as error:
            raise CapasError(f"{path}, line {number}: {error}") from None
    return zone


def _not_ready(path: Path) -> None:
    """Take away what a host that was killed left: whoever waits for it shall wait for this one."""
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigurationError(f"--ready-file {path}: say a file in a directory that is there")
    path.unlink(missing_ok=True)


def _write_ready(path: Path, station: Station, serve: tuple[Serve, ...]) -> None:
    """Appear at once and whole, with what a program may want to know."""
    facts = {
        "pid": os.getpid(),
        "device": station.device.name,
        "addresses": station.addresses,
        "services": {wanted.name: wanted.port for wanted in serve},
    }
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(facts) + "\n")
    partial.replace(path)


def _announce(station: Station, serve: tuple[Serve, ...], console: Console) -> None:
    options, device = station.options, station.device
    kind = "TAP" if options.tap is not None else "TUN"
    offload = "super-frames" if device.caps.gso_types else "no offloads"
    console.print(
        f"[bold]{', '.join(station.addresses)}[/] on {kind} [bold]{device.name}[/]"
        f" (MTU {device.caps.mtu}, {offload}"
        + (f", MAC {mac_text(station.interface.mac)})" if options.tap is not None else ")")
    )
    for wanted in serve:
        where = f" from {wanted.path}" if wanted.path else ""
        port = f" on port {WELL_KNOWN.label(wanted.port)}" if wanted.port else ""
        console.print(f"  serving {wanted.name}{port}{where}")
    if not serve:
        console.print("  serving nothing; it answers ping")
    console.print("Ctrl-C ends it.")


def _summary(station: Station, seconds: float, serve: tuple[Serve, ...]) -> dict[str, Any]:
    """What happened, for `print_json` and `_print_summary`."""
    stats = station.interface.stats
    links: dict[str, dict[str, int]] = {}
    if station.impaired is not None:
        for name, counted in station.impaired.statistics().items():
            links[name] = counted.snapshot()
    return {
        "seconds": round(seconds, 3),
        "device": station.device.name,
        "addresses": station.addresses,
        "services": {wanted.name: wanted.port for wanted in serve},
        "received": {"frames": stats.rx_frames, "bytes": stats.rx_bytes},
        "sent": {"frames": stats.tx_frames, "bytes": stats.tx_bytes},
        "impairments": links,
        "counters": station.host.counters.snapshot(),
        "device_counters": station.device.counters.snapshot(),
    }


def _print_summary(console: Console, summary: dict[str, Any]) -> None:
    table = Table(title=f"{summary['device']}: {summary['seconds']:.1f} s", title_justify="left")
    table.add_column("what")
    table.add_column("frames", justify="right")
    table.add_column("bytes", justify="right")
    for what in ("received", "sent"):
        row = summary[what]
        table.add_row(what, f"{row['frames']:,}", f"{row['bytes']:,}")
    console.print(table)
    for name, counted in summary["impairments"].items():
        told = ", ".join(f"{what} {n:,}" for what, n in counted.items() if n)
        console.print(f"cable {name}: {told or 'nothing'}")
    counters = {**summary["counters"], **summary["device_counters"]}
    if counters:
        console.print("counters: " + ", ".join(f"{name} {n:,}" for name, n in counters.items()))
