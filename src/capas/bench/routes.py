# SPDX-License-Identifier: Apache-2.0
"""``capas bench routes``: a table of the Internet's size, beside what else holds one in Python.

Rivals: one ``dict`` for each prefix length, written by hand (it knows one next hop for a prefix and
nothing of metrics, interfaces or their state), and py-radix and pytricia, tries in C.  All are
asked with 4 packed bytes.  Run as ``python -m capas.bench.routes RIVAL COUNT``.
"""

import random
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final

from capas.base.clock import Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.rng import Rng
from capas.bench.probe import installed, probe, resident
from capas.bench.report import Report, Row, interleaved
from capas.internet.route import Route, RouteTable
from capas.link.interface import Interface
from capas.link.link import Loopback
from capas.wire.address import Prefix

#: Prefix lengths of today's IPv4 table, per mille (public route collectors, 2025).
LENGTHS: Final = {
    8: 1, 9: 1, 10: 1, 11: 1, 12: 1, 13: 1, 14: 1, 15: 2, 16: 13, 17: 8, 18: 14, 19: 25,
    20: 45, 21: 53, 22: 112, 23: 104, 24: 617,
}  # fmt: skip

Prefixes = list[tuple[int, int]]
Lookup = Callable[[bytes], Any]


def prefixes(count: int, seed: int = 1) -> Prefixes:
    """``count`` different (network, length) with the lengths of `LENGTHS`; short ones run out."""
    rng = random.Random(seed)
    lengths, weights = list(LENGTHS), list(LENGTHS.values())
    found: dict[tuple[int, int], None] = {}
    while len(found) < count:
        length = rng.choices(lengths, weights)[0]
        network = rng.randrange(1 << 24, 224 << 24) >> (32 - length) << (32 - length)
        found[network, length] = None
    return list(found)


_GATEWAYS: Final = [bytes((192, 0, 2, n)) for n in range(1, 65)]


def _capas(wanted: Prefixes) -> Lookup:
    interface = Interface(
        "lo", 1, bytes(6), Loopback(), HostConfig(), Counters(), Scheduler(), Rng(1)
    )
    table = RouteTable()
    for n, (network, length) in enumerate(wanted):
        prefix = Prefix(network.to_bytes(4, "big"), length)
        table.add(Route(prefix, interface, _GATEWAYS[n & 63]))
    return table.lookup


def _dicts(wanted: Prefixes) -> Lookup:
    tables: dict[int, dict[int, bytes]] = {}
    for n, (network, length) in enumerate(wanted):
        tables.setdefault(32 - length, {})[network >> (32 - length)] = _GATEWAYS[n & 63]
    levels = sorted(tables.items())

    def lookup(address: bytes) -> bytes | None:
        value = int.from_bytes(address, "big")
        for shift, table in levels:
            gateway = table.get(value >> shift)
            if gateway is not None:
                return gateway
        return None

    return lookup


def _radix(wanted: Prefixes) -> Lookup:
    table = import_module("radix").Radix()
    for n, (network, length) in enumerate(wanted):
        table.add(packed=network.to_bytes(4, "big"), masklen=length).data["via"] = _GATEWAYS[n & 63]
    search = table.search_best
    return lambda address: search(packed=address)


def _pytricia(wanted: Prefixes) -> Lookup:
    table = import_module("pytricia").PyTricia(32)
    for n, (network, length) in enumerate(wanted):
        table.insert(network.to_bytes(4, "big"), length, _GATEWAYS[n & 63])
    lookup: Lookup = table.get
    return lookup


_BUILD: Final[dict[str, Callable[[Prefixes], Lookup]]] = {
    "capas": _capas,
    "dicts": _dicts,
    "py-radix": _radix,
    "pytricia": _pytricia,
}


def table(rival: str, count: int) -> list[float]:
    """(bytes, lookups per second, seconds to build) of a table of ``count`` prefixes."""
    wanted = prefixes(count)
    before = resident()
    start = time.perf_counter()
    lookup = _BUILD[rival](wanted)
    built = time.perf_counter() - start
    memory = resident() - before
    rng = random.Random(2)
    targets = [
        (network | rng.getrandbits(32 - length)).to_bytes(4, "big")
        for network, length in rng.sample(wanted, min(count, 200_000))
    ]
    assert all(lookup(target) is not None for target in targets[:1000])
    start = time.perf_counter()
    for target in targets:
        lookup(target)
    spent = time.perf_counter() - start
    return [float(memory), len(targets) / spent, built]


def measure(runs: int, quick: bool, progress: Callable[[str], None]) -> Report:
    """A million prefixes."""
    count = 100_000 if quick else 1_000_000
    report = Report("routes", f"Routing table of {count:,} prefixes", "dicts")
    measures = {
        who: partial(probe, "capas.bench.routes", who, str(count))
        for who in ("capas", "dicts", *installed(["py-radix", "pytricia"], report.notes))
    }
    found = interleaved(runs, measures, progress)
    for column, name, unit, key, scale, more in (
        (1, "lookups", "/s", "lookups", 1.0, True),
        (0, "memory", "MB", "memory", 1e-6, False),
        (2, "building it", "s", "build", 1.0, False),
    ):
        samples = {who: [one[column] for one in all] for who, all in found.items()}
        row = Row(name, unit, samples.pop("capas"), samples, key, scale, more)
        report.rows.append(row)
    report.notes += [
        "IPv4 prefix lengths as in today's Internet table, by seed; addresses that are in it.",
        "dicts: one for each prefix length, by hand: a next hop, no metrics, no interfaces.",
    ]
    return report


def main(words: list[str]) -> int:
    """RIVAL COUNT."""
    numbers = table(words[0], int(words[1]))
    sys.stdout.write(" ".join(str(number) for number in numbers) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
