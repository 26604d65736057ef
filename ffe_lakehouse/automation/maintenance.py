"""When the files of the lake are kept in shape: one job and one schedule for each asset of it."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from ffe_lakehouse.assets.maintenance import GROUP

# Apart from each other and from what else runs by night: runs of the running day are forgotten at
# 00:45, yesterday is closed at 01:00, old marts are computed at 02:30.
_WORK = (
    ("compacted", "compaction", "40 3 * * *", "Every day at 03:40 UTC: put small files together."),
    ("sorted", "sorting", "10 4 1 * *", "On the 1st at 04:10 UTC: put rows in order."),
    ("vacuumed", "vacuum", "40 4 * * SUN", "On Sundays at 04:40 UTC: delete outdated files."),
    ("statistics", "lake_statistics", "10 5 * * *", "Every day at 05:10 UTC: count the files."),
)


def maintenance_jobs() -> list[UnresolvedAssetJobDefinition]:
    """The jobs: ``compaction``, ``sorting``, ``vacuum``, ``lake_statistics``."""
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.assets(dg.AssetKey([GROUP, asset])),
            description=f"{what} Of every table.",
        )
        for asset, name, _, what in _WORK
    ]


def maintenance_schedules(
    jobs: list[UnresolvedAssetJobDefinition],
) -> list[dg.ScheduleDefinition]:
    """The schedules of ``maintenance_jobs``."""
    return [
        dg.ScheduleDefinition(
            name=f"{name}_schedule",
            job=job,
            cron_schedule=cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=what,
        )
        for job, (_, name, cron, what) in zip(jobs, _WORK, strict=True)
    ]
