"""What an engine does for ``DeltaLakeManager``: read and write Delta tables by their address.

delta-rs (``delta_rs``) does it in this process, Spark (``spark``) on a cluster. Both read what the
other wrote. Tables are made by the manager, with delta-rs: an engine finds them there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import pyarrow as pa

from ffe_lakehouse.schemas import TableSchema

Dialect: TypeAlias = Literal["datafusion", "spark"]
"""Whose SQL: delta-rs's, or Spark's."""


class Predicate(Protocol):
    """Which rows."""

    def sql(self, dialect: Dialect) -> str:
        """As a condition in SQL."""


@dataclass(frozen=True)
class Optimized:
    """What became of a table's files.

    Attributes:
        files_removed: Files that were put together.
        files_added: Files that they are now.
        bytes_removed: Size of the former.
        bytes_added: Size of the latter.
    """

    files_removed: int
    files_added: int
    bytes_removed: int
    bytes_added: int


class Engine(Protocol):
    """Reads and writes Delta tables.

    ``uri`` is a path or an object-store address (``s3://``); ``schema`` is what the lakehouse knows
    of the table, ``None`` for one of a user's own. Rows have the table's columns and types, times
    are UTC. A write that was overtaken by another writer is tried again.
    """

    def read(
        self,
        uri: str,
        columns: Sequence[str] | None,
        predicate: Predicate | None,
        version: int | None,
    ) -> pa.Table:
        """Rows, in no particular order."""

    def append(self, uri: str, rows: pa.Table, schema: TableSchema | None) -> int:
        """Add rows; the version."""

    def overwrite(
        self, uri: str, rows: pa.Table, schema: TableSchema | None, predicate: Predicate | None
    ) -> int:
        """Put rows in the place of those that ``predicate`` selects, or of all; the version.

        Raises:
            InputError: A row lies outside of the predicate; nothing is changed.
        """

    def merge(
        self,
        uri: str,
        rows: pa.Table,
        schema: TableSchema | None,
        keys: Sequence[str],
        update: Sequence[str],
    ) -> int:
        """Update these columns of the rows whose key is there, insert the others; the version.

        Columns that ``rows`` lacks are null in what is inserted.
        """

    def compact(self, uri: str, schema: TableSchema | None) -> Optimized:
        """Put small files of a partition together. Rows stay as they are."""

    def z_order(self, uri: str, schema: TableSchema | None, columns: Sequence[str]) -> Optimized:
        """Write every partition anew, so that rows near in ``columns`` are near in the files."""

    def vacuum(self, uri: str, retention_hours: float, *, short: bool, dry_run: bool) -> list[str]:
        """Delete files that no version of the last hours needs; which they are.

        Args:
            uri: The table.
            retention_hours: So far back time travel goes on working.
            short: Allow fewer hours than the table itself is meant to keep.
            dry_run: Delete nothing.
        """

    def history(self, uri: str, limit: int | None) -> list[dict[str, Any]]:
        """The commits, newest first: ``version``, ``timestamp`` (ms), ``operation`` and others."""

    def restore(self, uri: str, version: int) -> None:
        """Commit the table's content of ``version`` as its newest.

        Raises:
            InputError: A vacuum has deleted files of it.
        """
