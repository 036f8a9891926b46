# SPDX-License-Identifier: Apache-2.0
"""The way into a device for senders that cannot wait: a short queue while the device is busy."""

from collections import deque
from typing import Final, final

from capas.base.frame import Frame
from capas.real.device import Device

LIMIT: Final = 1000  # frames, as the kernel's own `txqueuelen`


@final
class Outlet:
    """Writes to ``device``; frames it refuses wait until `link_ready`, at most ``LIMIT`` of them.

    What finds no room is lost, as on a wire, and counted: ``device.queue_full``.
    """

    def __init__(self, device: Device) -> None:
        self.device: Device = device
        self.waiting: deque[Frame] = deque()

    def write(self, frame: Frame) -> None:
        """Send ``frame`` behind those that wait."""
        if self.waiting or not self.device.transmit(frame):
            if len(self.waiting) >= LIMIT:
                self.device.counters.add("device.queue_full")
                return
            self.waiting.append(frame)

    def link_ready(self) -> None:
        """The device takes frames again."""
        while self.waiting and self.device.transmit(self.waiting[0]):
            self.waiting.popleft()
