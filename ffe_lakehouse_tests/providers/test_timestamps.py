"""Times in any spelling: each form alone, and the law that no value spoils another."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.providers.timestamps import from_micros, read_times, to_micros
from ffe_lakehouse.schemas import TIMESTAMP

NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)
SECONDS = 1_577_836_800

READABLE_TEXTS = [
    "2020-01-01",
    "20200101",
    "2020-01-01T00:00",
    "2020-01-01 00:00:00",
    "2020-01-01T00:00:00Z",
    "2020-01-01T00:00:00.000000000Z",
    "2020-01-01 00:00:00 UTC",
    "2020-01-01T02:00:00+02:00",
    "2019-12-31T19:30:00-0430",
    "2019-12-31 14:00:00.000-10",
    "1577836800",
    "1577836800.0",
    "1.5778368e9",
    "1577836800000",
    "1577836800000000",
    "1577836800000000000",
]
UNREADABLE_TEXTS = [
    "abc",
    "nan",
    "0x10",
    "2020-02-30",
    "2021-02-29",
    "2020-00-01",
    "2020-13-01",
    "2020-01-01T24:00",
    "2020-01-01T00:00:00.0000001Z",
    "01/02/2020",
    "00:05",
    "9999-12-31T23:59:59-10:00",
    "99999999999999999999",
]


def read(values: list[object], kind: pa.DataType | None = None) -> list[datetime | None]:
    times = read_times(pa.array(values, kind))
    assert times.type == TIMESTAMP
    return times.to_pylist()


@pytest.mark.parametrize("text", READABLE_TEXTS)
def test_a_text_is_read(text: str) -> None:
    assert read([text]) == [NEW_YEAR]


@pytest.mark.parametrize("text", UNREADABLE_TEXTS)
def test_a_text_that_is_no_time_is_null(text: str) -> None:
    assert read([text]) == [None]


@given(st.lists(st.sampled_from([*READABLE_TEXTS, *UNREADABLE_TEXTS, None])))
def test_a_text_is_read_the_same_whatever_stands_beside_it(texts: list[str | None]) -> None:
    expected = [NEW_YEAR if text in READABLE_TEXTS else None for text in texts]
    assert read(list(texts), pa.string()) == expected


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 the zone comes next
    st.integers(-14 * 60, 14 * 60),
)
def test_every_iso_text_of_python_is_read(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    texts = [naive.isoformat(), naive.isoformat(" "), moment.isoformat()]
    utc = naive.replace(tzinfo=UTC)
    assert read(list(texts)) == [utc, utc, moment]


@given(st.datetimes(datetime(1971, 1, 1), datetime(2099, 12, 31)))  # noqa: DTZ001 the zone is below
def test_a_unix_time_is_read_in_each_unit(naive: datetime) -> None:
    second = naive.replace(tzinfo=UTC, microsecond=0)
    unix = int(second.timestamp())
    assert read([unix, unix * 10**3, unix * 10**6, unix * 10**9]) == [second] * 4
    assert read([unix * 1.0, unix * 1e3, unix * 1e6]) == [second] * 3


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York", "+02:00"])
def test_an_arrow_timestamp_keeps_its_moment(unit: str, zone: str | None) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    stamps = pa.array([SECONDS * per_second, -per_second, None]).cast(pa.timestamp(unit, zone))
    assert read_times(stamps).to_pylist() == [
        NEW_YEAR,
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        None,
    ]


def test_nanoseconds_are_read_only_if_nothing_is_lost() -> None:
    exact = SECONDS * 10**9
    nanos = pa.array([exact, exact + 1, exact + 1000, -1]).cast(pa.timestamp("ns"))
    expected = [NEW_YEAR, None, NEW_YEAR + timedelta(microseconds=1), None]
    assert read_times(nanos).to_pylist() == expected
    assert read([exact, exact + 1]) == [NEW_YEAR, None]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_a_timestamp_beyond_the_calendar_is_null_and_spoils_nothing(unit: str) -> None:
    values = pa.array([2**63 - 1, 0, -(2**63)]).cast(pa.timestamp(unit))
    assert read_times(values).to_pylist() == [None, datetime(1970, 1, 1, tzinfo=UTC), None]


def test_a_date_is_midnight_utc() -> None:
    days = pa.array([18_262, 2**31 - 1, None], pa.int32()).cast(pa.date32())
    assert read_times(days).to_pylist() == [NEW_YEAR, None, None]
    assert read([NEW_YEAR.date()], pa.date64()) == [NEW_YEAR]


def test_a_number_written_like_a_day_is_that_day() -> None:
    assert read([20200101, 20200229]) == [NEW_YEAR, datetime(2020, 2, 29, tzinfo=UTC)]
    assert read([20200101.0]) == [NEW_YEAR]


def test_a_fraction_of_a_second_or_millisecond_counts() -> None:
    half = NEW_YEAR + timedelta(milliseconds=500)
    assert read([SECONDS + 0.5, SECONDS * 1e3 + 500.0]) == [half, half]
    assert read([SECONDS * 1e3 + 0.5]) == [NEW_YEAR + timedelta(microseconds=500)]
    assert read([SECONDS * 1e6 + 0.5]) == [None]


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), float("nan"), float("inf"), None])
def test_a_number_that_is_no_time_is_null_and_spoils_nothing(value: float | None) -> None:
    kind = pa.float64() if isinstance(value, float) else pa.int64()
    assert read([value, SECONDS], kind) == [None, NEW_YEAR]


def test_other_numbers_are_unix_times_and_other_values_no_times() -> None:
    assert read([Decimal(SECONDS)]) == [NEW_YEAR]
    assert read([SECONDS, 2**64 - 1], pa.uint64()) == [NEW_YEAR, None]
    assert read([True, False]) == [None, None]
    assert read([None, None]) == [None, None]
    assert read([], pa.string()) == []


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_and_moments_are_the_same(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment
