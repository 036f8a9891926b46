# SPDX-License-Identifier: Apache-2.0
"""``capas bench routes`` and ``capas bench memory``: large tables, and what they weigh.

Run as ``python -m capas.cli.bench_tables routes|memory|world N``: a process of its own, so that
its memory is that of what it built.
"""

import gc
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

from capas.base.checksum import checksum
from capas.base.clock import Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import CSUM_VALID, Frame
from capas.base.rng import Rng
from capas.cli.bench_report import Report, Row, interleaved
from capas.errors import CapasError
from capas.host.host import Host
from capas.internet.route import Route, RouteTable
from capas.link.interface import Interface
from capas.link.link import ALL_GSO, Link, LinkCaps, Loopback, Medium
from capas.transport.ports import Binding
from capas.wire.address import ANY4, Prefix
from capas.wire.tcp import ACK, SYN, pack_header

#: Prefix lengths of today's IPv4 table, per mille (public route collectors, 2025).
LENGTHS: Final = {
    8: 1, 9: 1, 10: 1, 11: 1, 12: 1, 13: 1, 14: 1, 15: 2, 16: 13, 17: 8, 18: 14, 19: 25,
    20: 45, 21: 53, 22: 112, 23: 104, 24: 617,
}  # fmt: skip


def prefixes(count: int, seed: int = 1) -> list[tuple[int, int]]:
    """``count`` different (network, length) with the lengths of `LENGTHS`; short ones run out."""
    rng = random.Random(seed)
    lengths, weights = list(LENGTHS), list(LENGTHS.values())
    found: dict[tuple[int, int], None] = {}
    while len(found) < count:
        length = rng.choices(lengths, weights)[0]
        network = rng.randrange(1 << 24, 224 << 24) >> (32 - length) << (32 - length)
        found[network, length] = None
    return list(found)


def _resident() -> int:
    """Bytes of memory this process holds now."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def routes(count: int) -> list[float]:
    """(bytes, lookups per second, seconds to build) of a table of ``count`` prefixes."""
    interface = Interface(
        "lo", 1, bytes(6), Loopback(), HostConfig(), Counters(), Scheduler(), Rng(1)
    )
    wanted = prefixes(count)
    gateways = [bytes((192, 0, 2, n)) for n in range(1, 65)]
    before = _resident()
    start = time.perf_counter()
    table = RouteTable()
    for n, (network, length) in enumerate(wanted):
        prefix = Prefix(network.to_bytes(4, "big"), length)
        table.add(Route(prefix, interface, gateways[n & 63]))
    built = time.perf_counter() - start
    memory = _resident() - before
    rng = random.Random(2)
    targets = [
        (network | rng.getrandbits(32 - length)).to_bytes(4, "big")
        for network, length in rng.sample(wanted, min(count, 200_000))
    ]
    lookup = table.lookup
    start = time.perf_counter()
    for target in targets:
        lookup(target)
    spent = time.perf_counter() - start
    return [float(memory), len(targets) / spent, built]


class _Cable(Link):
    """A cable whose other end is `_Peer`."""

    def __init__(self) -> None:
        self.caps = LinkCaps(1500, Medium.IP, True, ALL_GSO)
        self.sink = None
        self.out: list[Frame] = []

    def transmit(self, frame: Frame) -> bool:
        self.out.append(frame)
        return True


_SYN_OPTIONS: Final = bytes.fromhex("020405b40402080a000000010000000001030307")
_ACK_OPTIONS: Final = bytes.fromhex("0101080a00000002") + bytes(4)


def _segment(source: bytes, port: int, seq: int, ack: int, flags: int, options: bytes) -> Frame:
    """A packet of a peer that does nothing but shake hands; its checksum counts as verified."""
    tcp = pack_header(port, 80, seq, ack, (20 + len(options)) << 10 | flags, 65535, 0, 0) + options
    head = bytes((0x45, 0, 0, 20 + len(tcp), 0, 0, 0x40, 0, 64, 6))
    total = checksum(head + bytes(2) + source + _SERVER)
    return Frame(head + total.to_bytes(2, "big") + source + _SERVER + tcp, 0, CSUM_VALID)


_SERVER: Final = bytes((10, 0, 0, 1))


def memory(count: int) -> list[float]:
    """(bytes, seconds) of ``count`` established idle connections on the accepting host."""
    config = HostConfig(dad_transmits=0, tcp_syncookies=0, tcp_somaxconn=1 << 20)
    config.tcp_max_syn_backlog = 1 << 20
    server = Host("server", config, Rng(1))
    cable = _Cable()
    sink = server.attach(cable, addresses=("10.0.0.1/8",))
    listener = server.tcp.listen(server.tcp.bindings.bind(Binding(ANY4, 80)), 1 << 20, 0)
    now = 1_000_000_000
    held = []
    start = time.perf_counter()
    before = _resident()
    for n in range(count):
        source, port = bytes((10, 1 + n // 50_000, 0, 1)), 1025 + n % 50_000
        now += 1_000_000
        sink.receive(_segment(source, port, 0, 0, SYN, _SYN_OPTIONS), now)
        server.flush(now)
        answer = cable.out[-1].data
        ack = (int.from_bytes(answer[24:28], "big") + 1) & 0xFFFFFFFF
        sink.receive(_segment(source, port, 1, ack, ACK, _ACK_OPTIONS), now)
        server.advance(now)
        server.flush(now)
        server.take_ready()
        cable.out.clear()
        connection = listener.accept(now)
        if connection is None:
            raise CapasError(f"connection {n} was not accepted")
        held.append(connection)
    return [float(_resident() - before), time.perf_counter() - start]


def world(count: int) -> list[float]:
    """(bytes, seconds to build and start) of a world of ``count`` hosts, ten to a switch."""
    from capas.sim.world import World

    before = _resident()
    start = time.perf_counter()
    found = World(1, config=HostConfig(dad_transmits=0))
    root = found.router("root")
    for n in range(count // 100):
        leaf = found.router(f"r{n}")
        found.link(root, leaf, rate="10Gbit", delay="1ms")
        for m in range(100):
            found.link(found.host(f"h{n}.{m}"), leaf, rate="1Gbit", delay="1ms")
    found.prepare()
    return [float(_resident() - before), time.perf_counter() - start]


_PROBES: Final[dict[str, Callable[[int], list[float]]]] = {
    "routes": routes,
    "memory": memory,
    "world": world,
}


def probe(name: str, count: int) -> list[float]:
    """One of the functions above in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "capas.cli.bench_tables", name, str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise CapasError(f"{name} of {count} failed: {last[0]}")
    return [float(word) for word in done.stdout.split()]


