# SPDX-License-Identifier: Apache-2.0
"""One HTML page about a failed test: what went wrong, the faults, and the frames between hosts.

The page stands alone: no scripts, nothing fetched.  The sequence diagram is an SVG with a lane for
each host and time going down; a frame that did not arrive ends in a cross, faults are red bars on
the lanes they struck.  Of long runs the end is drawn, and what happened around faults and losses.
The same run gives the same page.
"""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from capas.base.clock import NEVER
from capas.base.events import Decision
from capas.testing.dissect import Names, Row
from capas.testing.tracks import Hop

if TYPE_CHECKING:
    from capas.testing.faultlog import Mark
    from capas.testing.fixture import Internet

_ROWS: Final = 400  # frames drawn at most
_LAST: Final = 120  # of them, from the end
_AROUND: Final = 12  # frames drawn before and after a fault or loss
_LANE: Final = 260  # pixels between hosts
_STEP: Final = 22  # pixels between frames
_LEFT: Final = 130
_TOP: Final = 46
_DECISIONS: Final = 200

_STYLE: Final = """
body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em}
body{color:#1b2733}
h1{font-size:1.3em;margin:.2em 0} h2{font-size:1.05em;margin:1.8em 0 .4em}
pre{background:#f4f6f8;padding:.8em;overflow:auto;font-size:12px}
code{background:#f4f6f8;padding:.1em .3em}
table{border-collapse:collapse} td,th{text-align:left;padding:.15em .8em .15em 0;vertical-align:top}
td.t{font-variant-numeric:tabular-nums;white-space:nowrap;color:#5b6b7a}
svg{max-width:100%;height:auto;font:11px system-ui,sans-serif} .lane{stroke:#c3ccd5}
.name{font-weight:600;text-anchor:middle;font-size:13px} .time{fill:#8592a0;text-anchor:end}
.tcp{stroke:#1f6feb;fill:#1f6feb}.udp{stroke:#1a7f37;fill:#1a7f37}.other{stroke:#8592a0;fill:#8592a0}
.lost{stroke:#cf222e;fill:#cf222e}.label{stroke:none;text-anchor:middle;font-size:10.5px}
.fault{fill:#cf222e;fill-opacity:.13}.mark{fill:#cf222e;font-size:11px}
.cut{stroke:#cf222e;stroke-dasharray:4 3}
.gap{fill:#8592a0;text-anchor:middle;font-style:italic}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#d6dde5}pre,code{background:#161b22}
.lane{stroke:#39424d}.name{fill:#d6dde5}}
"""


class _Line(NamedTuple):
    """A line of the diagram: a frame, a mark, or a gap that stands for ``left_out`` frames."""

    time: int
    row: Row | None = None
    mark: "Mark | None" = None
    left_out: int = 0


def page(internet: "Internet", *, node: str, error: str, command: str, said: str = "") -> str:
    """The page."""
    names = Names(internet.world.names)
    rows = [names.row(hop) for hop in internet.tracks.hops.values()]
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
    hosts = [host for host in internet.tracks.hosts if any(host in row.hosts for row in rows)]
    parts.append(diagram(hosts, lines) if hosts else "<p>No frame was sent.</p>")
    parts.append(_decisions(list(internet.tracks.decisions)))
    if internet.complaints:
        parts.append(f"<h2>Meanwhile</h2><pre>{e(chr(10).join(internet.complaints))}</pre>")
    if said:
        parts.append(f"<h2>Traceback</h2><pre>{e(said)}</pre>")
    return "\n".join(parts) + "\n</html>\n"


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


def choose(rows: Sequence[Row], marks: "Sequence[Mark]") -> list[_Line]:
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
    lines: list[_Line] = []
    last = -1
    waiting = list(marks)
    for index in sorted(picked):
        if index > last + 1:
            lines.append(_Line(times[index], left_out=index - last - 1))
        while waiting and waiting[0].begin <= times[index]:
            mark = waiting.pop(0)
            lines.append(_Line(mark.begin, mark=mark))
        lines.append(_Line(times[index], row=rows[index]))
        last = index
    return lines + [_Line(mark.begin, mark=mark) for mark in waiting]


