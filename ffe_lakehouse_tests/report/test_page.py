"""The page: what stands on it, that it needs nothing else, and that data stays data."""

from datetime import UTC, datetime

import pytest

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.report.excerpts import PERFORMANCE, PROVIDERS, REGIMES
from ffe_lakehouse.report.page import render
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse_tests.gold_lake import GoldLake
from ffe_lakehouse_tests.report.conftest import DAYS, HOSTILE, compute, day, excerpts
from ffe_lakehouse_tests.report.reading import Page

NOW = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)
SECTIONS = ("portfolio", "performance", "regimes", "providers", "ensembles")
BARS = "In the period, bars of 1h"
PERIOD, TO_DATE = "In the period", "To date: since the pair's first day"


def page(lake: DeltaLakeManager, first: int, last: int, *pairs: str) -> Page:
    return Page(render(excerpts(lake, first, last, *pairs), NOW))


@pytest.fixture(scope="module")
def whole(desk: DeltaLakeManager) -> Page:
    return page(desk, 10, DAYS - 1)


def column(table: list[list[str]], name: str) -> dict[str, str]:
    """By the first cell of the row."""
    header, *rows = table
    return {row[0]: row[header.index(name)] for row in rows}


def test_it_loads_nothing_from_anywhere(whole: Page) -> None:
    assert whole.loaded == []
    assert all(link.startswith("#") for link in whole.links)
    assert "@import" not in whole.html
    assert whole.policy.startswith("default-src 'none'; script-src 'sha256-")


def test_plotly_is_in_it_once(whole: Page) -> None:
    data, *scripts = whole.scripts
    assert len(scripts) == 2
    assert whole.html.count("* plotly.js v") == 1
    assert len(data) < 1_000_000


def test_every_section_has_its_tables_and_plots(whole: Page) -> None:
    for section in SECTIONS:
        assert section in whole.ids
    assert len(whole.tables["regimes", BARS]) > 1
    for section in ("performance", "providers", "ensembles"):
        assert len(whole.tables[section, PERIOD]) > 1
    for section in ("performance", "regimes", "providers", "ensembles"):
        assert len(whole.tables[section, TO_DATE]) > 1
    assert len(whole.tables["portfolio", "In USD"]) == 1 + DAYS - 10
    assert set(whole.figures) <= set(whole.ids)
    assert len(whole.figures) > 20


def test_every_header_leads_to_what_it_means(whole: Page) -> None:
    assert len(whole.links) > 60
    assert {link.removeprefix("#") for link in whole.links} <= set(whole.ids)
    assert len(whole.ids) == len(set(whole.ids))


def test_every_column_of_the_marts_is_explained(whole: Page) -> None:
    for name, mart in marts().items():
        for each in mart.columns[:-3]:
            assert f"{name}.{each.name}" in whole.ids
    assert "Winning trades / trades, 0 to 1; null without trades." in whole.texts["how-to-read"]


def test_the_figures_are_those_of_the_mart(desk: DeltaLakeManager, whole: Page) -> None:
    rows = excerpts(desk, 10, DAYS - 1, "BTCUSD").of[PERFORMANCE].rows
    period, to_date = (whole.tables["performance", name] for name in (PERIOD, TO_DATE))
    expected = f"{rows['day_net_pnl'].sum():,.2f}".replace("-", "\u2212")
    assert column(period, "Net P&L")["BTCUSD"] == expected
    assert column(period, "Trades")["BTCUSD"] == f"{rows['day_trades'].sum():,}"
    sharpe = f"{rows['sharpe_ratio'].iloc[-1]:.2f}".replace("-", "\u2212")
    assert column(to_date, "Sharpe")["BTCUSD"] == sharpe


def test_currencies_are_never_added_up(whole: Page) -> None:
    rows = whole.tables["performance", PERIOD]
    assert column(rows, "Currency") == {
        "BTCUSD": "USD",
        "XRPUSD": "USD",
        "All USD pairs": "USD",
        "EURGBP": "GBP",
        "SOLUSD simulated": "USD",
    }
    net = {
        name: float(value.replace(",", "").replace("\u2212", "-"))
        for name, value in column(rows, "Net P&L").items()
    }
    # Simulated P&L is not in the sum of the real one, though its currency is the same.
    assert net["All USD pairs"] == pytest.approx(net["BTCUSD"] + net["XRPUSD"], abs=0.011)
    assert "Net P&L, GBP" in whole.texts["performance"]


def test_what_is_simulated_is_said_where_it_is_seen(desk: DeltaLakeManager, whole: Page) -> None:
    assert "Partly simulated data" in whole.texts["header"]
    assert "simulated: SOLUSD." in whole.texts["header"]
    assert f"XRPUSD since {day(20)}" in whole.texts["header"]
    assert "Bars are simulated: XRPUSD." in whole.texts["header"]
    real = page(desk, 10, DAYS - 1, "BTCUSD")
    for section in ("header", *SECTIONS):
        assert "imulated" not in real.texts[section]


