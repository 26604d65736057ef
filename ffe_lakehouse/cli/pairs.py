"""``ffe pairs``: which pairs there are."""

from pathlib import Path
from typing import Annotated

import typer

from ffe_lakehouse.backfill import register_pairs
from ffe_lakehouse.cli import options
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.output import grid, json_text
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse.universe import (
    members,
    remove_pairs,
    symbols_from_csv,
    symbols_from_list,
    symbols_from_text_file,
)

app = typer.Typer(name="pairs", help="The universe: which pairs there are.", no_args_is_help=True)

_COLUMN = "symbol"

Pairs = Annotated[list[str], typer.Argument(metavar="PAIR...", help="BTCUSD, ETH_USD, AAPL")]


@app.command("list")
def list_pairs(as_json: options.AsJson = False) -> None:
    """List them, with asset class and calendar."""
    settings = get_settings()
    with open_instance(settings) as instance:
        pairs = members(instance, settings)
    if as_json:
        typer.echo(json_text(pairs))
    elif not pairs:
        typer.echo(
            "No pairs yet: `ffe pairs add BTCUSD`, or `ffe backfill --assets BTCUSD --days 7`"
        )
    else:
        rows = [(p.pair, p.asset_class or "not a pair", p.calendar, p.since) for p in pairs]
        options.console().print(grid(("pair", "asset class", "calendar", "since (UTC)"), rows))


@app.command()
def add(pairs: Pairs) -> None:
    """Add pairs, in any spelling.

    One that cannot be understood adds none.
    """
    _add(symbols_from_list(pairs))


@app.command()
def load(
    file: Annotated[
        Path, typer.Argument(help="A CSV file, or a text file with one symbol a line.")
    ],
    column: Annotated[
        str | None,
        typer.Option(help=f"Column of the symbols; {_COLUMN!r} in a .csv if left out."),
    ] = None,
) -> None:
    """Add the pairs of a symbol list.

    A line that cannot be understood adds none.
    """
    if column is not None or file.suffix.lower() == ".csv":
        _add(symbols_from_csv(file, column or _COLUMN))
    else:
        _add(symbols_from_text_file(file))


def _add(symbols: list[Symbol]) -> None:
    names = [symbol.name for symbol in symbols]
    with open_instance(get_settings()) as instance:
        new = register_pairs(instance, names)
    known = len(names) - len(new)
    typer.echo(f"{len(new)} added, {known} known before" + (f": {', '.join(new)}" if new else ""))


@app.command()
def remove(pairs: Pairs) -> None:
    """Remove pairs; their rows stay in the lake.

    Only the Dagster partitions go.
    """
    with open_instance(get_settings()) as instance:
        removed = remove_pairs(instance, pairs)
    typer.echo(
        f"Removed {', '.join(removed)} from the universe. What was loaded stays in the lake, and"
        " counts again once the pair is added again"
    )
