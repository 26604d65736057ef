"""Logical partitions: UTC day × asset pair, and the one place that makes and splits their keys.

A portfolio is of no single pair: its partitions are days, their keys ISO dates.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.settings import get_settings

DATE = "date"
ASSET_PAIR = "asset_pair"
ONE_DAY = timedelta(days=1)

asset_pairs = dg.DynamicPartitionsDefinition(name=ASSET_PAIR)


def daily_by_pair() -> dg.MultiPartitionsDefinition:
    """The partitions of every pair-level table, the running day included (``end_offset=1``)."""
    return _daily_by_pair(get_settings().start_date)


@lru_cache(maxsize=1)
def _daily_by_pair(start: date) -> dg.MultiPartitionsDefinition:
    # Kept, because every key that comes back from Dagster as a text is split by it.
    return dg.MultiPartitionsDefinition({DATE: _daily(start), ASSET_PAIR: asset_pairs})


def daily() -> dg.DailyPartitionsDefinition:
    """The partitions of what is of no single pair: a portfolio."""
    return _daily(get_settings().start_date)


def _daily(start: date) -> dg.DailyPartitionsDefinition:
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), end_offset=1)


def partition_key(pair: str, day: date) -> dg.MultiPartitionKey:
    """The key of one day of one pair."""
    return dg.MultiPartitionKey({DATE: day.isoformat(), ASSET_PAIR: pair})


def key_texts(pairs: Iterable[str], days: Sequence[date]) -> list[str]:
    """The keys of every day of every pair as plain texts, pair by pair.

    A hundred thousand of Dagster's own keys take a second to make; these are equal to them.
    """
    texts = [day.isoformat() for day in days]
    return [f"{pair}|{text}" for pair in pairs for text in texts]


def split_key(key: str) -> tuple[str, date]:
    """The pair, empty if it is of none, and the UTC day of a partition key."""
    if "|" not in key:
        return "", date.fromisoformat(key)
    if not isinstance(key, dg.MultiPartitionKey):
        key = daily_by_pair().get_partition_key_from_str(key)
    return key.keys_by_dimension[ASSET_PAIR], date.fromisoformat(key.keys_by_dimension[DATE])


def run_partitions(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> Sequence[str]:
    """The partition keys of a run.

    ``context.partition_keys`` is wrong for a range that a job's page launches: such a run also
    carries the tags of a single partition, and Dagster 1.13 looks at these first. Of 30 planned
    days one would be loaded, and the run be green.
    """
    tags = context.run.tags
    if ASSET_PARTITION_RANGE_START_TAG not in tags:
        its_keys: Sequence[str] = context.partition_keys
        return its_keys
    keys = dg.PartitionKeyRange(
        tags[ASSET_PARTITION_RANGE_START_TAG], tags[ASSET_PARTITION_RANGE_END_TAG]
    )
    if "|" not in keys.start:
        return daily().get_partition_keys_in_range(keys)
    return daily_by_pair().get_partition_keys_in_range(keys, context.instance)


def table_key(schema: TableSchema) -> dg.AssetKey:
    """The asset of a table: the table's name is the path of the key."""
    return dg.AssetKey(schema.name.split("/"))


def day_start(day: date) -> datetime:
    """Midnight UTC at which ``day`` begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@dataclass(frozen=True)
class PairDays:
    """Contiguous days of one pair: ``[first, last]``, both included."""

    pair: str
    first: date
    last: date

    @property
    def start(self) -> datetime:
        """First moment of the window."""
        return day_start(self.first)

    @property
    def end(self) -> datetime:
        """First moment after the window."""
        return day_start(self.last + ONE_DAY)

    @property
    def days(self) -> list[date]:
        """Every day of the window."""
        return days_between(self.first, self.last)

    def __str__(self) -> str:
        """``2024-01-01`` or ``2024-01-01..2024-01-31``."""
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    @property
    def keys(self) -> list[dg.MultiPartitionKey]:
        """The partition key of every day."""
        return [partition_key(self.pair, day) for day in self.days]


def days_between(first: date, last: date) -> list[date]:
    """Every day from ``first`` to ``last``, both included."""
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def contiguous(pair: str, days: Iterable[date]) -> Iterator[PairDays]:
    """``days`` of one pair as as few windows as there are holes between them, in order."""
    ordered = sorted(set(days))
    for _, run in groupby(enumerate(ordered), lambda item: item[1] - timedelta(item[0])):
        window = [day for _, day in run]
        yield PairDays(pair, window[0], window[-1])


def windows(keys: Sequence[str]) -> list[PairDays]:
    """Partition keys as windows: by pair in order of appearance, then by time."""
    days_of: dict[str, list[date]] = {}
    for key in keys:
        pair, day = split_key(key)
        days_of.setdefault(pair, []).append(day)
    return [window for pair, days in days_of.items() for window in contiguous(pair, days)]


def check_range(first: date, last: date, now: datetime) -> None:
    """Refuse a range of days that cannot be loaded.

    Raises:
        InputError: Reversed, in the future, or before the first day (``FFE_START_DATE``).
    """
    earliest = get_settings().start_date
    for day in (first, last):
        if day > now.date():
            raise InputError(
                f"{day} is in the future: the last day that has begun is {now.date()} (UTC)"
            )
    if last < first:
        raise InputError(f"the end {last} is before the start {first}: swap them")
    if first < earliest:
        raise InputError(
            f"{first} is before the first day of the lake, {earliest}:"
            f" set FFE_START_DATE={first} to go back further"
        )
