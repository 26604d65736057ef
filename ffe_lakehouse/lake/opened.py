"""The Delta tables of one lake, opened: where they are, and what is their newest version.

Imports no Dagster.
"""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError, TableNotFoundError

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.durability import make_durable
from ffe_lakehouse.lake.names import lake_address
from ffe_lakehouse.lake.object_store import explained
from ffe_lakehouse.lake.object_store import storage_options as storage_options_of
from ffe_lakehouse.lake.tables import version_at
from ffe_lakehouse.lake.where import in_utc
from ffe_lakehouse.schemas import all_tables


class OpenTables:
    """Tables of one lake.

    Args:
        storage_path: Root of the lake: a folder, or an object-store URI.
        storage_options: Handed to delta-rs as they are (credentials, endpoint).
        compression: Parquet codec.
        durable: On local disk, a write returns when it would survive a power cut.
    """

    def __init__(
        self,
        storage_path: str | Path,
        storage_options: Mapping[str, str] | None = None,
        compression: str = "zstd",
        *,
        durable: bool = True,
    ) -> None:
        """Nothing is read or written before the first call."""
        self.storage_path = lake_address(storage_path)
        self._options = storage_options_of(self.storage_path, storage_options)
        self._compression = compression
        self._durable = durable and "://" not in self.storage_path
        # One snapshot a thread: what a thread compares with must not move under its feet until it
        # has committed, or two threads append the same row.
        self._of_thread = threading.local()

    def table_uri(self, name: str) -> str:
        """Where table ``name`` lives."""
        return f"{self.storage_path}/{name}"

    def table_exists(self, name: str) -> bool:
        """Whether table ``name`` was ever written. Never raises for a missing one.

        Raises:
            OSError: The object store does not say: it refuses, or there is no such bucket.
        """
        uri = self.table_uri(name)
        if "://" not in uri:
            return DeltaTable.is_deltatable(uri)
        # Here is_deltatable would hold the GIL until the store answers, or for three minutes.
        try:
            with explained(uri):
                DeltaTable(uri, storage_options=self._options)
        except TableNotFoundError:
            return False
        except DeltaError:  # There, but damaged.
            return True
        return True

    def table(self, name: str) -> DeltaTable:
        """The newest snapshot of table ``name``.

        Raises:
            InputError: There is no such table.
            OSError: The object store refuses, or there is no such bucket.
        """
        try:
            with explained(self.table_uri(name)):
                return self._snapshot(name)
        except TableNotFoundError:
            there = [known for known in all_tables() if self.table_exists(known)]
            raise InputError(
                f"no table {name!r} in {self.storage_path}:"
                f" there are {', '.join(there) or 'none yet'}"
            ) from None

    def _snapshot(self, name: str) -> DeltaTable:
        opened: dict[str, DeltaTable] = self._of_thread.__dict__
        with explained(self.table_uri(name)):
            if name in opened:
                opened[name].update_incremental()
            else:
                opened[name] = DeltaTable(self.table_uri(name), storage_options=self._options)
        return opened[name]

    def _travel(self, name: str, version: int | None, as_of: datetime | None) -> DeltaTable:
        if version is not None and as_of is not None:
            raise InputError(f"{name}: version {version} or as of {as_of}? Name one of them")
        table = DeltaTable(self.table_uri(name), storage_options=self._options)
        if as_of is not None:
            version = version_at(name, table.history(), in_utc(as_of))
        if version is not None and not 0 <= version <= table.version():
            raise InputError(f"{name} has no version {version}: it has 0 to {table.version()}")
        # One of the two was given, so there is a version now.
        table.load_as_version(version)  # type: ignore[arg-type]
        return table

    def _create(
        self,
        name: str,
        columns: DeltaSchema | pa.Schema,
        partition_by: Sequence[str],
        description: str | None = None,
        configuration: Mapping[str, str | None] | None = None,
    ) -> DeltaTable:
        with explained(self.table_uri(name)):
            table = DeltaTable.create(
                self.table_uri(name),
                schema=columns,
                mode="ignore",
                partition_by=list(partition_by),
                description=description,
                configuration=configuration,
                storage_options=self._options,
            )
        self._settle(table, -1)
        return self._snapshot(name)

    def _forget(self, name: str) -> None:
        """Forget the snapshot of a table that is gone."""
        self._of_thread.__dict__.pop(name, None)

    def _settle(self, table: DeltaTable, before: int) -> None:
        """Make the versions after ``before`` durable."""
        if self._durable:
            make_durable(table, before)
