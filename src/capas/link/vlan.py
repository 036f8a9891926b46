# SPDX-License-Identifier: Apache-2.0
"""An 802.1Q sub-interface: a link that is one VLAN of another interface (IEEE 802.1Q §9).

``VlanLink(parent, 7)`` is a `Link` of its own: attach it as any other and the host has an interface
whose frames carry tag 7 on the parent's link.  Untagged frames stay the parent's.
"""

from typing import final

from capas.base.frame import CSUM_PARTIAL, Frame
from capas.link.interface import Interface
from capas.link.link import Link, Medium
from capas.wire.ethernet import HEADER, TAG, TYPE_VLAN


@final
class VlanLink(Link):
    """VLAN ``vlan`` (1 to 4094) of ``parent``; ``priority`` is the 802.1p class of what is sent."""

    def __init__(self, parent: Interface, vlan: int, priority: int = 0) -> None:
        if parent.caps.medium is not Medium.ETHERNET:
            raise ValueError(f"{parent.name} has no Ethernet header to put a VLAN tag into")
        if not 1 <= vlan <= 4094 or not 0 <= priority <= 7:
            raise ValueError(f"VLAN {vlan}, priority {priority}: give 1 to 4094, 0 to 7")
        if vlan in parent.vlans:
            raise ValueError(f"{parent.name} already has VLAN {vlan}")
        self.caps = parent.caps.without_trains()
        self.sink = None
        self.parent: Interface = parent
        self.tag: bytes = TYPE_VLAN.to_bytes(2, "big") + (priority << 13 | vlan).to_bytes(2, "big")
        parent.vlans[vlan] = self

    def transmit(self, frame: Frame) -> bool:
        """Tag ``frame`` and give it to the parent, whose queue holds it while the link is busy."""
        data = frame.data
        tagged = frame.with_data(b"".join((data[:12], self.tag, data[12:])))
        if tagged.csum == CSUM_PARTIAL:
            tagged.csum_start += TAG
        self.parent.transmit(tagged, HEADER + TAG, frame.time)
        return True
