"""The doctor's look at the lake and Dagster together: what is lost is forgotten, and loaded again.

What is wrong with the files of a table is the business of ``lake.health`` and ``lake.mending``.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import pyarrow as pa
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from deltalake.exceptions import DeltaError

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.health import Damage, examine
from ffe_lakehouse.lake.log_files import LakeFiles, Lost
from ffe_lakehouse.lake.mending import mend
from ffe_lakehouse.partitions import PairDays, table_key, windows
from ffe_lakehouse.schemas import TableSchema, all_tables, dead_letters, raw_candles
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse.schemas.records import RECORDS
from ffe_lakehouse.schemas.silver import SILVER_MARKET
from ffe_lakehouse.schemas.silver_records import SILVER_RECORDS
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import latest_materializations, metadata_of

_HEARTBEAT = 90.0
"""Seconds: a daemon that runs is heard of every 30."""
_SHOWN = 10
_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION


@dataclass(frozen=True)
class Repaired:
    """Something that the doctor did.

    Attributes:
        table: Its name.
        text: What was done, and what is to be done now.
        wiped: Days whose status Dagster was told to forget, as partition keys.
    """

    table: str
    text: str
    wiped: tuple[str, ...] = ()


def examine_all(files: LakeFiles, *, deep: bool) -> Iterator[Damage]:
    """What is wrong with any table of the lake; ages are those of the machine's clock."""
    for table in files.tables():
        yield from examine(files, table, datetime.now(UTC), deep=deep)


def repair(
    instance: dg.DagsterInstance, lake: DeltaLakeManager, files: LakeFiles, *, deep: bool
) -> Iterator[Repaired]:
    """Mend the tables, and have Dagster forget the days whose rows are lost.

    Yields:
        Each step, when it is done; nothing for a lake that is well.

    Raises:
        InputError: A run or the daemon is at work: it would write meanwhile.
    """
    _refuse_while_somebody_works(instance)
    for table in files.tables():
        for step in mend(files, table, datetime.now(UTC), deep=deep):
            wiped = _wipe(instance, table, _lost_keys(instance, table, step.lost))
            text = step.text + (f" (moved to {step.to})" if step.to else "")
            yield Repaired(table, text + _again(table, wiped), tuple(wiped))
    for table, keys in disagreements(instance, lake, files).items():
        _wipe(instance, table, keys)
        text = f"Dagster counted {len(keys):,} days as loaded whose rows the lake has not"
        yield Repaired(table, text + _again(table, keys), tuple(keys))


def disagreements(
    instance: dg.DagsterInstance, lake: DeltaLakeManager, files: LakeFiles
) -> dict[str, list[str]]:
    """Partitions that Dagster says have rows, and of which the lake has none; by table.

    Of candles, also those of which it has fewer than Dagster says: Bronze only grows. A table that
    cannot be read is left out.

    Raises:
        InputError: The lake has no table at all, and Dagster knows of days: it is another place.
    """
    found: dict[str, list[str]] = {}
    there = set(files.tables())
    for schema in _by_day():
        # Dagster first: what is loaded meanwhile is then in the lake, too.
        claimed = _materialized(instance, schema.name)
        if not claimed:
            continue
        if not there:
            raise InputError(
                f"Dagster knows of days of {schema.name}, but there is no table in"
                f" {files.uri}: mount the disk, or set FFE_STORAGE_PATH to where the lake is"
            )
        try:
            held = _held(lake, schema) if schema.name in there else {}
        except (DeltaError, OSError, pa.ArrowException):
            continue
        if keys := sorted(_fewer(instance, schema, claimed, held)):
            found[schema.name] = keys
    return found


def _fewer(
    instance: dg.DagsterInstance,
    schema: TableSchema,
    claimed: Collection[str],
    held: dict[str, int],
) -> Iterator[str]:
    if schema.name in {raw_candles(timeframe).name for timeframe in TIMEFRAMES.values()}:
        told = instance.event_log_storage.get_latest_tags_by_partition(
            table_key(schema), _MADE, [DATA_VERSION_TAG], None
        )
        for key in claimed:
            rows = told.get(key, {}).get(DATA_VERSION_TAG, "").split(":")[1:2]
            if rows and rows[0].isdigit() and held.get(key, 0) < int(rows[0]):
                yield key
        return
    absent = [key for key in claimed if key not in held]
    for key, record in latest_materializations(instance, table_key(schema), absent).items():
        count = metadata_of(record).get("dagster/partition_row_count")
        if count is not None and int(str(count.value)) > 0:
            yield key


