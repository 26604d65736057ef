"""How each day of a pair stood when it was last asked for, as the evidence allows to say.

What is not proved is left untold: it is fetched once more, which changes nothing that is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.recollection.evidence import DAY, Ask, Bars, Counts, Days, Sources, days_of, sums
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import Timeframe

_NEVER = np.datetime64("NaT", "us")


class Finality(IntEnum):
    """How a day stood when it was last asked for, as far as the lake can tell."""

    UNTOLD = 0
    OPEN = 1
    """It was asked for before it had closed."""
    HOLES = 2
    """It was asked for once after it had closed, and bars are missing."""
    CLOSED = 3
    """All bars are there, or it was asked for twice, or the calendar expects none."""


@dataclass(frozen=True)
class Recollection:
    """What is known of one pair in one table: columns, one value a day, shape (n,) each.

    Attributes:
        pair: Canonical pair.
        timeframe: Of the table.
        days: Every UTC day from the first of which anything is known to the present one.
        finality: How it stood (``Finality``).
        rows: Rows of the Bronze table, all versions.
        letters: Rows of the dead-letter table.
        beside: Of these, records that do not speak against the day.
        expected: Bars that the calendar expects to have closed before ``asked_until``.
        missing: Of these, how many the table has not.
        first: Open time of the first bar (datetime64[us], UTC); NaT if there is none.
        last: Of the last one.
        asked_at: The last time that somebody is known to have asked; NaT if nobody is.
        asked_until: Bars that open before this were asked for.
        vendors: Who answered last, each once.
    """

    pair: str
    timeframe: Timeframe
    days: Days
    finality: NDArray[np.int8]
    rows: Counts
    letters: Counts
    beside: Counts
    expected: Counts
    missing: Counts
    first: Days
    last: Days
    asked_at: Days
    asked_until: Days
    vendors: Sequence[tuple[str, ...]]

    @property
    def untold(self) -> int:
        """Days between the first and the last known one that cannot be told, and are expected."""
        known = np.flatnonzero(self.finality != Finality.UNTOLD)
        if not known.size:
            return 0
        between = slice(known[0], known[-1] + 1)
        return int(((self.finality == Finality.UNTOLD) & (self.expected > 0))[between].sum())


def recollect(sources: Sources, pair: str) -> Recollection | None:
    """What can be told of a pair; ``None`` if the lake has nothing of it.

    Raises:
        InputError: The pair is none, or its trading calendar does not reach as far.
    """
    bars, letters = sources.bars(pair), sources.letters(pair)
    asks = sources.asks(pair, bars)
    begins = [*bars.days[:1], *days_of(letters), *(ask.first for ask in asks)]
    today = _numpy(sources.now).astype("M8[D]")
    if min(begins, default=today + DAY) > today:
        return None
    # Nothing before it has a partition.
    earliest = np.datetime64(get_settings().start_date, "D")
    days = np.arange(max(min(begins), earliest), today + DAY)
    return _conclude(sources, pair, days, bars, letters, asks)


def _conclude(
    sources: Sources, pair: str, days: Days, bars: Bars, letters: pa.Table, asks: Sequence[Ask]
) -> Recollection:
    timeframe, now = sources.timeframe, _numpy(sources.now)
    # The same moment for all days as ``watermarks.closes_at`` tells of one.
    delay = np.timedelta64(get_settings().settlement_delay)
    closes = np.asarray((days + DAY).astype("M8[us]") + delay, "M8[us]")
    rows, refused = sums(days, bars.days), sums(days, days_of(letters))
    beside = sums(days, days_of(letters.filter(_beside(letters))))
    due, there = _due(pair, timeframe, days, bars.times)
    expected, missing = sums(days, due), sums(days, due[~there])
    asked_at, asked = _asked(days, closes, asks, now)
    dirty = np.flatnonzero(refused > beside)
    asked_at[dirty], asked[dirty] = _written(days[dirty], closes[dirty], bars, asks, now)

    has_closed = closes <= now
    finality = np.full(days.size, Finality.UNTOLD, np.int8)
    finality[~np.isnat(asked_at) | (rows > 0)] = Finality.OPEN
    finality[asked > 0] = Finality.HOLES
    none = sources.none_missing(pair, days)
    finality[((rows > 0) | (asked > 0)) & has_closed & (missing <= none)] = Finality.CLOSED
    finality[has_closed & (missing > 0) & (none >= missing)] = Finality.CLOSED
    finality[asked > 1] = Finality.CLOSED
    finality[has_closed & _calm(expected, finality, days < now.astype("M8[D]"))] = Finality.CLOSED
    finality[(rows == 0) & (refused > beside)] = Finality.UNTOLD

    first, last = _ends(days, bars)
    reach = np.where(np.isnat(last), days.astype("M8[us]"), last + timeframe.step)
    asked_until = np.where(finality == Finality.OPEN, reach, (days + DAY).astype("M8[us]"))
    is_asked = due < asked_until[(due.astype("M8[D]") - days[0]).astype(np.int64)]
    return Recollection(
        pair,
        timeframe,
        days,
        finality,
        rows,
        refused,
        beside,
        sums(days, due[is_asked]),
        sums(days, due[is_asked & ~there]),
        first,
        last,
        asked_at,
        asked_until,
        _vendors(days, bars),
    )


def _asked(
    days: Days, closes: Days, asks: Sequence[Ask], now: np.datetime64
) -> tuple[Days, Counts]:
    """When each day was last asked for, and how often after it had closed."""
    asked_at = np.full(days.size, np.datetime64(0, "us"))
    change = np.zeros(days.size + 1, np.int64)
    for ask in asks:
        at = min(ask.at, now)  # by a clock that was put back since
        begin, end = (ask.first - days[0]) // DAY, (ask.last - days[0]) // DAY + 1
        begin, end = max(begin, 0), max(end, 0)
        asked_at[begin:end] = np.maximum(asked_at[begin:end], at)
        end = min(end, int(np.searchsorted(closes, at, side="right")))
        if begin < end:
            change[begin] += 1
            change[end] -= 1
    asked_at[asked_at == np.datetime64(0, "us")] = _NEVER
    return asked_at, change[:-1].cumsum()


def _written(
    days: Days, closes: Days, bars: Bars, asks: Sequence[Ask], now: np.datetime64
) -> tuple[Days, Counts]:
    """The same, of days with dead letters: only what brought bars of the day itself counts.

    Too many rejects refuse a day, while the days around it in the same answer are written.
    """
    asked_at, asked = np.full(days.size, _NEVER), np.zeros(days.size, np.int64)
    moments = {ask.at for ask in asks}
    for n, day in enumerate(days):
        known = np.unique(bars.known[bars.days == day])
        its = [min(at, now) for at in known if at in moments]
        asked_at[n] = max(its, default=_NEVER)
        asked[n] = sum(at >= closes[n] for at in its)
    return asked_at, asked


def _calm(
    expected: Counts, finality: NDArray[np.int8], begun: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Days without an expected bar between two that are known, or since the last that was due.

    A Saturday that was asked for leaves nothing in the lake; but nobody who loads the Friday and
    the Monday leaves it out, and there is nothing to fetch.
    """
    due = np.flatnonzero((expected > 0) & begun)
    known = np.append(finality[due] != Finality.UNTOLD, True)
    after = np.searchsorted(due, np.arange(expected.size))
    calm: NDArray[np.bool_] = (expected == 0) & (after > 0) & known[after - 1] & known[after]
    return calm


