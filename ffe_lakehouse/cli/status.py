"""``ffe watermarks``: what is loaded, and what is open."""

import json
from typing import Annotated

import typer
from rich.table import Table

from ffe_lakehouse.cli import options
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import Watermark, watermarks

_OPEN_SHOWN = 3


def show_watermarks(
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    as_json: options.AsJson = False,
    details: Annotated[
        bool, typer.Option("--details", help="With --json: also days, and what is open.")
    ] = False,
) -> None:
    """Show how far each pair is loaded without a hole.

    And what is open since then: missing, failed, late or unfinished days. --json gives the open
    time (UTC) of the last bar up to there, as {"BTCUSD_1h": "2025-12-14T10:00:00"}.
    """
    if details and not as_json:
        raise InputError("--details is for --json: without it, all is shown anyway")
    wanted = options.timeframes(timeframes)
    found: list[tuple[str, Watermark]] = []
    with open_instance(get_settings()) as instance:
        pairs = options.known_pairs(instance, assets)
        for timeframe in wanted:
            key = table_key(raw_candles(timeframe))
            marks = watermarks(instance, key, pairs, utc_now())
            found.extend((timeframe.code, mark) for mark in marks)
    found.sort(key=lambda item: item[1].pair)
    if details:
        typer.echo(json.dumps([_as_dict(code, mark) for code, mark in found], indent=2))
        return
    if as_json:
        reached = {
            f"{mark.pair}_{code}": f"{mark.last_timestamp:%Y-%m-%dT%H:%M:%S}"
            for code, mark in found
            if mark.last_timestamp is not None
        }
        typer.echo(json.dumps(reached, indent=4))
        return
    if not found:
        typer.echo("Nothing is loaded yet: try `ffe backfill --assets BTCUSD --days 7`.")
        return
    table = Table(
        "pair", "timeframe", "from", "complete until", "last bar", "no data", "open",
        box=None, pad_edge=False,
    )  # fmt: skip
    for code, mark in found:
        windows = [f"{state.value} {window}" for state, window in mark.open]
        more = [f"and {len(windows) - _OPEN_SHOWN} more"] if len(windows) > _OPEN_SHOWN else []
        table.add_row(
            mark.pair,
            code,
            str(mark.first),
            str(mark.complete_until or "-"),
            f"{mark.last_timestamp:%Y-%m-%dT%H:%MZ}" if mark.last_timestamp else "-",
            str(mark.no_data),
            ", ".join([*windows[:_OPEN_SHOWN], *more]),
        )
    options.console().print(table)


def _as_dict(code: str, mark: Watermark) -> dict[str, object]:
    return {
        "asset_pair": mark.pair,
        "timeframe": code,
        "first": mark.first.isoformat(),
        "complete_until": mark.complete_until and mark.complete_until.isoformat(),
        "watermark": mark.last_timestamp and mark.last_timestamp.isoformat(),
        "no_data_days": mark.no_data,
        "open": [
            {
                "state": state.value,
                "start": window.first.isoformat(),
                "end": window.last.isoformat(),
            }
            for state, window in mark.open
        ],
    }
