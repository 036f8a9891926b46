# SPDX-License-Identifier: Apache-2.0
"""Options of multicast: memberships and their sources, as structures (RFC 3493, 3678, man 7 ip).

Each is of one group on one interface, which IPv4's own name by one of its addresses, those of both
families by its index.  Sizes, the order of errors and what is not looked at are Linux's.
"""

import errno
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from capas.internet.membership import EXCLUDE, INCLUDE, Filter
from capas.sockets import messages
from capas.sockets.failure import fail
from capas.transport.memberships import Memberships
from capas.wire import address as addr

if TYPE_CHECKING:
    from capas.sockets.datagram import DatagramDescription

_MREQ: Final = 8  # bytes of struct ip_mreq
_MREQ_SOURCE: Final = struct.Struct("@4s4s4s")  # struct ip_mreq_source
_MSFILTER: Final = struct.Struct("@4s4sII")  # struct ip_msfilter, before its sources
_STORAGE: Final = 128  # bytes of struct sockaddr_storage
_GROUP_REQ: Final = struct.Struct("@I4x128s")
_GROUP_SOURCE_REQ: Final = struct.Struct("@I4x128s128s")
_GROUP_FILTER: Final = struct.Struct("@I4x128sII")  # before its sources

#: What becomes of a source: of a filter of which mode, and whether it is added.
_SOURCES: Final = {
    "source_join": (INCLUDE, True),
    "source_leave": (INCLUDE, False),
    "source_block": (EXCLUDE, True),
    "source_unblock": (EXCLUDE, False),
}


def change(description: "DatagramDescription", name: str, value: int | bytes) -> bool:
    """Set an option of multicast membership; False if ``name`` is none.  OSError."""
    act = _ACTS.get(name.removesuffix("6"))
    if act is None:
        return False
    act(description, name, b"" if isinstance(value, int) else value)
    description.kick()
    return True


def interface4(
    description: "DatagramDescription", value: bytes, missing: int = errno.ENODEV
) -> int:
    """Interface index of an in_addr, maybe with the index that ip_mreqn adds; 0: any."""
    if len(value) >= 8:
        index = int(struct.unpack_from("@i", value, 4)[0])
        if index:
            return index
    address = value[:4]
    if len(address) < 4:
        raise fail(errno.EINVAL)
    if address == addr.ANY4:
        return 0
    for link in description.host.interfaces:
        if any(own.address == address for own in link.addresses):
            return link.index
    raise fail(missing)


def _join(description: "DatagramDescription", name: str, value: bytes) -> None:
    """IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP."""
    group, index = _mreq(description, name, value, errno.ENODEV)
    description.transport.memberships.join(group, index, description.now())


def _leave(description: "DatagramDescription", name: str, value: bytes) -> None:
    """IP_DROP_MEMBERSHIP, IPV6_LEAVE_GROUP."""
    group, index = _mreq(description, name, value, errno.EADDRNOTAVAIL)
    description.transport.memberships.leave(group, index, description.now())


def _mreq(
    description: "DatagramDescription", name: str, value: bytes, missing: int
) -> tuple[bytes, int]:
    """(group, interface index) of a struct ip_mreq or ipv6_mreq."""
    if name.endswith("6"):
        return messages.membership6(value)
    if len(value) < _MREQ:
        raise fail(errno.EINVAL)
    return value[:4], interface4(description, value[4:], missing)


def _source(description: "DatagramDescription", name: str, value: bytes) -> None:
    """IP_ADD_SOURCE_MEMBERSHIP and its kind."""
    if len(value) != _MREQ_SOURCE.size:
        raise fail(errno.EINVAL)
    group, interface, source = _MREQ_SOURCE.unpack(value)
    if not addr.is_multicast(group):
        raise fail(errno.EINVAL)
    _change_source(description, name, group, interface4(description, interface), source)


