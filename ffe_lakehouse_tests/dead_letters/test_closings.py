"""Closings: every letter is closed once, by whom and why, whoever else closes it at the time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pytest

from ffe_lakehouse.dead_letters import (
    Closing,
    close,
    open_letters,
    read_closings,
    statistics,
)
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse_tests.dead_letters.letters import at, letter, letters

NOW = at(20)


def closing(by: str = "ada", action: str = "discarded") -> Closing:
    return Closing(action, by, "because", NOW, f"run of {by}")


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLakeManager:
    return DeltaLakeManager(tmp_path)


@pytest.fixture
def some() -> pa.Table:
    return letters(*(letter(at(2, hour)) for hour in range(10)))


def test_a_letter_is_open_until_it_is_closed(lake: DeltaLakeManager, some: pa.Table) -> None:
    assert open_letters(some, read_closings(lake)).equals(some)
    closed = close(lake, some.slice(0, 4), closing())
    assert closed.num_rows == 4
    assert open_letters(some, read_closings(lake)).equals(some.slice(4))


def test_a_closing_says_what_by_whom_why_and_when(lake: DeltaLakeManager, some: pa.Table) -> None:
    close(lake, some.slice(3, 1), closing())
    (row,) = read_closings(lake).to_pylist()
    assert row == {
        "letter_id": some["letter_id"][3].as_py(),
        "timeframe": "1h",
        "asset_pair": "BTCUSD",
        "action": "discarded",
        "closed_by": "ada",
        "why": "because",
        "closed_at": NOW,
        "run_id": "run of ada",
        "partition_date": at(2).date(),
        "partition_asset_pair": "BTCUSD",
        "storage_period": "2024",
    }


def test_what_is_closed_stays_as_it_was_closed(lake: DeltaLakeManager, some: pa.Table) -> None:
    close(lake, some.slice(0, 6), closing("ada"))
    assert close(lake, some, closing("bob", "replayed")).num_rows == 4
    assert close(lake, some, closing("eve")).num_rows == 0
    by = read_closings(lake)["closed_by"].to_pylist()
    assert (by.count("ada"), by.count("bob"), by.count("eve")) == (6, 4, 0)
    assert statistics(some, read_closings(lake)).by_state == {"discarded": 6, "replayed": 4}


def test_nothing_is_closed_with_nothing(lake: DeltaLakeManager) -> None:
    assert close(lake, letters(), closing()).num_rows == 0
    assert read_closings(lake).num_rows == 0


def test_a_letter_of_minutes_is_closed_by_the_year_as_all_closings_are(
    lake: DeltaLakeManager,
) -> None:
    close(lake, letters(letter(at(2), timeframe="1m", storage_period="2024-01")), closing())
    of_january = Where(("BTCUSD",), at(1), at(5))
    assert read_closings(lake, of_january)["storage_period"].to_pylist() == ["2024"]
    assert read_closings(lake, Where(("ETHUSD",))).num_rows == 0
    assert read_closings(lake, Where(start=at(3))).num_rows == 0


def test_eight_that_close_the_same_letters_at_once_close_each_of_them_once(
    tmp_path: Path, some: pa.Table
) -> None:
    everybody = Barrier(8)

    def close_them(name: int) -> int:
        lake = DeltaLakeManager(tmp_path)
        everybody.wait()
        # Each its own part, and all of them the middle.
        return close(lake, some.slice(name % 3, 8), closing(str(name))).num_rows

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(close_them, range(8)))
    ids = read_closings(DeltaLakeManager(tmp_path))["letter_id"].to_pylist()
    assert sorted(ids) == sorted(some["letter_id"].to_pylist())
    assert sum(counts) == 10
