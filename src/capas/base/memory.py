# SPDX-License-Identifier: Apache-2.0
"""What all queues of one host hold together, against one limit (`HostConfig.memory_limit`).

Each socket, and the reassembly of fragments, reports the bytes it holds when they change.  Over the
limit fragments are given up first, and the host takes no more data from the network (segments are
dropped unacknowledged, so their senders repeat them), no new connections and no more user data
behind data not yet acknowledged.  Every connection may always hold one segment and one write, so
none starves.  Not counted here, because they have caps of their
own: packets waiting for a neighbour's MAC address (4 MiB for each interface and family) and frames
waiting for a busy link (`HostConfig.interface_queue`), most of which a sender's buffer has counted.
"""

from typing import final

from capas.base.config import HostConfig


@final
class Memory:
    """Bytes held; ``full`` is what others ask."""

    __slots__ = ("_config", "full", "used")

    def __init__(self, config: HostConfig) -> None:
        self._config: HostConfig = config
        self.used: int = 0
        self.full: bool = False

    def charge(self, n: int) -> None:
        """``n`` bytes more (or less) are held."""
        self.used += n
        self.full = self.used > self._config.memory_limit
