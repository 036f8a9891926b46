# SPDX-License-Identifier: Apache-2.0
"""``capas sweep``: a test under many seeds, over processes or a Dask cluster.

Failures are told as they come; at the end there is a table of outcomes.  What was run is on disk at
once, so a sweep that is interrupted goes on where it stopped when it is called again.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from capas.cli.main import FAILED, complain
from capas.errors import ConfigurationError
from capas.testing import sweep as sweeping
from capas.testing.sweep import Outcome, Sweep

_SHOWN = 50  # failures in the table
_CHUNK = 10  # seeds at least for one process: starting it takes as long as some runs


@click.command("sweep", context_settings={"ignore_unknown_options": True})
@click.argument("test", metavar="FILE::TEST")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--runs", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="The first seed.")
@click.option("--on", "where", default="local", show_default=True, metavar="local|dask://HOST:PORT")
@click.option("--workers", type=click.IntRange(1), help="Processes (default: processors).")
@click.option("--chunk", type=click.IntRange(1), help="Seeds for one process at a time.")
@click.option(
    "--directory", type=click.Path(path_type=Path), default=Path("capas-sweeps"), show_default=True
)
@click.option("--fresh", is_flag=True, help="Forget the outcomes of earlier sweeps of this test.")
@click.option("--stop-after", type=click.IntRange(1), help="Stop when so many runs have failed.")
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
    as_json: bool,
) -> int:
    """Run a test that uses the fixture `internet` under many seeds.

    What follows FILE::TEST and is no option of this command goes to pytest.  Called again, it runs
    only the seeds that have no outcome yet.
    """
    sweep = Sweep(test, directory)
    if fresh:
        sweep.forget()
    count = workers or os.cpu_count() or 1
    if where == "local":
        submit, close = sweeping.local(count)
    elif where.startswith("dask://"):
        submit, close = sweeping.dask("tcp://" + where.removeprefix("dask://"))
        count = workers or 64
    else:
        raise ConfigurationError(f"--on {where!r}: say local or dask://HOST:PORT")
    seeds = sweep.missing(seed, runs)
    progress = _Progress(sweep, len(seeds), as_json, stop_after)
    if len(seeds) < runs and not as_json:
        click.echo(f"{runs - len(seeds)} of {runs} runs are known from before")
    try:
        size = chunk or max(_CHUNK, min(5 * _CHUNK, len(seeds) // (4 * count)))
        sweeping.run(
            sweep,
            seeds,
            submit=submit,
            told=progress.told,
            size=size,
            options=options,
            ahead=2 * count,
        )
    except _EnoughError:
        pass
    except KeyboardInterrupt:
        complain(f"interrupted; {len(sweep.outcomes)} outcomes are kept, call again to go on")
        return FAILED
    finally:
        close()
    chosen = [sweep.outcomes[n] for n in range(seed, seed + runs) if n in sweep.outcomes]
    if not as_json:
        _table(chosen, sweep)
    return FAILED if any(one.outcome == "failed" for one in chosen) else 0


class _EnoughError(Exception):
    """As many failures as were wanted."""


class _Progress:
    """Tells of outcomes as they come."""

    def __init__(self, sweep: Sweep, total: int, as_json: bool, stop_after: int | None) -> None:
        self._sweep = sweep
        self._total = total
        self._done = 0
        self._failed = 0
        self._json = as_json
        self._stop_after = stop_after
        self._begun = time.monotonic()

    def told(self, found: list[Outcome]) -> None:
        """Some runs have ended."""
        for one in found:
            if self._json:
                click.echo(json.dumps(one._asdict()))
            elif one.outcome == "failed":
                click.echo(f"seed {one.seed} failed: {one.error}")
                click.echo(f"    {one.replay}")
            self._failed += one.outcome == "failed"
        self._done += len(found)
        if not self._json:
            pace = self._done / max(time.monotonic() - self._begun, 1e-3)
            click.echo(
                f"{self._done}/{self._total} runs, {self._failed} failed, {pace:.1f} a second",
                err=True,
            )
        if self._stop_after is not None and self._failed >= self._stop_after:
            raise _EnoughError


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
