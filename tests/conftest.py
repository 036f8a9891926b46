# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests: hypothesis without a clock or chance, and the seed of a failure."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "capas",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", parent=settings.get_profile("capas"), derandomize=False)
settings.load_profile("capas")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long to search."""
    parser.addoption("--worlds", type=int, default=80, help="seeds of tests/sim/test_random_worlds")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of a test: 1, or what ``@pytest.mark.parametrize("seed", ...)`` gives."""
    return int(getattr(request, "param", 1))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put the seeds a failed test used, and how to run it again, beside its traceback."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when != "call" or not report.failed:
        return
    arguments = getattr(item, "funcargs", {})
    seeds = [f"{name}={arguments[name]!r}" for name in arguments if "seed" in name]
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    text = f"{python} -m pytest '{item.nodeid}'"
    if seeds:
        text = f"{', '.join(seeds)}\n{text}"
    report.sections.append(("replay", text))
