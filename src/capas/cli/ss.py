# SPDX-License-Identifier: Apache-2.0
"""``capas ss``: the sockets of a running host; output as ss's."""

from typing import Any

import click

from capas.cli.control import ask
from capas.cli.options import json_option, on_option, print_json, reports_errors


@click.command(epilog="Example: capas ss -tai")
@click.option("-t", "--tcp", is_flag=True, help="TCP sockets.")
@click.option("-u", "--udp", is_flag=True, help="UDP sockets.")
@click.option("-a", "--all", "everything", is_flag=True, help="Listening ones too.")
@click.option("-l", "--listening", is_flag=True, help="Listening ones only.")
@click.option("-n", "--numeric", is_flag=True, help="Numbers instead of names: always so.")
@click.option("-i", "--info", is_flag=True, help="Also what each connection knows of its path.")
@click.option("-4", "v4", is_flag=True, help="IPv4 only.")
@click.option("-6", "v6", is_flag=True, help="IPv6 only.")
@click.option("-H", "--no-header", is_flag=True, help="No line of headings.")
@on_option
@json_option
@reports_errors
def command(
    tcp: bool,
    udp: bool,
    everything: bool,
    listening: bool,
    numeric: bool,
    info: bool,
    v4: bool,
    v6: bool,
    no_header: bool,
    on: str | None,
    as_json: bool,
) -> int:
    """Show the sockets of a host that runs by `capas up`: those with a peer unless told."""
    rows = [
        row
        for row in ask(on, "sockets")
        if (tcp == udp or row["netid"] == ("tcp" if tcp else "udp"))
        and (v4 == v6 or (":" in row["local"]) == v6)
        and (everything or (row["state"] in ("LISTEN", "UNCONN")) == listening)
    ]
    if as_json:
        print_json({"ok": True, "sockets": rows})
        return 0
    for line in lines(rows, netid=tcp == udp, info=info, header=not no_header):
        click.echo(line)
    return 0


def lines(rows: list[dict[str, Any]], *, netid: bool, info: bool, header: bool) -> list[str]:
    """The table."""
    cells = [
        [
            *([row["netid"]] if netid else []), row["state"],
            str(row["recv_q"]), str(row["send_q"]),
            _end(row["local"], row["local_port"]), _end(row["peer"], row["peer_port"]),
        ]
        for row in rows
    ]  # fmt: skip
    heading = [
        *(["Netid"] if netid else []),
        "State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port",
    ]  # fmt: skip
    table = [heading, *cells] if header else cells
    widths = [max((len(line[i]) for line in table), default=0) for i in range(len(heading))]
    found = []
    for number, line in enumerate(table):
        padded = [
            cell.rjust(width) if heading[i].endswith(":Port") and i == len(heading) - 2
            else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]  # fmt: skip
        found.append(" ".join(padded).rstrip())
        row = rows[number - header] if number >= header else None
        if info and row is not None and "info" in row:
            found.append("\t " + _info(row["info"]))
    return found


def _end(address: str, port: int) -> str:
    return f"{f'[{address}]' if ':' in address else address}:{port or '*'}"


def _info(told: dict[str, Any]) -> str:
    """One line in the words of ``ss -i``."""
    words = [*told["options"], told["congestion"]]
    words.append("wscale:{},{}".format(*told["wscale"]))
    words.append(f"rto:{told['rto']:.0f}")
    words.append(f"rtt:{told['rtt']:.3g}/{told['rttvar']:.3g}")
    words += [f"{name}:{told[name]}" for name in ("mss", "pmtu", "cwnd")]
    if "ssthresh" in told:
        words.append(f"ssthresh:{told['ssthresh']}")
    for name in ("bytes_acked", "bytes_retrans", "bytes_received", "unacked", "lost", "sacked"):
        if told[name]:
            words.append(f"{name}:{told[name]}")
    words += [f"lastsnd:{told['lastsnd']}", f"lastrcv:{told['lastrcv']}"]
    for name in ("pacing_rate", "delivery_rate"):
        if told[name]:
            words.append(f"{name} {told[name]}bps")
    words.append(f"rcv_space:{told['rcv_space']} minrtt:{told['minrtt']:.3g}")
    return " ".join(words)
