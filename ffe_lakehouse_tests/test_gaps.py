"""Gaps in loaded days, by Dagster's memory, the lake's rows and the trading calendar."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.gaps import Gap, find_gaps
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import days_between, partition_key, table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import data_version
from ffe_lakehouse_tests.builders import bars

HOUR = TIMEFRAMES["1h"]
SCHEMA = raw_candles(HOUR)
NOW = datetime(2024, 6, 1, tzinfo=UTC)
FRIDAY, SATURDAY, SUNDAY, MONDAY = (date(2024, 1, day) for day in (5, 6, 7, 8))


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
    ) -> None:
        """Store the expected bars of some days but those at ``without``, and tell Dagster."""
        start = datetime(first.year, first.month, first.day, tzinfo=UTC)
        end = min(asked_at, start + timedelta((last - first).days + 1))
        times = expected_bars(parse_symbol(pair), HOUR, start, end)
        times = times[~np.isin(times, np.array(without, dtype="datetime64[us]"))]
        column = pa.array(times, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        rows = bars(pair, start, times.size, timestamp=column)
        self.lake.append(SCHEMA, rows)
        for day in days_between(first, last) if told else ():
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    table_key(SCHEMA),
                    partition=partition_key(pair, day),
                    metadata={"asked_until": dg.MetadataValue.timestamp(end)},
                    tags={"dagster/data_version": data_version(day, asked_at, 24, ["tests"])},
                )
            )

    def gaps(self, pair: str, first: date, last: date, now: datetime = NOW) -> list[Gap]:
        """What is missing."""
        return find_gaps(self.instance, self.lake, pair, HOUR, first, last, now)


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Loaded]:
    get_settings.cache_clear()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("asset_pair", ["BTCUSD", "EURUSD"])
        yield Loaded(tmp_path, instance)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def gap(pair: str, first: str, last: str, count: int) -> Gap:
    return Gap(pair, "1h", at(first), at(last), count)


def test_without_a_hole_there_is_no_gap(loaded: Loaded) -> None:
    loaded.load("BTCUSD", FRIDAY, MONDAY)
    assert loaded.gaps("BTCUSD", FRIDAY, MONDAY) == []


def test_bars_in_a_row_are_one_gap_and_midnight_does_not_end_it(loaded: Loaded) -> None:
    holes = ["2024-01-05T05", "2024-01-05T23", "2024-01-06T00", "2024-01-06T01", "2024-01-08T23"]
    loaded.load("BTCUSD", FRIDAY, MONDAY, *holes)
    assert loaded.gaps("BTCUSD", FRIDAY, MONDAY) == [
        gap("BTCUSD", "2024-01-05T05", "2024-01-05T05", 1),
        gap("BTCUSD", "2024-01-05T23", "2024-01-06T01", 3),
        gap("BTCUSD", "2024-01-08T23", "2024-01-08T23", 1),
    ]
    assert loaded.gaps("BTCUSD", SUNDAY, SUNDAY) == []


def test_closed_hours_are_no_gap_and_do_not_end_one(loaded: Loaded) -> None:
    loaded.load("EURUSD", FRIDAY, MONDAY, "2024-01-05T21", "2024-01-07T22", "2024-01-08T03")
    assert loaded.gaps("EURUSD", FRIDAY, MONDAY) == [
        gap("EURUSD", "2024-01-05T21", "2024-01-07T22", 2),
        gap("EURUSD", "2024-01-08T03", "2024-01-08T03", 1),
    ]


def test_days_that_are_not_loaded_are_no_gap_and_end_one(loaded: Loaded) -> None:
    assert loaded.gaps("BTCUSD", FRIDAY, MONDAY) == []
    loaded.load("BTCUSD", FRIDAY, FRIDAY, "2024-01-05T23")
    loaded.load("BTCUSD", SUNDAY, SUNDAY, "2024-01-07T00")
    assert loaded.gaps("BTCUSD", FRIDAY, MONDAY) == [
        gap("BTCUSD", "2024-01-05T23", "2024-01-05T23", 1),
        gap("BTCUSD", "2024-01-07T00", "2024-01-07T00", 1),
    ]


def test_a_whole_day_that_the_vendor_did_not_have_is_a_gap(loaded: Loaded) -> None:
    saturday = [f"2024-01-06T{hour:02}" for hour in range(24)]
    loaded.load("BTCUSD", FRIDAY, SUNDAY, *saturday)
    (found,) = loaded.gaps("BTCUSD", FRIDAY, SUNDAY)
    assert found == gap("BTCUSD", "2024-01-06T00", "2024-01-06T23", 24)


def test_bars_that_had_not_closed_when_the_day_was_loaded_are_no_gap(loaded: Loaded) -> None:
    loaded.load("BTCUSD", FRIDAY, FRIDAY, "2024-01-05T03", asked_at=at("2024-01-05T12"))
    expected = [gap("BTCUSD", "2024-01-05T03", "2024-01-05T03", 1)]
    assert loaded.gaps("BTCUSD", FRIDAY, FRIDAY, at("2024-01-05T18")) == expected
    assert loaded.gaps("BTCUSD", FRIDAY, FRIDAY, NOW) == expected  # late: as far as it was asked


def test_a_day_after_an_unfinished_one_has_its_gaps_still(loaded: Loaded) -> None:
    loaded.load("BTCUSD", FRIDAY, FRIDAY, asked_at=at("2024-01-05T12"))
    loaded.load("BTCUSD", SATURDAY, SATURDAY, "2024-01-06T00")
    assert loaded.gaps("BTCUSD", FRIDAY, SATURDAY) == [
        gap("BTCUSD", "2024-01-06T00", "2024-01-06T00", 1)
    ]


def test_the_gaps_of_another_pair_are_not_ours(loaded: Loaded) -> None:
    loaded.load("BTCUSD", MONDAY, MONDAY)
    loaded.load("EURUSD", MONDAY, MONDAY, "2024-01-08T03")
    assert loaded.gaps("BTCUSD", MONDAY, MONDAY) == []


def test_a_day_that_was_reported_by_hand_is_asked_to_its_end(loaded: Loaded) -> None:
    loaded.load("BTCUSD", MONDAY, MONDAY, "2024-01-08T23", told=False)
    by_hand = dg.AssetMaterialization(table_key(SCHEMA), partition=partition_key("BTCUSD", MONDAY))
    loaded.instance.report_runless_asset_event(by_hand)
    assert loaded.gaps("BTCUSD", MONDAY, MONDAY) == [
        gap("BTCUSD", "2024-01-08T23", "2024-01-08T23", 1)
    ]
