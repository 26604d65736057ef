"""``derivation_sensor``: what is derived follows what it is derived from.

Which days are stale is decided in ``processing``; as for the load, nothing is remembered here.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import dagster as dg

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.automation.due import ATTEMPT_TAG, REQUESTED_AT_TAG, next_attempt
from ffe_lakehouse.automation.incremental import load_tags
from ffe_lakehouse.automation.jobs import PROCESSING
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.derivation import Derived
from ffe_lakehouse.partitions import ASSET_PAIR, ONE_DAY
from ffe_lakehouse.processing import Work, stages, stale_days
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import Known, State, survey

_HISTORIES_A_LOOK = 5
"""So many pairs' days before the look-back are looked at, each time others."""


def derivation_sensor(clock: Callable[[], datetime] = utc_now) -> dg.SensorDefinition:
    """The sensor that keeps Silver, and what else is derived, up to date.

    Args:
        clock: The present moment (UTC).
    """
    steps = [each.derived for each in derivations()]

    @dg.sensor(
        job_name=PROCESSING,
        minimum_interval_seconds=get_settings().sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Computes what is derived from days that were loaded since: of the look-back"
        " at every look, of the days before it a few pairs a look, in turn.",
    )
    def derivation_sensor(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        now = clock()
        works = due_works(context.instance, steps, now)
        if not works:
            return dg.SkipReason(f"Nothing is stale at {now:%Y-%m-%d %H:%M:%S} UTC.")
        most = get_settings().max_runs_per_tick
        if len(works) > most:
            context.log.info(f"{len(works)} runs are due; {most} of them are requested now.")
        return dg.SensorResult([_request(context.instance, work, now) for work in works[:most]])

    return derivation_sensor


def due_works(instance: dg.DagsterInstance, steps: list[Derived], now: datetime) -> list[Work]:
    """Runs that are due now; what hangs on them is due once they have ended.

    Args:
        instance: Dagster's memory.
        steps: Steps that are looked at.
        now: The present moment (UTC).
    """
    settings = get_settings()
    pairs = list(instance.get_dynamic_partitions(ASSET_PAIR))
    if not pairs:
        return []
    today = now.date()
    first = max(settings.start_date, today - timedelta(settings.look_back_days))
    may_run = partial(_may_run, instance, now)
    look = partial(stale_days, instance, steps, now=now, may_run=may_run, beyond=False)
    stale = [look(pairs=pairs, days=(first, today))]
    if settings.start_date < first:
        turn = int(now.timestamp() // settings.sensor_seconds) * _HISTORIES_A_LOOK
        some = {pairs[(turn + n) % len(pairs)] for n in range(_HISTORIES_A_LOOK)}
        stale.append(look(pairs=sorted(some), days=(settings.start_date, first - ONE_DAY)))
    return [work for found in stale for stage in stages(found, steps, pairs)[:1] for work in stage]


def _may_run(instance: dg.DagsterInstance, now: datetime, known: Known) -> bool:
    return known.state is not State.IN_PROGRESS and _attempt(instance, known, now) > 0


def _attempt(instance: dg.DagsterInstance, known: Known, now: datetime) -> int:
    """Which attempt at a day would be made now; 0 while it has to wait."""
    if known.state is State.FAILED and known.run is not None:
        return next_attempt(instance, known.run, now)
    return 1


def _request(instance: dg.DagsterInstance, work: Work, now: datetime) -> dg.RunRequest:
    keys = work.box.keys
    known = [
        each for step in work.steps for each in survey(instance, step.keys[0], keys, now).values()
    ]
    names = "+".join(step.name for step in work.steps)
    return dg.RunRequest(
        # Equal for the same need: until it is planned, to ask for it twice is harmless.
        run_key=f"{keys[0]}...{keys[-1]} {names} after {max(each.attempt for each in known)}",
        job_name=PROCESSING,
        asset_selection=work.keys,
        # Left out, it would mean all checks of these assets.
        asset_check_keys=[],
        tags={
            **work.box.tags,
            **load_tags(work.box, now),
            ATTEMPT_TAG: str(max(_attempt(instance, each, now) for each in known)),
            REQUESTED_AT_TAG: now.isoformat(),
        },
    )
