"""Which days are due, and the fewest runs that load them.

What is known of a day is asked of ``watermarks``; who executes the runs is decided above.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from ffe_lakehouse.partitions import PairDays, contiguous, partition_key, table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.watermarks import State, partition_states


@dataclass(frozen=True)
class Box:
    """One run: some timeframes of some neighbouring pairs over contiguous days."""

    pairs: tuple[str, ...]
    first: date
    last: date
    timeframes: tuple[Timeframe, ...]

    @property
    def partitions(self) -> int:
        """Bronze partitions of the run."""
        days = (self.last - self.first).days + 1
        return days * len(self.pairs) * len(self.timeframes)

    @property
    def keys(self) -> list[str]:
        """The partition key of every day of every pair."""
        return [key for pair in self.pairs for key in PairDays(pair, self.first, self.last).keys]

    @property
    def tags(self) -> dict[str, str]:
        """Run tags by which Dagster knows these partitions."""
        return {
            ASSET_PARTITION_RANGE_START_TAG: partition_key(self.pairs[0], self.first),
            ASSET_PARTITION_RANGE_END_TAG: partition_key(self.pairs[-1], self.last),
        }


def select_days(
    instance: dg.DagsterInstance,
    pairs: Sequence[str],
    timeframes: Sequence[Timeframe],
    days: tuple[date, date],
    now: datetime,
    wanted: Callable[[State], bool],
    vendors: Collection[str] = (),
) -> dict[tuple[str, Timeframe], list[date]]:
    """Days in a wanted state, by pair and timeframe, from the first to the last of ``days``.

    With ``vendors``, a day that others loaded counts as missing.
    """
    selected: dict[tuple[str, Timeframe], list[date]] = {}
    for timeframe in timeframes:
        key = table_key(raw_candles(timeframe))
        states = partition_states(instance, key, pairs, *days, now, vendors)
        for (pair, day), state in states.items():
            if wanted(state):
                selected.setdefault((pair, timeframe), []).append(day)
    return selected


def is_due(state: State, *, force: bool = False) -> bool:
    """Whether to load a day: it is not done, or ``force``. A living run is left alone."""
    return state is not State.IN_PROGRESS and (force or not state.is_done)


def plan(
    selected: Mapping[tuple[str, Timeframe], Iterable[date]], pairs: Sequence[str]
) -> list[Box]:
    """Days as runs. Dagster's ranges are boxes over neighbours, so equal windows are joined.

    Args:
        selected: Days by pair and timeframe.
        pairs: All pairs, in the order of their Dagster partitions.
    """
    timeframes_of: dict[PairDays, list[Timeframe]] = {}
    for (pair, timeframe), days in selected.items():
        for window in contiguous(pair, days):
            timeframes_of.setdefault(window, []).append(timeframe)
    alike: dict[tuple[date, date, tuple[Timeframe, ...]], list[int]] = {}
    for window, timeframes in timeframes_of.items():
        shape = (window.first, window.last, tuple(sorted(timeframes)))
        alike.setdefault(shape, []).append(pairs.index(window.pair))
    return [
        Box(tuple(pairs[place] for place in places), first, last, timeframes)
        for (first, last, timeframes), all_places in sorted(alike.items())
        for places in neighbours(all_places)
    ]


def neighbours(places: Iterable[int]) -> Iterator[list[int]]:
    """Whole numbers as runs without a hole, ascending."""
    for _, run in groupby(enumerate(sorted(places)), lambda item: item[1] - item[0]):
        yield [place for _, place in run]
