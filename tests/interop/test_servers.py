# SPDX-License-Identifier: Apache-2.0
"""The kernel's clients against ``capas up``: on TAP and TUN, with offloads and without, and all
again on a bad cable."""

from .bodies import Bodies


class TestTap(Bodies):
    """Super-frames with Ethernet headers."""


class TestTun(Bodies):
    """Super-frames without."""

    TUN = True


class TestPlainFrames(Bodies):
    """No virtio headers: every checksum and every segment by software."""

    MIB = 20
    WORDS = ("--no-offload",)


class TestBadTap(Bodies):
    """Loss, reordering, duplication and corruption, each direction its own."""

    BAD = True
    MIB = 25
    WORDS = (
        "--loss", "2%", "--reorder", "5%", "--duplicate", "1%", "--corrupt", "0.1%", "--seed", "7",
    )  # fmt: skip


class TestBadTun(TestBadTap):
    """The same without Ethernet, and smaller: the cable's code is the same."""

    TUN = True
    MIB = 10
