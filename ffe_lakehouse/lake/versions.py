"""Bitemporal tables: which version of a fact is the newest, and what a new answer changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.frames import ascends_strictly
from ffe_lakehouse.lake.names import moment
from ffe_lakehouse.schemas import TIMESTAMP, TableSchema

EXTRACTED = "_extracted_at"
_KNOWN = "known:"


class Change(IntEnum):
    """What a row is against the newest known version of its fact."""

    UNCHANGED = 0
    NEW = 1
    REVISED = 2


@dataclass(frozen=True)
class Changes:
    """The outcome of an append-if-changed.

    Attributes:
        of_row: A ``Change`` for every row handed in, in its order (int8).
        known_days: ``partition_date`` of every version that was stored before (datetime64[D]).
        version: Delta version that was committed; ``None`` if there was nothing to write.
    """

    of_row: np.ndarray
    known_days: np.ndarray
    version: int | None = None

    @property
    def written(self) -> np.ndarray:
        """Boolean vector: which rows were appended."""
        written: np.ndarray = self.of_row != Change.UNCHANGED
        return written


def known_by(
    name: str,
    schema: TableSchema | None,
    known_on: str | datetime | None,
    filters: Sequence[str] | str,
) -> list[str]:
    """Filters, and one more that leaves out what was not known yet at ``known_on``.

    Raises:
        InputError: The table ``name`` keeps no versions.
    """
    texts = [filters] if isinstance(filters, str) else list(filters)
    if known_on is None:
        return texts
    if schema is None or EXTRACTED not in schema.arrow.names:
        raise InputError(f"{name} keeps no older versions of a row: use as_of_timestamp")
    if known_on == "now":
        return texts  # The newest, also of a machine whose clock is ahead of this one.
    return [*texts, f"{EXTRACTED} <= '{moment(known_on).isoformat()}'"]


def newest_versions(rows: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """The row with the latest ``_extracted_at`` of every key, ordered by key."""
    if rows.num_rows == 0:
        return rows
    rows = rows.combine_chunks()
    order = pc.sort_indices(rows, [(name, "ascending") for name in (*key, EXTRACTED)])
    rows = rows.take(order)
    last = np.ones(rows.num_rows, dtype=bool)
    last[:-1] = False
    for name in key:
        column = rows[name]
        last[:-1] |= pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)).to_numpy()
    return rows.filter(pa.array(last))


def refuse_repeats(schema: TableSchema, rows: pa.Table) -> None:
    """Refuse rows of which two are the same fact: both would be stored, and neither be the one.

    Raises:
        InputError: A key occurs twice.
    """
    # The usual case. To count a million of them takes as long as writing them.
    if rows.num_rows < 2 or ascends_strictly(rows, schema.key):
        return
    varied = [
        name for name in schema.key if not pc.all(pc.equal(rows[name], rows[name][0])).as_py()
    ]
    repeated = rows.num_rows - (rows.group_by(varied).aggregate([]).num_rows if varied else 1)
    if repeated:
        raise InputError(
            f"{schema.name}: {repeated} rows repeat the {', '.join(schema.key)} of another one:"
            " keep one row of each"
        )


def compare(schema: TableSchema, rows: pa.Table, known: pa.Table) -> tuple[np.ndarray, pa.Table]:
    """Tell new and revised rows from known ones.

    Args:
        schema: Table whose ``key`` and ``values`` decide.
        rows: Rows by ``schema``, of unique keys.
        known: Stored rows, all versions; at least key, values and ``_extracted_at``.

    Returns:
        A ``Change`` for every row, and ``rows`` in which a revision is never stamped earlier than
        what it revises: with a clock that was set back, it would else not be the newest, and be
        appended again at every fetch.
    """
    if known.num_rows == 0 or rows.num_rows == 0:
        return np.full(rows.num_rows, Change.NEW, dtype=np.int8), rows
    both = _side_by_side(schema, rows, newest_versions(known, schema.key))
    revised = np.zeros(rows.num_rows, dtype=bool)
    for name in schema.values:
        new, old = both[name], both[_KNOWN + name]
        # NaN differs from itself: without nan_is_null it would be appended again at every fetch.
        blank = pc.and_(pc.is_null(old, nan_is_null=True), pc.is_null(new, nan_is_null=True))
        same = pc.or_(pc.fill_null(pc.equal(old, new), False), blank)
        revised |= ~same.to_numpy()
    seen = pc.is_valid(both[_KNOWN + EXTRACTED]).to_numpy()
    change = np.where(revised, Change.REVISED, Change.UNCHANGED)
    change = np.where(seen, change, Change.NEW).astype(np.int8)
    return change, _stamp_after(rows, both, change == Change.REVISED)


def _side_by_side(schema: TableSchema, rows: pa.Table, newest: pa.Table) -> pa.Table:
    """Every row of ``rows``, in order, with what is known of its key in ``known:`` columns."""
    told = [*schema.values, EXTRACTED]
    newest = newest.select([*schema.key, *told])
    newest = newest.rename_columns([*schema.key, *(_KNOWN + name for name in told)])
    rows = rows.select([*schema.key, *told])
    rows = rows.append_column("row", pa.array(np.arange(rows.num_rows)))
    return rows.join(newest, list(schema.key), join_type="left outer").sort_by("row")


def _stamp_after(rows: pa.Table, both: pa.Table, revised: np.ndarray) -> pa.Table:
    stamps = both[EXTRACTED].to_numpy().copy()
    before = both[_KNOWN + EXTRACTED].to_numpy()
    stale = revised & (stamps <= before)
    stamps[stale] = before[stale] + np.timedelta64(1, "us")
    index = rows.schema.get_field_index(EXTRACTED)
    return rows.set_column(index, rows.schema.field(index), pa.array(stamps, TIMESTAMP))
