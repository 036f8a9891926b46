# SPDX-License-Identifier: Apache-2.0
"""``capas ip``: addresses, links, routes and neighbours of a running host, as iproute2 has them."""

import sys
from typing import Any, Final

import click

from capas.cli.control import ask
from capas.cli.options import on_option, print_json, reports_errors
from capas.host.status import FOREVER

Row = dict[str, Any]

#: What can be shown, by every word it goes by; a beginning is enough, the first that fits counts.
_OBJECTS: Final = (
    ("address", "addresses"), ("link", "links"), ("route", "routes"), ("neighbour", "neighbours"),
    ("neighbor", "neighbours"),
)  # fmt: skip
_VERBS: Final = ("show", "list", "ls", "lst")
#: In the order of iproute2.
_ADDRESS_FLAGS: Final = ("temporary", "deprecated", "tentative", "dynamic", "mngtmpaddr")
_FAMILIES: Final = {"inet": 4, "inet6": 6}


@click.command(
    epilog="OBJECT is address, link, route or neighbour, or the beginning of one: capas ip a;"
    " capas ip -6 r; capas ip -s link show dev tap0."
)
@click.argument("words", nargs=-1, required=True, metavar="OBJECT [show] [dev NAME]")
@click.option("-4", "v4", is_flag=True, help="IPv4 only.")
@click.option("-6", "v6", is_flag=True, help="IPv6 only.")
@click.option("-br", "-brief", "brief", is_flag=True, help="A line for each.")
@click.option("-s", "-statistics", "statistics", is_flag=True, help="Bytes and packets of links.")
@click.option("-j", "--json", "as_json", is_flag=True, help="JSON for programs, as iproute2's.")
@on_option
@reports_errors
def command(
    words: tuple[str, ...],
    v4: bool,
    v6: bool,
    brief: bool,
    statistics: bool,
    as_json: bool,
    on: str | None,
) -> int:
    """Show what a host that runs by `capas up` knows; nothing can be changed."""
    want, device = _parse(words)
    rows = [row for row in ask(on, want) if device in (None, row.get("ifname"), row.get("dev"))]
    family = 0 if v4 == v6 else 4 if v4 else 6
    if device is not None and not rows and want in ("links", "addresses"):
        raise click.UsageError(f'Device "{device}" does not exist.')
    if want == "addresses":
        rows = [{**row, "addr_info": _of_family(row["addr_info"], family)} for row in rows]
    elif want == "routes":
        rows = _of_family(rows, family or 4)  # as ip does
    elif want == "neighbours" and family:
        rows = [row for row in rows if (":" in row["dst"]) == (family == 6)]
    if as_json:
        print_json(rows)
        return 0
    show = {"addresses": _addresses, "links": _links, "routes": _routes, "neighbours": _neighbours}
    for line in show[want](rows, brief, statistics):
        sys.stdout.write(line + "\n")
    return 0


def _of_family(rows: list[Row], family: int) -> list[Row]:
    return [row for row in rows if family in (0, _FAMILIES[row["family"]])]


def _parse(words: tuple[str, ...]) -> tuple[str, str | None]:
    """(table, device) of the words after the options."""
    found = [table for name, table in _OBJECTS if name.startswith(words[0])]
    if not found:
        raise click.UsageError(f'Object "{words[0]}" is unknown: address, link, route, neighbour')
    rest = list(words[1:])
    if rest and rest[0] != "dev":
        verb = rest.pop(0)
        if not any(known.startswith(verb) for known in _VERBS):
            raise click.UsageError(f"{verb!r}: a running host can be looked at only: show")
    if rest[:1] == ["dev"]:
        rest = rest[1:]
    if len(rest) > 1:
        raise click.UsageError(f"{' '.join(rest)!r}: one device at most")
    return found[0], rest[0] if rest else None


def _head(row: Row) -> list[str]:
    flags = ",".join(row["flags"])
    lines = [
        f"{row['ifindex']}: {row['ifname']}: <{flags}> mtu {row['mtu']} state {row['operstate']}"
    ]
    link = f"    link/{row['link_type']}"
    lines.append(f"{link} {row['address']} brd ff:ff:ff:ff:ff:ff" if "address" in row else link)
    return lines


def _links(rows: list[Row], brief: bool, statistics: bool) -> list[str]:
    lines = []
    for row in rows:
        if brief:
            flags = ",".join(row["flags"])
            mac = row.get("address", "")
            lines.append(f"{row['ifname']:<16} {row['operstate']:<14} {mac} <{flags}>")
            continue
        lines += _head(row)
        if statistics:
            for way in ("rx", "tx"):
                counted = row["stats64"][way]
                lines.append(f"    {way.upper() + ':':<5}{'bytes':>12}{'packets':>12}")
                lines.append(f"         {counted['bytes']:>12}{counted['packets']:>12}")
    return lines


def _addresses(rows: list[Row], brief: bool, statistics: bool) -> list[str]:
    lines = []
    for row in rows:
        if brief:
            own = " ".join(f"{one['local']}/{one['prefixlen']}" for one in row["addr_info"])
            lines.append(f"{row['ifname']:<16} {row['operstate']:<14} {own}".rstrip())
            continue
        lines += _head(row)
        for one in row["addr_info"]:
            words = [f"    {one['family']} {one['local']}/{one['prefixlen']} scope {one['scope']}"]
            words += [flag for flag in _ADDRESS_FLAGS if one.get(flag)]
            lines.append(
                " ".join(words) + ("" if one["family"] == "inet6" else f" {row['ifname']}")
            )
            valid, preferred = one["valid_life_time"], one["preferred_life_time"]
            lines.append(f"       valid_lft {_span(valid)} preferred_lft {_span(preferred)}")
    return lines


def _span(seconds: int) -> str:
    return "forever" if seconds == FOREVER else f"{seconds}sec"


def _routes(rows: list[Row], brief: bool, statistics: bool) -> list[str]:
    lines = []
    for row in rows:
        words = [row["dst"]]
        if "gateway" in row:
            words += ["via", row["gateway"]]
        words += ["dev", row["dev"], "proto", row["protocol"]]
        if "gateway" not in row and row["family"] == "inet":
            words += ["scope", "link"]
        for key, word in (("prefsrc", "src"), ("metric", "metric"), ("mtu", "mtu")):
            if key in row:
                words += [word, str(row[key])]
        lines.append(" ".join(words))
    return lines


def _neighbours(rows: list[Row], brief: bool, statistics: bool) -> list[str]:
    lines = []
    for row in rows:
        words = [row["dst"], "dev", row["dev"]]
        if "lladdr" in row:
            words += ["lladdr", row["lladdr"]]
        if "router" in row:
            words.append("router")
        lines.append(" ".join([*words, *row["state"]]))
    return lines
