"""``ffe optimize``, ``vacuum``, ``restore``, ``delete``: what is done to whole tables."""

from typing import Annotated

import typer

from ffe_lakehouse.cli import options
from ffe_lakehouse.cli.tables import TableName
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.inventory import table_name
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.lake.manager import SAFE_RETENTION_HOURS
from ffe_lakehouse.lake.names import checked_name
from ffe_lakehouse.output import size

_LOAD_AGAIN = (
    "Dagster goes on knowing what was materialized: load again what is missing now, with"
    " `ffe backfill --force`"
)


def optimize(
    table: TableName,
    zorder: Annotated[
        str | None,
        typer.Option(
            help="Also put rows that are near in these columns near to each other: timestamp. With"
            " commas; one column sorts. Every file is written anew."
        ),
    ] = None,
) -> None:
    """Put the small files of a table together.

    Rows stay as they are, and so do older versions until a vacuum. The lake does this by itself
    every night; here it is done at once.
    """
    lake = open_lake()
    name = _existing(lake, table)
    columns = [part.strip() for part in zorder.split(",")] if zorder is not None else None
    before = len(lake.table(name).file_uris())
    done = lake.optimize_table(name, columns)
    if not done.files_removed:
        typer.echo(f"{name}: nothing to do, its {before:,} files are as they should be")
        return
    typer.echo(
        f"{name}: {before:,} files are {len(lake.table(name).file_uris()):,} now"
        f" ({done.files_removed:,} of {size(done.bytes_removed)} became"
        f" {done.files_added:,} of {size(done.bytes_added)})"
    )


def vacuum(
    table: TableName,
    retention_hours: Annotated[
        float, typer.Option(help="Files that were replaced less than so long ago stay.")
    ] = SAFE_RETENTION_HOURS,
    allow_short_retention: Annotated[
        bool,
        typer.Option(
            "--allow-short-retention",
            help=f"Allow less than {SAFE_RETENTION_HOURS} hours. Only when nobody else uses the"
            " table: a reader or writer at work may lose its files.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files, and delete nothing.")
    ] = False,
) -> None:
    """Delete the files of a table that only older versions of it need.

    --version and --as-of end there; --known-on works as before, since older versions of a bar are
    rows.
    """
    lake = open_lake()
    name = _existing(lake, table)
    files = lake.vacuum_table(
        name, retention_hours, allow_short_retention=allow_short_retention, dry_run=dry_run
    )
    if dry_run:
        for path in files:
            typer.echo(path)
    typer.echo(f"{name}: {len(files):,} files {'would be' if dry_run else 'were'} deleted")


def restore(
    table: TableName,
    version: Annotated[
        int | None, typer.Option(help="This Delta version; `ffe history` lists them.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="What was committed at this moment (UTC).")
    ] = None,
) -> None:
    """Make an older version of a table its newest one.

    What came after it stays in the history, and can be restored in turn.
    """
    if (version is None) is (as_of is None):
        raise InputError("say which state: --version N or --as-of T, one of them")
    lake = open_lake()
    name = _existing(lake, table)
    moment = options.moment(as_of) if as_of is not None else None
    before = lake.table(name).version()
    restored = lake.restore_table(name, version, moment)
    if restored == before:
        typer.echo(f"{name}: version {restored} is the newest, nothing was changed")
        return
    now = lake.table(name).version()
    typer.echo(f"{name}: version {restored} is back, as version {now}. {_LOAD_AGAIN}")


def delete(
    table: TableName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a table with all of its versions. There is no way back."""
    lake = open_lake()
    name = _existing(lake, table)
    if not yes:
        versions = lake.table(name).version() + 1
        typer.confirm(
            f"Delete {lake.table_uri(name)} with all of its {versions:,} versions?", abort=True
        )
    lake.delete_table(name, confirm=True)
    typer.echo(f"{name} was deleted. {_LOAD_AGAIN}")


def _existing(lake: DeltaLakeManager, text: str) -> str:
    """The table that ``text`` names: one of the lakehouse, or one of the user's own.

    Raises:
        InputError: There is no such table in the lake.
    """
    try:
        name = table_name(text)
    except InputError:
        if not lake.table_exists(checked_name(text)):
            raise
        return text
    lake.table(name)
    return name
