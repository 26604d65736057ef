"""A table that is rewritten as a whole: nothing is lost, and nothing written for nothing."""

import multiprocessing
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.schemas import INDEX_MEMBERSHIP, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES

SOME_DAY = date(2024, 1, 1)


def stay(symbol: str) -> pa.Table:
    row = ("tests", symbol, SOME_DAY, None, datetime(2024, 1, 1, tzinfo=UTC))
    named = dict(zip(INDEX_MEMBERSHIP.arrow.names, row, strict=True))
    return pa.Table.from_pylist([named], schema=INDEX_MEMBERSHIP.arrow)


def add(symbol: str, rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, stay(symbol)])


def symbols(rows: pa.Table) -> list[str]:
    found: list[str] = rows["symbol"].to_pylist()
    return found


def add_ten(folder: Path, writer: int) -> None:
    lake = DeltaLakeManager(folder)
    for number in range(10):
        lake.rewrite(INDEX_MEMBERSHIP, partial(add, f"{writer}-{number}"))


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLakeManager:
    return DeltaLakeManager(tmp_path / "lake")


def test_it_returns_what_was_there_and_what_is_there_now_in_the_order_of_the_table(
    lake: DeltaLakeManager,
) -> None:
    lake.rewrite(INDEX_MEMBERSHIP, partial(add, "MSFT"))
    before, after = lake.rewrite(INDEX_MEMBERSHIP, partial(add, "AAPL"))
    assert (symbols(before), symbols(after)) == (["MSFT"], ["AAPL", "MSFT"])
    assert lake.read(INDEX_MEMBERSHIP.name).equals(after)
    lake.rewrite(INDEX_MEMBERSHIP, lambda rows: rows.slice(0, 0))
    assert lake.read(INDEX_MEMBERSHIP.name).num_rows == 0


def test_equal_rows_are_not_written_again(lake: DeltaLakeManager) -> None:
    for rows in (add("AAPL", stay("MSFT")), add("MSFT", stay("AAPL"))):
        lake.rewrite(INDEX_MEMBERSHIP, lambda _, rows=rows: rows)
    assert len(lake.history(INDEX_MEMBERSHIP.name)) == 2  # it was made, and written once


def test_an_append_only_table_is_not_rewritten(lake: DeltaLakeManager) -> None:
    with pytest.raises(InputError, match=r"append-only.*takes no rewrite"):
        lake.rewrite(raw_candles(TIMEFRAMES["1h"]), lambda rows: rows)


@pytest.mark.parametrize("there", [[], ["ZRX"]], ids=["an empty table", "a table with rows"])
def test_a_writer_who_was_overtaken_looks_again(
    lake: DeltaLakeManager, tmp_path: Path, there: list[str]
) -> None:
    for symbol in there:
        lake.rewrite(INDEX_MEMBERSHIP, partial(add, symbol))
    seen: list[list[str]] = []

    def change(rows: pa.Table) -> pa.Table:
        seen.append(symbols(rows))
        if len(seen) == 1:  # somebody else comes in between reading and writing
            DeltaLakeManager(tmp_path / "lake").rewrite(INDEX_MEMBERSHIP, partial(add, "MSFT"))
        return add("AAPL", rows)

    before, after = lake.rewrite(INDEX_MEMBERSHIP, change)
    assert seen == [there, ["MSFT", *there]]
    assert symbols(before) == ["MSFT", *there]
    assert symbols(after) == symbols(lake.read(INDEX_MEMBERSHIP.name))
    assert symbols(after) == ["AAPL", "MSFT", *there]


@pytest.mark.parametrize("start", [threading.Thread, multiprocessing.get_context("spawn").Process])
def test_writers_at_once_lose_no_change_of_each_other(
    lake: DeltaLakeManager, tmp_path: Path, start: Callable[..., threading.Thread]
) -> None:
    writers = [start(target=add_ten, args=(tmp_path / "lake", n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    everything = sorted(f"{writer}-{number}" for writer in range(4) for number in range(10))
    assert symbols(lake.read(INDEX_MEMBERSHIP.name)) == everything
