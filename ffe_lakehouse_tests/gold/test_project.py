"""The dbt project: what its YAML says is what is there, and it works without Dagster."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import duckdb
import pytest

from ffe_lakehouse.gold.runner import build
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.gold.sources import load
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.tables import table_schema
from ffe_lakehouse.schemas.gold import dbt_project, marts, source_columns
from ffe_lakehouse.schemas.table import DERIVED
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.conftest import REPOSITORY
from ffe_lakehouse_tests.gold_house import typed
from ffe_lakehouse_tests.gold_lake import GoldLake, at

DELTA_TYPES = {
    "varchar": "string",
    "date": "date",
    "bigint": "long",
    "double": "double",
    "boolean": "boolean",
    "timestamptz": "timestamp",
}


@pytest.fixture
def manifest(dbt_folder: Path) -> Mapping[str, Any]:
    """What dbt knows of the project."""
    found: Mapping[str, Any] = json.loads((dbt_folder / "manifest.json").read_text())
    return found


def models(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    nodes = [each for each in manifest["nodes"].values() if each["resource_type"] == "model"]
    return {each["name"]: each for each in nodes}


@pytest.fixture(scope="module")
def filled(dbt_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoldLake]:
    """Records of two pairs, and all marts, of which the first two days were not computed."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("FFE_HOME", str(home))
        monkeypatch.setenv("FFE_START_DATE", "2023-01-01")
        get_settings.cache_clear()
        gold = GoldLake(DeltaLakeManager(home / "lake"), dbt_folder)
        for pair in ("BTCUSD", "ETHUSD"):
            gold.trade(0.5, 1.0, asset_pair=pair)
            gold.decision(0.2, asset_pair=pair)
            gold.bar(0, "trend", 1, asset_pair=pair)
        gold.voice(0.2, "d0", "local")
        gold.snapshot(1, [])
        gold.trade(3.5, -1.0)
        built = gold.outcomes(marts(), first=2, last=4)
        assert {each.status for each in built} == {"success", "pass"}
        yield gold
    get_settings.cache_clear()


def test_every_model_source_and_column_is_described(manifest: Mapping[str, Any]) -> None:
    found = [*models(manifest).values(), *manifest["sources"].values()]
    assert len(found) > 20
    assert [each["unique_id"] for each in found if not each["description"].strip()] == []
    assert [each["unique_id"] for each in found if not each["columns"]] == []
    assert [
        (each["unique_id"], column["name"])
        for each in found
        for column in each["columns"].values()
        if not column["description"].strip()
    ] == []
    assert all(each["source_description"] for each in manifest["sources"].values())


def test_every_test_says_what_holds(manifest: Mapping[str, Any]) -> None:
    tests = [each for each in manifest["nodes"].values() if each["resource_type"] == "test"]
    own = {
        each["test_metadata"]["name"] for each in tests if each["package_name"] == "ffe_lakehouse"
    }
    macros = {each["name"]: each for each in manifest["macros"].values()}
    assert [name for name in sorted(own) if not macros[f"test_{name}"]["description"]] == []


def test_every_mart_has_the_tests_that_hold_for_all(manifest: Mapping[str, Any]) -> None:
    tested: dict[str, set[str]] = {}
    for each in manifest["nodes"].values():
        if each["resource_type"] == "test":
            name = each["attached_node"].rpartition(".")[2]
            tested.setdefault(name, set()).add(each["test_metadata"]["name"])
    assert {*tested} == {*marts()}
    assert all({"never_null", "finite", "unique_key"} <= names for names in tested.values())


def test_a_mart_is_a_delta_table_with_exactly_the_columns_of_its_yaml(
    filled: GoldLake, manifest: Mapping[str, Any]
) -> None:
    of_partition = {column.name for column in DERIVED}
    for name, mart in marts().items():
        told = models(manifest)[name]["columns"]
        fields = filled.lake.table(mart.name).schema().fields
        stored = {each.name: each for each in fields if each.name not in of_partition}
        assert [*stored] == [*told]
        for column, field in stored.items():
            assert field.type.type == DELTA_TYPES[told[column]["data_type"]], (name, column)
            assert field.metadata["comment"] == " ".join(told[column]["description"].split())
            constrained = [each["type"] for each in told[column]["constraints"]]
            assert field.nullable is ("not_null" not in constrained)
        key = models(manifest)[name]["config"]["meta"]["key"]
        assert tuple(key) == mart.key
        assert not any(stored[column].nullable for column in key)


def test_a_source_has_the_columns_of_its_yaml(filled: GoldLake) -> None:
    run = Scope(filled.lake, at(2).date())
    for (source, table), columns in source_columns().items():
        rows = load(run, source, table)
        assert rows.column_names == [*columns]
        assert rows.num_rows > 0, table
        if source != "ffe":
            assert {*columns} <= {*table_schema(f"{source}/{table}").arrow.names}


