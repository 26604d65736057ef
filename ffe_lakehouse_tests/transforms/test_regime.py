"""The regime: its thresholds, its scale, and what it is while nothing is known."""

from datetime import UTC, datetime

import numpy as np
import pytest

from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import enrich
from ffe_lakehouse.transforms.regime import (
    TREND_ADX,
    VOLATILE_RATIO,
    VOLATILITY_BARS,
    market_regime,
    trend_direction,
)
from ffe_lakehouse_tests.transforms.series import Columns, flat, grid, span, unified, walk

START = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = TIMEFRAMES["1h"]


def last_regime(adx: float, last_atr: float, *, atr: float = 2.0, close: float = 100.0) -> str:
    n = VOLATILITY_BARS
    ranges = np.full(n, atr)
    ranges[-1] = last_atr
    regimes = market_regime(np.full(n, adx), ranges, np.full(n, close))
    assert regimes.null_count == n - 1
    return str(regimes[-1].as_py())


def of_bars(prices: Columns) -> dict[str, list[object]]:
    n = len(prices["close"])
    bars = unified("1h", grid("1h", START, np.arange(n)), prices)
    rows = enrich(bars, HOURS, *span(bars))
    return {name: rows[name].to_pylist() for name in ("market_regime", "trend_direction")}


def test_an_adx_above_the_threshold_is_a_trend_however_volatile() -> None:
    assert last_regime(np.nextafter(TREND_ADX, 99), 50.0) == "trend"


def test_an_adx_at_the_threshold_is_no_trend() -> None:
    assert last_regime(TREND_ADX, 2.0) == "range"


@pytest.mark.parametrize(("share", "regime"), [(1.001, "volatile"), (0.999, "range")])
def test_an_atr_above_a_multiple_of_its_mean_is_volatile(share: float, regime: str) -> None:
    # The last bar is part of the mean: x / ((199 * 2 + x) / 200) = ratio, solved for x.
    n, ratio = VOLATILITY_BARS, VOLATILE_RATIO
    assert last_regime(10.0, share * ratio * (n - 1) * 2.0 / (n - ratio)) == regime


def test_the_regime_has_no_scale() -> None:
    small = walk(1, 600)
    large = {name: values * (1 if name == "volume" else 2.0**20) for name, values in small.items()}
    assert of_bars(small) == of_bars(large)
    assert set(of_bars(small)["market_regime"]) == {None, "trend", "range", "volatile"}


def test_a_steady_rise_is_a_trend_up_and_its_mirror_a_trend_down() -> None:
    rise = np.linspace(100.0, 200.0, 400)
    up = {"open": rise, "high": rise + 1, "low": rise - 1, "close": rise, "volume": rise}
    down = {name: values[::-1].copy() for name, values in up.items()}
    for prices, direction in [(up, 1), (down, -1)]:
        found = of_bars(prices)
        assert found["market_regime"][-1] == "trend"
        assert found["trend_direction"][-1] == direction


def test_a_market_that_stands_still_is_a_range_without_direction() -> None:
    found = of_bars(flat(300))
    assert (found["market_regime"][-1], found["trend_direction"][-1]) == ("range", 0)


def test_there_is_no_regime_until_all_its_inputs_are_there() -> None:
    rise = np.linspace(100.0, 200.0, 400)
    found = of_bars({"open": rise, "high": rise, "low": rise, "close": rise, "volume": rise})
    known = 14 + VOLATILITY_BARS - 1
    assert found["market_regime"][: known + 1] == [None] * known + ["trend"]


def test_the_direction_is_unknown_where_an_indicator_is() -> None:
    plus, minus = np.array([np.nan, 20.0, 10.0, 5.0]), np.array([np.nan, 10.0, 20.0, 5.0])
    assert trend_direction(plus, minus).to_pylist() == [None, 1, -1, 0]


def test_no_bars_have_no_regime() -> None:
    nothing = np.array([])
    assert market_regime(nothing, nothing, nothing).to_pylist() == []
    assert trend_direction(nothing, nothing).to_pylist() == []
