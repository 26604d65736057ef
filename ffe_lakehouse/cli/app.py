"""The ``ffe`` application: which commands there are, and in which module each stands."""

from typing import Annotated

import typer

from ffe_lakehouse import __version__
from ffe_lakehouse.cli import (
    backfill,
    check,
    dev,
    dlq,
    doctor,
    gaps,
    lake,
    land,
    legacy,
    pairs,
    providers,
    report,
    status,
    tables,
)

app = typer.Typer(
    name="ffe",
    help="A market-data and trading lakehouse on Dagster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ffe {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A market-data and trading lakehouse on Dagster."""


app.command()(backfill.backfill)
app.command()(dev.dev)
app.command()(tables.read)
app.command()(tables.tables)
app.command()(tables.history)
app.command()(lake.optimize)
app.command()(lake.vacuum)
app.command()(lake.restore)
app.command()(lake.delete)
app.command("watermarks")(status.show_watermarks)
app.command()(gaps.gaps)
app.command()(check.check)
app.command()(report.report)
app.command()(land.land)
app.add_typer(dlq.app)
app.add_typer(pairs.app)
app.command()(providers.providers)
app.command()(doctor.doctor)
app.command()(legacy.import_legacy)