def test_a_page_of_simulated_pairs_alone_says_so(gold: GoldLake) -> None:
    gold.trade(0, 10.0, record_is_mock=True, is_mock=True)
    compute(gold, last=1)
    simulated = page(gold.lake, 0, 1)
    assert "Simulated data" in simulated.texts["header"]
    assert "The portfolio is simulated." in simulated.texts["header"]


def test_a_pair_with_nothing_but_bars_is_not_called_simulated(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1, is_mock=False)
    compute(gold, last=1)
    bars = page(gold.lake, 0, 1)
    assert "imulated" not in bars.texts["header"]
    assert column(bars.tables["regimes", BARS], "Time share") == {"trend": "100.0%"}
    # No trade, no curve; and no decision, so those sections say what is missing.
    assert "no curve to show" in bars.texts["performance"]
    assert "there is time, but no P&L" in bars.texts["regimes"]
    for section in ("providers", "ensembles"):
        assert "ffe land FOLDER" in bars.texts[section]
    assert len(bars.figures) == 1


def test_every_regime_and_direction_has_a_bar_of_its_own(gold: GoldLake) -> None:
    states = [("trend", 1), ("trend", None), (None, 1), (None, -1), (None, None)]
    for hour, (regime, direction) in enumerate(states):
        gold.bar(hour / 24, regime, direction)
    compute(gold, PERFORMANCE, REGIMES, last=0)
    (figure,) = page(gold.lake, 0, 0).figures.values()
    labels = ["trend up", "trend", "unknown up", "unknown down", "unknown"]
    assert figure["data"][0]["y"] == labels


def test_a_mart_that_is_not_there_is_named_with_what_computes_it(gold: GoldLake) -> None:
    gold.trade(0, 10.0)
    compute(gold, PERFORMANCE, last=3)
    partly = page(gold.lake, 1, 3)
    for section, mart in zip(SECTIONS, (*marts(),), strict=False):
        if section != "performance":
            assert "has not been computed yet" in partly.texts[section], mart
    command = f"ffe backfill --assets BTCUSD --start {day(1)} --end {day(3)} --layers gold"
    assert command in partly.texts["providers"]
    assert "has not been computed" not in partly.texts["performance"]


def test_a_period_without_rows_is_a_page_that_says_so(desk: DeltaLakeManager) -> None:
    empty = page(desk, DAYS + 10, DAYS + 20)
    for section in SECTIONS:
        assert "has no rows of this period" in empty.texts[section]
    assert empty.figures == {}
    assert empty.tables == {}


def test_days_that_are_not_computed_are_counted(gold: GoldLake) -> None:
    gold.trade(0, 10.0)
    compute(gold, PERFORMANCE, last=1)
    compute(gold, PERFORMANCE, last=5, first=4)
    assert "lacks 2 day(s) of BTCUSD" in page(gold.lake, 0, 5).texts["header"]
    assert "lacks" not in page(gold.lake, 0, 1).texts["header"]


def test_counts_that_are_not_known_are_a_dash_with_its_reason(gold: GoldLake) -> None:
    for number in range(4):
        gold.trade(number, 10.0)
    compute(gold, PERFORMANCE, last=3, first=2)
    partly = page(gold.lake, 2, 3)
    rows = partly.tables["performance", PERIOD]
    assert column(rows, "Trades") == {"BTCUSD": "2"}
    assert column(rows, "Win rate") == {"BTCUSD": "\u2014"}
    assert f"has no row of {day(1)}" in partly.texts["performance"]


def test_a_name_in_the_data_is_nothing_but_a_text(desk: DeltaLakeManager, whole: Page) -> None:
    assert HOSTILE in excerpts(desk, 10, DAYS - 1).of[PROVIDERS].rows["provider"].unique()
    assert HOSTILE in column(whole.tables["providers", PERIOD], "Calls")
    assert "<script>alert" not in whole.html
    assert whole.elements.count("script") == 3
    assert "<" not in whole.scripts[0]
    # Plotly reads a little HTML in names: it gets none.
    names = [
        trace["name"]
        for figure in whole.figures.values()
        for trace in figure["data"]
        if "alert" in trace.get("name", "")
    ]
    assert names
    assert all("<" not in name for name in names)


def test_the_same_marts_give_the_same_page(desk: DeltaLakeManager, whole: Page) -> None:
    assert page(desk, 10, DAYS - 1).html == whole.html


def test_a_day_alone_is_a_period(desk: DeltaLakeManager) -> None:
    one = page(desk, 30, 30, "BTCUSD")
    assert f"{day(30)} to {day(30)}, 1 day (UTC)" in one.texts["header"]
    assert len(one.tables["portfolio", "In USD"]) == 2
