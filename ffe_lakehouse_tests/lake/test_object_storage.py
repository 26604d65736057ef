"""The lake on a real S3 server: every method, its addresses and credentials, writers that race."""

import multiprocessing
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.names import lake_address
from ffe_lakehouse.lake.object_store import storage_options
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import KNOWN, START, bars, box, day, facts
from ffe_lakehouse_tests.doubles.s3 import PASSWORD, USER, S3Server
from ffe_lakehouse_tests.doubles.s3_faults import FaultyStore

BRONZE = raw_candles(TIMEFRAMES["1h"])
FREE = replace(BRONZE, append_only=False)
MONTH = box("BTCUSD", 0, 30)
MINE = "silver/mine"


@pytest.fixture
def lake(s3: S3Server, s3_address: str) -> DeltaLakeManager:
    return DeltaLakeManager(s3_address, s3.options)


def frame(first: int, n: int, close: float = 1.0, pair: str = "BTCUSD") -> pd.DataFrame:
    times = [START + timedelta(hours=first + hour) for hour in range(n)]
    return pd.DataFrame({"asset_pair": pair, "timestamp": times, "close": close, "volume": 5.0})


def closes(lake: DeltaLakeManager, **how: object) -> list[float]:
    rows: pd.DataFrame = lake.read_table(MINE, **how)  # type: ignore[arg-type]
    return list(rows.sort_values(["asset_pair", "timestamp"])["close"])


# --- every method of the manager


def test_a_table_is_made_appended_to_merged_and_overwritten(lake: DeltaLakeManager) -> None:
    lake.create_or_update_table(frame(0, 2), MINE, ["asset_pair"])
    lake.create_or_update_table(frame(2, 1, 2.0), MINE)
    assert closes(lake) == [1, 1, 2]
    keys = ["asset_pair", "timestamp"]
    lake.create_or_update_table(frame(2, 2, 3.0), MINE, mode="merge", merge_keys=keys)
    assert closes(lake) == [1, 1, 3, 3]
    lake.merge_upsert(frame(3, 2, 4.0).assign(volume=9.0), MINE, keys, update_columns=["close"])
    assert closes(lake) == [1, 1, 3, 4, 4]
    assert sorted(lake.read_table(MINE, filters="close = 4")["volume"]) == [5, 9]
    lake.create_or_update_table(frame(0, 1, 5.0, "ETHUSD"), MINE)
    lake.create_or_update_table(
        frame(0, 1, 6.0), MINE, mode="overwrite", filters="asset_pair = 'BTCUSD'"
    )
    assert closes(lake) == [6, 5]
    with pytest.raises(InputError, match="lie outside of what is overwritten"):
        lake.create_or_update_table(
            frame(0, 1), MINE, mode="overwrite", filters="asset_pair = 'ETHUSD'"
        )
    lake.create_or_update_table(frame(7, 1, 7.0), MINE, mode="overwrite", whole_table=True)
    assert closes(lake) == [7]
    assert list(lake.get_table_history(MINE)["version"]) == [7, 6, 5, 4, 3, 2, 1, 0]


def test_a_table_is_read_as_it_was_and_only_where_it_is_asked_for(lake: DeltaLakeManager) -> None:
    lake.create_or_update_table(frame(0, 3), MINE, ["asset_pair"])
    between = datetime.now(UTC)
    lake.create_or_update_table(frame(0, 1, 9.0, "ETHUSD"), MINE)
    assert closes(lake, version=1) == [1, 1, 1]
    assert closes(lake, as_of_timestamp=between) == [1, 1, 1]
    assert closes(lake, filters=["asset_pair = 'ETHUSD'", "close > 8"]) == [9]
    assert list(lake.read_table(MINE, columns=["close"]).columns) == ["close"]


def test_what_was_known_on_a_day_is_read(lake: DeltaLakeManager) -> None:
    lake.create_or_update_table(bars("BTCUSD", START, 2), BRONZE.name)
    revised = bars("BTCUSD", START, 1, price=200.0, known=KNOWN + timedelta(days=1))
    lake.create_or_update_table(revised, BRONZE.name)
    assert list(lake.read_table(BRONZE.name, known_on=KNOWN)["open"]) == [100, 100]
    newest = lake.read_table(BRONZE.name, known_on=KNOWN + timedelta(days=1))
    assert list(newest["open"]) == [200, 100]


def test_files_are_put_together_and_ordered_and_old_ones_deleted(
    lake: DeltaLakeManager, s3: S3Server, s3_address: str
) -> None:
    def data_files() -> list[str]:
        prefix = s3_address.removeprefix(f"s3://{s3.bucket}/")
        return [key for key in s3.objects(f"{prefix}/{MINE}") if key.endswith(".parquet")]

    for first in range(3):
        lake.create_or_update_table(frame(first, 1, float(first)), MINE, ["asset_pair"])
    done = lake.optimize_table(MINE)
    assert (done.files_removed, done.files_added) == (3, 1)
    assert lake.optimize_table(MINE, ["timestamp"]).files_added == 1
    assert lake.vacuum_table(MINE) == []
    old = lake.vacuum_table(MINE, 0, allow_short_retention=True, dry_run=True)
    assert len(old) == 4
    assert len(data_files()) == 5
    assert sorted(lake.vacuum_table(MINE, 0, allow_short_retention=True)) == sorted(old)
    assert len(data_files()) == 1
    assert closes(lake) == [0, 1, 2]


def test_a_version_is_restored(lake: DeltaLakeManager) -> None:
    lake.create_or_update_table(frame(0, 1, 1.0), MINE)
    lake.create_or_update_table(frame(1, 1, 2.0), MINE)
    assert lake.restore_table(MINE, version=1) == 1
    assert closes(lake) == [1]
    assert lake.get_table_history(MINE)["operation"][0] == "RESTORE"


def test_a_deleted_table_leaves_nothing_and_its_neighbours_all(
    lake: DeltaLakeManager, s3: S3Server, s3_address: str
) -> None:
    for name in (MINE, f"{MINE}_too"):
        lake.create_or_update_table(frame(0, 1), name, ["asset_pair"])
    assert lake.table_exists(MINE)
    with pytest.raises(InputError, match="confirm=True"):
        lake.delete_table(MINE)
    lake.delete_table(MINE, confirm=True)
    prefix = s3_address.removeprefix(f"s3://{s3.bucket}/")
    assert s3.objects(f"{prefix}/{MINE}/") == []
    assert not lake.table_exists(MINE)
    assert lake.table_exists(f"{MINE}_too")
    assert lake.get_table_history(MINE).empty
    with pytest.raises(InputError, match=f"no table '{MINE}'"):
        lake.read_table(MINE)


# --- what the pipeline writes


def test_what_the_pipeline_writes_twice_is_there_once(lake: DeltaLakeManager) -> None:
    rows = bars("BTCUSD", START, 30)
    assert lake.append_if_changed(BRONZE, rows, MONTH).written.sum() == 30
    assert lake.append_if_changed(BRONZE, rows, MONTH).version is None
    later = bars("BTCUSD", START, 1, price=200.0, known=KNOWN + timedelta(days=1))
    assert lake.append_if_changed(BRONZE, later, MONTH).written.sum() == 1
    assert lake.append(BRONZE, rows, once="run") is not None
    assert lake.append(BRONZE, rows, once="run") is None
    assert lake.read(BRONZE.name).num_rows == 61
    with pytest.raises(DeltaError, match="append-only"):
        lake.overwrite(FREE, rows, MONTH)


def test_what_the_pipeline_merges_and_overwrites_is_what_it_was_given(
    lake: DeltaLakeManager,
) -> None:
    rows = bars("BTCUSD", START, 48)
    assert lake.merge_if_changed(FREE, rows, MONTH).new == 48
    assert lake.merge_if_changed(FREE, rows, MONTH).version is None
    revised = pa.concat_tables([bars("BTCUSD", START, 1, price=200.0), rows.slice(2)])
    merged = lake.merge_if_changed(FREE, revised, MONTH)
    assert (merged.new, merged.changed, merged.gone, merged.unchanged) == (0, 1, 1, 46)
    lake.overwrite(FREE, bars("BTCUSD", day(1), 3, price=300.0), box("BTCUSD", 1, 1))
    expected = pa.concat_tables([revised.slice(0, 23), bars("BTCUSD", day(1), 3, price=300.0)])
    assert facts(lake.read(FREE.name)) == facts(expected)


# --- addresses


def test_both_spellings_of_an_address_are_the_same_lake(s3: S3Server, s3_address: str) -> None:
    DeltaLakeManager(s3_address, s3.options).create_or_update_table(frame(0, 1), MINE)
    hadoop = DeltaLakeManager(s3_address.replace("s3://", "s3a://") + "/", s3.options)
    assert hadoop.storage_path == s3_address
    assert closes(hadoop) == [1]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("s3a://bucket", "s3://bucket"),
        ("s3://bucket/a b/", "s3://bucket/a b"),
        ("gs://bucket/lake", "gs://bucket/lake"),
        ("az://container/lake", "az://container/lake"),
        ("abfss://fs@account.dfs.core.windows.net/x", "abfss://fs@account.dfs.core.windows.net/x"),
        ("C:/lake", "C:/lake"),
        (Path("data/lake"), "data/lake"),
        ("s3", "s3"),
    ],
)
def test_an_address_is_taken_as_it_is_meant(given: str | Path, address: str) -> None:
    assert lake_address(given) == address


