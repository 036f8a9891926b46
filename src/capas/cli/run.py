# SPDX-License-Identifier: Apache-2.0
"""``capas run``: a world described in TOML, with a program in it, in virtual or in real time."""

import asyncio
import importlib.util
import inspect
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click

from capas.aio.run import run_on, spawn
from capas.application import dhcp, diagnostics
from capas.application.serving import Service
from capas.base.clock import SECOND
from capas.cli.demo_world import addresses_of
from capas.cli.main import complain
from capas.cli.observe import Recorder
from capas.cli.options import TIME, ending_signals, json_option, print_json, reports_errors
from capas.cli.place import Place
from capas.cli.up import Serve, ServeType, start
from capas.cli.worldfile import Tap, WorldFile, read
from capas.errors import CapasError, ConfigurationError, DeviceError
from capas.host.host import Host
from capas.real.device import Device
from capas.sim.units import time_ns
from capas.sim.world import World
from capas.sockets.current import context_of

_DHCP_PATIENCE: Final = 120.0  # s of the world
_LAST: Final = 1.0  # s for the goodbyes of connections after the programs have ended
_MATRIX: Final = 12  # hosts up to which everybody pings everybody
_MODULE: Final = "capas_program"  # the name PROGRAM.py is imported by
Program = Callable[[], Any]


@click.command(
    epilog="Without PROGRAM every host pings every other. PROGRAM.py has functions named after"
    " hosts (a - becomes _), each of which runs on its host, or main(world); coroutine functions"
    " run in the event loop, plain ones may block. examples/ has worlds to begin with."
)
@click.argument("world", metavar="WORLD.toml", type=click.Path(path_type=Path))
@click.argument("program", metavar="[PROGRAM.py]", required=False, type=click.Path(path_type=Path))
@click.option("--seed", type=int, metavar="N", help="Instead of the file's.")
@click.option("--until", type=TIME, metavar="T", help="Stop at this time of the world.")
@click.option("--pcap", metavar="FILE", help="Write what passed every port to FILE (pcapng).")
@click.option("--real-time", is_flag=True, help="Keep step with the wall clock; opens the TAPs.")
@json_option
@reports_errors
def command(
    world: Path,
    program: Path | None,
    seed: int | None,
    until: str | None,
    pcap: str | None,
    real_time: bool,
    as_json: bool,
) -> int:
    """Run the world that WORLD.toml describes, and the programs of PROGRAM.py in it.

    In virtual time the run ends when the programs have ended (or --until), and takes as long as
    the computing takes.  With --real-time it serves until interrupted, and each table [taps.NAME]
    of the file is a TAP device of the kernel plugged into a switch of the world.
    """
    started = time.perf_counter()
    run = WorldRun(read(world), program, seed, until, pcap, real_time=real_time)
    with run.stack:
        run.go()
        report = run.report(started)
        if as_json:
            print_json(report)
        else:
            run.tell(report)
    if run.gone:
        complain(f"{run.gone} has been deleted")
    return 0 if report["ok"] else 1


