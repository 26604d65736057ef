"""Every table, once: columns, Arrow types, rules, Delta layout.

Delta tables, Pandera schemas, asset checks, Dagster's column schema and the docs all come from the
``TableSchema`` objects here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandera.pandas as pandera
import pyarrow as pa

from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

TIMESTAMP = pa.timestamp("us", tz="UTC")

Frame = Mapping[str, Any]
"""Columns by name: a pandas frame, or a dict of numpy arrays with NaN where a value is missing."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Rule:
    """A law that every row obeys.

    Attributes:
        code: Stable name, as it stands in the dead letters and on the asset checks.
        description: The law in words.
        broken: Which rows break it, as a boolean vector. Compares so that a missing value (NaN)
            breaks nothing: that it is missing is the business of the column.
    """

    code: str
    description: str
    broken: Callable[[Frame], Any]


@dataclass(frozen=True)
class TableSchema:
    """All there is to know about a table.

    Attributes:
        name: Asset key and path below the lake's root: ``bronze/raw_market_data_1h``.
        description: What one row is.
        columns: In stored order.
        key: What makes a row *the same fact*.
        values: Of two rows of one key: what makes the newer one a *revision*. Empty where a fact
            never changes.
        rules: Laws of a single row.
        partition_by: Delta partition columns.
        sort_by: Order of the rows in every file, so that file statistics can skip.
        time_column: What a stretch of time is compared with: a timestamp or a UTC day.
        append_only: Refuses update, overwrite and merge (``delta.appendOnly``).
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    values: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    partition_by: tuple[str, ...] = ("partition_asset_pair", "storage_period")
    sort_by: tuple[str, ...] = ("asset_pair", "timestamp")
    time_column: str = "timestamp"
    append_only: bool = False

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, nullability included."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    @cached_property
    def pandera(self) -> pandera.DataFrameSchema:
        """The same columns and rules as a Pandera schema, for frames read from the table."""
        return pandera.DataFrameSchema(
            {c.name: pandera.Column(nullable=c.nullable) for c in self.columns},
            checks=[_pandera_check(rule) for rule in self.rules],
            unique=[*self.key, "_extracted_at"] if self.values else list(self.key),
            strict=True,
            ordered=True,
            name=self.name,
        )


def _pandera_check(rule: Rule) -> pandera.Check:
    return pandera.Check(lambda frame: ~rule.broken(frame), name=rule.code, error=rule.description)


PRICES = ("open", "high", "low", "close")
MEASURES = (*PRICES, "volume", "trade_count", "vwap")
"""What a vendor says of a bar. If it differs from the last known version, it is a revision."""

OHLC_RULES = (
    Rule(
        "non_positive_price",
        "open, high, low and close are above zero",
        lambda f: (f["open"] <= 0) | (f["high"] <= 0) | (f["low"] <= 0) | (f["close"] <= 0),
    ),
    Rule("high_below_low", "high is not below low", lambda f: f["high"] < f["low"]),
    Rule(
        "open_out_of_range",
        "open lies in [low, high]",
        lambda f: (f["open"] < f["low"]) | (f["open"] > f["high"]),
    ),
    Rule(
        "close_out_of_range",
        "close lies in [low, high]",
        lambda f: (f["close"] < f["low"]) | (f["close"] > f["high"]),
    ),
    Rule("negative_volume", "volume is not below zero", lambda f: f["volume"] < 0),
)

BAD_RESPONSE = "bad_response"
LEGACY_REASON = "legacy_reason"

REASONS: dict[str, str] = {
    "bad_timestamp": "the time is missing or cannot be read",
    "misaligned_timestamp": "the time is not the open time of a bar of this timeframe",
    "outside_window": "the bar lies outside of the days that were asked for",
    "unclosed_bar": "the bar had not closed when it was fetched",
    **{f"missing_{name}": f"{name} is missing" for name in PRICES},
    "not_a_number": "a price or the volume is not a finite number",
    **{rule.code: f"breaks the law: {rule.description}" for rule in OHLC_RULES},
    "conflicting_duplicate": "a later record of the same answer gives the same bar other values",
    LEGACY_REASON: "the old engine refused it; the record's `reason` says why, in its words",
    BAD_RESPONSE: "the vendor's answer as a whole could not be read: the record says why",
}
"""Every reason a record can be rejected for, with its meaning. Codes are stable."""


_PROVENANCE = (
    Column("source_provider", pa.string(), "Vendor that answered."),
    Column("_extracted_at", TIMESTAMP, "When we knew (UTC)."),
    Column("_ingestion_id", pa.string(), "UUID4 of the write that brought the row."),
    Column("is_mock", pa.bool_(), "True if the row is simulated."),
    Column("partition_date", pa.date32(), "UTC day: the date half of the Dagster partition."),
    Column("partition_asset_pair", pa.string(), "The pair half of the Dagster partition."),
)


def _storage_period(timeframe: Timeframe) -> Column:
    unit = "month" if timeframe.storage_period == "M" else "year"
    return Column("storage_period", pa.string(), f"UTC {unit}: Delta partition in time.")


@lru_cache
def raw_candles(timeframe: Timeframe) -> TableSchema:
    """The Bronze table of one timeframe."""
    return TableSchema(
        name=f"bronze/raw_market_data_{timeframe}",
        description=(
            f"One version of one {timeframe} bar, as a vendor gave it. A bar that a vendor revises"
            " is appended again: `timestamp` says when it was true, `_extracted_at` when we knew."
        ),
        columns=(
            Column("timestamp", TIMESTAMP, "Open time of the bar (UTC)."),
            Column("open", pa.float64(), "First price, in the quote currency."),
            Column("high", pa.float64(), "Highest price, in the quote currency."),
            Column("low", pa.float64(), "Lowest price, in the quote currency."),
            Column("close", pa.float64(), "Last price, in the quote currency."),
            Column("volume", pa.float64(), "Base units; null if the vendor has none.", True),
            Column("asset_pair", pa.string(), "Canonical pair."),
            *_PROVENANCE,
            Column("trade_count", pa.float64(), "Trades, if the vendor counts them.", True),
            Column("vwap", pa.float64(), "Volume-weighted average price, if given.", True),
            _storage_period(timeframe),
        ),
        key=("asset_pair", "timestamp", "source_provider"),
        values=MEASURES,
        rules=OHLC_RULES,
        append_only=True,
    )


@lru_cache
def dead_letters(timeframe: Timeframe) -> TableSchema:
    """The dead-letter table beside the Bronze table of one timeframe."""
    return TableSchema(
        name=f"dlq/raw_market_data_{timeframe}",
        description=f"One {timeframe} record that a rule refused, verbatim, with every reason.",
        columns=(
            Column("letter_id", pa.string(), "Digest of what was refused: equal letters are one."),
            Column("timestamp", TIMESTAMP, "Open time of the bar, if it could be read.", True),
            Column("asset_pair", pa.string(), "Canonical pair."),
            Column("timeframe", pa.string(), "Timeframe code."),
            Column("reasons", pa.list_(pa.string()), "Stable reason codes; all that apply."),
            Column("record", pa.string(), "The vendor's record, verbatim, as JSON."),
            Column("window_start", TIMESTAMP, "Start of the fetched window, included (UTC)."),
            Column("window_end", TIMESTAMP, "End of the fetched window, excluded (UTC)."),
            Column("run_id", pa.string(), "Dagster run that fetched it."),
            *_PROVENANCE,
            _storage_period(timeframe),
        ),
        key=("letter_id",),
        time_column="partition_date",
        append_only=True,
    )


_DERIVED = (
    Column("partition_date", pa.date32(), "UTC day: the date half of the Dagster partition."),
    Column("partition_asset_pair", pa.string(), "The pair half of the Dagster partition."),
    Column("storage_period", pa.string(), "UTC year: Delta partition in time."),
)

CLOSINGS = TableSchema(
    name="dlq/closings",
    description="One dead letter that is closed: replayed as a bar, or discarded. Each is once.",
    columns=(
        Column("letter_id", pa.string(), "Of the letter."),
        Column("timeframe", pa.string(), "Whose dead-letter table holds it."),
        Column("asset_pair", pa.string(), "Canonical pair."),
        Column("action", pa.string(), "`replayed`: it is a bar now. `discarded`: it is none."),
        Column("closed_by", pa.string(), "Who closed it."),
        Column("why", pa.string(), "Why, in words."),
        Column("closed_at", TIMESTAMP, "When (UTC)."),
        Column("run_id", pa.string(), "Dagster run that closed it."),
        *_DERIVED,
    ),
    key=("letter_id",),
    sort_by=("asset_pair", "timeframe", "letter_id"),
    time_column="partition_date",
    append_only=True,
)
"""Letters that are not in here are open."""

GAP_CLASSES: dict[str, str] = {
    "market_closed": "the calendar expects no bar",
    "vendor_has_none": "asked for twice, after the day had closed, and still nothing",
    "not_fetched": "not asked for, or once: it may still come",
}

CANDLE_GAPS = TableSchema(
    name="quality/candle_gaps",
    description="Bars in a row, of one day of one pair in one timeframe, that the lake has not.",
    columns=(
        Column("asset_pair", pa.string(), "Canonical pair."),
        Column("timeframe", pa.string(), "Timeframe code."),
        Column("first", TIMESTAMP, "Open time of the first bar that is not there (UTC)."),
        Column("last", TIMESTAMP, "Open time of the last one (UTC)."),
        Column("bars", pa.int64(), "How many they are."),
        Column("class", pa.string(), "; ".join(f"`{k}`: {v}" for k, v in GAP_CLASSES.items())),
        Column("found_at", TIMESTAMP, "When it was looked for (UTC)."),
        *_DERIVED,
    ),
    key=("asset_pair", "timeframe", "first"),
    sort_by=("asset_pair", "timeframe", "first"),
    time_column="partition_date",
)

INDEX_MEMBERSHIP = TableSchema(
    name="reference/index_membership",
    description="One stay of a symbol in an index, so that the index of any past day can be told.",
    columns=(
        Column("index_name", pa.string(), "Lower case, with underscores: `s_and_p_500`."),
        Column("symbol", pa.string(), "Canonical symbol."),
        Column("added", pa.date32(), "First day of the stay."),
        Column("removed", pa.date32(), "First day after it; null while it lasts.", True),
        Column("recorded_at", TIMESTAMP, "When we knew (UTC)."),
    ),
    key=("index_name", "symbol", "added"),
    partition_by=(),
    sort_by=("index_name", "symbol", "added"),
    time_column="added",
)


def all_tables() -> dict[str, TableSchema]:
    """Every table of the lake by its name."""
    tables = [make(tf) for tf in TIMEFRAMES.values() for make in (raw_candles, dead_letters)]
    tables += [CLOSINGS, CANDLE_GAPS, INDEX_MEMBERSHIP]
    return {table.name: table for table in tables}


def storage_periods(days: np.ndarray, timeframe: Timeframe) -> pa.Array:
    """The ``storage_period`` of each UTC day (datetime64[D]): ``2024-03`` or ``2024``."""
    periods = days.astype(f"datetime64[{timeframe.storage_period}]")
    begins = np.append(True, periods[1:] != periods[:-1])[: periods.size]
    names = pa.array(periods[begins].astype(str), pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(begins.cumsum() - 1), names).cast(pa.string())
