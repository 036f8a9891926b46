# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest in the processes of a sweep: tells of seeds and outcomes on standard output.

See `capas.testing.chunk`, which reads the lines.  One line says that a seed begins, one what came
of it, when the last test of that seed has ended.
"""

import _thread
import json
import os
import signal
import threading
from collections import Counter
from typing import Any, Final

import pytest

from capas.testing.chunk import GRACE, MARK
from capas.testing.sweep import Outcome

_RANK: Final = ("skipped", "passed", "failed")
_EXIT: Final = 130  # what a shell says of a process that was interrupted


class Teller:
    """What is known of the seeds of this process."""

    def __init__(self, out: int) -> None:
        self._out: int = out  # standard output as it was before pytest took it
        self._seeds: dict[str, int] = {}  # of each test, by its id
        self._left: Counter[int] = Counter()  # tests of a seed that have not ended
        self._found: dict[int, Outcome] = {}

    def _say(self, what: dict[str, Any]) -> None:
        os.write(self._out, f"\n{MARK}{json.dumps(what)}\n".encode())

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """One process for a chunk: xdist, where a project always asks for it, stays out."""
        if hasattr(config.option, "dist"):
            config.option.dist, config.option.tx = "no", []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Only tests with an internet differ by seed."""
        first = int(config.getoption("--capas-seed"))
        for item in items:
            if "internet" in getattr(item, "fixturenames", ()):
                parameters = getattr(getattr(item, "callspec", None), "params", {})
                self._seeds[item.nodeid] = parameters.get("internet", first)
        if items and not self._seeds:
            raise pytest.UsageError(
                f"{items[0].nodeid} does not use the fixture `internet`: every seed would be alike"
            )
        items[:] = [item for item in items if item.nodeid in self._seeds]
        self._left.update(self._seeds.values())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        if nodeid in self._seeds:
            self._say({"begins": self._seeds[nodeid]})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The worst that is said of a seed's tests and their phases is its outcome."""
        seed = self._seeds.get(report.nodeid)
        if seed is None:
            return
        one = _outcome(seed, report)
        known = self._found.get(seed)
        if known is None or _RANK.index(one.outcome) > _RANK.index(known.outcome):
            self._found[seed] = one
        if report.when == "teardown":
            self._left[seed] -= 1
            if not self._left[seed]:
                self._say(self._found.pop(seed)._asdict())


def _outcome(seed: int, report: pytest.TestReport) -> Outcome:
    if report.when != "call" and report.outcome == "passed":
        return Outcome(seed, "skipped")  # a phase around the test, which says nothing of it
    said = dict(report.user_properties)
    crash = getattr(report.longrepr, "reprcrash", None)
    error = "" if crash is None else str(crash.message).partition("\n")[0]
    if report.failed and report.when != "call":
        error = f"{error or report.longreprtext.strip().rpartition(chr(10))[2]} (in {report.when})"
    return Outcome(
        seed,
        report.outcome,
        error,
        str(said.get("capas_replay", "")),
        str(said.get("capas_capture", "")),
        str(said.get("capas_page", "")),
        str(said.get("capas_faults", "")),
        float(str(said.get("capas_time", 0.0))),
    )


def _end_with(parent: int) -> None:
    """When nobody holds the other end of our standard input any more, end."""
    while os.read(parent, 4096):
        pass
    if hasattr(signal, "pthread_kill"):  # which ends a system call, too
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
    threading.Event().wait(GRACE)
    os._exit(_EXIT)


def pytest_addoption(parser: pytest.Parser, pluginmanager: Any) -> None:
    """The first moment there is, when standard input and output are still ours."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    pluginmanager.register(Teller(os.dup(1)), "capas-teller")
    threading.Thread(target=_end_with, args=(os.dup(0),), daemon=True).start()
