# SPDX-License-Identifier: Apache-2.0
"""``capas demo``: an internet comes up in this process, is used, and gives its account."""

import time
from typing import Any, Final

import click

from capas.cli.options import PROBABILITY, RATE, TIME, json_option, print_json, reports_errors

_PICTURE: Final = (
    "  client ═══ {slow} ═══ r1 ─── r2 ─── lan ─┬─ web    http 80",
    "             {pad}                        ├─ mail   smtp 25",
    "             {pad}                        └─ dns    domain 53",
)

_STEPS: Final = {
    "resolve": "names over DNS",
    "fetch": "a page by httpx",
    "send": "a mail by aiosmtplib",
    "ping": "ping",
    "trace": "traceroute",
}


@click.command(
    epilog="Examples: capas demo; capas demo --loss 10% --seed 3 --pcap demo.pcapng;"
    " capas demo --json | python -m json.tool"
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="Of all chance.")
@click.option(
    "--loss",
    type=PROBABILITY,
    default="0.01",
    show_default=True,
    metavar="P",
    help="Of each packet on the client's link: 0.02 or 2%.",
)
@click.option(
    "--delay",
    type=TIME,
    default="20ms",
    show_default=True,
    metavar="D",
    help="One way, of the client's link: seconds, or text such as 100ms.",
)
@click.option(
    "--rate",
    type=RATE,
    default="10Mbit",
    show_default=True,
    metavar="R",
    help="Of the client's link, such as 2Mbit.",
)
@click.option("--pcap", metavar="FILE", help="Write what passed the client's port (pcapng).")
@click.option(
    "--every-port",
    is_flag=True,
    help="With --pcap: all ports of the world; readers then meet each packet at every hop.",
)
@json_option
@reports_errors
def command(
    seed: int,
    loss: str,
    delay: str,
    rate: str,
    pcap: str | None,
    every_port: bool,
    as_json: bool,
) -> int:
    """Bring an internet up in virtual time, use it, and tell what happened in each layer.

    A client behind a slow, lossy link, two routers, and a web, a mail and a DNS server, all
    speaking real TCP/IP.  The client resolves names over DNS, fetches 1 MiB with an unmodified
    httpx, sends a mail of 200 KiB with an unmodified aiosmtplib, pings and traces the route.
    The same seed gives the same run, frame by frame.
    """
    started = time.perf_counter()
    from capas.cli.demo_world import Story

    options: dict[str, Any] = {
        "seed": seed,
        "loss": _quantity(loss),
        "delay": _quantity(delay),
        "rate": _quantity(rate),
        "pcap": pcap,
        "every_port": every_port,
    }
    if as_json:
        story = Story(**options)
        with story.world:
            story.run()
            report = finish(story, started)
        print_json(report)
        return 0 if report["ok"] else 1

    from rich.markup import escape

    from capas.cli.render import console, mark

    out = console()
    slow = f"{rate}/s, {delay}, {_percent(loss)} loss"
    out.print("\n[bold]An internet in this process[/]\n")
    for line in _PICTURE:
        out.print(line.format(slow=slow, pad=" " * len(slow)), style="cyan")
    out.print()

    def told(step: str, ok: bool, line: str) -> None:
        out.print(f"  {mark(ok)} [bold]{_STEPS[step]:<20}[/] {escape(line)}")

    story = Story(**options, told=told)
    with story.world:
        story.run()
        report = finish(story, started)
        tell(out, story, report)
    kept = f"the frames are in {pcap}" if pcap else "--pcap FILE keeps the frames"
    out.print(f"  The same again: --seed {seed}; {kept}\n", style="dim", markup=False)
    return 0 if report["ok"] else 1


def _quantity(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _percent(text: str) -> str:
    value = _quantity(text)
    return f"{value * 100:g} %" if isinstance(value, float) else str(value)


def finish(story: Any, started: float) -> dict[str, Any]:
    """The report, completed with what the recording shows."""
    from capas.cli.worldview import account_of

    story.account = account_of(story.world, story.recorder)
    totals = story.account.tcp()
    report: dict[str, Any] = story.report
    report["tcp"] = {
        "segments": totals.segments,
        "retransmitted": totals.retransmitted,
        "lost_on_links": totals.lost_on_links,
        "connections": totals.connections,
    }
    report["links"] = {row.name: dict(row.counts) for row in story.account.links}
    report["wall_seconds"] = time.perf_counter() - started
    return report


def tell(out: Any, story: Any, report: dict[str, Any]) -> None:
    """Print the account."""
    from capas.cli import render_account as render

    account = story.account
    render.show(out, render.transport(account))
    hops = [str(row["address"] or "*") for row in report.get("traceroute", ())]
    routes = [("client to web", " → ".join(hops))] if hops else []
    render.show(out, render.internet(account, routes))
    render.show(out, render.network_access(account))
    number = account.main_connection()
    if number is not None:
        render.show(out, render.curves(account.connections[number], out.width))
        render.show(out, render.diagram(account, number, out.width))
    out.print()
    out.print(render.clocks(report["virtual_seconds"], report["wall_seconds"]))