def _filter(description: "DatagramDescription", _: str, value: bytes) -> None:
    """IP_MSFILTER."""
    if len(value) < _MSFILTER.size:
        raise fail(errno.EINVAL)
    group, interface, mode, count = _MSFILTER.unpack_from(value)
    groups = description.transport.memberships
    packed = _listed(groups, value, _MSFILTER.size, count, 4, 4)
    if not addr.is_multicast(group):
        raise fail(errno.EINVAL)
    wanted = Filter(mode, tuple(dict.fromkeys(packed)))
    groups.set_filter(group, interface4(description, interface), wanted, description.now())


def _group_join(description: "DatagramDescription", name: str, value: bytes) -> None:
    """MCAST_JOIN_GROUP."""
    index, group = _group_req(name, value)
    description.transport.memberships.join(group, index, description.now())


def _group_leave(description: "DatagramDescription", name: str, value: bytes) -> None:
    """MCAST_LEAVE_GROUP."""
    index, group = _group_req(name, value)
    description.transport.memberships.leave(group, index, description.now())


def _group_req(name: str, value: bytes) -> tuple[int, bytes]:
    """(interface index, group) of a struct group_req."""
    if len(value) < _GROUP_REQ.size:
        raise fail(errno.EINVAL)
    index, group = _GROUP_REQ.unpack_from(value)
    v6 = name.endswith("6")
    return index, _address(group, v6, errno.EADDRNOTAVAIL if v6 else errno.EINVAL)


def _group_source(description: "DatagramDescription", name: str, value: bytes) -> None:
    """MCAST_JOIN_SOURCE_GROUP and its kind."""
    v6 = name.endswith("6")
    size = _GROUP_SOURCE_REQ.size
    if len(value) < size or (not v6 and len(value) > size):
        raise fail(errno.EINVAL)
    index, group, source = _GROUP_SOURCE_REQ.unpack_from(value)
    group, source = (_address(one, v6, errno.EADDRNOTAVAIL) for one in (group, source))
    _change_source(description, name.removeprefix("group_"), group, index, source)


def _group_filter(description: "DatagramDescription", name: str, value: bytes) -> None:
    """MCAST_MSFILTER; over IPv6 nobody looks at the families in it (Linux)."""
    if len(value) < _GROUP_FILTER.size:
        raise fail(errno.EINVAL)
    v6 = name.endswith("6")
    index, group, mode, count = _GROUP_FILTER.unpack_from(value)
    groups = description.transport.memberships
    packed = _listed(groups, value, _GROUP_FILTER.size, count, _STORAGE, 16 if v6 else 4)
    refused = 0 if v6 else errno.EADDRNOTAVAIL
    group = _address(group, v6, refused)
    sources = dict.fromkeys(_address(one, v6, refused) for one in packed)
    groups.set_filter(group, index, Filter(mode, tuple(sources)), description.now())


def _listed(
    groups: Memberships, value: bytes, at: int, count: int, each: int, size: int
) -> list[bytes]:
    """The ``count`` entries of ``each`` bytes from ``at`` on: addresses of ``size`` bytes."""
    groups.check_size(count, size)
    if at + count * each > len(value):
        raise fail(errno.EINVAL)
    return [value[i : i + each] for i in range(at, at + count * each, each)]


def _address(packed: bytes, v6: bool, refused: int) -> bytes:
    """The address in a sockaddr; ``refused``: the errno if it is of the other family, 0: it may."""
    family = int(struct.unpack_from("@H", packed)[0])
    if refused and family != (socket.AF_INET6 if v6 else socket.AF_INET):
        raise fail(refused)
    return packed[8:24] if v6 else packed[4:8]


def _change_source(
    description: "DatagramDescription", name: str, group: bytes, index: int, source: bytes
) -> None:
    mode, added = _SOURCES[name.removesuffix("6")]
    groups = description.transport.memberships
    act = groups.add_source if added else groups.remove_source
    act(group, index, source, mode, description.now())


_ACTS: Final[dict[str, Callable[["DatagramDescription", str, bytes], None]]] = {
    "join": _join,
    "leave": _leave,
    **dict.fromkeys(_SOURCES, _source),
    "filter": _filter,
    "group_join": _group_join,
    "group_leave": _group_leave,
    **{f"group_{name}": _group_source for name in _SOURCES},
    "group_filter": _group_filter,
}
