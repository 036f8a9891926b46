# SPDX-License-Identifier: Apache-2.0
"""Small plots of text: a curve in Braille dots (or stars), with its scale.

Points are (x, y) in any unit; the caller brings the labels.  A cell of Braille holds 2 by 4 dots
(Unicode 2800 to 28FF), so a plot of 60 by 8 cells resolves 120 by 32 steps.
"""

from collections.abc import Callable, Sequence
from typing import Final

Point = tuple[float, float]

#: Bit of each dot in a Braille cell, by column and row (Unicode standard, §21.1).
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


def steps(points: Sequence[Point], columns: int, x_low: float, x_high: float) -> list[float | None]:
    """The greatest y in each of ``columns`` equal parts of [x_low, x_high]; gaps hold the last."""
    found: list[float | None] = [None] * columns
    width = (x_high - x_low) or 1.0
    for x, y in points:
        at = min(columns - 1, max(0, int((x - x_low) / width * columns)))
        have = found[at]
        found[at] = y if have is None or y > have else have
    last: float | None = None
    for at, y_or_none in enumerate(found):
        if y_or_none is None:
            found[at] = last
        else:
            last = y_or_none
    return found


def dots(points: Sequence[Point], width: int, height: int, *, plain: bool = False) -> list[str]:
    """The curve alone: ``height`` lines of ``width`` cells, y from 0 to its maximum."""
    if not points:
        return [" " * width] * height
    across, down = (1, 1) if plain else (2, 4)
    x_low, x_high = points[0][0], points[-1][0]
    top = max(y for _, y in points) or 1.0
    cells = [[0] * width for _ in range(height)]
    rows = height * down
    previous: int | None = None
    for column, y in enumerate(steps(points, width * across, x_low, x_high)):
        if y is None:
            continue
        row = rows - 1 - min(rows - 1, int(y / top * (rows - 1) + 0.5))
        low, high = (row, row) if previous is None else (min(row, previous), max(row, previous))
        for dot in range(low, high + 1):
            cells[dot // down][column // across] |= _DOTS[column % across][dot % down]
        previous = row
    if plain:
        return ["".join("*" if cell else " " for cell in line) for line in cells]
    return ["".join(chr(0x2800 + cell) for cell in line) for line in cells]


def plot(
    points: Sequence[Point],
    *,
    width: int = 60,
    height: int = 6,
    x: Callable[[float], str] = str,
    y: Callable[[float], str] = str,
    plain: bool = False,
) -> list[str]:
    """The curve with the ends of both axes labelled by ``x`` and ``y``."""
    if not points:
        return ["(nothing to plot)"]
    top = y(max(value for _, value in points))
    margin = len(top)
    bar, corner, dash = ("|", "+", "-") if plain else ("│", "└", "─")
    lines = []
    for number, line in enumerate(dots(points, width, height, plain=plain)):
        label = top if number == 0 else "0" if number == height - 1 else ""
        lines.append(f"{label:>{margin}} {bar}{line}".rstrip())
    lines.append(f"{'':{margin}} {corner}{dash * width}")
    left, right = x(points[0][0]), x(points[-1][0])
    lines.append(f"{'':{margin}}  {left}{right:>{max(1, width - len(left))}}")
    return lines
