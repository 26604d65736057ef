"""What the mart says of days and trades that are not like the others.

Tests that take ``rows`` say with ``traded`` what happened. Each has a pair of its own, and all of
these are computed in one build. What hangs on settings or on the market is in
``test_performance_settings``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import pytest

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold_lake import GoldLake, at

MART = "mart_trading_performance"
RATIOS = {
    *("win_rate", "profit_factor", "expectancy", "average_win", "average_loss"),
    *("average_holding_hours", "annual_return", "sharpe_ratio", "sortino_ratio", "calmar_ratio"),
}
Rows: TypeAlias = list[dict[str, Any]]
Test = TypeVar("Test", bound=Callable[..., None])


class Case(NamedTuple):
    """What one test looks at."""

    pair: str
    trades: Sequence[tuple[Any, ...]]
    bars: Sequence[float]
    decisions: Sequence[float]
    last: float


CASES: dict[str, Case] = {}


def traded(
    *trades: tuple[Any, ...],
    last: float,
    bars: Sequence[float] = (),
    decisions: Sequence[float] = (),
) -> Callable[[Test], Test]:
    """The test's ``rows`` are those of a pair with these trades, up to day ``last``.

    Args:
        trades: Day, net P&L, and other columns if need be: arguments of ``GoldLake.trade``.
        last: Of the rows.
        bars: Days with a bar.
        decisions: Days with a decision.
    """

    def remember(test: Test) -> Test:
        CASES[test.__name__] = Case(f"T{len(CASES)}USD", trades, bars, decisions, last)
        return test

    return remember


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory, dbt_folder: Path) -> Iterator[Rows]:
    """Every row of every case."""
    home = tmp_path_factory.mktemp("cases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FFE_HOME", str(home))
        patch.setenv("FFE_START_DATE", "2023-01-01")
        get_settings.cache_clear()
        gold = GoldLake(DeltaLakeManager(home / "lake"), dbt_folder)
        for case in CASES.values():
            for day in case.bars:
                gold.bar(day, "trend", 1, asset_pair=case.pair)
            for day in case.decisions:
                gold.decision(day, asset_pair=case.pair)
            for day, net_pnl, *more in case.trades:
                columns: Mapping[str, Any] = more[0] if more else {}
                gold.trade(day, net_pnl, asset_pair=case.pair, **columns)
        # dbt's tests pass, so no number is infinite or NaN.
        yield gold.build(MART, last=max(case.last for case in CASES.values()))
    get_settings.cache_clear()


@pytest.fixture
def rows(request: pytest.FixtureRequest, computed: Rows) -> Rows:
    """The rows of the test."""
    case = CASES[request.function.__name__]
    last = at(case.last).date()
    return [row for row in computed if row["asset_pair"] == case.pair and row["date"] <= last]


def column(rows: Rows, name: str) -> list[Any]:
    """The values of a column, day by day."""
    return [row[name] for row in rows]


@traded(bars=[0], last=2)
def test_a_pair_that_was_never_traded_has_its_capital_and_no_ratio(rows: Rows) -> None:
    assert len(rows) == 3
    for row in rows:
        assert row["equity"] == 10_000
        assert row["is_return_day"] is False
        nothing = {name for name, value in row.items() if value is None}
        assert nothing == RATIOS | {"daily_return"}
        counted = set(row) - nothing - {"asset_pair", "date", "quote_currency", "is_mock", "equity"}
        assert {row[name] for name in counted} == {0}


@traded((1.5, None, {"status": "open"}), (2.5, None), (3.5, 100.0), decisions=[0], last=4)
def test_the_track_record_starts_on_the_day_of_the_first_settled_trade(rows: Rows) -> None:
    assert column(rows, "is_return_day") == [False, False, False, True, True]
    assert column(rows, "daily_return") == [None, None, None, 0.01, 0]
    assert column(rows, "return_days") == [0, 0, 0, 1, 2]


@traded((0.5, 98.0, {"gross_pnl": 100.0, "fees": 2.0, "holding_seconds": 5400.0}), last=0)
def test_one_trade(rows: Rows) -> None:
    (row,) = rows
    assert (row["gross_pnl"], row["fees"], row["net_pnl"]) == (100, 2, 98)
    assert (row["trades"], row["winning_trades"], row["losing_trades"]) == (1, 1, 0)
    assert (row["win_rate"], row["expectancy"], row["average_win"]) == (1, 98, 98)
    assert row["average_holding_hours"] == 1.5
    assert (row["equity"], row["daily_return"], row["return_days"]) == (10_098, 0.0098, 1)
    assert row["annual_return"] == pytest.approx(1.0098**365 - 1, rel=1e-12)
    # One return has no spread.
    assert row["sharpe_ratio"] is row["sortino_ratio"] is None


@traded((0.5, 100.0), (2.5, 50.0), last=3)
def test_only_wins_have_no_profit_factor_and_nothing_under_water(rows: Rows) -> None:
    row = rows[-1]
    assert row["win_rate"] == 1
    assert row["profit_factor"] is row["average_loss"] is None
    assert row["sortino_ratio"] is row["calmar_ratio"] is None
    assert row["sharpe_ratio"] > 0
    assert (row["drawdown"], row["max_drawdown"], row["max_drawdown_days"]) == (0, 0, 0)


@traded((0.5, -100.0), (2.5, -300.0), last=3)
def test_only_losses_are_under_water_from_the_capital_on(rows: Rows) -> None:
    assert column(rows, "max_drawdown") == [-0.01, -0.01, -0.04, -0.04]
    # The capital was there the day before.
    assert column(rows, "max_drawdown_days") == [1, 2, 3, 4]
    row = rows[-1]
    assert (row["win_rate"], row["profit_factor"], row["average_win"]) == (0, 0, None)
    assert row["average_loss"] == row["expectancy"] == -200
    assert row["sharpe_ratio"] < 0
    assert row["calmar_ratio"] == row["annual_return"] / 0.04


@traded((0.5, 100.0), (1.5, -30.0), last=2)
def test_a_day_without_trades_repeats_the_totals_and_returns_zero(rows: Rows) -> None:
    _, before, flat = rows
    assert (flat["day_trades"], flat["day_net_pnl"], flat["daily_return"]) == (0, 0, 0)
    for name in ("trades", "net_pnl", "win_rate", "profit_factor", "expectancy", "drawdown"):
        assert flat[name] == before[name]
    assert flat["return_days"] == before["return_days"] + 1


@traded((0.5, 0.0), last=0)
def test_a_trade_of_zero_is_neither_won_nor_lost(rows: Rows) -> None:
    (row,) = rows
    assert (row["trades"], row["winning_trades"], row["losing_trades"]) == (1, 0, 0)
    assert (row["win_rate"], row["expectancy"]) == (0, 0)
    assert row["is_return_day"] is True


@traded(
    (0.5, 10.0),
    (1.5, None, {"status": "open", "holding_seconds": None, "fees": 7.0}),
    (2.5, None, {"fees": 7.0}),
    last=3,
)
def test_a_trade_that_is_open_or_has_no_pnl_is_counted_apart(rows: Rows) -> None:
    assert column(rows, "open_trades") == [0, 1, 1, 1]
    assert column(rows, "unpriced_trades") == [0, 0, 1, 1]
    assert column(rows, "trades") == [1, 1, 1, 1]
    assert column(rows, "fees") == [0, 0, 0, 0]
    assert column(rows, "average_holding_hours") == [1, 1, 1, 1]


@traded(
    (0.3, 1.0, {"holding_seconds": None}),
    (0.4, 1.0, {"holding_seconds": 7200.0}),
    (1.4, 1.0, {"holding_seconds": 3600.0}),
    last=1,
)
def test_holding_times_that_are_not_known_do_not_count(rows: Rows) -> None:
    assert column(rows, "average_holding_hours") == [2.0, 1.5]


@traded(
    (3.5, 10.0, {"entry_time": at(0.5)}),
    (2.5, -5.0, {"entry_time": at(1.5)}),
    (2.7, 8.0, {"entry_time": at(2.6)}),
    last=3,
)
def test_trades_that_overlap_count_on_the_days_of_their_exits(rows: Rows) -> None:
    assert column(rows, "date") == [at(day).date() for day in (2, 3)]
    assert column(rows, "day_net_pnl") == [3, 10]
    assert column(rows, "daily_return") == [3 / 10_000, 10 / 10_003]


@traded((0.5, 500.0), (1.5, -12_000.0), (2.5, 4_000.0), last=3)
def test_a_negative_balance_has_no_growth_and_its_next_day_no_return(rows: Rows) -> None:
    assert column(rows, "equity") == [10_500, -1_500, 2_500, 2_500]
    assert column(rows, "daily_return") == [0.05, -12_000 / 10_500, None, 0]
    assert column(rows, "return_days") == [1, 2, 2, 3]
    assert rows[1]["annual_return"] is rows[1]["calmar_ratio"] is None
    assert rows[3]["annual_return"] == pytest.approx(0.25 ** (365 / 3) - 1)
    assert rows[1]["max_drawdown"] == -12_000 / 10_500
    assert rows[3]["drawdown"] == -8_000 / 10_500


@traded((0.5, -9_999.999_999), (1.5, 500.0), (2.5, 1e15), (3.5, -1e14), last=4)
def test_a_return_on_next_to_nothing_is_none(rows: Rows) -> None:
    returns = column(rows, "daily_return")
    assert [value is None for value in returns] == [False, True, True, False, False]
    assert returns[3] == pytest.approx(-0.1)
    assert rows[4]["return_days"] == 3


@traded(*((day + 0.5, 100 * 1.01**day) for day in range(20)), last=19)
def test_equal_returns_have_no_sharpe_ratio(rows: Rows) -> None:
    # They are equal but for their last bits.
    assert len(set(column(rows, "daily_return"))) > 1
    assert set(column(rows, "sharpe_ratio")) == {None}


@traded((1.5, -100.0), (4.5, 100.0), (5.5, -100.0), (9.5, -100.0), (11.5, 500.0), last=12)
def test_of_drawdowns_that_are_equally_deep_the_first_counts(rows: Rows) -> None:
    assert column(rows, "max_drawdown") == [-0.01] * 8 + [-0.02] * 4
    # Three days under water, then a day at the peak; deeper than that only on the ninth day, which
    # is the fifth of its own episode. What is over grows no more.
    assert column(rows, "max_drawdown_days") == [1, 2, 3, 3, 3, 3, 3, 3, 5, 6, 6, 6]


@traded((58.5, 100.0), (59.5, -50.0), last=366)
def test_a_leap_day_is_a_day(rows: Rows) -> None:
    (leap,) = (row for row in rows if f"{row['date']:%m-%d}" == "02-29")
    assert (leap["day_net_pnl"], leap["return_days"]) == (-50, 2)
    assert rows[-1]["return_days"] == len(rows) == 366 - 57


@traded(
    (0.5, -4_000.0, {"record_is_mock": True}),
    (1.2, 900.0, {"record_is_mock": True}),
    (2.7, 900.0, {"record_is_mock": True}),
    (3.5, 100.0),
    decisions=[2.5],
    last=4,
)
def test_with_the_first_real_record_everything_begins_anew(rows: Rows) -> None:
    assert column(rows, "is_mock") == [True, True, False, False, False]
    assert column(rows, "equity") == [6_000, 6_900, 10_000, 10_100, 10_100]
    assert column(rows, "trades") == [1, 2, 0, 1, 1]
    assert column(rows, "return_days") == [1, 2, 0, 1, 2]
    assert column(rows, "max_drawdown") == [-0.4, -0.4, 0, 0, 0]


def test_a_revised_trade_moves_and_the_days_after_it_follow(gold: GoldLake) -> None:
    gold.trade(1.5, 100.0, trade_id="first")
    gold.trade(3.5, -40.0, trade_id="second")
    gold.build(MART, last=6)
    gold.rows.clear()
    gold.trade(3.5, -40.0, trade_id="second")
    gold.trade(5.5, -60.0, trade_id="first", is_revised=True)
    revised = gold.build(MART, last=6, first=1)
    # A pair has no row before the day of its first record, and that is a later one now.
    assert column(revised, "date") == [at(day).date() for day in (3, 4, 5, 6)]
    assert column(revised, "net_pnl") == [-40, -40, -100, -100]
    assert column(revised, "trades") == [1, 1, 2, 2]
    assert column(revised, "day_net_pnl") == [-40, 0, -60, 0]
