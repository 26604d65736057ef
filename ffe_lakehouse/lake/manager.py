"""``DeltaLakeManager``: every table of a lake by its name, for notebooks, scripts and the CLI."""

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.deleting import delete_all
from ffe_lakehouse.lake.delta_rs import DeltaRsEngine
from ffe_lakehouse.lake.engine import Engine, Optimized, Predicate
from ffe_lakehouse.lake.frames import in_order, refuse_append_only
from ffe_lakehouse.lake.given import (
    GivenFrame,
    columns_lacking,
    given_arrow,
    refuse_bad_keys,
    refuse_new_rows,
)
from ffe_lakehouse.lake.names import checked_name, moment
from ffe_lakehouse.lake.store import TableStore
from ffe_lakehouse.lake.tables import history_frame, version_at
from ffe_lakehouse.lake.versions import known_by, newest_versions
from ffe_lakehouse.lake.where import around
from ffe_lakehouse.schemas import TableSchema, all_tables

_LOG = logging.getLogger(__name__)

SAFE_RETENTION_HOURS = 168
"""What delta-rs and Spark keep at least: a shorter vacuum may take files that a reader has open."""

Mode: TypeAlias = Literal["append", "overwrite", "merge"]


class DeltaLakeManager(TableStore):
    """The tables of one lake, by name: those of the lakehouse, and any of your own.

    Frames may be pandas, Arrow or Polars. A naive time is taken as UTC, and stored in microseconds.
    None of the methods needs Spark; ``engine`` has them done by it.

    Args:
        storage_path: Root of the lake: a folder, ``s3://bucket/prefix`` (or ``s3a://``), or
            another object store that delta-rs knows.
        storage_options: Handed to delta-rs as they are (endpoint, region, credentials). What is
            not said is found as usual: environment, profile, role of the machine.
        compression: Parquet codec: ``zstd``, ``snappy``, ``gzip`` or ``uncompressed``.
        durable: On local disk, a write returns when it would survive a power cut.
        engine: What does the work of the methods below; delta-rs by default.
    """

    def __init__(
        self,
        storage_path: str | Path,
        storage_options: dict[str, str] | None = None,
        compression: str = "zstd",
        *,
        durable: bool = True,
        engine: Engine | None = None,
    ) -> None:
        """Nothing is read or written before the first call."""
        super().__init__(storage_path, storage_options, compression, durable=durable)
        self.engine = engine or DeltaRsEngine(self._options, compression, self._settle)

    def create_or_update_table(
        self,
        df: GivenFrame,
        table_name: str,
        partition_columns: Sequence[str] | None = None,
        mode: Mode = "append",
        *,
        merge_keys: Sequence[str] | None = None,
        filters: Sequence[str] | str = (),
        whole_table: bool = False,
    ) -> int | None:
        """Write rows; make the table if there is none.

        Args:
            df: The rows.
            table_name: ``silver/my_table``. A table of the lakehouse takes its own columns only.
            partition_columns: Of a new table: one folder for each value. A table of the lakehouse
                has its own.
            mode: ``append`` adds the rows; to a table that keeps versions, such as Bronze, only
                what is new or revised. ``overwrite`` puts them in the place of what
                ``filters`` select, or of everything with ``whole_table``. ``merge`` is
                ``merge_upsert``.
            merge_keys: For ``merge``; by default the key of a table of the lakehouse.
            filters: Conditions such as ``asset_pair = 'BTCUSD'``; all of them must hold.
            whole_table: Say that an overwrite is to replace everything.

        Returns:
            The Delta version, ``None`` if there was nothing to write.

        Raises:
            InputError: Unknown mode, rows that do not fit the table, an append-only table that is
                to be changed, an overwrite that says not of what, or rows outside of that.
        """
        schema = all_tables().get(checked_name(table_name))
        if mode == "merge":
            if not self.table_exists(table_name):
                rows = self._fitting(df, table_name, schema)
                self._made(table_name, schema, rows, partition_columns)
            return self.merge_upsert(df, table_name, merge_keys or (schema.key if schema else ()))
        if mode not in ("append", "overwrite"):
            raise InputError(f"unknown mode {mode!r}: use append, overwrite or merge")
        rows = self._fitting(df, table_name, schema)
        uri = self._made(table_name, schema, rows, partition_columns)
        if rows.num_rows == 0 and mode == "append":
            return None
        if mode == "append" and schema is not None and schema.values:
            return self.append_if_changed(schema, rows, around(rows)).version
        if mode == "append":
            return self.engine.append(uri, rows, schema)
        if schema is not None:
            refuse_append_only(schema, "overwrite")
        predicate = _parsed(filters, _columns(self.table(table_name)))
        if (predicate is None) is not whole_table:
            raise InputError(
                f"{table_name}: an overwrite replaces what its filters select, or everything with"
                " whole_table=True: give one of them"
            )
        return self.engine.overwrite(uri, rows, schema, predicate)

    def read_table(
        self,
        table_name: str,
        as_of_timestamp: str | datetime | None = None,
        version: int | None = None,
        known_on: str | datetime | None = None,
        filters: Sequence[str] | str = (),
        columns: Sequence[str] | None = None,
        *,
        to: Literal["pandas", "arrow"] = "pandas",
    ) -> Any:
        """Read rows, ordered as the table is if the lakehouse knows it.

        Args:
            table_name: ``bronze/raw_market_data_1h``.
            as_of_timestamp: The table as it was committed at this moment (UTC if it says nothing
                else): ``2025-01-01T00:00:00``, with or without ``Z``.
            version: The table at this Delta version.
            known_on: Of every fact only the newest version that was known at this moment, or
                ``now``. Works for any past, also after a vacuum; for tables that keep versions.
            filters: Conditions such as ``close > 100``; all of them must hold. Files that cannot
                have such rows are not read.
            columns: Which ones, in this order; all by default.
            to: ``pandas`` or ``arrow``: what comes back.

        Raises:
            InputError: No such table, column, version, moment or condition.
        """
        schema = all_tables().get(checked_name(table_name))
        table, wanted = self._existing(table_name), None
        if version is not None or as_of_timestamp is not None:
            wanted = self._version(table_name, version, as_of_timestamp)
        known, uri = _columns(table), self.table_uri(table_name)
        predicate = _parsed(known_by(table_name, schema, known_on, filters), known)
        names = list(columns or known.names)
        if unknown := [name for name in names if name not in known.names]:
            raise InputError(
                f"{table_name} has no column {', '.join(unknown)}: it has {', '.join(known.names)}"
            )
        helpers = (*schema.sort_by, *schema.key) if schema else ()
        stamp = ("_extracted_at",) if "_extracted_at" in known.names else ()
        read = list(dict.fromkeys([*names, *helpers, *(stamp if schema else ())]))
        rows = self.engine.read(uri, read, predicate, wanted)
        rows = rows.cast(pa.schema([known.field(name) for name in rows.column_names]))
        if schema is not None:
            if known_on is not None:
                rows = newest_versions(rows, schema.key)
            order = list(dict.fromkeys((*schema.sort_by, *stamp)))
            rows = rows.sort_by([(name, "ascending") for name in order])
        rows = rows.select(names)
        return rows if to == "arrow" else rows.to_pandas()

    def merge_upsert(
        self,
        df: GivenFrame,
        table_name: str,
        merge_keys: Sequence[str],
        update_columns: Sequence[str] | None = None,
    ) -> int | None:
        """Update the rows whose key is there, insert the others.

        Args:
            df: Rows of unique keys. Columns that it lacks stay as they are in rows that are there,
                and are null in new ones.
            table_name: A table that is there.
            merge_keys: Columns that make a row the same: ``["asset_pair", "timestamp"]``.
            update_columns: Columns that are updated: ``["close"]``; by default all but the keys.

        Returns:
            The Delta version, ``None`` if there were no rows.

        Raises:
            InputError: No such table or column, an append-only table, a key that is null or occurs
                twice, or a new row without a value that it must have. Nothing is changed then.
        """
        schema = all_tables().get(checked_name(table_name))
        if schema is not None:
            refuse_append_only(schema, "merge")
        known, uri = _columns(self._existing(table_name)), self.table_uri(table_name)
        rows = given_arrow(df, known, table_name, some=True)
        keys = list(merge_keys)
        update = [n for n in rows.column_names if n not in keys]
        if update_columns is not None:
            update = list(update_columns)
        if not keys or (missing := {*keys, *update} - set(rows.column_names)):
            what = ", ".join(sorted(missing)) if keys else "merge keys"
            raise InputError(
                f"{table_name}: the rows have no {what}: they have {rows.column_names}"
            )
        refuse_bad_keys(table_name, rows, keys)
        if rows.num_rows == 0:
            return None
        if lacking := columns_lacking(known, rows):
            there = self.engine.read(uri, keys, None, None)
            refuse_new_rows(table_name, rows, there, keys, lacking)
        return self.engine.merge(uri, rows, schema, keys, update)

    def optimize_table(
        self, table_name: str, zorder_columns: Sequence[str] | None = None
    ) -> Optimized:
        """Put small files together; rows stay as they are.

        Args:
            table_name: A table that is there.
            zorder_columns: Also write every partition anew, rows that are near in these columns
                near to each other. One column sorts. A partition column does nothing: each
                partition has one value of it.

        Raises:
            InputError: No such table or column, or one that cannot be ordered by.
        """
        table, uri = self._existing(table_name), self.table_uri(table_name)
        schema = all_tables().get(table_name)
        if not zorder_columns:
            return self.engine.compact(uri, schema)
        partitions, known = table.metadata().partition_columns, _columns(table).names
        for name in zorder_columns:
            if name not in known or name in partitions:
                why = "it is a partition column" if name in partitions else "there is none"
                rest = [each for each in known if each not in partitions]
                raise InputError(
                    f"{table_name} cannot be ordered by {name}: {why}; use {', '.join(rest)}"
                )
        return self.engine.z_order(uri, schema, list(zorder_columns))

    def vacuum_table(
        self,
        table_name: str,
        retention_hours: float = SAFE_RETENTION_HOURS,
        *,
        allow_short_retention: bool = False,
        dry_run: bool = False,
    ) -> list[str]:
        """Delete files that only older versions need: time travel ends there.

        Args:
            table_name: A table that is there.
            retention_hours: Files that were replaced less than so long ago stay.
            allow_short_retention: Allow less than a week. A reader that is at work, or a writer
                that is about to commit, may lose its files: only when nobody else is.
            dry_run: Delete nothing.

        Returns:
            The files, relative to the table.

        Raises:
            InputError: No such table, or a short retention that is not allowed.
        """
        short = retention_hours < SAFE_RETENTION_HOURS
        if retention_hours < 0 or (short and not allow_short_retention):
            raise InputError(
                f"a retention of {retention_hours} hours is shorter than {SAFE_RETENTION_HOURS}:"
                " a reader at work could lose its files. If nobody else uses the table, allow it"
                " (allow_short_retention=True, --allow-short-retention)"
            )
        self._existing(table_name)
        uri = self.table_uri(table_name)
        return self.engine.vacuum(uri, retention_hours, short=short, dry_run=dry_run)

    def get_table_history(self, table_name: str, limit: int | None = None) -> pd.DataFrame:
        """The commits, newest first; no rows if there is no such table.

        Returns:
            ``version``, ``timestamp`` (UTC), ``operation``, ``operationMetrics``,
            ``operationParameters``, ``userName`` and what else a commit says of itself.
        """
        if not self.table_exists(checked_name(table_name)):
            _LOG.warning("There is no table %s: it has no history", table_name)
            return history_frame([])
        return history_frame(self.engine.history(self.table_uri(table_name), limit))

    def restore_table(
        self,
        table_name: str,
        version: int | None = None,
        as_of_timestamp: str | datetime | None = None,
    ) -> int:
        """Make an older version the newest one. What came after stays in the history.

        Dagster goes on knowing what was materialized since: materialize these days again.
        Returns the version that was restored.

        Raises:
            InputError: No such table, version or moment, or not one of the two.
        """
        self._existing(table_name)
        uri = self.table_uri(table_name)
        if version is None and as_of_timestamp is None:
            raise InputError(f"{table_name}: restore which version? Name it, or a moment")
        wanted = self._version(table_name, version, as_of_timestamp)
        if wanted < self.table(table_name).version():
            self.engine.restore(uri, wanted)
        return wanted

    def delete_table(self, table_name: str, *, confirm: bool = False) -> None:
        """Delete a table with all of its versions, if ``confirm`` is true. There is no way back."""
        self._existing(table_name)
        uri = self.table_uri(table_name)
        if not confirm:
            raise InputError(
                f"{table_name} would be gone with its whole history: say so with confirm=True"
            )
        _LOG.warning("Deleting table %s", uri)
        delete_all(uri, self.storage_path, self._options)
        self._forget(table_name)

    def _existing(self, table_name: str) -> DeltaTable:
        return self.table(checked_name(table_name))

    def _version(self, name: str, version: int | None, as_of: str | datetime | None) -> int:
        if version is not None and as_of is not None:
            raise InputError(f"{name}: version {version} or as of {as_of}? Name one of them")
        history = self.table(name).history()
        if as_of is not None:
            return version_at(name, history, moment(as_of))
        newest = self.table(name).version()
        if version is None or not 0 <= version <= newest:
            raise InputError(f"{name} has no version {version}: it has 0 to {newest}")
        return version

    def _fitting(self, df: GivenFrame, name: str, schema: TableSchema | None) -> pa.Table:
        if schema is not None:
            return in_order(schema, given_arrow(df, None, name))
        known = _columns(self.table(name)) if self.table_exists(name) else None
        return given_arrow(df, known, name)

    def _made(
        self,
        name: str,
        schema: TableSchema | None,
        rows: pa.Table,
        partition_columns: Sequence[str] | None,
    ) -> str:
        uri, wanted = self.table_uri(name), list(partition_columns or ())
        if schema is not None:
            self._ensure(schema)
        elif not self.table_exists(name):
            if unknown := [each for each in wanted if each not in rows.column_names]:
                raise InputError(f"{name} has no column {', '.join(unknown)} to partition by")
            self._create(name, rows.schema, wanted)
        if partition_columns is not None:
            there = self.table(name).metadata().partition_columns
            if there != wanted:
                raise InputError(f"{name} is partitioned by {there}, not by {wanted}")
        return uri


def _columns(table: DeltaTable) -> pa.Schema:
    return pa.schema(table.schema().to_arrow())


def _parsed(filters: Sequence[str] | str, columns: pa.Schema) -> Predicate | None:
    if not filters:
        return None
    # The parser takes half a second to import.
    from ffe_lakehouse.lake.filters import parse

    return parse(filters, columns)
