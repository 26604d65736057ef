"""What the lake holds, from its Delta logs alone: tables, their size and reach, their commits.

No data file is opened here, so a table of a billion rows answers as fast as an empty one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.features import feature_sets
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.tables import table_schema
from ffe_lakehouse.schemas import all_tables

_LAYERS = ("bronze", "silver", "gold", "quality", "reference")

# delta-rs calls the same count by another name in each operation (1.6.6).
_ROWS = (
    "num_added_rows",
    "num_target_rows_inserted",
    "num_target_rows_updated",
    "num_deleted_rows",
)
_FILES_ADDED = ("num_added_files", "num_target_files_added", "numFilesAdded", "numRestoredFile")
_FILES_REMOVED = (
    "num_removed_files",
    "num_target_files_removed",
    "numFilesRemoved",
    "numRemovedFile",
)


@dataclass(frozen=True)
class TableSummary:
    """A table at its newest version.

    Attributes:
        table: Name.
        rows: Rows, all versions of a fact counted.
        files: Data files.
        bytes: Their size.
        version: Newest Delta version; the first is 0.
        oldest: Smallest value of the table's time column; ``None`` if there is no row.
        newest: Greatest value of it. A UTC day where the time column is one (dead letters).
        uri: Where it lives.
    """

    table: str
    rows: int
    files: int
    bytes: int
    version: int
    oldest: datetime | date | None
    newest: datetime | date | None
    uri: str


@dataclass(frozen=True)
class Commit:
    """One version of a table.

    Attributes:
        version: Delta version.
        timestamp: When it was committed (UTC).
        operation: As delta-rs names it: ``WRITE``, ``MERGE``, ``OPTIMIZE``.
        rows: Rows that were added, updated or deleted; ``None`` if the operation counts none.
        files_added: Data files that came in; ``None`` likewise.
        files_removed: Data files that went out of the table; ``None`` likewise.
        run_id: Dagster run that wrote it, if one did.
        partitions: What it wrote: ``BTCUSD,ETHUSD|2024-01-01...2024-01-31``.
    """

    version: int
    timestamp: datetime
    operation: str
    rows: int | None
    files_added: int | None
    files_removed: int | None
    run_id: str | None
    partitions: str | None


def table_name(text: str) -> str:
    """The table that ``text`` names: ``bronze/raw_market_data_1h``, or without its layer.

    The layer may be left out if only one of bronze, silver and gold has such a table; dead letters
    are always named in full.

    Raises:
        InputError: There is no such table, or several.
    """
    feature_sets()  # The lake knows the tables of plug-ins once they are loaded.
    found = [name for name in (f"{layer}/{text}" for layer in _LAYERS) if name in all_tables()]
    if len(found) > 1:
        raise InputError(f"{text!r} is in several layers: use one of {', '.join(found)}")
    return found[0] if found else table_schema(text).name


def summarize(lake: DeltaLakeManager) -> list[TableSummary]:
    """Every table that was ever written."""
    feature_sets()
    return [_summary(lake, name) for name in all_tables() if lake.table_exists(name)]


def _summary(lake: DeltaLakeManager, name: str) -> TableSummary:
    table = lake.table(name)
    files = pa.table(table.get_add_actions(flatten=True))
    time = table_schema(name).time_column
    return TableSummary(
        table=name,
        rows=pc.sum(files["num_records"]).as_py() or 0,
        files=files.num_rows,
        bytes=pc.sum(files["size_bytes"]).as_py() or 0,
        version=table.version(),
        oldest=pc.min(files[f"min.{time}"]).as_py(),
        newest=pc.max(files[f"max.{time}"]).as_py(),
        uri=lake.table_uri(name),
    )


def commits(lake: DeltaLakeManager, name: str, limit: int | None = None) -> list[Commit]:
    """The commits of a table, newest first.

    Raises:
        InputError: The table was never written.
    """
    return [_commit(entry) for entry in lake.history(name, limit)]


def _commit(entry: Mapping[str, Any]) -> Commit:
    metrics = entry.get("operationMetrics", {})
    return Commit(
        version=entry["version"],
        timestamp=datetime.fromtimestamp(entry["timestamp"] / 1000, UTC),
        operation=entry["operation"],
        rows=_total(metrics, _ROWS),
        files_added=_total(metrics, _FILES_ADDED),
        files_removed=_total(metrics, _FILES_REMOVED),
        run_id=entry.get("dagster/run_id"),
        partitions=entry.get("dagster/partitions"),
    )


def _total(metrics: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    counts = [int(metrics[name]) for name in names if name in metrics]
    return sum(counts) if counts else None
