"""What is forced to the disk, and in which order: data before the log, files before folders."""

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.durability import make_durable
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, bars, box, day

BRONZE = raw_candles(TIMEFRAMES["1h"])
FREE = replace(BRONZE, append_only=False)


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file and folder that is forced to the disk, in order."""
    paths: list[Path] = []
    fsync = os.fsync

    def record(number: int) -> None:
        paths.append(Path(f"/proc/self/fd/{number}").readlink())
        fsync(number)

    monkeypatch.setattr(os, "fsync", record)
    return paths


Write = Callable[[DeltaLakeManager], object]


def append(lake: DeltaLakeManager) -> object:
    return lake.append(FREE, bars("BTCUSD", START, 3))


def append_if_changed(lake: DeltaLakeManager) -> object:
    return lake.append_if_changed(FREE, bars("BTCUSD", START, 3, price=7), box("BTCUSD", 0, 0))


def merge(lake: DeltaLakeManager) -> object:
    return lake.merge(FREE, bars("BTCUSD", START, 3, price=7))


def merge_if_changed(lake: DeltaLakeManager) -> object:
    return lake.merge_if_changed(FREE, bars("BTCUSD", START, 3, price=7), box("BTCUSD", 0, 0))


def overwrite(lake: DeltaLakeManager) -> object:
    return lake.overwrite(FREE, bars("BTCUSD", START, 2), box("BTCUSD", 0, 0))


def notebook_append(lake: DeltaLakeManager) -> object:
    return lake.create_or_update_table(bars("ETHUSD", START, 2).to_pandas(), BRONZE.name)


def optimize(lake: DeltaLakeManager) -> object:
    return lake.optimize_table(BRONZE.name)


def restore(lake: DeltaLakeManager) -> object:
    return lake.restore_table(BRONZE.name, 1)


WRITES = [
    append,
    append_if_changed,
    merge,
    merge_if_changed,
    overwrite,
    notebook_append,
    optimize,
    restore,
]


def test_a_new_table_is_durable_with_its_folders(tmp_path: Path, forced: list[Path]) -> None:
    lake = DeltaLakeManager(tmp_path / "lake")
    append(lake)
    table = Path(lake.table_uri(BRONZE.name))
    log = table / "_delta_log"
    assert forced[:4] == [log / f"{0:020}.json", log, table, table.parent]
    (data,) = table.rglob("*.parquet")
    period, pair = data.parent, data.parent.parent
    second = forced[4:]
    assert second[0] == data
    assert set(second[1:3]) == {period, pair}
    assert second[3:] == [log / f"{1:020}.json", log, table, table.parent]


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_every_write_forces_its_data_then_its_commit_then_the_folders(
    tmp_path: Path, forced: list[Path], write: Write
) -> None:
    lake = DeltaLakeManager(tmp_path / "lake")
    append(lake)
    lake.append(FREE, bars("BTCUSD", day(1), 5))
    table = Path(lake.table_uri(BRONZE.name))
    before = {path for path in table.rglob("*") if path.is_file()}
    forced.clear()
    write(lake)
    new = {path for path in table.rglob("*.*") if path.is_file()} - before
    commits = {path for path in new if path.suffix == ".json"}
    data = new - commits
    assert commits
    assert new <= set(forced)
    place = {path: number for number, path in enumerate(forced)}
    log = table / "_delta_log"
    for path in data:
        assert place[path] < min(place[commit] for commit in commits)
        for folder in (path.parent, path.parent.parent):
            assert place[path] < place[folder] < min(place[commit] for commit in commits)
    for commit in commits:
        assert place[commit] < place[log] < place[table] < place[table.parent]


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_without_the_setting_nothing_is_forced(
    tmp_path: Path, forced: list[Path], write: Write
) -> None:
    lake = DeltaLakeManager(tmp_path / "lake", durable=False)
    append(lake)
    lake.append(FREE, bars("BTCUSD", day(1), 5))
    write(lake)
    assert forced == []


def test_what_changes_nothing_forces_nothing(tmp_path: Path, forced: list[Path]) -> None:
    lake = DeltaLakeManager(tmp_path / "lake")
    append_if_changed(lake)
    forced.clear()
    append_if_changed(lake)
    assert forced == []


def test_an_object_store_forces_nothing(forced: list[Path]) -> None:
    lake = DeltaLakeManager("memory:///lake")
    assert lake._durable is False
    assert DeltaLakeManager("s3a://bucket/lake")._durable is False
    assert forced == []


def test_the_commits_of_others_in_between_are_made_durable_too(
    tmp_path: Path, forced: list[Path]
) -> None:
    lake = DeltaLakeManager(tmp_path / "lake", durable=False)
    append(lake)
    for price in (2, 3):
        lake.append(FREE, bars("BTCUSD", START, 2, price=price))
    table = DeltaTable(lake.table_uri(BRONZE.name))
    make_durable(table, 1)
    names = [path.name for path in forced if path.suffix == ".json"]
    assert names == [f"{2:020}.json", f"{3:020}.json"]
    assert sum(path.suffix == ".parquet" for path in forced) == 2


def test_files_that_are_gone_meanwhile_are_no_error(tmp_path: Path, forced: list[Path]) -> None:
    lake = DeltaLakeManager(tmp_path / "lake", durable=False)
    append(lake)
    table = DeltaTable(lake.table_uri(BRONZE.name))
    root = Path(lake.table_uri(BRONZE.name))
    next(root.rglob("*.parquet")).unlink()
    (root / "_delta_log" / f"{1:020}.json").unlink()
    make_durable(table, -1)
    assert root / "_delta_log" / f"{0:020}.json" in forced


def test_a_folder_with_odd_characters_is_forced_too(tmp_path: Path, forced: list[Path]) -> None:
    lake = DeltaLakeManager(tmp_path / "a b%ü#" / "lake")
    append(lake)
    assert any(stat.S_ISREG(path.stat().st_mode) and path.suffix == ".parquet" for path in forced)
    assert any(path.name.endswith("1.json") for path in forced)
