"""The way of a candle, from a provider's pages to two real Delta tables."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.ingestion import DayReport, Ingestion
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.versions import Changes
from ffe_lakehouse.partitions import PairDays
from ffe_lakehouse.providers.base import CandleQuery, Page, Provider, ProviderError
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.schemas import TableSchema, dead_letters, raw_candles
from ffe_lakehouse.settings import SimulatedFaults
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, Scripted, bars, day, facts, pages_of, raw, verbatim

HOUR = timedelta(hours=1)
BRONZE, LETTERS = raw_candles(TIMEFRAMES["1h"]), dead_letters(TIMEFRAMES["1h"])
NOW = day(60)


class Desk:
    """A lake, and the ingestion into it."""

    def __init__(self, folder: Path) -> None:
        """An empty lake."""
        self.lake = DeltaLakeManager(folder)
        self.now = NOW

    def write(self, schema: TableSchema, rows: pa.Table, where: Where) -> Changes:
        """As the IO manager does it."""
        return self.lake.append_if_changed(schema, rows, where)

    def batches(
        self, provider: Provider, last: int, first: int = 0, **how: object
    ) -> list[list[DayReport]]:
        """Load the days from ``first`` to ``last`` (included) of a pair."""
        options = {
            "batch_days": 30,
            "max_reject_ratio": 0.05,
            "write": self.write,
            "pair": "BTCUSD",
        }
        options |= how
        window = PairDays(str(options.pop("pair")), day(first).date(), day(last).date())
        ingestion = Ingestion(
            provider,
            TIMEFRAMES["1h"],
            run_id="run",
            clock=lambda: self.now,
            **options,  # type: ignore[arg-type]
        )
        return list(ingestion.days(window))

    def load(self, provider: Provider, last: int, **how: object) -> list[DayReport]:
        """The reports of all batches."""
        return [report for batch in self.batches(provider, last, **how) for report in batch]  # type: ignore[arg-type]

    def bars(self) -> pa.Table:
        """All of Bronze but for the random id of the write."""
        return self.lake.read(BRONZE.name).drop_columns("_ingestion_id")

    def letters(self) -> list[dict[str, object]]:
        """All dead letters."""
        return self.lake.read(LETTERS.name).to_pylist()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def fresh_desk(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Desk]:
    return lambda: Desk(tmp_path_factory.mktemp("lake"))


def conserved(report: DayReport) -> bool:
    return report.refused or report.fetched == (
        report.written + report.unchanged + report.duplicate + report.rejected
    )


def totals(reports: Sequence[DayReport], *names: str) -> list[int]:
    return [sum(getattr(report, name) for report in reports) for name in names]


# --- laws

faults = st.builds(
    SimulatedFaults,
    bad_rows=st.sampled_from([0.0, 0.03, 0.3]),
    gaps=st.sampled_from([0.0, 0.2]),
    revisions=st.just(0.5),
)
several = {"max_examples": 8, "deadline": None}


@given(faults, st.integers(0, 9), st.integers(1, 12), st.integers(1, 13), st.integers(0, 9))
@settings(**several)  # type: ignore[arg-type]
def test_every_record_of_every_day_is_in_exactly_one_place_and_loading_again_writes_nothing(
    fresh_desk: Callable[[], Desk],
    plays: SimulatedFaults,
    first: int,
    days: int,
    batch_days: int,
    seed: int,
) -> None:
    desk = fresh_desk()
    how = {"first": first, "batch_days": batch_days, "max_reject_ratio": 0.3}
    original, revised = (SimulatedProvider(seed, plays, generation) for generation in (0, 1))
    reports = desk.load(original, first + days - 1, **how)
    assert [report.day for report in reports] == [day(first + n).date() for n in range(days)]
    assert all(conserved(report) for report in reports)
    assert desk.bars().num_rows == totals(reports, "written")[0]
    assert len(desk.letters()) == totals(reports, "rejected")[0]
    assert [report.fetched + report.missing for report in reports if not report.rejected] == [
        24 for report in reports if not report.rejected
    ]

    before = desk.bars()
    again = desk.load(original, first + days - 1, **how)
    assert totals(again, "written", "revised") == [0, 0]
    assert totals(again, "unchanged") == totals(reports, "written")
    assert desk.bars().equals(before)
    assert len(desk.letters()) == totals(reports, "rejected")[0]

    later = desk.load(revised, first + days - 1, **how)
    assert all(conserved(report) for report in later)
    assert desk.bars().num_rows == before.num_rows + totals(later, "written")[0]


@given(faults, st.integers(1, 12), st.integers(1, 100))
@settings(**several)  # type: ignore[arg-type]
def test_neither_batches_nor_pages_can_be_seen_in_the_tables(
    fresh_desk: Callable[[], Desk], plays: SimulatedFaults, batch_days: int, page_rows: int
) -> None:
    query = CandleQuery(parse_symbol("BTCUSD"), TIMEFRAMES["1h"], START, day(9))
    [page] = SimulatedProvider(1, plays).fetch(query)
    at_once, cut = fresh_desk(), fresh_desk()
    reports = at_once.load(pages_of(page.candles, 10_000, day(9)), 8, batch_days=100)
    others = cut.load(pages_of(page.candles, page_rows, day(9)), 8, batch_days=batch_days)
    assert cut.bars().equals(at_once.bars())
    names = ("letter_id", "record", "reasons", "partition_date", "timestamp")
    found, expected = (
        sorted(([str(letter[name]) for name in names]) for letter in desk.letters())
        for desk in (cut, at_once)
    )
    assert found == expected
    assert list(map(counts, others)) == list(map(counts, reports))


def counts(report: DayReport) -> object:
    return replace(report, times=report.times.tolist(), prices=report.prices.tolist())  # type: ignore[arg-type]


# --- what vendors do


def test_bars_end_in_bronze_with_where_they_came_from(desk: Desk) -> None:
    [report] = desk.load(Scripted((raw(START, 24), day(1))), 0)
    assert (report.fetched, report.written, report.expected, report.missing) == (24, 24, 24, 0)
    assert (report.versions, report.times[0].item(), report.prices[0].tolist()) == (
        24,
        START.replace(tzinfo=None),
        [100.0, 102.0, 98.0, 101.0],
    )
    expected = bars("BTCUSD", START, 24, known=NOW, provider="scripted")
    assert desk.bars().equals(expected.drop_columns("_ingestion_id"))


def test_a_day_without_an_answer_is_reported_empty(desk: Desk) -> None:
    reports = desk.load(Scripted((raw(START, 0), day(2))), 1)
    assert totals(reports, "fetched", "written", "expected", "missing") == [0, 0, 48, 48]
    assert desk.bars().num_rows == 0


def test_rows_after_the_window_are_dead_letters_of_its_last_day(desk: Desk) -> None:
    reports = desk.load(Scripted((raw(START, 50), day(2))), 1, max_reject_ratio=1)
    assert [report.rejected for report in reports] == [0, 2]
    assert reports[1].reasons == {"outside_window": 2}
    assert {letter["partition_date"] for letter in desk.letters()} == {day(1).date()}
    assert desk.bars().num_rows == 48
    assert all(map(conserved, reports))


@pytest.mark.parametrize("batch_days", [1, 30])
def test_a_row_that_comes_after_its_days_were_covered_is_kept_as_it_is(
    desk: Desk, batch_days: int
) -> None:
    late = raw(START + 5 * HOUR, 1, price=7.0)
    answer = Scripted((raw(START, 5), day(1)), (pa.concat_tables([late, raw(day(1), 24)]), day(2)))
    reports = desk.load(answer, 1, batch_days=batch_days, max_reject_ratio=1)
    assert totals(reports, "fetched") == [30]
    assert all(map(conserved, reports))
    if batch_days == 1:  # the first day was stored already
        [letter] = desk.letters()
        assert (letter["reasons"], letter["record"]) == (["outside_window"], verbatim(late, 0))
        assert letter["timestamp"] == START + 5 * HOUR
    else:
        assert desk.bars().num_rows == 30


def test_a_row_before_the_window_is_a_dead_letter_of_its_first_day(desk: Desk) -> None:
    [report] = desk.load(Scripted((raw(START - HOUR, 25), day(1))), 0)
    assert (report.rejected, report.written) == (1, 24)
    assert report.reasons == {"outside_window": 1}


def test_rows_without_a_readable_time_are_dead_letters_with_the_record_of_their_own(
    desk: Desk,
) -> None:
    times = [None, START, None, START + HOUR]
    candles = raw(START, 4, timestamp=times, open=[98.5, 99.0, 99.5, 100.0])
    [report] = desk.load(Scripted((candles, day(1))), 0, max_reject_ratio=1)
    assert (report.fetched, report.written, report.rejected) == (4, 2, 2)
    letters = sorted(desk.letters(), key=lambda letter: str(letter["record"]))
    assert [letter["record"] for letter in letters] == [verbatim(candles, 0), verbatim(candles, 2)]
    assert [letter["timestamp"] for letter in letters] == [None, None]
    assert {letter["partition_date"] for letter in letters} == {START.date()}


def test_a_row_without_a_time_is_stored_with_the_first_batch_that_is_whole(desk: Desk) -> None:
    first = raw(START, 25, timestamp=[None, *raw(START, 24)["timestamp"].to_pylist()])
    answer = Scripted((first, day(1)), (raw(day(1), 24), day(2)))
    reports = desk.load(answer, 1, batch_days=1)
    assert [report.rejected for report in reports] == [1, 0]


def test_a_letter_says_everything_about_what_was_refused(desk: Desk) -> None:
    candles = raw(day(3), 24, low=[-1.0, *[98.0] * 23], close=[None, *[101.0] * 23])
    desk.load(Scripted((candles, day(5))), 4, first=3)
    [letter] = desk.letters()
    assert letter["reasons"] == ["missing_close", "non_positive_price"]
    assert letter["record"] == verbatim(candles, 0)
    assert (letter["window_start"], letter["window_end"]) == (day(3), day(5))
    assert (letter["timestamp"], letter["partition_date"]) == (day(3), day(3).date())
    assert (letter["run_id"], letter["source_provider"], letter["timeframe"]) == (
        "run",
        "scripted",
        "1h",
    )


def test_a_letter_is_stored_once_however_often_it_is_fetched(desk: Desk) -> None:
    answer = Scripted((raw(START, 24, low=[-1.0, *[98.0] * 23]), day(1)))
    for _ in range(3):
        desk.now += HOUR
        [report] = desk.load(answer, 0)
        assert report.rejected == 1
        assert len(desk.letters()) == 1


def test_the_same_bad_record_twice_in_one_answer_is_two_letters(desk: Desk) -> None:
    bad = raw(START, 1, low=-1.0)
    answer = Scripted((pa.concat_tables([bad, bad, raw(START + HOUR, 23)]), day(1)))
    for _ in range(2):
        [report] = desk.load(answer, 0, max_reject_ratio=0.5)
        assert (report.fetched, report.rejected) == (25, 2)
        assert len(desk.letters()) == 2


def test_revised_bars_are_one_more_version_and_the_history_stays(desk: Desk) -> None:
    desk.load(Scripted((raw(START, 24), day(1))), 0)
    then, desk.now = desk.now, desk.now + HOUR
    opens = [100.0] * 23 + [101.5]
    [report] = desk.load(Scripted((raw(START, 24, open=opens), day(1))), 0)
    assert (report.written, report.revised, report.unchanged, report.versions) == (1, 1, 23, 25)
    known = {
        moment: desk.lake.read(BRONZE.name, Where(known_on=moment))["open"].to_pylist()
        for moment in (then, desk.now)
    }
    assert known == {then: [100.0] * 24, desk.now: opens}


def test_a_day_with_too_many_rejects_stores_them_and_no_bars_and_the_others_do(desk: Desk) -> None:
    candles = raw(START, 72, low=[98.0] * 24 + [-1.0] * 2 + [98.0] * 46)
    reports = desk.load(Scripted((candles, day(3))), 2)
    assert [report.refused for report in reports] == [False, True, False]
    assert [report.written for report in reports] == [24, 0, 24]
    assert (reports[1].missing, reports[1].versions, len(reports[1].times)) == (24, 0, 0)
    assert len(desk.letters()) == 2
    assert facts(desk.bars()) == facts(
        pa.concat_tables([bars("BTCUSD", START, 24), bars("BTCUSD", day(2), 24)])
    )


def test_of_the_running_day_only_closed_bars_are_asked_for_and_stored(desk: Desk) -> None:
    desk.now = day(1) + timedelta(hours=5, minutes=59)
    asked: list[CandleQuery] = []

    class Asked(Scripted):
        def fetch(self, query: CandleQuery) -> Iterator[Page]:
            asked.append(query)
            return super().fetch(query)

    answer = Asked((raw(START, 30), day(1) + 5 * HOUR))
    reports = desk.load(answer, 1, max_reject_ratio=1)
    assert asked[0].end == day(1) + 5 * HOUR
    assert [(report.written, report.expected) for report in reports] == [(24, 24), (5, 5)]
    assert reports[1].reasons == {"unclosed_bar": 1}


def test_a_day_of_which_no_bar_has_closed_is_empty_and_nobody_is_asked(desk: Desk) -> None:
    desk.now = START + timedelta(minutes=59)
    [report] = desk.load(Scripted(AssertionError("was asked")), 0)
    assert (report.fetched, report.expected, report.missing) == (0, 0, 0)


# --- failures


def test_a_vendor_that_stops_early_fails_and_what_it_covered_is_kept(desk: Desk) -> None:
    with pytest.raises(ProviderError, match="ended its answer at 2024-01-03 12:00") as failure:
        desk.load(Scripted((raw(START, 60), day(2) + 12 * HOUR)), 4, batch_days=1)
    assert failure.value.kind == "bad_response"
    assert desk.bars().num_rows == 48


def test_of_a_vendor_that_fails_in_the_middle_every_whole_day_is_kept(desk: Desk) -> None:
    answer = Scripted((raw(START, 84), day(3) + 12 * HOUR), ProviderError("timeout", "no answer"))
    with pytest.raises(ProviderError, match="no answer"):
        desk.load(answer, 5, batch_days=2)
    assert desk.bars().num_rows == 72
    assert desk.letters() == []
    reports = desk.load(Scripted((raw(START, 144), day(6))), 5, batch_days=2)
    assert totals(reports, "written", "unchanged") == [72, 72]


def test_an_answer_that_cannot_be_read_at_all_is_a_letter_of_the_day_it_stopped_at(
    desk: Desk,
) -> None:
    answer = Scripted((raw(START, 24), day(1)), ProviderError("bad_response", "a page of HTML"))
    for _ in range(2):
        with pytest.raises(ProviderError, match="a page of HTML"):
            desk.load(answer, 2, batch_days=30)
    (letter,) = desk.letters()
    assert letter["reasons"] == ["bad_response"]
    assert letter["partition_date"] == day(1).date()
    assert letter["record"] == '{"error": "a page of HTML"}'
    assert desk.bars().num_rows == 24


def test_a_vendor_that_goes_on_after_it_had_covered_all_is_not_believed(desk: Desk) -> None:
    answer = Scripted((raw(START, 24), day(1)), (raw(START, 1, price=7.0), day(1)))
    with pytest.raises(ProviderError, match="went on after it had covered 2024-01-02"):
        desk.load(answer, 0)
    empty_end = Scripted((raw(START, 24), day(1)), (raw(START, 0), day(1)))
    assert totals(desk.load(empty_end, 0), "fetched") == [24]


def test_bars_are_not_written_if_their_dead_letters_cannot_be(desk: Desk) -> None:
    def full_disk(schema: TableSchema, rows: pa.Table, where: Where) -> Changes:
        if schema is LETTERS:
            raise OSError("no space left")
        return desk.write(schema, rows, where)

    with pytest.raises(OSError, match="no space left"):
        desk.load(SimulatedProvider(0, SimulatedFaults()), 0, write=full_disk)
    assert not desk.lake.table_exists(BRONZE.name)


def test_after_a_crash_between_the_two_writes_the_next_attempt_completes_both(desk: Desk) -> None:
    answer = Scripted((raw(START, 24, low=[-1.0, *[98.0] * 23]), day(1)))
    turn = itertools.count()

    def crash_once(schema: TableSchema, rows: pa.Table, where: Where) -> Changes:
        if next(turn) == 1:
            raise OSError("killed")
        return desk.write(schema, rows, where)

    with pytest.raises(OSError, match="killed"):
        desk.load(answer, 0, write=crash_once)
    [report] = desk.load(answer, 0, write=crash_once)
    assert conserved(report)
    assert (len(desk.letters()), desk.bars().num_rows) == (1, 23)


@pytest.mark.parametrize("pair", ["btc-usd", "BTC_USD", "BTC|USD"])
def test_a_pair_that_is_not_in_its_canonical_spelling_is_refused(desk: Desk, pair: str) -> None:
    with pytest.raises(InputError, match="BTCUSD"):
        desk.load(Scripted(AssertionError("was asked")), 0, pair=pair)
