# SPDX-License-Identifier: Apache-2.0
"""The generalized TTL security mechanism (RFC 5082 §3): who is too far away is not heard.

A user says how much of 255 hops must be left in packets that come (IP_MINTTL, IPV6_MINHOPCOUNT).
As in Linux it holds for segments and for ICMP errors about them, of listeners too.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capas.internet.types import IcmpError
    from capas.transport.tcp.connection import TcpConnection
    from capas.transport.tcp.listener import TcpListener


def too_far(owner: "TcpConnection | TcpListener | None", data: bytes, l3: int) -> bool:
    """Whether the packet at ``data[l3:]`` has come further than ``owner`` allows."""
    if owner is None:
        return False
    if data[l3] >> 4 == 4:
        return data[l3 + 8] < owner.options.min_ttl
    return data[l3 + 7] < owner.options.min_hops


def error_too_far(owner: "TcpConnection", error: "IcmpError") -> bool:
    """The same of an ICMP error; ours (TTL 0) come from nowhere."""
    options = owner.options
    least = options.min_ttl if len(error.dst) == 4 else options.min_hops
    return error.type != 0 and error.ttl < least
