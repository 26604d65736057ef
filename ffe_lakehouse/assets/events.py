"""Materializations that are reported while a step is still running.

Dagster reports the partitions of a step's output when the step ends. A backfill that is killed
would have to start over, and of a step in which one pair fails, no partition would count. So a step
that commits batch by batch also reports batch by batch. What is used of Dagster for that lies below
its public API; it is all in this module, and ``test_events`` fails when it changes.
"""

from collections.abc import Collection, Iterator, Sequence
from uuid import uuid4

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.data_version import (
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
)
from dagster._core.events import DagsterEventBatchMetadata
from dagster._core.execution.plan.outputs import StepOutputData, StepOutputHandle


def materialized(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    events: Sequence[dg.AssetMaterialization],
) -> Iterator[dg.DagsterEvent]:
    """Report partitions now, stored as one batch."""
    step = context.get_step_execution_context()
    batch = str(uuid4())
    for number, event in enumerate(events, 1):
        metadata = DagsterEventBatchMetadata(batch, is_end=number == len(events))
        yield dg.DagsterEvent.asset_materialization(step, event, metadata)


def evaluated(
    context: dg.AssetCheckExecutionContext, evaluations: Sequence[dg.AssetCheckEvaluation]
) -> Iterator[dg.DagsterEvent]:
    """Report the results of checks, each of its own partition, stored as one batch.

    An ``AssetCheckResult`` of a run over several partitions would belong to none of them.
    """
    step = context.get_step_execution_context()
    batch = str(uuid4())
    for number, evaluation in enumerate(evaluations, 1):
        yield dg.DagsterEvent.from_step(
            dg.DagsterEventType.ASSET_CHECK_EVALUATION,
            step,
            evaluation,
            f"Asset check {evaluation.check_name}"
            f" {'passed' if evaluation.passed else 'did not pass'} on {evaluation.partition}.",
            DagsterEventBatchMetadata(batch, is_end=number == len(evaluations)),
        )


def target(record: dg.EventLogRecord) -> AssetCheckEvaluationTargetMaterializationData:
    """The materialization that a check has looked at."""
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )


def finished(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    but: Collection[str] = (),
) -> Iterator[dg.DagsterEvent]:
    """Say that every output of the step was made, so that what depends on it in the run goes on.

    An ``Output`` would say so too, but report every partition a second time.

    Args:
        context: Of the step.
        but: Outputs that say it themselves: those of checks in an asset's own step.
    """
    step = context.get_step_execution_context()
    for name in sorted(context.op_execution_context.selected_output_names - set(but)):
        handle = StepOutputHandle(step.step.key, name)
        yield dg.DagsterEvent.step_output_event(step, StepOutputData(handle))


def data_version_tags(version: str) -> dict[str, str]:
    """Tags that give a materialization its data version."""
    return {DATA_VERSION_TAG: version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
