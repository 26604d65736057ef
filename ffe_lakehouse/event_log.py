"""Dagster's SQLite event log with pooled connections and events stored in batches.

The stock `SqliteEventLogStorage` makes an engine for every event, inspects the schema for every
asset event and syncs every commit, which together are most of the time of a backfill. The files
and their rows are the same here, so `dagster.yaml` may name either class at any time.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as db
from dagster import Field, StringSource
from dagster._core.definitions.events import AssetKey
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.event_api import EventHandlerFn
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    DagsterEventType,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite import sqlite_event_log as stock
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from dagster_shared.record import copy
from dagster_shared.serdes import serialize_value
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool, Pool, StaticPool
from watchdog.events import FileSystemEvent
from watchdog.observers import Observer

MAX_IDLE_RUN_SHARDS = 32

_MIRRORED_EVENTS = {*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS}
_WIPED_EVENTS = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION)
_INSERT_EVENTS = SqlEventLogStorageTable.insert()
_INSERT_EVENTS_FOR_IDS = _INSERT_EVENTS.returning(
    SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
)


class _Shard(NamedTuple):
    """One database file, held open."""

    engine: Engine
    file_id: tuple[int, int] | None


@dataclass
class _Connections:
    """What one process holds open. SQLite's connections must not cross a fork."""

    pid: int = field(default_factory=os.getpid)
    lock: threading.RLock = field(default_factory=threading.RLock)
    shards: OrderedDict[str, _Shard] = field(default_factory=OrderedDict)
    transactions: dict[str, Connection] = field(default_factory=dict)
    # Kept from the garbage collector, which would close the parent's files in the child.
    inherited: "_Connections | None" = None


class _Watchdog(stock.SqliteEventLogStorageWatchdog):
    """Watches the write-ahead log too, for a pooled writer seldom touches the database file."""

    @property
    def patterns(self) -> list[str]:
        return [self._log_path, f"{self._log_path}-wal"]

    def on_modified(self, event: FileSystemEvent) -> None:  # noqa: ARG002 - watchdog calls it
        self._process_log()


