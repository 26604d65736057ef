"""Filters as people write them: what they select, and what is refused."""

from datetime import UTC, date, datetime

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.filters import parse

ROWS = pa.table(
    {
        "asset_pair": ["BTCUSD", "ETHUSD", "O'HARE", "a\\b", None],
        "timestamp": pa.array(
            [datetime(2025, 1, day, 12, tzinfo=UTC) for day in range(1, 6)],
            pa.timestamp("us", "UTC"),
        ),
        "day": pa.array([date(2025, 1, day) for day in range(1, 6)]),
        "close": [1.5, 2.5, -3.5, None, 5.5],
        "trade_count": pa.array([1, 2, None, 4, 5], pa.int64()),
        "is_mock": [True, False, True, False, None],
    }
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> DeltaLakeManager:
    made = DeltaLakeManager(tmp_path_factory.mktemp("lake"))
    made.create_or_update_table(ROWS, "own/rows")
    return made


def days(lake: DeltaLakeManager, *filters: str) -> list[int]:
    rows = lake.read_table("own/rows", filters=filters, to="arrow")
    return sorted(moment.day for moment in rows["timestamp"].to_pylist())


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('asset_pair = "BTCUSD"', [1]),  # as in the examples that people copy
        ("asset_pair = 'BTCUSD'", [1]),
        ("asset_pair == 'BTCUSD'", [1]),
        ("'BTCUSD' = asset_pair", [1]),
        ("asset_pair <> 'BTCUSD'", [2, 3, 4]),
        ("asset_pair in ('BTCUSD', 'ETHUSD')", [1, 2]),
        ("asset_pair not in ('BTCUSD', 'ETHUSD')", [3, 4]),
        ("asset_pair like '%USD'", [1, 2]),
        ('asset_pair = "O\'HARE"', [3]),
        ("asset_pair = 'O\\'HARE'", [3]),
        ("asset_pair = 'a\\\\b'", [4]),
        ("asset_pair is null", [5]),
        ("asset_pair is not null and close > 2", [2]),
        ("close > 2 or close < -3", [2, 3, 5]),
        ("close between 1 and 2.5", [1, 2]),
        ("close = -3.5", [3]),
        ("close >= trade_count", [1, 2, 5]),
        ("not (close > 2)", [1, 3]),
        ("trade_count < 3", [1, 2]),
        ("is_mock", [1, 3]),
        ("not is_mock", [2, 4]),
        ("is_mock = false", [2, 4]),
        ("day = '2025-01-02'", [2]),
        ("day >= date '2025-01-04'", [4, 5]),
        ("timestamp = '2025-01-02T12:00:00'", [2]),
        ("timestamp = '2025-01-02T12:00:00Z'", [2]),
        ("timestamp = '2025-01-02T14:00:00+02:00'", [2]),
        ("timestamp < timestamp '2025-01-02 12:00:00.000001'", [1, 2]),
        ("timestamp >= '2025-01-04'", [4, 5]),
        ("`close` > 2", [2, 5]),
    ],
)
def test_a_condition_selects(lake: DeltaLakeManager, condition: str, found: list[int]) -> None:
    assert days(lake, condition) == found


def test_all_conditions_must_hold(lake: DeltaLakeManager) -> None:
    assert days(lake, "close > 1", "is_mock", "trade_count = 1 or trade_count = 2") == [1]


def test_one_text_is_one_condition(lake: DeltaLakeManager) -> None:
    rows = lake.read_table("own/rows", filters="close > 2", columns=["trade_count"], to="arrow")
    assert sorted(rows["trade_count"].to_pylist()) == [2, 5]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("", "cannot be read"),
        ("close >", "cannot be read"),
        ("1 = 1; drop table rows", "cannot be read"),
        ("nothing = 1", "no column nothing: there are asset_pair"),
        ("1 = 1", "compares no column"),
        ("true", "no comparison"),
        ("close", "no comparison"),
        ("close = (select 1)", "no value of close"),
        ("close in (select 1)", "no comparison"),
        ("close > 'high'", "'high' is no value of close, which is double"),
        ("trade_count > 1.5", "no value of trade_count"),
        ("timestamp > 'yesterday'", "no value of timestamp"),
        ("timestamp > now()", "no value of timestamp"),
        ("is_mock = 1", "no value of is_mock"),
        ("upper(asset_pair) = 'BTCUSD'", "compares no column"),
        ("abs(close) = close", "no value of close"),
        ("other.close > 1", "is no column"),
        ("close like '1%'", "no comparison"),
        ("close = null", "no value of close"),
    ],
)
def test_what_is_no_condition_is_refused(lake: DeltaLakeManager, condition: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        days(lake, condition)
    assert said in str(caught.value)
    assert repr(condition) in str(caught.value)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_text_is_nothing_but_a_text(text: str) -> None:
    """Whatever is quoted comes out as the same text in another engine's SQL."""
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    found = parse(f"asset_pair = {quoted}", ROWS.schema)
    assert found is not None
    if "\0" in text:
        return  # DuckDB's SQL has none.
    rows = pa.table({"asset_pair": [text, f"{text}'", "x"]})
    assert rows.num_rows == 3
    with duckdb.connect() as memory:
        memory.register("given", rows)
        selected = memory.table("given").filter(found.sql("datafusion")).fetchall()
        assert selected == [(text,)]
