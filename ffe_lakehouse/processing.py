"""Which derived days are stale, and the fewest runs that bring them up to date.

What a table reads stands in ``derivation``; who executes the runs is decided above.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from ffe_lakehouse.derivation import (
    Attempt,
    Derived,
    Upstream,
    first_attempt,
    in_order,
    is_stale,
    materializations,
    newest_read,
    newest_within,
)
from ffe_lakehouse.partitions import ONE_DAY, PairDays, contiguous, days_between, partition_key
from ffe_lakehouse.planning import Box, neighbours
from ffe_lakehouse.watermarks import State, survey

Stale: TypeAlias = dict[tuple[int, str], dict[str, list[date]]]
"""Stale days by attempt and pair, and within by step, in the order in which they have to run."""


@dataclass(frozen=True)
class Work:
    """One run: some steps over some neighbouring pairs and contiguous days.

    Attributes:
        steps: In the order in which they run.
        box: Pairs and days.
        attempt: How often these were tried, this time included. What failed runs apart from what
            did not, and fails apart.
    """

    steps: tuple[Derived, ...]
    box: Box
    attempt: int = 1

    @property
    def keys(self) -> list[dg.AssetKey]:
        """The assets that it materializes."""
        return [key for step in self.steps for key in step.keys]


def stale_days(
    instance: dg.DagsterInstance,
    steps: Sequence[Derived],
    pairs: Sequence[str],
    days: tuple[date, date],
    now: datetime,
    attempt: Attempt = first_attempt,
    *,
    force: bool = False,
    beyond: bool = True,
) -> Stale:
    """Days that have to be computed, those included that become stale by computing others.

    Args:
        instance: Dagster's memory.
        steps: Steps that are looked at.
        pairs: Canonical pairs.
        days: First and last day.
        now: The present moment (UTC).
        attempt: Which attempt at a day is due.
        force: Compute every one of ``days``, stale or not.
        beyond: Compute anew what was computed before of later days, and hangs on these, if it is
            stale.
    """
    first, last = days
    horizon = max(last, now.date()) if beyond else last
    all_days = days_between(first, horizon)
    asked = len(days_between(first, last))
    pending: dict[str, NDArray[np.bool_]] = {}
    busy: dict[str, NDArray[np.bool_]] = {}
    read: dict[tuple[Upstream, ...], NDArray[np.int64]] = {}
    found: Stale = {}
    for step in in_order(steps):
        key, shape = step.keys[0], (len(pairs), len(all_days))
        touched, possible = _soon(step, pending, shape)
        reaches = np.arange(shape[1]) < asked + _days_back(step)
        if step.reads not in read:  # The marts all read the same.
            until = horizon if reaches[asked:].any() else last
            read[step.reads] = newest_read(instance, step, pairs, first, until)
        newest = np.zeros(shape, np.int64)
        newest[:, : read[step.reads].shape[1]] = read[step.reads]
        possible |= (newest > 0) & reaches
        if horizon > last:
            computed = materializations(instance, key, pairs, last + ONE_DAY, horizon) > 0
            possible[:, asked:] = (touched | reaches)[:, asked:] & computed
        wanted = touched.copy()
        wanted[:, :asked] |= force
        # What reads a day that a run is at would have to be computed once more after it.
        waits, _ = _soon(step, busy, shape)
        stale, running = np.zeros(shape, bool), np.zeros(shape, bool)
        rows, columns = np.nonzero(possible)
        places = list(zip(rows.tolist(), columns.tolist(), strict=True))
        keys = [partition_key(pairs[row], all_days[column]) for row, column in places]
        for place, known in zip(places, survey(instance, key, keys, now).values(), strict=True):
            running[place] = known.state is State.IN_PROGRESS
            if waits[place] or not (wanted[place] or is_stale(known, newest[place])):
                continue
            number = attempt(known, int(newest[place]))
            if number:
                stale[place] = True
                days_of = found.setdefault((number, pairs[place[0]]), {})
                days_of.setdefault(step.name, []).append(all_days[place[1]])
        for table in step.tables:
            pending[table.name], busy[table.name] = stale, running
    return found


def stages(stale: Stale, steps: Sequence[Derived], pairs: Sequence[str]) -> list[list[Work]]:
    """Stale days as runs: those of one stage can run beside each other, the stages cannot.

    Steps of a pair that have the same days in a row run together; days of several attempts do not.

    Args:
        stale: What has to be computed.
        steps: The steps that are named in it.
        pairs: All pairs, in the order of their Dagster partitions.
    """
    by_name = {step.name: step for step in in_order(steps)}
    found: list[dict[tuple[int, tuple[str, ...], date, date], list[int]]] = []
    for (attempt, pair), of_pair in stale.items():
        for number, (names, windows) in enumerate(_together(pair, of_pair, by_name)):
            if number == len(found):
                found.append({})
            for window in windows:
                shape = (attempt, names, window.first, window.last)
                found[number].setdefault(shape, []).append(pairs.index(pair))
    return [
        [
            Work(
                tuple(by_name[name] for name in names),
                Box(tuple(pairs[place] for place in places), first, last, ()),
                attempt,
            )
            for (attempt, names, first, last), all_places in stage.items()
            for places in neighbours(all_places)
        ]
        for stage in found
    ]


def _together(
    pair: str, of_pair: Mapping[str, list[date]], by_name: Mapping[str, Derived]
) -> Iterator[tuple[tuple[str, ...], list[PairDays]]]:
    """Steps of a pair that can share their runs, with their windows."""
    names: list[str] = []
    shared: list[PairDays] = []
    for name, days in of_pair.items():
        windows = list(contiguous(pair, days))
        # With several windows, one step has to be through with all before one that reads it begins.
        waits = len(windows) > 1 and any(by_name[name].hangs_on(by_name[each]) for each in names)
        if names and (windows != shared or waits):
            yield tuple(names), shared
            names = []
        names.append(name)
        shared = windows
    yield tuple(names), shared


def _days_back(step: Derived) -> float:
    """So many days after a day still read something of it."""
    reach = [upstream.days_back for upstream in step.reads]
    return max(math.inf if back is None else back for back in reach)


def _soon(
    step: Derived, pending: Mapping[str, NDArray[np.bool_]], shape: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which days read one that is about to be computed; and which are made of one."""
    touched, made = np.zeros(shape, bool), np.zeros(shape, bool)
    for number, upstream in enumerate(step.reads):
        for table in upstream.tables:
            if table.name in pending:
                soon = pending[table.name].astype(np.int64)
                padded = np.pad(soon, ((0, 0), (upstream.days_back or 0, 0)))
                touched |= newest_within(padded, upstream.days_back) > 0
                if number == 0:
                    made |= (touched if upstream.days_back is None else soon) > 0
    return touched, made
