"""Gaps, by Dagster's memory, the lake's rows and the trading calendar."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.gaps import CLASSES, Gap, Grid, Slot, days_to_ask, gap_rows, look
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import PairDays, day_start, days_between, partition_key, table_key
from ffe_lakehouse.schemas import CANDLE_GAPS, GAP_CLASSES, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import State, data_version, partition_states
from ffe_lakehouse_tests.builders import bars

HOUR = TIMEFRAMES["1h"]
SCHEMA = raw_candles(HOUR)
KEY = table_key(SCHEMA)
NOW = datetime(2024, 6, 1, tzinfo=UTC)
THURSDAY, FRIDAY, SATURDAY, SUNDAY, MONDAY = (date(2024, 1, day) for day in range(4, 9))
MISSED = ("vendor_has_none", "not_fetched")


class Loaded:
    """A lake and a memory that a test fills: the hours that it says are missing are left out."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        """Nothing is loaded."""
        self.lake = DeltaLakeManager(folder)
        self.instance = instance

    def load(
        self,
        pair: str,
        first: date,
        last: date,
        *without: str,
        asked_at: datetime = NOW,
        told: bool = True,
        once: bool = False,
    ) -> None:
        """Store the expected bars of some days but those at ``without``, and tell Dagster."""
        start = day_start(first)
        end = min(asked_at, day_start(last) + timedelta(1))
        times = expected_bars(parse_symbol(pair), HOUR, start, end)
        times = times[~np.isin(times, np.array(without, dtype="datetime64[us]"))]
        column = pa.array(times, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        self.lake.append(SCHEMA, bars(pair, start, times.size, timestamp=column))
        for day in days_between(first, last) if told else ():
            version = data_version(day, asked_at, 24, ["tests"], look_again=once)
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    KEY,
                    partition=partition_key(pair, day),
                    metadata={"asked_until": dg.MetadataValue.timestamp(end)},
                    tags={"dagster/data_version": version},
                )
            )

    def states(
        self, pair: str, first: date, last: date, now: datetime = NOW
    ) -> dict[tuple[str, date], State]:
        """What Dagster says of these days."""
        return partition_states(self.instance, KEY, [pair], first, last, now)

    def grid(self, pair: str, first: date, last: date, now: datetime = NOW) -> Grid:
        """What is known of each of their bars."""
        states = self.states(pair, first, last, now)
        (grid,) = look(self.lake, HOUR, [PairDays(pair, first, last)], states, now)
        return grid

    def gaps(self, pair: str, first: date, last: date, now: datetime = NOW) -> list[Gap]:
        """What is missing while the market is open, in order."""
        grid = self.grid(pair, first, last, now)
        found = [gap for name in MISSED for gap in grid.across_days(CLASSES[name])]
        return sorted(found, key=lambda gap: gap.first)

    def asked(self, pair: str, first: date, last: date, now: datetime = NOW) -> list[date]:
        """Which days are to be asked for."""
        states = self.states(pair, first, last, now)
        return days_to_ask(self.instance, self.grid(pair, first, last, now), states)


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Loaded]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("asset_pair", ["BTCUSD", "EURUSD"])
        yield Loaded(tmp_path, instance)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def gap(
    first: str, last: str, count: int, kind: str = "vendor_has_none", pair: str = "BTCUSD"
) -> Gap:
    return Gap(pair, "1h", at(first), at(last), count, kind)


def test_without_a_hole_there_is_no_gap(loaded: Loaded) -> None:
    loaded.load("BTCUSD", FRIDAY, MONDAY)
    assert loaded.gaps("BTCUSD", FRIDAY, MONDAY) == []
    assert loaded.asked("BTCUSD", FRIDAY, MONDAY) == []


def test_bars_in_a_row_are_one_gap_and_midnight_does_not_end_it(loaded: Loaded) -> None:
    holes = ["2024-01-05T05", "2024-01-05T23", "2024-01-06T00", "2024-01-06T01", "2024-01-08T23"]
    loaded.load("BTCUSD", FRIDAY, MONDAY, *holes)
    assert loaded.gaps("BTCUSD", FRIDAY, MONDAY) == [
        gap("2024-01-05T05", "2024-01-05T05", 1),
        gap("2024-01-05T23", "2024-01-06T01", 3),
        gap("2024-01-08T23", "2024-01-08T23", 1),
    ]
    assert loaded.gaps("BTCUSD", SUNDAY, SUNDAY) == []


def test_in_the_table_a_gap_ends_at_midnight(loaded: Loaded) -> None:
    loaded.load("BTCUSD", FRIDAY, SATURDAY, "2024-01-05T23", "2024-01-06T00", "2024-01-06T01")
    grid = loaded.grid("BTCUSD", FRIDAY, SATURDAY)
    rows = gap_rows(grid, grid.by_day(), NOW).to_pylist()
    assert [(row["first"], row["last"], row["bars"], row["class"]) for row in rows] == [
        (at("2024-01-05T23"), at("2024-01-05T23"), 1, "vendor_has_none"),
        (at("2024-01-06T00"), at("2024-01-06T01"), 2, "vendor_has_none"),
    ]
    assert [(row["partition_date"], row["storage_period"]) for row in rows] == [
        (FRIDAY, "2024"), (SATURDAY, "2024")
    ]  # fmt: skip


def test_closed_hours_are_a_gap_of_their_own_and_do_not_end_another(loaded: Loaded) -> None:
    loaded.load("EURUSD", FRIDAY, MONDAY, "2024-01-05T21", "2024-01-07T22", "2024-01-08T03")
    assert loaded.gaps("EURUSD", FRIDAY, MONDAY) == [
        gap("2024-01-05T21", "2024-01-07T22", 2, pair="EURUSD"),
        gap("2024-01-08T03", "2024-01-08T03", 1, pair="EURUSD"),
    ]
    closed = loaded.grid("EURUSD", FRIDAY, MONDAY).across_days(Slot.MARKET_CLOSED)
    assert closed == [gap("2024-01-05T22", "2024-01-07T21", 48, "market_closed", "EURUSD")]


def test_a_bar_of_a_closed_market_closes_no_gap(loaded: Loaded) -> None:
    loaded.lake.append(SCHEMA, bars("EURUSD", day_start(SATURDAY), 24))
    grid = loaded.grid("EURUSD", SATURDAY, SATURDAY)
    assert set(grid.kinds) == {Slot.MARKET_CLOSED}


def test_without_a_table_and_without_a_memory_nothing_was_fetched(loaded: Loaded) -> None:
    assert loaded.gaps("BTCUSD", FRIDAY, MONDAY) == [
        gap("2024-01-05T00", "2024-01-08T23", 96, "not_fetched")
    ]
    assert loaded.asked("BTCUSD", FRIDAY, MONDAY) == days_between(FRIDAY, MONDAY)


def test_what_lies_between_two_loaded_days_is_one_gap_of_both_sides(loaded: Loaded) -> None:
    loaded.load("BTCUSD", FRIDAY, FRIDAY, "2024-01-05T22", "2024-01-05T23", once=True)
    loaded.load("BTCUSD", MONDAY, MONDAY, "2024-01-08T00")
    assert loaded.gaps("BTCUSD", FRIDAY, MONDAY) == [
        gap("2024-01-05T22", "2024-01-07T23", 50, "not_fetched"),
        gap("2024-01-08T00", "2024-01-08T00", 1),
    ]


def test_what_was_asked_for_once_may_still_come_and_is_not_the_vendors_until_then(
    loaded: Loaded,
) -> None:
    loaded.load("BTCUSD", FRIDAY, SUNDAY, "2024-01-06T04", once=True)
    hole = gap("2024-01-06T04", "2024-01-06T04", 1, "not_fetched")
    assert loaded.gaps("BTCUSD", FRIDAY, SUNDAY) == [hole]
    assert loaded.asked("BTCUSD", FRIDAY, SUNDAY) == [SATURDAY]
    loaded.load("BTCUSD", SATURDAY, SATURDAY, "2024-01-06T04")
    assert [each.kind for each in loaded.gaps("BTCUSD", FRIDAY, SUNDAY)] == ["vendor_has_none"]
    assert loaded.asked("BTCUSD", FRIDAY, SUNDAY) == []


def test_a_whole_day_that_the_vendor_did_not_have_is_a_gap(loaded: Loaded) -> None:
    saturday = [f"2024-01-06T{hour:02}" for hour in range(24)]
    loaded.load("BTCUSD", FRIDAY, SUNDAY, *saturday)
    assert loaded.gaps("BTCUSD", FRIDAY, SUNDAY) == [gap("2024-01-06T00", "2024-01-06T23", 24)]


def test_a_bar_of_the_running_day_is_missed_once_it_closed_and_the_delay_has_passed(
    loaded: Loaded,
) -> None:
    loaded.load("BTCUSD", FRIDAY, FRIDAY, "2024-01-05T03", asked_at=at("2024-01-05T12"))
    three = gap("2024-01-05T03", "2024-01-05T03", 1, "not_fetched")
    for now, missed in (("12:00", 0), ("13:14", 0), ("13:15", 1), ("18:00", 5)):
        found = loaded.gaps("BTCUSD", FRIDAY, FRIDAY, at(f"2024-01-05T{now}"))
        assert found[0] == three
        assert sum(each.bars for each in found[1:]) == missed
    # Late: it will not change any more, so all of it is missed.
    found = loaded.gaps("BTCUSD", FRIDAY, FRIDAY, NOW)
    assert found == [three, gap("2024-01-05T12", "2024-01-05T23", 12, "not_fetched")]


def test_a_running_day_is_asked_for_again_only_for_bars_that_it_was_not_asked_for(
    loaded: Loaded,
) -> None:
    loaded.load("BTCUSD", FRIDAY, FRIDAY, "2024-01-05T03", asked_at=at("2024-01-05T12"))
    assert loaded.asked("BTCUSD", FRIDAY, FRIDAY, at("2024-01-05T13:14")) == []
    assert loaded.asked("BTCUSD", FRIDAY, FRIDAY, at("2024-01-05T13:15")) == [FRIDAY]
    assert loaded.asked("BTCUSD", FRIDAY, FRIDAY, NOW) == [FRIDAY]


def test_days_without_a_bar_come_with_their_neighbours_unless_they_are_known(
    loaded: Loaded,
) -> None:
    days = days_between(THURSDAY, MONDAY)
    assert loaded.asked("EURUSD", THURSDAY, MONDAY) == days
    assert loaded.asked("EURUSD", THURSDAY, SATURDAY) == [THURSDAY, FRIDAY]
    loaded.load("EURUSD", SATURDAY, SATURDAY)
    assert loaded.asked("EURUSD", THURSDAY, MONDAY) == [THURSDAY, FRIDAY, SUNDAY, MONDAY]


def test_a_day_that_a_run_is_on_is_left_to_it(loaded: Loaded) -> None:
    grid = loaded.grid("BTCUSD", FRIDAY, SUNDAY)
    states: Mapping[tuple[str, date], State] = {
        ("BTCUSD", FRIDAY): State.FAILED,
        ("BTCUSD", SATURDAY): State.IN_PROGRESS,
        ("BTCUSD", SUNDAY): State.LATE,
    }
    assert days_to_ask(loaded.instance, grid, states) == [FRIDAY, SUNDAY]


def test_the_bars_of_another_pair_close_no_gap(loaded: Loaded) -> None:
    loaded.load("EURUSD", MONDAY, MONDAY)
    assert loaded.gaps("BTCUSD", MONDAY, MONDAY) == [
        gap("2024-01-08T00", "2024-01-08T23", 24, "not_fetched")
    ]
    windows = [PairDays(pair, MONDAY, MONDAY) for pair in ("EURUSD", "BTCUSD")]
    states = {(pair, MONDAY): State.COMPLETE for pair in ("EURUSD", "BTCUSD")}
    both = look(loaded.lake, HOUR, windows, states, NOW)
    assert [set(grid.kinds) for grid in both] == [{Slot.STORED}, {Slot.VENDOR_HAS_NONE}]


def test_a_day_that_was_reported_by_hand_may_still_be_fetched(loaded: Loaded) -> None:
    loaded.load("BTCUSD", MONDAY, MONDAY, "2024-01-08T23", told=False)
    by_hand = dg.AssetMaterialization(KEY, partition=partition_key("BTCUSD", MONDAY))
    loaded.instance.report_runless_asset_event(by_hand)
    hole = gap("2024-01-08T23", "2024-01-08T23", 1, "not_fetched")
    assert loaded.gaps("BTCUSD", MONDAY, MONDAY) == [hole]
    assert loaded.asked("BTCUSD", MONDAY, MONDAY) == [MONDAY]


def test_every_class_of_gaps_has_its_slot() -> None:
    assert {name: slot.name.lower() for name, slot in CLASSES.items()} == {
        name: name for name in GAP_CLASSES
    }


@st.composite
def grids(draw: st.DrawFn) -> tuple[Grid, np.ndarray, np.ndarray]:
    """A grid, the bars that its calendar expects, and those that are stored."""
    pair = draw(st.sampled_from(["BTCUSD", "EURUSD", "AAPL"]))
    timeframe = TIMEFRAMES[draw(st.sampled_from(["15m", "1h", "4h", "1d"]))]
    first = draw(st.dates(date(2020, 1, 1), date(2023, 12, 31)))
    window = PairDays(pair, first, first + timedelta(draw(st.integers(0, 6))))
    states = {(pair, day): draw(st.sampled_from(State)) for day in window.days}
    now = window.start + timedelta(minutes=draw(st.integers(0, 9 * 1440)))
    expected = expected_bars(parse_symbol(pair), timeframe, window.start, window.end)
    share = draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    off_the_grid = window.start.replace(tzinfo=None, minute=7)
    beside = np.array(["2019-07-01", off_the_grid, "2024-07-01"], dtype="datetime64[us]")
    stored = np.concatenate([expected[chance.random(expected.size) < share], beside, beside])
    return Grid.of(window, timeframe, stored, states, now), expected, stored


@given(grids())
def test_every_expected_bar_of_a_day_is_stored_or_missing_or_not_due(
    drawn: tuple[Grid, np.ndarray, np.ndarray],
) -> None:
    grid, expected, stored = drawn
    runs = grid.by_day()
    counts = grid.count(grid.times, grid.kinds)
    for number, day in enumerate(grid.window.days):
        of_day = expected[expected.astype("datetime64[D]") == day]
        of_runs = runs.first.astype("datetime64[D]") == day
        missing = runs.bars[of_runs & (runs.kinds != Slot.MARKET_CLOSED)].sum()
        not_due = counts[number, Slot.NOT_DUE]
        assert of_day.size - not_due == np.isin(of_day, stored).sum() + missing
        assert counts[number].sum() == grid.timeframe.bars_per_day


@given(grids())
def test_what_is_closed_and_what_is_expected_cover_the_grid_and_do_not_meet(
    drawn: tuple[Grid, np.ndarray, np.ndarray],
) -> None:
    grid, expected, _ = drawn
    runs = grid.by_day()
    closed = [
        np.arange(first, last + grid.timeframe.step, grid.timeframe.step)
        for first, last, kind in zip(runs.first, runs.last, runs.kinds, strict=True)
        if kind == Slot.MARKET_CLOSED
    ]
    both = np.concatenate([expected, *closed])
    assert np.array_equal(np.sort(both), grid.times)


@given(grids())
def test_gaps_of_a_day_are_in_order_apart_and_as_long_as_they_can_be(
    drawn: tuple[Grid, np.ndarray, np.ndarray],
) -> None:
    grid, _, _ = drawn
    runs, step = grid.by_day(), grid.timeframe.step
    assert np.array_equal((runs.last - runs.first) // step + 1, runs.bars)
    first_day, last_day = (each.astype("datetime64[D]") for each in (runs.first, runs.last))
    assert np.array_equal(first_day, last_day)
    between = runs.first[1:] - runs.last[:-1]
    assert (between >= step).all()
    touching = (between == step) & (first_day[1:] == first_day[:-1])
    assert (runs.kinds[1:] != runs.kinds[:-1])[touching].all()
    rows = gap_rows(grid, runs, NOW)
    assert rows.schema == CANDLE_GAPS.arrow
    assert rows["bars"].to_pylist() == runs.bars.tolist()


@given(grids())
def test_gaps_across_days_are_those_of_the_days_joined(
    drawn: tuple[Grid, np.ndarray, np.ndarray],
) -> None:
    grid, expected, _ = drawn
    runs = grid.by_day()
    kind_at = dict(zip(grid.times.tolist(), grid.kinds.tolist(), strict=True))
    for kind in CLASSES.values():
        joined = grid.across_days(kind)
        assert sum(each.bars for each in joined) == runs.bars[runs.kinds == kind].sum()
        if kind is Slot.MARKET_CLOSED:
            continue
        # As long as they can be: the bar that was expected before one is no part of such a gap.
        for each in joined:
            before = expected[expected < np.datetime64(each.first.replace(tzinfo=None))]
            assert not before.size or kind_at[before[-1].tolist()] != kind
