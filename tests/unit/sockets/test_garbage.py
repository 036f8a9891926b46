# SPDX-License-Identifier: Apache-2.0
"""Garbage is looked for less often while drivers are at work, and as before afterwards."""

import gc

from capas import RealDriver, World


def test_two_drivers_that_overlap() -> None:
    before = gc.get_threshold()
    first = RealDriver()
    seldom = gc.get_threshold()
    assert seldom[0] > before[0]
    second = RealDriver()
    first.close()
    first.close()
    assert gc.get_threshold() == seldom
    World(1).run(until="1s")
    assert gc.get_threshold() == seldom
    second.close()
    assert gc.get_threshold() == before


def test_a_program_that_wants_less_has_less() -> None:
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, 5, 5)
    try:
        with RealDriver():
            assert gc.get_threshold() == (1_000_000, 5, 5)
        gc.disable()
        with RealDriver():
            assert not gc.isenabled()
    finally:
        gc.enable()
        gc.set_threshold(*before)
