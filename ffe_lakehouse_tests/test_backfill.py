"""Backfills: which days are due, as which runs, and what becomes of runs whose process is gone."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.automation.jobs import INGESTION
from ffe_lakehouse.backfill import Failed, execute, run_box
from ffe_lakehouse.definitions import below_gold
from ffe_lakehouse.instance import PROCESS_TAG, fail_dead_runs, this_process
from ffe_lakehouse.partitions import ASSET_PAIR, contiguous, partition_key, table_key
from ffe_lakehouse.planning import Box, is_due, plan, select_days
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.watermarks import State, data_version, partition_states

PAIRS = ["BTCUSD", "ETHUSD", "EURUSD", "SOLUSD"]
HOUR, DAY = TIMEFRAMES["1h"], TIMEFRAMES["1d"]
FIRST, LAST = date(2024, 1, 1), date(2024, 1, 3)
NOW = datetime(2024, 6, 1, tzinfo=UTC)
TABLE = table_key(raw_candles(HOUR))

Selected = dict[tuple[str, Timeframe], list[date]]

selections = st.dictionaries(
    st.tuples(st.sampled_from(PAIRS), st.sampled_from([HOUR, DAY, TIMEFRAMES["1m"]])),
    st.lists(st.integers(0, 9).map(lambda n: FIRST + timedelta(n)), min_size=1, max_size=10),
)


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("FFE_HOME", str(tmp_path))
    get_settings.cache_clear()
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions(ASSET_PAIR, PAIRS)
        yield made
    get_settings.cache_clear()


def partitions(box: Box) -> list[tuple[str, Timeframe, date]]:
    days = [box.first + timedelta(n) for n in range((box.last - box.first).days + 1)]
    return [(pair, code, day) for pair in box.pairs for code in box.timeframes for day in days]


@given(selected=selections)
def test_the_runs_cover_the_selected_days_exactly_once(selected: Selected) -> None:
    covered = Counter(each for box in plan(selected, PAIRS) for each in partitions(box))
    wanted = {(pair, code, day) for (pair, code), days in selected.items() for day in days}
    assert covered == Counter(wanted)


@given(selected=selections)
def test_a_run_is_a_box_of_neighbours_and_counts_its_partitions(selected: Selected) -> None:
    for box in plan(selected, PAIRS):
        place = PAIRS.index(box.pairs[0])
        assert list(box.pairs) == PAIRS[place : place + len(box.pairs)]
        assert list(box.timeframes) == sorted(set(box.timeframes))
        assert box.partitions == len(partitions(box))


@given(selected=selections)
def test_there_are_never_more_runs_than_windows_of_a_pair(selected: Selected) -> None:
    windows = {window for (pair, _), days in selected.items() for window in contiguous(pair, days)}
    assert len(plan(selected, PAIRS)) <= len(windows)


@given(
    pairs=st.sets(st.sampled_from(PAIRS)),
    days=st.sets(st.integers(0, 9).map(lambda n: FIRST + timedelta(n)), min_size=1),
)
def test_what_is_alike_is_one_run_a_window_and_row_of_neighbours(
    pairs: set[str], days: set[date]
) -> None:
    selected = {(pair, code): sorted(days) for pair in pairs for code in (DAY, HOUR)}
    rows = sum(pair in pairs and before not in pairs for before, pair in zip(["", *PAIRS], PAIRS))  # noqa: B905
    windows = len(list(contiguous("", days)))
    assert len(plan(selected, PAIRS)) == rows * windows


def test_the_runs_of_a_whole_backfill_are_one() -> None:
    days = [FIRST + timedelta(n) for n in range(90)]
    selected = {(pair, code): days for pair in PAIRS for code in TIMEFRAMES.values()}
    (box,) = plan(selected, PAIRS)
    assert box == Box(tuple(PAIRS), days[0], days[-1], tuple(sorted(TIMEFRAMES.values())))
    assert plan({}, PAIRS) == []


@pytest.mark.parametrize("state", State)
def test_what_is_not_done_is_due_and_a_living_run_is_left_alone(state: State) -> None:
    assert is_due(state) is (not state.is_done and state is not State.IN_PROGRESS)
    assert is_due(state, force=True) is (state is not State.IN_PROGRESS)


def test_days_are_selected_by_their_state(instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            TABLE,
            partition=partition_key("BTCUSD", date(2024, 1, 2)),
            tags={"dagster/data_version": data_version(date(2024, 1, 2), NOW, 24, ["tests"])},
        )
    )

    def select(*pairs: str, force: bool = False) -> Selected:
        wanted = lambda state: is_due(state, force=force)  # noqa: E731
        return select_days(instance, pairs, [HOUR, DAY], (FIRST, LAST), NOW, wanted)

    days = [FIRST, date(2024, 1, 2), LAST]
    assert select("BTCUSD") == {("BTCUSD", HOUR): [FIRST, LAST], ("BTCUSD", DAY): days}
    assert select("BTCUSD", force=True) == {("BTCUSD", HOUR): days, ("BTCUSD", DAY): days}
    done = select_days(instance, PAIRS, [HOUR], (FIRST, LAST), NOW, lambda state: state.is_done)
    assert done == {("BTCUSD", HOUR): [date(2024, 1, 2)]}


def load(
    instance: dg.DagsterInstance, *timeframes: Timeframe, provider: str = "simulated"
) -> tuple[list[Failed], list[dg.AssetMaterialization]]:
    """Run three days of three pairs; what failed, and what was told meanwhile."""
    told: list[dg.AssetMaterialization] = []
    job = below_gold().resolve_job_def(INGESTION)
    box = Box(tuple(PAIRS[:3]), FIRST, LAST, timeframes or (HOUR,))
    return run_box(instance, job, box, {"provider": provider}, told.append), told


def test_a_run_tells_of_every_partition_and_is_seen_in_dagster(
    instance: dg.DagsterInstance,
) -> None:
    failed, told = load(instance, HOUR, DAY)
    assert failed == []
    tables = {table_key(of(code)) for of in (dead_letters, raw_candles) for code in (HOUR, DAY)}
    partitions = Counter((event.asset_key, event.partition) for event in told)
    assert len(partitions) == len(tables) * 9
    assert set(partitions.values()) == {1}
    (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.job_name == INGESTION
    assert run.asset_selection == tables
    assert run.tags["dagster/asset_partition_range_start"] == partition_key("BTCUSD", FIRST)
    assert run.tags["dagster/asset_partition_range_end"] == partition_key("EURUSD", LAST)
    assert run.tags[PROCESS_TAG] == this_process()


def test_a_pair_that_fails_is_named_with_its_reason_and_the_others_are_told_of(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_SIMULATED_FAULTS__FAILING_PAIRS", '["ETHUSD"]')
    get_settings.cache_clear()
    failed, told = load(instance)
    (reason,) = failed
    assert (reason.timeframe, reason.pair, reason.refused) == ("1h", "ETHUSD", False)
    assert reason.reason == "2024-01-01 to 2024-01-03: timeout: ETHUSD: no answer (simulated)"
    assert reason.concerns("ETHUSD", "1h")
    assert not reason.concerns("ETHUSD", "1d")
    assert not reason.concerns("BTCUSD", "1h")
    assert len(told) == 2 * 2 * 3


def test_refused_days_are_told_apart_from_failed_ones(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_SIMULATED_FAULTS__BAD_ROWS", "0.5")
    get_settings.cache_clear()
    failed, told = load(instance)
    assert {(each.timeframe, each.pair) for each in failed} == {("1h", p) for p in PAIRS[:3]}
    assert all(each.refused and "records rejected" in each.reason for each in failed)
    assert {event.asset_key for event in told} == {table_key(dead_letters(HOUR))}


def test_a_step_that_fails_before_it_knows_a_pair_concerns_them_all(
    instance: dg.DagsterInstance,
) -> None:
    failed, told = load(instance, provider="acme")
    assert told == []
    (reason,) = failed
    assert (reason.timeframe, reason.pair) == ("1h", None)
    assert "unknown provider 'acme'" in reason.reason
    assert reason.concerns("BTCUSD", "1h")
    assert not reason.concerns("BTCUSD", "1d")


def test_a_run_that_fails_as_a_whole_concerns_everything() -> None:
    assert Failed(None, None, "the run failed").concerns("BTCUSD", "1h")


def unfinished_run(instance: dg.DagsterInstance, process: str | None) -> str:
    """A run that was planned and never begun, by ``process``."""
    job = below_gold().resolve_job_def(INGESTION)
    both = [TABLE, table_key(dead_letters(HOUR))]
    execute(instance, job, Box(("BTCUSD",), FIRST, LAST, (HOUR,)), assets=both)
    run_id = instance.get_runs(limit=1)[0].run_id
    if process is not None:
        instance.add_run_tags(run_id, {PROCESS_TAG: process})
    return run_id


def states(instance: dg.DagsterInstance) -> set[State]:
    return set(partition_states(instance, TABLE, ["BTCUSD"], FIRST, LAST, NOW).values())


def dead_process() -> str:
    """A process that was here, and is gone."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(child.pid).create_time()
    child.communicate(b"\n")
    return f"{socket.gethostname()}:{child.pid}:{started:.0f}"


