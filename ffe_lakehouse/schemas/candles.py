"""Bronze candles and their dead letters."""

from functools import lru_cache

import numpy as np
import pyarrow as pa

from ffe_lakehouse.schemas.table import PROVENANCE, TIMESTAMP, Column, Rule, TableSchema
from ffe_lakehouse.timeframes import Timeframe

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
            *PROVENANCE,
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
            *PROVENANCE,
            _storage_period(timeframe),
        ),
        key=("letter_id",),
        time_column="partition_date",
        append_only=True,
    )


def storage_periods(days: np.ndarray, timeframe: Timeframe) -> pa.Array:
    """The ``storage_period`` of each UTC day (datetime64[D]): ``2024-03`` or ``2024``."""
    periods = days.astype(f"datetime64[{timeframe.storage_period}]")
    begins = np.append(True, periods[1:] != periods[:-1])[: periods.size]
    names = pa.array(periods[begins].astype(str), pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(begins.cumsum() - 1), names).cast(pa.string())
