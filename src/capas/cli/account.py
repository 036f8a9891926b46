# SPDX-License-Identifier: Apache-2.0
"""What happened in a world, by layers, as data: renderers print it, ``--json`` dumps it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from capas.base.clock import NEVER
from capas.cli.flows import Connection, Flows, Loss
from capas.cli.observe import ARP, ICMP, TCP, UDP, Recorder

_FLOODED: Final = "link.not_for_us"


class LinkRow(NamedTuple):
    """One direction of a wire."""

    name: str  # "client>r1"
    description: str  # "10 Mbit/s, 20 ms, 1 % loss"
    counts: Mapping[str, int]  # LinkStatistics

    @property
    def lost(self) -> int:
        """Packets that entered and never left, whatever the reason."""
        names = ("lost", "queue_drops", "black_holed", "rule_drops", "undeliverable")
        return sum(self.counts.get(name, 0) for name in names)


class TcpTotals(NamedTuple):
    """Sums over all connections."""

    connections: int
    segments: int  # packets sent by both ends, each retransmission included
    retransmitted: int
    lost_on_links: int  # TCP or not: what the links lost


class Account:
    """A recording, sorted by layers."""

    def __init__(
        self,
        recorder: Recorder,
        links: Sequence[LinkRow],
        counters: Mapping[str, Mapping[str, int]],
    ) -> None:
        owners = recorder.owners()
        self.links = list(links)
        self.counters = counters  # by host
        self.decisions = recorder.decisions
        self.connections: list[Connection] = Flows(recorder.sights, owners).connections
        self.kinds: dict[str, int] = dict.fromkeys((ARP, ICMP, UDP, TCP), 0)
        self.icmp: dict[str, int] = {}
        self.datagrams: dict[tuple[int, bool], int] = {}  # (well-known port, from it) -> count
        for sight in recorder.sights:
            if not sight.outgoing:
                continue
            self.kinds[sight.kind] = self.kinds.get(sight.kind, 0) + sight.packets
            if sight.kind == ICMP and owners.get(sight.src) == sight.host:
                self.icmp[sight.text] = self.icmp.get(sight.text, 0) + 1
            elif sight.kind == UDP and owners.get(sight.src) == sight.host:
                answer = sight.source_port < sight.port
                port = min(sight.source_port, sight.port)
                key = (port, answer)
                self.datagrams[key] = self.datagrams.get(key, 0) + 1
        self.losses: dict[int, list[Loss]] = {
            number: connection.losses(self.decisions)
            for number, connection in enumerate(self.connections)
        }

    @property
    def lost_on_links(self) -> int:
        """Packets that no receiver saw."""
        return sum(link.lost for link in self.links)

    def tcp(self) -> TcpTotals:
        """The sums."""
        halves = [half for c in self.connections for half in (c.up, c.down)]
        return TcpTotals(
            len(self.connections),
            sum(half.packets for half in halves),
            sum(half.retransmitted for half in halves),
            self.lost_on_links,
        )

    def main_connection(self) -> int | None:
        """The number of the connection that carried most; None if there was none."""
        if not self.connections:
            return None
        return max(
            range(len(self.connections)),
            key=lambda n: self.connections[n].up.highest + self.connections[n].down.highest,
        )

    def forwarded(self) -> dict[str, int]:
        """Packets each router passed on."""
        names = ("ip.forwarded", "ipv4.forwarded", "ipv6.forwarded")
        found = {}
        for host, counts in self.counters.items():
            total = sum(counts.get(name, 0) for name in names)
            if total:
                found[host] = total
        return found

    def drops(self) -> dict[str, int]:
        """What hosts dropped, by counter; `flooded` apart."""
        told = {d.event for d in self.decisions if d.text.startswith("dropped")} - {_FLOODED}
        found: dict[str, int] = {}
        for counts in self.counters.values():
            for name, count in counts.items():
                if name in told:
                    found[name] = found.get(name, 0) + count
        return dict(sorted(found.items()))

    def flooded(self) -> int:
        """Frames for somebody else that switches flooded: they do not know everybody."""
        return sum(counts.get(_FLOODED, 0) for counts in self.counters.values())


def reasons(losses: Iterable[Loss]) -> dict[str, int]:
    """How many losses were noticed by what."""
    found: dict[str, int] = {}
    for loss in losses:
        if loss.repaired != NEVER:
            found[loss.how] = found.get(loss.how, 0) + 1
    return found
