# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: the fixture ``internet``, seeds, and what a failed test leaves behind.

Tests that use the fixture may be plain or ``async def`` functions, with any plugin for asyncio or
with none: they and their async fixtures run on the one event loop of their internet, in virtual
time.  Under hypothesis each example has an internet of its own.

Only the standard library and pytest are imported before a test asks for an internet.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from capas.testing.fixture import Internet
    from capas.testing.replay import Replay

_DIRECTORY: Final = "capas-failures"
_FAILED: Final = pytest.StashKey[list[tuple[str, str]]]()
_INTERNET: Final = pytest.StashKey["Internet"]()
_RUNNING: Final = pytest.StashKey["pytest.Item | None"]()  # whose internet is open
_STOPPED: Final = pytest.StashKey[list[str]]()  # what Ctrl-C came upon
_LEFT: Final = pytest.StashKey[bool]()  # files were left: an earlier phase failed
_LABEL: Final = pytest.StashKey[str]()
_VALUES: Final = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options ``--capas-*``."""
    group = parser.getgroup("capas", "an internet in a test")
    group.addoption("--capas-seed", metavar="SEED", help="seed of the (first) run of each test")
    group.addoption(
        "--capas-runs", type=int, metavar="N", help="run each test under N seeds, from the first on"
    )
    group.addoption(
        "--capas-replay", metavar="LINE", help="repeat the run that a failed test printed"
    )
    group.addoption(
        "--capas-pcap-dir",
        metavar="DIR",
        help=f"where failed tests leave captures and pages (default: {_DIRECTORY})",
    )
    group.addoption(
        "--capas-keep", action="store_true", help="keep captures and pages of passed tests too"
    )
    group.addoption(
        "--capas-no-shrink",
        action="store_true",
        help="report the first failing faults that hypothesis finds as they are",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker."""
    config.addinivalue_line(
        "markers",
        "internet(seed=0, runs=1, record=True, start=None, exact=False): the seed of the test's"
        " internet, how many seeds to run it under, and settings of its world",
    )
    config.stash[_FAILED] = []
    config.stash[_RUNNING] = None
    config.stash[_STOPPED] = []


def _replay(config: pytest.Config) -> "Replay | None":
    text = config.getoption("--capas-replay")
    if text is None:
        return None
    from capas.errors import ConfigurationError
    from capas.testing.replay import parse

    try:
        return parse(text)
    except ConfigurationError as error:
        raise pytest.UsageError(str(error)) from None


def _settings(node: Any) -> dict[str, Any]:
    """What the marker says; UsageError for what it cannot say."""
    marker = node.get_closest_marker("internet")
    if marker is None:
        return {}
    known = {"seed", "runs", "record", "start", "exact", "config"}
    wrong = sorted(set(marker.kwargs) - known)
    if marker.args or wrong:
        what = f"{wrong[0]!r}" if wrong else "positional arguments"
        raise pytest.UsageError(
            f"{node.nodeid}: @pytest.mark.internet does not know {what}; it knows"
            f" {', '.join(sorted(known))}"
        )
    return dict(marker.kwargs)


def _first_seed(config: pytest.Config, settings: dict[str, Any]) -> int | str:
    replay = _replay(config)
    if replay is not None:
        return replay.seed
    text = config.getoption("--capas-seed")
    if text is not None:
        from capas.testing.replay import seed_of

        return seed_of(text)
    seed: int | str = settings.get("seed", 0)
    return seed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Several runs are several tests, which xdist can share out."""
    config, names = metafunc.config, metafunc.fixturenames
    settings = _settings(metafunc.definition)
    if metafunc.definition.get_closest_marker("internet") and "internet" not in names:
        names.append("internet")
    if "internet" not in names:
        return
    runs = config.getoption("--capas-runs")
    if runs is None:
        runs = settings.get("runs", 1)
    if config.getoption("--capas-replay") is not None:
        runs = 1
    if not isinstance(runs, int) or runs < 1:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: runs must be 1 or more")
    if runs == 1:
        return
    first = _first_seed(config, settings)
    seeds = [first + i if isinstance(first, int) else f"{first}-{i}" for i in range(runs)]
    metafunc.parametrize("internet", seeds, ids=[f"seed{seed}" for seed in seeds], indirect=True)


@pytest.fixture
def internet(request: pytest.FixtureRequest) -> Iterator["Internet"]:
    """An internet in virtual time, new for each test: hosts, links, faults, from one seed."""
    from capas.testing.fixture import Internet

    settings = _settings(request.node)
    _check_replay(request.node)
    seed = _first_seed(request.config, settings)
    settings.pop("runs", None)
    if hasattr(request, "param"):
        seed = request.param
        request.node.stash[_LABEL] = f"seed{seed}"
    settings["seed"] = seed
    made = Internet(**settings)
    request.node.stash[_INTERNET] = made
    request.config.stash[_RUNNING] = request.node
    try:
        yield made.open()
    finally:
        made.close(keep=True)  # for a failure of this teardown, which is told of after it


def _check_replay(node: Any) -> None:
    """Values of a replay line are hypothesis's: a test without it would ignore them in silence."""
    replay = _replay(node.config)
    if replay is not None and replay.values and not hasattr(node.obj, "hypothesis"):
        raise pytest.UsageError(
            f"--capas-replay: {node.nodeid} takes no values from hypothesis, so it has no use for"
            f" {', '.join(replay.values)}; a seed alone repeats it"
        )


