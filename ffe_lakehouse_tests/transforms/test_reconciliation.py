"""Telling how vendors differ, on bars that are spelt out and on real ones beside a bent copy."""

from collections import defaultdict
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.schemas.reconciliation import PROVIDER_RECONCILIATION
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.reconciliation import reconcile
from ffe_lakehouse_tests.builders import START
from ffe_lakehouse_tests.transforms.vendor_bars import HOUR, Said, bronze, real_bars

ONE_HOUR, ONE_MINUTE = TIMEFRAMES["1h"], TIMEFRAMES["1m"]
DAY = timedelta(days=1)


def oracle(said: list[Said]) -> list[dict[str, Any]]:
    """What has to come out, the slow and plain way; no two of ``said`` are one version."""
    newest: dict[tuple[str, str, int], Said] = {}
    for each in sorted(said, key=lambda each: each.known):
        newest[each.pair, each.vendor, each.slot] = each
    days: dict[tuple[str, int], dict[str, dict[int, Said]]] = defaultdict(dict)
    for (pair, vendor, slot), each in newest.items():
        days[pair, slot // 24].setdefault(vendor, {})[slot] = each
    return [
        _row(pair, day, a, b, of_vendor[a], of_vendor[b])
        for (pair, day), of_vendor in sorted(days.items())
        for a, b in combinations(sorted(of_vendor), 2)
        if _mock(of_vendor[a]) == _mock(of_vendor[b])
    ]


def _mock(bars: dict[int, Said]) -> bool:
    return all(each.is_mock for each in bars.values())


def _row(
    pair: str, day: int, a: str, b: str, of_a: dict[int, Said], of_b: dict[int, Said]
) -> dict[str, Any]:
    def off(shift: int) -> list[float]:
        return [
            of_b[slot + shift].close / bar.close - 1
            for slot, bar in sorted(of_a.items())
            if slot + shift in of_b
        ]

    tried = {shift: off(shift) for shift in (0, 1, -1, 2, -2, 3, -3)}
    fits = {k: median(map(abs, each)) for k, each in tried.items() if len(each) >= 5}
    bps = [each * 1e4 for each in tried[0]]
    both = [
        (of_a[slot].volume, of_b[slot].volume)
        for slot in of_a.keys() & of_b.keys()
        if of_a[slot].volume is not None and of_b[slot].volume is not None
    ]
    volume_a, volume_b = sum(x or 0 for x, _ in both), sum(y or 0 for _, y in both)
    offset = min(fits, key=lambda shift: fits[shift]) if fits else None
    return {
        "asset_pair": pair,
        "vendor_a": a,
        "vendor_b": b,
        "partition_date": (START + day * DAY).date(),
        "is_mock": _mock(of_a),
        "bars_a": len(of_a),
        "bars_b": len(of_b),
        "bars_common": len(bps),
        "median_deviation_bps": median(map(abs, bps)) if bps else None,
        "max_deviation_bps": max(map(abs, bps), default=None),
        "bias_bps": median(bps) if bps else None,
        "volume_ratio": volume_b / volume_a if volume_a else None,
        "offset_bars": offset,
        "offset_seconds": None if offset is None else offset * 3600,
    }


SAID = st.lists(
    st.builds(
        Said,
        vendor=st.sampled_from(["a", "b", "c"]),
        slot=st.integers(18, 30),
        known=st.integers(0, 1),
        close=st.sampled_from([99.0, 100.0, 100.5, 101.0, 103.0, 108.0]),
        is_mock=st.sampled_from([False, False, True]),
        pair=st.sampled_from(["BTCUSD", "ETHUSD"]),
        volume=st.sampled_from([None, 0.0, 0.5, 4.0]),
    ),
    max_size=70,
    unique_by=lambda each: (each.pair, each.slot, each.vendor, each.known),
)


@given(SAID)
def test_any_rows_reconcile_to_what_the_oracle_says(said: list[Said]) -> None:
    found, expected = reconcile(bronze(said), ONE_HOUR), oracle(said)
    assert found.schema == PROVIDER_RECONCILIATION.arrow
    PROVIDER_RECONCILIATION.pandera.validate(found.to_pandas())
    rows = found.to_pylist()
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        assert {name: row[name] for name in other} == other
        assert row["timeframe"] == "1h"
        assert row["partition_asset_pair"] == row["asset_pair"]
        assert row["storage_period"] == "2024"


@given(SAID, st.randoms(use_true_random=False))
def test_neither_the_order_of_the_rows_nor_the_days_beside_it_change_a_days_row(
    said: list[Said], random: Any
) -> None:
    rows = bronze(said)
    order = list(range(len(said)))
    random.shuffle(order)
    shuffled = rows.take(pa.array(order, pa.int64()))
    whole = reconcile(rows, ONE_HOUR)
    assert reconcile(shuffled, ONE_HOUR).equals(whole)
    for day in rows["partition_date"].unique():
        of_day = pc.field("partition_date") == day
        alone = reconcile(rows.filter(of_day), ONE_HOUR)
        assert alone.equals(whole.filter(of_day))


def vendor_of(rows: pa.Table, name: str, **columns: Any) -> pa.Table:
    """The same rows as another vendor's, with some columns replaced."""
    for key, values in {"source_provider": [name] * rows.num_rows, **columns}.items():
        field = rows.schema.field(key)
        index = rows.schema.get_field_index(key)
        rows = rows.set_column(index, field, pa.array(values).cast(field.type))
    return rows


@pytest.fixture(scope="module")
def coinbase(shared_data: Path) -> pa.Table:
    """Four real years of BTCUSD 1h."""
    return real_bars(shared_data / "candles" / "coinbase", "BTCUSD", "1h")


def test_a_real_vendor_beside_a_dearer_copy_that_lacks_bars(coinbase: pa.Table) -> None:
    close, volume = coinbase["close"].to_numpy(), coinbase["volume"].to_numpy()
    copy = vendor_of(coinbase, "oanda", close=close * 1.0003, volume=volume * 2)
    copy = copy.filter(pa.array(np.arange(copy.num_rows) % 10 > 0))
    found = reconcile(pa.concat_tables([copy, coinbase]), ONE_HOUR).to_pandas()
    days = len(coinbase["partition_date"].unique())
    assert len(found) == days == 1461
    assert set(zip(found["vendor_a"], found["vendor_b"], strict=True)) == {("coinbase", "oanda")}
    assert found["bars_a"].sum() == coinbase.num_rows
    assert found["bars_b"].sum() == found["bars_common"].sum() == copy.num_rows
    for name in ("median_deviation_bps", "max_deviation_bps", "bias_bps"):
        assert found[name].to_numpy() == pytest.approx(3.0)
    assert found["volume_ratio"].to_numpy() == pytest.approx(2.0)
    assert set(found["offset_bars"]) == {0}


def shifted(rows: pa.Table, timeframe: Timeframe, bars: int) -> pa.Table:
    """The rows as a vendor stamps them whose clock is so many bars ahead."""
    times = rows["timestamp"].cast(pa.int64()).to_numpy() + bars * timeframe.step.astype(np.int64)
    moved = pa.array(times).cast(rows.schema.field("timestamp").type)
    return vendor_of(rows, "later", timestamp=moved, partition_date=moved.cast(pa.date32()))


@pytest.mark.parametrize("bars", [1, -1, 2, -2, 3, -3])
def test_a_real_vendor_beside_one_that_stamps_other_moments(coinbase: pa.Table, bars: int) -> None:
    rows = pa.concat_tables([coinbase, shifted(coinbase, ONE_HOUR, bars)])
    found = reconcile(rows, ONE_HOUR).to_pandas()
    full = found[found["bars_common"] == 24]
    assert len(full) > 1450
    # No close of these four years is so like the next one that another shift fits better.
    assert set(full["offset_bars"]) == {bars}
    assert set(full["offset_seconds"]) == {bars * 3600}
    assert full["median_deviation_bps"].min() > 1


def test_the_end_of_a_bar_as_its_stamp_shows_up_beside_vendors_that_differ(
    shared_data: Path,
) -> None:
    rows = real_bars(shared_data / "candles" / "coinbase", "BTCUSD", "1m")
    noise = 1 + np.random.default_rng(7).normal(0, 1e-4, rows.num_rows)
    ends = shifted(rows, ONE_MINUTE, 1)
    ends = vendor_of(ends, "later", close=ends["close"].to_numpy() * noise)
    found = reconcile(pa.concat_tables([rows, ends]), ONE_MINUTE).to_pandas()
    full = found[found["bars_common"] > 900]
    assert len(full) == 9
    assert set(full["offset_bars"]) == {1}
    assert set(full["offset_seconds"]) == {60}


def test_of_equally_good_shifts_none_is_the_first() -> None:
    said = [Said(vendor, slot=slot) for vendor in "ab" for slot in range(24)]
    (row,) = reconcile(bronze(said), ONE_HOUR).to_pylist()
    assert (row["offset_bars"], row["median_deviation_bps"]) == (0, 0.0)


@pytest.mark.parametrize(("common", "offset"), [(4, None), (5, 0)])
def test_with_a_handful_of_bars_no_offset_is_told(common: int, offset: int | None) -> None:
    said = [Said(vendor, slot=slot) for vendor in "ab" for slot in range(common)]
    (row,) = reconcile(bronze(said), ONE_HOUR).to_pylist()
    assert (row["bars_common"], row["offset_bars"], row["offset_seconds"]) == (
        common,
        offset,
        offset,
    )


def test_bars_of_two_days_are_not_laid_side_by_side() -> None:
    closes = [100.0, 110.0, 90.0, 130.0, 80.0]
    said = [Said("a", slot=19 + n, close=close) for n, close in enumerate(closes)]
    said += [Said("b", slot=22 + n, close=close) for n, close in enumerate(closes)]
    (row,) = reconcile(bronze(said), ONE_HOUR).to_pylist()
    assert (row["bars_a"], row["bars_b"], row["offset_bars"]) == (5, 2, None)


def test_daily_bars_have_differences_but_no_offset(shared_data: Path) -> None:
    daily = TIMEFRAMES["1d"]
    rows = real_bars(shared_data / "candles" / "coinbase", "BTCUSD", "1d")
    copy = vendor_of(rows, "kraken", close=rows["close"].to_numpy() * 0.999)
    found = reconcile(pa.concat_tables([rows, copy]), daily)
    assert found.num_rows == rows.num_rows
    assert found["offset_bars"].null_count == rows.num_rows
    assert found["bias_bps"].to_numpy() == pytest.approx(-10.0)


def test_vendors_without_a_bar_in_common_are_counted_and_not_compared() -> None:
    said = [Said("a", slot=slot) for slot in range(6)] + [Said("b", slot=n) for n in range(12, 20)]
    (row,) = reconcile(bronze(said), ONE_HOUR).to_pylist()
    assert (row["bars_a"], row["bars_b"], row["bars_common"]) == (6, 8, 0)
    nulls = ("median_deviation_bps", "max_deviation_bps", "bias_bps", "volume_ratio", "offset_bars")
    assert [row[name] for name in nulls] == [None] * 5


def test_the_simulated_vendor_is_not_compared_with_a_real_one() -> None:
    said = [
        Said(vendor, slot=slot, is_mock=vendor.startswith("mock"))
        for vendor in ("mock1", "mock2", "real")
        for slot in range(24)
    ]
    (row,) = reconcile(bronze(said), ONE_HOUR).to_pylist()
    assert (row["vendor_a"], row["vendor_b"], row["is_mock"]) == ("mock1", "mock2", True)


def test_forex_without_volume_has_no_ratio() -> None:
    said = [Said(vendor, slot=n, volume=None) for vendor in "ab" for n in range(24)]
    (row,) = reconcile(bronze(said), ONE_HOUR).to_pylist()
    assert row["volume_ratio"] is None
    said = [
        Said(v, slot=n, volume=None if (v, n) == ("b", 3) else 4.0) for v in "ab" for n in (3, 4)
    ]
    (row,) = reconcile(bronze(said), ONE_HOUR).to_pylist()
    assert row["volume_ratio"] == 1.0


def test_one_vendor_alone_and_no_rows_have_nothing_to_compare(coinbase: pa.Table) -> None:
    nothing = raw_candles(ONE_HOUR).arrow.empty_table()
    for rows in (coinbase, nothing, bronze([Said("a"), Said("b", slot=24)])):
        found = reconcile(rows, ONE_HOUR)
        assert found.num_rows == 0
        assert found.schema == PROVIDER_RECONCILIATION.arrow


def test_only_the_newest_version_is_compared() -> None:
    said = [Said("a", close=100.0), Said("b", close=150.0), Said("b", close=101.0, known=1)]
    (row,) = reconcile(bronze([*said, Said("a", slot=HOUR // HOUR)]), ONE_HOUR).to_pylist()
    assert row["max_deviation_bps"] == pytest.approx(100.0)
    assert (row["bars_a"], row["bars_b"]) == (2, 1)
