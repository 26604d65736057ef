"""``ffe doctor``, and what scripts read of the watermarks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ffe_lakehouse.cli import backfill, doctor, land, status
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.partitions import ASSET_PAIR
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def ffe(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The commands of this module; the clock can be moved."""
    monkeypatch.setenv("FFE_START_DATE", "2024-01-01")
    monkeypatch.setenv("FFE_CLOCK_FILE", str(home / "clock"))
    get_settings.cache_clear()
    at(home, "2024-03-04T10:30:00Z")
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(backfill.backfill)
    app.command()(doctor.doctor)
    app.command()(land.land)
    app.command("watermarks")(status.show_watermarks)

    def run(*arguments: str) -> Outcome:
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, InputError):
            return Outcome(2, f"ffe: {result.exception}")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout)

    return run


def at(home: Path, moment: str) -> None:
    (home / "clock").write_text(moment)


LOAD = ("backfill", "--assets", "BTCUSD,EURUSD", "--timeframes", "1h,1d", "--days", "4")


def test_an_empty_installation_is_well(ffe: Run) -> None:
    said = ffe("doctor", "--json")
    assert said.code == 0
    found = {each["about"]: each for each in json.loads(said.text)}
    assert {each["status"] for each in found.values()} <= {"ok", "note"}
    assert found["provider"]["text"] == "simulated is ready"
    assert found["daemon"]["text"].startswith("never ran here: `ffe dev` starts it")


def test_a_lost_home_is_noticed_rebuilt_and_then_as_before(ffe: Run, home: Path) -> None:
    assert ffe(*LOAD).code == 0
    before = ffe("watermarks", "--details", "--json").text
    shutil.rmtree(home / "data" / "dagster")
    sick = ffe("doctor")
    assert sick.code == 1
    assert "`ffe doctor --rebuild-status`" in " ".join(sick.text.split())
    rebuilt = ffe("doctor", "--rebuild-status")
    assert rebuilt.code == 0
    assert "1h: 8 day(s) of bars and 8 of dead letters reported, 0 known" in rebuilt.text
    assert "In the universe again: BTCUSD, EURUSD" in rebuilt.text
    assert ffe("watermarks", "--details", "--json").text == before
    assert ffe("doctor").code == 0
    again = ffe("doctor", "--rebuild-status")
    assert again.text.splitlines()[-1].startswith("Dagster knew all that the lake holds")


def test_what_was_rebuilt_is_for_scripts_too(ffe: Run, home: Path) -> None:
    ffe(*LOAD)
    shutil.rmtree(home / "data" / "dagster")
    rebuilt = json.loads(ffe("doctor", "--rebuild-status", "--json").text)
    assert rebuilt["pairs"] == ["BTCUSD", "EURUSD"]
    counts = {each["timeframe"]: each["bars"] for each in rebuilt["timeframes"]}
    assert counts == {"1m": 0, "5m": 0, "15m": 0, "1h": 8, "4h": 0, "1d": 8}


def test_credentials_are_named_and_never_shown(ffe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFE_OANDA_TOKEN", "sesame")
    get_settings.cache_clear()
    text = ffe("doctor").text
    assert "set: FFE_OANDA_TOKEN" in text
    assert "sesame" not in text


@pytest.mark.parametrize(
    ("setting", "value", "about"),
    [("FFE_DEFAULT_PROVIDER", "oanda", "FFE_OANDA_TOKEN"), ("FFE_DEFAULT_PROVIDER", "x", "'x'")],
)
def test_a_provider_that_cannot_be_asked_is_wrong(
    ffe: Run, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, about: str
) -> None:
    monkeypatch.setenv(setting, value)
    get_settings.cache_clear()
    said = ffe("doctor", "--json")
    (wrong,) = [each for each in json.loads(said.text) if each["status"] == "wrong"]
    assert said.code == 1
    assert about in wrong["text"]


def test_a_partition_that_is_no_pair_and_a_torn_table_are_wrong(ffe: Run, home: Path) -> None:
    ffe(*LOAD)
    with open_instance(get_settings()) as instance:
        instance.add_dynamic_partitions(ASSET_PAIR, ["no pair"])
    log = home / "data" / "lake" / "bronze" / "raw_market_data_1h" / "_delta_log"
    next(log.glob("*1.json")).write_text("{torn")
    wrong = [
        each["text"]
        for each in json.loads(ffe("doctor", "--json").text)
        if each["status"] == "wrong"
    ]
    assert len(wrong) == 3
    assert "the commit of version 1 is torn" in wrong[0]
    assert wrong[1].startswith("a table cannot be read")
    assert wrong[2] == "the partition 'no pair' is no pair: `ffe pairs remove no pair`"


def test_watermarks_for_scripts_have_the_form_of_the_engine(ffe: Run) -> None:
    ffe("backfill", "--assets", "BTCUSD", "--timeframes", "1h,1d", "--start", "2024-03-01",
        "--end", "2024-03-03")  # fmt: skip
    said = ffe("watermarks", "--json")
    assert said.text == (
        '{\n    "BTCUSD_1h": "2024-03-03T23:00:00",\n    "BTCUSD_1d": "2024-03-03T00:00:00"\n}\n'
    )
    refused = ffe("watermarks", "--details")
    assert refused.code == 2
    assert "--json" in refused.text


def test_a_second_run_fetches_only_what_is_new(ffe: Run, home: Path) -> None:
    command = ("backfill", "--assets", "BTCUSD", "--timeframes", "1h", "--start", "2024-01-01")
    at(home, "2024-03-15T00:20:00Z")
    (first,) = json.loads(ffe(*command, "--end", "2024-03-14", "--json").text)
    assert first["rows"]["fetched"] == 74 * 24
    assert json.loads(ffe("watermarks", "--json").text) == {"BTCUSD_1h": "2024-03-14T23:00:00"}
    at(home, "2024-03-16T00:20:00Z")
    (second,) = json.loads(ffe(*command, "--end", "2024-03-15", "--json").text)
    assert second["days"] == {"due": 1, "loaded": 1, "skipped": 74}
    assert second["rows"] == {
        "fetched": 24, "written": 24, "unchanged": 0, "duplicate": 0, "rejected": 0,
    }  # fmt: skip
    assert json.loads(ffe("watermarks", "--json").text) == {"BTCUSD_1h": "2024-03-15T23:00:00"}