def test_the_run_of_a_dead_process_is_failed_and_its_days_are_due_again(
    instance: dg.DagsterInstance,
) -> None:
    run_id = unfinished_run(instance, dead_process())
    assert states(instance) == {State.IN_PROGRESS}
    assert fail_dead_runs(instance) == [run_id]
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert states(instance) == {State.FAILED}
    assert fail_dead_runs(instance) == []
    assert load(instance)[0] == []
    assert states(instance) == {State.COMPLETE}


def test_the_run_of_a_living_process_is_left_alone(instance: dg.DagsterInstance) -> None:
    unfinished_run(instance, None)
    assert fail_dead_runs(instance) == []
    assert states(instance) == {State.IN_PROGRESS}


def test_a_process_number_that_is_used_again_does_not_keep_a_run_alive(
    instance: dg.DagsterInstance,
) -> None:
    host, pid, start = this_process().rsplit(":", 2)
    assert int(pid) == os.getpid()
    run_id = unfinished_run(instance, f"{host}:{pid}:{int(start) - 100}")
    assert fail_dead_runs(instance) == [run_id]


@pytest.mark.parametrize("host", ["another-machine", "::1"])
def test_nobody_knows_of_the_processes_of_another_machine(
    instance: dg.DagsterInstance, host: str
) -> None:
    unfinished_run(instance, f"{host}:1:1")
    assert fail_dead_runs(instance) == []


