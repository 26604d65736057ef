"""When a live pair is stale, and until when the day's pipeline must be done: rules about time.

The yardstick is the trading calendar: nothing is stale while its market is closed. What is loaded
is asked of Dagster elsewhere, and who is told about it, too.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from ffe_lakehouse.calendars import expected_bars, is_open
from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse.timeframes import Timeframe

DAILY_BEGINS = timedelta(hours=1)
"""When the daily pipeline begins, counted from midnight UTC."""

_LONGEST_CLOSURE = timedelta(days=14)  # Tokyo, 2019: ten days
_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Reach:
    """How far a pair is loaded in one timeframe, as its latest materializations say.

    Attributes:
        last: Open time of the newest bar (UTC); ``None`` if none is known.
        asked_until: Bars that open before it were asked for (UTC); ``None`` if none ever were.
    """

    last: datetime | None = None
    asked_until: datetime | None = None

    def lacks(self, due: datetime) -> bool:
        """Whether neither the bar that opens at ``due`` nor a later one is there."""
        return self.last is None or self.last < due

    def was_asked_for(self, due: datetime) -> bool:
        """Whether the vendor was asked for the bar that opens at ``due``."""
        return self.asked_until is not None and self.asked_until > due


def newest_due(
    symbol: Symbol, timeframe: Timeframe, now: datetime, allowed: timedelta
) -> datetime | None:
    """The newest bar that should be there: the last one that had closed ``allowed`` before ``now``.

    Args:
        symbol: Its calendar counts.
        timeframe: Of the bar.
        now: The present moment (time zone required).
        allowed: How far a pair may be behind.

    Returns:
        Its open time (UTC); ``None`` if no bar is expected of two weeks.

    Raises:
        InputError: As for ``calendars.expected_bars``.
    """
    until = now - allowed - timeframe.duration
    closed = expected_bars(
        symbol, timeframe, until - _LONGEST_CLOSURE, until + timedelta(microseconds=1)
    )
    if not closed.size:
        return None
    due: datetime = closed[-1].item()
    return due.replace(tzinfo=UTC)


def is_awaited(symbol: Symbol, now: datetime, allowed: timedelta) -> bool:
    """Whether bars that lack are a reason to call somebody: the market has been open for a while.

    In the first ``allowed`` after an opening, nothing has to be there that was not when it closed.

    Raises:
        InputError: As for ``calendars.is_open``.
    """
    return is_open(symbol, now) and is_open(symbol, now - allowed)


def watched_since(
    before: Mapping[str, datetime],
    last_look: datetime | None,
    pairs: Iterable[str],
    now: datetime,
    longest_pause: timedelta,
) -> dict[str, datetime]:
    """Since when each pair has been looked at without a break.

    A pair that was just added, and all of them after the machine slept, first get the time to be
    loaded before anybody is told that they are behind.

    Args:
        before: What this said at the last look.
        last_look: When that was (UTC).
        pairs: That are looked at now.
        now: The present moment (UTC).
        longest_pause: After a longer one, everything begins anew.
    """
    unbroken = last_look is not None and abs(now - last_look) <= longest_pause
    return {pair: before.get(pair, now) if unbroken else now for pair in pairs}


def latest_deadline(now: datetime, sla: timedelta) -> datetime:
    """The last deadline of the daily pipeline that has passed (UTC), ``sla`` after it began."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight + DAILY_BEGINS + sla
    return first - math.ceil((first - now) / _A_DAY) * _A_DAY


def daily_policy(sla: timedelta) -> dg.FreshnessPolicy:
    """For an asset that the daily pipeline materializes: by 01:00 UTC and ``sla``, every day.

    Dagster's daemon evaluates it, by the machine's clock: once the deadline has passed, the asset
    fails if it was materialized last before 01:00, until it is materialized again. A longer
    ``sla`` than a day counts as a day.
    """
    window = timedelta(minutes=max(1, math.ceil(min(sla, _A_DAY) / timedelta(minutes=1))))
    deadline = datetime(2000, 1, 1, tzinfo=UTC) + DAILY_BEGINS + window
    return dg.FreshnessPolicy.cron(
        deadline_cron=f"{deadline.minute} {deadline.hour} * * *", lower_bound_delta=window
    )
