"""``ffe check``: run the asset checks over what is loaded."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.automation.jobs import CHECKING, MARTS, PORTFOLIO
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.checks import CHECKS, ERROR
from ffe_lakehouse.cli import options
from ffe_lakehouse.cli.deriving import own_checks
from ffe_lakehouse.cli.progress import Progress
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.derivation import is_stale, newest_read
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.letter_checks import OPEN_LETTERS
from ffe_lakehouse.marts import Days, newest_of_portfolio, pair_marts, portfolio_marts
from ffe_lakehouse.partitions import (
    ASSET_PAIR,
    contiguous,
    days_between,
    key_texts,
    partition_key,
    split_key,
    table_key,
)
from ffe_lakehouse.planning import Box, plan, select_days
from ffe_lakehouse.rollup_checks import ROLLUP_PROOF
from ffe_lakehouse.schemas import TableSchema, dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.silver_checks import checks_of
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.watermarks import Known, survey

_SHOWN = 5


@dataclass(frozen=True)
class _Look:
    """One run: some checks over some pairs and days.

    Attributes:
        job: Name of the job that has the checks.
        box: Pairs and days, or days of the portfolio.
        checks: Which checks.
        results: How many results they have.
    """

    job: str
    box: Box | Days
    checks: Sequence[dg.AssetCheckKey]
    results: int


def check(
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    days: options.Days = None,
    start: options.Start = None,
    end: options.End = None,
    as_json: options.AsJson = False,
) -> None:
    """Run the asset checks over what is loaded, and over what was computed from it.

    The exit code is 1 if a check of severity ERROR fails; warnings are shown.
    """
    wanted = options.timeframes(timeframes)
    chosen = options.day_range(days, start, end)
    console = options.console(stderr=as_json)
    from ffe_lakehouse.definitions import below_gold, defs

    with open_instance(get_settings()) as instance:
        pairs = options.known_pairs(instance, assets)
        looks = [*_bronze(instance, pairs, wanted, chosen), *_derived(instance, pairs, chosen)]
        marts = [*_marts(instance, pairs, chosen)]
        jobs = defs() if marts else below_gold()
        looks += [_tests(jobs.resolve_job_def(name), box, tables) for name, box, tables in marts]
        evaluations: list[dg.AssetCheckEvaluation] = []
        errors: list[str] = []
        with Progress(sum(look.results for look in looks), console) as bar:
            for look in looks:
                job = jobs.resolve_job_def(look.job)
                for event in execute(instance, job, look.box, checks=look.checks):
                    if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                        evaluation = event.asset_check_evaluation_data
                        evaluations.append(evaluation)
                        fails = _fails(evaluation)
                        bar.update(successful=int(not fails), failed=int(fails))
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


def _bronze(
    instance: dg.DagsterInstance,
    pairs: Sequence[str],
    timeframes: Sequence[Timeframe],
    days: tuple[date, date],
) -> Iterator[_Look]:
    """What is loaded, with the checks of its tables."""
    loaded = select_days(
        instance, pairs, timeframes, days, utc_now(), lambda state: state.is_loaded
    )
    for box in plan(loaded, instance.get_dynamic_partitions(ASSET_PAIR)):
        of_bars = {raw_candles(each): [*CHECKS] for each in box.timeframes}
        for each in box.timeframes[1:] if box.timeframes[0].code == "1m" else box.timeframes:
            of_bars[raw_candles(each)].append(ROLLUP_PROOF)
        of_letters = {dead_letters(each): [OPEN_LETTERS] for each in box.timeframes}
        yield _look(box, _keys(of_bars | of_letters))


def _derived(
    instance: dg.DagsterInstance, pairs: Sequence[str], days: tuple[date, date]
) -> Iterator[_Look]:
    """What was computed from it, with the checks of its tables."""
    checks: dict[Box, list[dg.AssetCheckKey]] = {}
    places = [partition_key(pair, day) for pair in pairs for day in days_between(*days)]
    for derivation in derivations():
        derived = derivation.derived
        computed: dict[tuple[str, Timeframe], list[date]] = {}
        for place, known in survey(instance, derived.keys[0], places, utc_now()).items():
            if known.version:
                pair, day = split_key(place)
                computed.setdefault((pair, TIMEFRAMES["1d"]), []).append(day)
        for box in plan(computed, instance.get_dynamic_partitions(ASSET_PAIR)):
            names = {table: checks_of(table) for table in derived.tables}
            checks.setdefault(box, []).extend(_keys(names))
    for box, keys in checks.items():
        yield _look(box, keys)


def _look(box: Box, keys: Sequence[dg.AssetCheckKey]) -> _Look:
    return _Look(CHECKING, box, keys, len(keys) * len(box.keys))


def _marts(
    instance: dg.DagsterInstance, pairs: Sequence[str], days: tuple[date, date]
) -> Iterator[tuple[str, Box | Days, list[TableSchema]]]:
    """The marts that were computed of these days, with the job that tests them.

    What has come since is not wrong with them: days that are behind are left out.
    """
    tables = [step.tables[0] for step in pair_marts()]
    places = key_texts(pairs, days_between(*days))
    known = survey(instance, table_key(tables[0]), places, utc_now())
    newest = newest_read(instance, pair_marts()[0], pairs, *days).ravel()
    computed: dict[tuple[str, Timeframe], list[date]] = {}
    for pair, day in map(split_key, _up_to_date(known, newest)):
        computed.setdefault((pair, TIMEFRAMES["1d"]), []).append(day)
    for box in plan(computed, instance.get_dynamic_partitions(ASSET_PAIR)):
        yield MARTS, box, tables
    tables = portfolio_marts()
    places = [day.isoformat() for day in days_between(*days)]
    known = survey(instance, table_key(tables[0]), places, utc_now())
    found = _up_to_date(known, newest_of_portfolio(instance, *days))
    for window in contiguous("", (split_key(place)[1] for place in found)):
        yield PORTFOLIO, Days(window.first, window.last), tables


def _up_to_date(known: Mapping[str, Known], newest: NDArray[np.int64]) -> list[str]:
    """Partitions that were computed, and have seen all that they hang on."""
    return [
        place
        for (place, each), number in zip(known.items(), newest.tolist(), strict=True)
        if each.version and not is_stale(each, number)
    ]


def _tests(job: dg.JobDefinition, box: Box | Days, tables: Sequence[TableSchema]) -> _Look:
    """The tests that dbt has of marts: over all their days at once, as they are stored."""
    keys = own_checks(job, [table_key(table) for table in tables])
    return _Look(job.name, box, keys, len(keys))


def _keys(checks: Mapping[TableSchema, Sequence[str]]) -> list[dg.AssetCheckKey]:
    return [
        dg.AssetCheckKey(table_key(table), name)
        for table, names in checks.items()
        for name in names
    ]


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
        # A test of a mart looks at all its days at once, and is of none of them.
        partitions = len({evaluation.partition for evaluation in group} - {None})
        looked_at = str(partitions or "-")
        overview.add_row(table, looked_at, str(len(names)), ", ".join(marks) or "-")
    console.print(overview)
    for (table, name), found in sorted(broken.items()):
        for evaluation in found[:_SHOWN]:
            count = evaluation.metadata["count"].value
            place = " ".join(filter(None, (table, evaluation.partition)))
            console.print(f"{evaluation.severity.value} {name} {place}: {count}")
            for line in _sample(evaluation).splitlines()[:_SHOWN]:
                console.print(f"    {line}")
        if len(found) > _SHOWN:
            console.print(f"    and {len(found) - _SHOWN} more")


def _worst(evaluations: Sequence[dg.AssetCheckEvaluation]) -> str:
    return ERROR.value if any(map(_fails, evaluations)) else evaluations[0].severity.value


def _sample(evaluation: dg.AssetCheckEvaluation) -> str:
    sample = evaluation.metadata.get("sample")
    return str(sample.value) if sample else ""
