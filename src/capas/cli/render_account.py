# SPDX-License-Identifier: Apache-2.0
"""The account of a world for people: four layers from the top down, then plots and a diagram."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from capas.application.services import WELL_KNOWN
from capas.base.clock import NEVER, SECOND
from capas.cli.account import Account, reasons
from capas.cli.flows import Connection, Loss, series
from capas.cli.observe import ARP, ICMP
from capas.cli.render import duration, many, plain, size
from capas.cli.render_plot import plot
from capas.cli.render_sequence import Arrow, arrows, choose, draw

_MOST_LOSSES = 10  # rows


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    style = box.ASCII2 if plain() else box.SIMPLE_HEAD
    table = Table(box=style, pad_edge=False, show_edge=False, padding=(0, 1, 0, 1))
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, justify=justify, no_wrap=column != "settings")
    return table


def heading(title: str, detail: str = "") -> Text:
    """A line that begins a part."""
    line = Text(f"\n{title}", style="bold")
    if detail:
        line.append(f"  {detail}", style="dim")
    return line


def network_access(account: Account) -> Iterator[RenderableType]:
    """Links: what entered and what did not leave."""
    yield heading("Network access", "links, each direction its own")
    columns = ("link", "settings", "packets", "bytes", "lost", "in queues")
    table = _table(*columns, right=columns[2:])
    for link in account.links:
        counts = link.counts
        lost = Text(str(link.lost), style="bold red" if link.lost else "")
        table.add_row(
            link.name.replace(">", " → "),
            link.description,
            f"{counts['packets']:,}",
            size(counts["bytes"]),
            lost,
            str(counts["queue_drops"] or ""),
        )
    yield table
    arp = account.kinds.get(ARP, 0)
    discovered = account.icmp.get("neighbour solicitation", 0)
    line = f"  {many(arp, 'ARP message')}, {many(discovered, 'neighbour solicitation')}"
    if flooded := account.flooded():
        line += f"; switches flooded {many(flooded, 'frame')} to hosts they were not for"
    yield Text(line)


def internet(account: Account, routes: Sequence[tuple[str, str]]) -> Iterator[RenderableType]:
    """Routes taken, packets forwarded, ICMP."""
    yield heading("Internet", "routes taken, packets passed on, ICMP")
    for name, way in routes:
        yield Text(f"  {name}: {way}")
    for router, count in account.forwarded().items():
        yield Text(f"  {router} passed on {many(count, 'packet')}")
    icmp = ", ".join(f"{count} {name}" for name, count in account.icmp.items())
    if account.kinds.get(ICMP, 0):
        yield Text(f"  ICMP: {icmp}")
    for name, count in account.drops().items():
        yield Text(f"  dropped: {count} × {name}", style="yellow")


def transport(account: Account) -> Iterator[RenderableType]:
    """Connections, handshakes, losses and repairs."""
    yield heading("Transport", "connections, handshakes, losses and how each was repaired")
    columns = ("connection", "handshake", "payload", "packets", "again", "lost", "lasted")
    table = _table(*columns, right=columns[1:])
    for number, connection in enumerate(account.connections):
        halves = (connection.up, connection.down)
        again = sum(half.retransmitted for half in halves)
        lost = len(account.losses[number])
        table.add_row(
            _title(connection),
            _handshake(connection),
            size(max(0, sum(half.highest for half in halves) - 4)),
            f"{sum(half.packets for half in halves):,}",
            str(again or ""),
            Text(str(lost or ""), style="bold red" if lost else ""),
            duration(connection.ended - connection.started),
        )
    yield table
    for host, options in _options(account):
        yield Text(f"  {host} offered {options}", style="dim")
    datagrams = [
        f"{count} {WELL_KNOWN.name(port, 'udp') or port} {'answers' if answer else 'questions'}"
        for (port, answer), count in sorted(account.datagrams.items())
    ]
    if datagrams:
        yield Text(f"  UDP: {', '.join(datagrams)}")
    yield from losses(account)


def _title(connection: Connection) -> str:
    client, server = connection.up.sender, connection.down.sender or "?"
    return f"{client} → {server} {WELL_KNOWN.label(connection.key[3])}"


def _handshake(connection: Connection) -> str:
    if connection.established == NEVER:
        return "refused" if connection.reset else "no answer"
    return duration(connection.established - connection.started)


def _options(account: Account) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for connection in account.connections:
        for host, texts in connection.options.items():
            found.setdefault(host, ", ".join(texts))
    return list(found.items())


def losses(account: Account) -> Iterator[RenderableType]:
    """One row for each lost segment, the first dozen of them."""
    rows: list[tuple[Connection, Loss]] = [
        (connection, loss)
        for number, connection in enumerate(account.connections)
        for loss in account.losses[number]
    ]
    other = account.lost_on_links - len(rows)
    if rows:
        columns = ("lost at", "from", "bytes of the stream", "sent again", "because of")
        table = _table(*columns, right=("lost at", "sent again"))
        for _, loss in rows[:_MOST_LOSSES]:
            fixed = loss.repaired != NEVER
            table.add_row(
                f"{loss.time / SECOND:.3f} s",
                loss.sender,
                f"{loss.seq:,}…{loss.seq + loss.length:,}" if loss.seq else "SYN",
                f"after {duration(loss.repaired - loss.time)}" if fixed else "never",
                escape(loss.how),
            )
        yield table
        if len(rows) > _MOST_LOSSES:
            yield Text(f"  … and {len(rows) - _MOST_LOSSES} more", style="dim")
        told = ", ".join(
            f"{count} by {how}" for how, count in reasons(loss for _, loss in rows).items()
        )
        yield Text(f"  {many(len(rows), 'segment')} lost, repaired: {told or 'none'}")
    if other > 0:
        yield Text(
            f"  {many(other, 'other packet')} lost (acknowledgements, datagrams): the next"
            " acknowledgement, or asking again, made good for them"
        )
    if not rows and other <= 0:
        yield Text("  nothing was lost on any link", style="green")


def curves(connection: Connection, width: int) -> Iterator[RenderableType]:
    """Round trip and bytes in flight over time, of the direction that carried more."""
    half = max((connection.up, connection.down), key=lambda one: one.highest)
    measured = series(connection, half)
    if len(measured.rtt) < 2 or len(measured.in_flight) < 2:
        return
    start = connection.started
    ascii_only = plain()
    for title, points, show in (
        ("round trip", measured.rtt, duration),
        ("in flight", measured.in_flight, size),
    ):
        yield heading(f"{title} over time", f"{half.sender}'s side of {_title(connection)}")
        lines = plot(
            [((time - start) / SECOND, float(value)) for time, value in points],
            width=min(width - 16, 80),
            x=lambda x: f"{x:.2f} s",
            y=show,
            plain=ascii_only,
        )
        yield Text("\n".join("  " + line for line in lines), style="cyan")


def diagram(account: Account, number: int, width: int, limit: int = 26) -> Iterator[RenderableType]:
    """The interesting part of one connection: its beginning, its first loss, its end."""
    connection = account.connections[number]
    lost = account.losses[number]
    found: list[Arrow] = arrows(connection, [(loss.time, loss.seq) for loss in lost])
    around = lost[0].time if lost else None
    detail = "its beginning, its first loss, its end" if lost else "its beginning and its end"
    yield heading(f"sequence of {_title(connection)}", detail)
    styles = {"lost": "bold red", "again": "yellow", "dim": "dim", "head": "bold", "": ""}
    drawn = draw(
        choose(found, limit, around),
        connection.up.sender,
        connection.down.sender or "?",
        width=min(width, 96),
        plain=plain(),
    )
    for line, style in drawn:
        yield Text(line, style=styles[style], no_wrap=True)


def clocks(virtual: float, wall: float) -> RenderableType:
    """Virtual against real time."""
    line = f"[bold]{virtual:.3f} s[/] of virtual time took [bold]{wall:.3f} s[/] of real time"
    if wall and virtual > wall:
        line += f": {virtual / wall:.1f} times faster than the real thing"
    return Panel(line, box=box.ASCII if plain() else box.ROUNDED, expand=False)


def show(console: Console, parts: Iterator[RenderableType]) -> None:
    """Print the parts of one section."""
    for part in parts:
        console.print(part)


def matrix(reached: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Who reaches whom, in milliseconds."""
    targets = list(dict.fromkeys(name for row in reached.values() for name in row))
    table = _table("", *targets, right=targets)
    for source, row in reached.items():
        cells = []
        for target in targets:
            rtt = row.get(target)
            if target not in row:
                cells.append(Text("·", style="dim"))
            elif rtt is None:
                cells.append(Text("lost", style="bold red"))
            else:
                cells.append(Text(f"{rtt:.3g}"))
        table.add_row(source, *cells)
    return table
