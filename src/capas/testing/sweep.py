# SPDX-License-Identifier: Apache-2.0
"""Sweeps: one test under many seeds, spread over processes or a Dask cluster, resumable.

Each piece of work is a chunk of seeds, run by ``python -m pytest`` in a process of its own
(`capas.testing.chunk`) wherever an executor (`capas.testing.executors`) puts it.  Outcomes are
lines of JSON in a file beside the captures, written as they come.  A sweep that was stopped, by
whatever, reads that file and runs only the seeds that are missing.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, Protocol

from capas.errors import ConfigurationError
from capas.testing.artefacts import file_name

LIMIT: Final = 600.0  # seconds of real time for one run, unless told otherwise


class Outcome(NamedTuple):
    """One run of the test."""

    seed: int
    outcome: str  # "passed", "failed", "skipped"
    error: str = ""
    replay: str = ""
    capture: str = ""
    page: str = ""
    faults: str = ""
    time: float = 0.0  # virtual, seconds

    @classmethod
    def read(cls, line: str) -> "Outcome | None":
        """From a line of JSON; None for half a line."""
        try:
            found = json.loads(line)
            return cls(**found)
        except (ValueError, TypeError):
            return None

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(self._asdict()) + "\n"


class Work(NamedTuple):
    """Some seeds of a sweep: plain data, so that a cluster can carry it."""

    node: str
    seeds: tuple[int, ...]
    directory: str  # where captures go, absolute
    options: tuple[str, ...] = ()  # for pytest
    root: str = "."  # where ``node`` is looked for
    limit: float = LIMIT  # seconds of real time for one run


class Sweep:
    """The outcomes of one test so far, on disk."""

    def __init__(
        self, node: str, directory: Path, options: Sequence[str] = (), limit: float = LIMIT
    ) -> None:
        file, sign, test = node.partition("::")
        if not (sign and test):
            raise ConfigurationError(f"{node!r} is not a test: say FILE::TEST")
        self.node: str = node
        self.options: tuple[str, ...] = tuple(options)
        self.limit: float = limit
        named = "::".join([file, " ".join([test, *options])])
        self.directory: Path = directory / file_name(named, "s").rpartition("-seeds")[0]
        self.file: Path = self.directory / "outcomes.jsonl"
        self.outcomes: dict[int, Outcome] = {}
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                found = Outcome.read(line)
                if found is not None:
                    self.outcomes[found.seed] = found

    def forget(self) -> None:
        """Begin anew."""
        self.outcomes.clear()
        self.file.unlink(missing_ok=True)

    def missing(self, first: int, runs: int) -> list[int]:
        """Seeds that have no outcome yet."""
        return [seed for seed in range(first, first + runs) if seed not in self.outcomes]

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Keep outcomes; they are in the file when this returns, so no death of ours loses them."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as file:
            if file.tell() and not _ends_line(self.file):
                file.write(b"\n")  # half a line, of a machine that went down
            for one in outcomes:
                self.outcomes[one.seed] = one
                file.write(one.line().encode())

    def work(self, first: int, count: int) -> Work:
        """So many seeds from ``first`` on, as a piece of work."""
        seeds = tuple(range(first, first + count))
        where = str(self.directory.resolve())
        return Work(self.node, seeds, where, self.options, str(Path.cwd()), self.limit)


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def chunks(seeds: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """(first seed, how many) of pieces without gaps, none larger than ``size``."""
    start = 0
    for at in range(1, len(seeds) + 1):
        if at == len(seeds) or seeds[at] != seeds[at - 1] + 1 or at - start == size:
            yield seeds[start], at - start
            start = at


Tell = Callable[[Outcome], None]


class Executor(Protocol):
    """Where work is done."""

    def submit(self, work: Work, tell: Tell) -> "Future[Any]":
        """Begin; ``tell`` is called with outcomes, in any thread, before the future is done."""

    def close(self) -> None:
        """Stop what still runs, and leave no process behind."""


def run(
    sweep: Sweep,
    seeds: Sequence[int],
    executor: Executor,
    *,
    told: Tell,
    size: int,
    ahead: int = 4,
) -> None:
    """Run the seeds, ``size`` at a time; ``told`` is called with outcomes as they come, kept."""
    waiting = list(chunks(seeds, size))
    events: SimpleQueue[Outcome | Future[Any]] = SimpleQueue()
    running: set[Future[Any]] = set()
    try:
        while waiting or running:
            while waiting and len(running) < ahead:
                future = executor.submit(sweep.work(*waiting.pop(0)), events.put)
                running.add(future)
                future.add_done_callback(events.put)
            event = events.get()
            if isinstance(event, Outcome):
                sweep.add([event])
                told(event)
            else:
                running.discard(event)
                event.result()
    finally:
        for future in running:
            future.cancel()
        _keep_rest(sweep, events)


def _keep_rest(sweep: Sweep, events: "SimpleQueue[Outcome | Future[Any]]") -> None:
    """What was told and not yet taken when a sweep ends early."""
    while not events.empty():
        event = events.get()
        if isinstance(event, Outcome):
            sweep.add([event])
