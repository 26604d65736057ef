"""``ffe land``, and the letters that it leaves."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import typer
from typer.testing import CliRunner

from ffe_lakehouse.cli import dlq, land
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.cli.conftest import Fill, Outcome, Run
from ffe_lakehouse_tests.records.desk import Desk, decision, snapshot, trade


@pytest.fixture
def desk(home: Path) -> Desk:
    """The landing folder and the lake of this installation."""
    return Desk(home / "data")


@pytest.fixture
def ffe() -> Iterator[Run]:
    """The commands under test."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(land.land)
    app.add_typer(dlq.app)

    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(result.exception, InputError):
            return Outcome(2, f"ffe: {result.exception}")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.output)

    return run


def test_the_landing_folder_is_loaded_as_a_run(desk: Desk, ffe: Run) -> None:
    desk.put("decisions/a.json", [decision(), decision(id="2", action="?")])
    desk.put("trade_outcomes/a.jsonl", [trade(), trade()])
    outcome = ffe("land")
    assert outcome.code == 0  # what is refused is not lost, and no failure
    lines = [line.split() for line in outcome.text.splitlines()]
    assert ["raw_ai_decisions", "1", "2", "1", "0", "0", "1"] in lines
    assert ["raw_trade_executions", "1", "2", "1", "0", "1", "0"] in lines
    assert "1 rejected (1 unknown_action), 1 of them new" in outcome.text
    with open_instance(get_settings()) as instance:
        (run,) = instance.get_runs()
        assert run.job_name == "records"
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert run.tags["ffe/process"]


def test_to_land_again_says_that_all_is_known(desk: Desk, ffe: Run) -> None:
    desk.put("pnl_snapshots/a.json", snapshot())
    ffe("land")
    told = json.loads(ffe("land", "--json").text)
    assert told == {
        "tables": [
            {
                "table": "raw_portfolio_snapshots",
                "files": 1,
                "records": 1,
                "written": 0,
                "unchanged": 1,
                "duplicate": 0,
                "rejected": 0,
                "unrelated": 0,
                "new_letters": 0,
                "reasons": {},
            }
        ],
        "failure": None,
    }


def test_another_folder_is_loaded_by_its_name(desk: Desk, ffe: Run, home: Path) -> None:
    desk.put("decisions/a.json", decision())
    desk.landing.rename(home / "inbox")
    assert ffe("land", "inbox").code == 0
    assert len(desk.rows("bronze/raw_ai_decisions")) == 1


def test_articles_that_nobody_asked_for_are_told(desk: Desk, ffe: Run) -> None:
    desk.put("news/a.json", {"feed": [{"title": "t", "ticker_sentiment": []}]})
    assert "1 articles beside mention no pair" in ffe("land").text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere is no folder: name the one that holds decisions/"),
        ([], "has no files of records: they lie in decisions/"),
    ],
)
def test_a_folder_without_records_is_refused(
    ffe: Run, home: Path, arguments: list[str], said: str
) -> None:
    outcome = ffe("land", *arguments)
    assert outcome.code == 2
    assert said in outcome.text


def test_a_run_that_fails_says_why(desk: Desk, ffe: Run) -> None:
    desk.put("decisions/a.json", decision())
    (desk.folder / "lake").mkdir()
    (desk.folder / "lake" / "dlq").write_text("a file where the folder should be")
    outcome = ffe("land")
    assert outcome.code == 1
    assert "failed: " in outcome.text
    assert json.loads(ffe("land", "--json").text)["failure"]


# --- dead letters


@pytest.fixture
def letters(desk: Desk) -> Desk:
    """Two letters of decisions, one of them without a pair, and one of a trade."""
    desk.put("decisions/a.json", [decision(action="?"), decision(asset_pair="BIP20DEC30CDE")])
    desk.put("trade_outcomes/a.json", trade(side="?", entry_price=0))
    desk.load()
    return desk


def test_letters_of_records_are_counted_beside_those_of_candles(
    letters: Desk, fill: Fill, ffe: Run, lake: DeltaLakeManager
) -> None:
    fill("BTCUSD", bad_rows=0.2)
    told = json.loads(ffe("dlq", "stats", "--json").text)
    candles = lake.read("dlq/raw_market_data_1h").num_rows
    assert candles > 0
    assert told["total"] == candles + 3
    assert told["by_state"] == {"open": candles + 3}
    assert told["by_table"] == {
        "raw_market_data_1h": candles,
        "raw_ai_decisions": 2,
        "raw_trade_executions": 1,
    }
    assert told["by_timeframe"] == {"1h": candles}
    assert told["by_pair"] == {"BTCUSD": candles + 1, "EURUSD": 1, "unknown": 1}
    assert told["by_reason"]["unknown_product"] == 1
    text = ffe("dlq", "stats").text
    assert "raw_trade_executions" in text


def test_a_letter_of_a_record_shows_where_it_comes_from_and_what_is_wrong(
    letters: Desk, ffe: Run
) -> None:
    text = ffe("dlq", "show").text
    assert "EURUSD raw_trade_executions  engine  unknown_side, price_not_positive" in text
    assert "    trade_outcomes/a.json: side is '?', not one of LONG, SHORT; not so: entry" in text
    assert "unknown pair raw_ai_decisions" in text
    assert text.endswith("3 of 3 open letters\n")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--table", "raw_ai_decisions"], 2),
        (["--table", "raw_ai_decisions,dlq/raw_trade_executions"], 3),
        (["--table", "raw_market_data_1h"], 0),
        (["--assets", "BTC-USD"], 1),
        (["--timeframes", "1h"], 0),
        (["--reason", "unknown_side,high_below_low"], 1),
        (["--start", "2026-02-14"], 1),
        (["--end", "2025-12-02"], 2),
    ],
)
def test_letters_of_records_can_be_chosen(
    letters: Desk, ffe: Run, arguments: list[str], found: int
) -> None:
    assert f" {found} open letters" in ffe("dlq", "show", *arguments).text
    assert len(json.loads(ffe("dlq", "show", "--json", *arguments).text)) == found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--table", "raw_decisions"], "no dead letters of 'raw_decisions': use raw_market_data"),
        (["--reason", "bad_luck"], "unknown reason 'bad_luck': use one of"),
    ],
)
def test_a_wrong_choice_names_the_right_ones(ffe: Run, arguments: list[str], said: str) -> None:
    outcome = ffe("dlq", "show", *arguments)
    assert outcome.code == 2
    assert said in outcome.text


def test_letters_of_records_are_exported_with_their_reasons(
    letters: Desk, ffe: Run, home: Path
) -> None:
    assert ffe("dlq", "export", "--output", "out").text.startswith("3 open letters in 2 files")
    records = [
        record
        for path in (home / "out").iterdir()
        for record in json.loads(path.read_text())["records"]
    ]
    assert sorted(record["reason"] for record in records) == [
        *("unknown_action", "unknown_product", "unknown_side, price_not_positive"),
    ]
