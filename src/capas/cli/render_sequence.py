# SPDX-License-Identifier: Apache-2.0
"""Sequence diagrams of text: two hosts, time going down, an arrow for each frame.

The arrow starts when the frame leaves; a frame that never arrives ends in a cross.  Repetitive
stretches are folded into one line that says how many frames it stands for.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from capas.base.clock import MS
from capas.cli.flows import Connection, pieces
from capas.wire.tcp import ACK, FIN, PSH, RST, SYN, Segment

_DUPLICATES: Final = 4  # duplicate acknowledgements worth a line each
_ANSWERS: Final = 2  # acknowledgements after the repair worth a line each
_FLAGS: Final = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"))


class Arrow(NamedTuple):
    """One line of a diagram."""

    time: int  # ns
    rightward: bool
    label: str
    lost: bool = False
    again: bool = False  # a retransmission
    duplicate: bool = False  # an acknowledgement that only repeats
    packets: int = 1


def label(segment: Segment, seq: int, ack: int) -> str:
    """Flags, relative numbers and length, as tcpdump says them."""
    words = [name for bit, name in _FLAGS if segment.flags & bit]
    if segment.length:
        words.append(f"{seq}…{seq + segment.length}")
    elif not words and segment.sack:
        words.append("dup")
    if segment.flags & ACK:
        words.append(f"ack {ack}")
    if segment.sack:
        words.append(f"sack ×{len(segment.sack) // 2}")
    if segment.flags & PSH and segment.length:
        words.append("push")
    return " ".join(words)


def arrows(connection: Connection, lost: Iterable[tuple[int, int]] = ()) -> list[Arrow]:
    """An arrow for each frame that left one of the two hosts; ``lost`` holds (time, seq)."""
    missing = dict.fromkeys(lost)
    highest = {True: 0, False: 0}
    acked = {True: -1, False: -1}
    found = []
    for sight in connection.sights:
        segment = sight.segment
        if segment is None or not sight.outgoing:
            continue
        half = connection.half(sight)
        other = connection.down if half is connection.up else connection.up
        rightward = half is connection.up
        seq = half.relative(segment.seq)
        parts = [part for part in pieces(sight, segment, seq) if part[1]]
        gone = sum((sight.time, start) in missing for start, _ in parts)
        again = bool(parts) and parts[-1][0] + parts[-1][1] <= highest[rightward]
        if parts:
            highest[rightward] = max(highest[rightward], parts[-1][0] + parts[-1][1])
        text = label(segment, seq, other.relative(segment.ack))
        if sight.packets > 1:
            text += f" ({sight.packets} packets)"
        if gone and sight.packets > 1:
            text += f", {gone} of them lost"
        ack = other.relative(segment.ack)
        same = ack == acked[rightward] and not parts
        acked[rightward] = ack
        found.append(Arrow(sight.time, rightward, text, gone > 0, again, same, sight.packets))
    return found


def choose(found: Sequence[Arrow], limit: int, around: int | None = None) -> list[Arrow]:
    """At most ``limit`` arrows: the beginning, what follows ``around`` (ns), and the end."""
    if len(found) <= limit:
        return list(found)
    head, tail = (7, 4) if around is not None else (limit - 6, 6)
    picked = dict.fromkeys(range(head))
    picked |= dict.fromkeys(range(len(found) - tail, len(found)))
    if around is not None:
        for index in _repair(found, around, limit - head - tail):
            picked[index] = None
    return fold(found, sorted(picked))


def _repair(found: Sequence[Arrow], around: int, room: int) -> list[int]:
    """What tells the story of one loss: the loss, some duplicates, the repair, its success."""
    first = next((i for i, arrow in enumerate(found) if arrow.time >= around and arrow.lost), 0)
    picked = [first - 1, first, first + 1] if first else [0]
    duplicates, answers, repaired = 0, 0, False
    for index in range(first + 2, len(found)):
        arrow = found[index]
        if arrow.duplicate and not repaired and duplicates < _DUPLICATES:
            duplicates += 1
            picked.append(index)
        elif arrow.again and not repaired:
            repaired = True
            picked.append(index)
        elif repaired and not arrow.duplicate and arrow.rightward != found[first].rightward:
            picked.append(index)
            if (answers := answers + 1) == _ANSWERS:
                break
    return picked[:room]


def fold(found: Sequence[Arrow], picked: Sequence[int]) -> list[Arrow]:
    """The picked arrows, with one line in each gap saying what is left out."""
    lines: list[Arrow] = []
    last = -1
    for index in picked:
        left_out = found[last + 1 : index]
        if left_out:
            packets = sum(arrow.packets for arrow in left_out)
            frames = "frame" if len(left_out) == 1 else "frames"
            text = f"… {len(left_out)} {frames}, {packets} packets …"
            if packets == len(left_out):
                text = f"… {packets} {'packet' if packets == 1 else 'packets'} …"
            lines.append(Arrow(-1, True, text))
        lines.append(found[index])
        last = index
    return lines


def draw(
    found: Sequence[Arrow], left: str, right: str, *, width: int = 78, plain: bool = False
) -> list[tuple[str, str]]:
    """(line, style) pairs of the diagram; styles are "", "dim", "lost", "again"."""
    shaft, tip_right, tip_left, cross, post = (
        ("-", ">", "<", "x", "|") if plain else ("─", "▶", "◀", "✕", "│")
    )
    inner = max(30, width - 14 - 2)
    head = f"{'':12}  {left}{right:>{inner + 2 - len(left)}}"
    lines = [(head, "head")]
    origin = next((arrow.time for arrow in found if arrow.time >= 0), 0)
    for arrow in found:
        if arrow.time < 0:
            lines.append((f"{'':12}  {post}{arrow.label:^{inner}}{post}", "dim"))
            continue
        when = f"{(arrow.time - origin) / MS:9.3f} ms"
        text = f" {arrow.label} "
        if len(text) > inner - 6:
            text = text[: inner - 7] + "… "
        run = inner - len(text) - 1
        before = run // 2
        if arrow.lost:  # the shaft breaks off: at two thirds of the way
            if arrow.rightward:
                body = shaft * before + text + shaft * (run - before - run // 4) + cross
                body = f"{body:<{inner}}"
            else:
                body = cross + shaft * (before - run // 4) + text + shaft * (run - before)
                body = f"{body:>{inner}}"
        elif arrow.rightward:
            body = shaft * before + text + shaft * (run - before) + tip_right
        else:
            body = tip_left + shaft * before + text + shaft * (run - before)
        style = "lost" if arrow.lost else "again" if arrow.again else ""
        lines.append((f"{when:>12}  {post}{body}{post}", style))
    return lines