def _held(lake: DeltaLakeManager, schema: TableSchema) -> dict[str, int]:
    """Rows of each partition that a table holds."""
    names = ["partition_asset_pair", "partition_date"]
    columns = [name for name in names if name in schema.arrow.names]
    counts: dict[str, int] = {}
    for batch in pa.RecordBatchReader.from_stream(lake.table(schema.name).scan(columns=columns)):
        days = pa.Table.from_batches([batch]).group_by(columns).aggregate([([], "count_all")])
        *parts, numbers = (days[name].to_pylist() for name in (*columns, "count_all"))
        for key, number in zip(zip(*parts, strict=True), numbers, strict=True):
            text = "|".join(map(str, key))
            counts[text] = counts.get(text, 0) + number
    return counts


def _by_day() -> list[TableSchema]:
    """Tables of which a row's day is the day of its partition."""
    candles = [table(each) for each in TIMEFRAMES.values() for table in (raw_candles, dead_letters)]
    found = [*candles, *RECORDS, *SILVER_MARKET, *SILVER_RECORDS, *marts().values()]
    return [schema for schema in found if "partition_date" in schema.arrow.names]


def _materialized(instance: dg.DagsterInstance, table: str) -> set[str]:
    key = dg.AssetKey(table.split("/"))
    found = instance.event_log_storage.get_latest_storage_id_by_partition(key, _MADE)
    return {each for each in found if each}


def _lost_keys(instance: dg.DagsterInstance, table: str, lost: Sequence[Lost]) -> list[str]:
    """Which of the partitions that Dagster knows had rows that are lost."""
    if table not in all_tables() or not lost:
        return []
    found = []
    for key in _materialized(instance, table):
        pair, _, day = key.rpartition("|")
        if any(
            each.pair in (None, pair)
            and (each.first is None or each.first.isoformat() <= day)
            and (each.last is None or day <= each.last.isoformat())
            for each in lost
        ):
            found.append(key)
    return sorted(found)


def _wipe(instance: dg.DagsterInstance, table: str, keys: Sequence[str]) -> Sequence[str]:
    if keys:
        instance.wipe_asset_partitions(dg.AssetKey(table.split("/")), list(keys))
    return keys


def _again(table: str, keys: Sequence[str]) -> str:
    """How the days are loaded that Dagster was told to forget."""
    if not keys:
        return ""
    spans = windows(keys)
    more = f" and {len(spans) - _SHOWN} more" if len(spans) > _SHOWN else ""
    shown = ", ".join(f"{each.pair} {each}".strip() for each in spans[:_SHOWN])
    return f"; {len(keys):,} days count as not loaded now ({shown}{more}): {_command(table, spans)}"


def _command(table: str, spans: Sequence[PairDays]) -> str:
    layer, _, name = table.partition("/")
    first, last = min(each.first for each in spans), max(each.last for each in spans)
    if layer not in ("silver", "gold") and not name.startswith("raw_market_data_"):
        return "land their files again with `ffe land`, or materialize them in the UI"
    pairs = ",".join(sorted({each.pair for each in spans if each.pair}))
    what = f"--layers {layer}" if layer in ("silver", "gold") else f"--timeframes {name[16:]}"
    assets = f" --assets {pairs}" if pairs else ""
    return f"`ffe backfill{assets} {what} --start {first} --end {last}`"


def _refuse_while_somebody_works(instance: dg.DagsterInstance) -> None:
    running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
    if runs := instance.get_runs(running, limit=1):
        raise InputError(f"run {runs[0].run_id} is at work: wait for it, or stop it, then repair")
    beats = [each.timestamp for each in instance.get_daemon_heartbeats().values()]
    if beats and time.time() - max(beats) < _HEARTBEAT:
        raise InputError(
            "the daemon is at work, and may write while tables are mended: stop `ffe dev`, wait"
            f" {_HEARTBEAT:.0f} s, then repair"
        )
