"""``derivation_sensor``: what is derived follows what it is derived from.

Which days are stale is decided in ``processing``; as for the load, nothing is remembered here.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import dagster as dg

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.automation.due import (
    ATTEMPT_TAG,
    REQUESTED_AT_TAG,
    next_attempt,
    requested_at,
)
from ffe_lakehouse.automation.incremental import load_tags
from ffe_lakehouse.automation.jobs import PROCESSING
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.derivation import Derived
from ffe_lakehouse.partitions import ASSET_PAIR, ONE_DAY
from ffe_lakehouse.processing import Work, stages, stale_days
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import Known, State, survey


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
        " at every look, of the days before it one pair a look, any.",
    )
    def derivation_sensor(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        now = clock()
        works = due_works(context.instance, steps, now)
        if not works:
            return dg.SkipReason(f"Nothing is stale at {now:%Y-%m-%d %H:%M:%S} UTC.")
        return dg.SensorResult([_request(context.instance, work, now) for work in works])

    return derivation_sensor


def due_works(instance: dg.DagsterInstance, steps: list[Derived], now: datetime) -> list[Work]:
    """At most ``FFE_MAX_RUNS_PER_TICK`` runs that are due now; what hangs on them is due later.

    Args:
        instance: Dagster's memory.
        steps: Steps that are looked at.
        now: The present moment (UTC).
    """
    settings = get_settings()
    most = settings.max_runs_per_tick
    pairs = list(instance.get_dynamic_partitions(ASSET_PAIR))
    if not pairs:
        return []
    today = now.date()
    first = max(settings.start_date, today - timedelta(settings.look_back_days))
    look = partial(
        stale_days,
        instance,
        steps,
        now=now,
        attempt=partial(attempt_due, instance, now),
        beyond=False,
    )
    live = _first(stages(look(pairs=pairs, days=(first, today)), steps, pairs))
    old: list[Work] = []
    if settings.start_date < first:
        # By chance, so that whatever the looks' pace is, no pair is left out.
        pair = random.Random(now.isoformat()).choice(pairs)  # noqa: S311 - no secret
        before = (settings.start_date, first - ONE_DAY)
        old = _first(stages(look(pairs=[pair], days=before), steps, pairs))
    # A quarter is for the past, and who comes first changes, so that nobody waits for ever.
    room = max(most - len(live), most // 4)
    begin = int(now.timestamp()) % len(live) if live else 0
    return (live[begin:] + live[:begin])[: most - min(room, len(old))] + old[:room]


def _first(found: list[list[Work]]) -> list[Work]:
    return found[0] if found else []


def attempt_due(instance: dg.DagsterInstance, now: datetime, known: Known, newest: int) -> int:
    """Which attempt at a day is due now; 0 while it has to wait.

    If something that it reads has changed since it failed, it is tried anew, after the first pause.
    """
    if known.state is State.FAILED and known.run is not None:
        if newest <= known.attempt:
            return next_attempt(instance, known.run, now)
        pause = timedelta(minutes=get_settings().retry_first_minutes)
        return int(now >= requested_at(instance, known.run) + pause)
    return int(known.state is not State.IN_PROGRESS)


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
            ATTEMPT_TAG: str(work.attempt),
            REQUESTED_AT_TAG: now.isoformat(),
        },
    )
