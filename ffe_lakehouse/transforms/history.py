"""How far back a Silver value looks: calendar arithmetic alone, no bars.

Whatever is recursive in Silver starts where the storage period of its bar starts, less a stretch of
history that hangs on the timeframe alone. So a value is a function of the bars in
``[history_start, its own timestamp]`` and of nothing else: not of the days that are computed with
it. What is computed from them is in ``enrichment``.
"""

from datetime import datetime, timedelta

from ffe_lakehouse.timeframes import Timeframe

HISTORY: dict[str, timedelta] = {
    "1m": timedelta(days=7),
    "5m": timedelta(days=14),
    "15m": timedelta(days=30),
    "1h": timedelta(days=100),
    "4h": timedelta(days=300),
    "1d": timedelta(days=600),
}
"""Calendar days read before a storage period, by timeframe code.

Enough for ``enrichment.WARM_UP`` bars of a market that opens on 252 days a year for six and a half
hours; `docs/indicators.md` counts them.
"""

HISTORY_DAYS = 366 - 1 + max(HISTORY.values()).days
"""The most days before a day that any of its rows can depend on: 31 December of a leap year, 1d."""


def period_start(timeframe: Timeframe, moment: datetime) -> datetime:
    """The start of the storage period that holds ``moment`` (UTC): of its month or its year."""
    month = moment.month if timeframe.storage_period == "M" else 1
    return moment.replace(month=month, day=1, hour=0, minute=0, second=0, microsecond=0)


def period_end(timeframe: Timeframe, moment: datetime) -> datetime:
    """The end, excluded, of the storage period that holds ``moment`` (UTC)."""
    longest = timedelta(days=31 if timeframe.storage_period == "M" else 366)
    return period_start(timeframe, period_start(timeframe, moment) + longest)


def history_start(timeframe: Timeframe, moment: datetime) -> datetime:
    """The earliest open time that a value at ``moment`` (UTC) can depend on."""
    return period_start(timeframe, moment) - HISTORY[timeframe.code]


def split_by_period(
    timeframe: Timeframe, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """Cut ``[start, end)`` (UTC) where storage periods begin.

    Returns:
        Half-open stretches, ascending, each inside of one storage period; none if ``start`` is not
        before ``end``.
    """
    stretches = []
    while start < end:
        cut = min(period_end(timeframe, start), end)
        stretches.append((start, cut))
        start = cut
    return stretches