def measure_routes(runs: int, quick: bool, progress: Callable[[str], None]) -> Report:
    """A million prefixes."""
    count = 100_000 if quick else 1_000_000
    found: list[list[float]] = []

    def once() -> float:
        found.append(probe("routes", count))
        return found[-1][1]

    interleaved(runs, [once], progress)
    report = Report("routes", f"Routing table of {count:,} prefixes", "")
    report.rows += [
        Row("lookups", "/s", [one[1] for one in found], key="lookups"),
        Row("memory", "MB", [one[0] for one in found], key="memory", scale=1e-6, more=False),
        Row("building it", "s", [one[2] for one in found], key="build", more=False),
    ]
    report.notes.append("IPv4 prefix lengths as in today's Internet table, by seed.")
    return report


def measure_memory(runs: int, quick: bool, progress: Callable[[str], None]) -> Report:
    """100,000 idle connections, 10,000 hosts."""
    connections, hosts = (10_000, 1_000) if quick else (100_000, 10_000)
    idle: list[list[float]] = []
    worlds: list[list[float]] = []

    def connect() -> float:
        idle.append(probe("memory", connections))
        return idle[-1][0]

    def build() -> float:
        worlds.append(probe("world", hosts))
        return worlds[-1][0]

    interleaved(runs, [connect, build], progress)
    report = Report("memory", "Memory", "")
    report.rows += [
        Row(
            f"{connections:,} established idle connections",
            "MB",
            [one[0] for one in idle],
            key="connections",
            scale=1e-6,
            more=False,
        ),
        Row(
            "one connection",
            "bytes",
            [one[0] / connections for one in idle],
            key="connection",
            more=False,
        ),
        Row(
            f"a world of {hosts:,} hosts",
            "MB",
            [one[0] for one in worlds],
            key="world",
            scale=1e-6,
            more=False,
        ),
        Row("building that world", "s", [one[1] for one in worlds], key="build", more=False),
    ]
    report.notes.append("Resident memory of a process of its own, less what it held before.")
    return report


def main(words: list[str]) -> int:
    """PROBE COUNT."""
    sys.stdout.write(" ".join(str(value) for value in _PROBES[words[0]](int(words[1]))) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
