"""Six timeframes seen from one bar's close: trend, momentum and their confluence.

Which bars are read, and when, is decided in ``assets``; the formula is explained with an example in
``docs/confluence.md``.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED, MULTI_TIMEFRAME_ANALYSIS
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.asof import (
    as_times,
    last_closed,
    microseconds,
    moment,
    refuse_several_pairs,
    take_or_null,
)
from ffe_lakehouse.transforms.silver_rows import silver_rows

Floats = NDArray[np.float64]

ADX_OF_A_TREND = 25.0
"""Wilder, New Concepts in Technical Trading Systems (1978): from here on a market trends."""

WEIGHTS = {code: rank for rank, code in enumerate(TIMEFRAMES, 1)}
"""A timeframe's weight in the confluence is its rank, from 1 (1m) to 6 (1d)."""


def trend(bars: pa.Table) -> Floats:
    """Which way, and how surely, each bar's market trends: -1 (down) to 1, NaN if not known.

    ``tanh((ema_12 - ema_26) / atr_14) * min(adx_14 / 25, 1)``. The first factor is the MACD in
    units of the average true range (Spiroglou, MACD-V, 2022), so that pairs and timeframes compare;
    the second takes away what Wilder's ADX does not call a trend.

    Args:
        bars: Columns of ``market_data_enriched``.
    """
    spread = _in_ranges(_numbers(bars, "ema_12") - _numbers(bars, "ema_26"), bars)
    return np.tanh(spread) * np.clip(_numbers(bars, "adx_14") / ADX_OF_A_TREND, 0.0, 1.0)


def momentum(bars: pa.Table) -> Floats:
    """How fast each bar's market moves: -1 (falling) to 1, NaN if not known.

    The mean of ``(rsi_14 - 50) / 50`` and ``tanh(macd_hist_12_26_9 / atr_14)``.

    Args:
        bars: Columns of ``market_data_enriched``.
    """
    strength = np.clip((_numbers(bars, "rsi_14") - 50.0) / 50.0, -1.0, 1.0)
    return (strength + np.tanh(_in_ranges(_numbers(bars, "macd_hist_12_26_9"), bars))) / 2.0


def confluence(scores: Mapping[str, Floats]) -> Floats:
    """The mean of the timeframes' scores by ``WEIGHTS``, over those that have one (not NaN).

    Args:
        scores: Scores in [-1, 1] by timeframe code, of one length.

    Returns:
        In [-1, 1]; NaN where no timeframe has a score.
    """
    values = np.stack(list(scores.values()))
    weights = np.array([[float(WEIGHTS[code])] for code in scores])
    seen = ~np.isnan(values)
    weighed = (np.where(seen, values, 0.0) * weights).sum(axis=0)
    total = (seen * weights).sum(axis=0)
    mean = np.divide(weighed, total, out=np.full(len(total), np.nan), where=total > 0)
    return np.asarray(np.clip(mean, -1.0, 1.0))


def analyse(
    enriched: Mapping[Timeframe, pa.Table], base: Timeframe, start: datetime, end: datetime
) -> pa.Table:
    """At each close of a base bar: the last closed bar of every timeframe, and how they agree.

    Args:
        enriched: Bars of ONE pair by ``MARKET_DATA_ENRICHED``, by timeframe, in any order. They
            have to reach ``LOOK_BACK_DAYS`` before ``start``; an older bar is not looked for. A
            timeframe that is not there has no score.
        base: Timeframe whose closes are the moments.
        start: Open time of the first base bar (UTC).
        end: Open time that the last base bar lies before (UTC).

    Returns:
        Rows by ``MULTI_TIMEFRAME_ANALYSIS``, ascending: one a base bar that opens in
        [``start``, ``end``).

    Raises:
        InputError: The bars are of more than one pair.
    """
    refuse_several_pairs(*enriched.values())
    bars = _bars(enriched, base)
    opens = microseconds(bars["timestamp"])
    inside = np.flatnonzero((opens >= moment(start)) & (opens < moment(end)))
    inside = inside[np.argsort(opens[inside], kind="stable")]
    bars, closes = bars.take(inside), opens[inside] + base.step.astype(np.int64)

    scores: dict[str, Floats] = {}
    parts: dict[str, pa.Array | pa.ChunkedArray] = {}
    mock, warm = np.zeros(len(inside), dtype=bool), np.ones(len(inside), dtype=bool)
    for code, timeframe in TIMEFRAMES.items():
        table = _bars(enriched, timeframe)
        opens = microseconds(table["timestamp"])
        found = last_closed(opens, opens + timeframe.step.astype(np.int64), closes)
        last = take_or_null(table, found)
        upward, speed = trend(last), momentum(last)
        scores[code] = (upward + speed) / 2.0
        parts |= {
            f"bar_{code}": last["timestamp"],
            f"trend_{code}": _nullable(upward),
            f"momentum_{code}": _nullable(speed),
            f"regime_{code}": last["market_regime"],
            f"score_{code}": _nullable(scores[code]),
        }
        mock |= last["is_mock"].fill_null(False).to_numpy()
        warm &= np.isnan(scores[code]) | last["is_warm"].fill_null(False).to_numpy()
    columns = parts | {
        "timestamp": bars["timestamp"],
        "asset_pair": bars["asset_pair"],
        "timeframe": bars["timeframe"],
        "closed_at": as_times(closes),
        "close": bars["close"],
        "is_mock": pa.array(mock),
        "is_warm": pa.array(warm),
        "timeframes_seen": pa.array(sum(~np.isnan(score) for score in scores.values()), pa.int64()),
        "confluence_score": _nullable(confluence(scores)),
    }
    return silver_rows(MULTI_TIMEFRAME_ANALYSIS, columns, base)


USED = (
    *("timestamp", "asset_pair", "timeframe", "close", "is_mock", "is_warm", "market_regime"),
    *("ema_12", "ema_26", "atr_14", "adx_14", "rsi_14", "macd_hist_12_26_9"),
)
"""Columns of ``market_data_enriched`` that ``analyse`` needs."""
_NONE = MARKET_DATA_ENRICHED.arrow.empty_table()


def _bars(enriched: Mapping[Timeframe, pa.Table], timeframe: Timeframe) -> pa.Table:
    return enriched.get(timeframe, _NONE).select(USED)


def _numbers(bars: pa.Table, name: str) -> Floats:
    return np.asarray(bars[name].to_numpy(), dtype=np.float64)


def _in_ranges(distance: Floats, bars: pa.Table) -> Floats:
    """A distance in units of the average true range; where that is 0, nothing can be said."""
    atr = _numbers(bars, "atr_14")
    return np.asarray(np.divide(distance, atr, out=np.full(len(atr), np.nan), where=atr > 0))


def _nullable(values: Floats) -> pa.Array:
    return pa.array(values, from_pandas=True)
