# SPDX-License-Identifier: Apache-2.0
"""What happened on one direction of a wire, counted."""

from typing import Final, final

#: What is counted, by name: a compiled class has no slots to list.
_COUNTS: Final = (
    "black_holed",
    "bytes",
    "corrupted",
    "delivered",
    "duplicated",
    "frames",
    "lost",
    "marked",
    "packets",
    "queue_drops",
    "reordered",
    "rule_drops",
    "splits",
    "undeliverable",
)


@final
class LinkStatistics:
    """What happened on one direction; packets, not super-frames, unless the name says frames."""

    __slots__ = _COUNTS

    def __init__(self) -> None:
        self.frames: int = 0  # frames and super-frames sent into the wire
        self.packets: int = 0
        self.bytes: int = 0  # on the wire, each packet's headers and framing included
        self.delivered: int = 0  # frames and super-frames delivered
        self.lost: int = 0  # by a loss stage
        self.duplicated: int = 0
        self.reordered: int = 0  # delivered before something sent earlier
        self.corrupted: int = 0
        self.queue_drops: int = 0
        self.marked: int = 0  # Congestion Experienced set by the queue
        self.black_holed: int = 0
        self.rule_drops: int = 0
        self.splits: int = 0  # super-frames that had to be taken apart
        self.undeliverable: int = 0  # nobody at the far end, or it is down

    def snapshot(self) -> dict[str, int]:
        """All counts by name."""
        return {name: getattr(self, name) for name in _COUNTS}

    @property
    def dropped(self) -> int:
        """Packets that never arrived, whatever the reason."""
        return (
            self.lost + self.queue_drops + self.black_holed + self.rule_drops + self.undeliverable
        )
