"""``ffe gaps``: which bars are not there, why, and with ``--fill``: fetch them."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Annotated, TypeAlias

import dagster as dg
import typer
from rich.console import Console

from ffe_lakehouse.automation.jobs import INGESTION
from ffe_lakehouse.cli import options
from ffe_lakehouse.cli.loading import Tally, load, provider_config
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.gaps import CLASSES, Gap, Grid, Slot, States, days_to_ask, look
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.output import grid as table
from ffe_lakehouse.partitions import ASSET_PAIR, PairDays, table_key
from ffe_lakehouse.planning import plan
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.universe import enrolments
from ffe_lakehouse.watermarks import State, partition_states, watermarks

Days: TypeAlias = Mapping[tuple[str, Timeframe], list[date]]

_LISTED = ("vendor_has_none", "not_fetched")


def gaps(
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    days: options.Days = None,
    start: options.Start = None,
    end: options.End = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--class",
            help=f"With commas, of {', '.join(CLASSES)}; {' and '.join(_LISTED)}, if left out.",
        ),
    ] = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="Fetch what was not fetched; list what is left.")
    ] = False,
    provider: Annotated[
        str | None, typer.Option(help="Who is asked by --fill; else each pair's own provider.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the bars that are not there, and why.

    Without dates: from the first day that was ever loaded, of each pair and timeframe.
    """
    wanted, listed = options.timeframes(timeframes), _classes(kinds)
    dated = days is not None or start is not None or end is not None
    chosen = options.day_range(days, start, end) if dated else None
    if provider is not None and not fill:
        raise InputError(f"--provider {provider} is who --fill asks: add --fill, or leave it out")
    if provider is not None:
        provider_config(provider)  # A wrong one stops the command even if nothing is to be asked.
    console = options.console(stderr=as_json)
    lake = open_lake()
    with open_instance(get_settings()) as instance:
        pairs = options.known_pairs(instance, assets)

        def grids() -> Iterator[tuple[Grid, States]]:
            for timeframe in wanted:
                yield from _grids(instance, lake, timeframe, pairs, chosen)

        loaded = True
        if fill:
            asked = {
                (grid.window.pair, grid.timeframe): days_to_ask(instance, grid, states)
                for grid, states in grids()
            }
            loaded = _fill(instance, asked, provider, console)
        found = [gap for grid, _ in grids() for slot in listed for gap in grid.across_days(slot)]
    found.sort(key=lambda gap: (gap.pair, TIMEFRAMES[gap.timeframe], gap.first))
    if as_json:
        typer.echo(json.dumps([_as_dict(gap) for gap in found], indent=2))
    else:
        _print(found, console)
    raise typer.Exit(0 if loaded else 1)


def _classes(text: str | None) -> list[Slot]:
    """Classes of gaps from ``not_fetched,market_closed``.

    Raises:
        InputError: One of them is none.
    """
    names = [part.strip() for part in text.split(",")] if text is not None else _LISTED
    unknown = [name for name in names if name not in CLASSES]
    if unknown:
        raise InputError(f"unknown class {unknown[0]!r}: use one of {', '.join(CLASSES)}")
    return [CLASSES[name] for name in dict.fromkeys(names)]


def _grids(
    instance: dg.DagsterInstance,
    lake: DeltaLakeManager,
    timeframe: Timeframe,
    pairs: Sequence[str],
    days: tuple[date, date] | None,
) -> Iterator[tuple[Grid, States]]:
    """Every pair's bars of these days; of all since its first one, if there are none.

    Dagster is asked once for all pairs. The lake is asked pair by pair: ten years of minutes are
    five million bars.
    """
    key, now = table_key(raw_candles(timeframe)), utc_now()
    if days is None:
        marks = watermarks(instance, key, pairs, now)
        windows = [PairDays(mark.pair, mark.first, now.date()) for mark in marks]
    else:
        windows = [PairDays(pair, *days) for pair in pairs]
    if not windows:
        return
    first, last = min(window.first for window in windows), windows[0].last
    states = partition_states(instance, key, [each.pair for each in windows], first, last, now)
    for window in windows:
        for grid in look(lake, timeframe, [window], states, now):
            yield grid, states


def _fill(instance: dg.DagsterInstance, days: Days, provider: str | None, console: Console) -> bool:
    """Ask each pair's provider for days; whether all of them were loaded.

    Those of which bars are missing are asked for once more: what is not there then, the vendor
    does not have, and it is not asked for again.
    """
    own, default = enrolments(instance), get_settings().default_provider
    of_provider: dict[str, dict[tuple[str, Timeframe], list[date]]] = defaultdict(dict)
    for (pair, timeframe), some in days.items():
        if some:
            name = provider or own[pair].provider or default
            of_provider[name][pair, timeframe] = some
    if not of_provider:
        console.print("Nothing to fetch.")
    configs = {name: provider_config(name) for name in of_provider}
    loaded = True
    for name, config in configs.items():
        loaded &= _load(instance, of_provider[name], config, console)
        loaded &= _load(instance, _holes(instance, of_provider[name]), config, console)
    return loaded


def _holes(instance: dg.DagsterInstance, days: Days) -> Days:
    """Of these days those that had closed when they were asked for the first time, with holes."""
    holes = {}
    for (pair, timeframe), some in days.items():
        key = table_key(raw_candles(timeframe))
        states = partition_states(instance, key, [pair], some[0], some[-1], utc_now())
        holes[pair, timeframe] = [day for day in some if states[pair, day] is State.HOLES]
    return {key: some for key, some in holes.items() if some}


def _load(
    instance: dg.DagsterInstance, days: Days, config: Mapping[str, str], console: Console
) -> bool:
    if not days:
        return True
    # The asset graph takes half a second to build: only if there is something to do.
    from ffe_lakehouse.definitions import below_gold

    tallies = [
        Tally(pair, str(timeframe), len(some), 0) for (pair, timeframe), some in days.items()
    ]
    boxes = plan(days, instance.get_dynamic_partitions(ASSET_PAIR))
    console.print(
        f"{sum(box.partitions for box in boxes)} partition(s) to load in {len(boxes)} run(s),"
        f" from {config['provider']}"
    )
    load(instance, below_gold().resolve_job_def(INGESTION), boxes, config, tallies, console)
    return all(tally.loaded >= tally.due for tally in tallies)


def _print(found: Sequence[Gap], console: Console) -> None:
    bars: Counter[str] = Counter()
    for gap in found:
        bars[gap.kind] += gap.bars
    if found:
        headers = ("pair", "timeframe", "class", "first bar", "last", "bars")
        rows = [
            (
                *(gap.pair, gap.timeframe, gap.kind),
                *(f"{moment:%Y-%m-%dT%H:%MZ}" for moment in (gap.first, gap.last)),
                gap.bars,
            )
            for gap in found
        ]
        console.print(table(headers, rows, numbers=("bars",)))
    classes = [f"{count:,} bar(s) {kind}" for kind, count in bars.items()]
    console.print(", ".join(classes) or "No gap.")


def _as_dict(gap: Gap) -> dict[str, object]:
    return {
        "asset_pair": gap.pair,
        "timeframe": gap.timeframe,
        "class": gap.kind,
        "first": gap.first.isoformat(),
        "last": gap.last.isoformat(),
        "bars": gap.bars,
    }
