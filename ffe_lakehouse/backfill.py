"""Runs without the daemon: what was planned is executed right here, and says what failed.

Each is a Dagster run like any other, seen in the UI.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run_iterator
from dagster._core.snap import snapshot_from_execution_plan

from ffe_lakehouse.assets.bronze import FAILED, INGEST_PREFIX, REFUSED
from ffe_lakehouse.instance import PROCESS_TAG, this_process
from ffe_lakehouse.marts import Days
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import dead_letters, raw_candles

_Reasons: TypeAlias = Mapping[str, list[str]]


@dataclass(frozen=True)
class Failed:
    """Why something was not loaded.

    Attributes:
        timeframe: Code of the timeframe whose step failed; ``None`` if the whole run did.
        pair: Whose days failed; ``None`` if it is not one pair's fault.
        reason: In words.
        refused: The vendor answered, but too many of its records were rejected.
    """

    timeframe: str | None
    pair: str | None
    reason: str
    refused: bool = False

    def concerns(self, pair: str, timeframe: str) -> bool:
        """Whether this is why ``pair`` was not loaded in ``timeframe``."""
        return self.pair in (None, pair) and self.timeframe in (None, timeframe)


def run_box(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    box: Box,
    config: Mapping[str, str],
    on_materialized: Callable[[dg.AssetMaterialization], None],
) -> list[Failed]:
    """Execute one run in this process; returns what failed in it.

    Args:
        instance: Where it is recorded.
        job: Contains the Bronze assets of all timeframes.
        box: What to load.
        config: Config of the ingestion ops (``IngestConfig``).
        on_materialized: Told about every partition the moment it is stored.
    """
    keys = [
        table_key(table(timeframe))
        for timeframe in box.timeframes
        for table in (dead_letters, raw_candles)
    ]
    failed: list[Failed] = []
    for event in execute(instance, job, box, assets=keys, op_config=dict(config)):
        if event.is_step_materialization:
            on_materialized(event.step_materialization_data.materialization)
        elif event.is_step_failure:
            failed.extend(_failures(event))
        elif event.is_run_failure and not failed:
            failed.append(Failed(None, None, event.message or "the run failed"))
    return failed


def execute(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    box: Box | Days,
    *,
    assets: Iterable[dg.AssetKey] = (),
    checks: Iterable[dg.AssetCheckKey] = (),
    op_config: Mapping[str, str] | None = None,
) -> Iterator[dg.DagsterEvent]:
    """Run a part of ``job`` over ``box`` in this process; yields its events as they happen.

    Args:
        instance: Where the run is recorded.
        job: A job of the code location.
        box: Pairs and days, or days of the portfolio.
        assets: What is materialized.
        checks: What is checked.
        op_config: Config of every op; none, if left out.
    """
    asset_keys, check_keys = frozenset(assets), frozenset(checks)
    subset = job.get_subset(asset_selection=asset_keys, asset_check_selection=check_keys)
    run_config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if op_config is not None:
        run_config["ops"] = {node.name: {"config": op_config} for node in subset.nodes}
    plan_snapshot = snapshot_from_execution_plan(
        create_execution_plan(subset, run_config), subset.get_job_snapshot_id()
    )
    run = instance.create_run(
        job_name=job.name,
        run_id=None,
        run_config=run_config,
        status=None,
        tags={**box.tags, PROCESS_TAG: this_process()},
        root_run_id=None,
        parent_run_id=None,
        step_keys_to_execute=None,
        execution_plan_snapshot=plan_snapshot,
        job_snapshot=subset.get_job_snapshot(),
        parent_job_snapshot=subset.get_parent_job_snapshot(),
        resolved_op_selection=None,
        op_selection=None,
        remote_job_origin=None,
        job_code_origin=None,
        asset_graph=subset.asset_layer.asset_graph,
        asset_selection=asset_keys,
        asset_check_selection=check_keys,
    )
    return execute_run_iterator(InMemoryJob(job), run, instance)


def failure_text(event: dg.DagsterEvent) -> str:
    """Why a step failed: what it said itself, or else the error."""
    data = event.step_failure_data
    said = data.user_failure_data
    return (said.description if said else None) or data.error_display_string


def _failures(event: dg.DagsterEvent) -> list[Failed]:
    timeframe = (event.step_key or "").removeprefix(INGEST_PREFIX)
    data = event.step_failure_data
    said = data.user_failure_data
    if said is not None and FAILED in said.metadata:
        return [
            Failed(timeframe, pair, reason, refused=kind == REFUSED)
            for kind in (FAILED, REFUSED)
            for pair, reasons in cast("_Reasons", said.metadata[kind].value).items()
            for reason in reasons
        ]
    return [
        Failed(timeframe, None, data.error_display_string if data.error else str(event.message))
    ]
