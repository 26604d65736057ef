"""``ffe pairs``: which pairs there are, how each is kept loaded, and the members of an index."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import dagster as dg
import typer

from ffe_lakehouse.cli import options
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.membership import index_name, load_index
from ffe_lakehouse.membership import members as index_members
from ffe_lakehouse.output import grid, json_text
from ffe_lakehouse.partitions import check_range
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.registry import get_provider
from ffe_lakehouse.settings import Settings, get_settings
from ffe_lakehouse.symbol_lists import read_symbols, symbols_from_list
from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse.universe import Member, enrol, members, remove_pairs

app = typer.Typer(name="pairs", help="The universe: which pairs there are.", no_args_is_help=True)

Pairs = Annotated[
    list[str], typer.Argument(metavar="PAIR...", help="BTCUSD ETH_USD AAPL, or with commas.")
]
Start = Annotated[
    str | None,
    typer.Option(help="First day that has to be loaded (UTC); the look-back alone if left out."),
]
Provider = Annotated[
    str | None,
    typer.Option(help="Whose bars; those of FFE_DEFAULT_PROVIDER if left out."),
]


@app.command("list")
def list_pairs(
    index: Annotated[
        str | None, typer.Option("--index-name", help="Only its members: s_and_p_500.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Its members on that day (UTC); today's if left out.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List them, with asset class, calendar, provider and first day.

    Of an index also those that are not kept loaded.
    """
    settings = get_settings()
    if as_of is not None and index is None:
        raise InputError("--as-of is for the members of an index: name it with --index-name")
    wanted = None
    if index is not None:
        day = options.day(as_of) if as_of is not None else utc_now().date()
        lake = open_lake()
        wanted = index_members(lake, index_name(index), day)
    with open_instance(settings) as instance:
        pairs = members(instance, settings, wanted)
    if as_json:
        typer.echo(json_text(pairs))
    elif not pairs:
        typer.echo(
            "No pairs yet: `ffe pairs add BTCUSD`, or `ffe backfill --assets BTCUSD --days 7`"
        )
    else:
        heads = ("pair", "asset class", "calendar", "provider", "loaded from", "since (UTC)")
        options.console().print(grid(heads, [_row(member, settings) for member in pairs]))


@app.command()
def add(pairs: Pairs, start: Start = None, provider: Provider = None) -> None:
    """Add pairs, in any spelling, or change how they are kept loaded.

    One that cannot be understood adds none. Of a pair that is known, what is left out stays, and
    so does an earlier start.
    """
    symbols, first, vendor = symbols_from_list(_split(pairs)), _start(start), _provider(provider)
    with open_instance(get_settings()) as instance:
        _enrol(instance, symbols, first, vendor)


@app.command()
def load(
    file: Annotated[
        Path, typer.Argument(help="A CSV file, or a text file with one symbol a line.")
    ],
    column: Annotated[
        str | None,
        typer.Option(help="Column of the symbols; 'symbol' in a .csv if left out."),
    ] = None,
    index: Annotated[
        bool, typer.Option("--index", help="The list is an index, named like the file.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--index-name", help="The list is this index: s_and_p_500.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(help="First day (UTC) on which the index is so; today if left out."),
    ] = None,
    start: Start = None,
    provider: Provider = None,
) -> None:
    """Add the pairs of a symbol list, and remember it as an index.

    A line that cannot be understood adds none. Who is no member any more stays in the universe.
    """
    if as_of is not None and not index and name is None:
        raise InputError("--as-of is for an index: name it with --index-name, or give --index")
    first, vendor = _start(start), _provider(provider)
    day = options.day(as_of) if as_of is not None else None
    symbols = read_symbols(file, column)
    settings = get_settings()
    with open_instance(settings) as instance:
        if index or name is not None:
            lake = open_lake()
            typer.echo(load_index(instance, lake, index_name(name or file.stem), symbols, day))
        _enrol(instance, symbols, first, vendor)


@app.command()
def remove(pairs: Pairs) -> None:
    """Remove pairs; their rows stay in the lake.

    Only the Dagster partitions go.
    """
    with open_instance(get_settings()) as instance:
        removed = remove_pairs(instance, _split(pairs))
    typer.echo(
        f"Removed {', '.join(removed)} from the universe. What was loaded stays in the lake, and"
        " counts again once the pair is added again"
    )


def _row(member: Member, settings: Settings) -> tuple[object, ...]:
    market = (member.pair, member.asset_class or "not a pair", member.calendar)
    if not member.in_universe:
        return (*market, "not in the universe", None, None)
    provider = member.provider or f"{settings.default_provider} (default)"
    look_back = f"the last {settings.look_back_days} days"
    start = "as they land" if provider == "files" else member.start or look_back
    return (*market, provider, start, member.since)


def _enrol(
    instance: dg.DagsterInstance,
    symbols: Sequence[Symbol],
    start: date | None,
    provider: str | None,
) -> None:
    names = [symbol.name for symbol in symbols]
    new = enrol(instance, names, start=start, provider=provider)
    known = len(names) - len(new)
    typer.echo(f"{len(new)} added, {known} known before" + (f": {', '.join(new)}" if new else ""))


def _split(pairs: Sequence[str]) -> list[str]:
    return [part for text in pairs for part in text.split(",")]


def _start(text: str | None) -> date | None:
    if text is None:
        return None
    first, now = options.day(text), utc_now()
    check_range(first, now.date(), now)
    return first


def _provider(name: str | None) -> str | None:
    """A provider's name, tried here so that a wrong one is refused before anything is added."""
    if name is None:
        return None
    settings = get_settings()
    try:
        # Files of a pair come through the landing folder, whatever FFE_FILES_DIR is.
        get_provider(name, settings.model_copy(update={"files_dir": settings.landing_folder}))
    except ProviderError as error:
        raise InputError(str(error)) from error
    return name
