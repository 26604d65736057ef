"""Deriving as a command shows it: runs with progress, and what became of every table.

Which days are stale is decided in ``processing``.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date

import dagster as dg
from rich.console import Console
from rich.table import Table

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.backfill import execute, failure_text
from ffe_lakehouse.cli.progress import Progress, duration
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.partitions import ASSET_PAIR
from ffe_lakehouse.processing import Work, stages, stale_days


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
    steps = [each.derived for each in derivations()]
    known = list(instance.get_dynamic_partitions(ASSET_PAIR))
    pairs = [pair for pair in pairs if pair in known]
    stale = stale_days(instance, steps, pairs, days, utc_now(), force=force)
    found = stages(stale, steps, known)
    works = [work for stage in found for work in stage]
    computed: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    reasons: list[str] = []
    partitions = sum(_partitions(work) for work in works)
    console.print(
        f"{len(pairs)} pair(s), {days[0]} to {days[1]}, and what hangs on them:"
        f" {partitions} partition(s) to derive in {len(works)} run(s)"
    )
    with Progress(partitions, console) as progress:
        for work in works:
            before = progress.successful
            for event in execute(instance, job, work.box, assets=work.keys):
                if event.is_step_materialization:
                    made = event.step_materialization_data.materialization
                    name = made.asset_key.to_user_string()
                    computed[name] += 1
                    rows[name] += int(str(made.metadata["dagster/partition_row_count"].value))
                    progress.update(successful=1)
                elif event.is_step_failure:
                    reasons.append(failure_text(event))
            progress.update(failed=_partitions(work) - (progress.successful - before))
    table = Table("table", box=None, pad_edge=False)
    for name in ("days", "rows"):
        table.add_column(name, justify="right")
    for name in computed:
        table.add_row(name, f"{computed[name]:,}", f"{rows[name]:,}")
    if computed:
        console.print(table)
    console.print(f"Derived {sum(computed.values())} partition(s) in {duration(progress.elapsed)}")
    for reason in reasons:
        console.print(f"- {reason}", soft_wrap=True)
    return not reasons


def _partitions(work: Work) -> int:
    return len(work.box.keys) * len(work.keys)
