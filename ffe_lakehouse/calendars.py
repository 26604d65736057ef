"""When a market is open, and so which bars to expect: the yardstick of every completeness figure.

Crypto never closes, forex keeps New York's week, equities keep the sessions of an exchange. What a
vendor did deliver, and what to do about a bar that is missing, is decided elsewhere.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse.timeframes import Timeframe

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Calendars are laid out once for all of this range (80 years of XNYS: 0.13 s), so that no answer
# depends on the day on which the process was started.
_FIRST = np.datetime64("1970-01-01", "D")
_LAST = np.datetime64("2050-01-01", "D")


@dataclass(frozen=True)
class _Hours:
    """Opening hours of one market, in microseconds since 1970 UTC.

    Attributes:
        market: Name for messages.
        opens: Start of each open interval, ascending, shape (n,).
        closes: End of each, excluded; none is later than the next start. Shape (n,).
        first: The hours are known from here on.
        last: The hours are known up to here, excluded.
        sessions: Midnight UTC of each session's date, where days are counted by session.
    """

    market: str
    opens: NDArray[np.int64]
    closes: NDArray[np.int64]
    first: int
    last: int
    sessions: NDArray[np.int64] | None = None

    def require(self, start: int, end: int) -> None:
        """Refuse a range of which nothing is known: "no bars expected" would be a lie."""
        if start < end and (start < self.first or end > self.last):
            first, last = np.array([self.first, self.last - 1], "datetime64[us]").astype("M8[D]")
            raise InputError(
                f"the trading calendar {self.market} is known from {first} to {last}:"
                f" ask for bars of that range, not for {np.datetime64(start, 'us')}"
                f" to {np.datetime64(end, 'us')}"
            )


def expected_bars(
    symbol: Symbol, timeframe: Timeframe, start: datetime, end: datetime
) -> NDArray[np.datetime64]:
    """Open times of the bars that a complete feed has in ``[start, end)``.

    A bar is expected if the market is open at any moment within it: the 4h bar of 20:00 UTC on a
    Friday is, although forex closes at 21:00 or 22:00. Daily bars of equities are expected at 00:00
    UTC of the session's date, which is how vendors stamp them, whatever the exchange's time zone.

    Args:
        symbol: Its asset class decides the calendar; equities use ``settings.equity_calendar``.
        timeframe: Bars lie on its UTC grid.
        start: First open time that counts (time zone required).
        end: First open time that no longer counts (time zone required).

    Returns:
        ``datetime64[us]`` in UTC, ascending, shape (n,).

    Raises:
        InputError: A moment has no time zone, the calendar is unknown, or it does not reach as far.
    """
    first, last = _microseconds(start), _microseconds(end)
    hours = _hours(symbol)
    hours.require(first, last)
    if hours.sessions is not None and timeframe.duration == timedelta(days=1):
        low, high = np.searchsorted(hours.sessions, [first, last])
        return hours.sessions[low : max(low, high)].astype("datetime64[us]")
    step = timeframe.duration // _MICROSECOND
    bars = _bars_touched(hours, step, -(-first // step), -(-last // step))
    return (bars * step).astype("datetime64[us]")


def is_open(symbol: Symbol, moment: datetime) -> bool:
    """Whether the market of ``symbol`` trades at ``moment``; at its opening time it does.

    Raises:
        InputError: As for ``expected_bars``.
    """
    at = _microseconds(moment)
    hours = _hours(symbol)
    hours.require(at, at + 1)
    interval = int(np.searchsorted(hours.opens, at, side="right")) - 1
    return interval >= 0 and at < int(hours.closes[interval])


def _bars_touched(hours: _Hours, step: int, low: int, high: int) -> NDArray[np.int64]:
    """Which bars of ``[low, high)`` overlap an open interval. Bar ``i`` opens at ``i * step``."""
    near = slice(
        int(np.searchsorted(hours.closes, low * step, side="right")),
        int(np.searchsorted(hours.opens, high * step, side="left")),
    )
    first = hours.opens[near] // step
    stop = -(-hours.closes[near] // step)
    # One coarse bar can touch two intervals: it belongs to the earlier one.
    first[1:] = np.maximum(first[1:], stop[:-1])
    first, stop = np.maximum(first, low), np.minimum(stop, high)
    counts = np.maximum(stop - first, 0)
    before = np.cumsum(counts) - counts
    return np.repeat(first - before, counts) + np.arange(counts.sum())


def _hours(symbol: Symbol) -> _Hours:
    if symbol.asset_class == "crypto":
        return _crypto_hours()
    if symbol.asset_class == "forex":
        return _forex_hours()
    return _equity_hours(get_settings().equity_calendar)


@lru_cache(maxsize=1)
def _crypto_hours() -> _Hours:
    first, last = _since_1970(np.array([_FIRST, _LAST]))
    return _Hours("crypto", np.array([first]), np.array([last]), int(first), int(last))


@lru_cache(maxsize=1)
def _forex_hours() -> _Hours:
    """Forex days run from 17:00 to 17:00 New York and are named by the day on which they end.

    Open are those of Monday to Friday, except Christmas and New Year's Day. A Christmas on a
    Sunday, when the market is closed anyway, is made up for on Monday; a New Year's Day is not.
    Measured on Oanda's EURUSD 15m of 2020 to 2023: no bar lies outside of these hours, and 29 of
    the 99,648 expected bars are missing.
    """
    days = np.arange(_FIRST, _LAST)
    weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    of_month = (days - days.astype("datetime64[M]")).astype(np.int64) + 1
    month = days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    christmas = (month == 12) & (of_month == 25)
    made_up = (month == 12) & (of_month == 26) & (weekday == 0)
    new_year = (month == 1) & (of_month == 1)
    traded = days[(weekday < 5) & ~christmas & ~made_up & ~new_year]
    first, last = _since_1970(np.array([_FIRST, _LAST]))
    return _Hours("forex", _five_pm(traded - 1), _five_pm(traded), int(first), int(last))


def _five_pm(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """17:00 New York of each day, in microseconds since 1970 UTC."""
    local = pd.DatetimeIndex(days.astype("datetime64[us]") + np.timedelta64(17, "h"))
    utc = local.tz_localize("America/New_York").tz_convert("UTC")
    return _since_1970(utc.tz_localize(None).to_numpy())


@lru_cache
def _equity_hours(code: str) -> _Hours:
    """Sessions of one exchange by ``exchange_calendars``, less its lunch breaks if it has any."""
    import exchange_calendars  # 0.3 s that crypto and forex need not wait for
    from exchange_calendars.errors import InvalidCalendarName

    try:
        known = type(exchange_calendars.get_calendar(code))
    except InvalidCalendarName as error:
        raise InputError(
            f"unknown equity calendar {code!r}: use a code of exchange_calendars such as XNYS,"
            " XLON or XTKS"
        ) from error
    # Its default is the last 20 years; some calendars refuse a range wider than their bounds.
    lower, upper = known.bound_min(), known.bound_max()
    first, last = pd.Timestamp(_FIRST), pd.Timestamp(_LAST - 1)
    first = first if lower is None else max(first, lower)
    last = last if upper is None else min(last, upper)
    calendar = exchange_calendars.get_calendar(code, start=first, end=last)

    def column(name: str) -> NDArray[np.int64]:
        return _since_1970(calendar.schedule[name].dropna().dt.tz_localize(None).to_numpy())

    known_from, known_to = _since_1970(np.array([first, last + timedelta(days=1)], "M8[D]"))
    return _Hours(
        code,
        opens=np.sort(np.concatenate([column("open"), column("break_end")])),
        closes=np.sort(np.concatenate([column("break_start"), column("close")])),
        first=int(known_from),
        last=int(known_to),
        sessions=_since_1970(calendar.schedule.index.to_numpy()),
    )


def _since_1970(moments: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return moments.astype("datetime64[us]").astype(np.int64)


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise InputError(f"the moment {moment.isoformat()} has no time zone: give it in UTC")
    return (moment - _EPOCH) // _MICROSECOND
