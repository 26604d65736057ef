"""``ffe pairs`` on a Dagster instance that lasts."""

import json
from pathlib import Path

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse_tests.cli.conftest import Fill, Run


def listed(ffe: Run) -> list[str]:
    return [member["pair"] for member in json.loads(ffe("pairs", "list", "--json").text)]


def test_an_empty_universe_says_how_to_fill_it(ffe: Run) -> None:
    outcome = ffe("pairs", "list")
    assert outcome.code == 0
    assert "`ffe pairs add BTCUSD`" in outcome.text
    assert listed(ffe) == []


def test_pairs_that_are_added_are_still_there_for_the_next_command(ffe: Run) -> None:
    outcome = ffe("pairs", "add", "ETH_USD", "BTC-USD", "aapl")
    assert outcome.text == "3 added, 0 known before: ETHUSD, BTCUSD, AAPL\n"
    assert listed(ffe) == ["AAPL", "BTCUSD", "ETHUSD"]
    assert ffe("pairs", "add", "BTCUSD").text == "0 added, 1 known before\n"


def test_the_list_has_class_calendar_and_age(ffe: Run) -> None:
    ffe("pairs", "add", "EURUSD")
    header, row = ffe("pairs", "list").text.splitlines()
    assert header.split()[:4] == ["pair", "asset", "class", "calendar"]
    assert row.split()[:3] == ["EURUSD", "forex", "24/5"]
    assert len(row.split()) == 5


def test_one_wrong_pair_adds_none(ffe: Run) -> None:
    outcome = ffe("pairs", "add", "BTCUSD", "no pair")
    assert outcome.code == 2
    assert "symbol 2 'no pair'" in outcome.text
    assert listed(ffe) == []


def test_a_symbol_list_is_loaded_from_its_column(ffe: Run, home: Path) -> None:
    (home / "sp500.csv").write_text("symbol,ticker\nx y,AAPL\nz,BRK.B\n")
    assert ffe("pairs", "load", "sp500.csv", "--column", "ticker").code == 0
    assert listed(ffe) == ["AAPL", "BRK.B"]


def test_the_column_of_a_csv_file_is_symbol_if_none_is_named(ffe: Run, home: Path) -> None:
    (home / "list.CSV").write_text("name,symbol\nApple,AAPL\n")
    ffe("pairs", "load", "list.CSV")
    assert listed(ffe) == ["AAPL"]


def test_any_other_file_has_one_symbol_a_line(ffe: Run, home: Path) -> None:
    (home / "pairs.txt").write_text("# mine\nBTCUSD\n")
    ffe("pairs", "load", "pairs.txt")
    assert listed(ffe) == ["BTCUSD"]


def test_one_wrong_line_loads_none(ffe: Run, home: Path) -> None:
    (home / "list.csv").write_text("symbol\nAAPL\nGOO GLE\n")
    outcome = ffe("pairs", "load", "list.csv")
    assert outcome.code == 2
    assert "line 3 'GOO GLE'" in outcome.text
    assert listed(ffe) == []


def test_a_list_that_is_not_there_is_named(ffe: Run) -> None:
    outcome = ffe("pairs", "load", "nowhere.csv")
    assert outcome.code == 2
    assert "nowhere.csv: No such file" in outcome.text


def test_a_removed_pair_keeps_its_rows(ffe: Run, fill: Fill, lake: DeltaLakeManager) -> None:
    fill("BTCUSD")
    ffe("pairs", "add", "BTCUSD", "ETHUSD")
    outcome = ffe("pairs", "remove", "btc-usd")
    assert "stays in the lake" in outcome.text
    assert listed(ffe) == ["ETHUSD"]
    assert lake.read_table("bronze/raw_market_data_1h").num_rows == 72


def test_removing_an_unknown_pair_names_those_there_are(ffe: Run) -> None:
    assert "there are none" in ffe("pairs", "remove", "BTCUSD").text
    ffe("pairs", "add", "ETHUSD")
    outcome = ffe("pairs", "remove", "BTCUSD")
    assert outcome.code == 2
    assert "BTCUSD is not in the universe: there are ETHUSD" in outcome.text