def diagram(hosts: Sequence[str], lines: Sequence[_Line]) -> str:
    """The SVG."""
    x = {host: _LEFT + 20 + _LANE // 2 + i * _LANE for i, host in enumerate(hosts)}
    width = _LEFT + 40 + _LANE * len(hosts)
    height = _TOP + _STEP * (len(lines) + 2)
    out = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img"'
        ' aria-label="sequence diagram">'
    ]
    ys = [_TOP + _STEP * (i + 1) for i in range(len(lines))]

    def height_of(time: int) -> int:
        """Where a moment is: below the last line that is not later."""
        found = _TOP
        for line, y in zip(lines, ys, strict=True):
            if line.time > time:
                break
            found = y
        return found

    for host in hosts:
        out.append(f'<line class="lane" x1="{x[host]}" y1="{_TOP}" x2="{x[host]}" y2="{height}"/>')
        out.append(f'<text class="name" x="{x[host]}" y="{_TOP - 14}">{html.escape(host)}</text>')
    for line, y in zip(lines, ys, strict=True):
        if line.mark is not None:
            out += _draw_mark(line.mark, y, x, width, height_of)
    for line, y in zip(lines, ys, strict=True):
        if line.left_out:
            middle = (_LEFT + width) // 2
            text = f"… {line.left_out} frames …"
            out.append(f'<text class="gap" x="{middle}" y="{y}">{text}</text>')
        elif line.row is not None:
            out += _draw_row(line.row, y, x)
    out.append("</svg>")
    return "\n".join(out)


def _draw_mark(mark: "Mark", y: int, x: dict[str, int], width: int, height_of: object) -> list[str]:
    assert callable(height_of)
    hosts = [host for host in mark.hosts if host in x] or list(x)
    end = height_of(mark.end) + 4 if mark.end != mark.begin else y + 4
    out = [
        f'<rect class="fault" x="{x[host] - 12}" y="{y - 12}" width="24"'
        f' height="{max(16, end - y + 12)}"/>'
        for host in hosts
    ]
    text = html.escape(mark.text)
    out.append(f'<text class="time" x="{_LEFT}" y="{y}">{mark.begin / 1e6:.3f} ms</text>')
    out.append(f'<line class="cut" x1="{_LEFT + 8}" y1="{y + 4}" x2="{width}" y2="{y + 4}"/>')
    out.append(f'<text class="mark" x="{_LEFT + 10}" y="{y}">⚡ {text}</text>')
    return out


def _draw_row(row: Row, y: int, x: dict[str, int]) -> list[str]:
    hop: Hop = row.hop
    start = x.get(hop.host, _LEFT)
    kind = "lost" if row.lost else row.kind
    out = [f'<text class="time" x="{_LEFT}" y="{y + 4}">{hop.time / 1e6:.3f} ms</text>']
    ends = [x[host] for host in row.receivers if host in x]
    if not ends:
        aim = x.get(row.target)
        ends = [start + (aim - start) * 2 // 3 if aim is not None and aim != start else start + 60]
    for end in ends:
        step = -6 if end > start else 6
        out.append(f'<line class="{kind}" x1="{start}" y1="{y}" x2="{end}" y2="{y}"/>')
        if row.lost:
            cross = f"M{end - 5},{y - 5}l10,10m0,-10l-10,10"
            out.append(f'<path class="{kind}" d="{cross}"/>')
        else:
            tip = f"{end},{y} {end + step},{y - 4} {end + step},{y + 4}"
            out.append(f'<polygon class="{kind}" points="{tip}"/>')
    text = html.escape(row.text)
    middle = (start + ends[0]) // 2
    out.append(f'<text class="label {kind}" x="{middle}" y="{y - 4}">{text}</text>')
    return out
