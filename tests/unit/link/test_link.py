# SPDX-License-Identifier: Apache-2.0
from capas.base.frame import Frame
from capas.link.link import ALL_GSO, GSO_MAX_BYTES, LinkCaps, Loopback, Medium


def test_caps_without_gso_allow_no_more_than_the_mtu() -> None:
    assert LinkCaps(1400).gso_max == 1400
    assert LinkCaps(1400, gso_types=ALL_GSO).gso_max == GSO_MAX_BYTES


def test_loopback_is_bounded_and_keeps_order() -> None:
    link = Loopback(limit=2)
    frames = [Frame(bytes([n])) for n in range(3)]
    assert [link.transmit(f) for f in frames] == [True, True, False]
    assert list(link.queue) == frames[:2]
    assert link.caps.medium is Medium.LOOPBACK
    assert link.caps.csum
