"""What is wrong right now, as incidents.

Pairs that do not load, jobs that failed, a daily pipeline that is late, live pairs that are stale:
all found in what Dagster knows, anew at every look. What is told of it, and when, is decided in
``alert_sensors``; the words that take a query of their own are made only if they are told.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import chain

import dagster as dg

from ffe_lakehouse.automation.due import ATTEMPT_TAG, Live, requested_at
from ffe_lakehouse.automation.failures import StepFailure, is_a_load, reason_of, step_failures
from ffe_lakehouse.automation.freshness import Judged, reach_of
from ffe_lakehouse.automation.jobs import DAILY
from ffe_lakehouse.monitoring.freshness import latest_deadline
from ffe_lakehouse.monitoring.incidents import SUBJECTS, Details, Incident, Key
from ffe_lakehouse.partitions import (
    ASSET_PAIR,
    PairDays,
    contiguous,
    days_between,
    partition_key,
    split_key,
    table_key,
)
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.watermarks import State, survey

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
_RUNS_A_NIGHT = 200


def failing_pairs(
    instance: dg.DagsterInstance, live: Sequence[Live], now: datetime
) -> tuple[list[Incident], set[Key]]:
    """Pairs with failed days in the look-back, one incident a table.

    Args:
        instance: Dagster's memory.
        live: The pairs that are tried again by themselves; all of the universe are looked at.
        now: The present moment (UTC).

    Returns:
        The incidents; and those of which nothing can be said, because a run is on them.
    """
    pairs, days = instance.get_dynamic_partitions(ASSET_PAIR), _look_back(now)
    look_up = _LookUp(instance, {each.pair: each for each in live})
    found: list[Incident] = []
    undecided: set[Key] = set()
    for timeframe in TIMEFRAMES.values():
        keys = {pair: [partition_key(pair, day) for day in days] for pair in pairs}
        known = survey(instance, _table(timeframe), [*chain.from_iterable(keys.values())], now)
        for pair in pairs:
            of_days = [known[key] for key in keys[pair]]
            failed = {
                day: of_day.run
                for day, of_day in zip(days, of_days, strict=True)
                if of_day.state is State.FAILED and of_day.run is not None
            }
            if failed:
                found.append(look_up.incident(pair, timeframe, failed))
            elif any(of_day.state is State.IN_PROGRESS for of_day in of_days):
                undecided.add(_failing_key(pair, timeframe))
    return found, undecided


def _failing_key(pair: str, timeframe: Timeframe) -> Key:
    return Key("Not loading", pair, timeframe.code)


class _LookUp:
    """What there is to say of failing pairs; a run, which many of them share, is read once."""

    def __init__(self, instance: dg.DagsterInstance, live: Mapping[str, Live]) -> None:
        self._live = live
        self._failures = cache(lambda run_id: step_failures(instance, run_id))
        self._began: dict[str, datetime] = {}
        self._instance = instance

    def incident(
        self, pair: str, timeframe: Timeframe, failed: Mapping[date, dg.DagsterRun]
    ) -> Incident:
        run = failed[max(failed)]
        if run.run_id not in self._began:
            self._began[run.run_id] = requested_at(self._instance, run)
        return Incident(
            _failing_key(pair, timeframe),
            self._began[run.run_id],
            lambda: self._details(pair, timeframe, list(contiguous(pair, failed)), run),
        )

    def _details(
        self, pair: str, timeframe: Timeframe, days: Sequence[PairDays], run: dg.DagsterRun
    ) -> Details:
        settings, tries = get_settings(), _attempt(run)
        tried = "tried once" if tries == 1 else f"tried {tries} times"
        reason = reason_of(self._failures(run.run_id), pair, timeframe)
        what = (
            f"{', '.join(map(str, days))} failed, {tried}, last in run {run.run_id[:8]}: {reason}"
        )
        command = f"ffe backfill --assets {SUBJECTS} --start {days[0].first}"
        live = self._live.get(pair)
        if live is not None and live.provider != settings.default_provider:
            command += f" --provider {live.provider}"
        if live is None or tries >= settings.max_attempts:
            return Details(
                what, f"It is not tried again by itself. Mend the cause, then: `{command}`"
            )
        return Details(
            what,
            f"It is tried again by itself, {settings.max_attempts} times in all. To try at once,"
            f" when the cause is mended: `{command}`",
        )


def failed_jobs(instance: dg.DagsterInstance, names: Iterable[str]) -> list[Incident]:
    """Jobs whose newest run that ended has failed, if not in loading: its partitions tell of that.

    Args:
        instance: Dagster's memory.
        names: Of the jobs; Dagster's own, whose names begin with ``__``, are left out: what one
            run of them says is nothing to the next.
    """
    found = []
    for name in names:
        newest = dg.RunsFilter(job_name=name, statuses=_ENDED)
        records = [] if name.startswith("__") else instance.get_run_records(newest, limit=1)
        for record in records:
            run = record.dagster_run
            failures = step_failures(instance, run.run_id) if run.is_failure else []
            if run.is_failure and not _only_loads(instance, run, failures):
                found.append(_failed_job(record, failures))
    return found


def _only_loads(
    instance: dg.DagsterInstance, run: dg.DagsterRun, failures: Sequence[StepFailure]
) -> bool:
    steps: Sequence[str] = [failure.step for failure in failures if failure.step]
    plan = run.execution_plan_snapshot_id
    if not steps and plan:  # it died: whatever it had to do has failed
        steps = instance.get_execution_plan_snapshot(plan).step_keys_to_execute
    return bool(steps) and all(map(is_a_load, steps))


def _failed_job(record: dg.RunRecord, failures: Sequence[StepFailure]) -> Incident:
    run, ended = record.dagster_run, record.end_time
    said = "; ".join(": ".join(filter(None, [each.step, each.reason])) for each in failures)
    details = Details(
        f"run {run.run_id[:8]}: {said or 'no reason was recorded'}",
        "Open the run in the Dagster UI; once the cause is mended, re-execute it from failure.",
    )
    since = datetime.fromtimestamp(ended, UTC) if ended else record.update_timestamp
    return Incident(Key("Job failed", run.job_name), since, lambda: details)


def late_pipeline(instance: dg.DagsterInstance, began: datetime, now: datetime) -> list[Incident]:
    """The daily pipeline, if it is not done by its deadline: none or one.

    Args:
        instance: Dagster's memory.
        began: Since when there is something to load (UTC): nothing is expected of earlier days.
        now: The present moment (UTC).
    """
    sla = timedelta(minutes=get_settings().daily_sla_minutes)
    deadline = latest_deadline(now, sla)
    due = deadline - sla
    if began > due:
        return []
    # One night has several runs: of what has to be loaded first, and of the rest.
    newest = instance.get_runs(dg.RunsFilter(job_name=DAILY), limit=_RUNS_A_NIGHT)
    runs = [run for run in newest if requested_at(instance, run) >= due]
    unfinished = [run for run in runs if not run.is_finished]
    if not unfinished and any(run.is_success for run in runs):
        return []
    if unfinished:
        what = f"{len(unfinished)} of its {len(runs)} runs have not ended"
        to_do = "See in the Dagster UI, under Runs, whether they hang or wait in the queue."
    elif runs:
        what = f"none of its {len(runs)} runs has succeeded"
        to_do = "Open the newest in the Dagster UI; once the cause is mended, re-execute it."
    else:
        what = "it has not been started"
        to_do = (
            "Is the Dagster daemon running, and the schedule switched on? Then launch the job"
            f" {DAILY} in the Dagster UI."
        )
    details = Details(f"due by {deadline:%Y-%m-%d %H:%M} UTC, and {what}", to_do)
    return [Incident(Key("The daily pipeline is late"), deadline, lambda: details)]


def stale_pairs(
    instance: dg.DagsterInstance, judged: Mapping[str, Sequence[Judged]], now: datetime
) -> tuple[list[Incident], set[Key]]:
    """The pairs that are stale in any timeframe, one incident a pair.

    Where a pair is stale because its days fail, it is left out: ``failing_pairs`` has it.

    Args:
        instance: Dagster's memory.
        judged: How each pair stands, by timeframe.
        now: The present moment (UTC).

    Returns:
        The incidents; and those of which nothing can be said: a market that closes mends nothing.
    """
    failing = _failing_too(instance, [each for group in judged.values() for each in group], now)
    found: list[Incident] = []
    undecided: set[Key] = set()
    for pair, group in judged.items():
        stale = [each for each in group if each.is_stale]
        untold = [each for each in stale if (pair, each.timeframe) not in failing]
        if untold:
            found.append(_stale(instance, pair, untold, now))
        elif not group or not all(each.is_current for each in group):
            undecided.add(_stale_key(pair))
    return found, undecided


def _stale_key(pair: str) -> Key:
    return Key("Stale", pair)


def _failing_too(
    instance: dg.DagsterInstance, judged: Iterable[Judged], now: datetime
) -> set[tuple[str, Timeframe]]:
    """Where what a stale pair lacks has failed to load, or is just tried again."""
    keys: dict[Timeframe, list[dg.MultiPartitionKey]] = {}
    for each in judged:
        if each.is_stale:
            days = [day for day in _look_back(now) if day >= each.due.date()]
            keys.setdefault(each.timeframe, []).extend(partition_key(each.pair, d) for d in days)
    return {
        (split_key(key)[0], timeframe)
        for timeframe, of_stale in keys.items()
        for key, known in survey(instance, _table(timeframe), of_stale, now).items()
        if known.run is not None and (known.run.is_failure or _attempt(known.run) > 1)
    }


_ADVICE = {
    True: "Does the vendor still quote it (`ffe providers`, the vendor's own page)? A thin market"
    " may have no bar for longer than FFE_FRESHNESS_MINUTES.",
    False: "Is the Dagster daemon running, `incremental_load_sensor` switched on, and do its runs"
    " get their turn (Runs, in the Dagster UI)?",
}
"""What to do if the vendor was asked, or was not."""


def _stale(
    instance: dg.DagsterInstance, pair: str, stale: Sequence[Judged], now: datetime
) -> Incident:
    minutes = timedelta(minutes=get_settings().freshness_minutes)

    def details() -> Details:
        reached: dict[bool, dict[str, list[str]]] = {}
        for each in stale:
            alike = reached.setdefault(each.reach.was_asked_for(each.due), {})
            alike.setdefault(_last_bar(instance, each, now), []).append(each.timeframe.code)
        what = [
            ", ".join(f"{', '.join(codes)} ({last})" for last, codes in alike.items())
            + (": the vendor, asked for newer bars, has none" if asked else ": not asked for since")
            for asked, alike in reached.items()
        ]
        return Details("; ".join(what), " ".join(_ADVICE[asked] for asked in reached))

    since = min(each.due + each.timeframe.duration for each in stale) + minutes
    return Incident(_stale_key(pair), since, details)


def _last_bar(instance: dg.DagsterInstance, judged: Judged, now: datetime) -> str:
    days = _look_back(now)
    keys = [partition_key(judged.pair, day) for day in days]
    last = reach_of(instance, judged.timeframe, keys).get(judged.pair, judged.reach).last
    return f"last bar {last:%Y-%m-%d %H:%M} UTC" if last else f"no bar since {days[0]}"


def _look_back(now: datetime) -> list[date]:
    """The running day, and those before it that are kept whole."""
    settings, today = get_settings(), now.date()
    return days_between(max(settings.start_date, today - timedelta(settings.look_back_days)), today)


def _table(timeframe: Timeframe) -> dg.AssetKey:
    return table_key(raw_candles(timeframe))


def _attempt(run: dg.DagsterRun) -> int:
    return int(run.tags.get(ATTEMPT_TAG, 1))
