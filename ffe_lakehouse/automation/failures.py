"""Why a run failed, as its own events say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import dagster as dg

from ffe_lakehouse.assets.bronze import FAILED, INGEST_PREFIX, REFUSED
from ffe_lakehouse.timeframes import Timeframe

_LONGEST = 300


@dataclass(frozen=True)
class StepFailure:
    """One step that failed.

    Attributes:
        step: Its key; empty if the run failed outside of its steps.
        reason: In words, one line.
        of_pair: Reasons by pair, where single pairs failed.
    """

    step: str
    reason: str
    of_pair: Mapping[str, Sequence[str]]


def is_a_load(step: str) -> bool:
    """Whether the step of this key loads candles: of its failure the partitions tell, by pair."""
    return step.startswith(INGEST_PREFIX)


def step_failures(instance: dg.DagsterInstance, run_id: str) -> list[StepFailure]:
    """The failed steps of a run; if there are none, why the run failed as a whole."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [
        record.event_log_entry.dagster_event
        for record in instance.get_records_for_run(run_id, of_type=kinds).records
    ]
    steps = [_of_step(event) for event in events if event and event.is_step_failure]
    return steps or [
        StepFailure("", _line(event.message), {})
        for event in events
        if event and event.is_run_failure
    ]


def reason_of(failures: Sequence[StepFailure], pair: str, timeframe: Timeframe) -> str:
    """Why a run with these failures did not load ``pair`` in ``timeframe``."""
    step = f"{INGEST_PREFIX}{timeframe}"
    own = [failure for failure in failures if failure.step == step]
    for failure in own:
        if pair in failure.of_pair:
            first, *more = failure.of_pair[pair]
            return _line(first) + (f" (and {len(more)} more)" if more else "")
    return "; ".join(failure.reason for failure in own or failures) or "no reason was recorded"


def _of_step(event: dg.DagsterEvent) -> StepFailure:
    data = event.step_failure_data
    said = data.user_failure_data
    if said is not None:
        by_kind = [
            cast("Mapping[str, list[str]]", said.metadata[kind].value)
            for kind in (FAILED, REFUSED)
            if kind in said.metadata
        ]
        pairs = dict.fromkeys(pair for of_pair in by_kind for pair in of_pair)
        of_pair = {pair: [r for each in by_kind for r in each.get(pair, [])] for pair in pairs}
        return StepFailure(str(event.step_key), _line(said.description), of_pair)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return StepFailure(str(event.step_key), _line(error.message if error else event.message), {})


def _line(text: str | None) -> str:
    words = " ".join((text or "").split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
