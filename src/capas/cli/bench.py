# SPDX-License-Identifier: Apache-2.0
"""``capas bench``: how fast, beside what a user would use instead, in the same run."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from capas.bench.report import Report, to_stderr
from capas.cli.options import json_option, print_json, reports_errors
from capas.cli.render import console
from capas.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])

_RUNS: Final = 5  # the fewest that make a median with a spread
_SECONDS: Final = 0.6
_QUICK: Final = (2, 0.2)
_NS3: Final = "ns-3 is compared with if it is installed (`pip install ns3`) or --ns3 names it."

_COMPILED: Final = "The wheel is made by `CAPAS_COMPILE=1 pip wheel .`, in a clone by `bin/wheel`."

_ns3 = click.option("--ns3", metavar="PYTHON", help="A Python that has ns-3, if not this one.")


def _common(function: F) -> F:
    """--json, --quick, --runs and --svg."""
    decorated: Callable[..., Any] = reports_errors(function)
    for option in (
        click.option("--svg", metavar="FILE", help="Draw the medians there."),
        click.option("--runs", type=click.IntRange(1), default=_RUNS, show_default=True),
        click.option("--quick", is_flag=True, help="Few, short runs: to see that it works."),
        json_option,
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[return-value]


def _show(report: Report, as_json: bool, svg: str | None) -> int:
    to_stderr("")
    if svg is not None:
        Path(svg).write_text(report.svg())
    if as_json:
        print_json(report.json())
        return 0
    out = console()
    out.print(report.table())
    for note in report.notes:
        out.print(f"  {note}")
    return 0


def _known(only: tuple[str, ...], keys: Iterable[str]) -> None:
    if unknown := sorted(set(only).difference(keys)):
        raise ConfigurationError(f"--only {unknown[0]}: there are {', '.join(keys)}")


@click.group()
def command() -> None:
    """Measure capas beside what one would use instead; medians of interleaved runs."""


@command.command(epilog="Needs Linux, `ip`, and root or user namespaces; `wrk` is used if there.")
@click.option("--pin", is_flag=True, help="Servers on one core, load on another.")
@click.option("--only", multiple=True, metavar="KEY", help="Such as bulk_in, crr_32, impaired_in.")
@_common
def tap(
    as_json: bool, quick: bool, runs: int, svg: str | None, pin: bool, only: tuple[str, ...]
) -> int:
    """A host on a TUN device against the kernel over veth, the kernel as peer of both."""
    from capas.bench.tap import KEYS, measure

    runs, seconds = (min(runs, _QUICK[0]), _QUICK[1]) if quick else (runs, _SECONDS)
    _known(only, KEYS)
    report = measure(runs, seconds, pin, frozenset(only), to_stderr)
    return _show(report, as_json, svg)


@command.command(epilog=_NS3)
@click.option("--only", multiple=True, metavar="SCENARIO", help="Such as S1; may be repeated.")
@_ns3
@_common
def sim(
    as_json: bool, quick: bool, runs: int, svg: str | None, ns3: str | None, only: tuple[str, ...]
) -> int:
    """Wall time of four scenarios in virtual time, beside ns-3."""
    from capas.bench.ns3 import started
    from capas.bench.scenarios import SCENARIOS
    from capas.bench.sim import measure

    _known(only, SCENARIOS)
    runs = min(runs, _QUICK[0]) if quick else runs
    tell = to_stderr
    with started(ns3, tell) as simulator:
        report = measure(runs, quick, frozenset(only), simulator, tell)
    return _show(report, as_json, svg)


@command.command()
@_common
def sockets(as_json: bool, quick: bool, runs: int, svg: str | None) -> int:
    """asyncio streams on a host against the standard loop on the kernel's loopback."""
    from capas.bench.sockets import measure

    runs, seconds = (min(runs, _QUICK[0]), _QUICK[1]) if quick else (runs, _SECONDS)
    return _show(measure(runs, seconds, to_stderr), as_json, svg)


@command.command(epilog="py-radix and pytricia are compared with if they are installed.")
@_common
def routes(as_json: bool, quick: bool, runs: int, svg: str | None) -> int:
    """A routing table of a million prefixes: memory and lookups."""
    from capas.bench.routes import measure

    runs = min(runs, _QUICK[0]) if quick else runs
    return _show(measure(runs, quick, to_stderr), as_json, svg)


@command.command(epilog=_NS3)
@_ns3
@_common
def memory(as_json: bool, quick: bool, runs: int, svg: str | None, ns3: str | None) -> int:
    """100,000 idle connections beside the kernel's; a world of 10,000 hosts beside ns-3's."""
    from capas.bench.memory import measure
    from capas.bench.ns3 import started

    runs = min(runs, _QUICK[0]) if quick else runs
    with started(ns3, to_stderr) as simulator:
        report = measure(runs, quick, simulator, to_stderr)
    return _show(report, as_json, svg)


@command.command()
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True)
@json_option
@reports_errors
def where(as_json: bool, seconds: float) -> int:
    """Where the time goes: CPU time per frame, exchange and connection on TUN, by layer."""
    from capas.bench.lab import enter
    from capas.bench.where import measure

    enter()
    found = measure(seconds, to_stderr)
    to_stderr("")
    if as_json:
        print_json(found.json())
    else:
        console().print(found.table())
    return 0


@command.command(epilog=_COMPILED)
@click.argument("python")
@click.option("--only", multiple=True, metavar="KEY", help="Such as S1, crr, tun_bulk_in.")
@_common
def compiled(
    as_json: bool, quick: bool, runs: int, svg: str | None, only: tuple[str, ...], python: str
) -> int:
    """What compiling buys: the capas of this Python beside the compiled one of PYTHON."""
    from capas.bench.compiled import KEYS, measure

    _known(only, KEYS)
    runs, seconds = (min(runs, _QUICK[0]), _QUICK[1]) if quick else (runs, _SECONDS)
    report = measure(python, runs, seconds, quick, frozenset(only), to_stderr)
    return _show(report, as_json, svg)


@command.command(name="all")
@click.argument("directory", type=click.Path(file_okay=False))
@click.option("--compiled", metavar="PYTHON", help="A Python that has capas compiled.")
@click.option("--also", metavar="PYTHON", help="Measure by this one over TUN, too.")
@_ns3
@_common
def everything(
    directory: str,
    as_json: bool,
    quick: bool,
    runs: int,
    svg: str | None,
    ns3: str | None,
    compiled: str | None,
    also: str | None,
) -> int:
    """All of them; writes performance.md and its plots into DIRECTORY."""
    from capas.bench import compiled as both
    from capas.bench import memory, routes, sim, sockets, tap, where
    from capas.bench.docs import document
    from capas.bench.ns3 import started

    few, seconds = _QUICK if quick else (runs, _SECONDS)
    tell = to_stderr
    with started(ns3, tell) as simulator:
        reports = [
            sim.measure(few, quick, frozenset(), simulator, tell),
            sockets.measure(few, seconds, tell),
            routes.measure(few, quick, tell),
            memory.measure(few, quick, simulator, tell),
        ]
    if compiled is not None:
        reports.append(both.measure(compiled, few, seconds, quick, frozenset(), tell))
    if also is not None:
        reports.insert(0, tap.measure_by(also, few, quick))
    # Last, for it changes namespace; first to be read.
    reports.insert(0, tap.measure(few, seconds, False, frozenset(), tell))
    document(Path(directory), reports, where.measure(seconds, tell))
    if as_json:
        print_json({"ok": True, "reports": [report.json() for report in reports]})
    return 0
