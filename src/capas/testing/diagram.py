# SPDX-License-Identifier: Apache-2.0
"""The sequence diagram on the page of a failed test: an SVG, and the key to its colours.

Hosts are lanes, time goes down, each frame is an arrow on a line of its own at the moment it was
sent.  Each TCP connection has a colour.  Pointing at an arrow tells when it arrived.
"""

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from capas.base.clock import MS
from capas.testing.dissect import Row

if TYPE_CHECKING:
    from capas.testing.faultlog import Mark

SILENCE: Final = 100 * MS  # between two frames, told on a line of its own
_LANE: Final = 280  # pixels between hosts
_STEP: Final = 22  # pixels between frames
_LEFT: Final = 110
_TOP: Final = 46
_COLOURS: Final = 6
_TOLD: Final = 12  # connections in the key


class Line(NamedTuple):
    """A line of the diagram: a frame, a mark, silence, or a gap for ``left_out`` frames."""

    time: int
    row: Row | None = None
    mark: "Mark | None" = None
    left_out: int = 0
    silence: int = 0  # ns


def duration(time: int) -> str:
    """ "209 ms", "3.2 s"."""
    return f"{time / 1e6:.0f} ms" if time < 1000 * MS else f"{time / 1e9:.1f} s"


def _kind(row: Row) -> str:
    if row.state != "arrived":
        return "lost" if row.lost else "under"
    if row.again:
        return "again"
    return f"c{row.connection % _COLOURS}" if row.connection >= 0 else "other"


# -- the key --------------------------------------------------------------------------------------


def key(
    rows: "Sequence[Row]",
    marks: "Sequence[Mark]",
    connections: Sequence[tuple[str, int, str, int]],
) -> str:
    """What colours and signs mean: those that the diagram has."""
    items = [
        _item(f"c{i % _COLOURS}", f"{a}:{port} → {b}:{other}")
        for i, (a, port, b, other) in enumerate(connections[:_TOLD])
    ]
    if len(connections) > _TOLD:
        items.append(f"<li>and {len(connections) - _TOLD} connections more")
    kinds = {_kind(row) for row in rows}
    for kind, words in (
        ("other", "other frames"),
        ("again", "sent again"),
        ("lost", "lost"),
        ("under", "under way at the end"),
    ):
        if kind in kinds:
            items.append(_item(kind, words))
    if marks:
        bar = '<svg width="16" height="14"><rect class="fault" width="16" height="14"/></svg>'
        items.append(f"<li>{bar}fault")
    return f'<ul class="key">{"".join(items)}</ul>'


def _item(kind: str, words: str) -> str:
    tip = "M22,3l8,8m0,-8l-8,8" if kind == "lost" else ""
    drawn = f'<path d="{tip}"/>' if tip else '<polygon points="34,7 28,3 28,11"/>'
    end = 26 if tip else 30
    arrow = f'<g class="{kind}"><line x1="0" y1="7" x2="{end}" y2="7"/>{drawn}</g>'
    return f'<li><svg width="36" height="14">{arrow}</svg>{html.escape(words)}'


# -- the diagram ----------------------------------------------------------------------------------


def diagram(hosts: Sequence[str], lines: Sequence[Line]) -> str:
    """The SVG."""
    x = {host: _LEFT + 10 + _LANE // 2 + i * _LANE for i, host in enumerate(hosts)}
    width = _LEFT + 20 + _LANE * len(hosts)
    bottom = _TOP + _STEP * (len(lines) + 1)
    ys = [_TOP + _STEP * (i + 1) for i in range(len(lines))]

    def height_of(time: int) -> int:
        """Where a moment is: below the last line that is not later."""
        found = _TOP
        for line, y in zip(lines, ys, strict=True):
            if line.time > time:
                break
            found = y
        return found

    out = [
        f'<svg viewBox="0 0 {width} {bottom + 24}" width="{width}" role="img"'
        ' aria-label="sequence diagram">'
    ]
    for host in hosts:
        at, name = x[host], html.escape(host)
        out.append(f'<line class="lane" x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}"/>')
        out += [
            f'<text class="name" x="{at}" y="{y}">{name}</text>' for y in (_TOP - 14, bottom + 16)
        ]
    for line, y in zip(lines, ys, strict=True):
        if line.mark is not None:
            out += _draw_mark(line.mark, y, x, width, height_of)
    for line, y in zip(lines, ys, strict=True):
        if line.left_out or line.silence:
            text = f"… {line.left_out} frames …" if line.left_out else ""
            text = text or f"{duration(line.silence)} of silence"
            middle = (_LEFT + width) // 2
            out.append(f'<text class="gap" x="{middle}" y="{y}">{text}</text>')
        elif line.row is not None:
            out.append(_draw_row(line.row, y, x))
    out.append("</svg>")
    return "\n".join(out)


def _draw_mark(
    mark: "Mark", y: int, x: dict[str, int], width: int, height_of: Callable[[int], int]
) -> list[str]:
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


def _draw_row(row: Row, y: int, x: dict[str, int]) -> str:
    hop = row.hop
    start = x.get(hop.host, _LEFT)
    out = [f'<g class="{_kind(row)}"><title>{html.escape(_told(row))}</title>']
    out.append(f'<text class="time" x="{_LEFT}" y="{y + 4}">{hop.time / 1e6:.3f} ms</text>')
    ends = [x[host] for host in row.receivers if host in x]
    if not ends:
        aim = x.get(row.target)
        ends = [start + (aim - start) * 2 // 3 if aim is not None and aim != start else start + 60]
    for end in ends:
        step = -6 if end > start else 6
        out.append(f'<line x1="{start}" y1="{y}" x2="{end}" y2="{y}"/>')
        if row.lost:
            out.append(f'<path d="M{end - 5},{y - 5}l10,10m0,-10l-10,10"/>')
        else:
            out.append(f'<polygon points="{end},{y} {end + step},{y - 4} {end + step},{y + 4}"/>')
    middle = (start + ends[0]) // 2
    out.append(f'<text class="label" x="{middle}" y="{y - 4}">{html.escape(row.text)}</text></g>')
    return "".join(out)


def _told(row: Row) -> str:
    """What pointing at an arrow tells."""
    hop = row.hop
    words = [f"{row.text}: {hop.host} sent it at {hop.time / 1e6:.6f} ms"]
    words += [f"{host} got it at {time / 1e6:.6f} ms" for time, host, _ in hop.arrivals]
    if row.state != "arrived":
        words.append(row.state)
    return ", ".join(words)
