"""Forgetting: runs of the running day whose every result a later run has replaced.

A pair that is extended every minute leaves 1,440 runs a day in Dagster's storage, 150 kB each and
20 kB more a pair, and all but the last say nothing that counts.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from ffe_lakehouse.automation.incremental import LOAD_TAG
from ffe_lakehouse.partitions import ASSET_PAIR, split_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.watermarks import latest_materializations

_KEPT = timedelta(days=1)
"""So long a run can be looked at in any case."""


def superseded_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[dg.DagsterRun]:
    """Runs of the running day that ended well and hold no newest materialization any more.

    Args:
        instance: Dagster's memory.
        before: Only runs that were created before this moment (UTC, by Dagster's clock).
    """
    wanted = dg.RunsFilter(
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
        assets = _planned(instance, run)
        for asset in assets:
            if (asset, first, last) not in holders:
                newest = latest_materializations(instance, asset, keys).values()
                holders[asset, first, last] = {record.run_id for record in newest}
        if keys and not any(run.run_id in holders[asset, first, last] for asset in assets):
            yield run


def _planned(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[dg.AssetKey]:
    """The assets that a run meant to materialize."""
    planned = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    )
    return {record.asset_key for record in planned.records if record.asset_key is not None}


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
