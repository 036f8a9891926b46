# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.wire.ethernet import (
    ARP_REPLY,
    ARP_REQUEST,
    TYPE_ARP,
    TYPE_IPV4,
    TYPE_IPV6,
    Arp,
    Ethernet,
    header,
    is_group,
)

A, B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
IP_A, IP_B = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))

macs = st.binary(min_size=6, max_size=6)
addresses = st.binary(min_size=4, max_size=4)


@pytest.mark.rfc("894", "frame format")
def test_header_of_an_untagged_frame() -> None:
    data = header(A, B, TYPE_IPV4)
    assert data == A + B + b"\x08\x00"
    assert Ethernet.parse(data + b"x") == Ethernet(A, B, TYPE_IPV4)
    assert str(Ethernet(A, B, TYPE_IPV6)) == "02:00:00:00:00:02 > 02:00:00:00:00:01 0x86dd"


def test_header_of_a_tagged_frame() -> None:
    data = Ethernet(A, B, TYPE_ARP, vlan=7, priority=5).build()
    assert data == A + B + bytes.fromhex("8100a0070806")
    assert Ethernet.parse(data) == Ethernet(A, B, TYPE_ARP, 7, 5, 18)
    assert "vlan 7" in str(Ethernet.parse(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        A,
        A + B,
        A + B + b"\x08",
        A + B + b"\x00\x2e" + bytes(46),  # an 802.3 length
        A + B + b"\x05\xff" + bytes(46),
        A + B + b"\x81\x00",
        A + B + b"\x81\x00\x00\x07\x08",
        A + B + b"\x81\x00\x00\x07\x00\x2e",
    ],
)
def test_malformed_headers_are_none(data: bytes) -> None:
    assert Ethernet.parse(data) is None


@given(macs, macs, st.integers(0x0600, 0xFFFF), st.integers(-1, 0xFFF), st.integers(0, 7))
def test_headers_round_trip(
    destination: bytes, source: bytes, ethertype: int, vlan: int, priority: int
) -> None:
    if vlan < 0 and ethertype == 0x8100:
        return  # that is what a tag looks like
    tagged = vlan >= 0
    built = Ethernet(
        destination, source, ethertype, vlan, priority if tagged else 0, 18 if tagged else 14
    )
    assert Ethernet.parse(built.build()) == built


@pytest.mark.rfc("826", "packet format")
def test_an_arp_request_and_its_reply() -> None:
    request = Arp.request(A, IP_A, IP_B)
    data = request.build()
    assert data == bytes.fromhex("0001 0800 06 04 0001 020000000001 c0000201 000000000000 c0000202")
    assert Arp.parse(data) == request
    reply = request.reply(B)
    assert reply == Arp(ARP_REPLY, B, IP_B, A, IP_A)
    assert Arp.parse(bytes(14) + reply.build() + bytes(18), 14) == reply
    assert str(request) == "who has 192.0.2.2? tell 192.0.2.1"
    assert str(reply) == "192.0.2.2 is at 02:00:00:00:00:02"


@pytest.mark.rfc("5227", "1.1")
def test_probes_and_announcements() -> None:
    assert Arp.request(A, bytes(4), IP_B).is_probe()
    assert not Arp.request(A, IP_A, IP_B).is_probe()
    assert Arp.request(A, IP_A, IP_A).is_announcement()
    assert Arp(ARP_REPLY, A, IP_A, A, IP_A).is_announcement()
    assert not Arp.request(A, IP_A, IP_B).is_announcement()


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, b"\0\2"), (2, b"\x86\xdd"), (4, b"\7"), (5, b"\x10"), (6, b"\0\0"), (6, b"\0\3")],
)
def test_other_hardware_protocols_sizes_and_opcodes_are_none(at: int, value: bytes) -> None:
    data = Arp.request(A, IP_A, IP_B).build()
    assert Arp.parse(data[:at] + value + data[at + len(value) :]) is None


@pytest.mark.parametrize("size", range(28))
def test_short_arp_is_none(size: int) -> None:
    assert Arp.parse(Arp.request(A, IP_A, IP_B).build()[:size]) is None


@given(st.sampled_from((ARP_REQUEST, ARP_REPLY)), macs, addresses, macs, addresses)
def test_arp_round_trips(operation: int, sha: bytes, spa: bytes, tha: bytes, tpa: bytes) -> None:
    message = Arp(operation, sha, spa, tha, tpa)
    assert Arp.parse(message.build()) == message


def test_group_bit() -> None:
    assert is_group(b"\xff" * 6)
    assert is_group(bytes.fromhex("01005e000001"))
    assert not is_group(A)
