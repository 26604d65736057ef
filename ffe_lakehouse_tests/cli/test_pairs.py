"""``ffe pairs`` on a Dagster instance that lasts."""

import json
from pathlib import Path

import pytest

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


def test_pairs_are_told_apart_by_blanks_or_by_commas(ffe: Run) -> None:
    ffe("pairs", "add", "BTCUSD,ETHUSD", "AAPL")
    assert listed(ffe) == ["AAPL", "BTCUSD", "ETHUSD"]
    ffe("pairs", "remove", "BTCUSD,AAPL")
    assert listed(ffe) == ["ETHUSD"]


def test_the_list_has_class_calendar_provider_first_day_and_age(ffe: Run) -> None:
    ffe("pairs", "add", "EURUSD")
    ffe("pairs", "add", "BTCUSD", "--provider", "coinbase", "--start", "2024-01-02")
    header, *rows = ffe("pairs", "list").text.splitlines()
    assert header.split()[:6] == ["pair", "asset", "class", "calendar", "provider", "loaded"]
    assert [row.split()[:-2] for row in rows] == [
        ["BTCUSD", "crypto", "24/7", "coinbase", "2024-01-02"],
        ["EURUSD", "forex", "24/5", "simulated", "(default)", "the", "last", "7", "days"],
    ]
    found = json.loads(ffe("pairs", "list", "--json").text)
    assert [(member["provider"], member["start"]) for member in found] == [
        ("coinbase", "2024-01-02"),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--provider", "coinbse", "unknown provider 'coinbse': use one of"),
        ("--provider", "oanda", "FFE_OANDA_TOKEN"),
        ("--start", "2024-13-01", "write YYYY-MM-DD"),
        ("--start", "2999-01-01", "in the future"),
        ("--start", "2001-01-01", "set FFE_START_DATE=2001-01-01"),
    ],
)
def test_what_cannot_be_loaded_is_not_added(
    ffe: Run, home: Path, option: str, value: str, reason: str
) -> None:
    (home / "list.txt").write_text("BTCUSD\n")
    for command in (("add", "BTCUSD"), ("load", "list.txt", "--index")):
        outcome = ffe("pairs", *command, option, value)
        assert outcome.code == 2
        assert reason in outcome.text
    assert listed(ffe) == []
    assert not (home / "data" / "lake").exists()


def test_a_pair_that_comes_in_files_needs_no_folder_of_its_own(ffe: Run) -> None:
    assert ffe("pairs", "add", "BTCUSD", "--provider", "files").code == 0


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


def test_a_list_is_an_index_if_that_is_asked_for(ffe: Run, home: Path) -> None:
    (home / "SP500-2025.csv").write_text("symbol\nAAPL\nMSFT\n")
    ffe("pairs", "load", "SP500-2025.csv")
    assert "there are none yet" in ffe("pairs", "list", "--index-name", "sp500_2025").text
    outcome = ffe("pairs", "load", "SP500-2025.csv", "--index", "--as-of", "2024-01-02")
    assert outcome.text == (
        "Index sp500_2025 from 2024-01-02 on: 2 members, 2 added, 0 removed\n"
        "0 added, 2 known before\n"
    )
    ffe("pairs", "load", "SP500-2025.csv", "--index-name", "S and P 500", "--as-of", "2024-01-02")
    assert ffe("pairs", "list", "--index-name", "s_and_p_500", "--json").code == 0


def test_the_members_of_an_index_are_those_of_the_day(ffe: Run, home: Path) -> None:
    for day, symbols in (("2024-01-01", "AAPL\nMSFT\n"), ("2024-02-01", "MSFT\nNVDA\n")):
        (home / "tech.txt").write_text(symbols)
        ffe("pairs", "load", "tech.txt", "--index", "--as-of", day)
    ffe("pairs", "remove", "AAPL")

    def members(*arguments: str) -> list[tuple[str, bool]]:
        outcome = ffe("pairs", "list", "--index-name", "tech", "--json", *arguments)
        return [(each["pair"], each["in_universe"]) for each in json.loads(outcome.text)]

    assert members() == [("MSFT", True), ("NVDA", True)]
    assert members("--as-of", "2024-01-31") == [("AAPL", False), ("MSFT", True)]
    text = ffe("pairs", "list", "--index-name", "tech", "--as-of", "2024-01-31").text
    assert text.splitlines()[1].split() == [
        "AAPL",
        "equity",
        "XNYS",
        "not",
        "in",
        "the",
        "universe",
    ]
    outcome = ffe("pairs", "list", "--index-name", "tech", "--as-of", "2023-12-31")
    assert (outcome.code, "known from 2024-01-01 on" in outcome.text) == (2, True)


def test_a_day_without_an_index_is_refused(ffe: Run, home: Path) -> None:
    (home / "list.txt").write_text("BTCUSD\n")
    for command in (("list",), ("load", "list.txt")):
        outcome = ffe("pairs", *command, "--as-of", "2024-01-01")
        assert (outcome.code, "--as-of is for" in outcome.text) == (2, True)
    assert listed(ffe) == []


def test_an_index_that_is_refused_adds_no_pair(ffe: Run, home: Path) -> None:
    (home / "tech.txt").write_text("AAPL\n")
    ffe("pairs", "load", "tech.txt", "--index", "--as-of", "2024-02-01")
    (home / "tech.txt").write_text("MSFT\n")
    outcome = ffe("pairs", "load", "tech.txt", "--index", "--as-of", "2024-01-01")
    assert (outcome.code, "in the order of their days" in outcome.text) == (2, True)
    assert listed(ffe) == ["AAPL"]


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
    assert lake.read("bronze/raw_market_data_1h").num_rows == 72


def test_removing_an_unknown_pair_names_those_there_are(ffe: Run) -> None:
    assert "there are none" in ffe("pairs", "remove", "BTCUSD").text
    ffe("pairs", "add", "ETHUSD")
    outcome = ffe("pairs", "remove", "BTCUSD")
    assert outcome.code == 2
    assert "BTCUSD is not in the universe: there are ETHUSD" in outcome.text
