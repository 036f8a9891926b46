# SPDX-License-Identifier: Apache-2.0
"""Plots of text."""

from hypothesis import given
from hypothesis import strategies as st

from capas.cli.render_plot import dots, plot, steps


def test_a_rising_line_in_stars() -> None:
    points = [(float(x), float(x)) for x in range(4)]
    assert dots(points, 4, 4, plain=True) == ["   *", "  **", " ** ", "**  "]


def test_a_gap_holds_the_last_value() -> None:
    assert steps([(0.0, 1.0), (3.0, 2.0)], 4, 0.0, 3.0) == [1.0, 1.0, 1.0, 2.0]


def test_labels_name_both_ends_of_both_axes() -> None:
    lines = plot(
        [(0.0, 0.0), (2.0, 5.0)], width=20, height=3, x="{:.0f} s".format, y="{:.0f} B".format
    )
    assert lines[0].startswith("5 B │")
    assert lines[2].startswith("  0 │")
    assert lines[-1].split() == ["0", "s", "2", "s"]


def test_nothing_to_plot() -> None:
    assert plot([]) == ["(nothing to plot)"]


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e12)), min_size=1).map(sorted),
    st.integers(1, 80),
    st.integers(1, 10),
    st.booleans(),
)
def test_a_plot_has_its_size(
    points: list[tuple[float, float]], width: int, height: int, plain: bool
) -> None:
    lines = dots(points, width, height, plain=plain)
    assert [len(line) for line in lines] == [width] * height
