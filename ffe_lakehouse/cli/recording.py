"""A run that loads records, as a command shows it: a line a table, and what was refused.

Which records, is decided by the command (``land``, ``engine``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from rich.console import Console

from ffe_lakehouse.assets.metadata import METADATA_ROWS
from ffe_lakehouse.assets.records import NEW_LETTERS, REASONS, UNRELATED
from ffe_lakehouse.backfill import failure_text
from ffe_lakehouse.instance import PROCESS_TAG, this_process
from ffe_lakehouse.output import grid

_COUNTS = ("records", "written", "unchanged", "duplicate", "rejected")


@dataclass(frozen=True)
class TableSummary:
    """What became of the records of one table.

    Attributes:
        table: Its name, without the layer.
        files: How many were read.
        records: Written, unchanged, duplicate and rejected ones.
        unrelated: Articles beside that mention no pair of the universe.
        new_letters: Dead letters that were not there before.
        reasons: How often each reason was given.
    """

    table: str
    files: int
    records: int
    written: int
    unchanged: int
    duplicate: int
    rejected: int
    unrelated: int
    new_letters: int
    reasons: dict[str, int]


def run_records(
    instance: dg.DagsterInstance, job: dg.JobDefinition, op: str, config: Mapping[str, Any]
) -> tuple[list[TableSummary], str | None]:
    """Execute a job of one op that loads records, here.

    Args:
        instance: Where the run is recorded.
        job: The job.
        op: Its op.
        config: Config of that op.

    Returns:
        What became of every table that it touched; and why it failed, if it did.
    """
    result = job.execute_in_process(
        run_config={
            "ops": {op: {"config": dict(config)}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        instance=instance,
        tags={PROCESS_TAG: this_process()},
        raise_on_error=False,
    )
    tables, failure = [], None
    for event in result.all_events:
        if event.is_step_materialization:
            told = event.step_materialization_data.materialization
            if told.asset_key.path[0] == "dlq":
                tables.append(_summary(told.asset_key.path[-1], told.metadata))
        elif event.is_step_failure:
            failure = failure_text(event)
        elif event.is_run_failure:
            failure = failure or event.message or "the run failed"
    return tables, failure


def show(tables: Sequence[TableSummary], failure: str | None, console: Console) -> None:
    """Print it."""
    rows = [(each.table, each.files, *(getattr(each, name) for name in _COUNTS)) for each in tables]
    if rows:
        names = ("files", *_COUNTS)
        console.print(grid(("table", *names), rows, numbers=names))
    for each in tables:
        if each.rejected:
            reasons = ", ".join(f"{count:,} {code}" for code, count in each.reasons.items())
            console.print(
                f"{each.table}: {each.rejected:,} rejected ({reasons}), {each.new_letters:,} of"
                " them new: `ffe dlq show`",
                soft_wrap=True,
            )
        if each.unrelated:
            console.print(
                f"{each.table}: {each.unrelated:,} articles beside mention no pair of the universe;"
                " add pairs with `ffe pairs add`, and land the files again",
                soft_wrap=True,
            )
    if failure:
        console.print(f"failed: {failure}", soft_wrap=True)


def _summary(table: str, metadata: Mapping[str, dg.MetadataValue]) -> TableSummary:
    def value(name: str) -> Any:
        return metadata[name].value

    counts = zip(_COUNTS, map(value, METADATA_ROWS), strict=True)
    return TableSummary(
        table=table,
        files=value("files"),
        **dict(counts),
        unrelated=value(UNRELATED),
        new_letters=value(NEW_LETTERS),
        reasons=value(REASONS),
    )
