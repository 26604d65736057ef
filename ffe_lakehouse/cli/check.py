"""``ffe check``: run the asset checks over what is loaded."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence

import dagster as dg
import typer
from rich.console import Console
from rich.table import Table

from ffe_lakehouse.automation.jobs import CHECKING
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.checks import CHECKS, ERROR
from ffe_lakehouse.cli import options
from ffe_lakehouse.cli.progress import Progress
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.letter_checks import OPEN_LETTERS
from ffe_lakehouse.partitions import ASSET_PAIR, table_key
from ffe_lakehouse.planning import Box, plan, select_days
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings

_SHOWN = 5


def check(
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    days: options.Days = None,
    start: options.Start = None,
    end: options.End = None,
    as_json: options.AsJson = False,
) -> None:
    """Run the asset checks over what is loaded.

    The exit code is 1 if a check of severity ERROR fails; warnings are shown.
    """
    wanted = options.timeframes(timeframes)
    chosen = options.day_range(days, start, end)
    console = options.console(stderr=as_json)
    from ffe_lakehouse.definitions import defs

    job = defs().resolve_job_def(CHECKING)
    with open_instance(get_settings()) as instance:
        pairs = options.known_pairs(instance, assets)
        loaded = select_days(
            instance, pairs, wanted, chosen, utc_now(), lambda state: state.is_loaded
        )
        boxes = plan(loaded, instance.get_dynamic_partitions(ASSET_PAIR))
        evaluations: list[dg.AssetCheckEvaluation] = []
        errors: list[str] = []
        with Progress(sum(map(_size, boxes)), console) as progress:
            for box in boxes:
                for event in _run(instance, job, box):
                    if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                        evaluation = event.asset_check_evaluation_data
                        evaluations.append(evaluation)
                        progress.update(
                            successful=int(not _fails(evaluation)), failed=int(_fails(evaluation))
                        )
                    elif event.is_step_failure:
                        errors.append(event.step_failure_data.error_display_string)
    if as_json:
        typer.echo(json.dumps([_as_dict(evaluation) for evaluation in evaluations], indent=2))
    else:
        _print(evaluations, console)
    for error in errors:
        console.print(f"A check could not be run: {error}")
    failed = any(map(_fails, evaluations))
    raise typer.Exit(1 if failed or errors else 0)


def _fails(evaluation: dg.AssetCheckEvaluation) -> bool:
    return not evaluation.passed and evaluation.severity is ERROR


def _size(box: Box) -> int:
    return box.partitions * (len(CHECKS) + 1)


def _run(
    instance: dg.DagsterInstance, job: dg.JobDefinition, box: Box
) -> Iterator[dg.DagsterEvent]:
    bars = {
        dg.AssetCheckKey(table_key(raw_candles(timeframe)), name)
        for timeframe in box.timeframes
        for name in CHECKS
    }
    letters = {
        dg.AssetCheckKey(table_key(dead_letters(timeframe)), OPEN_LETTERS)
        for timeframe in box.timeframes
    }
    return execute(instance, job, box, checks=bars | letters)


def _as_dict(evaluation: dg.AssetCheckEvaluation) -> dict[str, object]:
    return {
        "asset": evaluation.asset_key.to_user_string(),
        "check": evaluation.check_name,
        "partition": evaluation.partition,
        "passed": evaluation.passed,
        "severity": evaluation.severity.value,
        "count": evaluation.metadata["count"].value,
        "sample": _sample(evaluation),
    }


def _print(evaluations: Sequence[dg.AssetCheckEvaluation], console: Console) -> None:
    """A line a table, and the first findings of every check that did not pass."""
    of_table: dict[str, list[dg.AssetCheckEvaluation]] = defaultdict(list)
    broken: dict[tuple[str, str], list[dg.AssetCheckEvaluation]] = defaultdict(list)
    for evaluation in evaluations:
        table = evaluation.asset_key.to_user_string()
        of_table[table].append(evaluation)
        if not evaluation.passed:
            broken[table, evaluation.check_name].append(evaluation)
    overview = Table("table", "partitions", "checks", "not passed", box=None, pad_edge=False)
    for table, group in of_table.items():
        names = {evaluation.check_name for evaluation in group}
        marks = [
            f"{name} ({_worst(broken[table, name])}, {len(broken[table, name])})"
            for name in sorted(names)
            if (table, name) in broken
        ]
        partitions = len({evaluation.partition for evaluation in group})
        overview.add_row(table, str(partitions), str(len(names)), ", ".join(marks) or "-")
    console.print(overview)
    for (table, name), found in sorted(broken.items()):
        for evaluation in found[:_SHOWN]:
            count = evaluation.metadata["count"].value
            place = f"{table} {evaluation.partition}"
            console.print(f"{evaluation.severity.value} {name} {place}: {count}")
            for line in _sample(evaluation).splitlines()[:_SHOWN]:
                console.print(f"    {line}")
        if len(found) > _SHOWN:
            console.print(f"    and {len(found) - _SHOWN} partitions more")


def _worst(evaluations: Sequence[dg.AssetCheckEvaluation]) -> str:
    return ERROR.value if any(map(_fails, evaluations)) else evaluations[0].severity.value


def _sample(evaluation: dg.AssetCheckEvaluation) -> str:
    sample = evaluation.metadata.get("sample")
    return str(sample.value) if sample else ""
