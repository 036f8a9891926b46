# SPDX-License-Identifier: Apache-2.0
"""The multicast groups of a socket, each on one interface with a filter of sources (RFC 3376 §3.1).

What the calls of RFC 3678 do to a filter, their errors and the caps on it are Linux's (igmp.c,
mcast.c): to leave out the last source that is included is to leave; a filter that never had sources
may change its mode, another may not.
"""

import errno
from typing import final

from capas.errors import os_error
from capas.internet.membership import ANY_SOURCE, EXCLUDE, INCLUDE, Filter
from capas.internet.net import Internet
from capas.link.interface import Interface
from capas.wire.address import is_multicast

#: A group and the index of an interface.
Key = tuple[bytes, int]


@final
class Memberships:
    """The groups of a socket."""

    __slots__ = ("_fixed", "_net", "filters")

    def __init__(self, net: Internet) -> None:
        self._net: Internet = net
        self._fixed: dict[Key, None] = {}  # whose mode stays though no source is left
        self.filters: dict[Key, Filter] = {}  # the newest last

    # -- groups -----------------------------------------------------------------------------------

    def join(self, group: bytes, interface: int, now: int, first: Filter = ANY_SOURCE) -> None:
        """Take part in a group on one interface, 0: the one the route to it names."""
        if len(group) == 16 and self._joined(group, interface) is not None:
            raise os_error(errno.EADDRINUSE)
        key = self._key(group, interface)
        if key in self.filters:
            raise os_error(errno.EADDRINUSE)
        shared = self._net.shared
        config = shared.config
        own = sum(len(other) == len(group) for other, _ in self.filters)
        cap = config.multicast_memberships if len(group) == 4 else config.multicast_groups
        if own >= cap:
            shared.counters.add("socket.too_many_groups")
            raise os_error(errno.ENOBUFS)
        self._set(key, first, now)

    def leave(self, group: bytes, interface: int, now: int) -> None:
        """Undo `join`; EADDRNOTAVAIL if there was none.

        Interface 0: over IPv4 the one the route to the group names, over IPv6 the newest.
        """
        if len(group) == 4:
            interface = interface or self._interface(group, 0).index
        elif not is_multicast(group):
            raise os_error(errno.EINVAL)
        key = self._joined(group, interface)
        if key is None:
            raise os_error(errno.EADDRNOTAVAIL)
        self._set(key, None, now)

    def _joined(self, group: bytes, interface: int) -> Key | None:
        """The newest membership on an interface, 0: on any."""
        for key in reversed(self.filters):
            if key[0] == group and interface in (0, key[1]):
                return key
        return None

    def close(self, now: int) -> None:
        """Leave them all."""
        for key in list(self.filters):
            self._set(key, None, now)

    # -- sources ----------------------------------------------------------------------------------

    def add_source(self, group: bytes, interface: int, source: bytes, mode: int, now: int) -> None:
        """One source more that is included (a join, if need be), or excluded."""
        key = self._key(group, interface)
        if mode == INCLUDE and key not in self.filters:
            self.join(group, interface, now, Filter(INCLUDE, (source,)))
            return
        before = self._filter(key, mode)
        if before.sources and len(before.sources) >= self._most(group):
            self._full()
        if source in before.sources:
            raise os_error(errno.EADDRNOTAVAIL)
        self._set(key, Filter(mode, (*before.sources, source)), now)

    def remove_source(
        self, group: bytes, interface: int, source: bytes, mode: int, now: int
    ) -> None:
        """One source less; without any that is included, the group is left."""
        key = self._key(group, interface)
        before = self._filter(key, mode)
        if source not in before.sources:
            self._set(key, before, now)  # its mode may be another now
            raise os_error(errno.EADDRNOTAVAIL)
        rest = Filter(mode, tuple(other for other in before.sources if other != source))
        self._set(key, None if rest.empty() else rest, now)

    def set_filter(self, group: bytes, interface: int, wanted: Filter, now: int) -> None:
        """A whole filter at once (RFC 3678 §4.1.3, §5.1.3)."""
        if not is_multicast(group) or wanted.mode not in (INCLUDE, EXCLUDE):
            raise os_error(errno.EINVAL)
        key = self._key(group, interface)
        if wanted.empty():
            self.leave(group, key[1], now)
            return
        if key not in self.filters:
            raise os_error(errno.EINVAL)
        self._fixed.pop(key, None)
        self._set(key, wanted, now)

    def check_size(self, sources: int, size: int) -> None:
        """Whether a filter may name so many sources, with addresses of ``size`` bytes."""
        if sources > self._most(bytes(size)):
            self._full()

    def _most(self, group: bytes) -> int:
        config = self._net.shared.config
        return config.multicast_sources if len(group) == 4 else config.multicast_sources6

    def _full(self) -> None:
        self._net.shared.counters.add("socket.too_many_sources")
        raise os_error(errno.ENOBUFS)

    def _filter(self, key: Key, mode: int) -> Filter:
        """The filter of a membership, in ``mode`` if it can be."""
        before = self.filters.get(key)
        if before is None or (key in self._fixed and before.mode != mode):
            raise os_error(errno.EINVAL)
        return before if before.mode == mode else Filter(mode)

    # -- delivery ---------------------------------------------------------------------------------

    def take(self, group: bytes, source: bytes, interface: int, otherwise: bool) -> bool:
        """Whether what ``source`` sends to ``group`` is for this socket.

        ``otherwise``: if it is no member (IP_MULTICAST_ALL).  What comes over IPv6 is judged by the
        newest membership, whatever its interface (as Linux does); so is what this host itself sent
        over IPv4, which comes by the loopback interface (Linux: by that of the way it left).
        """
        loopback = self._net.shared.loopback
        anywhere = len(group) == 16 or (loopback is not None and interface == loopback.index)
        for (joined, index), wanted in reversed(self.filters.items()):
            if joined == group and (anywhere or index == interface):
                return wanted.wants(source)
        return otherwise

    # -- helpers ----------------------------------------------------------------------------------

    def _set(self, key: Key, wanted: Filter | None, now: int) -> None:
        group, index = key
        before = self.filters.get(key)
        link = self._net.interface(index)
        assert link is not None
        self._net.multicast.listen(link, group, before, wanted, now)
        if wanted is None:
            del self.filters[key]
            self._fixed.pop(key, None)
            return
        self.filters[key] = wanted
        if wanted.sources:
            self._fixed[key] = None

    def _key(self, group: bytes, interface: int) -> Key:
        if not is_multicast(group):
            raise os_error(errno.EINVAL)
        return group, self._interface(group, interface).index

    def _interface(self, group: bytes, index: int) -> Interface:
        interfaces = self._net.shared.interfaces
        for interface in interfaces:
            if interface.index == index:
                return interface
        if index == 0:
            route = self._net.route(group)
            if route is not None:
                return route.interface
            for interface in interfaces[1:]:
                return interface
        raise os_error(errno.ENODEV)
