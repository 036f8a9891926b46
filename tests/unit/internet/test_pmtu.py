# SPDX-License-Identifier: Apache-2.0
import pytest

from capas.base.clock import SECOND
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.internet.pmtu import PathMtu

DST4, DST6 = bytes(4), bytes(16)


def table(**settings) -> tuple[PathMtu, Counters]:
    config = HostConfig()
    for key, value in settings.items():
        setattr(config, key, value)
    counters = Counters()
    return PathMtu(config, counters), counters


@pytest.mark.rfc("1191", "7.1")
@pytest.mark.parametrize(
    ("packet", "mtu"),
    [(1500, 1492), (1492, 1006), (1006, 552), (1493, 1492), (0, 1492), (60000, 1492)],
)
def test_old_routers_are_answered_by_plateaus(packet: int, mtu: int) -> None:
    paths, _ = table()
    assert paths.learned(DST4, 0, packet, 1500, 0) == mtu


@pytest.mark.rfc("8201", "4")
def test_ipv6_never_goes_below_1280() -> None:
    paths, _ = table()
    assert paths.learned(DST6, 0, 1500, 1500, 0) == 1280
    assert paths.get(DST6, 1500, 1) == 1280
    assert paths.learned(DST6, 68, 1500, 1500, 0) == 1280


def test_ipv4_has_a_floor() -> None:
    paths, _ = table()
    assert paths.learned(DST4, 68, 1500, 1500, 0) == 552
    paths, _ = table(min_pmtu=68)
    assert paths.learned(DST4, 68, 1500, 1500, 0) == 68
    assert paths.learned(DST4, 20, 1500, 1500, 0) == 68


@pytest.mark.rfc("8201", "4")
def test_larger_values_are_ignored() -> None:
    paths, counters = table()
    assert paths.learned(DST6, 1500, 1500, 1500, 0) == 0
    assert paths.learned(DST6, 9000, 1500, 1500, 0) == 0
    assert counters.get("ip.pmtu_not_smaller") == 2
    assert paths.learned(DST6, 1400, 1500, 1500, 0) == 1400
    assert paths.learned(DST6, 1450, 1500, 1500, 1) == 0
    assert paths.learned(DST6, 1400, 1500, 1500, 1) == 1400
    assert paths.learned(DST6, 1300, 1500, 1500, 1) == 1300


@pytest.mark.rfc("1191", "6.3")
def test_entries_age() -> None:
    paths, _ = table(path_mtu_timeout=10 * SECOND)
    paths.learned(DST4, 1000, 1500, 1500, 0)
    assert paths.get(DST4, 1500, 10 * SECOND - 1) == 1000
    assert paths.get(DST4, 900, 1) == 900
    assert paths.get(DST4, 1500, 10 * SECOND) == 1500
    assert paths.entries == {}


def test_the_table_is_capped() -> None:
    paths, counters = table(path_mtu_entries=3)
    for i in range(5):
        paths.learned(bytes((10, 0, 0, i)), 1000, 1500, 1500, 0)
    assert len(paths.entries) == 3
    assert counters.get("ip.pmtu_evicted") == 2
    assert paths.get(bytes((10, 0, 0, 0)), 1500, 0) == 1500


def test_forget_and_restore() -> None:
    paths, _ = table()
    paths.learned(DST4, 1000, 1500, 1500, 0)
    before = paths.entries[DST4]
    paths.learned(DST4, 800, 1500, 1500, 0)
    paths.restore(DST4, before)
    assert paths.get(DST4, 1500, 0) == 1000
    paths.restore(DST4, None)
    assert paths.get(DST4, 1500, 0) == 1500
    paths.learned(DST4, 1000, 1500, 1500, 0)
    paths.forget(DST4)
    paths.learned(DST6, 1300, 1500, 1500, 0)
    paths.forget()
    assert paths.entries == {}
