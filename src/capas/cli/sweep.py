# SPDX-License-Identifier: Apache-2.0
"""``capas sweep``: a test under many seeds, over processes or a Dask cluster.

Failures are told as they come; at the end there is a table of outcomes.  What was run is on disk at
once, so a sweep that is interrupted goes on where it stopped when it is called again.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from capas.cli.main import FAILED, INTERRUPTED, complain
from capas.errors import CapasError, ConfigurationError
from capas.testing import sweep as sweeping
from capas.testing.executors import Dask, Local
from capas.testing.sweep import Outcome, Sweep

_SHOWN: Final = 50  # failures in the table
_CHUNK: Final = 10  # seeds at least for one process: starting it takes as long as some runs
_PROGRESS: Final = 10.0  # seconds between lines of progress in a file
_PROGRESS_SHOWN: Final = 0.2  # seconds between such lines on a terminal, each over the last

_KNOWN: Final = 0.05  # of all runs, before a guess at how long the others take


@click.command("sweep", context_settings={"ignore_unknown_options": True})
@click.argument("test", metavar="FILE::TEST")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--runs", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="The first seed.")
@click.option("--on", "where", default="local", show_default=True, metavar="local|dask://HOST:PORT")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes at a time (default: processors, or the cluster's threads).",
)
@click.option("--chunk", type=click.IntRange(1), help="Seeds for one process.")
@click.option(
    "--directory", type=click.Path(path_type=Path), default=Path("capas-sweeps"), show_default=True
)
@click.option("--fresh", is_flag=True, help="Forget the outcomes of earlier sweeps of this test.")
@click.option("--stop-after", type=click.IntRange(1), help="Stop when so many runs have failed.")
@click.option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    default=sweeping.LIMIT,
    show_default=True,
    help="Seconds of real time after which a run has failed.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each outcome.")
def command(
    test: str,
    options: tuple[str, ...],
    runs: int,
    seed: int,
    where: str,
    workers: int | None,
    chunk: int | None,
    directory: Path,
    fresh: bool,
    stop_after: int | None,
    limit: float,
    as_json: bool,
) -> int:
    """Run a test that uses the fixture `internet` under many seeds.

    What follows FILE::TEST and is no option of this command goes to pytest.  Called again, it runs
    only the seeds that have no outcome yet.
    """
    sweep = Sweep(test, directory, options, limit)
    if fresh:
        sweep.forget()
    seeds = sweep.missing(seed, runs)
    if len(seeds) < runs and not as_json:
        click.echo(f"{runs - len(seeds)} of {runs} runs are known from before (--fresh forgets)")
    progress = _Progress(len(seeds), as_json, stop_after)
    code, why = 0, ""
    try:
        with _terminable():
            if seeds:
                _run(sweep, seeds, where, workers, chunk, progress)
    except _EnoughError:
        pass
    except KeyboardInterrupt:
        code, why = INTERRUPTED, "interrupted"
    except ConfigurationError:
        raise
    except CapasError as error:
        code, why = FAILED, str(error)
    finally:
        progress.end()
    chosen = [sweep.outcomes[n] for n in range(seed, seed + runs) if n in sweep.outcomes]
    if chosen and not as_json:
        _table(chosen, sweep)
    if code:
        complain(why)
        if chosen:
            click.echo(f"{len(chosen)} of {runs} runs are kept: call again to go on", err=True)
        return code
    return FAILED if any(one.outcome == "failed" for one in chosen) else 0


def _run(
    sweep: Sweep,
    seeds: list[int],
    where: str,
    workers: int | None,
    chunk: int | None,
    progress: "_Progress",
) -> None:
    executor: Local | Dask
    if where == "local":
        if find_spec("pytest") is None:
            raise CapasError("capas sweep needs pytest: python -m pip install 'capas[test]'")
        executor = Local(workers or os.cpu_count() or 1)
    elif where.startswith("dask://"):
        executor = Dask(where, complain)
    else:
        raise ConfigurationError(f"--on {where!r}: say local or dask://HOST:PORT")
    try:
        count = workers or executor.workers
        size = chunk or max(_CHUNK, min(5 * _CHUNK, len(seeds) // (4 * count)))
        sweeping.run(sweep, seeds, executor, told=progress.told, size=size, ahead=2 * count)
    finally:
        executor.close()


@contextmanager
def _terminable() -> Iterator[None]:
    """While the block runs, SIGTERM interrupts like Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _EnoughError(Exception):
    """As many failures as were wanted."""


class _Progress:
    """Tells of outcomes as they come."""

    def __init__(self, total: int, as_json: bool, stop_after: int | None) -> None:
        self._total = total
        self._done = 0
        self._failed = 0
        self._json = as_json
        self._stop_after = stop_after
        self._begun = self._said = time.monotonic()
        self._shown = sys.stderr.isatty()  # a terminal: one line, written over and over

    def told(self, one: Outcome) -> None:
        """A run has ended."""
        self._done += 1
        self._failed += one.outcome == "failed"
        if self._json:
            click.echo(json.dumps(one._asdict()))
        elif one.outcome == "failed":
            self._wipe()
            click.echo(f"seed {one.seed} failed: {one.error}")
            click.echo(f"    {one.replay}")
        if time.monotonic() - self._said >= (_PROGRESS_SHOWN if self._shown else _PROGRESS):
            self._say()
        if self._stop_after is not None and self._failed >= self._stop_after:
            raise _EnoughError

    def end(self) -> None:
        """The last line."""
        if self._done:
            self._say()
            if self._shown and not self._json:
                click.echo(err=True)

    def _say(self) -> None:
        self._said = time.monotonic()
        if self._json:
            return
        pace = self._done / max(self._said - self._begun, 1e-3)
        text = f"{self._done}/{self._total} runs, {self._failed} failed, {pace:.1f} a second"
        if self._total > self._done >= self._total * _KNOWN:
            text += f", {_duration((self._total - self._done) / pace)} to go"
        self._wipe()
        click.echo(text, err=True, nl=not self._shown)

    def _wipe(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)


def _duration(seconds: float) -> str:
    """ "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _table(outcomes: list[Outcome], sweep: Sweep) -> None:
    """Outcomes by seed: how many passed, and each failure."""
    counts: dict[str, int] = {}
    for one in outcomes:
        counts[one.outcome] = counts.get(one.outcome, 0) + 1
    click.echo(", ".join(f"{number} {word}" for word, number in sorted(counts.items())))
    failed = [one for one in outcomes if one.outcome == "failed"]
    rows: list[tuple[Any, ...]] = [
        (one.seed, f"{one.time:.3f} s", one.error[:60], one.capture or "-")
        for one in failed[:_SHOWN]
    ]
    if rows:
        rows.insert(0, ("seed", "at", "error", "capture"))
        widths = [max(len(str(row[i])) for row in rows) for i in range(4)]
        for row in rows:
            cells = (f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())
        if len(failed) > _SHOWN:
            click.echo(f"… and {len(failed) - _SHOWN} more")
        click.echo(f"replay the first: {failed[0].replay}")
    click.echo(f"all outcomes: {sweep.file}")
