"""Tables that tell of the lake itself: closings of dead letters, gaps, members of indices."""

import pyarrow as pa

from ffe_lakehouse.schemas.table import DERIVED, TIMESTAMP, Column, TableSchema

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
        *DERIVED,
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
        *DERIVED,
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
