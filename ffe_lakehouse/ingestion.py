"""The way of a candle: from a provider's pages to the dead letters and the Bronze table.

One generator, without Dagster. It buffers pages until a batch of days is whole, judges it, stores
first the rejects and then the bars, and reports every day: nothing that was fetched is unaccounted
for. Killed at any moment, it loses at most the batch in hand, and fetching that again writes only
what is missing.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.lake.versions import Change, Changes
from ffe_lakehouse.lake.where import Where
from ffe_lakehouse.partitions import ONE_DAY, PairDays, day_start
from ffe_lakehouse.providers.base import RAW_CANDLES, CandleQuery, Page, Provider, ProviderError
from ffe_lakehouse.schemas import CLOSINGS, PRICES, TableSchema, dead_letters, raw_candles
from ffe_lakehouse.symbols import Symbol, canonical_symbol
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.transforms.rows import Provenance, bronze_rows, failure_rows, letter_rows
from ffe_lakehouse.transforms.validation import Verdict, judge

Write = Callable[[TableSchema, pa.Table, Where], Changes]
"""Append-if-changed, as ``DeltaLakeManager.append_if_changed`` does it."""


_BESIDE = frozenset({"unclosed_bar", "outside_window"})


@dataclass(frozen=True)
class DayReport:
    """What became of one day of one pair. ``fetched = written + unchanged + duplicate + rejected``.

    Attributes:
        day: UTC day.
        fetched: Records that the vendor delivered for the day.
        written: Bars that were new or revised.
        revised: Of these, new versions of known bars.
        unchanged: Bars that were known with the same values.
        duplicate: Exact repetitions within the answer.
        rejected: Records in the dead letters.
        open_letters: Dead letters of the day that nobody has closed, those of earlier answers too.
        reasons: How often each reason was given; a record may have several.
        expected: Bars that the trading calendar expects to have closed.
        missing: Of these, how many the answer has not.
        versions: Versions of the day's bars that the table now holds.
        until: Bars that open before this moment (UTC) were asked for.
        refused: Too many rejects: they are stored, but no bar is, and the day must fail.
        vendors: Who answered, each once.
        times: Open times of the day's good bars (datetime64[us], UTC), ascending.
        prices: Shape (bars, 4): their open, high, low, close.
    """

    day: date
    fetched: int
    written: int
    revised: int
    unchanged: int
    duplicate: int
    rejected: int
    open_letters: int
    reasons: Counter[str]
    expected: int
    missing: int
    versions: int
    until: datetime
    refused: bool
    vendors: tuple[str, ...]
    times: np.ndarray = field(repr=False)
    prices: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Ingestion:
    """Who is asked for what, and by which rules the answer is stored.

    Attributes:
        provider: Who is asked.
        timeframe: Decides the tables.
        batch_days: Days that are committed together.
        max_reject_ratio: A day with a larger share of rejects is refused.
        run_id: Dagster run, for the dead letters.
        write: Append-if-changed.
        clock: The present moment (UTC). Only bars that have closed by it are stored.
        closings: What is known of dead letters that are closed: rows by ``schemas.CLOSINGS``. Asked
            only where there are letters; a closed one does not speak against its day.
    """

    provider: Provider
    timeframe: Timeframe
    batch_days: int
    max_reject_ratio: float
    run_id: str
    write: Write
    clock: Callable[[], datetime]
    closings: Callable[[Where], pa.Table] = lambda _: CLOSINGS.arrow.empty_table()

    def days(self, window: PairDays) -> Iterator[list[DayReport]]:
        """Load the days of ``window``; yields the reports of a batch once it is committed.

        Raises:
            ProviderError: The vendor failed. Batches that were yielded stay.
            InputError: The pair is none, or not in its canonical spelling.
        """
        symbol = canonical_symbol(window.pair, "bars")
        end = min(window.end, self.timeframe.floor(self.clock()))
        query = CandleQuery(symbol, self.timeframe, window.start, end)
        begun = whole = window.first
        buffer = _Buffer(self.provider.name)

        def store(until: date) -> list[DayReport]:
            days = PairDays(window.pair, begun, until - ONE_DAY)
            answer = buffer.take(day_start(until) if until <= window.last else None)
            return self._store(answer, symbol, days, min(days.end, end))

        try:
            for page in self._pages(query):
                buffer.add(page)
                finished = page.covered_until >= end
                whole = window.last + ONE_DAY if finished else page.covered_until.date()
                while begun < whole and (finished or (whole - begun).days >= self.batch_days):
                    until = min(begun + timedelta(self.batch_days), whole)
                    yield store(until)
                    begun = until
        except ProviderError as failure:
            if begun < whole:  # What has been paid for is not asked for again.
                yield store(whole)
                begun = whole
            self._keep(failure, window.pair, min(begun, window.last), query)
            raise

    def _pages(self, query: CandleQuery) -> Iterator[Page]:
        """The provider's pages, which cover the query, and end there."""
        if query.start >= query.end:
            # The day has begun, but none of its bars has closed yet.
            yield Page(RAW_CANDLES.empty_table(), str, query.end)
            return
        covered, name = query.start, self.provider.name
        for page in self.provider.fetch(query):
            if covered >= query.end and page.candles.num_rows:
                raise ProviderError(
                    "bad_response", f"{name} went on after it had covered {covered}"
                )
            covered = max(covered, page.covered_until)
            yield page
        if covered < query.end:
            raise ProviderError("bad_response", f"{name} ended its answer at {covered}")

    def _keep(self, failure: ProviderError, pair: str, day: date, query: CandleQuery) -> None:
        """An answer that is none as a whole is a dead letter, too: of the day where it stopped."""
        if failure.kind == "bad_response":
            source = Provenance(self.provider.is_mock, pair, self.timeframe, self.clock())
            where = Where((pair,), query.start, query.end)
            letter = failure_rows(failure, self.provider.name, day, where, self.run_id, source)
            self.write(dead_letters(self.timeframe), letter, where)

    def _store(
        self, answer: "_Answer", symbol: Symbol, days: PairDays, end: datetime
    ) -> list[DayReport]:
        now, candles = self.clock(), answer.candles
        verdict = judge(candles, self.timeframe, days.start, end, now)
        times = candles["timestamp"].to_numpy().astype("datetime64[us]")
        day_of = _DayNumbers(days)
        day = day_of(answer.places)
        fetched, rejected = day_of.count(day), day_of.count(day[verdict.rejected])
        where = Where((days.pair,), days.start, days.end)
        source = Provenance(self.provider.is_mock, days.pair, self.timeframe, now)
        letters = letter_rows(
            candles,
            verdict,
            answer.record,
            day_of.date(day[verdict.rejected]),
            answer.vendors.take(pa.array(verdict.rejected)),
            where,
            self.run_id,
            source,
        )
        stored = self.write(dead_letters(self.timeframe), letters, where)
        dirt, closed_days = _is_dirt(verdict), stored.known_days[:0]
        if letters.num_rows or stored.known_days.size:
            closings = self.closings(where)
            closings = closings.filter(pc.field("timeframe") == self.timeframe.code)
            closed_days = closings["partition_date"].to_numpy()
            dirt &= ~pc.is_in(letters["letter_id"], closings["letter_id"]).to_numpy()
        open_letters = day_of.count(day_of(stored.known_days)) - day_of.count(day_of(closed_days))
        open_letters += day_of.count(day[verdict.rejected[stored.written]])
        refused = day_of.count(day[verdict.rejected[dirt]]) > self.max_reject_ratio * fetched
        good = verdict.good[~refused[day[verdict.good]]]
        kept = pa.array(good)
        bars = bronze_rows(candles.take(kept), answer.vendors.take(kept), source)
        changes = self.write(raw_candles(self.timeframe), bars, where)

        expected = expected_bars(symbol, self.timeframe, days.start, end)
        counts = {
            "fetched": fetched,
            "written": day_of.count(day[good][changes.written]),
            "revised": day_of.count(day[good][changes.of_row == Change.REVISED]),
            "unchanged": day_of.count(day[good][~changes.written]),
            "duplicate": day_of.count(day[verdict.duplicate]),
            "rejected": rejected,
            "open_letters": open_letters,
            "expected": day_of.count(day_of(expected)),
            "missing": day_of.count(day_of(_absent(expected, times[good]))),
        }
        counts["versions"] = day_of.count(day_of(changes.known_days)) + counts["written"]
        reasons: list[Counter[str]] = [Counter() for _ in days.days]
        for number, codes in zip(day[verdict.rejected], verdict.reasons, strict=True):
            reasons[number].update(codes)
        bar_times, bar_vendors = times[good], answer.vendors.take(kept)
        edges = np.searchsorted(day[good], np.arange(len(days.days) + 1))
        prices = np.column_stack([candles[name].to_numpy() for name in PRICES])[good]
        return [
            DayReport(
                day=on,
                reasons=reasons[n],
                until=min(day_start(on + ONE_DAY), end),
                refused=bool(refused[n]),
                vendors=tuple(bar_vendors[edges[n] : edges[n + 1]].unique().to_pylist())
                or (answer.last_vendor,),
                times=bar_times[edges[n] : edges[n + 1]],
                prices=prices[edges[n] : edges[n + 1]],
                **{name: int(values[n]) for name, values in counts.items()},
            )
            for n, on in enumerate(days.days)
        ]


