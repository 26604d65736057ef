"""Closing letters: which are open, and how one is closed once and never again.

What a letter is closed for (it became a bar, or it never will) is decided in ``replay`` and by the
user.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import Transaction, WriterProperties, write_deltalake

from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.commits import commit_properties, retried
from ffe_lakehouse.lake.frames import in_order
from ffe_lakehouse.lake.where import around
from ffe_lakehouse.schemas import CLOSINGS

Action = Literal["replayed", "discarded"]

_ID = "letter_id"


@dataclass(frozen=True)
class Closing:
    """What all letters that are closed together have in common.

    Attributes:
        action: What became of them.
        by: Who closes them.
        why: In words.
        at: When (UTC).
        run_id: Dagster run.
    """

    action: Action
    by: str
    why: str
    at: datetime
    run_id: str


def read_closings(lake: DeltaLakeManager, where: Where | None = None) -> pa.Table:
    """The closings of letters of these pairs and days: rows by ``schemas.CLOSINGS``."""
    if not lake.table_exists(CLOSINGS.name):
        return CLOSINGS.arrow.empty_table()
    return lake.read(CLOSINGS.name, where or Where())


def open_letters(letters: pa.Table, closings: pa.Table) -> pa.Table:
    """The letters that none of ``closings`` closes, in their order."""
    return letters.filter(pc.invert(pc.is_in(letters[_ID], closings[_ID])))


def close(lake: DeltaLakeManager, letters: pa.Table, closing: Closing) -> pa.Table:
    """Close those of ``letters`` that are still open.

    What is compared and what is appended are one Delta transaction per pair: of two who close the
    same letter at the same time, one fails to commit, looks again, and finds it closed.

    Args:
        lake: Where the closings are.
        letters: Rows by ``schemas.dead_letters``.
        closing: By whom, and why.

    Returns:
        What was appended: rows by ``schemas.CLOSINGS``.
    """
    if letters.num_rows == 0:
        return CLOSINGS.arrow.empty_table()
    rows = _rows(letters, closing)
    days = pc.min_max(rows["partition_date"]).as_py()
    commit = {
        "dagster/run_id": closing.run_id,
        "dagster/asset_key": CLOSINGS.name,
        "dagster/partitions": "{}|{min}...{max}".format(
            ",".join(rows["asset_pair"].unique().to_pylist()), **days
        ),
    }
    lake.append(CLOSINGS, CLOSINGS.arrow.empty_table())  # so that the table is there
    return retried(partial(_append_open, lake, rows, commit))


def _append_open(lake: DeltaLakeManager, rows: pa.Table, commit: Mapping[str, str]) -> pa.Table:
    table = lake.table(CLOSINGS.name)
    reader = table.scan(columns=[_ID], predicate=around(rows).sql(CLOSINGS))
    closed = pa.RecordBatchReader.from_stream(reader).read_all()
    fresh = open_letters(rows, closed.cast(pa.schema([CLOSINGS.arrow.field(_ID)])))
    if fresh.num_rows:
        pairs = [f"close:{pair}" for pair in fresh["asset_pair"].unique().to_pylist()]
        turns = [Transaction(name, (table.transaction_version(name) or 0) + 1) for name in pairs]
        write_deltalake(
            table,
            in_order(CLOSINGS, fresh),
            mode="append",
            writer_properties=WriterProperties(compression="ZSTD"),
            commit_properties=commit_properties(commit, turns),
        )
    return fresh


def _rows(letters: pa.Table, closing: Closing) -> pa.Table:
    told = {
        "action": closing.action,
        "closed_by": closing.by,
        "why": closing.why,
        "closed_at": closing.at,
        "run_id": closing.run_id,
    }
    columns = {name: letters[name] for name in CLOSINGS.arrow.names if name in letters.column_names}
    columns |= {name: pa.repeat(pa.scalar(told[name]), letters.num_rows) for name in told}
    # The letters' own period may be a month.
    columns["storage_period"] = pc.strftime(letters["partition_date"], format="%Y")
    return pa.table([columns[f.name].cast(f.type) for f in CLOSINGS.arrow], schema=CLOSINGS.arrow)
