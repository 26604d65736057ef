"""Which records of a vendor's answer are bars, and why the others are not.

Pure functions over columns: no Dagster, no I/O, no loops over good rows. The rules themselves stand
in ``schemas``; here they are applied, together with what only the question can tell (the window,
the grid, the clock) and with the answer's own duplicates.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.schemas import MEASURES, OHLC_RULES, PRICES, REASONS
from ffe_lakehouse.timeframes import Timeframe

_OPTIONAL = ("volume", "trade_count", "vwap")
_EPOCH_DAY = np.datetime64(0, "D").astype("datetime64[us]")


@dataclass(frozen=True)
class Verdict:
    """Every row of an answer, in exactly one of three places (row numbers, int64).

    Attributes:
        good: Bars, ascending in time, one a timestamp.
        duplicate: Exact repetitions of a good bar.
        rejected: Rows that break a rule, ascending.
        reasons: Codes for each rejected row, in the order of ``schemas.REASONS``.
    """

    good: np.ndarray
    duplicate: np.ndarray
    rejected: np.ndarray
    reasons: list[tuple[str, ...]]


def judge(
    candles: pa.Table, timeframe: Timeframe, start: datetime, end: datetime, now: datetime
) -> Verdict:
    """Tell bars from rejects.

    Args:
        candles: Rows by ``providers.base.RAW_CANDLES``, in the vendor's order.
        timeframe: Decides the grid, and when a bar has closed.
        start: Bars open at or after this moment (UTC).
        end: Bars open before this moment (UTC).
        now: Bars have closed by this moment (UTC).
    """
    rows = candles.num_rows
    broken = _broken(candles, timeframe, start, end, now)
    bad = np.zeros(rows, dtype=bool)
    for mask in broken.values():
        bad |= mask
    keep, duplicate, conflicting = _deduplicate(candles, np.flatnonzero(~bad))
    if conflicting.size:
        mask = np.zeros(rows, dtype=bool)
        mask[conflicting] = True
        broken["conflicting_duplicate"] = mask
        bad |= mask
    rejected = np.flatnonzero(bad)
    codes = [code for code in REASONS if code in broken]
    hits = [broken[code][rejected] for code in codes]
    reasons = [
        tuple(code for code, hit in zip(codes, column, strict=True) if hit)
        for column in zip(*hits, strict=True)
    ]
    return Verdict(keep, duplicate, rejected, reasons)


def without_noise(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A volume, trade count or vwap of NaN as null: vendors write both for "we have none"."""
    return pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)


def _broken(
    candles: pa.Table, timeframe: Timeframe, start: datetime, end: datetime, now: datetime
) -> dict[str, np.ndarray]:
    """Masks of the rows that break a rule, by reason code; rules that nobody broke are left out."""
    columns = {name: candles[name].to_numpy() for name in (*PRICES, "volume")}
    times = candles["timestamp"].to_numpy().astype("datetime64[us]")
    unreadable = np.isnat(times)
    unclosed = times + timeframe.step > _moment(now)
    outside = (times < _moment(start)) | (times >= _moment(end))
    masks = {
        "bad_timestamp": unreadable,
        "misaligned_timestamp": ~unreadable & ((times - _EPOCH_DAY) % timeframe.step != 0),
        "unclosed_bar": unclosed,
        "outside_window": outside & ~unclosed,
        "not_a_number": np.isinf([candles[name].to_numpy() for name in _OPTIONAL]).any(axis=0),
    }
    with np.errstate(invalid="ignore"):
        masks.update({rule.code: rule.broken(columns) for rule in OHLC_RULES})
    for name in PRICES:
        missing = candles[name].is_null().to_numpy() if candles[name].null_count else False
        masks["not_a_number"] |= ~(np.isfinite(columns[name]) | missing)
        if candles[name].null_count:
            masks[f"missing_{name}"] = missing
    return {code: mask for code, mask in masks.items() if mask.any()}


def _deduplicate(candles: pa.Table, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep the last row of every timestamp; tell exact repetitions of it from contradictions."""
    times = candles["timestamp"].to_numpy()[rows]
    if times.size < 2 or (times[1:] > times[:-1]).all():
        nothing = np.array([], dtype=np.int64)
        return rows, nothing, nothing
    order = np.argsort(times, kind="stable")
    rows, times = rows[order], times[order]
    last = np.append(times[1:] != times[:-1], True)
    kept = rows[last]
    same = np.ones(rows.size, dtype=bool)
    group = np.cumsum(last) - last
    for name in MEASURES:
        values = candles[name].to_numpy()
        a, b = values[rows], values[kept[group]]
        same &= (a == b) | (np.isnan(a) & np.isnan(b))
    return kept, np.sort(rows[~last & same]), np.sort(rows[~last & ~same])


def _moment(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")
