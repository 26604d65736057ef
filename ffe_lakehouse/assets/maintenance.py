"""Assets that keep the files of the lake in shape: compacted, in order, without what is outdated.

Each goes over every table that there is. Rows stay as they are, whatever is done here, and writers
and readers go on meanwhile. How it is done belongs to ``lake``; when, to ``automation``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from ffe_lakehouse.assets.metadata import OWNERS
from ffe_lakehouse.features import feature_sets
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake.statistics import (
    crowded_partitions,
    out_of_order,
    table_statistics,
    time_order,
)
from ffe_lakehouse.schemas import all_tables
from ffe_lakehouse.settings import get_settings

GROUP = "maintenance"

_WORTH_SORTING = 0.05
"""A table is sorted as a whole: so not for the few rows that came since the last time."""

Told = Mapping[str, str | int]
"""What was done to a table, by the heading of its column."""


@dataclass(frozen=True)
class _Work:
    """What one asset does.

    Attributes:
        name: Last part of its key.
        description: What it does, for the UI.
        do: Does it to a table by its name; ``None`` if there was nothing to do.
    """

    name: str
    description: str
    do: Callable[[DeltaIOManager, str], Told | None]


def maintenance_assets() -> list[dg.AssetsDefinition]:
    """The assets of the group ``maintenance``; without partitions."""
    works = (
        _Work(
            "compacted",
            "Small files, which every write leaves, put together: tables whose partitions have"
            " several. A table without any is not touched.",
            _compact,
        ),
        _Work(
            "sorted",
            "Files whose rows are in the order of time again, as they are not after a compaction:"
            f" tables of which more than {_WORTH_SORTING:.0%} is out of order. A read of many days"
            " need not sort then.",
            _sort,
        ),
        _Work(
            "vacuumed",
            "Files deleted that no version of the last FFE_VACUUM_HOURS needs. Time travel ends"
            " there; older versions of a bar stay.",
            _vacuum,
        ),
        _Work("statistics", "Files, bytes, rows and versions of every table.", _describe),
    )
    return [_asset(work) for work in works]


def _asset(work: _Work) -> dg.AssetsDefinition:
    @dg.asset(
        key=[GROUP, work.name],
        description=work.description,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"deltalake"},
    )
    def maintained(
        context: dg.AssetExecutionContext, io_manager: dg.ResourceParam[DeltaIOManager]
    ) -> dg.MaterializeResult[None]:
        feature_sets()  # The lake knows the tables of plug-ins once they are loaded.
        tables = [name for name in all_tables() if io_manager.lake.table_exists(name)]
        done, failed = [], []
        for name in tables:
            try:
                told = work.do(io_manager, name)
            # Whatever is wrong with one table, the others have their turn.
            except Exception as error:
                context.log.exception("%s failed", name)
                failed.append(f"{name}: {type(error).__name__}: {error}")
                continue
            if told is not None:
                done.append({"table": name, **told})
        metadata: dict[str, Any] = {
            "tables": len(tables),
            "tables_done": len(done),
            **_totals(done),
            "report": dg.MetadataValue.md(_markdown(done) or "Nothing was to be done."),
        }
        if failed:
            raise dg.Failure(
                f"{len(failed)} of {len(tables)} tables failed: {'; '.join(failed)}."
                " `ffe doctor` tells what is wrong with them",
                metadata=metadata,
            )
        return dg.MaterializeResult(metadata=metadata)

    return maintained


def _compact(io_manager: DeltaIOManager, name: str) -> Told | None:
    lake = io_manager.lake
    table = lake.table(name)
    before = len(table.file_uris())
    if not crowded_partitions(table):
        return None
    done = lake.optimize_table(name)
    return {
        "files before": before,
        "files after": len(lake.table(name).file_uris()),
        "put together": done.files_removed,
        "bytes before": done.bytes_removed,
        "bytes after": done.bytes_added,
    }


def _sort(io_manager: DeltaIOManager, name: str) -> Told | None:
    lake = io_manager.lake
    column = time_order(all_tables()[name])
    if column is None:
        return None
    share = out_of_order(lake.table(name), column)
    if share <= _WORTH_SORTING:
        return None
    done = lake.optimize_table(name, [column])
    return {
        "by": column,
        "out of order": f"{share:.0%}",
        "files before": done.files_removed,
        "files after": done.files_added,
        "bytes before": done.bytes_removed,
        "bytes after": done.bytes_added,
    }


def _vacuum(io_manager: DeltaIOManager, name: str) -> Told | None:
    deleted = io_manager.lake.vacuum_table(name, get_settings().vacuum_hours)
    return {"files deleted": len(deleted)} if deleted else None


def _describe(io_manager: DeltaIOManager, name: str) -> Told:
    found = table_statistics(io_manager.lake.table_uri(name), io_manager.storage_options)
    return {
        "rows": found.rows,
        "files": found.files,
        "bytes": found.bytes,
        "partitions to compact": found.crowded,
        "version": found.version,
        "committed (UTC)": f"{found.committed_at:%Y-%m-%d %H:%M:%S}",
        "oldest readable version": found.oldest_version,
    }


def _totals(rows: Sequence[Told]) -> dict[str, int]:
    """What can be added up over all tables: the UI draws it over time."""
    names = [name for name, value in rows[0].items() if isinstance(value, int)] if rows else []
    return {
        name.replace(" ", "_"): sum(int(row[name]) for row in rows)
        for name in names
        if "version" not in name
    }


def _markdown(rows: Sequence[Told]) -> str:
    """A table of equal rows; nothing for none."""
    if not rows:
        return ""
    numbers = [isinstance(value, int) for value in rows[0].values()]
    lines = [
        rows[0].keys(),
        ["--:" if number else "---" for number in numbers],
        *([_cell(value) for value in row.values()] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value
