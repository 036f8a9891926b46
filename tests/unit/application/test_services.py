# SPDX-License-Identifier: Apache-2.0
"""The registry of well-known ports."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.application.services import WELL_KNOWN, Registry, ServiceEntry, parse_line


@pytest.mark.parametrize(
    ("name", "protocol", "port"),
    [("http", "tcp", 80), ("SMTP", "tcp", 25), ("www", "tcp", 80), ("domain", "udp", 53)],
)
def test_names_have_ports(name: str, protocol: str, port: int) -> None:
    assert WELL_KNOWN.port(name, protocol) == port


def test_ports_have_names() -> None:
    assert WELL_KNOWN.name(19, "udp") == "chargen"
    assert WELL_KNOWN.name(40_000) is None
    assert WELL_KNOWN.label(80) == "80 (http)"
    assert WELL_KNOWN.label(40_000) == "40000"


def test_numbers_are_ports_too() -> None:
    assert WELL_KNOWN.port("8080") == 8080
    assert WELL_KNOWN.port("65536") is None
    assert WELL_KNOWN.port("9" * 5000) is None
    assert WELL_KNOWN.port("nosuch") is None


@pytest.mark.parametrize(
    "line",
    [
        *("", "# comment", "http", "http 80", "http 80/", "http /tcp", "http x/tcp"),
        *("http 65536/tcp", "http -1/tcp", "http ²/tcp", "http " + "8" * 5000 + "/tcp"),
    ],
)
def test_malformed_lines_are_skipped(line: str) -> None:
    assert parse_line(line) is None


@given(st.text())
def test_any_text_is_a_services_file(text: str) -> None:
    Registry.parse(text)


NAMES = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=15)


@given(
    st.builds(
        ServiceEntry,
        NAMES,
        st.integers(0, 65_535),
        st.sampled_from(["tcp", "udp"]),
        st.lists(NAMES, max_size=3).map(tuple),
    )
)
def test_format_and_parse_are_inverse(entry: ServiceEntry) -> None:
    assert list(Registry.parse(Registry([entry]).format())) == [entry]


def test_the_table_formats_back_to_itself() -> None:
    assert list(Registry.parse(WELL_KNOWN.format())) == list(WELL_KNOWN)
