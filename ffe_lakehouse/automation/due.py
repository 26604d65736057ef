"""What has to be loaded right now, and as which runs: the decision of the incremental load.

Everything is asked of Dagster anew at every look, so nothing here remembers anything: a day that
was wiped, a run that died, a pair that was added are simply due.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.partitions import ASSET_PAIR, ONE_DAY, day_start, days_between, partition_key
from ffe_lakehouse.partitions import table_key as key_of
from ffe_lakehouse.planning import Box, plan
from ffe_lakehouse.providers.registry import vendors_of
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import Settings, get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.universe import enrolments
from ffe_lakehouse.watermarks import (
    Known,
    State,
    asked_at,
    asked_until,
    closes_at,
    latest_materializations,
    survey,
)

ATTEMPT_TAG = "ffe/attempt"
"""Run tag: how often the days of the run were tried, this time included."""
REQUESTED_AT_TAG = "ffe/requested_at"
"""Run tag: when the run was requested, by the clock of the lakehouse (ISO 8601, UTC)."""

_ASK_AGAIN = timedelta(hours=1)
"""A closed day that lacks bars is asked for once more, so long after the first time."""
_LONGEST_PAUSE = timedelta(hours=4)
"""However long a vendor was down, its days are there so long after it is back."""


@dataclass(frozen=True)
class Live:
    """A pair that is kept loaded.

    Attributes:
        pair: Canonical pair.
        provider: Who is asked.
        vendors: Whose bars count as loaded; anybody's, if there are none.
        start: First day that has to be there; ``None`` if only the look-back has to.
    """

    pair: str
    provider: str
    vendors: frozenset[str]
    start: date | None


@dataclass(frozen=True)
class Load:
    """One run of the incremental load.

    Attributes:
        box: What it loads.
        provider: Who is asked.
        attempt: How often these days were tried, this time included.
        after: The newest event that planned any of these days before; 0 if none did.
    """

    box: Box
    provider: str
    attempt: int
    after: int

    @property
    def run_key(self) -> str:
        """Equal for the same need: until it is planned, to ask for it twice is harmless."""
        codes = "+".join(timeframe.code for timeframe in self.box.timeframes)
        keys = self.box.keys
        return f"{keys[0]}...{keys[-1]} {codes} {self.provider} after {self.after}"


@dataclass(frozen=True)
class _Due:
    pair: str
    timeframe: Timeframe
    day: date
    provider: str
    attempt: int
    after: int


def live_pairs(instance: dg.DagsterInstance, settings: Settings) -> list[Live]:
    """The pairs that are kept loaded: all whose provider can be asked at any time.

    Files come when they come: ``landing_sensor`` waits for them. A partition that is no canonical
    pair, added by hand, is left out: loading it would fail for ever.
    """
    found = []
    for pair, enrolment in enrolments(instance).items():
        provider = enrolment.provider or settings.default_provider
        if provider == "files" or not _is_canonical(pair):
            continue
        vendors = vendors_of(provider, settings) if enrolment.provider else ()
        start = enrolment.start and max(enrolment.start, settings.start_date)
        found.append(Live(pair, provider, frozenset(vendors), start))
    return found


def due_loads(instance: dg.DagsterInstance, now: datetime) -> list[Load]:
    """What is missing, failed, unfinished or late, as few runs, the newest days first.

    Looked at are the running day and ``look_back_days`` before it. Of the pairs that have to reach
    back further, those whose history was never begun are looked at as a whole, or else one of them
    a look, in turn.

    Args:
        instance: Dagster's memory.
        now: The present moment (UTC).
    """
    settings = get_settings()
    pairs = live_pairs(instance, settings)
    today = now.date()
    first = max(settings.start_date, today - timedelta(settings.look_back_days))
    known = instance.get_dynamic_partitions(ASSET_PAIR)
    loads = _as_loads(_due_days(instance, pairs, first, today, now), known)
    # Apart, so that years of history are no part of the run that loads the present.
    for pair in _histories(instance, pairs, first, now):
        if pair.start is not None:
            old = _due_days(instance, [pair], pair.start, first - ONE_DAY, now)
            loads += _as_loads(old, known)
    return loads


def due_days(instance: dg.DagsterInstance, first: date, last: date, now: datetime) -> list[Load]:
    """The same for the closed days from ``first`` to ``last`` (included) of every live pair."""
    pairs = live_pairs(instance, get_settings())
    due = _due_days(instance, pairs, first, last, now)
    return _as_loads(due, instance.get_dynamic_partitions(ASSET_PAIR))


def _is_canonical(pair: str) -> bool:
    try:
        return parse_symbol(pair).name == pair
    except InputError:
        return False


def _histories(
    instance: dg.DagsterInstance, pairs: Sequence[Live], first: date, now: datetime
) -> list[Live]:
    """Which pairs' histories, before ``first``, are looked at this time."""
    old = {partition_key(pair.pair, pair.start): pair for pair in pairs if pair.start}
    old = {key: pair for key, pair in old.items() if pair.start and pair.start < first}
    if not old:
        return []
    new: dict[str, Live] = {}
    for timeframe in TIMEFRAMES.values():
        known = survey(instance, key_of(raw_candles(timeframe)), list(old), now)
        new |= {key: old[key] for key in old if known[key].state is State.MISSING}
    turn = int(now.timestamp() // get_settings().sensor_seconds) % len(old)
    return list(new.values()) or [list(old.values())[turn]]


def _due_days(
    instance: dg.DagsterInstance, pairs: Sequence[Live], first: date, last: date, now: datetime
) -> Iterator[_Due]:
    days = days_between(first, last)
    of_provider: dict[tuple[str, Collection[str]], list[str]] = {}
    for pair in pairs:
        of_provider.setdefault((pair.provider, pair.vendors), []).append(pair.pair)
    for (provider, vendors), names in of_provider.items():
        places = {partition_key(name, day): (name, day) for name in names for day in days}
        for timeframe in TIMEFRAMES.values():
            key = key_of(raw_candles(timeframe))
            known = survey(instance, key, list(places), now, vendors)
            look_at = [
                place
                for place, of_it in known.items()
                if of_it.state in (State.UNFINISHED, State.HOLES)
            ]
            records = latest_materializations(instance, key, look_at)
            for place, (name, day) in places.items():
                attempt = _attempt(
                    instance, known[place], records.get(place), name, timeframe, day, now
                )
                if attempt:
                    after = known[place].attempt
                    yield _Due(name, timeframe, day, provider, attempt, after)


def _attempt(
    instance: dg.DagsterInstance,
    known: Known,
    record: dg.EventLogRecord | None,
    pair: str,
    timeframe: Timeframe,
    day: date,
    now: datetime,
) -> int:
    """Which attempt at a day is due now; 0 if none is."""
    match known.state:
        case State.FAILED if known.run is not None:
            return next_attempt(instance, known.run, now)
        case State.LATE:
            return 1
        case State.HOLES if record is not None:
            return int(now >= asked_at(record) + _ASK_AGAIN)
        case State.MISSING if now >= closes_at(day):
            return 1
        case State.MISSING | State.UNFINISHED:
            begin = asked_until(record) if record is not None else day_start(day)
            end = min(timeframe.floor(now), day_start(day + ONE_DAY))
            closed_since = expected_bars(parse_symbol(pair), timeframe, begin, max(begin, end))
            return int(closed_since.size > 0)
    return 0


def next_attempt(instance: dg.DagsterInstance, run: dg.DagsterRun, now: datetime) -> int:
    """The attempt after a failed run, once its pause is over; 0 before that, and after the last."""
    settings = get_settings()
    done = int(run.tags.get(ATTEMPT_TAG, 1))
    if done >= settings.max_attempts:
        return 0
    pause = min(timedelta(minutes=settings.retry_first_minutes) * 2 ** (done - 1), _LONGEST_PAUSE)
    return done + 1 if now >= requested_at(instance, run) + pause else 0


def requested_at(instance: dg.DagsterInstance, run: dg.DagsterRun) -> datetime:
    """When a run was requested; of one that somebody started by hand, when it was created."""
    if REQUESTED_AT_TAG in run.tags:
        return datetime.fromisoformat(run.tags[REQUESTED_AT_TAG])
    record = instance.get_run_record_by_id(run.run_id)
    return (
        record.create_timestamp.replace(tzinfo=UTC) if record else datetime.min.replace(tzinfo=UTC)
    )


def _as_loads(due: Iterable[_Due], pairs: Sequence[str]) -> list[Load]:
    """Days as runs: what is tried again runs apart from what was never tried, and fails apart."""
    after: dict[tuple[str, Timeframe, date], int] = {}
    groups: dict[tuple[str, int], dict[tuple[str, Timeframe], list[date]]] = {}
    for each in due:
        after[each.pair, each.timeframe, each.day] = each.after
        days = groups.setdefault((each.provider, each.attempt), {})
        days.setdefault((each.pair, each.timeframe), []).append(each.day)
    loads = [
        Load(box, provider, attempt, _newest(box, after))
        for (provider, attempt), selected in groups.items()
        for box in plan(selected, pairs)
    ]
    return sorted(loads, key=lambda load: (load.attempt, -load.box.last.toordinal()))


def _newest(box: Box, after: Mapping[tuple[str, Timeframe, date], int]) -> int:
    return max(
        after[pair, timeframe, day]
        for pair in box.pairs
        for timeframe in box.timeframes
        for day in days_between(box.first, box.last)
    )
