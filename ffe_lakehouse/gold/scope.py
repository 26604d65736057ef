"""What a run of the models computes: which pairs and days, in which lake.

A model says what is true of every day. Which days are loaded and stored is said here, by the run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TypeAlias

import duckdb
import pyarrow as pa

from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.lake.where import whole_days
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.settings import get_settings

Counts: TypeAlias = Counter[tuple[str | None, date]]
"""Rows by pair (``None`` in a mart without pairs) and day."""


@dataclass(eq=False)
class Scope:
    """Pairs and days of one run of the models.

    Attributes:
        lake: Where tables are read and stored.
        last: The last UTC day that is computed; nothing later is loaded.
        first: The first day that is stored; every day if it is ``None``. Days before it are loaded,
            since most columns are cumulative.
        pairs: Canonical pairs that are loaded and stored; every pair if it is ``None``.
        commit: Written into the Delta log beside each commit.
        loaded: Source tables that were loaded already, by name.
        stored: What each mart that was computed has, by its name.
        connection: Where it is computed, once it is.
    """

    lake: DeltaLakeManager
    last: date
    first: date | None = None
    pairs: tuple[str, ...] | None = None
    commit: Mapping[str, str] = field(default_factory=dict)
    loaded: dict[str, pa.Table] = field(default_factory=dict)
    stored: dict[str, Counts] = field(default_factory=dict)
    connection: duckdb.DuckDBPyConnection | None = None

    def read(self, table: TableSchema) -> Where:
        """What of a table is loaded: nothing later than the last day."""
        timeframes = None
        if "timeframe" in table.partition_by:
            timeframes = (get_settings().mart_timeframe,)
        where = whole_days(self._pairs(table), None, self.last)
        return replace(where, timeframes=timeframes)

    def written(self, mart: TableSchema) -> Where:
        """What of a mart is stored; of it, all that was not computed is deleted."""
        return whole_days(self._pairs(mart), self.first, self.last)

    def _pairs(self, table: TableSchema) -> tuple[str, ...] | None:
        return self.pairs if "partition_asset_pair" in table.arrow.names else None


_given: list[Scope] = []


@contextmanager
def given(scope: Scope) -> Iterator[Scope]:
    """Let the models that this process runs meanwhile compute ``scope``.

    dbt runs one command at a time in a process, and makes its plug-ins itself: they look here.
    """
    _given.append(scope)
    try:
        yield scope
    finally:
        _given.pop()


def current() -> Scope:
    """The scope of this run: what was given, or else the whole lake, up to today."""
    if not _given:
        _given.append(Scope(open_lake(), utc_now().date(), commit={"by": "dbt"}))
    return _given[-1]
