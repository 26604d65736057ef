"""Indicators of one unbroken array of bars: numpy in, numpy out, NaN where there is no value yet.

Every function sees bars of one pair and timeframe, ascending, and its value at a bar hangs on that
bar and those before it. Where the array begins (what the recursive ones are seeded with) is decided
in ``enrichment``; what the values mean together, in ``regime``. `docs/indicators.md` has the
formulas.
"""

import numpy as np
import talib
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_DAY = 86_400_000_000


def price_indicators(high: Floats, low: Floats, close: Floats) -> dict[str, Floats]:
    """All indicators that need no volume, by column of ``market_data_enriched``.

    By TA-Lib 0.8, which seeds Wilder's averages and EMAs with the mean of their first period, and
    whose bands and stochastics are of simple averages unless told otherwise. ``sma_20`` is the
    middle band.

    Args:
        high: Highest prices.
        low: Lowest prices.
        close: Last prices, above zero.

    Returns:
        Arrays as long as ``close``.
    """
    macd, signal, histogram = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    stoch_k, stoch_d = talib.STOCH(
        high, low, close, fastk_period=14, slowk_period=3, slowd_period=3
    )
    ratio = np.full(len(close), np.nan)
    np.divide(close[1:], close[:-1], out=ratio[1:])
    log_returns = np.log(ratio)
    return {
        "rsi_14": talib.RSI(close, 14),
        "macd_12_26_9": macd,
        "macd_signal_12_26_9": signal,
        "macd_hist_12_26_9": histogram,
        "bb_upper_20_2": upper,
        "bb_middle_20_2": middle,
        "bb_lower_20_2": lower,
        "atr_14": talib.ATR(high, low, close, 14),
        "adx_14": talib.ADX(high, low, close, 14),
        "plus_di_14": talib.PLUS_DI(high, low, close, 14),
        "minus_di_14": talib.MINUS_DI(high, low, close, 14),
        "ema_12": talib.EMA(close, 12),
        "ema_26": talib.EMA(close, 26),
        "sma_20": middle,
        "sma_50": talib.SMA(close, 50),
        "sma_200": talib.SMA(close, 200),
        "stoch_k_14_3": stoch_k,
        "stoch_d_14_3_3": stoch_d,
        "returns": ratio - 1.0,
        "log_returns": log_returns,
        "realized_volatility_20": _sample_deviation(log_returns, 20),
    }


def _sample_deviation(values: Floats, count: int) -> Floats:
    """Standard deviation of a sample (divided by ``count`` - 1): of each value and those before it.

    In two passes over the window alone. TA-Lib's STDDEV keeps running sums: on real 1m bars they
    left an error of 1.5e-8 that hung on where the array began.
    """
    found = np.full(len(values), np.nan)
    windows = len(values) - count + 1
    if windows > 0:
        shifted = [values[lag : lag + windows] for lag in range(count)]
        mean = sum(shifted) / count
        found[count - 1 :] = np.sqrt(sum((value - mean) ** 2 for value in shifted) / (count - 1))
    return found


def on_balance_volume(close: Floats, volume: Floats) -> Floats:
    """Volume of the bars that closed up, less that of those that closed down, after the first.

    The first bar is where counting starts, and 0: whether it went up is not known, or it belongs
    to the period before. A bar without volume (NaN) is NaN and adds nothing; the next one is still
    compared with its close.
    """
    counted = np.where(np.isnan(volume), 0.0, volume)
    counted[:1] = 0.0
    obv: Floats = talib.OBV(close, counted)
    obv[np.isnan(volume)] = np.nan
    return obv


def session_vwap(
    times: Integers, high: Floats, low: Floats, close: Floats, volume: Floats
) -> Floats:
    """Mean of the typical price (H + L + C) / 3 since 00:00 UTC of the bar's day, by volume.

    NaN at a bar without volume (NaN), which adds nothing to the later ones, and until something
    was traded.

    Args:
        times: Open times, microseconds since 1970 (UTC), ascending. Those of the first day must
            begin with its first bar.
        high: Highest prices.
        low: Lowest prices.
        close: Last prices.
        volume: Base units.
    """
    days = times // _DAY
    first = np.append(True, days[1:] != days[:-1])[: len(days)]
    row = first.cumsum() - 1
    place = np.arange(len(days)) - np.flatnonzero(first)[row]
    # One row a day: sums that ran across days would leave a quiet day the rounding of a busy one.
    traded = np.zeros((2, row[-1] + 1 if len(row) else 0, place.max(initial=0) + 1))
    unknown = np.isnan(volume)
    counted = np.where(unknown, 0.0, volume)
    traded[0, row, place] = (high + low + close) / 3.0 * counted
    traded[1, row, place] = counted
    turnover, total = traded.cumsum(axis=2)[:, row, place]
    mean = np.full(len(days), np.nan)
    np.divide(turnover, total, out=mean, where=(total > 0.0) & ~unknown)
    return mean
