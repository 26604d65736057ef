"""``ffe read``, ``ffe tables``, ``ffe history``: the rows of the lake, and what there is."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from ffe_lakehouse.cli import options
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.inventory import commits, summarize, table_name
from ffe_lakehouse.lake import Where
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.lake.tables import table_schema
from ffe_lakehouse.output import GAP, cell, grid, json_text, row_writer, size
from ffe_lakehouse.partitions import day_start
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.settings import get_settings

_SHOWN = 20

TableName = Annotated[
    str,
    typer.Argument(
        metavar="TABLE",
        help="bronze/raw_market_data_1h; the layer may be left out, except for dlq/.",
    ),
]


def read(
    table: TableName,
    assets: options.Assets = None,
    timeframes: Annotated[
        str | None, typer.Option(help="Of a table that holds several: 1h,1d.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First day or moment, included (UTC).")] = None,
    end: Annotated[
        str | None,
        typer.Option(
            help="2024-01-31: up to the end of that day. 2024-01-31T10:00: up to that moment, which"
            " is left out (UTC)."
        ),
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="The table as it was committed at this moment (UTC).")
    ] = None,
    version: Annotated[int | None, typer.Option(help="The table at this Delta version.")] = None,
    known_on: Annotated[
        str | None,
        typer.Option(
            help="Of every bar only the version that was the newest at this moment (UTC), or `now`."
            " Works for any past, also after a vacuum."
        ),
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Which ones, with commas.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"So many rows; {_SHOWN} on the screen, all into a file."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file: .csv, .parquet or .json.")
    ] = None,
) -> None:
    """Show rows of a table, or write them to a file.

    A bar lies at its open time. Where a moment is asked for, a day means its midnight (UTC).
    """
    if as_of is not None and version is not None:
        raise InputError("--as-of and --version both choose a version of the table: give one")
    write = row_writer(output) if output else None
    schema = table_schema(table_name(table))
    wanted = list(dict.fromkeys(part.strip() for part in columns.split(","))) if columns else None
    if known_on is not None and "_extracted_at" not in schema.arrow.names:
        raise InputError(f"{schema.name} keeps no older versions of a row: use --as-of")
    # `now` means the newest rows, also those of a machine whose clock is ahead of this one.
    newest = known_on is not None and known_on.strip().lower() == "now"
    where = Where(
        pairs=tuple(symbol.name for symbol in options.symbols(assets)) if assets else None,
        start=options.moment(start) if start else None,
        end=_end(end) if end else None,
        known_on=options.moment(known_on) if known_on and not newest else None,
        timeframes=_timeframes(timeframes, schema),
    )
    _check_stretch(where, schema)
    rows = open_lake().read(
        schema.name,
        where,
        [*wanted, *(name for name in schema.key if name not in wanted)] if wanted else None,
        version=version,
        as_of=options.moment(as_of) if as_of else None,
        newest=newest,
    )
    older = _older_versions(schema, rows) if schema.values else 0
    rows = rows.select(wanted or schema.arrow.names)
    found = f"{rows.num_rows:,} rows of {schema.name}"
    if write is not None:
        rows = rows.slice(0, limit)
        write(rows)
        typer.echo(f"{output}: {rows.num_rows:,} of {found}")
    else:
        shown = rows.slice(0, limit or _SHOWN)
        _show(shown, all_columns=wanted is not None, first=schema.sort_by)
        typer.echo(f"{shown.num_rows:,} of {found}" if shown.num_rows < rows.num_rows else found)
    if older:
        typer.echo(
            f"{older:,} of these rows are older versions of bars that were revised;"
            " `--known-on now` leaves only the newest"
        )


def _timeframes(text: str | None, schema: TableSchema) -> tuple[str, ...] | None:
    if text is None:
        return None
    if "timeframe" not in schema.arrow.names:
        raise InputError(f"{schema.name} has no timeframes to choose from: leave --timeframes out")
    return tuple(timeframe.code for timeframe in options.timeframes(text))


def _end(text: str) -> datetime:
    try:
        return day_start(options.day(text) + timedelta(days=1))
    except InputError:
        return options.moment(text)


def _check_stretch(where: Where, schema: TableSchema) -> None:
    if where.pairs is not None and "partition_asset_pair" not in schema.arrow.names:
        raise InputError(f"{schema.name} is not of pairs: leave --assets out")
    if where.start and where.end and where.end <= where.start:
        raise InputError(f"the end, {where.end}, is not after the start, {where.start}")
    if pa.types.is_date(schema.arrow.field(schema.time_column).type):
        for moment in filter(None, (where.start, where.end)):
            if moment != day_start(moment.date()):
                raise InputError(f"{schema.name} is selected by whole days: {moment} is none")


def _older_versions(schema: TableSchema, rows: pa.Table) -> int:
    facts: int = rows.select(schema.key).group_by(list(schema.key)).aggregate([]).num_rows
    return int(rows.num_rows - facts)


def _show(rows: pa.Table, *, all_columns: bool, first: tuple[str, ...]) -> None:
    """A grid of ``rows``: all columns, or as many as fit side by side, and the others' names."""
    if rows.num_rows == 0:
        return
    names = rows.column_names
    if not all_columns:
        names = [*first, *(name for name in names if name not in first)]
    columns = {name: list(map(cell, rows[name].to_pylist())) for name in names}
    console = options.console()
    shown, width = [], -GAP
    for name, texts in columns.items():
        width += GAP + max(map(len, (name, *texts)))
        if width > console.width and not all_columns:
            break
        shown.append(name)
    numbers = [n for n in shown if pa.types.is_floating(rows[n].type)]
    console.print(grid(shown, zip(*(columns[name] for name in shown), strict=True), numbers))
    if left := names[len(shown) :]:
        typer.echo(f"Not shown (choose with --columns): {', '.join(left)}")


