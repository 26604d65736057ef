"""Finer candles to coarser ones, on the UTC grid.

One pure function. Which timeframe a vendor lacks, and which finer one it is asked for instead, is
decided in ``providers``; whether the result is lawful, in ``transforms.validation``.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ffe_lakehouse.providers.base import RAW_CANDLES
from ffe_lakehouse.schemas import TIMESTAMP
from ffe_lakehouse.timeframes import Timeframe

Integers = NDArray[np.int64]


def roll_up(candles: pa.Table, timeframe: Timeframe) -> pa.Table:
    """Merge candles into the bars of ``timeframe`` that they open in.

    Open is the first part's, close the last one's, high and low are the extremes, volume and
    trade count the sums, vwap the mean of the parts' vwap weighted by volume. A bar with no part is
    not made up. A measure of which a part is unknown is unknown, too: it is null if any part is
    null, else NaN if any part is NaN. (A sum over the known parts would pass for the whole.) A part
    without volume has no weight, so its vwap need not be known; the vwap of a bar that has no
    volume at all is null.

    Measured with seven measures on one core, in million rows a second: ascending rows 27 (to 5m)
    to 97 (to 1h), newest first 10, shuffled 5. DuckDB takes 4 and 37 on two.

    Args:
        candles: Columns of ``RAW_CANDLES`` in any order of rows, each finer than ``timeframe``.
        timeframe: The coarser timeframe.

    Returns:
        Columns of ``RAW_CANDLES``, one row a bar, ascending.

    Raises:
        ValueError: A timestamp is null or occurs twice: such a row belongs to no bar, or would
            count twice in its sums.
    """
    if candles["timestamp"].null_count:
        raise ValueError("cannot roll up candles without a timestamp: take them out first")
    times = candles["timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
    if not len(times):
        return RAW_CANDLES.empty_table()
    steps = np.diff(times)
    if (steps <= 0).any():
        order = np.argsort(times)
        candles, times = candles.take(order), times[order]
        steps = np.diff(times)
        if (steps == 0).any():
            twice = np.datetime64(int(times[1:][steps == 0][0]), "us")
            raise ValueError(f"cannot roll up two candles of {twice}: take the duplicate out first")

    step = int(timeframe.step.astype(np.int64))
    buckets = times // step
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(buckets)) + 1])
    lasts = np.append(firsts[1:], len(times)) - 1
    opens = (buckets[firsts] * step).astype("datetime64[us]")
    rolled = {
        "timestamp": pa.array(opens, pa.timestamp("us")).cast(TIMESTAMP),
        "open": candles["open"].take(pa.array(firsts)),
        "high": _reduce(candles["high"], np.maximum, firsts),
        "low": _reduce(candles["low"], np.minimum, firsts),
        "close": candles["close"].take(pa.array(lasts)),
        "volume": _reduce(candles["volume"], np.add, firsts),
        "trade_count": _reduce(candles["trade_count"], np.add, firsts),
        "vwap": _mean_price(candles["vwap"], candles["volume"], firsts),
    }
    return pa.table([rolled[name] for name in RAW_CANDLES.names], schema=RAW_CANDLES)


def _reduce(column: pa.ChunkedArray, merge: np.ufunc, firsts: Integers) -> pa.Array:
    """Merge the parts of each bar; NaN passes through ``merge``, a null part makes the bar null."""
    if column.null_count == len(column):
        return pa.nulls(len(firsts), pa.float64())
    values, missing = _split(column)
    return pa.array(
        merge.reduceat(values, firsts),
        mask=None if missing is None else np.logical_or.reduceat(missing, firsts),
    )


def _mean_price(vwap: pa.ChunkedArray, volume: pa.ChunkedArray, firsts: Integers) -> pa.Array:
    """Mean of the parts' vwap by volume, where all volumes and every vwap that weighs are known."""
    if len(vwap) in (vwap.null_count, volume.null_count):
        return pa.nulls(len(firsts), pa.float64())
    prices, no_price = _split(vwap)
    weights, no_weight = _split(volume)
    weightless = weights == 0
    turnover = np.add.reduceat(np.where(weightless, 0.0, prices * weights), firsts)
    total = np.add.reduceat(weights, firsts)
    unknown = total == 0
    if no_price is not None:
        unknown |= np.logical_or.reduceat(no_price & ~weightless, firsts)
    if no_weight is not None:
        unknown |= np.logical_or.reduceat(no_weight, firsts)
    mean = np.divide(turnover, total, out=np.full(len(firsts), np.nan), where=total != 0)
    return pa.array(mean, mask=unknown)


def _split(column: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """Values with NaN in place of null, and where the nulls are (None: nowhere)."""
    missing = column.is_null().to_numpy() if column.null_count else None
    return column.to_numpy(), missing
