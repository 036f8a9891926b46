# SPDX-License-Identifier: Apache-2.0
"""One HTML page about a failed test: what went wrong, the faults, and the frames between hosts.

The page stands alone: no scripts, nothing fetched.  The sequence diagram is an SVG with a lane for
each host and time going down; a frame that did not arrive ends in a cross, faults are red bars on
the lanes they struck.  Of long runs the end is drawn, and what happened around faults and losses.
The same run gives the same page.
"""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from capas.base.clock import NEVER
from capas.base.events import Decision
from capas.testing.diagram import SILENCE, Line, diagram, key
from capas.testing.dissect import Names, Row

if TYPE_CHECKING:
    from capas.testing.faultlog import Mark
    from capas.testing.fixture import Internet

_ROWS: Final = 400  # frames drawn at most
_LAST: Final = 120  # of them, from the end
_AROUND: Final = 12  # frames drawn before and after a fault or loss
_DECISIONS: Final = 200

_STYLE: Final = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b2733;--dim:#68778a;--soft:#f3f5f8;--line:#c9d1da;
--bad:#cf222e;--again:#9a5b00}
:root{--c0:#0b62d6;--c1:#8a3ffc;--c2:#0f7b6c;--c3:#b3417b;--c4:#4f6f0a;--c5:#7a5230}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#dbe2ea;--dim:#8b98a7;--soft:#161c24;
--line:#38424e;--bad:#ff7b72;--again:#e3a74b}
:root{--c0:#6cb0ff;--c1:#c9a5ff;--c2:#4fd1bd;--c3:#f58fc0;--c4:#b5d34f;--c5:#d3a781}}
body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em}
body{background:var(--bg);color:var(--fg)}
h1{font-size:1.3em;margin:.2em 0} h2{font-size:1.05em;margin:1.8em 0 .4em}
pre,code{background:var(--soft);border-radius:5px}
pre{padding:.8em;overflow:auto;font-size:12px} code{padding:.15em .4em;user-select:all}
summary{margin:1.8em 0 .4em;font-weight:600;cursor:pointer}
table{border-collapse:collapse} td{text-align:left;padding:.15em .8em .15em 0;vertical-align:top}
td.t{font-variant-numeric:tabular-nums;white-space:nowrap;color:var(--dim)}
ul.key{list-style:none;padding:0;margin:.4em 0;display:flex;flex-wrap:wrap;gap:.2em 1.6em}
ul.key svg{vertical-align:middle;margin-right:.4em}
svg{max-width:100%;height:auto;font:11px system-ui,sans-serif} .lane{stroke:var(--line)}
.name{font-weight:600;text-anchor:middle;font-size:13px;fill:var(--fg)}
.time{fill:var(--dim);text-anchor:end;font-variant-numeric:tabular-nums}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}
.c5{--c:var(--c5)}.other{--c:var(--dim)}.again{--c:var(--again)}.lost{--c:var(--bad)}
.under{--c:var(--dim);stroke-dasharray:2 3}
g>line,g>path{stroke:var(--c);stroke-width:1.3;fill:none} g>polygon{fill:var(--c)}
g>text.label{fill:var(--c);text-anchor:middle;font-size:10.5px;paint-order:stroke}
g>text.label{stroke:var(--bg);stroke-width:4px;stroke-linejoin:round;stroke-dasharray:none}
g:hover>line{stroke-width:3}
.fault{fill:var(--bad);fill-opacity:.16}.mark{fill:var(--bad);font-size:11px}
.cut{stroke:var(--bad);stroke-dasharray:4 3}
.gap{fill:var(--dim);text-anchor:middle;font-style:italic}
"""


def page(internet: "Internet", *, node: str, error: str, command: str, said: str = "") -> str:
    """The page."""
    names = Names(internet.world.names, internet.tracks.under_way(internet.world))
    rows = _aimed([names.row(hop) for hop in internet.tracks.hops.values()])
    marks = sorted(internet.marks, key=lambda mark: mark.begin)
    lines = choose(rows, marks)
    e = html.escape
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{e(node)}</title>',
        f"<style>{_STYLE}</style>",
        f"<h1>{e(node)}</h1>",
        f"<p>seed <b>{e(str(internet.seed))}</b>, {internet.now:.6f} s of virtual time",
        f"<br>replay: <code>{e(command)}</code></p>",
    ]
    if internet.plan is not None:
        parts.append(f"<p>Faults: <b>{e(internet.plan.describe())}</b>.</p>")
    if error:
        parts.append(f"<h2>What failed</h2><pre>{e(error)}</pre>")
    parts.append(_marks(marks))
    parts.append("<h2>What went over the wires</h2>")
    hosts = lanes(list(internet.tracks.hosts), rows)
    if hosts:
        parts += [key(rows, marks, names.connections), diagram(hosts, lines)]
    else:
        parts.append("<p>No frame was sent.</p>")
    parts.append(_decisions(list(internet.tracks.decisions)))
    if internet.complaints:
        parts.append(f"<h2>Meanwhile</h2><pre>{e(chr(10).join(internet.complaints))}</pre>")
    if said:
        parts.append(f"<h2>Traceback</h2><pre>{e(said)}</pre>")
    return "\n".join(parts) + "\n</html>\n"


def _aimed(rows: list[Row]) -> list[Row]:
    """Frames that reached nobody are aimed at the neighbour that others reached, if there is one.

    Not at the host they were meant for, which may be far behind it.
    """
    seen: dict[object, dict[str, None]] = {}
    for row in rows:
        seen.setdefault(row.hop.interface, {}).update(dict.fromkeys(row.receivers))
    only = {interface: next(iter(found)) for interface, found in seen.items() if len(found) == 1}
    return [
        row if row.receivers else row._replace(target=only.get(row.hop.interface, row.target))
        for row in rows
    ]


def lanes(hosts: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The hosts that took part, each beside one it spoke to directly where that can be."""
    near: dict[str, dict[str, None]] = {}
    for row in rows:
        for other in row.receivers or (row.target,):
            if other in hosts and other != row.hop.host:
                near.setdefault(row.hop.host, {})[other] = None
                near.setdefault(other, {})[row.hop.host] = None
    order: list[str] = []

    def visit(host: str) -> None:
        order.append(host)
        for other in near[host]:
            if other not in order:
                visit(other)

    for host in sorted(near, key=lambda host: (len(near[host]) > 1, hosts.index(host))):
        if host not in order:
            visit(host)
    return order


