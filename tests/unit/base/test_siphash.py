# SPDX-License-Identifier: Apache-2.0
"""SipHash-2-4 against the vectors of its paper and reference."""

import pytest

from capas.base.siphash import siphash

KEY = bytes(range(16))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, 0x726FDB47DD0E0E31),
        (1, 0x74F839C593DC67FD),
        (7, 0xAB0200F58B01D137),
        (8, 0x93F5F5799A932462),
        (15, 0xA129CA6149BE45E5),
    ],
)
def test_vectors(length: int, expected: int) -> None:
    assert siphash(KEY, bytes(range(length))) == expected
