"""What holds for any trades: neither how runs are cut nor what comes later changes a row."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse_tests.gold.performance_oracle import Oracle, differences
from ffe_lakehouse_tests.gold_lake import DAY, GoldLake

MART = "mart_trading_performance"
PAIRS = ("BTCUSD", "EURUSD", "AAPL")
DAYS = 16
FEW = settings(max_examples=5)
"""dbt runs up to eight times in each."""

Trade: TypeAlias = tuple[float, float | None, Mapping[str, Any]]
Run: TypeAlias = tuple[int, int, tuple[str, ...]]


@pytest.fixture(scope="module", autouse=True)
def _defaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FFE_HOME", str(tmp_path_factory.mktemp("laws")))
        patch.setenv("FFE_START_DATE", "2023-01-01")
        patch.setenv("FFE_RISK_FREE_RATE", "0.03")
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


@st.composite
def trades(draw: st.DrawFn) -> list[Trade]:
    """Of cents or of thousands; some open or without P&L, some of a simulation."""
    # Digits without end, so that sums of doubles would hang on their order.
    money = st.integers(-400_000, 400_000).map(lambda cents: cents / 77)
    kinds = st.sampled_from([{}, {}, {}, {"record_is_mock": True}, {"status": "open"}])
    found = []
    for _ in range(draw(st.integers(1, 25))):
        kind = {"asset_pair": draw(st.sampled_from(PAIRS)), **draw(kinds)}
        net_pnl = None if "status" in kind else draw(st.none() | money)
        found.append((draw(st.floats(0, DAYS, exclude_max=True)), net_pnl, kind))
    return found


@st.composite
def runs(draw: st.DrawFn) -> list[Run]:
    """Boxes of days and pairs that cover all of them; in any order, some twice."""
    cuts = sorted({0, DAYS, *draw(st.sets(st.integers(1, DAYS - 1), max_size=2))})
    boxes = []
    for start, end in pairwise(cuts):
        groups = draw(st.permutations(PAIRS)), draw(st.integers(1, len(PAIRS)))
        parts = (groups[0][: groups[1]], groups[0][groups[1] :])
        boxes += [(start, end - 1, tuple(sorted(part))) for part in parts if part]
    return draw(st.permutations(boxes + draw(st.lists(st.sampled_from(boxes), max_size=1))))


def lake_of(folder: Path, dbt: Path, made: Sequence[Trade]) -> GoldLake:
    gold = GoldLake(DeltaLakeManager(folder), dbt)
    for day, net_pnl, more in made:
        gold.trade(day, net_pnl, **more)
    gold.write()
    return gold


def bits(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows in which numbers are equal only if each of their bits is."""
    return [
        {
            name: value.hex() if isinstance(value, float) else repr(value)
            for name, value in row.items()
        }
        for row in rows
    ]


@FEW
@given(made=trades(), plan=runs())
def test_runs_in_any_order_are_one_whole_build_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, dbt_folder: Path, made: list[Trade], plan: list[Run]
) -> None:
    whole = lake_of(tmp_path_factory.mktemp("whole"), dbt_folder, made)
    in_parts = lake_of(tmp_path_factory.mktemp("parts"), dbt_folder, made)
    expected = whole.build(MART, last=DAYS - 1, write=False)
    for first, last, pairs in plan:
        in_parts.build(MART, last, first, pairs, write=False)
    assert bits(in_parts.read(MART)) == bits(expected)


@FEW
@given(made=trades(), cut=st.integers(1, DAYS - 1))
def test_trades_of_later_days_change_no_row(
    tmp_path_factory: pytest.TempPathFactory, dbt_folder: Path, made: list[Trade], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("lakes")
    known = [each for each in made if each[0] < cut]
    before = lake_of(folder / "before", dbt_folder, known).build(MART, last=DAYS - 1)
    after = lake_of(folder / "after", dbt_folder, made).build(MART, last=DAYS - 1)
    until = DAY + timedelta(days=cut)
    assert bits([row for row in after if row["date"] < until]) == bits(
        [row for row in before if row["date"] < until]
    )


@FEW
@given(made=trades())
def test_any_trades_equal_the_oracle(
    tmp_path_factory: pytest.TempPathFactory, dbt_folder: Path, made: list[Trade]
) -> None:
    gold = lake_of(tmp_path_factory.mktemp("lake"), dbt_folder, made)
    silver = gold.lake.read("silver/trade_lifecycle").to_pylist()
    rows = gold.build(MART, last=DAYS - 1)
    for (pair, is_mock), found in groupby(rows, lambda row: (row["asset_pair"], row["is_mock"])):
        of_pair = list(found)
        first, last = of_pair[0]["date"], of_pair[-1]["date"]
        counted = [
            each
            for each in silver
            if (each["asset_pair"], each["record_is_mock"]) == (pair, is_mock)
            and each["partition_date"] <= last
        ]
        oracle = Oracle(parse_symbol(pair).asset_class, risk_free_rate=0.03)
        assert differences(of_pair, oracle.rows(counted, first, last)) == []
