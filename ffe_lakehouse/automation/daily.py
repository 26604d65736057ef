"""The schedule of ``daily_market_data_pipeline``: what each night's runs contain."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import dagster as dg

from ffe_lakehouse.automation.due import REQUESTED_AT_TAG, due_days, live_pairs
from ffe_lakehouse.automation.incremental import request
from ffe_lakehouse.automation.jobs import DAILY, daily
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.partitions import ASSET_PAIR, ONE_DAY, days_between, table_key
from ffe_lakehouse.planning import Box, plan
from ffe_lakehouse.schemas import CANDLE_GAPS
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES

_ALL = tuple(TIMEFRAMES.values())


def daily_schedule(clock: Callable[[], datetime] = utc_now) -> dg.ScheduleDefinition:
    """The nightly schedule.

    While the incremental load works, nothing is open by 01:00: one run checks the look-back, and
    derives what is derived, also of days that have healed since. What is open is loaded by runs
    that check and derive their own days.

    Args:
        clock: The present moment (UTC).
    """

    @dg.schedule(
        name=f"{DAILY}_schedule",
        job=daily,
        cron_schedule="0 1 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="At 01:00 UTC: load what is still open, check the look-back, derive.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now = clock()
        settings = get_settings()
        yesterday = now.date() - ONE_DAY
        first = max(settings.start_date, now.date() - timedelta(settings.look_back_days))
        pairs = [live.pair for live in live_pairs(context.instance, settings)]
        if not pairs or yesterday < first:
            yield dg.SkipReason("No pair is kept loaded yet: add one with `ffe pairs add`.")
            return
        gaps = table_key(CANDLE_GAPS)
        loads = due_days(context.instance, first, yesterday, now)
        for load in loads:
            yield request(load, now, DAILY, [gaps])
        checks = context.repository_def.get_job(DAILY).asset_layer.asset_graph.asset_check_keys
        known = context.instance.get_dynamic_partitions(ASSET_PAIR)
        days = days_between(first, yesterday)
        for box in plan({(pair, each): days for pair in pairs for each in _ALL}, known):
            if not any(_contains(load.box, box) for load in loads):
                yield dg.RunRequest(
                    job_name=DAILY,
                    run_key=f"{DAILY} {box.keys[0]}...{box.keys[-1]}",
                    asset_selection=[gaps],
                    asset_check_keys=list(checks),
                    tags={**box.tags, REQUESTED_AT_TAG: now.isoformat()},
                )

    return schedule


def _contains(outer: Box, inner: Box) -> bool:
    return (
        set(inner.pairs) <= set(outer.pairs)
        and outer.first <= inner.first
        and inner.last <= outer.last
        and outer.timeframes == inner.timeframes
    )
