# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.wire import dhcp4
from capas.wire.address import Prefix
from capas.wire.dhcp4 import Dhcp

MAC = bytes.fromhex("020000000001")
SERVER = bytes((192, 0, 2, 1))
addresses = st.binary(min_size=4, max_size=4)
codes = st.integers(1, 254).filter(lambda code: code not in (dhcp4.OVERLOAD, dhcp4.KIND))


def message(*options: bytes, sname: bytes = b"", file: bytes = b"") -> bytes:
    """A DHCPOFFER with these raw options."""
    head = Dhcp(dhcp4.REPLY, dhcp4.OFFER, 7, MAC).build()[:240]
    fields = head[:44] + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + head[236:]
    return fields + b"\x35\1\2" + b"".join(options)


@given(
    st.sampled_from(sorted(dhcp4.KINDS)),
    st.integers(0, 0xFFFFFFFF),
    addresses,
    addresses,
    addresses,
    st.integers(0, 65535),
    st.booleans(),
    st.dictionaries(codes, st.binary(max_size=600), max_size=5),
)
@pytest.mark.rfc("2131", "2")
@pytest.mark.rfc("3396", "5")
def test_round_trip(
    kind: int,
    xid: int,
    client: bytes,
    yours: bytes,
    relay: bytes,
    secs: int,
    broadcast: bool,
    options: dict[int, bytes],
) -> None:
    sent = Dhcp(dhcp4.REPLY, kind, xid, MAC, client, yours, SERVER, relay, secs, broadcast, options)
    data = sent.build()
    assert len(data) >= 300
    assert Dhcp.parse(data) == sent


@pytest.mark.rfc("2131", "4.1")
@pytest.mark.rfc("2132", "9.3")
def test_options_go_on_in_file_and_sname() -> None:
    data = message(
        b"\x06\4\1\1\1\1",
        b"\x34\1\3\xff",
        file=b"\x06\4\2\2\2\2\x0f\4test\xff",
        sname=b"\x06\4\3\3\3\3\xff",
    )
    found = Dhcp.parse(data)
    assert found is not None
    assert found.addresses(dhcp4.NAMESERVERS) == (b"\1\1\1\1", b"\2\2\2\2", b"\3\3\3\3")
    assert found.text(dhcp4.DOMAIN) == "test"


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("empty", b""),
        ("239 bytes", message()[:239]),
        ("another op", b"\3" + message()[1:]),
        ("another hardware", b"\2\6" + message()[2:]),
        ("a longer address", b"\2\1\x10" + message()[3:]),
        ("no cookie", message()[:236] + bytes(4) + b"\x35\1\2\xff"),
        ("no type", message()[:240] + b"\xff"),
        ("an unknown type", message()[:240] + b"\x35\1\x09\xff"),
        ("type 0", message()[:240] + b"\x35\1\0\xff"),
        ("a long type", message()[:240] + b"\x35\2\2\2\xff"),
        ("two types", message(b"\x35\1\2\xff")),
        ("an option without length", message(b"\x06")),
        ("an option past the end", message(b"\x06\x08\1\1\1\1")),
        ("overload 4", message(b"\x34\1\4\xff")),
        ("overload of two bytes", message(b"\x34\2\1\1\xff")),
        ("a cut option in file", message(b"\x34\1\1\xff", file=b"\0" * 126 + b"\x06\4")),
        ("a cut option in sname", message(b"\x34\1\2\xff", sname=b"\0" * 62 + b"\x06\4")),
    ],
)
def test_malformed(what: str, data: bytes) -> None:
    assert Dhcp.parse(data) is None


def test_a_missing_end_is_forgiven() -> None:
    assert Dhcp.parse(message(b"\x06\4\1\1\1\1")) is not None


@pytest.mark.rfc("3442", "Classless Route Option Format")
def test_classless_routes() -> None:
    routes = (
        (Prefix.parse("0.0.0.0/0"), SERVER),
        (Prefix.parse("10.0.0.0/8"), SERVER),
        (Prefix.parse("10.17.0.0/16"), bytes(4)),
        (Prefix.parse("10.27.129.0/25"), SERVER),
        (Prefix.parse("10.229.0.128/32"), SERVER),
    )
    value = dhcp4.routes_option(routes)
    assert value[5:11] == b"\x08\x0a" + SERVER  # as in the RFC's table
    assert Dhcp(2, 5, 1, MAC, options={dhcp4.ROUTES: value}).routes() == routes
    for broken in (value[:-1], b"\x21" + value, b"\x18\x0a"):
        assert Dhcp(2, 5, 1, MAC, options={dhcp4.ROUTES: broken}).routes() == ()


@pytest.mark.parametrize(
    ("mask", "length"),
    [("ffffff00", 24), ("ffffffff", 32), ("00000000", 0), ("ff00ff00", -1), ("ffff", -1), ("", -1)],
)
def test_masks(mask: str, length: int) -> None:
    options = {dhcp4.MASK: bytes.fromhex(mask)}
    assert Dhcp(2, 5, 1, MAC, options=options).prefix_length() == length


def test_what_cannot_be_read_is_empty() -> None:
    found = Dhcp(2, 5, 1, MAC, options={3: b"\1\2\3", 15: b"a\nb", 26: b"\1", 51: b""})
    assert found.addresses(3) == () and found.address(3) == b"" and found.text(15) == ""
    assert found.number(26, 2) == found.number(51, 4) == found.number(99, 4) == -1
