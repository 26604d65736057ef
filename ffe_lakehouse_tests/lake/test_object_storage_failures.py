"""Object storage that fails: what is said, and that no table is harmed, emptied or doubled."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from socket import create_server

import numpy as np
import pandas as pd
import pytest

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, bars, box, facts
from ffe_lakehouse_tests.doubles.s3 import S3Server
from ffe_lakehouse_tests.doubles.s3_faults import (
    DENIED,
    EXPIRED,
    LOST,
    SLOW_DOWN,
    Asked,
    FaultyStore,
)

BRONZE = raw_candles(TIMEFRAMES["1h"])
FREE = replace(BRONZE, append_only=False)
MONTH = box("BTCUSD", 0, 30)
THERE = bars("BTCUSD", START, 3)
MORE = bars("BTCUSD", START, 6)
MINE = "silver/mine"
IMPATIENT = {"max_retries": "2"}

Call = Callable[[DeltaLakeManager], object]
Writer = Callable[[str, dict[str, str]], None]
CALLS: dict[str, Call] = {
    "exists": lambda lake: lake.table_exists(BRONZE.name),
    "history": lambda lake: lake.get_table_history(BRONZE.name),
    "open": lambda lake: lake.table(BRONZE.name),
    "read": lambda lake: lake.read(BRONZE.name),
    "read_table": lambda lake: lake.read_table(BRONZE.name),
    "create_or_update_table": lambda lake: lake.create_or_update_table(MORE, BRONZE.name),
    "append_if_changed": lambda lake: lake.append_if_changed(BRONZE, MORE, MONTH),
    "merge_if_changed": lambda lake: lake.merge_if_changed(FREE, MORE, MONTH),
    "new table": lambda lake: lake.create_or_update_table(MORE, MINE, ["asset_pair"]),
    "optimize": lambda lake: lake.optimize_table(BRONZE.name),
}
WRITES = ("create_or_update_table", "append_if_changed", "merge_if_changed", "new table")


@pytest.fixture
def sound(s3: S3Server, s3_address: str) -> DeltaLakeManager:
    """A lake with a table of ``THERE``, which nothing stands in the way of."""
    lake = DeltaLakeManager(s3_address, s3.options)
    lake.append(FREE, THERE)
    return lake


@pytest.fixture
def store(s3: S3Server) -> Iterator[FaultyStore]:
    with FaultyStore(s3.endpoint) as store:
        yield store


@pytest.fixture
def lake(s3: S3Server, sound: DeltaLakeManager, store: FaultyStore) -> DeltaLakeManager:
    """The same lake, through the store whose requests go wrong."""
    options = s3.options | {"aws_endpoint": store.endpoint} | IMPATIENT
    return DeltaLakeManager(sound.storage_path, options)


def assert_intact(sound: DeltaLakeManager) -> None:
    again = DeltaLakeManager(sound.storage_path, sound._options)
    assert facts(again.read(BRONZE.name)) == facts(THERE)
    again.append_if_changed(BRONZE, MORE, MONTH)
    assert facts(again.read(BRONZE.name)) == facts(MORE)


# --- refused, or not there


@pytest.mark.parametrize(
    ("wrong", "call"),
    [
        *(({"aws_secret_access_key": "wrong-secret"}, call) for call in CALLS),
        ({"aws_access_key_id": "unknown"}, "exists"),
    ],
)
def test_wrong_credentials_are_an_error_and_no_empty_lake(
    s3: S3Server, sound: DeltaLakeManager, wrong: dict[str, str], call: str
) -> None:
    lake = DeltaLakeManager(sound.storage_path, s3.options | wrong)
    with pytest.raises(OSError, match="the object store refuses these credentials") as caught:
        CALLS[call](lake)
    assert str(caught.value).startswith(sound.storage_path)
    assert "\x1b" not in str(caught.value)
    assert_intact(sound)


@pytest.mark.parametrize("call", CALLS)
def test_credentials_that_expire_are_an_error_that_says_so(
    sound: DeltaLakeManager, lake: DeltaLakeManager, store: FaultyStore, call: str
) -> None:
    lake.read(BRONZE.name)
    store.rule = lambda _: EXPIRED
    with pytest.raises(OSError, match="the credentials have expired: get new ones"):
        CALLS[call](lake)
    assert_intact(sound)


@pytest.mark.parametrize("call", CALLS)
def test_a_bucket_that_is_not_there_is_an_error_and_no_empty_lake(s3: S3Server, call: str) -> None:
    lake = DeltaLakeManager("s3://nowhere/lake", s3.options)
    with pytest.raises(OSError, match="no such bucket: make it, or correct FFE_STORAGE_PATH"):
        CALLS[call](lake)


@pytest.mark.parametrize("call", ["exists", "read_table", "append_if_changed"])
def test_a_server_that_is_down_is_an_error_that_names_it(s3: S3Server, call: str) -> None:
    with create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    lake = DeltaLakeManager("s3://lake/x", s3.options | {"aws_endpoint": endpoint} | IMPATIENT)
    with pytest.raises(OSError, match=f"cannot be reached: look at its endpoint.*{endpoint}"):
        CALLS[call](lake)


def test_no_credentials_are_an_error_that_says_which_there_could_be(
    s3: S3Server, aws: pytest.MonkeyPatch
) -> None:
    lake = DeltaLakeManager("s3://lake/x", {"aws_endpoint": s3.endpoint})
    with pytest.raises(OSError, match="no credentials are found: set AWS_ACCESS_KEY_ID"):
        lake.table_exists(MINE)


@pytest.mark.parametrize("call", WRITES)
@pytest.mark.parametrize("what", ["data", "commit"])
def test_credentials_that_may_only_read_write_nothing(
    sound: DeltaLakeManager, lake: DeltaLakeManager, store: FaultyStore, call: str, what: str
) -> None:
    store.rule = lambda asked: (
        DENIED if asked.method == "PUT" and asked.is_commit is (what == "commit") else None
    )
    with pytest.raises(OSError, match="refuses these credentials, or they may not do this here"):
        CALLS[call](lake)
    store.rule = lambda _: None
    assert facts(lake.read(BRONZE.name)) == facts(THERE)
    # What a table is to be comes before its rows.
    assert not sound.table_exists(MINE) or sound.read_table(MINE).empty
    assert_intact(sound)


def test_credentials_that_may_not_delete_delete_nothing(
    sound: DeltaLakeManager, lake: DeltaLakeManager, store: FaultyStore
) -> None:
    sound.create_or_update_table(MORE, MINE)
    sound.create_or_update_table(MORE, MINE, mode="overwrite", whole_table=True)
    store.rule = lambda asked: DENIED if asked.method in ("POST", "DELETE") else None
    with pytest.raises(OSError, match="refuses these credentials"):
        lake.vacuum_table(MINE, 0, allow_short_retention=True)
    assert sound.read_table(MINE, version=1).equals(sound.read_table(MINE))


# --- too much, and lost


# delta-rs holds the interpreter while it reads a history: nobody could answer here.
@pytest.mark.parametrize("call", [call for call in CALLS if call != "history"])
def test_a_store_that_asks_to_slow_down_is_asked_again(
    sound: DeltaLakeManager, lake: DeltaLakeManager, store: FaultyStore, call: str
) -> None:
    store.first(2, SLOW_DOWN)
    CALLS[call](lake)
    assert len(store.asked) > 2
    rows = facts(sound.read(BRONZE.name))
    writes = call == "create_or_update_table" or call.endswith("_if_changed")
    assert rows == facts(MORE if writes else THERE)


@pytest.mark.parametrize("call", ["exists", "read_table", "append_if_changed", "optimize"])
def test_a_store_that_asks_for_ever_to_slow_down_is_an_error(
    sound: DeltaLakeManager, lake: DeltaLakeManager, store: FaultyStore, call: str
) -> None:
    store.rule = lambda _: SLOW_DOWN
    with pytest.raises(OSError, match="asks for fewer requests: try again later"):
        CALLS[call](lake)
    assert_intact(sound)


@pytest.mark.parametrize("call", ["append_if_changed", "merge_if_changed", "once", "append"])
def test_a_commit_whose_answer_is_lost_is_there_once(
    sound: DeltaLakeManager, lake: DeltaLakeManager, store: FaultyStore, call: str
) -> None:
    new = MORE.slice(3)
    calls = CALLS | {
        "once": lambda lake: lake.append(BRONZE, new, once="run"),
        "append": lambda lake: lake.create_or_update_table(new, BRONZE.name),
    }
    store.first(1, LOST, lambda asked: asked.is_commit)
    calls[call](lake)
    assert facts(sound.read(BRONZE.name)) == facts(MORE)


def test_a_new_table_whose_first_commit_loses_its_answer_is_there_once(
    lake: DeltaLakeManager, sound: DeltaLakeManager, store: FaultyStore
) -> None:
    store.first(1, LOST, lambda asked: asked.is_commit)
    lake.create_or_update_table(MORE, MINE)
    assert facts(sound.read_table(MINE, to="arrow")) == facts(MORE)


# --- killed


def large() -> pd.DataFrame:
    """Rows that do not compress: 24 MB, which are sent in parts."""
    return pd.DataFrame({"value": np.random.default_rng(0).random(3_000_000)})


def write_large(address: str, options: dict[str, str]) -> None:
    DeltaLakeManager(address, options).create_or_update_table(large(), MINE)


def write_bars(address: str, options: dict[str, str]) -> None:
    DeltaLakeManager(address, options).append_if_changed(BRONZE, MORE, MONTH)


def killed_at(
    store: FaultyStore, lake: DeltaLakeManager, write: Writer, when: Callable[[Asked], bool]
) -> None:
    """Have another process write, and kill it when its request arrives that ``when`` picks."""
    spawn = multiprocessing.get_context("spawn")
    writer = spawn.Process(target=write, args=(lake.storage_path, lake._options))

    def rule(asked: Asked) -> None:
        if when(asked) and writer.pid:
            os.kill(writer.pid, signal.SIGKILL)

    store.rule = rule
    writer.start()
    writer.join(120)
    store.rule = lambda _: None
    assert writer.exitcode == -signal.SIGKILL


def test_a_writer_that_is_killed_between_the_parts_of_a_file_leaves_the_table_as_it_was(
    sound: DeltaLakeManager, lake: DeltaLakeManager, store: FaultyStore
) -> None:
    few = pd.DataFrame({"value": [1.0]})
    sound.create_or_update_table(few, MINE)
    parts: list[Asked] = []

    def second_part(asked: Asked) -> bool:
        parts.extend([asked] if asked.is_part else [])
        return len(parts) == 2

    killed_at(store, lake, write_large, second_part)
    assert sound.read_table(MINE).equals(few)
    sound.create_or_update_table(few, MINE)
    assert sound.read_table(MINE)["value"].tolist() == [1.0, 1.0]
    assert_intact(sound)


def test_a_writer_that_is_killed_while_it_commits_has_written_all_or_nothing(
    sound: DeltaLakeManager, lake: DeltaLakeManager, store: FaultyStore
) -> None:
    killed_at(store, lake, write_bars, lambda asked: asked.is_commit)
    assert facts(sound.read(BRONZE.name)) in (facts(THERE), facts(MORE))
    sound.append_if_changed(BRONZE, MORE, MONTH)
    assert facts(sound.read(BRONZE.name)) == facts(MORE)


def test_a_file_that_cannot_be_read_is_an_error_and_no_missing_rows(
    lake: DeltaLakeManager, store: FaultyStore
) -> None:
    store.rule = lambda asked: DENIED if ".parquet" in asked.path else None
    for call in ("read", "read_table"):
        with pytest.raises(OSError, match="refuses these credentials"):
            CALLS[call](lake)
