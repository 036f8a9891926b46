# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.base.checksum import checksum
from capas.base.clock import MS, SECOND
from capas.wire import igmp
from capas.wire.igmp import Igmp, Mld

GROUP = b"\xef\x01\x02\x03"
groups = st.binary(min_size=4, max_size=4)
addresses = st.binary(min_size=16, max_size=16)


def summed(data: bytes) -> bytes:
    return data[:2] + checksum(data).to_bytes(2, "big") + data[4:]


@given(groups, st.integers(1, 127))
def test_query_round_trip(group: bytes, tenths: int) -> None:
    message = Igmp(igmp.QUERY, group, tenths * 100 * MS, 2)
    data = message.build()
    assert Igmp.parse(data, 0, len(data)) == message
    message = Igmp(igmp.QUERY, group, tenths * 100 * MS, 3)
    data = message.build()
    assert Igmp.parse(data, 0, len(data)) == message


#: What floating-point codes can say: 8 and 16 bits, in units.
small = st.one_of(
    st.integers(0, 127),
    st.builds(lambda m, e: (16 + m) << (e + 3), st.integers(0, 15), st.integers(0, 7)),
)
large = st.one_of(
    st.integers(0, 0x7FFF),
    st.builds(lambda m, e: (0x1000 + m) << (e + 3), st.integers(0, 0xFFF), st.integers(0, 7)),
)


@pytest.mark.rfc("3376", "4.1")
@given(
    groups, small, st.lists(groups, max_size=5).map(tuple), st.booleans(), st.integers(0, 7), small
)
def test_query3_round_trip(
    group: bytes, tenths: int, sources: tuple[bytes, ...], suppress: bool, qrv: int, qqi: int
) -> None:
    response = tenths * 100 * MS
    message = Igmp(igmp.QUERY, group, response, 3, (), sources, suppress, qrv, qqi * SECOND)
    data = message.build()
    assert Igmp.parse(data, 0, len(data)) == message


@pytest.mark.rfc("3376", "4.1.1")
@given(st.integers(0, 1 << 16))
def test_a_code_says_no_more_than_the_time(tenths: int) -> None:
    data = Igmp(igmp.QUERY, GROUP, tenths * 100 * MS, 3).build()
    parsed = Igmp.parse(data, 0, len(data))
    assert parsed is not None
    said = parsed.max_response // (100 * MS)
    assert said <= tenths
    assert said >= min(tenths, 31744) * 16 // 17  # four bits of mantissa, or the largest there is


@given(groups, st.sampled_from((igmp.REPORT1, igmp.REPORT2, igmp.LEAVE)))
def test_report_round_trip(group: bytes, kind: int) -> None:
    data = Igmp(kind, group).build()
    assert Igmp.parse(data, 0, len(data)) == Igmp(kind, group)


@given(
    st.lists(
        st.tuples(st.integers(1, 6), groups, st.lists(groups, max_size=3).map(tuple)), max_size=4
    ).map(tuple)
)
def test_report3_round_trip(records: tuple[tuple[int, bytes, tuple[bytes, ...]], ...]) -> None:
    message = Igmp(igmp.REPORT3, bytes(4), 0, 3, records)
    data = message.build()
    assert Igmp.parse(data, 0, len(data)) == message


@pytest.mark.rfc("2236", "4")
def test_a_query_without_response_time_is_version_1() -> None:
    data = summed(b"\x11\0\0\0" + bytes(4))
    assert Igmp.parse(data, 0, 8) == Igmp(igmp.QUERY, bytes(4), 10 * SECOND, 1)


@pytest.mark.rfc("3376", "4.1.1")
def test_floating_point_response_time() -> None:
    data = summed(b"\x11\x9a\0\0" + bytes(4) + b"\x02\x7d\0\0")
    parsed = Igmp.parse(data, 0, len(data))
    assert parsed is not None
    assert parsed.max_response == (0x1A << 4) * 100 * MS


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("empty", b""),
        ("7 bytes", bytes(7)),
        ("bad checksum", b"\x16\0\0\0" + GROUP),
        ("query of 9 bytes", summed(b"\x11\x10\0\0" + GROUP + b"\0")),
        ("query of 11 bytes", summed(b"\x11\x10\0\0" + GROUP + b"\2\x7d\0")),
        ("query with half a source", summed(b"\x11\x10\0\0" + GROUP + b"\2\x7d\0\1\x0a\0")),
        ("query with missing sources", summed(b"\x11\x10\0\0" + GROUP + b"\0\0\0\x01")),
        ("report with a missing record", summed(b"\x22\0\0\0\0\0\0\x01")),
        (
            "record with missing sources",
            summed(b"\x22\0\0\0\0\0\0\x01\x01\0\0\x02" + GROUP + bytes(4)),
        ),
        ("auxiliary data past the end", summed(b"\x22\0\0\0\0\0\0\x01\x01\x01\0\0" + GROUP)),
    ],
)
def test_malformed(what: str, data: bytes) -> None:
    assert Igmp.parse(data, 0, len(data)) is None


@given(st.binary(min_size=16, max_size=16), st.integers(0, 0x7FFF), st.sampled_from((1, 2)))
def test_mld_round_trip(group: bytes, ms: int, version: int) -> None:
    message = Mld(group, ms * MS, version)
    assert Mld.parse(*message.build()) == message


@pytest.mark.rfc("3810", "5.1")
@given(
    addresses,
    large,
    st.lists(addresses, max_size=4).map(tuple),
    st.booleans(),
    st.integers(0, 7),
    small,
)
def test_mld2_query_round_trip(
    group: bytes, millis: int, sources: tuple[bytes, ...], suppress: bool, qrv: int, qqi: int
) -> None:
    message = Mld(group, millis * MS, 2, sources, suppress, qrv, qqi * SECOND)
    assert Mld.parse(*message.build()) == message


@pytest.mark.rfc("3810", "5.2")
@given(
    st.lists(
        st.tuples(st.integers(1, 6), addresses, st.lists(addresses, max_size=3).map(tuple)),
        max_size=4,
    ).map(tuple)
)
def test_mld2_report_round_trip(records: tuple[igmp.Record, ...]) -> None:
    rest, body = igmp.build_report2(records)
    assert igmp.parse_report2(rest, body) == records
    if records:
        assert igmp.parse_report2(rest, body[:-1]) is None


@pytest.mark.parametrize("body", [b"", bytes(15), bytes(19), bytes(18) + b"\0\x01"])
def test_mld_malformed(body: bytes) -> None:
    assert Mld.parse(bytes(4), body) is None


@pytest.mark.rfc("3810", "5.1.3")
def test_mld2_floating_point() -> None:
    parsed = Mld.parse(b"\x80\x00\0\0", bytes(20))
    assert parsed is not None
    assert parsed.max_response == (0x1000 << 3) * MS
