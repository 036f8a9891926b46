# SPDX-License-Identifier: Apache-2.0
from capas.base.events import Counters


def test_counters_count_and_sort() -> None:
    counters = Counters()
    counters.add("b.two", 2)
    counters.add("a.one")
    counters.add("b.two")
    assert counters.get("b.two") == 3
    assert counters.get("never") == 0
    assert list(counters.snapshot().items()) == [("a.one", 1), ("b.two", 3)]
    counters.snapshot()["a.one"] = 9
    assert counters.get("a.one") == 1
