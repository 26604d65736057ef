"""``ffe watermarks`` and ``ffe gaps``: what is loaded, and what is missing in it."""

import json

import typer
from rich.table import Table

from ffe_lakehouse.cli import options
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.gaps import find_gaps
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import Watermark, watermarks

_OPEN_SHOWN = 3


def show_watermarks(
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    as_json: options.AsJson = False,
) -> None:
    """Show how far each pair is loaded without a hole.

    And what is open since then: missing, failed, late or unfinished days.
    """
    wanted = options.timeframes(timeframes)
    found: list[tuple[str, Watermark]] = []
    with open_instance(get_settings()) as instance:
        pairs = options.known_pairs(instance, assets)
        for timeframe in wanted:
            key = table_key(raw_candles(timeframe))
            marks = watermarks(instance, key, pairs, utc_now())
            found.extend((timeframe.code, mark) for mark in marks)
    found.sort(key=lambda item: item[1].pair)
    if as_json:
        typer.echo(json.dumps([_as_dict(code, mark) for code, mark in found], indent=2))
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


def gaps(
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    days: options.Days = None,
    start: options.Start = None,
    end: options.End = None,
    as_json: options.AsJson = False,
) -> None:
    """List the bars that are missing in loaded days.

    Missing is what the trading calendar expects; closed hours are no gaps.
    """
    wanted = options.timeframes(timeframes)
    settings = get_settings()
    now = utc_now()
    if days is None and start is None:
        first, last = settings.start_date, now.date()
    else:
        first, last = options.day_range(days, start, end)
    lake = DeltaLakeManager(settings.lake_uri)
    with open_instance(settings) as instance:
        pairs = options.known_pairs(instance, assets)
        found = [
            gap
            for pair in pairs
            for timeframe in wanted
            for gap in find_gaps(instance, lake, pair, timeframe, first, last, now)
        ]
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {
                        "asset_pair": gap.pair,
                        "timeframe": gap.timeframe,
                        "first": gap.first.isoformat(),
                        "last": gap.last.isoformat(),
                        "bars": int(gap.bars),
                    }
                    for gap in found
                ],
                indent=2,
            )
        )
        return
    table = Table(
        "pair", "timeframe", "first missing bar", "last", "bars", box=None, pad_edge=False
    )
    for gap in found:
        table.add_row(
            gap.pair,
            gap.timeframe,
            f"{gap.first:%Y-%m-%dT%H:%MZ}",
            f"{gap.last:%Y-%m-%dT%H:%MZ}",
            f"{gap.bars:,}",
        )
    console = options.console()
    if found:
        console.print(table)
    console.print(f"{sum(gap.bars for gap in found):,} bar(s) missing in {len(found)} gap(s)")


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
