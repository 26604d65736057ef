"""The engine in this process: delta-rs."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pyarrow as pa
from deltalake import DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.commits import commit_properties, retried, transactions
from ffe_lakehouse.lake.engine import Optimized, Predicate
from ffe_lakehouse.lake.object_store import explained
from ffe_lakehouse.lake.tables import unreadable, writer_properties
from ffe_lakehouse.schemas import TableSchema


@dataclass(frozen=True)
class DeltaRsEngine:
    """Reads and writes with delta-rs; see ``Engine``.

    Attributes:
        options: Storage options.
        compression: Parquet codec.
        settle: Told of a table and the version before, after every commit: makes it durable.
    """

    options: Mapping[str, str]
    compression: str
    settle: Callable[[DeltaTable, int], None]

    def read(
        self,
        uri: str,
        columns: Sequence[str] | None,
        predicate: Predicate | None,
        version: int | None,
    ) -> pa.Table:
        """Rows; files that the predicate rules out are not opened."""
        condition = predicate.sql("datafusion") if predicate else None
        with explained(uri):
            table = self._table(uri, version)
            stream = table.scan(columns=list(columns) if columns else None, predicate=condition)
            try:
                return pa.RecordBatchReader.from_stream(stream).read_all()
            except pa.ArrowInvalid as error:  # what a lost or damaged file looks like from here
                raise unreadable(uri, error) from error

    def append(self, uri: str, rows: pa.Table, schema: TableSchema | None) -> int:
        """Add rows."""
        # If the store's answer to a commit is lost, delta-rs commits once more: not under an id.
        once = [uuid4().hex] if "://" in uri else []

        def write(table: DeltaTable) -> None:
            if not any(table.transaction_version(name) is not None for name in once):
                self._write(table, rows, schema, "append", turns=transactions(table, once))

        return self._committed(uri, write)

    def overwrite(
        self, uri: str, rows: pa.Table, schema: TableSchema | None, predicate: Predicate | None
    ) -> int:
        """Replace rows."""
        condition = predicate.sql("datafusion") if predicate else None
        try:
            return self._committed(
                uri, lambda table: self._write(table, rows, schema, "overwrite", condition)
            )
        except DeltaError as error:
            if "failed validation check" not in str(error):
                raise
            raise InputError(
                f"{uri}: rows lie outside of what is overwritten; nothing was written. {error}"
            ) from error

    def merge(
        self,
        uri: str,
        rows: pa.Table,
        schema: TableSchema | None,
        keys: Sequence[str],
        update: Sequence[str],
    ) -> int:
        """Update by key, insert what is new."""

        def write(table: DeltaTable) -> None:
            values = {name: f"source.{_quoted(name)}" for name in rows.column_names}
            merger = table.merge(
                rows,
                predicate=" AND ".join(
                    [*_pruning(table, rows, keys), *map(_same, keys)],
                ),
                source_alias="source",
                target_alias="target",
                writer_properties=self._properties(schema),
                commit_properties=commit_properties(None, []),
            ).when_not_matched_insert({_quoted(name): of for name, of in values.items()})
            if update:
                merger = merger.when_matched_update({_quoted(n): values[n] for n in update})
            merger.execute()

        return self._committed(uri, write)

    def compact(self, uri: str, schema: TableSchema | None) -> Optimized:
        """Put small files together."""
        return self._optimized(uri, lambda table, told: table.optimize.compact(**told), schema)

    def z_order(self, uri: str, schema: TableSchema | None, columns: Sequence[str]) -> Optimized:
        """Write every partition anew, in the order of a curve through ``columns``."""
        return self._optimized(
            uri, lambda table, told: table.optimize.z_order(columns, **told), schema
        )

    def vacuum(self, uri: str, retention_hours: float, *, short: bool, dry_run: bool) -> list[str]:
        """Delete what is no longer needed."""
        with explained(uri):
            return self._table(uri).vacuum(
                math.ceil(retention_hours),
                dry_run=dry_run,
                enforce_retention_duration=not short,
                full=True,
            )

    def history(self, uri: str, limit: int | None) -> list[dict[str, Any]]:
        """The commits, newest first."""
        return self._table(uri).history(limit)

    def restore(self, uri: str, version: int) -> None:
        """Bring back a version."""
        try:
            self._committed(uri, lambda table: table.restore(version))
        except DeltaError as error:
            if "missing file" not in str(error):
                raise
            raise InputError(
                f"{uri}: version {version} cannot come back, a vacuum has deleted files of it:"
                " name a later one"
            ) from error

    def _table(self, uri: str, version: int | None = None) -> DeltaTable:
        return DeltaTable(uri, version=version, storage_options=dict(self.options))

    def _committed(self, uri: str, write: Callable[[DeltaTable], object]) -> int:
        def attempt() -> int:
            table = self._table(uri)
            before = table.version()
            write(table)
            table.update_incremental()
            self.settle(table, before)
            return table.version()

        return retried(attempt, uri)

    def _write(
        self,
        table: DeltaTable,
        rows: pa.Table,
        schema: TableSchema | None,
        mode: Any,
        predicate: str | None = None,
        turns: Sequence[Transaction] = (),
    ) -> None:
        write_deltalake(
            table,
            rows,
            mode=mode,
            predicate=predicate,
            writer_properties=self._properties(schema),
            commit_properties=commit_properties(None, list(turns)),
        )

    def _optimized(
        self,
        uri: str,
        optimize: Callable[[DeltaTable, dict[str, Any]], dict[str, Any]],
        schema: TableSchema | None,
    ) -> Optimized:
        told = {
            "writer_properties": self._properties(schema),
            "commit_properties": commit_properties(None, []),
        }
        found: list[dict[str, Any]] = []
        self._committed(uri, lambda table: found.append(optimize(table, told)))
        metrics = found[-1]
        return Optimized(
            metrics["numFilesRemoved"],
            metrics["numFilesAdded"],
            int(json.loads(metrics["filesRemoved"])["totalSize"]),
            int(json.loads(metrics["filesAdded"])["totalSize"]),
        )

    def _properties(self, schema: TableSchema | None) -> WriterProperties:
        if schema is not None:
            return writer_properties(schema, self.compression)
        codec: Any = self.compression.upper()
        return WriterProperties(compression=codec)


def _quoted(name: str) -> str:
    if '"' in name:
        raise InputError(f"the column name {name!r} has a quotation mark in it: rename it")
    return f'"{name}"'


def _same(key: str) -> str:
    return f"target.{_quoted(key)} = source.{_quoted(key)}"


def _pruning(table: DeltaTable, rows: pa.Table, keys: Sequence[str]) -> list[str]:
    """Which partitions the merge looks at: without that it reads the whole table."""
    conditions = []
    for name in table.metadata().partition_columns:
        if name in keys and pa.types.is_string(rows.schema.field(name).type):
            values = sorted(rows[name].unique().to_pylist())
            texts = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
            conditions.append(f"target.{_quoted(name)} IN ({texts})")
    return conditions
