"""``merge_if_changed``: the table says what was written, and is touched only where it differs."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas import TIMESTAMP, raw_candles
from ffe_lakehouse.schemas.silver import MARKET_DATA_UNIFIED as UNIFIED
from ffe_lakehouse.timeframes import TIMEFRAMES

START = datetime(2024, 3, 1, tzinfo=UTC)
EVER = Where(("BTCUSD", "ETHUSD"), START, START + timedelta(days=40))


def unified(bars: dict[tuple[str, str, int], float]) -> pa.Table:
    """Rows by pair, timeframe and hour; the value is the close."""
    rows = [
        {
            "timestamp": START + timedelta(hours=hour),
            "asset_pair": pair,
            "timeframe": code,
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": None,
            "source_provider": "a",
            "is_mock": False,
            "trade_count": None,
            "vwap": None,
            "providers_seen": ["a", "b"][: 1 + hour % 2],
            "max_deviation_bps": None,
            "revision": 0,
            "known_at": START,
            "partition_date": (START + timedelta(hours=hour)).date(),
            "partition_asset_pair": pair,
            "storage_period": (START + timedelta(hours=hour)).strftime(
                "%Y-%m" if code == "5m" else "%Y"
            ),
        }
        for (pair, code, hour), price in bars.items()
    ]
    return pa.Table.from_pylist(rows, schema=UNIFIED.arrow)


def stored(lake: DeltaLakeManager, where: Where = EVER) -> dict[tuple[str, str, int], float]:
    columns = ["asset_pair", "timeframe", "timestamp", "close"]
    rows = lake.read(UNIFIED.name, where, columns).to_pylist()
    return {
        (
            row["asset_pair"],
            row["timeframe"],
            (row["timestamp"] - START) // timedelta(hours=1),
        ): row["close"]
        for row in rows
    }


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLakeManager:
    return DeltaLakeManager(tmp_path)


KEYS = st.tuples(
    st.sampled_from(["BTCUSD", "ETHUSD"]), st.sampled_from(["5m", "1h"]), st.integers(0, 900)
)
FRAMES = st.lists(
    st.dictionaries(KEYS, st.sampled_from([1.0, 2.0]), max_size=6), min_size=1, max_size=4
)


@settings(max_examples=15, deadline=None)
@given(frames=FRAMES)
def test_what_was_written_last_is_what_is_there(
    frames: list[dict[tuple[str, str, int], float]],
) -> None:
    with TemporaryDirectory() as folder:
        lake = DeltaLakeManager(folder)
        before: dict[tuple[str, str, int], float] = {}
        for frame in frames:
            merged = lake.merge_if_changed(UNIFIED, unified(frame), EVER)
            assert stored(lake) == frame
            assert merged.new == len(frame.keys() - before.keys())
            assert merged.gone == len(before.keys() - frame.keys())
            assert merged.new + merged.changed + merged.unchanged == len(frame)
            assert (merged.version is None) == (frame == before)
            before = frame
        assert lake.merge_if_changed(UNIFIED, unified(before), EVER).version is None


def test_rows_outside_of_where_stay_as_they_are(lake: DeltaLakeManager) -> None:
    lake.merge_if_changed(
        UNIFIED, unified({("BTCUSD", "1h", 1): 1.0, ("BTCUSD", "1h", 30): 1.0}), EVER
    )
    first_day = Where(("BTCUSD",), START, START + timedelta(days=1))
    lake.merge_if_changed(UNIFIED, unified({("BTCUSD", "1h", 2): 2.0}), first_day)
    assert stored(lake) == {("BTCUSD", "1h", 2): 2.0, ("BTCUSD", "1h", 30): 1.0}


def test_rows_of_another_timeframe_stay_as_they_are(lake: DeltaLakeManager) -> None:
    lake.merge_if_changed(
        UNIFIED, unified({("BTCUSD", "1h", 1): 1.0, ("BTCUSD", "5m", 1): 1.0}), EVER
    )
    hours = Where(EVER.pairs, EVER.start, EVER.end, timeframes=("1h",))
    lake.merge_if_changed(UNIFIED, unified({}), hours)
    assert stored(lake) == {("BTCUSD", "5m", 1): 1.0}


def test_what_is_only_new_rewrites_no_file(lake: DeltaLakeManager) -> None:
    lake.merge_if_changed(UNIFIED, unified({("BTCUSD", "1h", 1): 1.0}), EVER)
    before = set(lake.table(UNIFIED.name).file_uris())
    rows = unified({("BTCUSD", "1h", 1): 1.0, ("BTCUSD", "1h", 2): 1.0})
    lake.merge_if_changed(UNIFIED, rows, EVER)
    assert before < set(lake.table(UNIFIED.name).file_uris())


def test_a_row_that_changes_its_day_leaves_the_old_one(lake: DeltaLakeManager) -> None:
    schema = replace(UNIFIED, key=("asset_pair", "source_provider"))
    early, late = (unified({("BTCUSD", "1h", hour): 1.0}) for hour in (1, 30))
    lake.merge_if_changed(schema, early, EVER)
    moved = lake.merge_if_changed(schema, late, EVER)
    assert (moved.new, moved.changed, moved.gone) == (0, 1, 0)
    assert stored(lake) == {("BTCUSD", "1h", 30): 1.0}
    assert lake.merge_if_changed(schema, late, EVER).version is None


def test_two_rows_of_one_bar_are_refused_and_nothing_changes(lake: DeltaLakeManager) -> None:
    lake.merge_if_changed(UNIFIED, unified({("BTCUSD", "1h", 1): 1.0}), EVER)
    twice = pa.concat_tables([unified({("BTCUSD", "1h", 2): 1.0})] * 2)
    with pytest.raises(InputError, match="1 rows repeat the asset_pair, timeframe, timestamp"):
        lake.merge_if_changed(UNIFIED, twice, EVER)
    assert stored(lake) == {("BTCUSD", "1h", 1): 1.0}


def test_an_append_only_table_is_not_merged(lake: DeltaLakeManager) -> None:
    bronze = raw_candles(TIMEFRAMES["1h"])
    with pytest.raises(InputError, match="append-only"):
        lake.merge_if_changed(bronze, bronze.arrow.empty_table(), EVER)


def test_writers_beside_each_other_double_nothing(tmp_path: Path) -> None:
    rows = unified({("BTCUSD", "1h", hour): 1.0 for hour in range(50)})
    lake = DeltaLakeManager(tmp_path)
    threads = [
        threading.Thread(target=lake.merge_if_changed, args=(UNIFIED, rows, EVER)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lake.read(UNIFIED.name).num_rows == 50
    assert lake.read(UNIFIED.name)["timestamp"].type == TIMESTAMP
