"""The picture of a day: an SVG that any browser draws, whatever the bars."""

import re
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.transforms.candlestick import _thinned, candlesticks

SVG = "{http://www.w3.org/2000/svg}"


def walk(n: int, seed: int = 0) -> np.ndarray:
    """``n`` lawful bars."""
    random = np.random.default_rng(seed)
    edges = 100 + random.normal(size=n + 1).cumsum()
    opens, closes = edges[:-1], edges[1:]
    highs = np.maximum(opens, closes) + random.random(n)
    lows = np.minimum(opens, closes) - random.random(n)
    return np.column_stack([opens, highs, lows, closes])


def paths(bars: np.ndarray) -> list[str]:
    """The paths of rising and of falling candles in the picture."""
    found = re.fullmatch(r"!\[candles\]\(data:image/svg\+xml,([^()\s]*)\)", candlesticks(bars))
    assert found, "not one Markdown image"
    root = ElementTree.fromstring(unquote(found[1]))  # noqa: S314 - our own text
    assert root.tag == f"{SVG}svg"
    return [path.attrib["d"] for path in root.findall(f"{SVG}path")]


def candles(bars: np.ndarray) -> int:
    return sum(path.count("z") for path in paths(bars))


def test_no_bars_are_no_picture() -> None:
    assert candlesticks(np.empty((0, 4))) == ""


@pytest.mark.parametrize(("bars", "drawn"), [(1, 1), (24, 24), (48, 48), (49, 25), (1440, 48)])
def test_a_day_is_drawn_with_at_most_48_candles(bars: int, drawn: int) -> None:
    assert candles(walk(bars)) == drawn


def test_rising_and_falling_bars_are_told_apart() -> None:
    rising, falling = paths(np.array([[1.0, 3.0, 1.0, 2.0], [2.0, 2.0, 1.0, 1.0]]))
    assert (rising.count("z"), falling.count("z")) == (1, 1)


@pytest.mark.parametrize("bar", [[5.0] * 4, [1e-8] * 4, [2e9, 3e9, 1e9, 2.5e9]])
@pytest.mark.parametrize("n", [1, 3])
def test_flat_tiny_and_huge_bars_stay_inside_the_picture(bar: list[float], n: int) -> None:
    numbers = [
        int(text) for path in paths(np.array([bar] * n)) for text in re.findall(r"\d+", path)
    ]
    assert numbers
    assert all(0 <= number <= 480 for number in numbers)


@given(st.integers(1, 500), st.integers(0, 9))
@settings(deadline=None)
def test_thinning_keeps_the_first_open_the_last_close_and_the_extremes(n: int, seed: int) -> None:
    bars = walk(n, seed)
    thin = _thinned(bars)
    assert len(thin) <= 48
    assert (thin[0, 0], thin[-1, 3]) == (bars[0, 0], bars[-1, 3])
    assert (thin[:, 1].max(), thin[:, 2].min()) == (bars[:, 1].max(), bars[:, 2].min())


def test_the_picture_of_a_day_of_minutes_fits_into_an_event() -> None:
    assert len(candlesticks(walk(1440))) < 6_000
