# SPDX-License-Identifier: Apache-2.0
"""Who is reachable on this link, and at which MAC: one machine for ARP and ND (RFC 4861 §7.3).

A `NeighborTable` belongs to one interface and one family.  It asks by ``solicit`` (ARP requests or
neighbour solicitations, registered by their owners) and keeps packets for addresses it is asking
about.  ARP has no reachability protocol of its own; giving it the same states is what Linux does
and what RFC 1122 §2.3.2.1 asks for (unicast poll, advice from above).

States::

    INCOMPLETE -answer-> REACHABLE -time-> STALE -packet-> DELAY -time-> PROBE -silence-> gone
        |                    ^______________ confirmed ____________________|
        '-silence-> gone, each waiting packet handed back

REACHABLE turns STALE lazily, when a packet looks.  Bounds: ``config.neighbor_entries`` (least
recently used go first, never permanent ones), ``config.neighbor_queue`` packets and `QUEUE_BYTES`
per address, `TABLE_BYTES` in all.

Budget: a hit costs one dict look-up and one comparison in `Interface.send`.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, final

from capas.base.clock import NEVER, Scheduler, Timer
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import Offload
from capas.base.rng import Rng

INCOMPLETE: Final = 0
REACHABLE: Final = 1
STALE: Final = 2
DELAY: Final = 3
PROBE: Final = 4
PERMANENT: Final = 5  # configured; no protocol changes it
STATE_NAMES: Final = ("INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT")

QUEUE_BYTES: Final = 212_992  # waiting for one address, Linux 6.18 unres_qlen_bytes
TABLE_BYTES: Final = 4 << 20  # waiting for all addresses of a table

_NOTHING: Final = b""


@final
class Pending:
    """A packet (from its IP header on) waiting for a MAC address."""

    __slots__ = ("offload", "packet")

    def __init__(self, packet: bytes, offload: Offload | None) -> None:
        self.packet: bytes = packet
        self.offload: Offload | None = None
        if offload is not None:  # a copy: whoever sent it may use its own again
            o = offload
            self.offload = Offload(o.csum_start, o.csum_offset, o.gso_type, o.gso_size)


@final
class Neighbor(Timer):
    """One entry.

    ``mac``          b"" while INCOMPLETE
    ``header``       the Ethernet header of packets to it, b"" while INCOMPLETE
    ``state``        INCOMPLETE .. PERMANENT
    ``fresh_until``  ns: until then packets go out without a second thought (0 INCOMPLETE and STALE)
    ``used``         ns, last packet or creation; eviction goes by it
    ``probes``       solicitations sent in this INCOMPLETE or PROBE phase
    ``is_router``    the IsRouter flag of RFC 4861 §5.1
    """

    __slots__ = (
        "address",
        "fresh_until",
        "header",
        "is_router",
        "mac",
        "probes",
        "queue",
        "queue_bytes",
        "state",
        "table",
        "used",
    )

    def __init__(self, table: "NeighborTable", address: bytes, now: int) -> None:
        super().__init__()
        self.table: NeighborTable = table
        self.address: bytes = address
        self.mac: bytes = _NOTHING
        self.header: bytes = _NOTHING
        self.state: int = INCOMPLETE
        self.fresh_until: int = 0
        self.used: int = now
        self.probes: int = 0
        self.is_router: bool = False
        self.queue: deque[Pending] = deque()
        self.queue_bytes: int = 0

    def fire(self, now: int) -> None:
        """RetransTimer or DELAY_FIRST_PROBE_TIME has passed."""
        self.table.timeout(self, now)

    def state_at(self, now: int) -> int:
        """The state, with REACHABLE already STALE when its time is over."""
        return STALE if self.state == REACHABLE and now >= self.fresh_until else self.state


@final
class NeighborTable:
    """The neighbours of one interface in one family.

    ``solicit(target, mac, now)``  asks; ``mac`` None: multicast or broadcast, else to that MAC
    ``failed(target, now)``        told when a neighbour stopped answering (router selection)
    ``release(header, packets, now)``  sends what waited (the interface)
    ``lost(packets, now)``         takes what waited in vain (the interface)
    ``table``                      by address; read by the interface's hot path
    """

    __slots__ = (
        "_reachable",
        "base_reachable",
        "config",
        "counters",
        "failed",
        "lost",
        "prefix",
        "release",
        "retrans",
        "rng",
        "scheduler",
        "solicit",
        "suffix",
        "table",
        "waiting_bytes",
    )

    def __init__(
        self,
        mac: bytes,
        ethertype: int,
        config: HostConfig,
        counters: Counters,
        scheduler: Scheduler,
        rng: Rng,
    ) -> None:
        self.table: dict[bytes, Neighbor] = {}
        self.config: HostConfig = config
        self.counters: Counters = counters
        self.scheduler: Scheduler = scheduler
        self.rng: Rng = rng
        self.suffix: bytes = mac + ethertype.to_bytes(2, "big")
        self.prefix: str = "arp" if ethertype == 0x0800 else "nd"
        self.retrans: int = config.neighbor_retrans  # RetransTimer; router advertisements set it
        self.base_reachable: int = config.neighbor_reachable
        self._reachable: int = -1
        self.waiting_bytes: int = 0
        self.solicit: Callable[[bytes, bytes | None, int], None] | None = None
        self.failed: Callable[[bytes, int], None] | None = None
        self.release: Callable[[bytes, list[Pending], int], None] | None = None
        self.lost: Callable[[list[Pending], int], None] | None = None

    # -- the sending side -------------------------------------------------------------------------

    def lookup(self, next_hop: bytes, now: int) -> bytes | None:
        """The MAC of ``next_hop``; None if it is not known, and then somebody is asked."""
        entry = self.resolve(next_hop, now)
        return entry.mac if self.header(entry, now) else None

    def header(self, entry: Neighbor, now: int) -> bytes:
        """The Ethernet header for a packet to ``entry``, b"" if it must wait."""
        entry.used = now
        state = entry.state
        if state == REACHABLE and now >= entry.fresh_until:
            state = entry.state = STALE
        if state == STALE:
            # RFC 4861 §7.3.3: the first packet to a stale neighbour starts the delay
            entry.state = DELAY
            entry.fresh_until = NEVER
            self.scheduler.at(now + self.config.neighbor_delay, entry)
        elif state == INCOMPLETE and entry.probes == 0:
            entry.probes = 1
            self.scheduler.at(now + self.retrans, entry)
            self._solicit(entry, None, now)
        return entry.header

    def resolve(self, next_hop: bytes, now: int) -> Neighbor:
        """The entry of ``next_hop``, created if there is none; nobody is asked yet."""
        entry = self.table.get(next_hop)
        return entry if entry is not None else self._create(next_hop, now)

    def wait(self, entry: Neighbor, packet: Pending) -> None:
        """Keep a packet until ``entry`` is resolved; the oldest go when there are too many."""
        queue = entry.queue
        size = len(packet.packet)
        while queue and (
            len(queue) >= self.config.neighbor_queue or entry.queue_bytes + size > QUEUE_BYTES
        ):
            self._drop_oldest(entry)
        if len(queue) >= self.config.neighbor_queue or self.waiting_bytes + size > TABLE_BYTES:
            self.counters.add("link.neighbor_queue_full")
            return
        queue.append(packet)
        entry.queue_bytes += size
        self.waiting_bytes += size

    def prompting(self, address: bytes) -> bytes | None:
        """The first packet that waits for ``address`` (its source is the one to ask with)."""
        entry = self.table.get(address)
        return entry.queue[0].packet if entry is not None and entry.queue else None

    # -- the learning side ------------------------------------------------------------------------

    def learned(
        self,
        address: bytes,
        mac: bytes | None,
        now: int,
        *,
        solicited: bool,
        override: bool,
        is_router: bool | None = None,
        create: bool = True,
    ) -> bool:
        """Somebody said where ``address`` is (RFC 4861 §7.2.3, §7.2.5; an ARP message).

        ``mac`` None: the message had no link-layer address.  ``is_router`` None: it does not say.
        ``create`` False (advertisements, gratuitous ARP): unknown addresses stay unknown.  Returns
        True if the neighbour was a router and now says it is none.
        """
        entry = self.table.get(address)
        if entry is None:
            if not create or mac is None:
                return False
            entry = self._create(address, now)
        state = entry.state
        if state == PERMANENT:
            return False
        was_router = entry.is_router
        if is_router is not None:
            entry.is_router = is_router
        if state == INCOMPLETE:
            if mac is not None:
                self._set_mac(entry, mac)
                self._become(entry, REACHABLE if solicited else STALE, now)
                self._release(entry, now)
        elif mac is not None and mac != entry.mac and not override:
            if entry.state_at(now) == REACHABLE:
                self._become(entry, STALE, now)
            if is_router is not None:
                entry.is_router = was_router  # §7.2.5 I: nothing else of the message counts
        else:
            moved = mac is not None and mac != entry.mac
            if moved and mac is not None:
                self.counters.add("link.neighbor_moved")
                self._set_mac(entry, mac)
            if solicited:
                self._become(entry, REACHABLE, now)
            elif moved:
                self._become(entry, STALE, now)
        return was_router and not entry.is_router

    def confirm(self, address: bytes, now: int) -> None:
        """An upper layer saw progress through this neighbour (RFC 4861 §7.3.1)."""
        entry = self.table.get(address)
        if entry is None:
            return
        state = entry.state
        if state == REACHABLE:
            entry.fresh_until = now + self.reachable
        elif state != INCOMPLETE and state != PERMANENT:
            self._become(entry, REACHABLE, now)

    def add_permanent(self, address: bytes, mac: bytes, now: int) -> None:
        """Configure a neighbour by hand."""
        entry = self.resolve(address, now)
        self.scheduler.cancel(entry)
        self._set_mac(entry, mac)
        entry.state = PERMANENT
        entry.fresh_until = NEVER
        self._release(entry, now)

    def set_reachable_time(self, base: int) -> None:
        """BaseReachableTime changed: ReachableTime is 0.5 to 1.5 times that (RFC 4861 §6.3.2)."""
        if base != self.base_reachable:
            self.base_reachable = base
            self._reachable = -1

    @property
    def reachable(self) -> int:
        """ReachableTime, drawn when somebody is: many a table never has an entry."""
        if self._reachable < 0:
            self._reachable = self.base_reachable // 2 + self.rng.below(self.base_reachable + 1)
        return self._reachable

    # -- the whole table --------------------------------------------------------------------------

    def entries(self) -> list[Neighbor]:
        """All entries, oldest first."""
        return list(self.table.values())

    def remove(self, address: bytes, now: int = 0) -> None:
        """Forget one neighbour; what waits for it is handed back."""
        entry = self.table.get(address)
        if entry is not None:
            self._remove(entry, now)

    def flush(self, now: int = 0) -> None:
        """Forget all but permanent neighbours; what waits is dropped."""
        for entry in self.entries():
            if entry.state != PERMANENT:
                while entry.queue:
                    self._drop_oldest(entry)
                self._remove(entry, now)

    # -- inside -----------------------------------------------------------------------------------

    def timeout(self, entry: Neighbor, now: int) -> None:
        """A timer of ``entry`` fired."""
        state = entry.state
        if state == DELAY:
            entry.state = PROBE
            entry.probes = 0
        elif state == INCOMPLETE:
            if entry.probes >= self.config.neighbor_multicast_probes:
                self._fail(entry, now)
                return
        elif state != PROBE:
            return
        if state == PROBE and entry.probes >= self.config.neighbor_unicast_probes:
            self._fail(entry, now)
            return
        entry.probes += 1
        self.scheduler.at(now + self.retrans, entry)
        self._solicit(entry, entry.mac or None, now)

    def _solicit(self, entry: Neighbor, mac: bytes | None, now: int) -> None:
        if self.solicit is not None:
            self.solicit(entry.address, mac, now)

    def _fail(self, entry: Neighbor, now: int) -> None:
        self.counters.add("link.neighbor_failed")
        self._remove(entry, now)
        if self.failed is not None:
            self.failed(entry.address, now)

    def _create(self, address: bytes, now: int) -> Neighbor:
        limit = self.config.neighbor_entries
        if len(self.table) >= limit:
            self._evict(now, max(1, limit // 16))
        entry = self.table[address] = Neighbor(self, address, now)
        return entry

    def _evict(self, now: int, count: int) -> None:
        """Drop the ``count`` least recently used; in batches, so that a flood pays little each."""
        old = [entry for entry in self.table.values() if entry.state != PERMANENT]
        old.sort(key=lambda entry: entry.used)
        for entry in old[:count]:
            self.counters.add("link.neighbor_evicted")
            while entry.queue:
                self._drop_oldest(entry)
            self._remove(entry, now)

    def _drop_oldest(self, entry: Neighbor) -> None:
        size = len(entry.queue.popleft().packet)
        entry.queue_bytes -= size
        self.waiting_bytes -= size
        self.counters.add("link.neighbor_queue_full")

    def _remove(self, entry: Neighbor, now: int) -> None:
        self.scheduler.cancel(entry)
        self.table.pop(entry.address, None)
        entry.fresh_until = 0  # whoever kept the entry must look again
        packets = self._take(entry)
        if packets and self.lost is not None:
            self.lost(packets, now)

    def _take(self, entry: Neighbor) -> list[Pending]:
        packets = list(entry.queue)
        entry.queue.clear()
        self.waiting_bytes -= entry.queue_bytes
        entry.queue_bytes = 0
        return packets

    def _set_mac(self, entry: Neighbor, mac: bytes) -> None:
        entry.mac = mac
        entry.header = mac + self.suffix

    def _become(self, entry: Neighbor, state: int, now: int) -> None:
        entry.state = state
        entry.probes = 0
        entry.fresh_until = now + self.reachable if state == REACHABLE else 0
        self.scheduler.cancel(entry)

    def _release(self, entry: Neighbor, now: int) -> None:
        packets = self._take(entry)
        if packets and self.release is not None:
            header = self.header(entry, now)  # a stale one starts its delay with these packets
            self.release(header, packets, now)
