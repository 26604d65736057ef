"""A vendor's columns as rows of the lake: what was seen, with where it came from beside it."""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa

from ffe_lakehouse.lake.where import Where
from ffe_lakehouse.schemas import (
    BAD_RESPONSE,
    MEASURES,
    PRICES,
    TIMESTAMP,
    TableSchema,
    dead_letters,
    raw_candles,
    storage_periods,
)
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.transforms.validation import Verdict, without_noise


@dataclass(frozen=True)
class Provenance:
    """When and for what rows were fetched: what every row of one answer has in common."""

    is_mock: bool
    pair: str
    timeframe: Timeframe
    extracted_at: datetime

    def columns(self, days: np.ndarray, vendors: pa.Array) -> dict[str, pa.Array | pa.Scalar]:
        """The columns that every table of the lake has, for rows on these UTC days."""
        return {
            "asset_pair": pa.scalar(self.pair),
            "source_provider": vendors,
            "_extracted_at": pa.scalar(self.extracted_at),
            "_ingestion_id": pa.scalar(str(uuid.uuid4())),
            "is_mock": pa.scalar(self.is_mock),
            "partition_date": pa.array(days),
            "partition_asset_pair": pa.scalar(self.pair),
            "storage_period": storage_periods(days, self.timeframe),
        }


def bronze_rows(bars: pa.Table, vendors: pa.Array, source: Provenance) -> pa.Table:
    """Good bars as rows of the Bronze table, in their order; ``vendors`` answered each of them."""
    days = bars["timestamp"].to_numpy().astype("datetime64[D]")
    columns = {name: bars[name] for name in bars.column_names} | source.columns(days, vendors)
    columns |= {name: without_noise(bars[name]) for name in MEASURES if name not in PRICES}
    return _table(raw_candles(source.timeframe), columns, bars.num_rows)


def letter_rows(
    candles: pa.Table,
    verdict: Verdict,
    record: Callable[[int], str],
    days: np.ndarray,
    vendors: pa.Array,
    window: Where,
    run_id: str,
    source: Provenance,
) -> pa.Table:
    """Rejects as rows of the dead-letter table.

    Args:
        candles: The answer.
        verdict: Which of its rows were rejected, and why.
        record: The vendor's record of a row, verbatim.
        days: UTC day of every reject (datetime64[D]): whose partition it belongs to.
        vendors: Who answered every reject.
        window: What had been asked for.
        run_id: Dagster run.
        source: Where the answer came from.
    """
    times = candles["timestamp"].take(pa.array(verdict.rejected, pa.int64()))
    records = [record(int(row)) for row in verdict.rejected]
    return letter_table(times, records, verdict.reasons, days, vendors, window, run_id, source)


def failure_rows(
    failure: Exception, vendor: str, day: date, window: Where, run_id: str, source: Provenance
) -> pa.Table:
    """An answer that could not be read at all, as one row of the dead-letter table.

    There is no record to keep verbatim: the record is what was wrong with the answer.
    """
    days = np.array([day], dtype="datetime64[D]")
    records = [json.dumps({"error": str(failure)})]
    times, vendors = pa.nulls(1, TIMESTAMP), pa.array([vendor])
    return letter_table(times, records, [(BAD_RESPONSE,)], days, vendors, window, run_id, source)


def letter_table(
    times: pa.Array | pa.ChunkedArray,
    records: list[str],
    reasons: Sequence[tuple[str, ...]],
    days: np.ndarray,
    vendors: pa.Array,
    window: Where,
    run_id: str,
    source: Provenance,
) -> pa.Table:
    """Refused records as rows of the dead-letter table: one a record, all columns of one length."""
    columns = source.columns(days, vendors) | {
        "letter_id": pa.array(_letter_ids(source, days, vendors, records), pa.string()),
        "timestamp": times,
        "timeframe": pa.scalar(source.timeframe.code),
        "reasons": pa.array([list(codes) for codes in reasons], pa.list_(pa.string())),
        "record": pa.array(records, pa.string()),
        "window_start": pa.scalar(window.start),
        "window_end": pa.scalar(window.end),
        "run_id": pa.scalar(run_id),
    }
    return _table(dead_letters(source.timeframe), columns, len(records))


def _letter_ids(
    source: Provenance, days: np.ndarray, vendors: pa.Array, records: list[str]
) -> list[str]:
    """The same record of the same day is the same letter, however often it is fetched.

    A vendor that sends it twice in one answer has sent two: the count keeps them apart.
    """
    seen: Counter[str] = Counter()
    ids = []
    for day, vendor, record in zip(days, vendors.to_pylist(), records, strict=True):
        what = f"{source.pair}|{source.timeframe}|{vendor}|{day}|{record}"
        seen[what] += 1
        ids.append(hashlib.sha256(f"{what}|{seen[what]}".encode()).hexdigest()[:32])
    return ids


def _table(schema: TableSchema, columns: dict[str, pa.Array | pa.Scalar], rows: int) -> pa.Table:
    arrays = []
    for field in schema.arrow:
        values = columns[field.name]
        if isinstance(values, pa.Scalar):
            values = pa.repeat(values.cast(field.type), rows)
        arrays.append(values.cast(field.type))
    return pa.table(arrays, schema=schema.arrow)
