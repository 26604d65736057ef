"""However days come, and are grouped into runs, Silver is the same."""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ffe_lakehouse.partitions import days_between
from ffe_lakehouse.schemas.silver import SILVER_MARKET
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse_tests.silver.conftest import Open
from ffe_lakehouse_tests.silver_lakehouse import (
    SilverLakehouse,
    between,
    real_candles,
    with_coarser,
)

FIRST, LAST = date(2021, 4, 20), date(2021, 6, 18)
DAYS = days_between(FIRST, LAST)
NAMES = [table.name for table in SILVER_MARKET]
Bars = dict[str, dict[Timeframe, pa.Table]]


@pytest.fixture(scope="module")
def bars(shared_data: Path) -> Bars:
    """Sixty real days of two markets, one of which closes; a fifth of the hours are missing."""
    start = datetime.fromisoformat(f"{FIRST}T00:00:00+00:00")
    hours = between(
        real_candles(shared_data / "candles/coinbase/BTCUSD_1h.parquet"),
        start,
        start + timedelta(60),
    )
    kept = np.random.default_rng(1).random(hours.num_rows) > 0.2
    quarters = between(
        real_candles(shared_data / "candles/oanda/EURUSD_15m.parquet"), start, start + timedelta(60)
    )
    return {
        "BTCUSD": with_coarser(hours.filter(pa.array(kept)), ["1h", "1d"]),
        "EURUSD": with_coarser(quarters, ["15m", "4h"]),
    }


def load(lakehouse: SilverLakehouse, bars: Bars, groups: Sequence[Sequence[date]]) -> None:
    """Bronze and Silver, a group of days at a time."""
    lakehouse.add(*bars)
    for group in groups:
        for pair, of_pair in bars.items():
            for timeframe, candles in of_pair.items():
                lakehouse.land(pair, timeframe, candles, group)
        lakehouse.derive([*bars], group[0], group[-1])


def in_groups(sizes: Sequence[int]) -> list[list[date]]:
    left = iter(DAYS)
    return [[next(left) for _ in range(size)] for size in sizes]


def same(
    found: dict[str, pa.Table], expected: dict[str, pa.Table], apart_from: Collection[str] = ()
) -> None:
    """Equal in every column of every row."""
    for name, rows in expected.items():
        assert rows.num_rows > 0
        assert found[name].num_rows == rows.num_rows, name
        for column in [name for name in rows.column_names if name not in apart_from]:
            a, b = found[name][column], rows[column]
            if pa.types.is_floating(a.type):
                np.testing.assert_allclose(
                    a.to_numpy(), b.to_numpy(), rtol=1e-9, atol=0, err_msg=f"{name}.{column}"
                )
            assert pc.equal(a.is_null(), b.is_null()).to_numpy().all(), f"{name}.{column}"
            assert a.to_pylist() == b.to_pylist(), f"{name}.{column}"


GROUPS = {
    "day by day and in bulk": in_groups([1, 1, 20, 1, 30, 7]),
    "backwards": in_groups([30, 10, 20])[::-1],
    "in any order": [in_groups([9, 20, 2, 16, 13])[place] for place in (3, 0, 4, 1, 2)],
}


@pytest.mark.slow
def test_silver_is_the_same_however_its_days_come(open_lakehouse: Open, bars: Bars) -> None:
    at_once = open_lakehouse("at once")
    load(at_once, bars, [DAYS])
    assert len(at_once.works) == 1
    expected = at_once.silver(NAMES)
    for name, groups in GROUPS.items():
        lakehouse = open_lakehouse(name)
        load(lakehouse, bars, groups)
        same(lakehouse.silver(NAMES), expected)


@pytest.mark.slow
def test_a_bar_that_is_revised_later_is_computed_anew_with_all_that_hangs_on_it(
    open_lakehouse: Open, bars: Bars
) -> None:
    hour, days, day = TIMEFRAMES["1h"], DAYS[:20], DAYS[10]
    revised = {pair: dict(of_pair) for pair, of_pair in bars.items()}
    revised["BTCUSD"][hour] = dearer(bars["BTCUSD"][hour], day)
    lakehouse = open_lakehouse("revised")
    load(lakehouse, bars, [days])
    before = lakehouse.silver(NAMES)
    lakehouse.works.clear()
    lakehouse.land("BTCUSD", hour, revised["BTCUSD"][hour], [day])
    lakehouse.derive(["BTCUSD"], day, day)
    after = lakehouse.silver(NAMES)
    assert [(work.box.pairs, work.box.first, work.box.last) for work in lakehouse.works] == [
        (("BTCUSD",), day, day),
        (("BTCUSD",), day, days[-1]),
    ]
    at_once = open_lakehouse("at once")
    load(at_once, revised, [days])
    same(after, at_once.silver(NAMES), apart_from={"revision", "known_at"})
    assert before[NAMES[1]]["ema_26"] != after[NAMES[1]]["ema_26"]


def dearer(candles: pa.Table, day: date) -> pa.Table:
    """The first bar of a day at twice its price."""
    start = datetime.fromisoformat(f"{day}T00:00:00+00:00")
    first = between(candles, start, start + timedelta(1))["timestamp"][0]
    factor = pc.if_else(pc.equal(candles["timestamp"], first), 2.0, 1.0)
    for name in ("open", "high", "low", "close"):
        index = candles.schema.get_field_index(name)
        candles = candles.set_column(
            index, candles.schema.field(index), pc.multiply(candles[name], factor)
        )
    return candles
