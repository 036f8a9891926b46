# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests against the kernel; each skip names what is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import Lab, missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.path).parents:
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _possible() -> None:
    why = missing()
    if why:
        pytest.skip(f"interop: {why}")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab
