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

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.assets.silver_records import LONGEST_TRADE_DAYS, TRADE
from ffe_lakehouse.backfill import execute, failure_text
from ffe_lakehouse.cli.progress import Progress, duration
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.partitions import ASSET_PAIR, ONE_DAY
from ffe_lakehouse.processing import Work, stages, stale_days
from ffe_lakehouse.settings import get_settings


def derive(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    pairs: Sequence[str],
    days: tuple[date, date],
    console: Console,
    *,
    force: bool,
) -> bool:
    """Compute what is stale of these days, and what hangs on them; whether that went well.

    Args:
        instance: Where the runs are recorded.
        job: Contains the derived assets.
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
        works = _plan(instance, wanted, known, days, force=force and not tally.reasons)
        partitions = sum(len(work.box.keys) * len(work.keys) for work in works)
        console.print(
            f"{len(wanted)} pair(s), {days[0]} to {days[1]}, and what hangs on them:"
            f" {partitions} partition(s) to derive in {len(works)} run(s)"
        )
        with Progress(partitions, console) as progress:
            failed = {pair for work in works for pair in tally.run(instance, job, work, progress)}
        if not failed:
            break
        # A step that fails for one pair ends the run of the others, too: these go on.
        wanted = [pair for pair in wanted if pair not in failed]
    _show(tally, time.monotonic() - begun, console)
    return not tally.reasons


def _plan(
    instance: dg.DagsterInstance,
    pairs: Sequence[str],
    known: Sequence[str],
    days: tuple[date, date],
    *,
    force: bool,
) -> list[Work]:
    """What has to be computed, stage after stage."""
    steps = [each.derived for each in derivations()]
    stale = stale_days(instance, steps, pairs, days, utc_now(), force=force)
    first = get_settings().start_date
    if days[0] > first:
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
    """

    days: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)

    def run(
        self, instance: dg.DagsterInstance, job: dg.JobDefinition, work: Work, progress: Progress
    ) -> set[str]:
        """Execute one run; the pairs that it failed for, if it is theirs to fail."""
        before, said, failed = progress.successful, len(self.reasons), set[str]()
        for event in execute(instance, job, work.box, assets=work.keys):
            if event.is_step_materialization:
                made = event.step_materialization_data.materialization
                name = made.asset_key.to_user_string()
                self.days[name] += 1
                self.rows[name] += int(str(made.metadata["dagster/partition_row_count"].value))
                progress.update(successful=1)
            elif event.is_step_failure:
                self.reasons.append(failure_text(event))
                told = event.step_failure_data.user_failure_data
                failed |= set(told.metadata if told else ()) & set(work.box.pairs)
            elif event.is_run_failure and len(self.reasons) == said:
                self.reasons.append(event.message or "the run failed")
        planned = len(work.box.keys) * len(work.keys)
        progress.update(failed=planned - (progress.successful - before))
        return failed


def _show(tally: _Tally, elapsed: float, console: Console) -> None:
    table = Table("table", box=None, pad_edge=False)
    for name in ("days", "rows"):
        table.add_column(name, justify="right")
    for name in tally.days:
        table.add_row(name, f"{tally.days[name]:,}", f"{tally.rows[name]:,}")
    if tally.days:
        console.print(table)
    console.print(f"Derived {sum(tally.days.values())} partition(s) in {duration(elapsed)}")
    for reason in tally.reasons:
        console.print(f"- {reason}", soft_wrap=True)
