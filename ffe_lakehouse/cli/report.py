"""``ffe report``: what the marts say of a period, as one HTML page."""

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer

from ffe_lakehouse.cli import options
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.output import size, whole_file
from ffe_lakehouse.settings import get_settings

_LOOK_BACK = timedelta(days=30)


def report(
    assets: options.Assets = None,
    days: options.Days = None,
    start: Annotated[
        str | None, typer.Option(help="First day, YYYY-MM-DD (UTC); 30 days before the last.")
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="Last day, included, YYYY-MM-DD (UTC); today.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The page; what is there is replaced.")] = Path(
        "report.html"
    ),
) -> None:
    """Write a page with the five marts of a period: tables and plots.

    The page needs no network and no other file. The portfolio is that of all pairs.
    """
    first, last = _period(days, start, end)
    if not output.parent.is_dir():
        raise InputError(
            f"cannot write {output}: there is no folder {output.parent}; make it first"
        )
    # Plotly and pandas take a second: only for whoever wants a report.
    from ffe_lakehouse.report.excerpts import Period, chosen_pairs, read
    from ffe_lakehouse.report.page import render

    lake = open_lake()
    wanted = [symbol.name for symbol in options.symbols(assets)] if assets is not None else None
    excerpts = read(lake, chosen_pairs(lake, wanted), Period(first, last))
    page = render(excerpts, utc_now()).encode()
    with whole_file(output) as part:
        part.write_bytes(page)
    pairs = len(excerpts.pairs)
    typer.echo(
        f"{output}: {size(len(page))}, {first} to {last}, {pairs} pair{'' if pairs == 1 else 's'}"
    )


def _period(days: int | None, start: str | None, end: str | None) -> tuple[date, date]:
    """First and last day; without a first one the last 30 days up to the last."""
    if days is None and start is None:
        last = options.day(end) if end is not None else utc_now().date()
        first, earliest = last - _LOOK_BACK, get_settings().start_date
        start, end = max(first, min(earliest, last)).isoformat(), last.isoformat()
    return options.day_range(days, start, end)
