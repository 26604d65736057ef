"""Finer pages rolled up: bars across pages, bad parts, doubles, and rows of no bar."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.providers.base import RAW_CANDLES, Page
from ffe_lakehouse.providers.rolling import roll_up_pages
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.settings import SimulatedFaults
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.providers.answers import candles, query, utc

HOUR = TIMEFRAMES["1h"]
DAY = query("BTCUSD", "4h", "2024-01-01", "2024-01-02")

Row = tuple[str | None, float, float, float | None, float]


def row(at: str | None, price: float = 2.0) -> Row:
    return at, price, price + 1, price - 1, price


def page(rows: Sequence[Row], until: str) -> Page:
    columns = {
        "timestamp": [None if row[0] is None else utc(f"2024-01-01T{row[0]}") for row in rows],
        **{
            name: [row[i] for row in rows]
            for i, name in enumerate(("open", "high", "low", "close"), 1)
        },
        "volume": [1.0] * len(rows),
        **dict.fromkeys(("trade_count", "vwap"), [None] * len(rows)),
    }
    table = pa.table(columns, schema=RAW_CANDLES)
    return Page(table, lambda i: json.dumps(rows[i]), utc(until))


def rolled(*pages: Page) -> list[Page]:
    return list(roll_up_pages(iter(pages), HOUR, DAY))


def test_a_bar_that_a_page_cuts_waits_for_the_next_page() -> None:
    first = page([row("00:00"), row("03:00", 5), row("04:00")], "2024-01-01T05:00")
    second = page([row("05:00", 9)], "2024-01-02")
    found = rolled(first, second)
    assert [each.covered_until for each in found] == [utc("2024-01-01T04:00"), utc("2024-01-02")]
    assert [candles(each.candles) for each in found] == [
        [("2024-01-01T00:00:00", 2.0, 6.0, 1.0, 5.0, 2.0)],
        [("2024-01-01T04:00:00", 2.0, 10.0, 1.0, 9.0, 2.0)],
    ]
    assert [row[0] for row in json.loads(found[1].record(0))] == ["04:00", "05:00"]


def test_a_bar_may_wait_for_several_pages() -> None:
    pages = [page([row(f"0{hour}:00")], f"2024-01-01T0{hour + 1}:00") for hour in range(3)]
    found = rolled(*pages, page([], "2024-01-02"))
    assert [each.candles.num_rows for each in found] == [0, 0, 0, 1]
    assert found[-1].candles["volume"].to_pylist() == [3.0]
    assert len(json.loads(found[-1].record(0))) == 3


@pytest.mark.parametrize(
    "part",
    [
        ("01:00", 2.0, 1.0, 3.0, 2.0),  # high below low
        ("01:00", 2.0, 3.0, 1.0, 4.0),  # close above high
        ("01:00", 2.0, 3.0, None, 2.0),
        ("01:00", 2.0, 3.0, float("nan"), 2.0),
        ("01:00", 2.0, float("inf"), 1.0, 2.0),
        ("01:00", -2.0, 3.0, -3.0, 2.0),
    ],
)
def test_a_part_that_cannot_be_trusted_makes_its_bar_no_number(part: Row) -> None:
    (found,) = rolled(page([row("00:00"), part, row("02:00"), row("04:00")], "2024-01-02"))
    first, second = candles(found.candles)
    assert np.isnan(np.array(first[2:4], dtype=float)).all()  # so validation rejects it
    assert second[1:] == (2.0, 3.0, 1.0, 2.0, 1.0)
    assert len(json.loads(found.record(0))) == 3


def test_a_part_that_comes_twice_counts_once() -> None:
    (found,) = rolled(page([row("01:00"), row("00:00"), row("01:00")], "2024-01-02"))
    assert candles(found.candles) == [("2024-01-01T00:00:00", 2.0, 3.0, 1.0, 2.0, 2.0)]
    assert len(json.loads(found.record(0))) == 3


def test_parts_that_contradict_each_other_make_their_bar_no_number() -> None:
    (found,) = rolled(page([row("01:00"), row("01:00", 7), row("04:00")], "2024-01-02"))
    first, second = candles(found.candles)
    assert np.isnan(np.array(first[1:5], dtype=float)).all()
    assert second[1] == 2.0
    assert len(json.loads(found.record(0))) == 2


def test_rows_of_no_bar_go_out_as_they_are() -> None:
    rows = [row(None, 7), row("00:00"), row("01:30", 8)]
    (found,) = rolled(page(rows, "2024-01-02"))
    assert [line[:2] for line in candles(found.candles)] == [
        ("2024-01-01T00:00:00", 2.0),
        (None, 7.0),
        ("2024-01-01T01:30:00", 8.0),
    ]
    assert json.loads(found.record(1))[0] is None
    assert json.loads(found.record(2))[0] == "01:30"


def test_no_rows_are_no_bars() -> None:
    (found,) = rolled(page([], "2024-01-02"))
    assert (found.candles.num_rows, found.covered_until) == (0, DAY.end)


@given(
    cuts=st.lists(st.integers(1, 10 * 96 - 1), unique=True, max_size=8),
    coarse=st.sampled_from("14"),
)
def test_pages_do_not_matter(cuts: list[int], coarse: str) -> None:
    start, quarter = datetime(2024, 1, 1, tzinfo=UTC), TIMEFRAMES["15m"]
    fine = query("BTCUSD", "15m", "2024-01-01", "2024-01-11")
    market = SimulatedProvider(0, SimulatedFaults())
    (whole,) = market.fetch(fine)
    asked = query("BTCUSD", f"{coarse}h", "2024-01-01", "2024-01-11")
    (expected,) = market.fetch(asked)

    def pages() -> Iterator[Page]:
        edges = [0, *sorted(cuts), 960]
        for low, high in pairwise(edges):
            until = start + high * timedelta(minutes=15)
            yield Page(whole.candles.slice(low, high - low), whole.record, until)

    found = list(roll_up_pages(pages(), quarter, asked))
    table = pa.concat_tables([each.candles for each in found])
    assert table["timestamp"].equals(expected.candles["timestamp"])
    for name in ("open", "high", "low", "close", "trade_count"):
        assert table[name].equals(expected.candles[name])
    for each in found:
        assert all(at < each.covered_until for at in each.candles["timestamp"].to_pylist())
