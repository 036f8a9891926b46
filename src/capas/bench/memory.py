# SPDX-License-Identifier: Apache-2.0
"""``capas bench memory``: what 100,000 idle connections and 10,000 hosts weigh.

Rivals: the kernel's own connections, each with its share of the kernel's slab and the Python socket
that holds it; for the world, ns-3 if it is installed.  Run as ``python -m capas.bench.memory
connections|kernel|world COUNT``: a process of its own, so that its memory is that of what it built.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from capas.base.checksum import checksum
from capas.base.config import HostConfig
from capas.base.frame import CSUM_VALID, Frame
from capas.base.rng import Rng
from capas.bench import ns3
from capas.bench.calls import Cable
from capas.bench.probe import probe, resident
from capas.bench.report import Report, Row, interleaved
from capas.errors import CapasError
from capas.host.host import Host
from capas.transport.ports import Binding
from capas.wire.address import ANY4
from capas.wire.tcp import ACK, SYN, pack_header

_SYN_OPTIONS: Final = bytes.fromhex("020405b40402080a000000010000000001030307")
_ACK_OPTIONS: Final = bytes.fromhex("0101080a00000002") + bytes(4)


def _segment(source: bytes, port: int, seq: int, ack: int, flags: int, options: bytes) -> Frame:
    """A packet of a peer that does nothing but shake hands; its checksum counts as verified."""
    tcp = pack_header(port, 80, seq, ack, (20 + len(options)) << 10 | flags, 65535, 0, 0) + options
    head = bytes((0x45, 0, 0, 20 + len(tcp), 0, 0, 0x40, 0, 64, 6))
    total = checksum(head + bytes(2) + source + _SERVER)
    return Frame(head + total.to_bytes(2, "big") + source + _SERVER + tcp, 0, CSUM_VALID)


_SERVER: Final = bytes((10, 0, 0, 1))


def connections(count: int) -> list[float]:
    """[seconds, count, bytes] of ``count`` established idle connections on the accepting host."""
    config = HostConfig(dad_transmits=0, tcp_syncookies=0, tcp_somaxconn=1 << 20)
    config.tcp_max_syn_backlog = 1 << 20
    server = Host("server", config, Rng(1))
    cable = Cable(True)
    sink = server.attach(cable, addresses=("10.0.0.1/8",))
    listener = server.tcp.listen(server.tcp.bindings.bind(Binding(ANY4, 80)), 1 << 20, 0)
    now = 1_000_000_000
    held = []
    start = time.perf_counter()
    before = resident()
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
    return [time.perf_counter() - start, float(count), float(resident() - before)]


def kernel(count: int) -> list[float]:
    """[seconds, count, bytes] of one end of ``count`` established idle connections of the kernel.

    Both ends are here: half of the growth of the kernel's slab (which is the whole machine's) and
    of this process.  Fewer connections if the limit of descriptors says so.
    """
    import resource
    import socket

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pairs = min(count, (hard - 64) // 2)
    listener = socket.create_server(("0.0.0.0", 0), backlog=4096)
    port = listener.getsockname()[1]
    held = []
    before, slab = resident(), _slab()
    start = time.perf_counter()
    for n in range(pairs):
        client = socket.create_connection((f"127.0.0.{1 + n // 20_000}", port))
        held.append((client, listener.accept()[0]))
    spent = time.perf_counter() - start
    grown = resident() - before + _slab() - slab
    return [spent / pairs * count, float(count), grown / 2 / pairs * count]


def _slab() -> int:
    """Bytes of the kernel's slab."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Slab:")) * 1024


def world(count: int) -> list[float]:
    """[seconds, count, bytes] of building and starting ``count`` hosts, 50 to a router."""
    from capas.sim.world import World

    before = resident()
    start = time.perf_counter()
    found = World(1, config=HostConfig(dad_transmits=0))
    root = found.router("root")
    for n in range(count // 50):
        leaf = found.router(f"r{n}")
        found.link(root, leaf, rate="10Gbit", delay="1ms")
        for m in range(50):
            found.link(found.host(f"h{n}.{m}"), leaf, rate="1Gbit", delay="1ms")
    found.prepare()
    return [time.perf_counter() - start, float(count), float(resident() - before)]


Column = Callable[[list[float]], float]

_SELF: Final = "capas.bench.memory"
_SECONDS, _BYTES = 0, 2  # of a probe's numbers, in the order of `ns3`
_PROBES: Final[dict[str, Callable[[int], list[float]]]] = {
    "connections": connections,
    "kernel": kernel,
    "world": world,
}


def measure(
    runs: int, quick: bool, simulator: "ns3.Ns3 | None", progress: Callable[[str], None]
) -> Report:
    """100,000 idle connections, 10,000 hosts."""
    count, hosts = (10_000, 1_000) if quick else (100_000, 10_000)
    report = Report("memory", "Memory", "kernel")
    measures: dict[str, Callable[[], list[float]]] = {
        "connections": partial(probe, _SELF, "connections", str(count)),
        "world": partial(probe, _SELF, "world", str(hosts)),
    }
    if sys.platform.startswith("linux"):
        measures["kernel"] = partial(probe, _SELF, "kernel", str(count))
    if simulator is not None:
        measures["ns-3"] = partial(simulator.run, "World", quick)
    found = interleaved(runs, measures, progress)

    def row(name: str, unit: str, key: str, ours: str, other: str, of: Column) -> None:
        others = {other: list(map(of, found[other]))} if other in found else {}
        report.rows.append(Row(name, unit, list(map(of, found[ours])), others, key, more=False))

    idle = f"{count:,} established idle connections"

    def megabytes(one: list[float]) -> float:
        return one[_BYTES] / 1e6

    def each(one: list[float]) -> float:
        return one[_BYTES] / count

    row(idle, "MB", "connections", "connections", "kernel", megabytes)
    row("one connection", "bytes", "connection", "connections", "kernel", each)
    row(f"a world of {hosts:,} hosts", "MB", "world", "world", "ns-3", megabytes)
    row("building that world", "s", "build", "world", "ns-3", lambda one: one[_SECONDS])
    report.notes += [
        "Resident memory of a process of its own, less what it held before; the kernel's: half the"
        " growth of its slab and of the Python process that holds both ends.",
        "The hosts: 50 to a leaf router, all leaf routers at one root.",
    ]
    ns3.note(simulator, report.notes)
    return report


def main(words: list[str]) -> int:
    """PROBE COUNT."""
    numbers = _PROBES[words[0]](int(words[1]))
    sys.stdout.write(" ".join(str(number) for number in numbers) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