def tables(as_json: options.AsJson = False) -> None:
    """List the tables and what they hold.

    All of it comes from the Delta logs: rows, data files, size, newest version, and the oldest and
    newest time (UTC).
    """
    settings = get_settings()
    found = summarize(open_lake())
    if as_json:
        typer.echo(json_text(found))
        return
    if not found:
        typer.echo(f"No tables in {settings.lake_uri} yet: `ffe backfill` makes them")
        return
    numbers = ("rows", "files", "size", "version")
    options.console().print(
        grid(
            ("table", "oldest", "newest", *numbers),
            [
                (t.table, t.oldest, t.newest, t.rows, t.files, size(t.bytes), t.version)
                for t in found
            ],
            numbers,
            whole=("table",),
            gap=1,  # with 2, the names would be folded on a terminal of 80 columns
        )
    )
    typer.echo(
        f"{len(found)} tables, {sum(t.rows for t in found):,} rows,"
        f" {size(sum(t.bytes for t in found))} in {settings.lake_uri}"
    )


def history(
    table: TableName,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many commits.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """List the commits of a table, newest first.

    `files` counts the data files that came (+) and went (-). --json has the run ids in full.
    """
    name = table_name(table)
    found = commits(open_lake(), name, limit)
    if as_json:
        typer.echo(json_text(found))
        return
    options.console().print(
        grid(
            ("version", "committed (UTC)", "operation", "rows", "files", "run", "partitions"),
            [
                (
                    str(commit.version),
                    commit.timestamp,
                    commit.operation,
                    commit.rows,
                    _files(commit.files_added, commit.files_removed),
                    (commit.run_id or "")[:8],
                    commit.partitions,
                )
                for commit in found
            ],
            numbers=("version", "rows", "files"),
            whole=("operation", "run"),
        )
    )


def _files(added: int | None, removed: int | None) -> str:
    """``+1 -3``: what came and what went; nothing if the operation moves no files."""
    return " ".join(f"{sign}{count}" for sign, count in (("+", added), ("-", removed)) if count)
