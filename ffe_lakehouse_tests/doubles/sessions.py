"""Where the sessions of an exchange lie: which moment vendors stamp a daily bar with.

The truth has a session at 00:00 UTC of its date. Alpaca and Polygon stamp New York's midnight of
that date, Yahoo the opening bell. Coarse bars that a vendor cuts by another clock are other
bars; the double tells the values of ours under their stamps: what matters to a client is that they
do not open on the UTC grid, and when they do.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from ffe_lakehouse_tests.doubles.market import Bars

HOUR = 3_600_000_000
DAY = 24 * HOUR
NEW_YORK = "America/New_York"


def at_local_time(bars: Bars, zone: str, minutes: int = 0) -> Bars:
    """Daily bars stamped ``minutes`` after the local midnight of their date."""
    dates = (bars.times // DAY * DAY).astype("datetime64[us]")
    local = pd.DatetimeIndex(dates + np.timedelta64(minutes, "m"))
    utc = local.tz_localize(zone, ambiguous=True, nonexistent="shift_forward").tz_convert("UTC")
    stamps = utc.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    return bars.moved(stamps - bars.times)


def at_new_york_midnight(bars: Bars) -> Bars:
    """Daily bars as Alpaca and Polygon stamp them: 04:00 or 05:00 UTC."""
    return at_local_time(bars, NEW_YORK)


def on_local_grid(bars: Bars, zone: str, hour: int = 0) -> Bars:
    """Bars under the stamps of a grid that is counted from ``hour`` local time."""
    ZoneInfo(zone)  # raises if there is none
    step = bars.timeframe.duration // timedelta(microseconds=1)
    since = local_times(bars.times, zone).astype(np.int64) - hour * HOUR
    opened = pd.DatetimeIndex((since // step * step + hour * HOUR).astype("datetime64[us]"))
    utc = opened.tz_localize(zone, ambiguous=False, nonexistent="shift_forward").tz_convert("UTC")
    stamps = utc.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    return bars.moved(stamps - bars.times)


def stamped_within(bars: Bars, first: int, last: int) -> Bars:
    """Of bars under their vendor's stamps those in ``[first, last]``, both included."""
    return bars.take(np.flatnonzero((bars.times >= first) & (bars.times <= last)))


def local_times(times: np.ndarray, zone: str = NEW_YORK) -> np.ndarray:
    """Wall-clock times (datetime64[us]) of microseconds since the epoch."""
    utc = pd.DatetimeIndex(times.astype("datetime64[us]"), tz="UTC")
    return utc.tz_convert(zone).tz_localize(None).to_numpy().astype("datetime64[us]")


def local_day(midnight: datetime, zone: str = NEW_YORK) -> datetime:
    """The local midnight of the date of a UTC midnight."""
    return midnight.replace(tzinfo=ZoneInfo(zone))
