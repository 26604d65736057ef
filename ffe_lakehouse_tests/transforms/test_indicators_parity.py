"""Enriched real bars against TA-Lib on the whole series, and against an independent library.

Differences are measured against what the values live on (``scale``): the price, the range of an
oscillator, for the MACD the ATR. A MACD crosses zero, so it has no scale of its own.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import talib
from numpy.typing import NDArray

from ffe_lakehouse.schemas.silver import INDICATORS
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import enrich
from ffe_lakehouse.transforms.regime import market_regime, trend_direction
from ffe_lakehouse_tests.transforms.series import RECORDED, numbers, recorded, span

Floats = NDArray[np.float64]

BY_PERIOD = {"obv", "vwap_session"}
"""Counted from a time of day or month, not from the start of the series."""


@pytest.fixture(scope="module", params=RECORDED)
def rows(request: pytest.FixtureRequest, shared_data: Path) -> pa.Table:
    """A whole real series, enriched."""
    return enriched(recorded(shared_data, request.param), RECORDED[request.param][1])


def enriched(bars: pa.Table, code: str) -> pa.Table:
    return enrich(bars, TIMEFRAMES[code], *span(bars))


def talib_of_the_whole(rows: pa.Table) -> dict[str, Floats]:
    """TA-Lib called once on all of the bars, as anybody would."""
    high, low, close = (numbers(rows, name) for name in ("high", "low", "close"))
    found = {f"sma_{n}": talib.SMA(close, n) for n in (20, 50, 200)}
    found |= {f"ema_{n}": talib.EMA(close, n) for n in (12, 26)}
    found["rsi_14"] = talib.RSI(close)
    names = ("macd_12_26_9", "macd_signal_12_26_9", "macd_hist_12_26_9")
    found |= zip(names, talib.MACD(close), strict=True)
    names = ("bb_upper_20_2", "bb_middle_20_2", "bb_lower_20_2")
    found |= zip(names, talib.BBANDS(close, timeperiod=20, nbdevup=2, nbdevdn=2), strict=True)
    names = ("stoch_k_14_3", "stoch_d_14_3_3")
    found |= zip(names, talib.STOCH(high, low, close, fastk_period=14), strict=True)
    for name in ("atr", "adx", "plus_di", "minus_di"):
        found[f"{name}_14"] = getattr(talib, name.upper())(high, low, close)
    found["returns"] = talib.ROCP(close, 1)
    found["log_returns"] = np.append(np.nan, np.diff(np.log(close)))
    found["realized_volatility_20"] = talib.STDDEV(found["log_returns"], 20) * np.sqrt(20 / 19)
    return found


def scale(name: str, rows: pa.Table) -> Floats:
    if name.startswith("macd"):
        return numbers(rows, "atr_14")
    if name in ("atr_14", "realized_volatility_20"):
        return numbers(rows, name)
    if name.startswith(("ema", "sma", "bb", "vwap")):
        return numbers(rows, "close")
    return np.full(len(rows), 1.0 if "returns" in name else 100.0)


def worst(found: Floats, expected: Floats, unit: Floats) -> float:
    """The largest difference in units; where a unit is 0 there may be none."""
    assert not np.isnan(found).any()
    apart = np.abs(found - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(apart == 0, 0.0, apart / unit).max())


def test_a_warm_row_is_that_of_talib_on_the_whole_series(rows: pa.Table) -> None:
    warm = rows["is_warm"].to_numpy()
    assert warm.sum() > 500
    whole = talib_of_the_whole(rows)
    assert set(whole) == set(INDICATORS) - BY_PERIOD
    apart = {
        name: worst(numbers(rows, name)[warm], whole[name][warm], scale(name, rows)[warm])
        for name in whole
    }
    assert {name: gap for name, gap in apart.items() if gap > 1e-9} == {}


def test_a_warm_regime_is_that_of_the_whole_series(rows: pa.Table) -> None:
    warm = rows["is_warm"].to_numpy()
    whole = talib_of_the_whole(rows)
    regimes = market_regime(whole["adx_14"], whole["atr_14"], numbers(rows, "close"))
    directions = trend_direction(whole["plus_di_14"], whole["minus_di_14"])
    for name, expected in [("market_regime", regimes), ("trend_direction", directions)]:
        assert rows[name].filter(warm).combine_chunks().equals(expected.filter(warm))


def test_obv_is_that_of_talib_up_to_a_constant_a_period(rows: pa.Table) -> None:
    volume = numbers(rows, "volume")
    if np.isnan(volume).all():
        assert rows["obv"].null_count == len(rows)
        return
    apart = numbers(rows, "obv") - talib.OBV(numbers(rows, "close"), volume)
    periods = rows["storage_period"].to_numpy()
    for period in np.unique(periods):
        inside = apart[periods == period]
        assert np.ptp(inside) < 1e-9 * volume.sum()


# --- an independent library


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> tuple[pa.Table, dict[str, Floats]]:
    """3,000 real hours enriched, and the same by pandas-ta-classic without TA-Lib."""
    rows = enriched(recorded(shared_data, "BTCUSD_1h").slice(10_000, 3_000), "1h")
    with warnings.catch_warnings():
        # It is written for pandas 2 and asks for what pandas 3 deprecates.
        warnings.simplefilter("ignore")
        import pandas_ta_classic as ta

        frame = rows.select(["timestamp", "high", "low", "close", "volume"]).to_pandas()
        frame = frame.set_index("timestamp")
        frame.index = frame.index.tz_localize(None)
        high, low, close, volume = (frame[name] for name in frame)
        logs = ta.log_return(close)
        directional = ta.adx(high, low, close, 14, talib=False)
        found = {
            "rsi_14": ta.rsi(close, 14, talib=False),
            "atr_14": ta.atr(high, low, close, 14, talib=False),
            "adx_14": directional["ADX_14"],
            "plus_di_14": directional["DMP_14"],
            "minus_di_14": directional["DMN_14"],
            "obv": ta.obv(close, volume, talib=False),
            "vwap_session": ta.vwap(high, low, close, volume),
            "returns": ta.percent_return(close),
            "log_returns": logs,
            "realized_volatility_20": ta.stdev(logs, 20, ddof=1, talib=False),
            **{f"ema_{n}": ta.ema(close, n, talib=False) for n in (12, 26)},
            **{f"sma_{n}": ta.sma(close, n, talib=False) for n in (20, 50, 200)},
        }
        names = ("macd_12_26_9", "macd_hist_12_26_9", "macd_signal_12_26_9")
        found |= _columns(names, ta.macd(close, 12, 26, 9, talib=False))
        names = ("bb_lower_20_2", "bb_middle_20_2", "bb_upper_20_2")
        found |= _columns(names, ta.bbands(close, 20, 2, talib=False))
        names = ("stoch_k_14_3", "stoch_d_14_3_3")
        found |= _columns(names, ta.stoch(high, low, close, 14, 3, 3, talib=False))
    return rows, {name: np.asarray(values, dtype=np.float64) for name, values in found.items()}


def _columns(names: tuple[str, ...], frame: pd.DataFrame) -> dict[str, pd.Series]:
    """The first columns of a frame, in its order, by our names."""
    return {name: frame.iloc[:, place] for place, name in enumerate(names)}


SEEDED_OTHERWISE = {"macd_12_26_9", "macd_signal_12_26_9", "macd_hist_12_26_9"}
"""There, the MACD's EMA 12 begins at bar 12; TA-Lib begins it at bar 26, with the EMA 26."""


