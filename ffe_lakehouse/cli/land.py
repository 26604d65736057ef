"""``ffe land``: the engine's records are loaded now, as a Dagster run in this process."""

from pathlib import Path
from typing import Annotated

import typer

from ffe_lakehouse.automation.landing_records import RECORDS, RECORDS_OP
from ffe_lakehouse.cli import options
from ffe_lakehouse.cli.recording import run_records, show
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.output import json_text
from ffe_lakehouse.records import KINDS, files_below
from ffe_lakehouse.settings import get_settings


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
        # The asset graph takes half a second to build: only once there is something to do.
        from ffe_lakehouse.definitions import below_gold

        job = below_gold().resolve_job_def(RECORDS)
        tables, failure = run_records(instance, job, RECORDS_OP, {"folder": str(place)})
    if as_json:
        typer.echo(json_text({"tables": tables, "failure": failure}))
    else:
        show(tables, failure, options.console())
    raise typer.Exit(1 if failure else 0)
