# SPDX-License-Identifier: Apache-2.0
"""CPython's own socket and asyncio tests on a host of ours, in virtual time.

They come from the ``test`` package of the interpreter that runs this file, and are patched from
outside only: sockets, selectors, loops, threads and time are the world's because the test runs as
a program of one.  Each test has a world and a host of its own.

    python tests/cpython/run.py [-v] [MODULE[.CLASS[.TEST]] ...]

prints each test that did not pass with the reason, and a line of numbers for each module.
"""

import asyncio
import gc
import importlib
import sys
import time
import unittest
import warnings
from dataclasses import dataclass, field
from typing import Any, Final

import capas
from capas.sim import virtual_time

MODULES: Final = (
    "test.test_asyncio.test_streams",
    "test.test_asyncio.test_sock_lowlevel",
    "test.test_asyncio.test_server",
    "test.test_asyncio.test_buffered_proto",
    "test.test_asyncio.test_sslproto",
    "test.test_socket",
)
#: Classes of these words are of other families than IPv4 and IPv6, or of other systems.
FOREIGN: Final = (
    "Abstract", "Bluetooth", "CAN", "CmsgMacro", "Crypto", "Fds", "HYPERV", "HyperV", "ISOTP",
    "J1939", "Proactor", "QIPCRTR", "RDS", "SCMRights", "SCTP", "SocketSharing", "SocketPairTest",
    "TIPC", "UDPLITE", "Unix", "VSOCK", "Windows",
)  # fmt: skip
LIMIT: Final = 900  # s of virtual time for one test


@dataclass
class Report:
    """What became of each test of one module, by name ("Class.test")."""

    module: str
    passed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Passed, of those that ran."""
        return len(self.passed) / max(1, len(self.passed) + len(self.failed))

    def line(self) -> str:
        return (
            f"{self.module}: {len(self.passed)} passed, {len(self.failed)} failed,"
            f" {len(self.skipped)} skipped, {self.rate:.1%} in {self.seconds:.1f} s"
        )


class Result(unittest.TestResult):
    """Writes into a `Report`."""

    def __init__(self, report: Report, name: str) -> None:
        super().__init__()
        self.report = report
        self.name = name
        self.reason = ""

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        self.report.skipped[self.name] = reason

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        self.report.passed.append(self.name)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.report.passed.append(self.name)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._bad(test, err)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self._bad(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._bad(test, err)

    def _bad(self, test: Any, err: Any) -> None:
        text = f"{err[0].__name__}: {err[1]}".partition("\n")[0]
        self.report.failed.setdefault(self.name, text)
        self.report.details.setdefault(self.name, self._exc_info_to_string(err, test))  # type: ignore[attr-defined]


def tests_of(module: str, only: str = "") -> list[unittest.TestCase]:
    """The tests of a module of the interpreter, in order."""
    loaded = importlib.import_module(module)
    loader = unittest.TestLoader()
    suites = [loader.loadTestsFromName(only, loaded)] if only else []
    if not only:
        for name, value in vars(loaded).items():
            if (
                isinstance(value, type)
                and issubclass(value, unittest.TestCase)
                and value.__module__ == module
                and not any(word in name for word in FOREIGN)
            ):
                suites.append(loader.loadTestsFromTestCase(value))
    found = [test for suite in suites for test in suite if isinstance(test, unittest.TestCase)]
    return [test for test in found if "unix" not in test.id().rpartition(".")[2].lower()]


def run_test(test: unittest.TestCase, report: Report) -> None:
    """One test, as a program of a world with one host."""
    cls = type(test)
    name = ".".join(test.id().rsplit(".", 2)[-2:])
    if getattr(cls, "__unittest_skip__", False):
        report.skipped[name] = cls.__unittest_skip_why__  # type: ignore[attr-defined]
        return
    result = Result(report, name)
    with capas.World(seed=1) as world:
        host = world.host("localhost")

        def program() -> None:
            cls.setUpClass()
            try:
                test.run(result)
            finally:
                cls.doClassCleanups()
                cls.tearDownClass()

        try:
            with capas.installed():
                if "asyncio" in cls.__module__:  # its loop drives the world, from the main thread
                    with capas.use_host(host), world.driver.activate():
                        program()
                else:
                    run_process(world, world.thread(host, program, name=name))
        except unittest.SkipTest as skip:
            report.skipped[name] = str(skip)
        except (Exception, SystemExit) as error:
            text = f"{type(error).__name__}: {error}"
            report.failed.setdefault(name, text.replace("\n", " "))
            report.details.setdefault(name, text)
    if name in report.failed and name in report.passed:
        report.passed.remove(name)


def run_process(world: capas.World, process: Any) -> None:
    """Run a world until a program of it ends, or time is up."""
    process.report = False
    world.run(until=lambda: process.done or world.time > LIMIT)
    if process.error is not None:
        raise process.error
    if not process.done:
        raise TimeoutError(f"still running after {LIMIT} s: {process.waits_for()}")


def run_module(module: str, only: str = "", progress: bool = False) -> Report:
    """All tests of a module that speak IPv4 or IPv6."""
    report = Report(module)
    begin = virtual_time.stopwatch()
    support: Any = importlib.import_module("test.support")
    support.gc_collect = lambda: gc.collect(1)  # it is called in each wait for threads to end
    support.print_warning.orig_stderr = sys.__stderr__  # not what pytest shows one test, and closes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for test in tests_of(module, only):
            start = virtual_time.stopwatch()
            run_test(test, report)
            if progress:
                took = virtual_time.stopwatch() - start
                print(f"{took:6.2f} {test.id()}", file=sys.stderr, flush=True)
    asyncio.set_event_loop(None)
    report.seconds = virtual_time.stopwatch() - begin
    return report


def main(arguments: list[str]) -> int:
    verbose = "-v" in arguments
    wanted = [word for word in arguments if word != "-v"] or list(MODULES)
    bad = 0
    for word in wanted:
        module = next((known for known in MODULES if word.startswith(known)), word)
        report = run_module(module, word[len(module) + 1 :], verbose)
        for name, reason in report.failed.items():
            print(f"FAIL {name}: {reason}")
            if verbose:
                print(report.details[name])
        if verbose:
            for name, reason in report.skipped.items():
                print(f"skip {name}: {reason}")
        print(report.line(), flush=True)
        bad += report.rate < 0.9
    return bad


if __name__ == "__main__":
    assert time.time() > 0
    sys.exit(main(sys.argv[1:]))
