"""The marts by the commands that a user types."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ffe_lakehouse.cli import main
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse.watermarks import failed_partitions
from ffe_lakehouse_tests.gold_house import (
    OF_PAIRS,
    PERFORMANCE,
    REGIMES,
    SUMMARY,
    GoldHouse,
    open_house,
)

DAYS = ("--start", "2024-01-01", "--end", "2024-01-04")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit code, and all that it wrote."""

    code: int
    text: str

    def counts(self) -> dict[str, tuple[int, int]]:
        """Days and rows of each mart, by its table."""
        lines = [line.split() for line in self.text.splitlines() if line.startswith("gold/")]
        return {line[0]: (int(line[1]), int(line[2])) for line in lines if len(line) == 3}


Ffe = Callable[..., Outcome]


@pytest.fixture
def house(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GoldHouse]:
    with open_house(tmp_path, tmp_path_factory.getbasetemp(), monkeypatch) as house:
        yield house


@pytest.fixture
def ffe(
    house: GoldHouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ffe:
    """Runs a command in this process, as the script ``ffe`` does."""

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["ffe", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else 0, "".join(capsys.readouterr()))

    return run


def test_marts_are_computed_checked_and_read(house: GoldHouse, ffe: Ffe) -> None:
    house.trade(0)
    house.bar(1, 0.01)
    gold = ("backfill", "--assets", "BTCUSD", *DAYS, "--layers", "gold")
    first = ffe(*gold)
    assert first.code == 0, first.text
    assert (
        "1 pair(s), 2024-01-01 to 2024-01-04, and what hangs on them: 16 partition(s)" in first.text
    )
    assert "to derive in 1 run(s)" in first.text
    counts = first.counts()
    assert {*counts} == {mart.name for mart in marts().values()}
    assert counts[PERFORMANCE.name] == counts[SUMMARY.name] == (4, 4)
    assert counts[REGIMES.name][0] == 4

    again = ffe(*gold)
    assert again.code == 0
    assert "0 partition(s) to derive in 0 run(s)" in again.text
    assert again.counts() == {}

    house.lake.table(PERFORMANCE.name).update(
        {"drawdown": "1.0"}, predicate="date = DATE '2024-01-03'"
    )
    checked = ffe("check", *DAYS)
    assert checked.code == 1
    assert (
        "ERROR no_drawdown_is_deeper_than_the_deepest gold/mart_trading_performance: 1"
        in checked.text
    )
    lines = map(str.rstrip, checked.text.splitlines())
    overview = [line for line in lines if line.startswith("gold/")]
    assert {line.split()[0] for line in overview} == {mart.name for mart in marts().values()}
    marked = [line.split()[-3:] for line in overview if line.split()[-1] != "-"]
    assert marked == [["no_drawdown_is_deeper_than_the_deepest", "(ERROR,", "1)"]]

    # What has come since makes the marts stale, and is no fault of theirs.
    house.trade(0)
    house.lake.table(PERFORMANCE.name).update({"drawdown": "0.0"})
    assert ffe("check", *DAYS).code == 0

    read = ffe("read", "mart_trading_performance", "--columns", "date,trades", "--assets", "BTCUSD")
    assert [line.split() for line in read.text.splitlines()[1:5]] == [
        [f"2024-01-0{number}", "1"] for number in (1, 2, 3, 4)
    ]
    assert "4 rows of gold/mart_trading_performance" in read.text
    part = ffe("read", SUMMARY.name, "--start", "2024-01-02", "--end", "2024-01-03")
    assert "2 rows of gold/mart_daily_portfolio_summary" in part.text
    assert ffe("read", SUMMARY.name, "--assets", "BTCUSD").code == 2
    listed = json.loads(ffe("tables", "--json").text)
    (told,) = [each for each in listed if each["table"] == PERFORMANCE.name]
    assert (told["rows"], told["oldest"], told["newest"]) == (4, "2024-01-01", "2024-01-04")
    (run,) = [
        run for run in house.instance.get_runs() if run.job_name == "marts" and run.asset_selection
    ]
    commits = json.loads(ffe("history", REGIMES.name, "--json").text)
    assert (commits[0]["run_id"], commits[0]["rows"]) == (run.run_id, counts[REGIMES.name][1])
    assert commits[0]["partitions"] == "BTCUSD|2024-01-01...2024-01-04"


def test_what_fails_is_told_and_the_rest_is_computed(house: GoldHouse, ffe: Ffe) -> None:
    house.trade(0, 3.0, gross_pnl=10.0, fees=1.0)
    house.trade(0, 1.0, "ETHUSD")
    house.bar(0, 1e20, "ETHUSD")
    outcome = ffe("backfill", "--assets", "BTCUSD,ETHUSD", *DAYS, "--layers", "gold")
    assert outcome.code == 1
    lines = [line for line in outcome.text.splitlines() if line.startswith("- ")]
    assert lines[0] == (
        "- gold/mart_trading_performance: the check net_pnl_is_gross_pnl_less_fees found 1"
    )
    assert lines[1].startswith("- ETHUSD mart_market_regime_stats: Runtime Error in model")
    assert len(lines) == 2
    failed = {
        mart.name: [*failed_partitions(house.instance, table_key(mart), house.now)]
        for mart in OF_PAIRS
    }
    assert failed.pop(REGIMES.name) == [f"ETHUSD|2024-01-0{number}" for number in (1, 2, 3, 4)]
    assert not any(failed.values())
    assert outcome.counts()[PERFORMANCE.name] == (8, 8)
    assert outcome.counts()[REGIMES.name] == (4, 4)


@pytest.mark.slow
def test_from_the_vendor_to_the_marts_in_one_command(house: GoldHouse, ffe: Ffe) -> None:
    days = ("--start", "2024-01-01", "--end", "2024-01-02", "--timeframes", "1h")
    loaded = ffe("backfill", "--assets", "BTCUSD", *days, "--layers", "bronze,silver")
    assert loaded.code == 0, loaded.text
    assert not house.lake.table_exists(REGIMES.name)
    outcome = ffe("backfill", "--assets", "BTCUSD", *days, "--layers", "silver,gold")
    assert outcome.code == 0, outcome.text
    rows = house.rows(REGIMES).to_pylist()
    for number in (1, 2):
        assert sum(row["day_bars"] for row in rows if row["date"].day == number) == 24
    assert all(row["is_mock"] for row in rows)
    # The portfolio hangs on trades and snapshots, of which there are none.
    assert not house.lake.table_exists(SUMMARY.name)


def test_a_layer_that_does_not_exist_is_a_wrong_command(ffe: Ffe) -> None:
    outcome = ffe("backfill", "--assets", "BTCUSD", "--days", "1", "--layers", "gold,platinum")
    assert outcome.code == 2
    assert "unknown layer 'platinum': use one of bronze, " in outcome.text
    assert ", gold" in outcome.text


def test_a_pair_that_nobody_knows_is_a_wrong_command(ffe: Ffe) -> None:
    outcome = ffe("backfill", "--assets", "BTCUSD", "--days", "1", "--layers", "gold")
    assert outcome.code == 2
    assert "unknown pair BTCUSD" in outcome.text


WITHOUT_GOLD = """
import sys
from ffe_lakehouse.cli import main
from ffe_lakehouse.definitions import below_gold

below_gold().get_repository_def()
sys.argv[1:] = ["watermarks"]
try:
    main()
except SystemExit as ended:
    assert not ended.code
loaded = [name for name in sys.modules if name.partition(".")[0] in ("dbt", "dagster_dbt")]
assert not loaded, loaded
"""


def test_commands_without_gold_do_not_wait_for_dbt(house: GoldHouse) -> None:
    command = [sys.executable, "-c", WITHOUT_GOLD]
    ended = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)  # noqa: S603
    assert ended.returncode == 0, ended.stderr
    assert "Nothing is loaded yet" in ended.stdout
