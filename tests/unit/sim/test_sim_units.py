# SPDX-License-Identifier: Apache-2.0
import pytest

from capas.errors import ConfigurationError
from capas.sim.units import chance, rate_bytes, size_bytes, time_ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("20ms", 20000000),
        ("1.5s", 1500000000),
        ("3us", 3000),
        ("7 ns", 7),
        ("2min", 120 * 10**9),
        (0.02, 20000000),
        (3, 3 * 10**9),
        (0, 0),
        (".5s", 500000000),
        ("1h", 3600 * 10**9),
    ],
)
def test_times(text, ns):
    assert time_ns(text) == ns


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10Mbit", 1250000),
        ("1Gbit/s", 125000000),
        ("8kbps", 1000),
        ("300kB/s", 300000),
        ("1MiB/s", 1 << 20),
        (125000, 125000),
        (None, 0),
        ("56 kbit", 7000),
        ("8bit", 1),
    ],
)
def test_rates(text, rate):
    assert rate_bytes(text) == rate


@pytest.mark.parametrize(
    ("text", "p"), [("2%", 0.02), (0.5, 0.5), ("0.25", 0.25), (1, 1.0), ("100%", 1.0), (0, 0.0)]
)
def test_chances(text, p):
    assert chance(text) == p


@pytest.mark.parametrize(("text", "n"), [("64KiB", 65536), ("1MB", 10**6), (1500, 1500), ("9", 9)])
def test_sizes(text, n):
    assert size_bytes(text) == n


BAD = [
    "",
    "fast",
    "-1",
    "1 parsec",
    "nan",
    -1,
    float("nan"),
    float("inf"),
    True,
    "10%%",
    [],
    "1e3s",
]


@pytest.mark.parametrize("parse", [time_ns, rate_bytes, chance, size_bytes])
@pytest.mark.parametrize("value", BAD, ids=repr)
def test_what_makes_no_sense_is_named(parse, value):
    with pytest.raises(ConfigurationError, match="here: "):
        parse(value, "here")


@pytest.mark.parametrize("value", ["5", 0, "0Mbit", "10Mb", "3ms"])
def test_no_rates(value):
    with pytest.raises(ConfigurationError, match="rate"):
        rate_bytes(value)


@pytest.mark.parametrize("value", ["101%", 1.01, "2"])
def test_no_chances(value):
    with pytest.raises(ConfigurationError, match="probability"):
        chance(value)
