"""A job that leaves every kind of event, and what an event log holds of it."""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventBatchMetadata, StepMaterializationData
from dagster._core.events.log import EventLogEntry

POOLED = """
event_log_storage:
  module: ffe_lakehouse.event_log
  class: PooledSqliteEventLogStorage
  config: {{base_dir: {home}/history/runs}}
"""
BRONZE, DLQ = dg.AssetKey(["bronze", "trades"]), dg.AssetKey(["dlq", "trades"])
DATES = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]
PAIRS = ["A", "B", "C"]
PARTITIONS = dg.MultiPartitionsDefinition(
    {
        "date": dg.DailyPartitionsDefinition(DATES[0], end_offset=1),
        "asset_pair": dg.DynamicPartitionsDefinition(name="asset_pair"),
    }
)
KEYS = [
    dg.MultiPartitionKey({"date": date, "asset_pair": pair}) for date in DATES for pair in PAIRS
]


@dg.multi_asset(
    specs=[dg.AssetSpec(key, partitions_def=PARTITIONS, skippable=True) for key in (BRONZE, DLQ)],
    check_specs=[dg.AssetCheckSpec("has_rows", asset=BRONZE)],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def trades(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """Yield most materialisations as one batch, and one of each other kind of event."""
    context.log.info("about to ingest")
    step = context.get_step_execution_context()
    materializations = [
        dg.AssetMaterialization(
            key,
            partition=partition,
            metadata={"rows": number, "note": dg.MetadataValue.md("x" * 100)},
            tags={"dagster/data_version": f"v{number}", "free": "tag"},
        )
        for number, partition in enumerate(context.partition_keys)
        for key in (DLQ, BRONZE)
    ]
    for number, materialization in enumerate(materializations, 1):
        batch = DagsterEventBatchMetadata("batch", is_end=number == len(materializations))
        yield DagsterEvent.asset_materialization(step, materialization, batch)
    yield dg.AssetMaterialization(BRONZE, partition=context.partition_keys[0])
    yield dg.AssetObservation(DLQ, partition=context.partition_keys[0], metadata={"age": 1.5})
    yield dg.AssetCheckResult(asset_key=BRONZE, check_name="has_rows", passed=True)
    if "fail" in context.run.tags:
        raise RuntimeError("as asked")


def job() -> dg.JobDefinition:
    """Give the job of the assets."""
    return dg.Definitions(assets=[trades]).resolve_implicit_global_asset_job_def()


@contextmanager
def instance_in(home: Path, *, pooled: bool = True) -> Iterator[dg.DagsterInstance]:
    """Open the instance of a home folder on either storage."""
    home.mkdir(exist_ok=True)
    config = "telemetry: {enabled: false}\n" + (POOLED.format(home=home) if pooled else "")
    (home / "dagster.yaml").write_text(config)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def run_trades(instance: dg.DagsterInstance, run_id: str, **tags: str) -> None:
    """Materialise all partitions in one run."""
    instance.add_dynamic_partitions("asset_pair", PAIRS)
    tags["dagster/asset_partition_range_start"] = KEYS[0]
    tags["dagster/asset_partition_range_end"] = KEYS[-1]
    result = job().execute_in_process(
        instance=instance, run_id=run_id, tags=tags, raise_on_error=False
    )
    assert result.success == ("fail" not in tags)


RUNS = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(2)]
LATER = "00000000-0000-4000-8000-000000000002"


def run_both(instance: dg.DagsterInstance) -> None:
    """Do one run that succeeds and one that fails."""
    run_trades(instance, RUNS[0])
    run_trades(instance, RUNS[1], fail="yes")


def tables(database: Path) -> dict[str, list[dict[str, Any]]]:
    """Read all rows of a shard, but for the time at which SQLite wrote them."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        return {
            name: [
                {column: row[column] for column in row.keys() if column != "create_timestamp"}  # noqa: SIM118
                for row in connection.execute(f'SELECT * FROM "{name}" ORDER BY 1')  # noqa: S608
            ]
            for (name,) in connection.execute(query).fetchall()
        }


def shards(home: Path) -> dict[str, Any]:
    """Read all shards of an instance."""
    return {path.name: tables(path) for path in sorted((home / "history" / "runs").glob("*.db"))}


def timeless(value: Any) -> Any:
    """Take from a row what differs between two runs of the same thing."""
    if isinstance(value, str) and value.startswith("{"):
        return timeless(json.loads(value))
    if isinstance(value, dict):
        volatile = re.compile("timestamp|migration_completed|pid|log_key|file_key|duration_ms")
        return {key: timeless(item) for key, item in value.items() if not volatile.search(key)}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"[\d.]+m?s\b|\(pid: \d+\)|/\S+/(stock|pooled)\b", "~", value)
    return round(value, 0) if isinstance(value, float) and value > 10 else value


def entry(run_id: str, partition: str, key: dg.AssetKey = BRONZE) -> EventLogEntry:
    """Make the log entry of a materialisation."""
    event = DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name="job",
        event_specific_data=StepMaterializationData(
            dg.AssetMaterialization(key, partition=partition, tags={"dagster/data_version": "v"})
        ),
    )
    return EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level=20,
        user_message="",
        run_id=run_id,
        timestamp=time.time(),
        dagster_event=event,
    )


def answers(instance: dg.DagsterInstance) -> list[Any]:
    """Ask what the product and the webserver ask."""
    latest = instance.get_latest_materialization_event(BRONZE)
    record = instance.get_asset_records([BRONZE])[0]
    storage = instance.event_log_storage
    materialized = dg.DagsterEventType.ASSET_MATERIALIZATION
    pages, cursor = [], None
    while True:
        page = instance.get_records_for_run(RUNS[1], cursor=cursor, limit=5)
        pages.append([record.storage_id for record in page.records])
        cursor = page.cursor
        if not page.has_more:
            break
    return [
        instance.get_materialized_partitions(BRONZE),
        instance.get_status_by_partition(BRONZE, KEYS, PARTITIONS),
        latest and latest.asset_materialization,
        record.storage_id,
        record.asset_entry.last_materialization_storage_id,
        record.asset_entry.last_run_id,
        storage.get_latest_tags_by_partition(BRONZE, materialized, ["dagster/data_version"]),
        [timeless(event.message) for event in instance.all_logs(RUNS[0])],
        [instance.get_run_stats(run).materializations for run in RUNS],
        pages,
    ]