def _due(
    pair: str, timeframe: Timeframe, days: Days, times: Days
) -> tuple[Days, NDArray[np.bool_]]:
    """Bars that the calendar expects, and which of them are there."""
    due = expected_bars(parse_symbol(pair), timeframe, _utc(days[0]), _utc(days[-1] + DAY))
    there = np.zeros(due.size, bool)
    if times.size:
        there = times[np.minimum(np.searchsorted(times, due), times.size - 1)] == due
    return due, there


def _ends(days: Days, bars: Bars) -> tuple[Days, Days]:
    """Open time of the first and the last bar of each day; NaT where there is none."""
    first, last = np.full(days.size, _NEVER), np.full(days.size, _NEVER)
    begins = np.searchsorted(bars.days, days, side="left")
    ends = np.searchsorted(bars.days, days, side="right")
    some = begins < ends
    first[some], last[some] = bars.times[begins[some]], bars.times[ends[some] - 1]
    return first, last


def _vendors(days: Days, bars: Bars) -> list[tuple[str, ...]]:
    """Whose bars are the newest of each day, in the order of the bars."""
    begins = np.searchsorted(bars.days, days, side="left")
    ends = np.searchsorted(bars.days, days, side="right")
    coded = bars.table["source_provider"].combine_chunks().dictionary_encode()
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    found = []
    for begin, end in zip(begins, ends, strict=True):
        known = bars.known[begin:end]
        newest = codes[begin:end][known == known.max()] if begin < end else codes[:0]
        found.append(tuple(names[code] for code in dict.fromkeys(newest.tolist())))
    return found


def _beside(letters: pa.Table) -> pa.Array:
    """Letters of bars that are no bars of the day yet, or of another one."""
    beside = {"unclosed_bar", "outside_window"}
    return pa.array(
        [beside.issuperset(codes) for codes in letters["reasons"].to_pylist()], pa.bool_()
    )


def _numpy(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")


def _utc(moment: np.datetime64) -> datetime:
    return datetime.fromtimestamp(float(moment.astype("M8[s]").astype(np.int64)), UTC)
