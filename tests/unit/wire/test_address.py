# SPDX-License-Identifier: Apache-2.0
import ipaddress
import socket
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.wire import address as addr
from capas.wire.address import Prefix

v4 = st.binary(min_size=4, max_size=4)
v6 = st.binary(min_size=16, max_size=16)
either = v4 | v6


@given(either)
def test_text_round_trips_and_agrees_with_the_library(packed: bytes) -> None:
    assert addr.parse(addr.text(packed)) == packed
    assert addr.text(packed) == str(ipaddress.ip_address(packed))


@pytest.mark.skipif(sys.platform != "linux", reason="compared with glibc")
@given(st.lists(st.sampled_from([0, 0, 1, 0x102, 0xFFFE, 0xFFFF]), min_size=8, max_size=8))
def test_text_agrees_with_glibc(groups: list[int]) -> None:
    packed = struct.pack("!8H", *groups)
    assert addr.text(packed) == socket.inet_ntop(socket.AF_INET6, packed)
    compatible = bytes(12) + packed[12:]
    assert addr.text(compatible) == socket.inet_ntop(socket.AF_INET6, compatible)


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "::g", "1.2.3.4/8", "a"])
def test_bad_addresses_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        addr.parse(text)


@given(st.binary(min_size=6, max_size=6))
def test_macs_round_trip(mac: bytes) -> None:
    assert addr.parse_mac(addr.mac_text(mac)) == mac
    assert addr.parse_mac(addr.mac_text(mac).replace(":", "-").upper()) == mac


@pytest.mark.parametrize(
    "text", ["", "02:00", "02:00:00:00:00:zz", "0200.0000.0001", "1:2:3:4:5:678"]
)
def test_bad_macs_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a MAC address"):
        addr.parse_mac(text)


@pytest.mark.parametrize(
    ("text", "multicast", "loopback", "unspecified", "link_local"),
    [
        ("224.0.0.1", True, False, False, False),
        ("239.255.255.255", True, False, False, False),
        ("223.255.255.255", False, False, False, False),
        ("240.0.0.1", False, False, False, False),
        ("127.1.2.3", False, True, False, False),
        ("0.0.0.0", False, False, True, False),
        ("169.254.1.1", False, False, False, True),
        ("169.253.1.1", False, False, False, False),
        ("ff02::1", True, False, False, False),
        ("::1", False, True, False, False),
        ("::", False, False, True, False),
        ("fe80::1", False, False, False, True),
        ("febf::1", False, False, False, True),
        ("fec0::1", False, False, False, False),
        ("2001:db8::1", False, False, False, False),
    ],
)
def test_kinds(
    text: str, multicast: bool, loopback: bool, unspecified: bool, link_local: bool
) -> None:
    packed = addr.parse(text)
    assert addr.is_multicast(packed) is multicast
    assert addr.is_loopback(packed) is loopback
    assert addr.is_unspecified(packed) is unspecified
    assert addr.is_link_local(packed) is link_local


@pytest.mark.rfc("4291", "2.5.5.2")
def test_mapped_addresses() -> None:
    four = addr.parse("192.0.2.1")
    mapped = addr.map_v4(four)
    assert mapped == addr.parse("::ffff:192.0.2.1")
    assert addr.is_v4_mapped(mapped)
    assert not addr.is_v4_mapped(four)
    assert addr.unmap_v4(mapped) == four
    assert addr.unmap_v4(addr.LOOPBACK6) == addr.LOOPBACK6


@pytest.mark.rfc("4291", "2.7.1")
def test_solicited_node() -> None:
    packed = addr.parse("4037::1:800:200e:8c6c")
    assert addr.solicited_node(packed) == addr.parse("ff02::1:ff0e:8c6c")


@pytest.mark.rfc("1112", "6.4")
def test_multicast_mac_of_ipv4_keeps_23_bits() -> None:
    assert addr.mac_text(addr.multicast_mac(addr.parse("239.255.1.2"))) == "01:00:5e:7f:01:02"


@pytest.mark.rfc("2464", "7")
def test_multicast_mac_of_ipv6_keeps_32_bits() -> None:
    packed = addr.parse("ff02::1:ff0e:8c6c")
    assert addr.mac_text(addr.multicast_mac(packed)) == "33:33:ff:0e:8c:6c"


@pytest.mark.rfc("4291", "appendix A")
def test_interface_identifier_of_a_mac() -> None:
    mac = addr.parse_mac("00:90:27:17:fc:0f")
    assert addr.text(addr.link_local6(mac)) == "fe80::290:27ff:fe17:fc0f"


@given(either, st.data())
def test_mask_agrees_with_the_library(packed: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(packed) * 8))
    network = ipaddress.ip_network((packed, length), strict=False)
    assert addr.mask(packed, length) == network.network_address.packed


@given(v6, v6)
def test_common_prefix(a: bytes, b: bytes) -> None:
    n = addr.common_prefix(a, b)
    assert addr.mask(a, n) == addr.mask(b, n)
    if n < 128:
        assert addr.mask(a, n + 1) != addr.mask(b, n + 1)


def test_prefix() -> None:
    prefix = Prefix.parse("192.0.2.77/24")
    assert str(prefix) == "192.0.2.0/24"
    assert repr(prefix) == "Prefix(192.0.2.0/24)"
    assert prefix.contains(addr.parse("192.0.2.200"))
    assert not prefix.contains(addr.parse("192.0.3.1"))
    assert not prefix.contains(addr.LOOPBACK6)
    assert prefix == Prefix(addr.parse("192.0.2.1"), 24)
    assert prefix != Prefix.parse("192.0.2.0/25")
    assert prefix != "192.0.2.0/24"
    assert {prefix: 1}[Prefix.parse("192.0.2.0/24")] == 1
    assert Prefix.parse("::1").length == 128
    assert Prefix.parse("0.0.0.0/0").contains(addr.BROADCAST4)


@pytest.mark.rfc("3021", "2.1")
def test_directed_broadcast() -> None:
    assert Prefix.parse("192.0.2.0/24").broadcast() == addr.parse("192.0.2.255")
    assert Prefix.parse("192.0.2.0/30").broadcast() == addr.parse("192.0.2.3")
    assert Prefix.parse("192.0.2.0/31").broadcast() is None
    assert Prefix.parse("192.0.2.0/32").broadcast() is None
    assert Prefix.parse("2001:db8::/64").broadcast() is None


@pytest.mark.parametrize("text", ["10.0.0.1/33", "10.0.0.1/", "10.0.0.1/-1", "::1/129", "::1/x"])
def test_bad_prefix_lengths_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="prefix length must be"):
        addr.parse_interface(text)
    with pytest.raises(ValueError, match="does not fit"):
        Prefix(addr.LOOPBACK4, 33)


def test_interface_text() -> None:
    assert addr.parse_interface("10.0.0.1/8") == (addr.parse("10.0.0.1"), 8)
    assert addr.parse_interface("10.0.0.1") == (addr.parse("10.0.0.1"), 32)
    assert addr.parse_interface("::1/64") == (addr.LOOPBACK6, 64)
