# SPDX-License-Identifier: Apache-2.0
"""A chunk of a sweep: some seeds of a test, run by pytest in a process of its own.

The process has the plugin `capas.testing.teller`, which tells on standard output of each seed that
begins and of each outcome, and ends the process when its standard input is closed: so no process
outlives whoever started it, even one that was killed.  A process that dies, or is ended because a
run takes too long, is replaced, and the seed it was at has failed.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final, final

from capas.errors import CapasError, ConfigurationError
from capas.testing import replay
from capas.testing.sweep import Outcome, Tell, Work, chunks

MARK: Final = "\x1ecapas "  # begins the plugin's lines among what else is printed
GRACE: Final = 5.0  # seconds in which an interrupted process ends by itself
_WRONG_USAGE: Final = 4  # pytest's exit code
_WORKER: Final = "PYTEST_XDIST_WORKER"  # inherited where a sweep is itself started by a test
_KEPT: Final = 12  # lines of what pytest said


@final
class Chunk:
    """Some work being done; `stop` may be called from another thread."""

    def __init__(self, work: Work) -> None:
        self._work: Work = work
        self._process: subprocess.Popen[str] | None = None
        self._stopped: bool = False

    def run(self, tell: Tell) -> None:
        """Run all seeds, telling of each outcome as it comes; returns early when stopped."""
        left = dict.fromkeys(self._work.seeds)

        def done(one: Outcome) -> None:
            if not self._stopped:  # else it may be the interruption that failed
                left.pop(one.seed, None)
                tell(one)

        while left and not self._stopped:
            for first, count in list(chunks(list(left), len(left))):
                self._run(first, count, done)
                if self._stopped or set(range(first, first + count)) & set(left):
                    break  # the process has died: what is left are other pieces

    def stop(self) -> None:
        """End it soon: what was told is all there is."""
        self._stopped = True
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()

    def kill(self) -> None:
        """End it now."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def _run(self, first: int, count: int, tell: Tell) -> None:
        """One process, for ``count`` seeds; if it dies, the seed it was at has failed."""
        work = self._work
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider"),
            *("-p", "capas.testing.teller", work.node),
            *(f"--capas-seed={first}", f"--capas-runs={count}"),
            *(f"--capas-pcap-dir={work.directory}", *work.options),
        ]
        process = self._process = subprocess.Popen(
            command,
            cwd=work.root,
            env={name: word for name, word in os.environ.items() if name != _WORKER},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C of a terminal is for whoever sweeps
        )
        assert process.stdout is not None
        with process:
            if self._stopped:
                self.stop()
            watch = _Watch(process, work.limit)
            seed, told, said = _listen(process.stdout, tell, watch)
            code = process.wait()
            watch.ended()
        if self._stopped:
            return
        if seed is not None:
            how = f"the process of this run {_ended(code)}"
            if watch.struck:
                running = [line for line in said if " was running: " in line]
                how = "; ".join([f"took over {work.limit:g} s of real time", *running])
            line = replay.command(work.node, seed, options=work.options)
            tell(Outcome(seed, "failed", how, line))
        elif not told:
            kind = ConfigurationError if code == _WRONG_USAGE else CapasError
            raise kind("\n    ".join([f"{work.node}: pytest ran no test:", *said]))


@final
class _Watch:
    """Ends a process when one of its runs takes too long."""

    def __init__(self, process: "subprocess.Popen[str]", limit: float) -> None:
        self._process: subprocess.Popen[str] = process
        self._limit: float = limit
        self._timer: threading.Timer | None = None
        self.struck: bool = False

    def begins(self) -> None:
        self.ended()
        self._timer = threading.Timer(self._limit, self._strike)
        self._timer.daemon = True
        self._timer.start()

    def ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _strike(self) -> None:
        self.struck = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(2 * GRACE)
        except subprocess.TimeoutExpired:  # in C code that holds the interpreter's lock
            self._process.kill()


def _listen(lines: Iterable[str], tell: Tell, watch: _Watch) -> tuple[int | None, int, list[str]]:
    """(the seed that began and did not end, how many ended, the last of what else was said)."""
    seed: int | None = None
    told = 0
    said: deque[str] = deque(maxlen=_KEPT)
    for line in lines:
        if not line.startswith(MARK):
            if line.strip(" .sFEx\n"):
                said.append(line.rstrip())
            continue
        words = json.loads(line.removeprefix(MARK))
        if "begins" in words:
            seed = words["begins"]
            watch.begins()
            continue
        one = Outcome(**words)
        told += 1
        watch.ended()
        tell(one)
        if one.seed == seed:
            seed = None
    errors = [line for line in said if line.startswith(("E ", "ERROR"))]
    return seed, told, errors or list(said)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def perform(work: Work) -> list[tuple[Outcome, dict[str, bytes]]]:
    """All of a chunk at once, on a machine of a cluster: outcomes with the files they left.

    The test is taken from the folder where the sweep was called, if this machine has it, else
    from the folder this process is in.
    """
    import tempfile

    file = work.node.partition("::")[0]
    here = next((path for path in (work.root, os.getcwd()) if Path(path, file).is_file()), None)
    if here is None:
        raise CapasError(
            f"no {file} on a worker of the cluster, neither in {work.root} nor in {os.getcwd()},"
            " where the worker was started: start workers where the tests are"
        )
    with tempfile.TemporaryDirectory() as scratch:
        found: list[Outcome] = []
        Chunk(work._replace(directory=scratch, root=here)).run(found.append)
        return [(one, _files(one, Path(here))) for one in found]


def _files(one: Outcome, root: Path) -> dict[str, bytes]:
    paths = [root / name for name in (one.capture, one.page) if name]
    return {path.name: path.read_bytes() for path in paths if path.exists()}


def received(one: Outcome, files: dict[str, bytes], directory: Path) -> Outcome:
    """An outcome of another machine: its files are put into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return one._replace(capture=_there(one.capture, directory), page=_there(one.page, directory))


def _there(path: str, directory: Path) -> str:
    return os.path.relpath(directory / Path(path).name) if path else ""