# -- async tests and fixtures, hypothesis ---------------------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use the fixture are run here, whatever plugin would run async ones."""
    from capas.testing import adapters

    for item in items:
        if isinstance(item, pytest.Function) and "internet" in item.fixturenames:
            adapters.adapt(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Each example of hypothesis gets an internet of its own."""
    found: Any = pyfuncitem.funcargs.get("internet")
    if found is None or not hasattr(pyfuncitem.obj, "hypothesis"):
        return (yield)
    from capas.testing import adapters

    config = pyfuncitem.config
    replay = _replay(config)
    values: dict[str, Any] = {}
    pyfuncitem.stash[_VALUES] = values
    shrink = not config.getoption("--capas-no-shrink")
    given = replay.values if replay is not None else None
    with adapters.examples(pyfuncitem, found, values, given, shrink=shrink):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: Any, request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Async fixtures of such tests live on the same event loop."""
    from capas.testing import adapters

    with adapters.plain_fixture(fixturedef, request):
        return (yield)


# -- what a failure leaves ------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the seed, the replay command and the files of a failure into the report."""
    found = item.stash.get(_INTERNET, None)
    if found is None:
        return (yield)
    hint = ""
    if call.excinfo is not None:
        from capas.testing import artefacts, traces

        hint = artefacts.advice(call.excinfo.value)
        if not item.config.getoption("fulltrace"):
            traces.shorten(call.excinfo.value)
        call.excinfo = pytest.ExceptionInfo.from_exception(call.excinfo.value)
    report = yield
    keep = item.config.getoption("--capas-keep") and report.when == "call"
    try:
        if report.failed or keep:
            _leave_files(item, call, report, found, hint)
    except Exception as error:  # the test's own failure matters more
        import traceback

        where = "".join(traceback.format_exception(error))
        report.sections.append(("capas", f"seed {found.seed}; no files were left:\n{where}"))
    finally:
        if report.when == "teardown":
            found.close()
            item.config.stash[_RUNNING] = None
            del item.stash[_INTERNET]  # pytest keeps its items to the end, and so their worlds
    return report


def _from_here(config: pytest.Config, node: str) -> str:
    """The id of a test as pytest takes it in the folder where it was called."""
    path, sign, test = node.partition("::")
    return os.path.relpath(config.rootpath / path, config.invocation_params.dir) + sign + test


def _repeated(item: pytest.Item, found: "Internet") -> tuple[str, str]:
    """A test's id without its seed, and the command that repeats this run of it."""
    from capas.testing import replay

    label = item.stash.get(_LABEL, "")
    node = replay.without_seed(item.nodeid, label) if label else item.nodeid
    values = item.stash.get(_VALUES, None)
    if values is None and hasattr(getattr(item, "obj", None), "hypothesis"):
        values = {}
    options = replay.repeated(item.config.invocation_params.args, item.config.args)
    return node, replay.command(_from_here(item.config, node), found.seed, values, options)


def _leave_files(
    item: pytest.Item,
    call: pytest.CallInfo[None],
    report: pytest.TestReport,
    found: "Internet",
    hint: str,
) -> None:
    from capas.testing import artefacts

    directory = Path(item.config.getoption("--capas-pcap-dir") or item.config.rootpath / _DIRECTORY)
    node, command = _repeated(item, found)
    error = "" if call.excinfo is None else call.excinfo.exconly()
    told = artefacts.leave(
        found,
        directory,
        node=node,
        error=error,
        command=command,
        said=report.longreprtext,
        hint=hint,
        files=not item.stash.get(_LEFT, False),
    )
    item.stash[_LEFT] = True
    report.sections.append(("capas", told.text))
    report.user_properties += [
        ("capas_seed", found.seed),
        ("capas_time", found.now),
        ("capas_replay", command),
        ("capas_capture", told.capture),
        ("capas_page", told.page),
    ]
    if found.plan is not None:
        report.user_properties.append(("capas_faults", found.plan.describe()))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember how to repeat failures, also those of xdist's workers."""
    if report.failed and _config:
        for name, value in report.user_properties:
            if name == "capas_replay":
                _config[-1].stash[_FAILED].append((report.nodeid, str(value)))


_config: list[pytest.Config] = []


@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Ctrl-C: remember how to repeat the run it ended, when that was, and who was running."""
    item = _config[-1].stash[_RUNNING] if _config else None
    if item is None:
        return
    found = item.stash[_INTERNET]
    _, command = _repeated(item, found)
    item.config.stash[_STOPPED] = [
        f"interrupted: {item.nodeid}, seed {found.seed}, {found.now:.6f} s of virtual time",
        *getattr(excinfo.value, "__notes__", ()),
        f"replay: {command}",
    ]
    excinfo.value.__notes__ = []  # told; pytest would put them into a line of its own


def pytest_sessionstart(session: pytest.Session) -> None:
    """`pytest_runtest_logreport` is not told of which session."""
    _config.append(session.config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The end of `pytest_sessionstart`."""
    if session.config in _config:
        _config.remove(session.config)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The commands again, where one looks first."""
    stopped = config.stash[_STOPPED]
    if stopped:
        terminalreporter.section("capas")
        for line in stopped:
            terminalreporter.write_line(line)
    failed = config.stash.get(_FAILED, [])
    if failed:
        terminalreporter.section("capas: replay")
        for _, command in failed:
            terminalreporter.write_line(command)
