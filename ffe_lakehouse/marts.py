"""What the marts hang on, and hence which of their days are stale.

As for Silver, a day remembers the number of the newest event that it has seen. Most columns are
cumulative, so a day hangs on every day before it.
"""

from dataclasses import dataclass
from datetime import date, datetime

import dagster as dg
import numpy as np
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)
from numpy.typing import NDArray

from ffe_lakehouse.derivation import (
    Attempt,
    Derived,
    Upstream,
    first_attempt,
    is_stale,
    materializations,
    newest_within,
)
from ffe_lakehouse.partitions import ASSET_PAIR, contiguous, days_between, table_key
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.gold import is_by_pair, marts
from ffe_lakehouse.schemas.records import RAW_PORTFOLIO_SNAPSHOTS
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.schemas.silver_records import DECISION_HISTORY, TRADE_LIFECYCLE
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import survey

_OF_A_PAIR = (
    # From its first record or bar on, a pair has every day.
    Upstream((TRADE_LIFECYCLE, DECISION_HISTORY, MARKET_DATA_ENRICHED), days_back=None),
)


def pair_marts() -> list[Derived]:
    """The marts of a pair, each a step: any of them can be computed alone."""
    return [Derived((mart,), _OF_A_PAIR) for mart in marts().values() if is_by_pair(mart)]


def portfolio_marts() -> list[TableSchema]:
    """The marts of the portfolio as a whole."""
    return [mart for mart in marts().values() if not is_by_pair(mart)]


@dataclass(frozen=True)
class Days:
    """Days of the portfolio, one run.

    Attributes:
        first: First day.
        last: Last day, included.
        attempt: How often these were tried, this time included.
    """

    first: date
    last: date
    attempt: int = 1

    @property
    def keys(self) -> list[str]:
        """The partition key of every day."""
        return [day.isoformat() for day in days_between(self.first, self.last)]

    @property
    def tags(self) -> dict[str, str]:
        """Run tags by which Dagster knows these partitions."""
        return {
            ASSET_PARTITION_RANGE_START_TAG: self.first.isoformat(),
            ASSET_PARTITION_RANGE_END_TAG: self.last.isoformat(),
        }


def newest_of_portfolio(instance: dg.DagsterInstance, first: date, last: date) -> NDArray[np.int64]:
    """Number of the newest upstream event that each day depends on; shape (days,).

    0 before the first snapshot or trade.
    """
    begin = min(first, get_settings().start_date)
    pairs = instance.get_dynamic_partitions(ASSET_PAIR)
    snapshots = materializations(instance, table_key(RAW_PORTFOLIO_SNAPSHOTS), None, begin, last)
    trades = materializations(instance, table_key(TRADE_LIFECYCLE), pairs, begin, last)
    newest: NDArray[np.int64] = newest_within(np.vstack([snapshots, trades]), None).max(axis=0)
    return newest[(first - begin).days :]


def stale_portfolio(
    instance: dg.DagsterInstance,
    first: date,
    last: date,
    now: datetime,
    attempt: Attempt = first_attempt,
    *,
    force: bool = False,
    beyond: bool = False,
) -> list[Days]:
    """Stale days, as few runs as there are holes between them; of each attempt apart.

    Args:
        instance: Dagster's memory.
        first: First day that is looked at.
        last: Last day.
        now: The present moment (UTC).
        attempt: Which attempt at a day is due.
        force: Each day from first to last counts as stale.
        beyond: Days after the last that were computed before are looked at, too.
    """
    horizon = max(last, now.date()) if beyond else last
    newest = newest_of_portfolio(instance, first, horizon).tolist()
    there = {
        day.isoformat(): (day, number)
        for day, number in zip(days_between(first, horizon), newest, strict=True)
        if number
    }
    stale: dict[date, int] = {}
    for mart in portfolio_marts():
        for key, known in survey(instance, table_key(mart), list(there), now).items():
            day, number = there[key]
            wanted = day <= last or known.version
            if wanted and (is_stale(known, number) or (force and day <= last)):
                stale[day] = max(stale.get(day, 0), attempt(known, number))
    of_attempt: dict[int, list[date]] = {}
    for day, number in stale.items():
        of_attempt.setdefault(number, []).append(day)
    return [
        Days(window.first, window.last, number)
        for number, days in of_attempt.items()
        if number
        for window in contiguous("", days)
    ]
