# SPDX-License-Identifier: Apache-2.0
"""Sweeps: one test under many seeds, spread over processes or a Dask cluster, resumable.

Each piece of work is a chunk of seeds, run by ``python -m pytest`` in a process of its own; its
outcomes are lines of JSON in a file beside the captures.  A sweep that was stopped reads that file
and runs only the seeds that are missing.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from capas.errors import CapasError, ConfigurationError
from capas.testing.artefacts import file_name

_ENV: Final = "CAPAS_SWEEP_OUTCOMES"
_NO_TESTS: Final = 5  # pytest's exit codes: no test collected, wrong usage, interrupted
_BROKEN: Final = (2, 3, 4, _NO_TESTS)


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


class Sweep:
    """The outcomes of one test so far, on disk."""

    def __init__(self, node: str, directory: Path) -> None:
        if "::" not in node:
            raise ConfigurationError(f"{node!r} is not a test: say FILE::TEST")
        self.node: str = node
        self.directory: Path = directory / file_name(node, "s")[:-6]
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
        """Keep outcomes; they are on disk when this returns."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            for one in outcomes:
                self.outcomes[one.seed] = one
                file.write(one.line())
            file.flush()
            os.fsync(file.fileno())


def chunks(seeds: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """(first seed, how many) of pieces without gaps, none larger than ``size``."""
    start = 0
    for at in range(1, len(seeds) + 1):
        if at == len(seeds) or seeds[at] != seeds[at - 1] + 1 or at - start == size:
            yield seeds[start], at - start
            start = at


def run_chunk(
    node: str, first: int, count: int, directory: str, options: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Run a chunk in a process of its own; plain data, so that a cluster can carry it."""
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "outcomes"
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", node),
            *(f"--capas-seed={first}", f"--capas-runs={count}", f"--capas-pcap-dir={directory}"),
            *("-p", "capas.testing.sweep", "-p", "no:terminalreporter", *options),
        ]
        done = subprocess.run(
            command,
            env={**os.environ, _ENV: str(told)},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = told.read_text().splitlines() if told.exists() else []
        if done.returncode in _BROKEN or not lines:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise CapasError(f"{node}: pytest ran no test: " + " ".join(said[-3:]))
        found = [Outcome.read(line) for line in lines]
        return [one._asdict() for one in found if one is not None]


# -- executors ------------------------------------------------------------------------------------


def local(workers: int) -> tuple[Callable[..., Future[Any]], Callable[[], None]]:
    """(submit, close) for processes of this machine."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sweep")
    return pool.submit, lambda: pool.shutdown(wait=True, cancel_futures=True)


def dask(address: str) -> tuple[Callable[..., Any], Callable[[], None]]:
    """(submit, close) for a Dask cluster, whose workers have the project installed."""
    try:
        distributed = import_module("distributed")
    except ModuleNotFoundError:
        raise ConfigurationError(
            "--on dask://... needs the package distributed: pip install distributed"
        ) from None
    client = distributed.Client(address)
    executor = client.get_executor(pure=False)
    return executor.submit, client.close


def run(
    sweep: Sweep,
    seeds: Sequence[int],
    *,
    submit: Callable[..., Any],
    told: Callable[[list[Outcome]], None],
    size: int,
    options: Sequence[str] = (),
    ahead: int = 4,
) -> None:
    """Run the seeds; ``told`` is called with outcomes as they come, already on disk."""
    waiting = list(chunks(seeds, size))
    running: set[Any] = set()
    try:
        while waiting or running:
            while waiting and len(running) < ahead:
                first, count = waiting.pop(0)
                where = str(sweep.directory.resolve())
                running.add(submit(run_chunk, sweep.node, first, count, where, tuple(options)))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                found = [Outcome(**one) for one in future.result()]
                sweep.add(found)
                told(found)
    finally:
        for future in running:
            future.cancel()


# -- in the process of a chunk --------------------------------------------------------------------


def pytest_runtest_logreport(report: Any) -> None:
    """Write a line for each run of the test."""
    path = os.environ.get(_ENV)
    if path is None or (report.when != "call" and report.outcome == "passed"):
        return
    said = dict(report.user_properties)
    label = report.nodeid.rpartition("seed")[2].rstrip("]")
    digits = label.partition("-")[0]
    seed = said.get("capas_seed", int(digits) if digits.isdigit() else _only_seed())
    crash = getattr(report.longrepr, "reprcrash", None)
    error = "" if crash is None else str(crash.message).partition("\n")[0]
    one = Outcome(
        int(seed),
        report.outcome,
        error,
        said.get("capas_replay", ""),
        said.get("capas_capture", ""),
        said.get("capas_page", ""),
        said.get("capas_faults", ""),
        said.get("capas_time", 0.0),
    )
    if report.when == "teardown" and report.outcome == "failed":
        one = one._replace(error=error or "in teardown")
    with open(path, "a") as file:
        file.write(one.line())


def _only_seed() -> int:
    for word in sys.argv:
        if word.startswith("--capas-seed="):
            return int(word.partition("=")[2])
    return 0
