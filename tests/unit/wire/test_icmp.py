# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.wire import icmp
from capas.wire.icmp import Message

messages = st.builds(
    Message,
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(min_size=4, max_size=4),
    st.binary(max_size=100),
)
addresses = st.binary(min_size=16, max_size=16)


@given(messages)
def test_round_trip_v4(message: Message) -> None:
    data = message.build()
    assert Message.parse(b"ab" + data, 2, 2 + len(data)) == message


@given(messages, addresses, addresses)
def test_round_trip_v6(message: Message, src: bytes, dst: bytes) -> None:
    data = bytes(8) + src + dst + message.build6(src, dst)
    assert Message.parse(data, 40, len(data), icmp.pseudo6(data, 0, 40, len(data))) == message


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("empty", b""),
        ("7 bytes", b"\x08\0\xf7\xff\0\0\0"),
        ("bad checksum", b"\x08\0\xf7\xfe\0\0\0\0"),
        ("zero", bytes(8)),
    ],
)
def test_malformed(what: str, data: bytes) -> None:
    assert Message.parse(data, 0, len(data)) is None


def test_fields() -> None:
    message = icmp.echo(icmp.ECHO_REQUEST, 0x1234, 0x5678, b"x")
    assert (message.identifier, message.sequence, message.word) == (0x1234, 0x5678, 0x12345678)


@pytest.mark.rfc("1812", "4.3.2.7")
@pytest.mark.parametrize(
    ("protocol", "type", "error"),
    [
        (1, 0, False),
        (1, 8, False),
        (1, 13, False),
        (1, 3, True),
        (1, 4, True),
        (1, 5, True),
        (1, 11, True),
        (1, 12, True),
        (58, 1, True),
        (58, 4, True),
        (58, 127, True),
        (58, 128, False),
        (58, 135, False),
        (58, 137, True),
        (17, 3, False),
    ],
)
def test_what_is_an_error(protocol: int, type: int, error: bool) -> None:
    assert icmp.is_error(bytes((type,)), protocol, 0, 1) is error


def test_an_icmp_packet_without_a_type_counts_as_an_error() -> None:
    assert icmp.is_error(b"", 1, 0, 0)
    assert not icmp.is_error(b"", 17, 0, 0)
