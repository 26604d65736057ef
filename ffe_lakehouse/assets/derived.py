"""Assets that are computed from other tables: one factory, whatever is computed.

A step reads what its partitions hang on, computes whole columns, merges what differs, and reports
batch by batch, so that what is killed loses a batch at most. What is computed, and how many days
back it reads, is said by those who call.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import dagster as dg
import numpy as np
import pyarrow as pa
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from ffe_lakehouse.assets.events import data_version_tags, finished, materialized
from ffe_lakehouse.assets.metadata import table_spec
from ffe_lakehouse.derivation import Derived, data_version, materializations, newest_read
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.in_flight import interleave
from ffe_lakehouse.io_manager import DeltaIOManager, commit_info
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.merging import Merged
from ffe_lakehouse.partitions import (
    ONE_DAY,
    daily_by_pair,
    day_start,
    days_between,
    partition_key,
    run_partitions,
    table_key,
    windows,
)
from ffe_lakehouse.schemas import TableSchema

_BATCH = 200
"""Days, over all pairs, that are computed and committed together: 370,000 bars, 130 MB."""
_SAMPLE = 20
_MOST_PAIRS = 25
"""Of one day, too, up to 38 days of minutes are read for each pair."""
_AT_ONCE = 2
"""One batch is computed while the one before is written."""
_ALONE = (InputError, DeltaError, OSError, ValueError, ArithmeticError)
"""What ends the computing of one pair, and leaves the others alone."""


@dataclass(frozen=True)
class Batch:
    """Whole days of some pairs.

    Attributes:
        pairs: Canonical pairs, sorted.
        first: First day.
        last: Last day, included.
    """

    pairs: tuple[str, ...]
    first: date
    last: date

    @property
    def start(self) -> datetime:
        """First moment (UTC)."""
        return day_start(self.first)

    @property
    def end(self) -> datetime:
        """First moment after (UTC)."""
        return day_start(self.last + ONE_DAY)

    @property
    def where(self) -> Where:
        """The same for the lake."""
        return Where(self.pairs, self.start, self.end)


Counts: TypeAlias = dict[tuple[str, date], dict[str, int]]
"""Rows by pair and day, and within by timeframe, if the table has several."""


@dataclass(frozen=True)
class Stored:
    """What became of a batch.

    Attributes:
        batch: Its pairs and days.
        merged: Of each table what changed, and how many rows it has of each day.
        error: Why it failed.
    """

    batch: Batch
    merged: Sequence[tuple[TableSchema, Merged, Counts]]
    error: Exception | None = None


Compute: TypeAlias = Callable[[DeltaLakeManager, Batch], Sequence[pa.Table]]
"""The rows of a batch, a table for each one that the step writes; raises if they cannot be."""


def derived_asset(derived: Derived, compute: Compute) -> dg.AssetsDefinition:
    """The assets of one step.

    Args:
        derived: What it reads and writes.
        compute: Makes the rows.
    """
    deps = [
        dg.AssetDep(table_key(table), partition_mapping=upstream.mapping)
        for upstream in derived.reads
        for table in upstream.tables
    ]

    @dg.multi_asset(
        name=derived.name,
        specs=[
            table_spec(table, table.name.partition("/")[0], "merge", deps)
            for table in derived.tables
        ],
        partitions_def=daily_by_pair(),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def step(
        context: dg.AssetExecutionContext, io_manager: dg.ResourceParam[DeltaIOManager]
    ) -> Iterator[dg.DagsterEvent]:
        box = windows(run_partitions(context))
        pairs, first, last = sorted(each.pair for each in box), box[0].first, box[0].last
        # Before anything is read: what comes in meanwhile has not been seen.
        newest = newest_read(context.instance, derived, pairs, first, last)
        before = _reported(context.instance, derived, pairs, first, last)
        seen = {place: number for place, number in _by_day(pairs, first, newest) if number}
        there = [pair for pair, row in zip(pairs, newest, strict=True) if row.any()]
        failed: dict[str, str] = {}
        run_id, lake = context.run.run_id, io_manager.lake
        for stored in store_batches(derived, compute, lake, there, (first, last), run_id):
            if stored.error is not None:
                reason = f"{stored.batch.first} to {stored.batch.last}: {stored.error}"
                failed |= dict.fromkeys(stored.batch.pairs, reason)
                continue
            batch = stored.batch
            now = _reported(context.instance, derived, batch.pairs, batch.first, batch.last)
            # Of what another run has computed meanwhile nobody knows whose rows were written last:
            # as if nothing had been seen, so that it is computed once more.
            doubtful = {each: 0 for each in seen.keys() & now.keys() if now[each] != before[each]}
            yield from materialized(context, _events(context, stored, seen | doubtful))
        if failed:
            raise _failure(derived, failed)
        yield from finished(context)

    return step


def _failure(derived: Derived, failed: Mapping[str, str]) -> dg.Failure:
    """The end of a step in which pairs failed: says which, and why."""
    reasons = "; ".join(f"{pair} {reason}" for pair, reason in list(failed.items())[:_SAMPLE])
    return dg.Failure(
        f"{derived.name}: {len(failed)} pair(s) failed. {reasons}",
        metadata=failed,
        allow_retries=False,
    )


def store_batches(
    derived: Derived,
    compute: Compute,
    lake: DeltaLakeManager,
    pairs: Sequence[str],
    days: tuple[date, date],
    run_id: str,
) -> Iterator[Stored]:
    """Compute whole days and merge them into their tables, batch by batch.

    Args:
        derived: What is read and written.
        compute: Makes the rows.
        lake: Where.
        pairs: Canonical pairs, sorted.
        days: First and last day.
        run_id: Written into the Delta log.

    Yields:
        Each batch as it is committed; of one that failed, each of its pairs.
    """
    work = partial(_stored, derived, compute, lake, run_id)
    for _, stored in interleave(_batches(pairs, *days), work, _AT_ONCE):
        if isinstance(stored, Exception):
            raise stored
        yield stored


def _reported(
    instance: dg.DagsterInstance, derived: Derived, pairs: Sequence[str], first: date, last: date
) -> dict[tuple[str, date], int]:
    """Number of the newest materialization of each day, whoever made it."""
    return dict(
        _by_day(pairs, first, materializations(instance, derived.keys[0], pairs, first, last))
    )


def _by_day(
    pairs: Sequence[str], first: date, numbers: NDArray[np.int64]
) -> Iterator[tuple[tuple[str, date], int]]:
    """A matrix of pairs and days, number by number."""
    for pair, row in zip(pairs, numbers.tolist(), strict=True):
        for place, number in enumerate(row):
            yield (pair, first + timedelta(place)), number


def _batches(pairs: Sequence[str], first: date, last: date) -> Iterator[Batch]:
    days = (last - first).days + 1
    most, span = min(_MOST_PAIRS, max(1, _BATCH // days)), min(days, _BATCH)
    for place in range(0, len(pairs), most):
        for begin in range(0, days, span):
            end = min(begin + span, days) - 1
            yield Batch(
                tuple(pairs[place : place + most]), first + timedelta(begin), first + timedelta(end)
            )


def _stored(
    derived: Derived, compute: Compute, lake: DeltaLakeManager, run_id: str, batch: Batch
) -> Iterator[Stored]:
    """Compute and merge a batch; if that fails, each of its pairs, so that one fails alone."""
    try:
        merged = []
        for schema, rows in zip(derived.tables, compute(lake, batch), strict=True):
            commit = commit_info(run_id, schema.name, batch.where)
            merged.append(
                (schema, lake.merge_if_changed(schema, rows, batch.where, commit), _count(rows))
            )
        yield Stored(batch, merged)
    except _ALONE as error:
        if len(batch.pairs) == 1:
            yield Stored(batch, (), error)
            return
        for pair in batch.pairs:
            one = Batch((pair,), batch.first, batch.last)
            yield from _stored(derived, compute, lake, run_id, one)


def _events(
    context: dg.AssetExecutionContext, stored: Stored, seen: Mapping[tuple[str, date], int]
) -> list[dg.AssetMaterialization]:
    """What a batch says to Dagster."""
    events = []
    for schema, merged, by_day in stored.merged:
        context.log.info(
            f"{schema.name}: {merged.new} new, {merged.changed} changed, {merged.gone} gone,"
            f" {merged.unchanged} unchanged"
        )
        events += [
            dg.AssetMaterialization(
                table_key(schema),
                partition=partition_key(pair, day),
                metadata=_metadata(by_day.get((pair, day), {})),
                tags=data_version_tags(data_version(seen[pair, day])),
            )
            for pair in stored.batch.pairs
            for day in days_between(stored.batch.first, stored.batch.last)
            if (pair, day) in seen
        ]
    return events


def _count(rows: pa.Table) -> Counts:
    keys = [
        name
        for name in ("partition_asset_pair", "partition_date", "timeframe")
        if name in rows.column_names
    ]
    found: Counts = {}
    for each in rows.group_by(keys).aggregate([([], "count_all")]).to_pylist():
        place = each["partition_asset_pair"], each["partition_date"]
        found.setdefault(place, {})[each.get("timeframe", "")] = each["count_all"]
    return found


def _metadata(counts: Mapping[str, int]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"dagster/partition_row_count": sum(counts.values())}
    if "" not in counts and counts:
        metadata["rows_by_timeframe"] = dict(counts)
    return metadata