class WorldRun:
    """One run: the world, its services, its programs and what became of them."""

    def __init__(
        self,
        file: WorldFile,
        program: Path | None,
        seed: int | None,
        until: str | None,
        pcap: str | None,
        *,
        real_time: bool,
    ) -> None:
        self.file = file
        self.real_time = real_time
        self.until = until if until is not None else file.until
        self.stack = ExitStack()
        self.recorder = Recorder()
        self.gone = ""  # the device that was deleted
        self._working: asyncio.Future[None] | None = None
        self.results: dict[str, str] = {}  # program -> "ended" or what went wrong
        self.reached: dict[str, dict[str, float | None]] = {}
        self.world = World(seed=file.seed if seed is None else seed)
        self.stack.enter_context(self.world)
        try:
            if pcap is not None:
                self.world.capture(pcap)
            file.build(self.world)
            self.serves = [(name, _serve(text, place)) for name, text, place in file.serves()]
            self.programs = _programs(program, self.world) if program is not None else {}
        except BaseException:
            self.stack.close()
            raise
        for host in self.world.hosts.values():
            self.recorder.watch(host)

    def go(self) -> None:
        """Run it."""
        if not self.world.hosts:
            raise self.file.place["switches"].error("a world of switches only does nothing")
        if self.real_time:
            self._plug()
        run_on(next(iter(self.world.hosts.values())), self._main)

    def _plug(self) -> None:
        from capas.cli.realtime import PacedDriver

        driver = PacedDriver(self.world)
        self.stack.callback(driver.close)

        def vanished(device: Device) -> None:
            """Somebody deleted a TAP: an end, with what happened until then."""
            self.gone = device.name
            if self._working is not None:
                self._working.cancel()
            driver.wake()

        driver.ports.on_gone = vanished
        for tap in self.file.taps:
            driver.plug(self.stack.enter_context(_opened(tap)), tap.to)

    async def _main(self) -> None:
        services: list[Service] = []
        try:
            for host, wanted in self.serves:
                services.append(await spawn(self.world.hosts[host], start(wanted)))
            await asyncio.gather(*(self._boot(name) for name in self.file.by_dhcp()))
            self._working = work = asyncio.ensure_future(self._work())
            if self.real_time:
                loop = asyncio.get_running_loop()
                for number in ending_signals():
                    loop.add_signal_handler(number, work.cancel)
                click.echo(f"{self.file.path} runs in real time; interrupt to end", err=True)
            try:
                async with asyncio.timeout(self._left()):
                    await work
                    if not self.real_time:
                        await asyncio.sleep(_LAST)
            except (TimeoutError, asyncio.CancelledError):
                work.cancel()
        finally:
            for service in services:
                service.close()

    async def _boot(self, name: str) -> None:
        """Wait for the address of a host that has none of its own; then it is known by name."""
        try:
            client = await spawn(self.world.hosts[name], dhcp.configure(timeout=_DHCP_PATIENCE))
        except TimeoutError:
            raise CapasError(f"{self.file.path}: {name}: no DHCP server gave an address") from None
        assert client.lease is not None
        self.world.names[name].append(client.lease.address)

    def _left(self) -> float | None:
        if self.until is None:
            return None
        value: Any = self.until
        with suppress(ValueError):
            value = float(value)
        return max(0.0, (time_ns(value, "until") - self.world.now) / SECOND)

    async def _work(self) -> None:
        if self.programs:
            await asyncio.gather(*(self._run(name) for name in self.programs))
        elif not self.real_time:
            await self._reach()
        if self.real_time and not self.programs:
            await asyncio.get_running_loop().create_future()  # until interrupted

    async def _run(self, name: str) -> None:
        host, program = self.programs[name]
        loop = asyncio.get_running_loop()
        self.results[name] = "did not end"
        try:
            if inspect.iscoroutinefunction(program):
                await loop.create_task(program(), name=name, context=context_of(host))
            else:
                await loop.create_task(_blocking(program), name=name, context=context_of(host))
            self.results[name] = "ended"
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _print_traceback(error)
            self.results[name] = f"{type(error).__name__}: {error}"

    async def _reach(self) -> None:
        """Everybody pings everybody; in a large world the first host pings all."""
        hosts = list(self.world.hosts.values())
        for source in hosts if len(hosts) <= _MATRIX else hosts[:1]:
            row = self.reached[source.name] = {}
            for target in hosts:
                addresses = addresses_of(target)
                if target is source or not addresses:
                    continue
                work = diagnostics.ping(source, addresses[0], count=1, timeout=5)
                (echo,) = await spawn(source, work)
                row[target.name] = echo.rtt / 1e6 if echo.answered else None

    # -- afterwards -----------------------------------------------------------------------------

    def report(self, started: float) -> dict[str, Any]:
        """What ``--json`` prints."""
        from capas.cli.worldview import account_of

        self.account = account_of(self.world, self.recorder)
        totals = self.account.tcp()
        answers = [rtt for row in self.reached.values() for rtt in row.values()]
        ended = all(text == "ended" for text in self.results.values())
        ok = ended and None not in answers and not self.gone
        return {
            "seed": self.world.seed,
            "ok": ok,
            "programs": self.results,
            "reachable": self.reached,
            "tcp": totals._asdict(),
            "links": {row.name: dict(row.counts) for row in self.account.links},
            "virtual_seconds": self.world.time,
            "wall_seconds": time.perf_counter() - started,
        }

    def tell(self, report: dict[str, Any]) -> None:
        """Print the account."""
        from rich.markup import escape

        from capas.cli import render_account as render
        from capas.cli.render import console, mark

        out = console()
        for name, result in self.results.items():
            out.print(f"  {mark(result == 'ended')} [bold]{name}[/]  {escape(result)}")
        if self.reached:
            out.print(render.heading("Reached", "round trips of one echo each, ms"))
            out.print(render.matrix(self.reached))
        render.show(out, render.transport(self.account))
        render.show(out, render.internet(self.account, ()))
        render.show(out, render.network_access(self.account))
        number = self.account.main_connection()
        if number is not None:
            render.show(out, render.curves(self.account.connections[number], out.width))
            render.show(out, render.diagram(self.account, number, out.width))
        out.print()
        if not self.real_time:
            out.print(render.clocks(report["virtual_seconds"], report["wall_seconds"]))