@pytest.mark.parametrize(
    "given", ["s3:/bucket/lake", Path("s3://bucket/lake"), "s3://", "https://x/lake", "gs://b?c"]
)
def test_an_address_that_cannot_work_is_refused_before_it_becomes_a_folder(
    given: str | Path,
) -> None:
    with pytest.raises(InputError, match=r"no lake can be at .*give a folder, or, as text, s3://"):
        lake_address(given)


# --- credentials


def test_the_standard_variables_are_enough(
    s3: S3Server, s3_address: str, aws: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        aws.setenv(name, value)
    lake = DeltaLakeManager(s3_address)
    lake.create_or_update_table(frame(0, 1), MINE)
    assert closes(lake) == [1]


def test_a_profile_is_enough(
    s3: S3Server, s3_address: str, aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "config").write_text(f"[profile lake]\nendpoint_url = {s3.endpoint}\n")
    (folder / "credentials").write_text(
        f"[lake]\naws_access_key_id = {USER}\naws_secret_access_key = {PASSWORD}\n"
    )
    aws.setenv("AWS_PROFILE", "lake")
    lake = DeltaLakeManager(s3_address)
    lake.create_or_update_table(frame(0, 1), MINE)
    assert closes(lake) == [1]


def test_given_options_win_over_the_environment(
    s3: S3Server, s3_address: str, aws: pytest.MonkeyPatch
) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        aws.setenv(f"AWS_{name}", "of-somebody-else")
    for name in ("ENDPOINT_URL", "ENDPOINT_URL_S3"):
        aws.setenv(f"AWS_{name}", "http://127.0.0.1:1")
    aws.setenv("AWS_CONDITIONAL_PUT", "disabled")
    lake = DeltaLakeManager(s3_address, s3.options)
    lake.create_or_update_table(frame(0, 1), MINE)
    assert closes(lake) == [1]


def test_options_of_s3_are_for_s3_alone() -> None:
    assert storage_options("az://container/lake", {"a": "b"}) == {"a": "b"}
    assert storage_options("data/lake") == {}


def test_the_region_of_the_profile_counts_if_none_is_given(
    aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-west-1\n[profile other]\nregion = eu-north-1\n")
    aws.setenv("AWS_CONFIG_FILE", str(config))
    assert storage_options("s3://b")["aws_region"] == "eu-west-1"
    aws.setenv("AWS_PROFILE", "other")
    assert storage_options("s3://b")["aws_region"] == "eu-north-1"
    aws.setenv("AWS_REGION", "us-west-2")
    assert storage_options("s3://b")["aws_region"] == "us-west-2"
    assert "aws_region" not in storage_options("s3://b", {"region": "x"})


@pytest.mark.parametrize(
    "options", [{"AWS_PROFILE": "lake"}, {"aws_conditional_put": "disabled"}], ids=str
)
def test_an_option_that_would_do_nothing_or_harm_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"the storage option"):
        storage_options("s3://bucket", options)


def test_every_commit_is_put_only_where_there_is_none(s3: S3Server, s3_address: str) -> None:
    with FaultyStore(s3.endpoint) as store:
        lake = DeltaLakeManager(s3_address, s3.options | {"aws_endpoint": store.endpoint})
        lake.create_or_update_table(frame(0, 1), MINE)
        commits = [asked for asked in store.asked if asked.is_commit]
    assert len(commits) == 2
    assert {asked.headers.get("if-none-match") for asked in commits} == {"*"}


# --- races


def batches(worker: int) -> list[pa.Table]:
    """Batches of one pair that every worker sends partly, and of a pair of its own."""
    shared = [bars("BTCUSD", START + timedelta(hours=6 * n + worker), 24) for n in range(3)]
    return [*shared, bars(f"W{'ABCD'[worker]}USD", START, 24)]


def write(address: str, options: dict[str, str], worker: int, everybody: threading.Barrier) -> None:
    lake = DeltaLakeManager(address, options)
    everybody.wait(120)
    for rows in batches(worker):
        pair = rows["asset_pair"][0].as_py()
        lake.append_if_changed(BRONZE, rows, box(pair, 0, 30))
    lake.append(BRONZE, bars("ONCEUSD", START, 3), once="the same write of everybody")


def run(workers: Sequence[multiprocessing.process.BaseProcess]) -> list[int | None]:
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    return [worker.exitcode for worker in workers]


@pytest.mark.slow
def test_processes_that_write_equal_and_other_rows_lose_none_and_double_none(
    s3: S3Server, s3_address: str
) -> None:
    spawn = multiprocessing.get_context("spawn")
    everybody = spawn.Barrier(4)
    workers = [
        spawn.Process(target=write, args=(s3_address, s3.options, worker, everybody))
        for worker in range(4)
    ]
    assert run(workers) == [0, 0, 0, 0]
    sent = [*[rows for worker in range(4) for rows in batches(worker)], bars("ONCEUSD", START, 3)]
    lake = DeltaLakeManager(s3_address, s3.options)
    assert facts(lake.read(BRONZE.name)) == sorted({*facts(pa.concat_tables(sent))})
