"""What is loaded: complete, unfinished, late, missing, failed, in progress.

Dagster is the only memory. Every answer here comes from the partition status of an asset and from
its materializations; sensors, command line and checks all ask this module.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from itertools import accumulate, compress, groupby
from operator import and_

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from ffe_lakehouse.partitions import (
    ONE_DAY,
    PairDays,
    daily_by_pair,
    day_start,
    days_between,
    partition_key,
    split_key,
)
from ffe_lakehouse.settings import get_settings

_CLOSED, _OPEN = "closed", "open"
_AT_ONCE = 500


class State(Enum):
    """What is known of one day of one pair in one table."""

    COMPLETE = "complete"
    """Materialized after the day had closed and the settlement delay had passed."""
    NO_DATA = "no_data"
    """Complete, and the vendor has nothing: a forex Saturday, a day before the listing."""
    UNFINISHED = "unfinished"
    """Materialized while the day could still change, which it still can."""
    LATE = "late"
    """Materialized while the day could still change, which it no longer can: look again."""
    MISSING = "missing"
    """Never materialized."""
    FAILED = "failed"
    """The last attempt failed."""
    IN_PROGRESS = "in_progress"
    """A run is on it."""

    @property
    def is_done(self) -> bool:
        """Nothing is left to fetch."""
        return self in (State.COMPLETE, State.NO_DATA)

    @property
    def is_loaded(self) -> bool:
        """The table holds what the vendor had when it was last asked with success."""
        return self.is_done or self in (State.UNFINISHED, State.LATE)


@dataclass(frozen=True)
class Watermark:
    """How far one pair is loaded into one table.

    Attributes:
        pair: Canonical pair.
        first: First day that somebody tried to load (UTC).
        complete_until: Last day before the first hole; ``None`` if ``first`` is one.
        last_timestamp: Open time of the last bar up to there (UTC).
        no_data: Days that are complete, and empty.
        open: What is not done from ``first`` until now: days of one state in a row.
    """

    pair: str
    first: date
    complete_until: date | None
    last_timestamp: datetime | None
    no_data: int
    open: list[tuple[State, PairDays]]


def closes_at(day: date) -> datetime:
    """When ``day`` can no longer change: its end (UTC) plus the settlement delay."""
    return day_start(day + ONE_DAY) + get_settings().settlement_delay


def data_version(day: date, asked_at: datetime, versions: int, vendors: Sequence[str]) -> str:
    """The Dagster data version of one loaded day: whether it is final, how much, from whom.

    It stays the same when the day is loaded again and nothing changed. Dagster indexes it, so the
    state of thousands of partitions is one query.

    Args:
        day: UTC day.
        asked_at: When the vendor was asked (UTC).
        versions: Rows that the table holds for the day.
        vendors: Who answered.
    """
    finality = _CLOSED if asked_at >= closes_at(day) else _OPEN
    return f"{finality}:{versions}:{'+'.join(vendors)}"


def partition_states(
    instance: dg.DagsterInstance,
    asset_key: dg.AssetKey,
    pairs: Sequence[str],
    first: date,
    last: date,
    now: datetime,
    vendors: Collection[str] = (),
) -> dict[tuple[str, date], State]:
    """The state of every day from ``first`` to ``last`` (included) of every pair.

    Args:
        instance: Dagster's memory.
        asset_key: Whose partitions.
        pairs: Canonical pairs.
        first: First day.
        last: Last day.
        now: The present moment (UTC).
        vendors: Whose bars are wanted: a day that others loaded counts as missing. Anybody's, if
            there are none.
    """
    days = days_between(first, last)
    keys = {(pair, day): partition_key(pair, day) for pair in pairs for day in days}
    statuses = instance.get_status_by_partition(asset_key, list(keys.values()), daily_by_pair())
    versions = _data_versions(instance, asset_key)
    return {
        at: _state((statuses or {}).get(key), versions.get(key, ""), at[1], now, vendors)
        for at, key in keys.items()
    }


def watermarks(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, pairs: Sequence[str], now: datetime
) -> list[Watermark]:
    """How far each pair is loaded; pairs that nobody ever tried to load are left out."""
    first: dict[str, date] = {}
    storage = instance.event_log_storage
    tried = storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        asset_key
    )
    for partition in (*instance.get_materialized_partitions(asset_key), *tried):
        pair, day = split_key(partition)
        first[pair] = min(day, first.get(pair, day))
    loaded = [pair for pair in pairs if pair in first]
    if not loaded:
        return []
    today = now.date()
    states = partition_states(instance, asset_key, loaded, min(first.values()), today, now)
    found = []
    for pair in loaded:
        days = days_between(first[pair], today)
        is_done = [states[pair, day].is_done for day in days]
        done = list(compress(days, accumulate(is_done, and_)))
        found.append(
            Watermark(
                pair=pair,
                first=first[pair],
                complete_until=done[-1] if done else None,
                last_timestamp=_last_timestamp(instance, asset_key, pair, done),
                no_data=sum(states[pair, day] is State.NO_DATA for day in days),
                open=list(_open_windows(pair, days, states)),
            )
        )
    return found


def latest_materializations(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, keys: Sequence[str]
) -> dict[str, dg.EventLogRecord]:
    """The last materialization of every one of these partitions that has one, in their order."""
    newest = instance.get_latest_storage_id_by_partition(
        asset_key, dg.DagsterEventType.ASSET_MATERIALIZATION, set(keys)
    )
    records: dict[str, dg.EventLogRecord] = {}
    ids = sorted(newest.values())
    for begin in range(0, len(ids), _AT_ONCE):
        chunk = ids[begin : begin + _AT_ONCE]
        only = dg.AssetRecordsFilter(asset_key, storage_ids=chunk)
        for record in instance.fetch_materializations(only, limit=len(chunk)).records:
            records[str(record.partition_key)] = record
    return {key: records[key] for key in keys if key in records}


def metadata_of(record: dg.EventLogRecord) -> Mapping[str, dg.MetadataValue]:
    """The metadata of a materialization."""
    materialization = record.asset_materialization
    return materialization.metadata if materialization else {}


def asked_until(record: dg.EventLogRecord) -> datetime:
    """Bars that open before this moment (UTC) were asked for: nothing later can be missing yet."""
    told = metadata_of(record).get("asked_until")
    return datetime.fromtimestamp(float(str(told.value)) if told else record.timestamp, UTC)


def _data_versions(instance: dg.DagsterInstance, asset_key: dg.AssetKey) -> dict[str, str]:
    """The newest data version of every materialized partition that has one."""
    event = dg.DagsterEventType.ASSET_MATERIALIZATION
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        asset_key, event, [DATA_VERSION_TAG]
    )
    return {key: of_key[DATA_VERSION_TAG] for key, of_key in tags.items()}


def _state(
    status: AssetPartitionStatus | None,
    version: str,
    day: date,
    now: datetime,
    vendors: Collection[str],
) -> State:
    if status is None:
        return State.MISSING
    if status is AssetPartitionStatus.FAILED:
        return State.FAILED
    if status is AssetPartitionStatus.IN_PROGRESS:
        return State.IN_PROGRESS
    # A vendor's name may have a colon in it.
    finality, versions, answered = (*version.split(":", 2), "", "")[:3]
    if vendors and answered and not set(answered.split("+")) & set(vendors):
        return State.MISSING
    if finality == _CLOSED:
        return State.NO_DATA if versions == "0" else State.COMPLETE
    # Also for what somebody reported by hand, of which nobody knows how far it reaches.
    return State.UNFINISHED if now < closes_at(day) else State.LATE


def _last_timestamp(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, pair: str, days: Sequence[date]
) -> datetime | None:
    """The last bar of these days: looked for backwards, a week at a time, as days may be empty."""
    for end in range(len(days), 0, -7):
        keys = [partition_key(pair, day) for day in days[max(0, end - 7) : end]]
        for record in reversed(latest_materializations(instance, asset_key, keys).values()):
            last = metadata_of(record).get("last_timestamp")
            if last is not None:
                return datetime.fromtimestamp(float(str(last.value)), UTC)
    return None


def _open_windows(
    pair: str, days: Sequence[date], states: Mapping[tuple[str, date], State]
) -> Iterator[tuple[State, PairDays]]:
    for state, group in groupby(days, lambda day: states[pair, day]):
        window = list(group)
        if not state.is_done:
            yield state, PairDays(pair, window[0], window[-1])