async def _blocking(program: Program) -> None:
    await asyncio.get_running_loop().run_in_executor(None, program)


def _serve(text: str, place: Place) -> Serve:
    try:
        return ServeType(place.file.parent).convert(text, None, None)
    except click.BadParameter as error:
        raise place.error(error.message) from None


def _programs(path: Path, world: World) -> dict[str, tuple[Host | None, Program]]:
    """The functions of a program file, by name, with the host each runs on."""
    module = _load(path)
    found: dict[str, tuple[Host | None, Program]] = {}
    for name, host in world.hosts.items():
        function = getattr(module, name.replace("-", "_"), None)
        if callable(function):
            found[name] = (host, function)
    main: Callable[[World], Coroutine[Any, Any, None]] | None = getattr(module, "main", None)
    if main is not None:
        if not inspect.iscoroutinefunction(main):
            raise ConfigurationError(f"{path}: main(world) must be a coroutine function")

        async def with_world() -> None:
            await main(world)

        found["main"] = (None, with_world)
    if not found:
        names = ", ".join(world.hosts)
        raise ConfigurationError(
            f"{path}: no function is named after a host ({names}), and there is no main(world)"
        )
    return found


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        what = "a directory" if path.is_dir() else "no such file"
        raise ConfigurationError(f"{path}: {what}; PROGRAM.py is a Python file")
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        line = f": {error.text.strip()}" if error.text else ""
        raise CapasError(f"{error.filename}:{error.lineno}: {error.msg}{line}") from None
    except Exception as error:
        _print_traceback(error)
        raise CapasError(f"{path} could not be loaded: {type(error).__name__}: {error}") from None
    finally:
        sys.path.pop(0)
    return module


def _print_traceback(error: Exception) -> None:
    """Without the frames of those who called the program."""
    at = error.__traceback__
    inner = at
    while inner is not None and inner.tb_frame.f_globals.get("__name__") != _MODULE:
        inner = inner.tb_next
    traceback.print_exception(error.with_traceback(inner or at))


def _opened(tap: Tap) -> Any:
    """The TAP device, as a context manager."""
    from contextlib import closing

    from capas.real import netdev
    from capas.real.devices import open_tap
    from capas.wire.address import parse_interface

    device = open_tap(tap.name, offload=True, mtu=tap.mtu)
    try:
        for text in tap.kernel_address:
            address, length = parse_interface(text)
            netdev.add_kernel_address(tap.name, address, length)
        if not netdev.try_up(tap.name):
            raise DeviceError(f"{tap.name} is down: `sudo ip link set {tap.name} up`")
    except BaseException:
        device.close()
        raise
    return closing(device)