def _seconds(time: int) -> str:
    return f"{time / 1e9:.6f}"


def _marks(marks: "Sequence[Mark]") -> str:
    if not marks:
        return ""
    rows = []
    for mark in marks:
        if mark.end == mark.begin:
            until = ""
        elif mark.end == NEVER:
            until = "to the end"
        else:
            until = f"to {_seconds(mark.end)} s"
        rows.append(
            f'<tr><td class="t">{_seconds(mark.begin)} s<td class="t">{until}'
            f"<td>{html.escape(mark.text)}"
        )
    return f"<h2>Faults</h2><table>{''.join(rows)}</table>"


def _decisions(decisions: list[Decision]) -> str:
    if not decisions:
        return ""
    last = decisions[-_DECISIONS:]
    rows = [
        f'<tr><td class="t">{_seconds(one.time)} s<td>{html.escape(one.host)}'
        f"<td>{html.escape(one.event)}<td>{html.escape(one.text)}"
        for one in last
    ]
    more = f" (the last {len(last)} of {len(decisions)})" if len(last) < len(decisions) else ""
    return (
        f"<details><summary>What the stacks decided{more}</summary>"
        f"<table>{''.join(rows)}</table></details>"
    )


def choose(rows: Sequence[Row], marks: "Sequence[Mark]") -> list[Line]:
    """Which frames to draw: the first, the last, those around faults and losses, in order."""
    picked = set(range(max(0, len(rows) - _LAST), len(rows))) | set(range(min(10, len(rows))))
    times = [row.hop.time for row in rows]
    near = [i for i, row in enumerate(rows) if row.lost]
    for mark in marks:
        near.append(next((i for i, time in enumerate(times) if time >= mark.begin), len(rows)))
    for middle in reversed(near):
        if len(picked) >= _ROWS:
            break
        picked |= set(range(max(0, middle - _AROUND), min(len(rows), middle + _AROUND)))
    lines: list[Line] = []
    last = -1
    before = times[0] if times else 0
    waiting = list(marks)
    for index in sorted(picked):
        if index > last + 1:
            lines.append(Line(times[index], left_out=index - last - 1))
        elif times[index] - before >= SILENCE:
            lines.append(Line(before, silence=times[index] - before))
        while waiting and waiting[0].begin <= times[index]:
            mark = waiting.pop(0)
            lines.append(Line(mark.begin, mark=mark))
        lines.append(Line(times[index], row=rows[index]))
        last = index
        before = times[index]
    return lines + [Line(mark.begin, mark=mark) for mark in waiting]
