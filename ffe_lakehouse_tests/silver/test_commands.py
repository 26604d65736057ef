"""From files to Silver by the commands that a user types, on the engine's real records."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from ffe_lakehouse.cli.app import app
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.schemas.records import RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS, record_letters
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED, MULTI_TIMEFRAME_ANALYSIS
from ffe_lakehouse.schemas.silver_records import DECISION_HISTORY, TRADE_LIFECYCLE
from ffe_lakehouse.settings import get_settings

Ffe = Callable[..., Result]


@pytest.fixture
def ffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ffe]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FFE_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "data" / "dagster"))
    monkeypatch.setenv("FFE_START_DATE", "2025-01-01")
    get_settings.cache_clear()

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(app, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield run
    get_settings.cache_clear()


def rows(name: str) -> pa.Table:
    return DeltaLakeManager(get_settings().lake_uri).read(name)


@pytest.mark.slow
def test_every_real_record_ends_in_silver_or_in_the_dead_letters(
    ffe: Ffe, shared_data: Path
) -> None:
    pairs = "BTCUSD,ETHUSD,EURUSD,GBPUSD"
    # A simulated market around some of the decisions: the engine's own was one, too.
    days = ("--start", "2025-12-17", "--end", "2025-12-21")
    assert ffe("backfill", "--assets", "BTCUSD", *days).exit_code == 0
    assert ffe("land", str(shared_data / "records")).exit_code == 0
    years = ("--assets", pairs, "--start", "2025-01-01", "--end", "2026-04-30")
    derived = ffe("backfill", *years, "--layers", "silver")
    assert derived.exit_code == 0, derived.output

    decisions, letters = rows(DECISION_HISTORY.name), rows(record_letters(RAW_AI_DECISIONS).name)
    files = list((shared_data / "records" / "decisions").iterdir())
    assert decisions.num_rows + letters.num_rows == len(files) == 20
    assert rows(RAW_AI_DECISIONS.name).num_rows == decisions.num_rows == 14
    of_day = [row for row in decisions.to_pylist() if row["timestamp"].date().day in (19, 21)]
    assert len(of_day) == 4
    for row in of_day:
        assert row["bar_closed_at"] <= row["timestamp"]
        assert (row["timestamp"] - row["bar_closed_at"]).total_seconds() < 60
        assert row["confluence_score"] is not None

    trades, versions = rows(TRADE_LIFECYCLE.name), rows(RAW_TRADE_EXECUTIONS.name)
    assert (trades.num_rows, versions.num_rows) == (15, 16)
    (revised,) = [row for row in trades.to_pylist() if row["trade_id"].startswith("98bc28df")]
    assert (revised["revision"], revised["exit_price"], revised["status"]) == (
        1,
        1.349805,
        "closed",
    )
    assert trades["pnl_agrees"].to_pylist() == [True] * 15

    checked = ffe("check", *years, "--json")
    assert checked.exit_code == 0, checked.output
    found = json.loads(checked.stdout)
    silver = {each["asset"] for each in found if each["asset"].startswith("silver/")}
    assert {DECISION_HISTORY.name, TRADE_LIFECYCLE.name, MARKET_DATA_ENRICHED.name} <= silver
    assert not [each for each in found if not each["passed"]]

    again = ffe("backfill", *years, "--layers", "silver")
    assert "0 partition(s) to derive in 0 run(s)" in again.output


def test_bars_that_are_missing_in_silver_are_told_by_the_checks(ffe: Ffe) -> None:
    days = ("--assets", "BTCUSD", "--start", "2025-12-20", "--end", "2025-12-21")
    ffe("backfill", *days, "--timeframes", "5m,1h", "--layers", "bronze,silver")
    assert ffe("check", *days, "--timeframes", "5m,1h").exit_code == 0
    lake = DeltaLakeManager(get_settings().lake_uri)
    for table in (MARKET_DATA_ENRICHED, MULTI_TIMEFRAME_ANALYSIS):
        lake.table(table.name).delete("timestamp = '2025-12-20T10:00:00Z' AND timeframe = '5m'")
    checked = ffe("check", *days, "--timeframes", "5m,1h", "--json")
    assert checked.exit_code == 1
    broken = {
        (each["asset"], each["check"], each["partition"]): each["sample"]
        for each in json.loads(checked.stdout)
        if not each["passed"]
    }
    assert broken == {
        (MARKET_DATA_ENRICHED.name, "nothing_lost", "BTCUSD|2025-12-20"): "- 5m 1 missing",
    }


def test_silver_that_is_behind_is_told_and_caught_up_with(ffe: Ffe) -> None:
    days = ("--assets", "BTCUSD", "--start", "2025-12-20", "--end", "2025-12-21")
    hours = (*days, "--timeframes", "1h")
    ffe("backfill", *hours, "--layers", "bronze,silver")
    ffe("backfill", *days, "--timeframes", "1h,1d")
    checked = json.loads(ffe("check", *hours, "--json").stdout)
    behind = {(each["asset"], each["check"]) for each in checked if not each["passed"]}
    assert ("silver/market_data_unified", "up_to_date") in behind
    assert ffe("backfill", *days, "--layers", "silver").exit_code == 0
    assert ffe("check", *hours).exit_code == 0
    assert all(each["passed"] for each in json.loads(ffe("check", *hours, "--json").stdout))


def test_a_pair_that_nobody_knows_is_named(ffe: Ffe) -> None:
    with pytest.raises(Exception, match="unknown pair BTCUSD: the universe has none yet"):
        ffe("backfill", "--assets", "BTCUSD", "--days", "1", "--layers", "silver")


def test_rows_of_some_timeframes_can_be_read(ffe: Ffe) -> None:
    days = ("--assets", "BTCUSD", "--start", "2025-12-20", "--end", "2025-12-20")
    ffe("backfill", *days, "--timeframes", "1h,4h", "--layers", "bronze,silver")
    for codes, count in (("1h", 24), ("4h", 6), ("1h,4h", 30)):
        read = ffe("read", "silver/market_data_enriched", "--timeframes", codes)
        assert f"{count} rows of silver/market_data_enriched" in read.output
    with pytest.raises(Exception, match="has no timeframes to choose from"):
        ffe("read", "bronze/raw_market_data_1h", "--timeframes", "1h")


@pytest.mark.parametrize(
    "range_of_days",
    [("2026-04-01", "2026-04-01"), ("2026-02-01", "2026-04-30")],
    ids=["its new day alone", "both days"],
)
def test_a_trade_that_ends_again_has_one_row_whichever_days_are_derived(
    ffe: Ffe, shared_data: Path, tmp_path: Path, range_of_days: tuple[str, str]
) -> None:
    landing = tmp_path / "landing" / "trade_outcomes"
    landing.mkdir(parents=True)
    for day, (first, last) in {
        "2026-02-27": ("2026-02-27", "2026-02-27"),
        "2026-04-01": range_of_days,
    }.items():
        file = shared_data / "records" / "trade_outcomes" / f"{day}.jsonl"
        (landing / file.name).write_bytes(file.read_bytes())
        assert ffe("land", str(landing.parent)).exit_code == 0
        days = ("--assets", "GBPUSD", "--start", first, "--end", last)
        derived = ffe("backfill", *days, "--layers", "silver")
        assert derived.exit_code == 0, derived.output
        (trade,) = rows(TRADE_LIFECYCLE.name).to_pylist()
        assert str(trade["exit_time"].date()) == day
    again = ffe("backfill", *days, "--layers", "silver")
    assert "0 partition(s) to derive in 0 run(s)" in again.output
