"""Events that a running step reports: they use what lies below Dagster's public API."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ffe_lakehouse.assets.events import data_version_tags, evaluated, finished, materialized
from ffe_lakehouse.instance import prepare_home
from ffe_lakehouse.settings import Settings

ROWS, LETTERS = dg.AssetKey("rows"), dg.AssetKey("letters")
DAYS = dg.StaticPartitionsDefinition(["mon", "tue", "wed"])
EXECUTORS = ["in_process", "multiprocess"]


def stored(instance: dg.DagsterInstance) -> int:
    """How many materializations Dagster knows."""
    return sum(len(instance.fetch_materializations(k, limit=99).records) for k in (ROWS, LETTERS))


@dg.multi_asset(
    specs=[dg.AssetSpec(k, skippable=True, partitions_def=DAYS) for k in (ROWS, LETTERS)],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def batches(context: dg.AssetExecutionContext) -> Iterator[dg.DagsterEvent]:
    """Report two batches of four and two events; write down what is stored after every one."""
    seen = []
    for days in (["mon", "tue"], ["wed"]):
        events = [
            dg.AssetMaterialization(key, partition=day, tags=data_version_tags(f"{day} 1"))
            for day in days
            for key in (LETTERS, ROWS)
        ]
        for event in materialized(context, events):
            yield event
            seen.append(stored(context.instance))
            if context.run.tags.get("dies after") == str(len(seen)):
                raise RuntimeError("as asked")
    Path(context.run.tags["seen"]).write_text(json.dumps(seen))
    if "finishes" in context.run.tags:
        yield from finished(context)


@dg.asset(deps=[ROWS], partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def after() -> None:
    """What depends on the rows."""


@dg.multi_asset_check(
    specs=[dg.AssetCheckSpec(name, asset=ROWS, partitions_def=DAYS) for name in ("even", "odd")],
    can_subset=True,
)
def numbers(context: dg.AssetCheckExecutionContext) -> Iterator[dg.DagsterEvent]:
    """Say of every partition that it is even, and not odd."""
    yield from evaluated(
        context,
        [
            dg.AssetCheckEvaluation(
                asset_key=ROWS,
                check_name=name,
                partition=day,
                passed=name == "even",
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"day": day},
            )
            for name in ("even", "odd")
            for day in DAYS.get_partition_keys()
        ],
    )
    yield from finished(context)


def job() -> dg.JobDefinition:
    """Everything; also what a child process of the multiprocess executor loads."""
    everything = dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks()
    named = dg.define_asset_job("everything", selection=everything)
    definitions = dg.Definitions(assets=[batches, after], asset_checks=[numbers], jobs=[named])
    return definitions.resolve_job_def("everything")


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance as ``ffe`` makes it, with its event log."""
    for name in ("DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE"):
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    prepare_home(Settings(home=tmp_path))
    with dg.DagsterInstance.get() as opened:
        yield opened


def run(
    instance: dg.DagsterInstance, executor: str, seen: Path, **tags: str
) -> tuple[bool, list[Any]]:
    """Run all partitions; whether it went well, and which steps succeeded."""
    ends = {
        "dagster/asset_partition_range_start": "mon",
        "dagster/asset_partition_range_end": "wed",
    }
    with dg.execute_job(
        dg.reconstructable(job),
        instance=instance,
        tags={**ends, "seen": str(seen), **tags},
        run_config={"execution": {"config": {executor: {}}}},
    ) as result:
        events = result.all_events
        return result.success, [event.step_key for event in events if event.is_step_success]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_batch_is_stored_whole_while_the_step_runs_and_nothing_is_stored_twice(
    instance: dg.DagsterInstance, tmp_path: Path, executor: str
) -> None:
    success, steps = run(instance, executor, tmp_path / "seen", finishes="yes")
    assert success
    assert json.loads((tmp_path / "seen").read_text()) == [0, 0, 0, 4, 4, 6]
    for key in (ROWS, LETTERS):
        records = instance.fetch_materializations(key, limit=99).records
        assert Counter(r.partition_key for r in records) == Counter(DAYS.get_partition_keys())
    assert sorted(steps) == ["after", "batches", "numbers"]
    assert instance.get_materialized_partitions(dg.AssetKey("after")) == {"mon", "tue", "wed"}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_without_finished_what_depends_on_the_step_is_skipped(
    instance: dg.DagsterInstance, tmp_path: Path, executor: str
) -> None:
    success, steps = run(instance, executor, tmp_path / "seen")
    assert success
    assert "after" not in steps
    assert stored(instance) == 6


@pytest.mark.parametrize(("dies_after", "kept"), [(2, 0), (4, 4), (5, 4)])
def test_of_a_batch_that_is_cut_off_nothing_is_stored_and_earlier_ones_stay(
    instance: dg.DagsterInstance, tmp_path: Path, dies_after: int, kept: int
) -> None:
    tags = {"dies after": str(dies_after)}
    success, _ = run(instance, "in_process", tmp_path / "seen", **tags)
    assert not success
    assert stored(instance) == kept
    known = instance.get_materialized_partitions(ROWS)
    statuses = instance.get_status_by_partition(ROWS, DAYS.get_partition_keys(), DAYS) or {}
    failed = {key for key, status in statuses.items() if status and status.value == "FAILED"}
    assert known == ({"mon", "tue"} if kept else set())
    assert failed == set(DAYS.get_partition_keys()) - known


@pytest.mark.parametrize("executor", EXECUTORS)
def test_checks_say_something_of_every_partition(
    instance: dg.DagsterInstance, tmp_path: Path, executor: str
) -> None:
    assert run(instance, executor, tmp_path / "seen", finishes="yes")[0]
    storage = instance.event_log_storage
    for name in ("even", "odd"):
        key = dg.AssetCheckKey(ROWS, name)
        records = storage.get_asset_check_execution_history(key, limit=99)
        told = {}
        for record in records:
            assert record.event is not None
            assert record.event.dagster_event is not None
            evaluation = record.event.dagster_event.asset_check_evaluation_data
            told[evaluation.partition] = evaluation.passed, evaluation.metadata["day"].value
        assert told == {day: (name == "even", day) for day in DAYS.get_partition_keys()}


def test_a_data_version_is_the_one_that_was_given(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run(instance, "in_process", tmp_path / "seen", finishes="yes")
    (event, *_) = instance.fetch_materializations(ROWS, limit=1).records
    assert event.asset_materialization is not None
    assert (event.asset_materialization.tags or {})["dagster/data_version"] == "wed 1"
