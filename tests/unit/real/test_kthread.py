# SPDX-License-Identifier: Apache-2.0
"""When a thread of the kernel's takes our frames: while bulk data comes."""

import os
from pathlib import Path

from capas.base.clock import MS, SECOND
from capas.real.kthread import KernelThread, open_switch

MB = 1_000_000


def test_it_runs_while_much_comes(tmp_path: Path) -> None:
    switch = tmp_path / "threaded"
    switch.write_text("1")  # who had the device before was killed
    thread = KernelThread(os.open(switch, os.O_WRONLY))
    assert switch.read_text() == "0"
    told: list[str] = []
    now = SECOND

    def come(rate: int, time: int) -> None:
        """So many bytes/s for so long; what was told since."""
        nonlocal now
        switch.write_text("")
        for _ in range(time // MS):
            now += MS
            thread.came(rate // 1000, now)
        told.append(switch.read_text())

    come(100 * MB, 3 * SECOND)  # not much
    come(400 * MB, 50 * MS)  # much, but not for long
    come(10 * MB, 200 * MS)
    assert told == ["", "", ""] and not thread.running
    come(1000 * MB, 300 * MS)
    assert told[-1] == "1" and thread.running
    come(100 * MB, 3 * SECOND)  # less: whatever is switched costs
    come(1000 * MB, SECOND)
    assert told[-2:] == ["", ""] and thread.running
    come(MB, 3 * SECOND)
    assert told[-1] == "0" and not thread.running
    come(1000 * MB, SECOND)
    assert told[-1] == "1"
    thread.close()
    thread.close()
    assert switch.read_text() == "0"
    come(0, 3 * SECOND)
    assert told[-1] == ""


def test_what_cannot_be_switched_stays_as_it_is(tmp_path: Path) -> None:
    switch = tmp_path / "threaded"
    switch.touch()
    thread = KernelThread(os.open(switch, os.O_RDONLY))
    for _ in range(2):
        thread.came(1 << 60, SECOND)
        assert not thread.running
    assert open_switch("nonesuch") == -1
