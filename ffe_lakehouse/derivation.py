"""What each derived table reads, how many days back, and hence which of its days are stale.

A derived day remembers the newest upstream materialization that it has seen: its data version is
that event's number. It is stale as soon as one of the days that it reads was materialized after
that, so nothing but Dagster's event log has to be asked, and a day that was computed while its
input changed is simply stale again.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TypeAlias

import dagster as dg
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ffe_lakehouse.partitions import (
    ASSET_PAIR,
    DATE,
    days_between,
    key_texts,
    table_key,
)
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import Known, State

_SEEN = "seen:"
_FEW = 5_000
"""So many partitions are asked for by name; of more, all of the asset are read."""


@dataclass(frozen=True)
class Upstream:
    """Tables of which a derived day reads the same day and some before it.

    Attributes:
        tables: Each partitioned by day and pair.
        days_back: How many days before; ``None`` is every day before.
    """

    tables: tuple[TableSchema, ...]
    days_back: int | None = 0

    @cached_property
    def mapping(self) -> dg.PartitionMapping:
        """The same for Dagster; of every day before, it is told the same day alone.

        It lays out all partitions that each one hangs on: of three years of ten pairs 6 million.
        """
        if not self.days_back:
            return dg.IdentityPartitionMapping()
        with warnings.catch_warnings():
            # In beta: both are what Dagster has to say that a day reads days before it.
            warnings.simplefilter("ignore", dg.BetaWarning)
            window = dg.TimeWindowPartitionMapping(
                start_offset=-self.days_back, allow_nonexistent_upstream_partitions=True
            )
            same = dg.DimensionPartitionMapping(ASSET_PAIR, dg.IdentityPartitionMapping())
            return dg.MultiPartitionMapping(
                {DATE: dg.DimensionPartitionMapping(DATE, window), ASSET_PAIR: same}
            )


@dataclass(frozen=True)
class Derived:
    """Tables that one step computes.

    Attributes:
        tables: What it writes; each has a row's day as its partition.
        reads: What it reads. A day is there to be computed as soon as one of the tables of the
            first of these has it.
    """

    tables: tuple[TableSchema, ...]
    reads: tuple[Upstream, ...]

    @property
    def name(self) -> str:
        """Name of the step: that of its first table."""
        return self.tables[0].name.rpartition("/")[2]

    @property
    def keys(self) -> list[dg.AssetKey]:
        """The assets of its tables."""
        return [table_key(table) for table in self.tables]

    def hangs_on(self, other: "Derived") -> bool:
        """Whether it reads what ``other`` writes."""
        return any(table in upstream.tables for upstream in self.reads for table in other.tables)


Attempt: TypeAlias = Callable[[Known, int], int]
"""Which attempt at a day would be made now, 0 for none; told what is known of it, and the number
of the newest event that it reads."""


def first_attempt(known: Known, newest: int) -> int:  # noqa: ARG001 - an ``Attempt``
    """Any day may be computed at any time, but by one run at once."""
    return int(known.state is not State.IN_PROGRESS)


def data_version(seen: int) -> str:
    """The data version of a derived day that has seen upstream event number ``seen``."""
    return f"{_SEEN}{seen}"


def seen_by(version: str) -> int:
    """Number of the newest upstream event that a derived day has seen; 0 if it is not told."""
    text = version.removeprefix(_SEEN)
    return int(text) if text.isdigit() else 0


def newest_read(
    instance: dg.DagsterInstance, derived: Derived, pairs: Sequence[str], first: date, last: date
) -> NDArray[np.int64]:
    """Number of the newest upstream event that each day depends on; shape (pairs, days).

    0 where there is nothing to compute: the tables that the day is made of have no such day, nor,
    where it is made of every day before, an earlier one.
    """
    days = (last - first).days + 1
    newest = np.zeros((len(pairs), days), np.int64)
    for number, upstream in enumerate(derived.reads):
        back = upstream.days_back
        if back is None:
            back = max(0, (first - get_settings().start_date).days)
        begin = first - timedelta(back)
        ids = np.zeros((len(pairs), days + back), np.int64)
        for table in upstream.tables:
            ids = np.maximum(ids, materializations(instance, table_key(table), pairs, begin, last))
        within = newest_within(ids, upstream.days_back)[:, -days:]
        if number == 0:
            exists = (within if upstream.days_back is None else ids[:, back:]) > 0
        newest = np.maximum(newest, within)
    return np.where(exists, newest, 0)


def newest_within(values: NDArray[np.int64], days_back: int | None) -> NDArray[np.int64]:
    """The largest value of each day and ``days_back`` days before; shape (pairs, days - back).

    With ``None``, of each day and all days before; shape (pairs, days).
    """
    if days_back is None:
        return np.maximum.accumulate(values, axis=1)
    largest: NDArray[np.int64] = sliding_window_view(values, days_back + 1, axis=1).max(axis=2)
    return largest


def materializations(
    instance: dg.DagsterInstance,
    asset_key: dg.AssetKey,
    pairs: Sequence[str] | None,
    first: date,
    last: date,
) -> NDArray[np.int64]:
    """Number of the newest materialization of each day; 0 if there is none. Shape (pairs, days).

    Without pairs, of a table that is partitioned by day alone; shape (1, days).
    """
    days = days_between(first, last)
    keys = key_texts(pairs, days) if pairs is not None else [day.isoformat() for day in days]
    if not keys:
        return np.zeros((0, len(days)), np.int64)
    found = instance.event_log_storage.get_latest_storage_id_by_partition(
        asset_key,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        set(keys) if len(keys) <= _FEW else None,
    )
    ids = np.fromiter((found.get(key, 0) for key in keys), np.int64, len(keys))
    return ids.reshape(-1, len(days))


def is_stale(known: Known, newest: int) -> bool:
    """Whether a derived day has to be computed: never was, failed, or has not seen ``newest``."""
    if not newest or known.state is State.IN_PROGRESS:
        return False
    return known.state in (State.MISSING, State.FAILED) or seen_by(known.version) < newest


def in_order(derived: Iterable[Derived]) -> list[Derived]:
    """Steps in the order in which they have to run.

    Raises:
        ValueError: They hang on one another in a circle.
    """
    left = list(derived)
    ordered: list[Derived] = []
    while left:
        pending = {table.name for each in left for table in each.tables}
        ready = [each for each in left if not pending & _read_by(each)]
        if not ready:
            raise ValueError(f"a circle among {', '.join(each.name for each in left)}")
        ordered += ready
        left = [each for each in left if each not in ready]
    return ordered


def _read_by(step: Derived) -> set[str]:
    return {table.name for upstream in step.reads for table in upstream.tables}
