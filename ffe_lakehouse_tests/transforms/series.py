"""Series of unified bars for the tests of the enrichment: made up, or recorded."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ffe_lakehouse.providers.base import RAW_CANDLES
from ffe_lakehouse.schemas import TIMESTAMP, storage_periods
from ffe_lakehouse.schemas.silver import MARKET_DATA_UNIFIED
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import CARRIED
from ffe_lakehouse.transforms.rollup import roll_up

Columns = dict[str, NDArray[np.float64]]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RECORDED = {
    "BTCUSD_1m": ("coinbase/BTCUSD_1m", "1m"),
    "BTCUSD_5m": ("oanda/BTCUSD_5m", "5m"),
    "EURUSD_15m": ("oanda/EURUSD_15m", "15m"),
    "BTCUSD_1h": ("coinbase/BTCUSD_1h", "1h"),
    "BTCUSD_4h": ("coinbase/BTCUSD_1h", "4h"),
    "AAPL_1d": ("equities/AAPL_1d", "1d"),
}
"""Real series by name: file, and timeframe (a coarser one than the file's is rolled up)."""


def unified(code: str, times: NDArray[np.datetime64], measures: Columns) -> pa.Table:
    """Bars by the columns that ``enrich`` needs; a NaN in ``volume`` is null."""
    days = times.astype("datetime64[D]")
    n = len(times)
    columns: dict[str, Any] = {
        "timestamp": pa.array(times.astype("datetime64[us]")).cast(TIMESTAMP),
        **{name: pa.array(values, from_pandas=True) for name, values in measures.items()},
        "asset_pair": pa.repeat("BTCUSD", n),
        "timeframe": pa.repeat(code, n),
        "source_provider": pa.repeat("coinbase", n),
        "is_mock": pa.repeat(False, n),
        "partition_date": pa.array(days, pa.date32()),
        "partition_asset_pair": pa.repeat("BTCUSD", n),
        "storage_period": storage_periods(days, TIMEFRAMES[code]),
    }
    schema = pa.schema([MARKET_DATA_UNIFIED.arrow.field(name) for name in CARRIED])
    return pa.table([columns[name] for name in CARRIED], schema=schema)


def flat(n: int, price: float = 100.0, volume: float = 5.0) -> Columns:
    """``n`` bars that do not move."""
    prices = {name: np.full(n, price) for name in ("open", "high", "low", "close")}
    return {**prices, "volume": np.full(n, volume)}


def walk(seed: int, n: int, *, still: float = 0.1, unknown: float = 0.1) -> Columns:
    """A random walk: some bars stand still, some traded nothing, of some the volume is unknown."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0.0, 0.01, (3, n)) * (rng.random(n) >= still)
    close = 100.0 * np.exp(np.cumsum(moves[0]))
    begin = close * np.exp(moves[1])
    high = np.maximum(begin, close) * (1 + np.abs(moves[2]))
    low = np.minimum(begin, close) * (1 - np.abs(moves[1]) / 2)
    volume = np.where(rng.random(n) < 0.1, 0.0, rng.random(n) * 1000)
    volume[rng.random(n) < unknown] = np.nan
    return {"open": begin, "high": high, "low": low, "close": close, "volume": volume}


def grid(code: str, first: datetime, slots: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Open times, in bars after ``first``."""
    start = np.datetime64(first.replace(tzinfo=None), "us")
    return np.asarray(start + slots * TIMEFRAMES[code].step)


def recorded(folder: Path, name: str) -> pa.Table:
    """A real series out of ``RECORDED``. A forex vendor's volume is a tick count: left out."""
    file, code = RECORDED[name]
    candles = pq.read_table(folder / "candles" / f"{file}.parquet")
    names = ["timestamp" if column == "time" else column for column in candles.column_names]
    candles = candles.rename_columns(names).sort_by("timestamp")
    raw = [
        candles[field.name].cast(field.type)
        if field.name in names
        else pa.nulls(len(candles), field.type)
        for field in RAW_CANDLES
    ]
    candles = roll_up(pa.table(raw, schema=RAW_CANDLES), TIMEFRAMES[code])
    measures = {
        column: candles[column].to_numpy() for column in ("open", "high", "low", "close", "volume")
    }
    if name.startswith("EUR"):
        measures["volume"] = np.full(len(candles), np.nan)
    return unified(code, candles["timestamp"].to_numpy(), measures)


def span(bars: pa.Table) -> tuple[datetime, datetime]:
    """A window that holds all of the bars."""
    first, last = (bars["timestamp"][row].as_py() for row in (0, -1))
    return first, last + timedelta(microseconds=1)


def numbers(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column with NaN in place of null."""
    return np.asarray(rows[name].to_numpy(), dtype=np.float64)