def _is_dirt(verdict: Verdict) -> np.ndarray:
    """Which rejects speak against a day's bars.

    A bar too many at an end of the answer does not: else the day that is running would fail at
    every look of a vendor that also tells the bar that has not closed.
    """
    return np.array([not _BESIDE.issuperset(codes) for codes in verdict.reasons], dtype=bool)


def _absent(expected: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Those of ``expected`` that ``times`` lacks; both ascending and unique."""
    if not times.size:
        return expected
    nearest = np.minimum(np.searchsorted(times, expected), times.size - 1)
    absent: np.ndarray = expected[times[nearest] != expected]
    return absent


@dataclass(frozen=True)
class _Answer:
    """Rows of a vendor that are stored together.

    Attributes:
        candles: By ``RAW_CANDLES``, in the vendor's order.
        places: Where each row stands in time (datetime64[us]): its time, or, if that cannot be
            read, that of the row before it.
        vendors: Who answered each row.
        last_vendor: Who answered last: it is who had nothing, where there are no rows.
        record: The vendor's record of a row, verbatim.
    """

    candles: pa.Table
    places: np.ndarray
    vendors: pa.Array
    last_vendor: str
    record: Callable[[int], str]


class _Buffer:
    """Rows that were fetched and not yet stored, with the way back to the vendor's records."""

    def __init__(self, vendor: str) -> None:
        self._vendor = self._last_vendor = vendor
        self._candles = RAW_CANDLES.empty_table()
        self._places = np.empty(0, dtype="datetime64[us]")
        self._origin = np.empty((0, 2), dtype=np.int64)
        self._pages: dict[int, Page] = {}
        self._added = 0

    def add(self, page: Page) -> None:
        rows = np.arange(page.candles.num_rows)
        origin = np.column_stack([np.full(rows.size, self._added), rows])
        self._pages[self._added] = page
        self._added += 1
        self._last_vendor = page.source or self._vendor
        self._candles = pa.concat_tables([self._candles, page.candles.cast(RAW_CANDLES)])
        self._places = np.concatenate([self._places, _places(page.candles["timestamp"])])
        self._origin = np.concatenate([self._origin, origin])

    def take(self, until: datetime | None) -> _Answer:
        """Remove the rows that stand before ``until``; all of them, if ``None``."""
        rows = np.ones(self._places.size, dtype=bool)
        if until is not None:
            rows = ~(self._places >= np.datetime64(until.replace(tzinfo=None)))
        pages, origin, places = self._pages, self._origin[rows], self._places[rows]
        candles, self._candles = _parted(self._candles, rows)
        self._origin, self._places = self._origin[~rows], self._places[~rows]
        # Of ten years of minutes, every page would else be kept until the end.
        self._pages = {number: pages[number] for number in np.unique(self._origin[:, 0]).tolist()}
        numbers, of_row = np.unique(origin[:, 0], return_inverse=True)
        names = pa.array([pages[number].source or self._vendor for number in numbers], pa.string())
        return _Answer(
            candles,
            places,
            names.take(pa.array(of_row)),
            self._last_vendor,
            lambda row: pages[origin[row, 0]].record(int(origin[row, 1])),
        )


def _places(times: pa.ChunkedArray) -> np.ndarray:
    """Times (datetime64[us]), each unreadable one as the readable one before it, or else after."""
    if times.null_count:
        times = pc.fill_null_backward(pc.fill_null_forward(times))
    places: np.ndarray = times.to_numpy().astype("datetime64[us]")
    return places


def _parted(table: pa.Table, rows: np.ndarray) -> tuple[pa.Table, pa.Table]:
    """``rows`` of the table, and the others. Nothing is copied where ``rows`` come first."""
    first = int(rows.sum())
    if rows[:first].all():
        return table.slice(0, first), table.slice(first)
    return table.filter(pa.array(rows)), table.filter(pa.array(~rows))


class _DayNumbers:
    """Days of a window as numbers from 0; what lies outside belongs to the nearest day."""

    def __init__(self, days: PairDays) -> None:
        self._first = np.datetime64(days.first, "D")
        self._days = len(days.days)

    def __call__(self, times: np.ndarray) -> np.ndarray:
        days = times.astype("datetime64[D]")
        days = np.where(np.isnat(days), self._first, days)
        return np.clip((days - self._first).astype(np.int64), 0, self._days - 1)

    def count(self, numbers: np.ndarray) -> np.ndarray:
        return np.bincount(numbers, minlength=self._days)

    def date(self, numbers: np.ndarray) -> np.ndarray:
        return self._first + numbers
