# SPDX-License-Identifier: Apache-2.0
"""Initial sequence numbers and SYN cookies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.base.clock import SECOND
from capas.base.rng import Rng
from capas.transport.tcp.cookies import MSS_TABLE, Secrets, decode_options, encode_options

KEY4, KEY6 = bytes(range(12)), bytes(range(36))


def secrets(seed: int = 1) -> Secrets:
    return Secrets(Rng(seed))


@pytest.mark.rfc("4987", "3.6")
@given(st.integers(0, 0xFFFFFFFF), st.integers(1, 65_535), st.integers(0, 10_000 * SECOND))
def test_a_cookie_says_the_largest_mss_that_fits(irs: int, mss: int, now: int) -> None:
    s = secrets()
    for key in (KEY4, KEY6):
        table = MSS_TABLE[4 if key is KEY4 else 16]
        wanted = max((size for size in table if size <= mss), default=table[0])
        cookie = s.cookie(key, irs, mss, now)
        assert s.check(key, irs, cookie, now) == wanted
        assert s.check(key, irs, cookie, now + 63 * SECOND) == wanted
        assert s.check(key, irs, cookie, now + 130 * SECOND) == 0
        assert s.check(key, (irs + 1) & 0xFFFFFFFF, cookie, now) == 0


@pytest.mark.rfc("4987", "3.6")
def test_a_cookie_is_for_one_pair_and_one_host_and_cannot_be_bent() -> None:
    cookie = secrets().cookie(KEY4, 5, 1460, 0)
    assert secrets(2).check(KEY4, 5, cookie, 0) == 0
    assert secrets().check(KEY4[::-1], 5, cookie, 0) == 0
    for offset in range(-8, 9):
        if offset:
            assert secrets().check(KEY4, 5, (cookie + offset) & 0xFFFFFFFF, 0) == 0


@given(st.integers(0, 0xFFFFFFFF), st.integers(-1, 14), st.booleans(), st.booleans())
def test_options_in_the_timestamp(ts: int, wscale: int, sack: bool, ecn: bool) -> None:
    value = encode_options(ts, wscale, sack, ecn)
    assert decode_options(value) == (wscale, sack, ecn)
    assert (ts - value) & 0xFFFFFFFF < 128  # never ahead of the clock


@pytest.mark.rfc("6528", "3")
def test_the_iss_ticks_every_four_microseconds() -> None:
    s = secrets()
    assert (s.iss(KEY4, 8000) - s.iss(KEY4, 0)) & 0xFFFFFFFF == 2
    assert s.iss(KEY4, 0) != s.iss(KEY6, 0)


@pytest.mark.rfc("9293", "3.6.1", "MAY-2")
def test_the_next_iss_of_a_reused_pair_is_higher() -> None:
    s = secrets()
    plain = s.iss(KEY4, 0)
    s.beyond(KEY4, plain + 1000)
    assert s.iss(KEY6, 0) == secrets().iss(KEY6, 0)
    assert (s.iss(KEY4, 0) - plain) & 0xFFFFFFFF > 1000
    assert s.iss(KEY4, 0) == plain  # once
    s.beyond(KEY4, (plain - 1000) & 0xFFFFFFFF)
    assert s.iss(KEY4, 0) == plain  # the clock is ahead already


@pytest.mark.rfc("7323", "7.1")
def test_timestamp_offsets_are_per_pair_of_addresses() -> None:
    s = secrets()
    assert s.ts_offset(KEY4) == s.ts_offset(KEY4[:-4] + b"abcd")
    assert s.ts_offset(KEY4) != s.ts_offset(bytes(12))
