"""Plots: what is drawn, and in which colours."""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.report import charts, theme
from ffe_lakehouse.report.blocks import Plot
from ffe_lakehouse.report.intervals import wilson
from ffe_lakehouse.report.page import SECTIONS
from ffe_lakehouse_tests.report.conftest import DAYS, excerpts

DAYS_OF_THREE = pd.Series(pd.date_range("2024-01-01", periods=3))
COLOUR = re.compile(r"#[0-9a-f]{3,8}|rgba?\(.*\)")


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def plots(block: Any) -> Iterator[Plot]:
    if isinstance(block, Plot):
        yield block
    for each in (*getattr(block, "plots", ()), *getattr(block, "blocks", ())):
        yield from plots(each)


def test_every_colour_of_a_plot_has_one_on_a_dark_page(desk: DeltaLakeManager) -> None:
    found = excerpts(desk, 0, DAYS - 1)
    drawn = [plot for section in SECTIONS for plot in plots(section(found))]
    used = {
        text
        for plot in drawn
        for text in strings(json.loads(plot.figure.to_json()))
        if COLOUR.fullmatch(text)
    }
    assert len(used) > 8
    assert used <= set(theme.ON_DARK)
    assert {key.colour for plot in drawn for key in plot.legend} <= set(theme.DARK)


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, by WCAG 2.2."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("name", ["blue", "orange", "green", "purple", "ochre", "grey"])
def test_lines_stand_out_from_the_page(name: str) -> None:
    # WCAG asks for 3:1 of what is needed to understand a graphic; pages are #ffffff and #12161c.
    assert 1.05 / (luminance(theme.LIGHT[name]) + 0.05) >= 3
    assert (luminance(theme.DARK[name]) + 0.05) / (luminance("#12161c") + 0.05) >= 3


def test_names_that_several_plots_share_have_the_same_line_in_each() -> None:
    styles = theme.lines(["a", "b", "c"])
    series = pd.Series([1.0, 2.0, 3.0], index=DAYS_OF_THREE)
    figure = charts.curves({"c": series}, "P&L", ",.2f", styles=styles)
    assert figure.data[0].line.color == styles["c"]["color"]


def test_eighteen_lines_differ() -> None:
    styles = theme.lines(map(str, range(18)))
    assert len({tuple(style.items()) for style in styles.values()}) == 18


def test_a_day_is_shaded_by_its_regime_and_one_without_bars_is_not() -> None:
    values = pd.Series([1.0, 2.0, 3.0])
    regimes = pd.Series(["trend", None, "range"], index=DAYS_OF_THREE)
    figure = charts.equity(DAYS_OF_THREE, values, values * 0, "USD", regimes=regimes)
    shades = {trace.name: list(trace.y) for trace in figure.data if trace.fill and not trace.yaxis}
    assert shades == {"Trend": [1, 0, 0], "Range": [0, 0, 1]}


def test_days_that_are_carried_forward_are_marked() -> None:
    values = pd.Series([1.0, 2.0, 3.0])
    carried = pd.Series([False, True, False])
    figure = charts.equity(DAYS_OF_THREE, values, values * 0, "USD", carried=carried)
    (marked,) = (trace for trace in figure.data if trace.mode == "markers")
    np.testing.assert_array_equal(marked.y, [np.nan, 2.0, np.nan])


def test_calibration_shows_share_count_and_interval_of_each_bucket() -> None:
    confidence, hits, calls = pd.Series([0.3, np.nan]), pd.Series([2, 0]), pd.Series([8, 0])
    diagonal, dots = charts.calibration(confidence, hits, calls).data
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]
    low, high = wilson(2, 8)
    assert dots.y[0] == 0.25
    assert dots.text[0] == "8"
    assert dots.y[0] + dots.error_y.array[0] == pytest.approx(high)
    assert dots.y[0] - dots.error_y.arrayminus[0] == pytest.approx(low)
    assert np.isnan(dots.y[1])


def test_what_is_neither_of_the_largest_pairs_is_drawn_together(desk: DeltaLakeManager) -> None:
    held = pd.DataFrame({f"P{n}": [1.0, -1.0, 2.0] for n in range(6)}, index=DAYS_OF_THREE)
    figure = charts.exposure(held, held.abs().sum(axis=1), "USD")
    colours = [trace.marker.color for trace in figure.data if trace.type == "bar"]
    assert len(set(colours)) == 6
    assert colours[-1] == theme.OTHERS
