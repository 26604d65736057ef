"""The predicate: which rows it selects, and that no text gets out of its quotes."""

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, bars, box, day

MINUTES, HOURS, DAYS = (raw_candles(TIMEFRAMES[code]) for code in ("1m", "1h", "1d"))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> DeltaLakeManager:
    """Two pairs of daily bars from 2023-12-27 to 2024-02-04, by year and (as 1m) by month."""
    lake = DeltaLakeManager(tmp_path_factory.mktemp("lake"))
    for pair in ("BTCUSD", "BRK.B"):
        rows = bars(pair, day(-5), 40, "1d")
        lake.append(DAYS, rows)
        months = [f"{moment:%Y-%m}" for moment in rows["timestamp"].to_pylist()]
        index = rows.schema.get_field_index("storage_period")
        lake.append(MINUTES, rows.set_column(index, rows.schema.field(index), pa.array(months)))
    return lake


moments = st.none() | st.integers(-7 * 24, 37 * 24).map(
    lambda hours: START + timedelta(hours=hours)
)


@pytest.mark.parametrize("schema", [DAYS, MINUTES], ids=["by year", "by month"])
@given(start=moments, end=moments)
@settings(max_examples=25, deadline=None)
def test_a_stretch_of_time_is_half_open_whatever_the_storage_period(
    lake: DeltaLakeManager, schema: object, start: datetime | None, end: datetime | None
) -> None:
    found = lake.read(schema.name, Where(("BTCUSD",), start, end), ["timestamp"])  # type: ignore[attr-defined]
    every = [day(number) for number in range(-5, 35)]
    assert found["timestamp"].to_pylist() == [
        moment
        for moment in every
        if (start is None or moment >= start) and (end is None or moment < end)
    ]


def test_nothing_said_is_every_row(lake: DeltaLakeManager) -> None:
    assert Where().sql(DAYS) is None
    assert lake.read(DAYS.name).num_rows == 80


def test_no_pairs_are_no_rows_and_not_every_row(lake: DeltaLakeManager) -> None:
    assert lake.read(DAYS.name, Where(())).num_rows == 0


def test_several_pairs_are_read_at_once(lake: DeltaLakeManager) -> None:
    assert lake.read(DAYS.name, Where(("BTCUSD", "BRK.B"))).num_rows == 80
    assert lake.read(DAYS.name, Where(("BRK.B", "XXX"))).num_rows == 40


@pytest.mark.parametrize(
    "pair",
    [
        "x' OR '1'='1",
        "x') OR ('1'='1",
        "x\\' OR 1=1 --",
        "BTCUSD'; DROP TABLE x; --",
        "BTCUSD' --",
        "%",
        "BTC_SD",
        "BTCUSD\x00",
        '"BTCUSD"',
    ],
)
def test_a_pair_with_quotes_is_a_pair_that_is_not_there(lake: DeltaLakeManager, pair: str) -> None:
    assert lake.read(DAYS.name, Where((pair,))).num_rows == 0


@given(st.text(max_size=12).map(lambda text: f"BTCUSD{text}'"))
@settings(max_examples=25, deadline=None)
def test_no_text_gets_out_of_its_quotes(lake: DeltaLakeManager, pair: str) -> None:
    assert lake.read(DAYS.name, Where((pair,), day(0), day(1))).num_rows == 0


def test_a_moment_of_another_zone_is_the_same_moment(lake: DeltaLakeManager) -> None:
    tokyo = timezone(timedelta(hours=9))
    there = Where(("BTCUSD",), day(0).astimezone(tokyo), day(1).astimezone(tokyo))
    assert there == box("BTCUSD", 0, 0)
    assert lake.read(DAYS.name, there)["timestamp"].to_pylist() == [START]


@pytest.mark.parametrize("field", ["start", "end", "known_on"])
def test_a_moment_without_a_zone_is_refused(field: str) -> None:
    with pytest.raises(InputError, match="no time zone"):
        Where(**{field: datetime(2024, 1, 1)})  # type: ignore[arg-type]  # noqa: DTZ001


def test_of_a_table_by_days_the_touched_days_are_selected() -> None:
    letters = dead_letters(TIMEFRAMES["1h"])
    noon = datetime(2024, 1, 2, 12, tzinfo=UTC)
    sql = Where(None, noon, noon + timedelta(days=1)).sql(letters)
    assert sql is not None
    assert "partition_date >= DATE '2024-01-02'" in sql
    assert "partition_date < DATE '2024-01-04'" in sql
    assert "DATE '2024-01-02'" in (Where(end=day(1)).sql(letters) or "")
