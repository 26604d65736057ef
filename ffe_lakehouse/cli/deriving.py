"""Deriving as a command shows it: runs with progress, and what became of every table.

Which days are stale is decided in ``processing``.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import dagster as dg
from rich.console import Console
from rich.table import Table

from ffe_lakehouse.assets.silver_records import LONGEST_TRADE_DAYS, TRADE
from ffe_lakehouse.backfill import execute, failure_text
from ffe_lakehouse.cli.progress import Progress, duration
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.derivation import Derived
from ffe_lakehouse.marts import Days, portfolio_marts, stale_portfolio
from ffe_lakehouse.partitions import ASSET_PAIR, ONE_DAY, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.processing import Work, stages, stale_days
from ffe_lakehouse.settings import get_settings


def derive(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    steps: Sequence[Derived],
    pairs: Sequence[str],
    days: tuple[date, date],
    console: Console,
    *,
    force: bool,
) -> bool:
    """Compute what is stale of these days, and what hangs on them; whether that went well.

    Args:
        instance: Where the runs are recorded.
        job: Contains the assets of the steps.
        steps: What is computed.
        pairs: Canonical pairs.
        days: First and last day.
        console: Where it is shown.
        force: Compute what is up to date, too.
    """
    known = list(instance.get_dynamic_partitions(ASSET_PAIR))
    wanted = [pair for pair in pairs if pair in known]
    tally = _Tally()
    begun = time.monotonic()
    while wanted:
        works = _plan(instance, steps, wanted, known, days, force=force and not tally.reasons)
        partitions = sum(len(work.box.keys) * len(work.keys) for work in works)
        console.print(
            f"{len(wanted)} pair(s), {days[0]} to {days[1]}, and what hangs on them:"
            f" {partitions} partition(s) to derive in {len(works)} run(s)"
        )
        with Progress(partitions, console) as progress:
            failed = {
                pair
                for work in works
                for pair in tally.run(instance, job, work.box, work.keys, progress)
            }
        if not failed:
            break
        # A step that fails for one pair ends the run of the others, too: these go on.
        wanted = [pair for pair in wanted if pair not in failed]
    _show(tally, time.monotonic() - begun, console)
    return not tally.reasons


def _plan(
    instance: dg.DagsterInstance,
    steps: Sequence[Derived],
    pairs: Sequence[str],
    known: Sequence[str],
    days: tuple[date, date],
    *,
    force: bool,
) -> list[Work]:
    """What has to be computed, stage after stage."""
    stale = stale_days(instance, steps, pairs, days, utc_now(), force=force)
    first = get_settings().start_date
    if TRADE in steps and days[0] > first:
        # A trade that ended anew has left an earlier day, where it must not stay.
        before = (max(first, days[0] - timedelta(LONGEST_TRADE_DAYS)), days[0] - ONE_DAY)
        left = stale_days(instance, [TRADE], pairs, before, utc_now(), beyond=False)
        for place, of_pair in left.items():
            own = stale.setdefault(place, {})
            own[TRADE.name] = of_pair[TRADE.name] + own.get(TRADE.name, [])
    return [work for stage in stages(stale, steps, known) for work in stage]


@dataclass
class _Tally:
    """What became of every table.

    Attributes:
        days: Days that were computed, by table.
        rows: Their rows.
        reasons: Why something failed.
        warnings: What is not as it should be, and yet computed.
    """

    days: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def run(
        self,
        instance: dg.DagsterInstance,
        job: dg.JobDefinition,
        box: Box | Days,
        keys: Sequence[dg.AssetKey],
        progress: Progress,
    ) -> set[str]:
        """Execute one run; the pairs that it failed for, if it is theirs to fail."""
        before, said, failed = progress.successful, len(self.reasons), set[str]()
        for event in execute(instance, job, box, assets=keys, checks=own_checks(job, keys)):
            if event.is_step_materialization:
                made = event.step_materialization_data.materialization
                name = made.asset_key.to_user_string()
                self.days[name] += 1
                self.rows[name] += int(str(made.metadata["dagster/partition_row_count"].value))
                progress.update(successful=1)
            elif event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                self._judge(event.asset_check_evaluation_data)
            elif event.is_step_failure:
                self.reasons.append(failure_text(event))
                told = event.step_failure_data.user_failure_data
                pairs = box.pairs if isinstance(box, Box) else ()
                failed |= set(told.metadata if told else ()) & set(pairs)
            elif event.is_run_failure and len(self.reasons) == said:
                self.reasons.append(event.message or "the run failed")
        planned = len(box.keys) * len(keys)
        progress.update(failed=planned - (progress.successful - before))
        return failed

    def _judge(self, evaluation: dg.AssetCheckEvaluation) -> None:
        if evaluation.passed:
            return
        table, count = evaluation.asset_key.to_user_string(), evaluation.metadata["count"].value
        said = f"{table}: the check {evaluation.check_name} found {count}"
        if evaluation.severity is dg.AssetCheckSeverity.ERROR:
            self.reasons.append(said)
        else:
            self.warnings.append(said)


def own_checks(job: dg.JobDefinition, keys: Sequence[dg.AssetKey]) -> list[dg.AssetCheckKey]:
    """Checks that the steps of these assets make themselves: dbt's tests."""
    found = []
    for definition in job.asset_layer.asset_graph.assets_defs_for_keys(keys):
        found += [key for key in definition.check_keys if key.asset_key in keys]
    return found


def derive_portfolio(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    days: tuple[date, date],
    console: Console,
    *,
    force: bool,
) -> bool:
    """The same for what is of the portfolio as a whole."""
    tally, begun = _Tally(), time.monotonic()
    keys = [table_key(mart) for mart in portfolio_marts()]
    stale = stale_portfolio(instance, *days, utc_now(), force=force, beyond=True)
    with Progress(sum(len(each.keys) for each in stale) * len(keys), console) as progress:
        for each in stale:
            tally.run(instance, job, each, keys, progress)
    _show(tally, time.monotonic() - begun, console)
    return not tally.reasons


def _show(tally: _Tally, elapsed: float, console: Console) -> None:
    table = Table("table", box=None, pad_edge=False)
    for name in ("days", "rows"):
        table.add_column(name, justify="right")
    for name in tally.days:
        table.add_row(name, f"{tally.days[name]:,}", f"{tally.rows[name]:,}")
    if tally.days:
        console.print(table)
    console.print(f"Derived {sum(tally.days.values())} partition(s) in {duration(elapsed)}")
    for reason in (*tally.reasons, *tally.warnings):
        console.print(f"- {reason}", soft_wrap=True)