def test_an_independent_library_finds_the_same(oracle: tuple[pa.Table, dict[str, Floats]]) -> None:
    rows, theirs = oracle
    assert set(theirs) == set(INDICATORS)
    apart = {}
    for name, expected in theirs.items():
        found = numbers(rows, name)
        known = ~np.isnan(found)
        if name == "obv":
            # There, the first bar's volume counts as gone up.
            expected = expected - expected[0]
        if name in SEEDED_OTHERWISE:
            known[:200] = False
        unit = np.full(len(rows), np.nanmax(np.abs(found))) if name == "obv" else scale(name, rows)
        apart[name] = worst(found[known], expected[known], unit[known])
    assert {name: gap for name, gap in apart.items() if gap > 1e-11} == {}


def test_the_independent_library_begins_where_it_is_said_to(
    oracle: tuple[pa.Table, dict[str, Floats]],
) -> None:
    rows, theirs = oracle
    earlier = {
        name: int(np.isnan(numbers(rows, name)).sum() - np.isnan(expected).sum())
        for name, expected in theirs.items()
    }
    assert {name: bars for name, bars in earlier.items() if bars} == {
        "macd_12_26_9": 8,
        "stoch_k_14_3": 2,
    }
    seeds = np.abs(numbers(rows, "macd_12_26_9") - theirs["macd_12_26_9"])[33]
    assert 1e-4 < seeds / numbers(rows, "atr_14")[33] < 1e-2
