# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.wire.ndp import (
    NeighborAdvertisement,
    NeighborSolicitation,
    Options,
    PrefixInfo,
    Redirect,
    RouterAdvertisement,
    RouterSolicitation,
)

macs = st.none() | st.binary(min_size=6, max_size=6)
u16, u32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
unicast = st.binary(min_size=16, max_size=16).filter(lambda a: a[0] != 0xFF)
labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
options = st.builds(
    Options,
    macs,
    macs,
    st.lists(
        st.builds(
            PrefixInfo,
            st.binary(min_size=16, max_size=16),
            st.integers(0, 128),
            st.booleans(),
            st.booleans(),
            u32,
            u32,
        ),
        max_size=3,
    ).map(tuple),
    st.none() | st.integers(1, 20).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n)),
    st.none() | u32,
    st.none() | st.binary(min_size=6, max_size=6),
    st.lists(st.tuples(u32, st.lists(unicast, min_size=1, max_size=3).map(tuple)), max_size=2).map(
        tuple
    ),
    st.lists(st.tuples(u32, st.lists(names, min_size=1, max_size=3).map(tuple)), max_size=2).map(
        tuple
    ),
)


@given(options)
def test_options_round_trip(given_options: Options) -> None:
    data = given_options.build()
    assert len(data) % 8 == 0
    assert Options.parse(data) == given_options


@given(unicast, unicast, options, st.booleans(), st.booleans(), st.booleans())
def test_messages_round_trip(
    target: bytes, dst: bytes, given_options: Options, a: bool, b: bool, c: bool
) -> None:
    for message in (
        RouterSolicitation(given_options),
        NeighborSolicitation(target, given_options),
        NeighborAdvertisement(target, a, b, c, given_options),
        Redirect(target, dst, given_options),
    ):
        assert type(message).parse(*message.build()) == message


@given(
    st.builds(
        RouterAdvertisement,
        st.integers(0, 255),
        st.booleans(),
        st.booleans(),
        st.sampled_from((-1, 0, 1)),
        u16,
        u32,
        u32,
        options,
    )
)
def test_router_advertisement_round_trip(message: RouterAdvertisement) -> None:
    assert RouterAdvertisement.parse(*message.build()) == message


REST = bytes(4)
MULTICAST = b"\xff\x02" + bytes(14)


@pytest.mark.rfc("4861", "7.1.1")
@pytest.mark.rfc("4861", "7.1.2")
@pytest.mark.rfc("4861", "6.1.2")
@pytest.mark.parametrize(
    ("what", "kind", "body"),
    [
        ("option of length 0", RouterSolicitation, b"\x01\x00" + bytes(6)),
        ("option past the end", RouterSolicitation, b"\x01\x02" + bytes(6)),
        ("one byte of option", RouterSolicitation, b"\x01"),
        ("65 options", RouterSolicitation, (b"\x63\x01" + bytes(6)) * 65),
        ("short NS", NeighborSolicitation, bytes(15)),
        ("NS for a multicast target", NeighborSolicitation, MULTICAST),
        ("short NA", NeighborAdvertisement, bytes(15)),
        ("NA for a multicast target", NeighborAdvertisement, MULTICAST),
        ("NA option of length 0", NeighborAdvertisement, bytes(16) + b"\x02\x00" + bytes(6)),
        ("short RA", RouterAdvertisement, bytes(7)),
        ("RA option of length 0", RouterAdvertisement, bytes(8) + b"\x03\x00"),
        ("short redirect", Redirect, bytes(31)),
        ("redirect of a multicast", Redirect, bytes(16) + MULTICAST),
    ],
)
def test_malformed(what: str, kind: type[RouterSolicitation], body: bytes) -> None:
    assert kind.parse(REST, body) is None


@pytest.mark.rfc("4861", "4.6")
def test_unknown_and_odd_options_are_skipped() -> None:
    odd = b"\xf0\x01" + bytes(6) + b"\x01\x02" + bytes(14) + b"\x05\x02" + bytes(14)
    assert Options.parse(odd) == Options()
    long_prefix = PrefixInfo(bytes(16), 64).build()
    assert Options.parse(long_prefix[:2] + b"\x81" + long_prefix[3:]) == Options()


@pytest.mark.parametrize(
    "names",
    [
        b"\x05abc" + bytes(4),
        b"\x40" + b"a" * 71,
        b"\x07abcdefg",
        b"\x03a.b\0\0\0\0",
        b"\x7fabcdefg",
    ],
)
def test_bad_search_lists_are_skipped(names: bytes) -> None:
    size = 1 + len(names) // 8
    parsed = Options.parse(bytes((31, size)) + b"\0\0\0\0\0\x01" + names)
    assert parsed == Options()


def test_preference_reserved_is_medium() -> None:
    message = RouterAdvertisement.parse(b"\0\x10\0\0", bytes(8))
    assert message is not None
    assert message.preference == 0