def test_a_staging_model_has_the_columns_of_its_yaml(
    filled: GoldLake, manifest: Mapping[str, Any]
) -> None:
    only = ("--select", "staging", "--exclude", "resource_type:test")
    compiled = typed(filled, "compile", "--no-print", *only, last=2)
    run = Scope(filled.lake, at(2).date())
    with duckdb.connect() as connection:
        for source, table in source_columns():
            connection.register(f"{source}_{table}", load(run, source, table))
            connection.execute(f"create schema if not exists {source}")
            connection.execute(f"create view {source}.{table} as from {source}_{table}")
        for each in compiled.result:
            described = connection.execute(f"describe {each.node.compiled_code}").fetchall()
            told = models(manifest)[each.node.name]["columns"]
            assert {row[0] for row in described} == {*told}, each.node.name


def test_the_docs_show_every_column_of_the_marts(filled: GoldLake, tmp_path: Path) -> None:
    typed(replace(filled, dbt=copytree(filled.dbt, tmp_path / "docs")), "docs", "generate", last=4)
    catalog = json.loads((tmp_path / "docs" / "catalog.json").read_text())
    shown = {each["metadata"]["name"]: [*each["columns"]] for each in catalog["nodes"].values()}
    of_partition = {column.name for column in DERIVED}
    assert shown == {
        name: [each.name for each in mart.columns if each.name not in of_partition]
        for name, mart in marts().items()
    }


def test_tests_hold_on_the_day_after_and_of_a_past_that_was_not_computed(filled: GoldLake) -> None:
    tested = typed(filled, "test", last=5)
    assert [each.node.name for each in tested.result if str(each.status) != "pass"] == []


def dbt(folder: Path, *arguments: str, **variables: str) -> str:
    """Run ``dbt`` as an analyst does; what it prints.

    Raises:
        AssertionError: It failed.
    """
    kept = {
        name: text for name, text in os.environ.items() if not name.startswith(("FFE_", "DAGSTER"))
    }
    command = [Path(sys.executable).with_name("dbt"), "--no-use-colors", *arguments]
    ended = subprocess.run(  # noqa: S603 - dbt itself
        command, cwd=folder, env=kept | variables, text=True, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_an_analyst_builds_and_tests_the_marts_without_dagster(
    gold: GoldLake, tmp_path: Path
) -> None:
    analyst = tmp_path / "dbt"
    copytree(dbt_project(), analyst, ignore=ignore_patterns("target", "logs"))
    gold.lake = DeltaLakeManager(tmp_path / "data" / "lake")
    for number in range(3):
        gold.trade(number, 1.0)
    gold.snapshot(0, [])
    gold.write()
    copytree(tmp_path / "data", tmp_path / "other")

    # With nothing set, the lake is that beside the project.
    assert "ERROR=0" in dbt(analyst, "build")
    performance = marts()["mart_trading_performance"]
    rows = gold.lake.read(performance.name)
    assert rows["trades"].to_pylist()[:4] == [1, 2, 3, 3]
    # A run of the lakehouse finds nothing to be written.
    build(Scope(gold.lake, at(2).date(), at(0).date(), ("BTCUSD",)), marts(), gold.dbt)
    assert [gold.lake.table(mart.name).version() for mart in marts().values()] == [1] * 5

    other = DeltaLakeManager(tmp_path / "other" / "lake")
    dbt(analyst, "build", "--select", "mart_trading_performance", FFE_HOME=str(tmp_path / "other"))
    assert other.read(performance.name).equals(rows)
    assert not other.table_exists("gold/mart_daily_portfolio_summary")

    # Nothing was left outside of dbt's own folders.
    assert {each.name for each in tmp_path.iterdir()} == {"dbt", "data", "other"}
    assert {each.name for each in analyst.iterdir()} - {
        each.name for each in dbt_project().iterdir()
    } <= {"target", "logs", ".user.yml"}
    assert {each.name for each in (tmp_path / "data").iterdir()} == {"lake"}
    assert not [*tmp_path.rglob("*.duckdb*"), *tmp_path.rglob("*.wal")]


@pytest.mark.slow
def test_the_wheel_has_the_project_and_nothing_that_dbt_leaves_in_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    left = ignore_patterns("__pycache__", "target", "logs")
    for folder in ("ffe_lakehouse", "dbt"):
        copytree(REPOSITORY / folder, source / folder, ignore=left)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        (source / file).write_bytes((REPOSITORY / file).read_bytes())
    for name in ("target/manifest.json", "logs/dbt.log", ".user.yml"):
        (source / "dbt" / name).parent.mkdir(exist_ok=True)
        (source / "dbt" / name).write_text("{}")
    wheel = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--quiet", "-w", str(tmp_path)]
    subprocess.run(wheel, cwd=source, check=True)  # noqa: S603 - pip itself
    (file,) = tmp_path.glob("*.whl")
    prefix = "ffe_lakehouse/dbt/"
    packed = {
        name.removeprefix(prefix)
        for name in zipfile.ZipFile(file).namelist()
        if name.startswith(prefix)
    }
    project = {
        str(path.relative_to(REPOSITORY / "dbt"))
        for pattern in ("*.yml", "macros/**/*.*", "models/**/*.*", "tests/**/*.*")
        for path in (REPOSITORY / "dbt").glob(pattern)
        if path.name != ".user.yml"
    }
    assert packed == project
    assert {"dbt_project.yml", "profiles.yml"} <= packed
