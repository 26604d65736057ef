"""What happened within a period, of marts that dbt has really computed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.report import periods
from ffe_lakehouse.report.excerpts import (
    ENSEMBLES,
    PERFORMANCE,
    PORTFOLIO,
    PROVIDERS,
    REGIMES,
    Excerpt,
)
from ffe_lakehouse_tests.gold_lake import GoldLake
from ffe_lakehouse_tests.report.conftest import DAYS, TURNS_REAL, compute, excerpts, stamp

COUNTS = {
    PERFORMANCE: ("winning_trades", "losing_trades"),
    REGIMES: ("winning_trades",),
    PROVIDERS: ("executed", "trades", "calls", "hits", "calls_60_80", "hits_60_80"),
    ENSEMBLES: ("executed", "winning_trades"),
}
# A pair that turns real within a period has no counts of its simulated days.
ALWAYS = ("BTCUSD", "EURGBP", "SOLUSD")


def counted(desk: DeltaLakeManager, mart: str, first: int, last: int, *pairs: str) -> pd.DataFrame:
    found = excerpts(desk, first, last, *pairs).of[mart]
    made = periods.totals(found, COUNTS[mart]).set_index(found.group)
    return made[[name for name in map(str, made.columns) if name.startswith("period_")]]


@pytest.mark.parametrize("mart", COUNTS)
@given(
    cuts=st.lists(st.integers(0, DAYS), min_size=3, max_size=3, unique=True).map(sorted),
)
@settings(max_examples=4)
def test_what_happened_in_two_periods_happened_in_both_together(
    desk: DeltaLakeManager, mart: str, cuts: list[int]
) -> None:
    first, middle, after = cuts
    whole = counted(desk, mart, first, after - 1, *ALWAYS)
    parts = [
        counted(desk, mart, first, middle - 1, *ALWAYS),
        counted(desk, mart, middle, after - 1, *ALWAYS),
    ]
    added = parts[0].reindex(whole.index, fill_value=0) + parts[1]
    pd.testing.assert_frame_equal(added, whole, check_dtype=False)


@pytest.mark.parametrize("mart", COUNTS)
def test_from_the_first_day_on_it_is_what_has_come_together_to_date(
    desk: DeltaLakeManager, mart: str
) -> None:
    found = excerpts(desk, 0, DAYS - 1).of[mart]
    made = periods.totals(found, COUNTS[mart])
    for name in made:
        if str(name).startswith("period_") and name != "period_bars":
            to_date = made[str(name).removeprefix("period_")]
            np.testing.assert_allclose(made[name], to_date, rtol=1e-12, atol=1e-9, err_msg=name)


def test_means_of_a_period_are_those_of_its_calls(desk: DeltaLakeManager) -> None:
    # The Brier score of the days from 15 on is what turns that of the first 15 into that of all.
    found = excerpts(desk, 15, DAYS - 1, "BTCUSD").of[PROVIDERS]
    made = periods.totals(found.with_sums([("brier_score", "calls")]), ["calls", "brier_score_sum"])
    before = found.before.set_index("provider")
    for row in made.itertuples():
        old = before.loc[row.provider]
        total = old["brier_score"] * old["calls"] + row.period_brier_score_sum
        assert total / row.calls == pytest.approx(row.brier_score)
        assert 0 <= row.period_brier_score_sum / row.period_calls <= 1


def test_a_return_is_the_pnl_over_the_equity_before(desk: DeltaLakeManager) -> None:
    found = excerpts(desk, 10, 29, "BTCUSD").of[PERFORMANCE]
    paths = periods.equity_paths(found)
    before = found.before["equity"].iloc[0]
    assert paths["date"].iloc[0] == stamp(9)
    assert paths["equity"].iloc[0] == pytest.approx(before)
    expected = found.rows["day_net_pnl"].sum() / before
    assert periods.returns(paths).iloc[-1] == pytest.approx(expected)


def test_the_equity_before_is_known_without_the_row_of_that_day(gold: GoldLake) -> None:
    for day, pnl in enumerate([100.0, -50.0, 30.0]):
        gold.trade(day, pnl)
    compute(gold, PERFORMANCE, last=2, first=2)
    found = excerpts(gold.lake, 2, 2).of[PERFORMANCE]
    assert found.before.empty
    assert periods.equity_paths(found)["equity"].tolist() == [10_050.0, 10_080.0]


def test_a_fall_is_measured_from_the_peak_of_the_period_alone() -> None:
    assert periods.max_drawdown(pd.Series([100.0, 80.0, 90.0, 45.0])) == -0.55
    assert periods.max_drawdown(pd.Series([80.0, 90.0, 45.0])) == -0.5
    assert periods.max_drawdown(pd.Series([80.0, 90.0])) == 0.0
    assert np.isnan(periods.max_drawdown(pd.Series([-5.0, -8.0])))


def test_the_account_begins_with_its_initial_balance(gold: GoldLake) -> None:
    gold.trade(0, 500.0)
    gold.trade(3, -200.0)
    compute(gold, PORTFOLIO, last=3)
    path = periods.account_path(excerpts(gold.lake, 0, 3).of[PORTFOLIO])
    assert path.index[0] == stamp(-1)
    assert path.tolist() == [100_000.0, 100_500.0, 100_500.0, 100_500.0, 100_300.0]
    later = periods.account_path(excerpts(gold.lake, 3, 3).of[PORTFOLIO])
    assert later.tolist() == [100_500.0, 100_300.0]


def test_counts_are_not_known_if_the_day_before_is_not_computed(gold: GoldLake) -> None:
    for day in range(4):
        gold.trade(day, 10.0)
    compute(gold, PERFORMANCE, last=3, first=2)
    made = periods.totals(excerpts(gold.lake, 2, 3).of[PERFORMANCE], ["winning_trades"])
    assert made["period_trades"].tolist() == [2]
    assert made["period_winning_trades"].isna().all()


def test_a_pair_that_begins_within_the_period_begins_at_zero(gold: GoldLake) -> None:
    gold.trade(5, 10.0)
    gold.trade(6, -10.0)
    compute(gold, PERFORMANCE, last=8)
    made = periods.totals(excerpts(gold.lake, 2, 8).of[PERFORMANCE], ["winning_trades"])
    assert made["period_winning_trades"].tolist() == [1]


def test_of_a_pair_that_turns_real_only_the_real_part_counts(desk: DeltaLakeManager) -> None:
    both = counted(desk, PERFORMANCE, 0, DAYS - 1, "XRPUSD")
    real = counted(desk, PERFORMANCE, TURNS_REAL, DAYS - 1, "XRPUSD")
    pd.testing.assert_frame_equal(both, real, check_dtype=False)
    to_date = excerpts(desk, 0, DAYS - 1, "XRPUSD").of[PERFORMANCE].rows.iloc[-1]
    assert both["period_winning_trades"].iloc[0] == to_date["winning_trades"]


def rows_of_regimes(*rows: tuple[str, str, int]) -> Excerpt:
    frame = pd.DataFrame(rows, columns=["date", "regime", "day_bars"])
    frame["date"] = pd.to_datetime(frame["date"])
    frame["asset_pair"] = "BTCUSD"
    return Excerpt(None, None, frame, frame.iloc[:0])  # type: ignore[arg-type]


def test_the_regime_of_a_day_is_that_of_most_of_its_bars() -> None:
    found = periods.dominant_regimes(
        rows_of_regimes(
            ("2024-01-01", "range", 10),
            ("2024-01-01", "trend", 8),  # up
            ("2024-01-01", "trend", 6),  # down
            ("2024-01-02", "range", 12),
            ("2024-01-02", "volatile", 12),
            ("2024-01-03", "trend", 0),
        ),
        ("trend", "volatile", "range"),
    )
    assert found["regime"].tolist() == ["trend", "volatile"]
    assert found["date"].dt.day.tolist() == [1, 2]
