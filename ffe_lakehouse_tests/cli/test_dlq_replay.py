"""``ffe dlq replay`` and ``ffe dlq discard``, as a user sees them."""

import getpass
import json
from pathlib import Path

import pytest

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse_tests.cli.conftest import Fill, Run

CUT = ("--map", "high=close")
"""What mends a close above the high, if it is the high that is wrong."""


@pytest.fixture
def refused(fill: Fill, ffe: Run) -> None:
    """Letters of two pairs of the universe; two in five of their hours."""
    fill("BTCUSD", "1h", bad_rows=0.4)
    fill("ETHUSD", "15m", bad_rows=0.4)
    assert ffe("pairs", "add", "BTCUSD", "ETHUSD").code == 0


def count(ffe: Run, *options: object) -> dict[str, int]:
    """How many letters are in which state."""
    states: dict[str, int] = json.loads(ffe("dlq", "stats", "--json", *options).text)["by_state"]
    return states


@pytest.mark.usefixtures("refused")
def test_a_replay_writes_bars_and_says_what_became_of_how_many(
    ffe: Run, lake: DeltaLakeManager
) -> None:
    bars = lake.read("bronze/raw_market_data_1h").num_rows
    letters = count(ffe, "--assets", "BTCUSD")["open"]
    options = ("--assets", "BTCUSD", "--reason", "close_out_of_range", *CUT, "--why", "cut highs")
    outcome = ffe("dlq", "replay", *options)
    assert outcome.code == 0
    written = lake.read("bronze/raw_market_data_1h").num_rows - bars
    header, row, *_ = outcome.text.splitlines()
    assert header.split("  ")[0] == "pair"
    pair, taken, became, there, still_open = row.split()
    assert (pair, int(became), int(there)) == ("BTCUSD", written, 0)
    assert int(taken) == written + int(still_open)
    assert written > 0
    assert f"{taken} open letters: {written} became bars" in outcome.text
    assert f"{still_open} open_out_of_range" in outcome.text
    states = count(ffe, "--assets", "BTCUSD")
    assert states == {"open": letters - written, "replayed": written}

    again = ffe("dlq", "replay", *options)
    assert f"{still_open} open letters: 0 became bars" in again.text
    assert count(ffe, "--assets", "BTCUSD") == states


@pytest.mark.usefixtures("refused")
def test_json_tells_the_same_for_scripts(ffe: Run) -> None:
    outcome = ffe("dlq", "replay", *CUT, "--why", "cut highs", "--json")
    btc, eth = json.loads(outcome.text)
    assert (btc["asset_pair"], eth["asset_pair"]) == ("BTCUSD", "ETHUSD")
    for found in (btc, eth):
        assert found["closed"] == found["written"] + found["there"] > 0
        assert found["failed"] is None
        assert sum(found["why_open"].values()) >= found["letters"] - found["closed"] > 0
    assert count(ffe)["replayed"] == btc["closed"] + eth["closed"]


@pytest.mark.usefixtures("refused")
def test_a_mapping_that_names_no_field_of_the_records_says_so(ffe: Run) -> None:
    outcome = ffe("dlq", "replay", "--map", "high=hgih", "--why", "a slip", "--assets", "BTCUSD")
    assert "no field 'hgih'" in outcome.text
    assert "replayed" not in count(ffe)


@pytest.mark.usefixtures("refused")
def test_discarded_letters_are_closed_and_shown_with_all_only(ffe: Run) -> None:
    before = count(ffe)["open"]
    outcome = ffe(
        "dlq", "discard", "--reason", "missing_close", "--why", "no trades", "--by", "ada"
    )
    closed = count(ffe)["discarded"]
    assert f"{closed} open letters: {closed} are discarded, 0 stay open" in outcome.text
    assert count(ffe) == {"open": before - closed, "discarded": closed}
    assert count(ffe, "--open") == {"open": before - closed}

    chosen = ("dlq", "show", "--reason", "missing_close", "--limit", 500)
    assert ffe(*chosen).text == "0 of 0 open letters\n"
    everything = ffe(*chosen, "--all").text
    assert everything.count("by ada: no trades") == closed
    assert everything.endswith(f"{closed} of {closed} dead letters\n")
    told = json.loads(ffe(*chosen, "--all", "--json").text)
    assert {letter["closing"]["action"] for letter in told} == {"discarded"}
    assert {letter["closing"]["closed_by"] for letter in told} == {"ada"}
    (first, *_) = json.loads(ffe("dlq", "show", "--json").text)
    assert "closing" not in first
    assert {
        letter["closing"]
        for letter in json.loads(
            ffe("dlq", "show", "--all", "--json", "--reason", "high_below_low").text
        )
    } == {None}


@pytest.mark.usefixtures("refused")
def test_an_export_leaves_out_what_is_closed_unless_all_are_wanted(ffe: Run, home: Path) -> None:
    ffe("dlq", "discard", "--assets", "ETHUSD", "--why", "so")
    states = count(ffe)
    assert f"{states['open']} open letters in" in ffe("dlq", "export", "--output", "o").text
    everything = ffe("dlq", "export", "--output", "all", "--all").text
    assert f"{sum(states.values())} dead letters in" in everything


@pytest.mark.usefixtures("refused")
def test_who_closes_is_the_user_if_nobody_is_named(ffe: Run, lake: DeltaLakeManager) -> None:
    ffe("dlq", "discard", "--start", "2024-01-02", "--end", "2024-01-02", "--why", "so")
    closings = lake.read("dlq/closings")
    assert set(closings["closed_by"].to_pylist()) == {getpass.getuser()}
    assert {str(day) for day in closings["partition_date"].to_pylist()} == {"2024-01-02"}


def test_letters_of_a_pair_that_is_not_in_the_universe_are_left(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD", "1h", bad_rows=0.4)
    outcome = ffe("dlq", "discard", "--assets", "BTCUSD", "--why", "so")
    assert "not in the universe: `ffe pairs add BTCUSD`" in outcome.text
    assert "discarded" not in count(ffe)


def test_where_there_are_no_letters_nothing_is_done(ffe: Run, home: Path) -> None:
    assert "0 open letters" in ffe("dlq", "replay", "--why", "so").text
    assert json.loads(ffe("dlq", "replay", "--why", "so", "--json").text) == []
    assert not (home / "data" / "dagster").exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["replay", "--why", " "], "say why"),
        (["replay", "--why", "x", "--by", ""], "say by"),
        (["replay", "--why", "x", "--map", "high"], "--map 'high': write COLUMN=FIELD"),
        (["replay", "--why", "x", "--map", "hig=low"], "unknown column 'hig'"),
        (["replay", "--why", "x", "--map", "low=a", "--map", "low=b"], "name one of them"),
        (["replay", "--why", "x", "--reason", "high < low"], "unknown reason 'high < low'"),
        (["discard", "--why", "x"], "say which letters are discarded"),
        (["discard", "--why", "x", "--assets", "a b"], "unknown pair 'a b'"),
        (["discard", "--why", "x", "--start", "2024-01-02", "--end", "2024-01-01"], "swap them"),
    ],
)
def test_a_wrong_command_is_refused(ffe: Run, command: list[str], says: str) -> None:
    outcome = ffe("dlq", *command)
    assert outcome.code == 2
    assert says in outcome.text


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_a_closing_needs_a_why(ffe: Run, command: str) -> None:
    assert ffe("dlq", command, "--assets", "BTCUSD").code == 2
