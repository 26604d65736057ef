"""``ffe dlq``: the records that were refused."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from ffe_lakehouse.cli import options
from ffe_lakehouse.dead_letters import export, read_letters, statistics
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.output import cell, grid, json_text
from ffe_lakehouse.partitions import ONE_DAY, day_start
from ffe_lakehouse.settings import get_settings

app = typer.Typer(name="dlq", help="The records that were refused, and why.", no_args_is_help=True)

_BAR = 30

Reason = Annotated[str | None, typer.Option(help="Only letters with this reason: high_below_low.")]


@app.command()
def stats(
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    start: options.Start = None,
    end: options.End = None,
    as_json: options.AsJson = False,
) -> None:
    """Count them by reason, pair, timeframe, provider.

    A letter with two reasons counts in both.
    """
    counts = statistics(_letters(assets, timeframes, start, end))
    if as_json:
        typer.echo(json_text(counts))
        return
    console = options.console()
    typer.echo(f"{counts.total:,} dead letters")
    for title, histogram in (
        ("reason", counts.by_reason),
        ("pair", counts.by_pair),
        ("timeframe", counts.by_timeframe),
        ("provider", counts.by_provider),
    ):
        if histogram:
            most = max(histogram.values())
            rows = [(key, n, "#" * max(1, _BAR * n // most)) for key, n in histogram.items()]
            console.print()
            console.print(grid((title, "letters", ""), rows, numbers=("letters",)))


@app.command()
def show(
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    start: options.Start = None,
    end: options.End = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """Show them, the newest first.

    The most recently rejected ones come first, each with the vendor's record below it.
    """
    letters = _letters(assets, timeframes, start, end, reason)
    shown = letters.slice(0, limit).to_pylist()
    if as_json:
        typer.echo(json_text(shown))
        return
    for letter in shown:
        bar = cell(letter["timestamp"]) or "unreadable time"
        typer.echo(
            f"{bar}  {letter['asset_pair']} {letter['timeframe']}  {letter['source_provider']}"
            f"  {cell(letter['reasons'])}\n    {letter['record']}"
        )
    typer.echo(f"{len(shown):,} of {letters.num_rows:,} dead letters")


@app.command("export")
def export_letters(
    output: Annotated[Path, typer.Option(help="Folder for the files; made if there is none.")],
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    start: options.Start = None,
    end: options.End = None,
    reason: Reason = None,
) -> None:
    """Write them as JSON files, one a batch.

    Made for jq: cat DIR/*.json | jq '.records[] | .reason' | sort | uniq -c

    A record that has a field `reason` itself, or is no JSON object, stands whole in a field
    `record`.
    """
    letters = _letters(assets, timeframes, start, end, reason)
    paths = export(letters, output)
    typer.echo(f"{letters.num_rows:,} dead letters in {len(paths):,} files in {output}")


def _letters(
    assets: str | None,
    timeframes: str | None,
    start: str | None,
    end: str | None,
    reason: str | None = None,
) -> pa.Table:
    first = options.day(start) if start else None
    last = options.day(end) if end else None
    if first and last and last < first:
        raise InputError(f"the end {last} is before the start {first}: swap them")
    where = Where(
        pairs=tuple(symbol.name for symbol in options.symbols(assets)) if assets else None,
        start=day_start(first) if first else None,
        end=day_start(last + ONE_DAY) if last else None,
    )
    lake = DeltaLakeManager(get_settings().lake_uri)
    return read_letters(lake, options.timeframes(timeframes), where, reason)
