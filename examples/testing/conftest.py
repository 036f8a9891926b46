# SPDX-License-Identifier: Apache-2.0
"""``pytest examples/testing`` is green; with ``--put-bugs-back`` each test finds its bug."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--put-bugs-back", action="store_true", help="test the programs as they were")


@pytest.fixture
def buggy(request):
    return request.config.getoption("--put-bugs-back")
