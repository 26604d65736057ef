"""The regime of a market: trend, range or volatile; and the direction of the trend.

After the trading engine: an ADX(14) above 25 is a trend, else ATR(14) relative to the price tells
volatile from range. What is much for an ATR hangs on the market and the timeframe, so it is
measured against the market's own recent past, not against a number of percent.
"""

import numpy as np
import pyarrow as pa
import talib

from ffe_lakehouse.schemas.silver import REGIMES
from ffe_lakehouse.transforms.indicators import Floats

TREND_ADX = 25.0
"""An ADX(14) above this is a trend."""

VOLATILITY_BARS = 200
"""Bars, the current one included, whose mean ATR(14) / close is what is usual."""

VOLATILE_RATIO = 1.2
"""ATR(14) / close above this many times what is usual is volatile, where there is no trend."""


def market_regime(adx: Floats, atr: Floats, close: Floats) -> pa.Array:
    """The regime at each bar.

    Args:
        adx: ADX(14), NaN until it exists.
        atr: ATR(14) in the quote currency, NaN until it exists.
        close: Last prices.

    Returns:
        Strings out of ``REGIMES``, null until the ADX and the usual volatility both exist.
    """
    relative = atr / close
    usual = talib.SMA(relative, VOLATILITY_BARS)
    trend, calm, volatile = (REGIMES.index(name) for name in ("trend", "range", "volatile"))
    quiet_or_not = np.where(relative > VOLATILE_RATIO * usual, volatile, calm)
    codes = np.where(adx > TREND_ADX, trend, quiet_or_not).astype(np.int8)
    unknown = np.isnan(adx) | np.isnan(usual)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=unknown), list(REGIMES)).cast(
        pa.string()
    )


def trend_direction(plus_di: Floats, minus_di: Floats) -> pa.Array:
    """1 where +DI(14) is above -DI(14), -1 where it is below, 0 where they are equal; int8.

    Null until both exist. It is there whatever the regime is.
    """
    sign = np.sign(plus_di - minus_di)
    unknown = np.isnan(sign)
    return pa.array(np.where(unknown, 0.0, sign).astype(np.int8), mask=unknown)
