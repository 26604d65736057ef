"""``ffe dlq``: the records that were refused."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from ffe_lakehouse.cli import dlq_replay, options
from ffe_lakehouse.cli.dlq_letters import all_letters, count_letters
from ffe_lakehouse.cli.dlq_replay import chosen_days, reason_codes
from ffe_lakehouse.dead_letters import export, open_letters, read_closings
from ffe_lakehouse.lake import Where
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.output import cell, grid, json_text

app = typer.Typer(name="dlq", help="The records that were refused, and why.", no_args_is_help=True)

_BAR = 30

Reason = Annotated[
    str | None, typer.Option(help="Only letters with one of these, with commas: high_below_low.")
]
Table = Annotated[
    str | None, typer.Option(help="Only of these tables, with commas: raw_ai_decisions.")
]
OpenOnly = Annotated[
    bool, typer.Option("--open/--all", help="Only the open ones, or closed ones, too.")
]


@app.command()
def stats(
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    start: options.Start = None,
    end: options.End = None,
    open_only: OpenOnly = False,
    table: Table = None,
    as_json: options.AsJson = False,
) -> None:
    """Count them by state, reason, table, pair, timeframe, provider.

    A letter with two reasons counts in both.
    """
    where = chosen_days(assets, start, end)
    counts, by_table = count_letters(*_letters(table, timeframes, where, None, open_only))
    if as_json:
        typer.echo(json_text({**asdict(counts), "by_table": by_table}))
        return
    console = options.console()
    typer.echo(f"{counts.total:,} dead letters, {counts.by_state.get('open', 0):,} open")
    for title, histogram in (
        ("state", counts.by_state),
        ("reason", counts.by_reason),
        ("table", by_table),
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
    open_only: OpenOnly = True,
    table: Table = None,
    as_json: options.AsJson = False,
) -> None:
    """Show them, the newest first.

    The most recently rejected ones come first, each with the vendor's record below it, and, if it
    is closed, with who closed it and why.
    """
    where = chosen_days(assets, start, end)
    letters, closings = _letters(table, timeframes, where, reason, open_only)
    shown = letters.slice(0, limit).to_pylist()
    closing_of = {closing["letter_id"]: closing for closing in closings.to_pylist()}
    if as_json:
        told = ("action", "closed_by", "why", "closed_at", "run_id")
        for letter in shown if not open_only else ():
            closing = closing_of.get(letter["letter_id"])
            letter["closing"] = closing and {name: closing[name] for name in told}
        typer.echo(json_text(shown))
        return
    for letter in shown:
        when = cell(letter["timestamp"]) or "unreadable time"
        what = f"{letter['asset_pair'] or 'unknown pair'} {letter['timeframe'] or letter['table']}"
        typer.echo(f"{when}  {what}  {letter['source_provider']}  {cell(letter['reasons'])}")
        if letter["detail"]:
            typer.echo(f"    {letter['source']}: {letter['detail']}")
        typer.echo(f"    {letter['record']}")
        if closing := closing_of.get(letter["letter_id"]):
            typer.echo(
                f"    {closing['action']} {cell(closing['closed_at'])} by {closing['closed_by']}:"
                f" {closing['why']}"
            )
    kind = "open" if open_only else "dead"
    typer.echo(f"{len(shown):,} of {letters.num_rows:,} {kind} letters")


@app.command("export")
def export_letters(
    output: Annotated[Path, typer.Option(help="Folder for the files; made if there is none.")],
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    start: options.Start = None,
    end: options.End = None,
    reason: Reason = None,
    open_only: OpenOnly = True,
    table: Table = None,
) -> None:
    """Write them as JSON files, one a batch.

    Made for jq: cat DIR/*.json | jq '.records[] | .reason' | sort | uniq -c

    A record that has a field `reason` itself, or is no JSON object, stands whole in a field
    `record`.
    """
    where = chosen_days(assets, start, end)
    letters, _ = _letters(table, timeframes, where, reason, open_only)
    paths = export(letters, output)
    kind = "open" if open_only else "dead"
    typer.echo(f"{letters.num_rows:,} {kind} letters in {len(paths):,} files in {output}")


app.command()(dlq_replay.replay)
app.command()(dlq_replay.discard)


def _letters(
    table: str | None, timeframes: str | None, where: Where, reason: str | None, open_only: bool
) -> tuple[pa.Table, pa.Table]:
    """The letters that are meant, and all closings of their pairs and days."""
    lake = open_lake()
    letters = all_letters(lake, table, timeframes, where, reason_codes(reason))
    closings = read_closings(lake, where)
    return (open_letters(letters, closings) if open_only else letters), closings
