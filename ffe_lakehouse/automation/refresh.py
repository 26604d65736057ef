"""The schedules of Gold: every hour the marts of what is live, every night those of the past.

Which days are stale is decided in ``processing`` and ``marts``; as elsewhere, nothing is remembered
here. A run of dbt takes seconds, however little there is to do: so not at every look of a sensor.
"""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import partial
from itertools import chain

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from ffe_lakehouse.automation.derive import attempt_due
from ffe_lakehouse.automation.due import ATTEMPT_TAG, REQUESTED_AT_TAG
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.marts import pair_marts, stale_portfolio
from ffe_lakehouse.partitions import ASSET_PAIR
from ffe_lakehouse.processing import stages, stale_days
from ffe_lakehouse.settings import get_settings

MARTS_HOURLY, MARTS_NIGHTLY = "marts_hourly", "marts_nightly"
PORTFOLIO_HOURLY = "portfolio_hourly"


def mart_schedules(
    marts: UnresolvedAssetJobDefinition,
    portfolio: UnresolvedAssetJobDefinition,
    clock: Callable[[], datetime] = utc_now,
) -> list[dg.ScheduleDefinition]:
    """The schedules.

    Args:
        marts: The job of what is of a pair.
        portfolio: The job of what is of the portfolio.
        clock: The present moment (UTC).
    """
    live = "Every hour: compute the marts of the look-back that are stale."
    old = "At 02:30 UTC: compute the marts that are stale, however old."
    every = "Every hour: compute the days of the portfolio that are stale."
    return [
        _schedule(MARTS_HOURLY, "20 * * * *", marts, live, partial(_live_marts, clock)),
        _schedule(MARTS_NIGHTLY, "30 2 * * *", marts, old, partial(_all_marts, clock)),
        _schedule(PORTFOLIO_HOURLY, "25 * * * *", portfolio, every, partial(_portfolio, clock)),
    ]


def _schedule(
    name: str,
    cron: str,
    job: UnresolvedAssetJobDefinition,
    what: str,
    requests: Callable[[dg.DagsterInstance], Iterator[dg.RunRequest]],
) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=what,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        return list(requests(context.instance)) or dg.SkipReason("Nothing is stale.")

    return schedule


def _live_marts(
    clock: Callable[[], datetime], instance: dg.DagsterInstance
) -> Iterator[dg.RunRequest]:
    now, settings = clock(), get_settings()
    first = now.date() - timedelta(settings.look_back_days)
    return _marts(instance, max(settings.start_date, first), now)


def _all_marts(
    clock: Callable[[], datetime], instance: dg.DagsterInstance
) -> Iterator[dg.RunRequest]:
    return _marts(instance, get_settings().start_date, clock())


def _marts(instance: dg.DagsterInstance, first: date, now: datetime) -> Iterator[dg.RunRequest]:
    pairs, steps = list(instance.get_dynamic_partitions(ASSET_PAIR)), pair_marts()
    due = partial(attempt_due, instance, now)
    stale = stale_days(instance, steps, pairs, (first, now.date()), now, due, beyond=False)
    # No mart reads another, so that none has to wait.
    for work in chain.from_iterable(stages(stale, steps, pairs)):
        keys = work.box.keys
        names = "+".join(step.name for step in work.steps)
        yield dg.RunRequest(
            # Dagster wants to tell the runs of a tick apart.
            run_key=f"{keys[0]}...{keys[-1]} {names}",
            asset_selection=work.keys,
            tags={
                **work.box.tags,
                ATTEMPT_TAG: str(work.attempt),
                REQUESTED_AT_TAG: now.isoformat(),
            },
        )


def _portfolio(
    clock: Callable[[], datetime], instance: dg.DagsterInstance
) -> Iterator[dg.RunRequest]:
    now, start = clock(), get_settings().start_date
    due = partial(attempt_due, instance, now)
    for days in stale_portfolio(instance, start, now.date(), now, due):
        yield dg.RunRequest(
            run_key=f"{days.first}...{days.last}",
            tags={
                **days.tags,
                ATTEMPT_TAG: str(days.attempt),
                REQUESTED_AT_TAG: now.isoformat(),
            },
        )
