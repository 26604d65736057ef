"""``ffe land``: the engine's records are loaded now, as a Dagster run in this process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import typer

from ffe_lakehouse.assets.metadata import METADATA_ROWS
from ffe_lakehouse.assets.records import NEW_LETTERS, REASONS, UNRELATED
from ffe_lakehouse.automation.landing_records import RECORDS, RECORDS_OP
from ffe_lakehouse.cli import options
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import PROCESS_TAG, open_instance, this_process
from ffe_lakehouse.output import grid, json_text
from ffe_lakehouse.records import KINDS, files_below
from ffe_lakehouse.settings import get_settings

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


def land(
    folder: Annotated[
        Path | None,
        typer.Argument(help=f"Has {'/, '.join(KINDS)}/. The landing folder, if left out."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Load the engine's decisions, trades and portfolio snapshots, and news, from files.

    What is known already changes nothing, so it can be done again at any time. Records that a rule
    refuses become dead letters: `ffe dlq show` has them.
    """
    place = (folder or get_settings().landing_folder).absolute()
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the one that holds {'/, '.join(KINDS)}/")
    if not files_below(place):
        raise InputError(
            f"{place} has no files of records: they lie in {'/, '.join(KINDS)}/ below it"
        )
    with open_instance(get_settings()) as instance:
        tables, failure = _run(instance, place)
    if as_json:
        typer.echo(json_text({"tables": tables, "failure": failure}))
    else:
        _print(tables, failure)
    raise typer.Exit(1 if failure else 0)


def _run(instance: dg.DagsterInstance, folder: Path) -> tuple[list[TableSummary], str | None]:
    # The asset graph takes half a second to build: only once there is something to do.
    from ffe_lakehouse.definitions import below_gold

    result = (
        below_gold()
        .resolve_job_def(RECORDS)
        .execute_in_process(
            run_config={
                "ops": {RECORDS_OP: {"config": {"folder": str(folder)}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            instance=instance,
            tags={PROCESS_TAG: this_process()},
            raise_on_error=False,
        )
    )
    tables, failure = [], None
    for event in result.all_events:
        if event.is_step_materialization:
            told = event.step_materialization_data.materialization
            if told.asset_key.path[0] == "dlq":
                tables.append(_summary(told.asset_key.path[-1], told.metadata))
        elif event.is_step_failure:
            data = event.step_failure_data
            failure = data.error_display_string
            if data.user_failure_data is not None:
                failure = data.user_failure_data.description
        elif event.is_run_failure:
            failure = failure or event.message or "the run failed"
    return tables, failure


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


def _print(tables: list[TableSummary], failure: str | None) -> None:
    console = options.console()
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
