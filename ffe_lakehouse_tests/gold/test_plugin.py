"""Between dbt's DuckDB and the lake: what is loaded, what is stored, and what is refused."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from shutil import copytree, ignore_patterns

import pyarrow as pa
import pytest
import yaml
from dbt.adapters.duckdb.connections import DuckDBConnectionManager

from ffe_lakehouse.gold import runner, scope
from ffe_lakehouse.gold.plugin import placed
from ffe_lakehouse.gold.runner import prepare
from ffe_lakehouse.gold.scope import Scope, current
from ffe_lakehouse.schemas import gold as gold_schemas
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold_house import typed
from ffe_lakehouse_tests.gold_lake import GoldLake, at

NAME = "mart_trading_performance"
TABLE = f"gold/{NAME}"


def test_only_the_days_and_pairs_of_the_run_are_stored_and_nothing_is_kept_in_duckdb(
    gold: GoldLake, tmp_path: Path
) -> None:
    for number in range(4):
        for pair in ("BTCUSD", "ETHUSD", "EURUSD"):
            gold.trade(number, 1.0, asset_pair=pair)
    gold.build(NAME, last=2, first=1, pairs=("BTCUSD", "ETHUSD"))
    rows = gold.read(NAME)
    assert {row["asset_pair"] for row in rows} == {"BTCUSD", "ETHUSD"}
    assert [row["date"].day for row in rows] == [2, 3, 2, 3]
    # What was before the first day counts, and what is after the last does not.
    assert [row["trades"] for row in rows] == [2, 3, 2, 3]

    # Neither in a file: the manifest and its like are all that dbt leaves,
    files = [file for folder in (tmp_path, gold.dbt) for file in folder.rglob("*.*")]
    assert not [file for file in files if "db" in file.suffix or file.suffix == ".wal"]
    # nor in memory, where the bars of all pairs would wait for the next run.
    assert DuckDBConnectionManager._ENV is None


def test_of_the_run_s_days_what_is_no_longer_so_is_deleted_and_of_others_nothing(
    gold: GoldLake,
) -> None:
    for pair in ("BTCUSD", "ETHUSD"):
        gold.decision(1, asset_pair=pair, ai_provider="gone")
    gold.build("mart_provider_attribution", last=4)
    for row in gold.rows["silver/decision_history"]:
        row["ai_provider"] = "new"
    gold.build("mart_provider_attribution", last=4, first=3, pairs=("BTCUSD",))
    names = [
        (row["asset_pair"], row["date"].day, row["provider"])
        for row in gold.read("mart_provider_attribution")
    ]
    assert sorted(names) == [
        *[("BTCUSD", number, "gone") for number in (2, 3)],
        *[("BTCUSD", number, "new") for number in (4, 5)],
        *[("ETHUSD", number, "gone") for number in (2, 3, 4, 5)],
    ]


def test_the_columns_of_the_partition_are_made_from_the_row() -> None:
    rows = pa.table({"asset_pair": ["BTCUSD"], "date": pa.array([date(2024, 12, 31)])})
    found = placed(marts()[NAME], rows).to_pylist()[0]
    assert found == {
        "asset_pair": "BTCUSD",
        "date": date(2024, 12, 31),
        "partition_date": date(2024, 12, 31),
        "partition_asset_pair": "BTCUSD",
        "storage_period": "2024",
    }
    of_portfolio = placed(
        marts()["mart_daily_portfolio_summary"], rows.drop_columns(["asset_pair"])
    )
    assert of_portfolio.column_names == ["date", "partition_date", "storage_period"]


def test_an_empty_build_leaves_the_lake_alone(gold: GoldLake) -> None:
    gold.trade(0, 1.0)
    rows = gold.build(NAME, last=3)
    typed(gold, "build", "--empty", "--select", NAME, last=3)
    assert gold.read(NAME) == rows
    assert len(gold.lake.history(TABLE)) == 2


def test_commands_that_compute_nothing_see_what_is_stored(
    gold: GoldLake, capfd: pytest.CaptureFixture[str]
) -> None:
    gold.trade(0, 1.0)
    gold.trade(0, 1.0, asset_pair="ETHUSD")
    gold.build(NAME, last=3)
    gold.lake.table(TABLE).update({"net_pnl": "77.0"}, predicate="asset_pair = 'BTCUSD'")
    columns = "asset_pair, count(*) as days, max(net_pnl) as pnl"
    query = f"from {{{{ ref('{NAME}') }}}} select {columns} group by all"
    typed(gold, "show", "--inline", query, "--output", "json", last=3, pairs=("BTCUSD",))
    shown = yaml.safe_load(capfd.readouterr().out)["show"]
    assert shown == [{"asset_pair": "BTCUSD", "days": 4, "pnl": 77.0}]


def test_a_scope_ends_with_its_run_whatever_happens(gold: GoldLake) -> None:
    before = [*scope._given]
    with pytest.raises(RuntimeError, match="dbt build"):
        runner.build(
            Scope(gold.lake, date(2024, 1, 1)), ["mart_trading_performance", "--nonsense"], gold.dbt
        )
    assert scope._given == before


def test_without_a_run_it_is_the_whole_lake_up_to_today(
    gold: GoldLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clock").write_text(at(5.5).isoformat())
    monkeypatch.setenv("FFE_CLOCK_FILE", str(tmp_path / "clock"))
    monkeypatch.setattr(scope, "_given", [])
    get_settings.cache_clear()
    found = current()
    assert (found.first, found.last, found.pairs) == (None, at(5).date(), None)
    assert found.lake.storage_path == str(tmp_path / "lake")
    assert current() is found


Change = Callable[[str, Callable[[dict], None]], None]


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Change]:
    """Changes what the YAML of a model says, in a copy of the project."""
    project = tmp_path / "project"
    copytree(gold_schemas.dbt_project(), project, ignore=ignore_patterns("target", "logs"))

    def change(name: str, how: Callable[[dict], None]) -> None:
        file = project / "models" / "marts" / f"{name}.yml"
        told = yaml.safe_load(file.read_text())
        how(told["models"][0])
        file.write_text(yaml.safe_dump(told, sort_keys=False))

    for module in (runner, gold_schemas):
        monkeypatch.setattr(module, "dbt_project", lambda: project)
    marts.cache_clear()
    yield change
    monkeypatch.undo()
    marts.cache_clear()


def test_a_model_that_is_not_as_its_yaml_says_is_refused_with_the_column(
    gold: GoldLake, changed: Change, tmp_path: Path
) -> None:
    def of_another_type(model: dict) -> None:
        next(each for each in model["columns"] if each["name"] == "date")["data_type"] = "varchar"

    def with_another_column(model: dict) -> None:
        model["columns"].append({"name": "beta", "data_type": "double", "description": "None."})

    def without_a_column(model: dict) -> None:
        model["columns"] = [each for each in model["columns"] if each["name"] != "time_share"]
        model["data_tests"] = ["never_null"]

    changed(NAME, with_another_column)
    changed("mart_ensemble_effectiveness", of_another_type)
    changed("mart_market_regime_stats", without_a_column)
    gold.trade(0, 1.0)
    gold.write()
    gold.dbt = prepare(tmp_path / "prepared")
    models = [NAME, "mart_ensemble_effectiveness", "mart_market_regime_stats"]
    outcomes = gold.outcomes(models, last=1)
    said = {
        each.unique_id.rpartition(".")[2]: each.message
        for each in outcomes
        if each.unique_id.startswith("model.")
    }
    assert (
        "gold/mart_trading_performance: columns missing ['beta'], not known or twice []"
        in said[NAME]
    )
    assert "gold/mart_ensemble_effectiveness: date is date32[day], not string" in said[models[1]]
    assert "columns missing [], not known or twice ['time_share']" in said[models[2]]
    # Their tests have nothing to look at.
    assert {each.status for each in outcomes} == {"error", "skipped"}
    assert not any(gold.lake.table_exists(f"gold/{name}") for name in models)


def test_a_project_that_dbt_cannot_read_says_why_and_leaves_nothing(
    changed: Change, tmp_path: Path
) -> None:
    changed(NAME, lambda model: model.update(columns="none"))
    with pytest.raises(RuntimeError, match=r"dbt cannot read .*project"):
        prepare(tmp_path / "prepared")
    assert [*(tmp_path / "prepared").iterdir()] == []


def started(gold: GoldLake, home: Path, program: str) -> "subprocess.Popen[str]":
    """A process that computes marts, once it has said that it is ready."""
    process = subprocess.Popen(  # noqa: S603 - this Python, and what stands here
        [sys.executable, "-c", program, gold.lake.storage_path, str(gold.dbt), NAME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FFE_HOME": str(home)},
    )
    assert process.stdout.readline() == "ready\n"
    return process


BUILDER = """
import sys
from datetime import date
from pathlib import Path
from ffe_lakehouse.gold.runner import build
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.lake import DeltaLakeManager

