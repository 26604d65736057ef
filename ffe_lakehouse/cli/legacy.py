"""``ffe import-legacy``: take over what the old engine left in files."""

from pathlib import Path
from typing import Annotated

import typer

from ffe_lakehouse.cli import options
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.legacy import Claim, import_letters, read_claims
from ffe_lakehouse.output import grid
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import parse_timeframe
from ffe_lakehouse.watermarks import watermarks


def import_legacy(
    folder: Annotated[Path, typer.Argument(help="Folder of the old engine's data.")],
) -> None:
    """Take over the old engine's dead letters, and compare its watermarks.

    Every dlq_*.json below FOLDER becomes dead letters, once. What a watermarks.json claims is shown
    beside what is loaded here. Candles are loaded by `ffe backfill --source`.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the one that holds the engine's data")
    console = options.console()
    files = import_letters(open_lake(), folder)
    claims = [
        claim for path in sorted(folder.rglob("watermarks.json")) for claim in read_claims(path)
    ]
    for file in (file for file in files if file.fault):
        console.print(f"{file.path} was left out: {file.fault}", soft_wrap=True)
    new, known = sum(file.new for file in files), sum(file.known for file in files)
    typer.echo(f"{len(files)} dlq file(s): {new:,} letter(s) imported, {known:,} known before")
    if claims:
        rows = [(*_named(claim), claim.until, loaded) for claim, loaded in _beside(claims)]
        headers = ("pair", "timeframe", "claimed until", "loaded until")
        console.print(grid(headers, rows))
        typer.echo("What is behind is loaded by `ffe backfill`; nothing else keeps a watermark.")
    if not files and not claims:
        typer.echo(f"{folder} has no dlq_*.json and no watermarks.json.")
    raise typer.Exit(1 if any(file.fault for file in files) else 0)


def _named(claim: Claim) -> tuple[str, str]:
    return claim.pair, claim.timeframe


def _beside(claims: list[Claim]) -> list[tuple[Claim, object]]:
    """Each claim with the last bar that is loaded here without a hole."""
    with open_instance(get_settings()) as instance:
        loaded = {
            (mark.pair, code): mark.last_timestamp
            for code in sorted({claim.timeframe for claim in claims})
            for mark in watermarks(
                instance,
                table_key(raw_candles(parse_timeframe(code))),
                sorted({claim.pair for claim in claims}),
                utc_now(),
            )
        }
    return [(claim, loaded.get(_named(claim))) for claim in claims]
