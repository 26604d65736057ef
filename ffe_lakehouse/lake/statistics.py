"""What can be told of a table without reading its rows, and what is to be done about its files.

From the Delta log alone, but for ``out_of_order``, which reads one column.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyarrow import fs as arrow_fs

from ffe_lakehouse.lake.frames import sorted_by
from ffe_lakehouse.schemas import TableSchema

_SMALL = 100 * 2**20
"""Files of fewer bytes are put together: what delta-rs aims at (1.6.6)."""


@dataclass(frozen=True)
class TableStatistics:
    """A table at its newest version.

    Attributes:
        rows: Rows, all versions of a fact counted.
        files: Data files.
        bytes: Their size.
        crowded: Partitions with several small files, which compaction would put together.
        version: Newest Delta version; the first is 0.
        committed_at: When it was committed (UTC).
        oldest_version: Since this one, every version can still be read.
    """

    rows: int
    files: int
    bytes: int
    crowded: int
    version: int
    committed_at: datetime
    oldest_version: int


def table_statistics(uri: str, options: Mapping[str, str]) -> TableStatistics:
    """The statistics of the table at ``uri``.

    Args:
        uri: The table: a path or an object-store address.
        options: Storage options.
    """
    table = DeltaTable(uri, storage_options=dict(options))
    files = _files(table)
    committed = table.history(1)[0]["timestamp"]
    return TableStatistics(
        rows=pc.sum(files["num_records"]).as_py() or 0,
        files=files.num_rows,
        bytes=pc.sum(files["size_bytes"]).as_py() or 0,
        crowded=crowded_partitions(table),
        version=table.version(),
        committed_at=datetime.fromtimestamp(committed / 1000, UTC),
        oldest_version=_oldest_version(uri, options, table),
    )


def crowded_partitions(table: DeltaTable) -> int:
    """Partitions with more than one small file."""
    files = _files(table)
    small = files.filter(pc.less(files["size_bytes"], _SMALL))
    values = [small[f"partition.{name}"] for name in table.metadata().partition_columns]
    where = (
        zip(*(each.to_pylist() for each in values), strict=True) if values else [()] * len(small)
    )
    return sum(count > 1 for count in Counter(where).values())


def time_order(schema: TableSchema) -> str | None:
    """The column that rows of one partition are ordered by, if it is their time.

    ``None`` for a table of another order: by its time it would be out of it.
    """
    same = {*schema.partition_by}
    if "partition_asset_pair" in same:
        same.add("asset_pair")
    first = next((name for name in schema.sort_by if name not in same), None)
    return first if first == schema.time_column else None


def out_of_order(table: DeltaTable, column: str) -> float:
    """Share of the rows, 0 to 1, that lie in files whose rows do not ascend by ``column``."""
    rows = wrong = 0
    for fragment in table.to_pyarrow_dataset().get_fragments():
        values = fragment.to_table(columns=[column])
        rows += values.num_rows
        if sorted_by(values, [column]) is not values:
            wrong += values.num_rows
    return wrong / rows if rows else 0.0


def _files(table: DeltaTable) -> pa.Table:
    return pa.table(table.get_add_actions(flatten=True))


def _oldest_version(uri: str, options: Mapping[str, str], table: DeltaTable) -> int:
    """By trying: a vacuum is not always in the log, and a cleaned log has lost its beginning."""
    everything = arrow_fs.FileSelector("", recursive=True)
    found = table.to_pyarrow_dataset().filesystem.get_file_info(everything)
    there = {unquote(each.path) for each in found if each.is_file}

    def readable(version: int) -> bool:
        try:
            old = DeltaTable(uri, version=version, storage_options=dict(options))
        except DeltaError:
            return False
        paths = pa.table(old.get_add_actions())["path"].to_pylist()
        return all(unquote(path) in there for path in paths)

    return bisect_left(range(table.version()), True, key=readable)