lake, folder, name = sys.argv[1:]
sys.stdout.write("ready\\n")
sys.stdout.flush()
for pair in sys.stdin:
    scope = Scope(DeltaLakeManager(lake), date(2024, 1, 4), None, (pair.strip(),))
    outcomes = build(scope, [name], Path(folder))
    sys.stdout.write(" ".join(sorted({each.status for each in outcomes})) + "\\n")
    sys.stdout.flush()
"""
"""Computes a mart of every pair that it is told."""


@pytest.mark.slow
def test_processes_that_build_at_the_same_time_do_not_get_in_each_other_s_way(
    gold: GoldLake, tmp_path: Path
) -> None:
    for number in range(3):
        for pair in ("BTCUSD", "ETHUSD", "SOLUSD"):
            gold.trade(number, 1.0, asset_pair=pair)
    gold.write()
    builders = [started(gold, tmp_path, BUILDER) for _ in range(2)]
    # The table does not exist yet, then they have different pairs, then the same.
    for pairs in (("BTCUSD", "ETHUSD"), ("SOLUSD", "SOLUSD")):
        for each, pair in zip(builders, pairs, strict=True):
            each.stdin.write(f"{pair}\n")
            each.stdin.flush()
        assert [each.stdout.readline() for each in builders] == ["pass success\n"] * 2
    for each in builders:
        each.communicate(timeout=60)
        assert each.returncode == 0
    rows = gold.read(NAME)
    assert [(row["asset_pair"], row["trades"]) for row in rows] == [
        (pair, trades) for pair in ("BTCUSD", "ETHUSD", "SOLUSD") for trades in (1, 2, 3, 3)
    ]
    # The one that was second with the same rows found them there.
    assert len(gold.lake.history(TABLE)) == 4


INTERRUPTED = """
import sys, time
from datetime import date
from pathlib import Path
from ffe_lakehouse.gold import plugin
from ffe_lakehouse.gold.runner import build
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.lake import DeltaLakeManager

def load(*arguments, load=plugin.load):
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    time.sleep(0.5)
    return load(*arguments)

plugin.load = load
lake, folder, name = sys.argv[1:]
build(Scope(DeltaLakeManager(lake), date(2024, 1, 4)), [name], Path(folder))
"""
"""Says when it is in the middle of it."""


@pytest.mark.slow
def test_an_interrupt_ends_a_run_and_is_no_failure_of_a_mart(
    gold: GoldLake, tmp_path: Path
) -> None:
    gold.trade(0, 1.0)
    gold.write()
    process = started(gold, tmp_path, INTERRUPTED)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, said
    assert "RuntimeError" not in said
    assert not gold.lake.table_exists(TABLE)
