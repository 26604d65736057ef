"""``ffe doctor --repair``: what is damaged is mended, loaded again, and then as it was."""

import json
import os
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from ffe_lakehouse.cli.doctor_lake import disagreements
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.lake.log_files import LakeFiles
from ffe_lakehouse.partitions import partition_key, table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.cli.test_doctor import Run, ffe
from ffe_lakehouse_tests.lake.damage import Harm, blank, empty, flip, tear
from ffe_lakehouse_tests.records.desk import Desk, decision, snapshot, trade

__all__ = ["ffe"]  # a fixture

TABLE = raw_candles(TIMEFRAMES["1h"])
ITS_RUN = {"_extracted_at", "_ingestion_id"}
LOAD = ("backfill", "--timeframes", "1h,1d", "--start", "2024-02-26", "--end", "2024-03-01")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Filled by the first test, copied by the others."""
    return tmp_path_factory.mktemp("loaded") / "data"


@pytest.fixture
def log(ffe: Run, home: Path, loaded: Path) -> Path:
    """The Delta log of the hours: three commits of two pairs."""
    if not loaded.exists():
        assert ffe(*LOAD, "--assets", "BTCUSD").code == 0
        assert ffe(*LOAD, "--assets", "ETHUSD").code == 0
        shutil.copytree(home / "data", loaded)
    shutil.copytree(loaded, home / "data", dirs_exist_ok=True)
    return home / "data" / "lake" / TABLE.name / "_delta_log"


def bars() -> pa.Table:
    """All bars, but for what differs from run to run."""
    names = [name for name in TABLE.arrow.names if name not in ITS_RUN]
    rows = open_lake().read(TABLE.name, columns=names)
    return rows.sort_by([(name, "ascending") for name in TABLE.key])


def data_file(log: Path, pair: str) -> Path:
    (path,) = (log.parent / f"partition_asset_pair={pair}").rglob("*.parquet")
    return path


def found(ffe: Run, *options: str) -> list[dict[str, str]]:
    return json.loads(ffe("doctor", "--json", *options).text)


def test_nothing_is_repaired_where_nothing_is_damaged(ffe: Run, home: Path, log: Path) -> None:
    before = {path: path.read_bytes() for path in (home / "data" / "lake").rglob("*.*")
              if path.is_file()}  # fmt: skip
    said = ffe("doctor", "--repair", "--deep")
    assert said.code == 0
    assert said.text.startswith("There was nothing that could be repaired.")
    assert before == {path: path.read_bytes() for path in before}
    assert not (home / "data" / "lake" / "_damaged").exists()


@pytest.mark.parametrize(
    ("version", "harm", "pairs"),
    [
        (2, empty, {"ETHUSD"}),
        (2, tear, {"ETHUSD"}),
        (1, empty, {"BTCUSD"}),
        (1, tear, {"BTCUSD", "ETHUSD"}),
        (1, Path.unlink, {"BTCUSD", "ETHUSD"}),
    ],
)
def test_a_damaged_commit_is_mended_and_its_days_are_loaded_again(
    ffe: Run, log: Path, version: int, harm: Harm, pairs: set[str]
) -> None:
    before = bars()
    harm(log / f"{version:020}.json")
    assert_mended(ffe, before, pairs)


def flip_a_bit(path: Path) -> None:
    flip(path, 8 * (path.stat().st_size // 3))


@pytest.mark.parametrize("harm", [Path.unlink, tear, blank, flip_a_bit])
def test_a_damaged_data_file_is_taken_out_and_its_days_are_loaded_again(
    ffe: Run, log: Path, harm: Harm
) -> None:
    before = bars()
    harm(data_file(log, "ETHUSD"))
    assert_mended(ffe, before, {"ETHUSD"})


def assert_mended(ffe: Run, before: pa.Table, pairs: set[str]) -> None:
    """Found, repaired, said, loaded again by the days that are due alone; and then all is well."""
    assert any(each["table"] == TABLE.name and each["status"] == "wrong" for each in
               found(ffe, "--deep"))  # fmt: skip
    said = found(ffe, "--deep", "--repair")
    steps = [each for each in said if each["about"] == "repair"]
    for pair in pairs:
        assert any(f"{pair} 2024-02-26..2024-03-01" in each["text"] for each in steps)
    assert not any(each["status"] == "wrong" for each in said)
    for pair in ("BTCUSD", "ETHUSD"):
        (of_hours,) = (each for each in
                       json.loads(ffe(*LOAD, "--assets", pair, "--json").text)
                       if each["timeframe"] == "1h")  # fmt: skip
        assert of_hours["days"]["loaded"] == (5 if pair in pairs else 0)
    assert bars().equals(before)
    assert ffe("doctor", "--deep").code == 0


def test_a_broken_checkpoint_costs_nothing(ffe: Run, log: Path) -> None:
    before = bars()
    open_lake().table(TABLE.name).create_checkpoint()
    (checkpoint,) = log.glob("*.checkpoint.parquet")
    tear(checkpoint)
    assert ffe("doctor").code == 1
    assert ffe("doctor", "--repair").code == 0
    assert bars().equals(before)


def test_days_that_dagster_knows_and_the_lake_has_not_are_loaded_again(ffe: Run, log: Path) -> None:
    before = bars()
    open_lake().restore_table(TABLE.name, 1)
    wrong = [each for each in found(ffe) if each["status"] == "wrong"]
    assert [(each["about"], each["table"]) for each in wrong] == [("memory", TABLE.name)]
    assert "of 5 days Dagster counts rows that the lake has not" in wrong[0]["text"]
    said = ffe("doctor", "--repair")
    assert said.code == 0
    assert "--assets ETHUSD --timeframes 1h --start 2024-02-26 --end 2024-03-01" in " ".join(
        said.text.split()
    )
    assert ffe(*LOAD, "--assets", "ETHUSD").code == 0
    assert bars().equals(before)


def test_a_day_of_which_bars_are_missing_is_lost_too_and_an_empty_one_is_not(
    ffe: Run, log: Path
) -> None:
    settings, day = get_settings(), date(2024, 2, 27)
    files = LakeFiles(settings.lake_uri)
    with open_instance(settings) as instance:
        for rows in (24, 25, 0):
            key = (
                partition_key("BTCUSD", day) if rows else partition_key("BTCUSD", date(2024, 1, 7))
            )
            event = dg.AssetMaterialization(
                table_key(TABLE), partition=key,
                tags={"dagster/data_version": f"closed:{rows}:simulated"},
            )  # fmt: skip
            instance.report_runless_asset_event(event)
            lost = disagreements(instance, open_lake(), files)
            expected = {} if rows == 24 else {TABLE.name: [partition_key("BTCUSD", day)]}
            assert lost == expected


def test_a_lake_that_is_not_there_is_no_reason_to_forget_everything(
    ffe: Run, home: Path, log: Path
) -> None:
    shutil.move(home / "data" / "lake", home / "elsewhere")
    wrong = [each["text"] for each in found(ffe) if each["status"] == "wrong"]
    assert len(wrong) == 1
    assert "FFE_STORAGE_PATH" in wrong[0]
    assert ffe("doctor", "--repair").code == 2
    shutil.move(home / "elsewhere", home / "data" / "lake")
    assert ffe("doctor").code == 0


def test_nothing_is_repaired_while_a_run_is_at_work(ffe: Run, log: Path) -> None:
    with open_instance(get_settings()) as instance:
        run = dg.DagsterRun("ingestion", status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
    tear(log / f"{2:020}.json")
    said = ffe("doctor", "--repair")
    assert said.code == 2
    assert f"run {run.run_id} is at work" in said.text
    assert (log / f"{2:020}.json").exists()


def test_orphans_and_leftovers_are_notes(ffe: Run, log: Path) -> None:
    orphan = data_file(log, "ETHUSD").with_name("part-of-a-killed-writer.parquet")
    shutil.copy(data_file(log, "ETHUSD"), orphan)
    old = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    os.utime(orphan, (old, old))
    said = ffe("doctor", "--json")
    assert said.code == 0
    (note,) = (each for each in json.loads(said.text) if each["kind"])
    assert (note["kind"], note["status"]) == ("orphaned_files", "note")


def test_one_thing_at_a_time(ffe: Run) -> None:
    assert ffe("doctor", "--repair", "--rebuild-status").code == 2


def test_records_that_were_lost_are_said_with_how_they_come_back(ffe: Run, home: Path) -> None:
    desk = Desk(home / "data")
    (home / "clock").write_text("2026-05-01T12:00:00Z")
    desk.put("decisions/a.json", [decision(), decision(id="2", action="?")])
    desk.put("trade_outcomes/a.jsonl", [trade(), trade()])
    desk.put("pnl_snapshots/a.json", snapshot())
    assert ffe("land").code == 0
    assert ffe("doctor").code == 0
    log = home / "data" / "lake" / "bronze" / "raw_ai_decisions" / "_delta_log"
    newest = max(log.glob("*.json"))
    tear(newest)
    (step,) = (each for each in found(ffe, "--repair") if each["about"] == "repair")
    assert "1 days count as not loaded now (BTCUSD 2025-12-02)" in step["text"]
    assert "`ffe land`" in step["text"]
    assert ffe("land").code == 0
    assert open_lake().read("bronze/raw_ai_decisions").num_rows == 1
    assert ffe("doctor").code == 0
