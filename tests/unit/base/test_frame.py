# SPDX-License-Identifier: Apache-2.0
from capas.base.frame import CSUM_PARTIAL, GSO_TCPV6, Frame


def test_other_bytes_keep_the_facts() -> None:
    frame = Frame(b"abc", 5, CSUM_PARTIAL, 54, 16, GSO_TCPV6, 1440, 9)
    other = frame.with_data(b"xyz")
    assert other.data == b"xyz"
    for name in ("time", "csum", "csum_start", "csum_offset", "gso_type", "gso_size", "mark"):
        assert getattr(other, name) == getattr(frame, name)
    assert frame.data == b"abc"