class PooledSqliteEventLogStorage(stock.SqliteEventLogStorage):
    """The stock SQLite event log, with one open connection per shard and batched writes."""

    _obs: Any

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Open the storage in the folder of its shards, which may be one of the stock class."""
        # Dagster hands over batches only where this is set, and this storage is there to take them.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
        self._connections = _Connections()
        self._known_tables: frozenset[str] = frozenset()
        self._known_asset_key_columns: frozenset[str] = frozenset()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledSqliteEventLogStorage":
        """Make the storage from its part of `dagster.yaml`; the stock method makes a stock one."""
        folder = config_value.get("base_dir") or Path(os.environ["DAGSTER_HOME"], "history", "runs")
        return cls(str(folder), inst_data)

    @classmethod
    def config_type(cls) -> dict[str, Field]:
        """As in the stock class, but `base_dir` may be left out: then it is where stock has it."""
        return {"base_dir": Field(StringSource, is_required=False)}

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one transaction of the run shard and one of the index.

        Both are rolled back if either fails, since Dagster then stores the events one by one. As
        in the stock class the run shard is committed first: all that a killed process can leave
        behind is events of a run that the index does not have.
        """
        rows_by_run: dict[str, list[dict[str, Any]]] = {}
        mirrored, mirrored_rows = [], []
        for event in events:
            row = self._event_to_row(event)
            rows_by_run.setdefault(event.run_id, []).append(row)
            if event.is_dagster_event and event.dagster_event_type in _MIRRORED_EVENTS:
                mirrored.append(event)
                mirrored_rows.append(row)
        with ExitStack() as transactions:
            # What is entered first is committed last. The lock is taken by the first write only.
            index = transactions.enter_context(self.index_connection())
            # Sorted, for two writers must not wait for one another.
            for run_id, rows in sorted(rows_by_run.items()):
                run = transactions.enter_context(self.run_connection(run_id))
                run.execute(_INSERT_EVENTS, rows)
            if mirrored:
                event_ids = index.scalars(_INSERT_EVENTS_FOR_IDS, mirrored_rows).all()
                self._store_mirrored(index, mirrored, event_ids)

    def _store_mirrored(
        self, index: Connection, events: Sequence[EventLogEntry], event_ids: Sequence[int]
    ) -> None:
        """Write what the index holds beside the events themselves: tags, assets and checks."""
        asset_events, asset_event_ids = [], []
        latest: dict[AssetKey, dict[DagsterEventType, tuple[EventLogEntry, int]]] = {}
        for event, event_id in zip(events, event_ids, strict=True):
            dagster_event = event.get_dagster_event()
            if dagster_event.event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, event_id)
            elif dagster_event.event_type in ASSET_EVENTS:
                asset_events.append(event)
                asset_event_ids.append(event_id)
                if dagster_event.asset_key:
                    by_type = latest.setdefault(dagster_event.asset_key, {})
                    by_type.pop(dagster_event.event_type, None)  # so that the latest goes last
                    by_type[dagster_event.event_type] = event, event_id

        self._store_asset_event_tags(index, asset_events, asset_event_ids)
        # Each type of event sets columns of its own, so the last event of each is enough.
        for by_type in latest.values():
            for event, event_id in by_type.values():
                self._store_asset_event(index, event, event_id)

    def _store_asset_check_evaluation_planned(
        self, event: EventLogEntry, event_id: int | None
    ) -> None:
        """Plan a check of several partitions, each row with its own partition alone.

        The stock method writes the event with all n partitions into each of n rows: 1,461 days x 8
        checks took 15 s and 770 MB.
        """
        dagster_event = event.get_dagster_event()
        planned = dagster_event.asset_check_planned_data
        if planned.partitions_subset is None:
            super()._store_asset_check_evaluation_planned(event, event_id)
            return
        planned_at = self._event_insert_timestamp(event)  # type: ignore[no-untyped-call]
        rows = []
        for key in planned.partitions_subset.get_partition_keys():
            alone = copy(planned, partitions_subset=DefaultPartitionsSubset({key}))
            of_one = event._replace(dagster_event=dagster_event._replace(event_specific_data=alone))
            rows.append(
                {
                    "asset_key": planned.asset_key.to_string(),
                    "check_name": planned.check_name,
                    "partition": key,
                    "run_id": event.run_id,
                    "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
                    "evaluation_event": serialize_value(of_one),
                    "evaluation_event_timestamp": planned_at,
                    "evaluation_event_storage_id": event_id,
                }
            )
        with self.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.insert(), rows)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Give the shard's connection in a transaction, the open one if this thread has it."""
        connections = self._own_connections()
        with connections.lock:
            if shard in connections.transactions:
                yield connections.transactions[shard]
                return
            with self._engine(connections, shard).begin() as connection:
                connections.transactions[shard] = connection
                try:
                    yield connection
                finally:
                    del connections.transactions[shard]

    def _own_connections(self) -> _Connections:
        if self._connections.pid != os.getpid():
            self._connections = _Connections(inherited=self._connections)
        return self._connections

    def _engine(self, connections: _Connections, shard: str) -> Engine:
        """Give the shard's engine, opened anew if its file was deleted or replaced."""
        path, shards = self.path_for_shard(shard), connections.shards
        if shard in shards:
            if shards[shard].file_id == _file_id(path) is not None:
                shards.move_to_end(shard)
                return shards[shard].engine
            shards.pop(shard).engine.dispose()
            self._initialized_dbs.discard(shard)

        if shard not in self._initialized_dbs or _file_id(path) is None:
            self._initdb(self._create_engine(shard, NullPool))
            self._initialized_dbs.add(shard)
        busy = {stock.INDEX_SHARD_NAME, *connections.transactions}
        idle = [name for name in shards if name not in busy]
        for name in idle[:-MAX_IDLE_RUN_SHARDS]:
            shards.pop(name).engine.dispose()
        shards[shard] = _Shard(self._create_engine(shard, StaticPool), _file_id(path))
        return shards[shard].engine

    def _create_engine(self, shard: str, poolclass: type[Pool]) -> Engine:
        engine = db.create_engine(
            self.conn_string_for_shard(shard),
            poolclass=poolclass,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        db.event.listen(engine, "connect", _sync_at_checkpoints_only)
        return engine

    def _close(self) -> None:
        """Close all connections of this process; they are opened again on demand."""
        connections = self._own_connections()
        with connections.lock:
            while connections.shards:
                connections.shards.popitem()[1].engine.dispose()

    def wipe_asset_partitions(self, asset_key: AssetKey, partition_keys: Sequence[str]) -> None:
        """Forget that partitions were materialized or observed; the stock class cannot.

        The events that planned them stay, and so does all that the runs themselves logged.
        """
        events, tags = SqlEventLogStorageTable, AssetEventTagsTable
        kinds = [kind.value for kind in _WIPED_EVENTS]
        with self.index_connection() as index:
            for begin in range(0, len(partition_keys), 500):
                doomed = db.and_(
                    events.c.asset_key == asset_key.to_string(),
                    events.c.partition.in_(partition_keys[begin : begin + 500]),
                    events.c.dagster_event_type.in_(kinds),
                )
                ids = db.select(events.c.id).where(doomed)
                index.execute(tags.delete().where(tags.c.event_id.in_(ids)))
                index.execute(events.delete().where(doomed))
        self.wipe_asset_cached_status(asset_key)

    def delete_events(self, run_id: str) -> None:
        """Delete the events of a run with the file of its shard, which the stock method keeps."""
        super().delete_events(run_id)
        connections = self._own_connections()
        with connections.lock:
            if run_id in connections.shards:
                connections.shards.pop(run_id).engine.dispose()
            self._initialized_dbs.discard(run_id)
            for suffix in ("", "-wal", "-shm"):
                Path(self.path_for_shard(run_id) + suffix).unlink(missing_ok=True)

    def wipe(self) -> None:
        """Delete all events, closing the files that the stock method unlinks."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Stop watching and close all connections."""
        super().dispose()
        self._close()

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call back with each new event of a run; the stock method, but for its watchdog."""
        if not self._obs:
            self._obs = Observer()
            self._obs.start()
        watchdog = _Watchdog(self, run_id, callback, cursor)
        scheduled = self._obs.schedule(watchdog, self._base_dir, recursive=True)
        self._watchers[run_id][callback] = watchdog, scheduled

    def has_table(self, table_name: str) -> bool:
        """Tell if the index has a table, reading the schema anew only for tables not yet seen."""
        if table_name not in self._known_tables:
            with self.index_connection() as connection:
                self._known_tables = frozenset(db.inspect(connection).get_table_names())
        return table_name in self._known_tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._known_asset_key_columns:
            columns = db.inspect(conn).get_columns(AssetKeyTable.name)
            self._known_asset_key_columns = frozenset(column["name"] for column in columns)
        return column_name in self._known_asset_key_columns


def _sync_at_checkpoints_only(connection: Any, _record: object) -> None:
    # In WAL mode this can lose the last commits in a power cut, but never corrupts the file.
    connection.execute("PRAGMA synchronous=NORMAL")


def _file_id(path: str) -> tuple[int, int] | None:
    try:
        stat = Path(path).stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino
