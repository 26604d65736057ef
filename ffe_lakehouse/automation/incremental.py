"""``incremental_load_sensor``: requests what is due, as few range runs as can be."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import dagster as dg

from ffe_lakehouse.assets.bronze import INGEST_PREFIX
from ffe_lakehouse.automation.due import ATTEMPT_TAG, REQUESTED_AT_TAG, Load, due_loads
from ffe_lakehouse.automation.jobs import INGESTION
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings

LOAD_TAG = "ffe/load"
"""Run tag: ``live`` (with the running day), ``heal`` (in the look-back) or ``history``.

``dagster.yaml`` limits how many runs of a kind there are at once, so that years of history do not
keep the running day waiting.
"""

_PRIORITY = {"live": "10", "heal": "5", "history": "-5"}


def incremental_load_sensor(clock: Callable[[], datetime] = utc_now) -> dg.SensorDefinition:
    """The sensor that keeps the lake loaded.

    Args:
        clock: The present moment (UTC).
    """

    @dg.sensor(
        job_name=INGESTION,
        minimum_interval_seconds=get_settings().sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Loads what is missing, failed, unfinished or late in the look-back, extends"
        " the running day whenever a bar has closed, and fills histories that were asked for.",
    )
    def incremental_load_sensor(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        now = clock()
        loads = due_loads(context.instance, now)
        if not loads:
            return dg.SkipReason(f"Nothing is due at {now:%Y-%m-%d %H:%M:%S} UTC.")
        most = get_settings().max_runs_per_tick
        if len(loads) > most:
            context.log.info(f"{len(loads)} runs are due; {most} of them are requested now.")
        return dg.SensorResult([request(load, now) for load in loads[:most]])

    return incremental_load_sensor


def request(
    load: Load, now: datetime, job: str = INGESTION, also: Sequence[dg.AssetKey] = ()
) -> dg.RunRequest:
    """The run of a load.

    Args:
        load: What is due.
        now: When it is requested (UTC).
        job: Whose run it is; it contains Bronze.
        also: Assets that are computed behind it, over the same days.
    """
    timeframes = load.box.timeframes
    return dg.RunRequest(
        run_key=load.run_key,
        job_name=job,
        asset_selection=[
            *(
                table_key(table(timeframe))
                for timeframe in timeframes
                for table in (dead_letters, raw_candles)
            ),
            *also,
        ],
        # Left out, it would mean all checks of these assets, whatever the job selects.
        asset_check_keys=[] if job == INGESTION else None,
        run_config={
            "ops": {
                f"{INGEST_PREFIX}{timeframe}": {"config": {"provider": load.provider}}
                for timeframe in timeframes
            }
        },
        tags={
            **load.box.tags,
            ATTEMPT_TAG: str(load.attempt),
            REQUESTED_AT_TAG: now.isoformat(),
            **load_tags(load.box, now),
        },
    )


def load_tags(box: Box, now: datetime) -> dict[str, str]:
    """Run tags that say how urgent it is: the running day goes before the past.

    Args:
        box: What the run is about.
        now: The present moment (UTC).
    """
    kind = "history"
    if box.last == now.date():
        kind = "live"
    elif box.last >= now.date() - timedelta(get_settings().look_back_days):
        kind = "heal"
    return {LOAD_TAG: kind, "dagster/priority": _PRIORITY[kind]}