def test_runs_that_others_launched_or_that_are_over_are_left_alone(
    instance: dg.DagsterInstance,
) -> None:
    load(instance)
    (over,) = instance.get_runs()
    instance.add_run_tags(over.run_id, {PROCESS_TAG: dead_process()})
    by_the_daemon = instance.create_run_for_job(
        below_gold().resolve_job_def(INGESTION), status=dg.DagsterRunStatus.STARTED
    )
    assert fail_dead_runs(instance) == []
    left = instance.get_run_by_id(by_the_daemon.run_id)
    assert left is not None
    assert left.status is dg.DagsterRunStatus.STARTED


def run_of_a_code_server(instance: dg.DagsterInstance, path: Path) -> str:
    """A run that the daemon has launched through the server at ``path``."""
    run = instance.create_run_for_job(
        below_gold().resolve_job_def(INGESTION), status=dg.DagsterRunStatus.STARTED
    )
    server = json.dumps({"host": "localhost", "socket": str(path)})
    instance.add_run_tags(run.run_id, {GRPC_INFO_TAG: server})
    return run.run_id


def test_a_run_whose_code_server_is_gone_is_marked_as_failed(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    path = tmp_path / "server"
    run_id = run_of_a_code_server(instance, path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert fail_dead_runs(instance) == []
    assert fail_dead_runs(instance) == [run_id], "the file is there, and nobody listens"
    path.unlink()
    other = run_of_a_code_server(instance, path)
    assert fail_dead_runs(instance) == [other]
