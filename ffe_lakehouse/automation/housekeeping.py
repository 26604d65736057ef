"""Forgetting: runs of the running day whose every result a later run has replaced.

A pair that is extended every minute leaves 1,440 runs a day in Dagster's storage, 150 kB each and
20 kB more a pair, and all but the last say nothing that counts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from ffe_lakehouse.assets.bronze import INGEST_PREFIX
from ffe_lakehouse.automation.incremental import LOAD_TAG
from ffe_lakehouse.automation.jobs import INGESTION
from ffe_lakehouse.partitions import ASSET_PAIR, split_key, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import parse_timeframe
from ffe_lakehouse.watermarks import latest_materializations

_KEPT = timedelta(days=1)
"""So long a run can be looked at in any case."""


def superseded_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[dg.DagsterRun]:
    """Runs that extended the running day, with success, and hold no newest materialization.

    Args:
        instance: Dagster's memory.
        before: Only runs that were created before this moment (UTC, by Dagster's clock).
    """
    wanted = dg.RunsFilter(
        job_name=INGESTION,
        tags={LOAD_TAG: "live"},
        statuses=[dg.DagsterRunStatus.SUCCESS],
        created_before=before,
    )
    pairs = list(instance.get_dynamic_partitions(ASSET_PAIR))
    holders: dict[tuple[dg.AssetKey, str, str], set[str]] = {}
    for run in instance.get_runs(wanted):
        first = run.tags[ASSET_PARTITION_RANGE_START_TAG]
        last = run.tags[ASSET_PARTITION_RANGE_END_TAG]
        keys = _keys(first, last, pairs)
        bars = [_bars_of(step) for step in cast("Mapping[str, Any]", run.run_config["ops"])]
        for asset in bars:
            if (asset, first, last) not in holders:
                newest = latest_materializations(instance, asset, keys).values()
                holders[asset, first, last] = {record.run_id for record in newest}
        if keys and not any(run.run_id in holders[asset, first, last] for asset in bars):
            yield run


def _bars_of(step: str) -> dg.AssetKey:
    """The bars that a step loads; its dead letters are reported with them."""
    return table_key(raw_candles(parse_timeframe(step.removeprefix(INGEST_PREFIX))))


def _keys(first: str, last: str, pairs: Sequence[str]) -> list[str]:
    """The partitions of a range; none if one of its ends is no pair of the universe any more."""
    (pair, begin), (other, end) = split_key(first), split_key(last)
    if pair not in pairs or other not in pairs:
        return []
    among = tuple(pairs[pairs.index(pair) : pairs.index(other) + 1])
    return Box(among, begin, end, ()).keys


def housekeeping_job(clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> dg.JobDefinition:
    """The job ``housekeeping``.

    Args:
        clock: The present moment (UTC) as Dagster sees it.
    """

    @dg.op
    def forget(context: dg.OpExecutionContext) -> None:
        """Delete superseded runs with their events and logs."""
        runs = list(superseded_runs(context.instance, clock() - _KEPT))
        for run in runs:
            context.instance.compute_log_manager.delete_logs(prefix=[run.run_id])
            context.instance.delete_run(run.run_id)
        context.log.info(f"{len(runs)} superseded run(s) were deleted")

    @dg.job(
        name="housekeeping",
        description="Delete the runs of the running day that later ones have replaced.",
        executor_def=dg.in_process_executor,
    )
    def housekeeping() -> None:
        forget()

    return housekeeping


def housekeeping_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Every night, after yesterday has settled and before it is checked."""
    return dg.ScheduleDefinition(
        name="housekeeping_schedule",
        job=job,
        cron_schedule="45 0 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
