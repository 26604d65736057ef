"""Dead letters for tests: one by one, with any column as a test wants it."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ffe_lakehouse.schemas import dead_letters
from ffe_lakehouse.timeframes import TIMEFRAMES

HOUR = timedelta(hours=1)
FETCHED = datetime(2024, 1, 10, tzinfo=UTC)
SWAPPED = {"high": "low", "low": "high"}
"""The mapping that mends ``record(swapped=True)``."""


def at(day: int, hour: int = 0) -> datetime:
    """An hour of January 2024 (UTC)."""
    return datetime(2024, 1, day, hour, tzinfo=UTC)


def record(price: float = 100.0, *, swapped: bool = True, **fields: Any) -> str:
    """A record with our names, whose high and low are lawful once they are swapped."""
    high, low = price + 2, price - 2
    prices = {"open": price, "high": low, "low": high} if swapped else {"open": price, "high": high}
    return json.dumps({**prices, **({} if swapped else {"low": low}), "close": price + 1, **fields})


def letter(opens: datetime | None = None, **columns: Any) -> dict[str, Any]:
    """A letter of the hour ``opens``, or of a time that could not be read on 2 January."""
    day = (opens or at(2)).date()
    fetched = columns.get("_extracted_at", FETCHED)
    pair = columns.get("asset_pair", "BTCUSD")
    usual = {
        "timestamp": opens,
        "asset_pair": pair,
        "timeframe": "1h",
        "reasons": ["high_below_low"],
        "record": record(),
        "window_start": datetime(day.year, day.month, day.day, tzinfo=UTC),
        "window_end": datetime(day.year, day.month, day.day, tzinfo=UTC) + 24 * HOUR,
        "run_id": "run-1",
        "source_provider": "tests",
        "_extracted_at": fetched,
        "_ingestion_id": f"batch of {fetched}",
        "is_mock": False,
        "partition_date": day,
        "partition_asset_pair": pair,
        "storage_period": f"{day.year}",
    }
    made = usual | columns
    what = ("asset_pair", "timestamp", "partition_date", "source_provider", "record")
    digest = uuid.uuid5(uuid.NAMESPACE_OID, "|".join(str(made[name]) for name in what))
    return {"letter_id": digest.hex, **made}


def letters(*several: dict[str, Any]) -> pa.Table:
    """Rows by ``schemas.dead_letters``."""
    return pa.Table.from_pylist(list(several), dead_letters(TIMEFRAMES["1h"]).arrow)
