# SPDX-License-Identifier: Apache-2.0
"""``capas ping``: what is told of long runs."""

import pytest

pytest.importorskip("click", reason="needs click: pip install 'capas[tools]'")

from capas.cli.ping import Requests


def test_numbers_that_come_again_after_65536_requests_are_no_duplicates() -> None:
    requests = Requests()
    for number in range(1, 70_000):
        requests.leave(number, number * 10)
        assert requests.answered(number & 0xFFFF, number * 10 + 3) == (3, False)
    assert requests.answered(69_999 & 0xFFFF, 699_999) == (9, True)
