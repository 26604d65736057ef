"""``ffe backfill``: load days of pairs into the lake, as Dagster runs of this process."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated

import dagster as dg
import typer
from rich.console import Console

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.automation.engine import SIMULATED_ENGINE
from ffe_lakehouse.automation.jobs import INGESTION, MARTS, NEWS, PORTFOLIO, PROCESSING
from ffe_lakehouse.backfill import execute, failure_text
from ffe_lakehouse.cli import options
from ffe_lakehouse.cli.deriving import derive, derive_portfolio
from ffe_lakehouse.cli.engine import play, require_engine
from ffe_lakehouse.cli.loading import Tally, load, provider_config
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.marts import pair_marts
from ffe_lakehouse.partitions import ASSET_PAIR, days_between, table_key
from ffe_lakehouse.planning import is_due, plan, select_days
from ffe_lakehouse.providers.registry import vendors_of
from ffe_lakehouse.schemas import CANDLE_GAPS, TableSchema
from ffe_lakehouse.schemas.records import RAW_NEWS_SENTIMENT, record_letters
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.universe import Enrolment, enrol, enrolments

_LAYERS = ("bronze", "engine", "silver", "gold", "quality", "news")
_NEWS = (record_letters(RAW_NEWS_SENTIMENT), RAW_NEWS_SENTIMENT)


def backfill(
    assets: Annotated[str, typer.Option(help="Pairs, with commas: BTCUSD,EUR_USD,AAPL.")],
    timeframes: options.Timeframes = None,
    days: options.Days = None,
    start: options.Start = None,
    end: options.End = None,
    provider: Annotated[
        str | None, typer.Option(help="Who is asked; `ffe providers` lists them.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="Folder that the files provider reads.")
    ] = None,
    layers: Annotated[
        str, typer.Option(help=f"What is brought up to date, with commas, of {', '.join(_LAYERS)}.")
    ] = "bronze",
    force: Annotated[bool, typer.Option(help="Fetch what is complete, too.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Load candles into the lake.

    What is complete is skipped; what failed or is unfinished is tried again.
    """
    pairs = [symbol.name for symbol in options.symbols(assets)]
    wanted = options.timeframes(timeframes)
    first, last = options.day_range(days, start, end)
    config = provider_config(provider, source)
    chosen = _layers(layers)
    if "engine" in chosen:
        require_engine(config["provider"])
    # A week of the simulated market does not keep the real one out.
    vendors = vendors_of(config["provider"], get_settings()) if provider or source else ()
    console = options.console(stderr=as_json)
    # The asset graph takes half a second to build: only once the command is known to be right.
    from ffe_lakehouse.definitions import below_gold, defs

    jobs = defs() if "gold" in chosen else below_gold()
    tallies: list[Tally] = []
    derived = True
    with open_instance(get_settings()) as instance:
        if "bronze" in chosen:
            tallies = _run(
                instance,
                jobs.resolve_job_def(INGESTION),
                pairs,
                wanted,
                (first, last),
                config,
                force,
                vendors,
                console,
            )
        else:
            pairs = options.known_pairs(instance, assets)
        look = partial(_run_assets, instance, pairs, (first, last), console)
        if "news" in chosen:
            asked = {"provider": provider} if provider else {}
            derived &= look(jobs.resolve_job_def(NEWS), _NEWS, asked)
        if "engine" in chosen:
            job = jobs.resolve_job_def(SIMULATED_ENGINE)
            derived &= play(instance, job, pairs, (first, last), console)
        if "silver" in chosen:
            job, steps = jobs.resolve_job_def(PROCESSING), [each.derived for each in derivations()]
            derived &= derive(instance, job, steps, pairs, (first, last), console, force=force)
        if "gold" in chosen:
            job = jobs.resolve_job_def(MARTS)
            derived &= derive(
                instance, job, pair_marts(), pairs, (first, last), console, force=force
            )
            job = jobs.resolve_job_def(PORTFOLIO)
            derived &= derive_portfolio(instance, job, (first, last), console, force=force)
        if "quality" in chosen:
            derived &= look(jobs.resolve_job_def(PROCESSING), [CANDLE_GAPS])
    if as_json:
        found = [tally.as_dict(config["provider"]) for tally in tallies]
        typer.echo(json.dumps(found, indent=2))
    failed = not derived or any(tally.loaded < tally.due for tally in tallies)
    raise typer.Exit(1 if failed else 0)


def _layers(text: str) -> list[str]:
    chosen = [layer.strip().lower() for layer in text.split(",")]
    for layer in chosen:
        if layer not in _LAYERS:
            raise InputError(f"unknown layer {layer!r}: use one of {', '.join(_LAYERS)}")
    return chosen


def _run_assets(
    instance: dg.DagsterInstance,
    pairs: Sequence[str],
    days: tuple[date, date],
    console: Console,
    job: dg.JobDefinition,
    tables: Sequence[TableSchema],
    config: Mapping[str, str] | None = None,
) -> bool:
    """Materialize tables over all these days; whether that went well."""
    selected = {(pair, TIMEFRAMES["1d"]): days_between(*days) for pair in pairs}
    keys, name = [table_key(table) for table in tables], tables[-1].name
    well, rows = True, 0
    for box in plan(selected, instance.get_dynamic_partitions(ASSET_PAIR)):
        for event in execute(instance, job, box, assets=keys, op_config=config):
            if event.is_step_materialization and event.asset_key == keys[-1]:
                told = event.step_materialization_data.materialization.metadata
                rows += int(str(told["dagster/partition_row_count"].value))
            elif event.is_step_failure:
                well = False
                console.print(f"{name}: {failure_text(event)}", soft_wrap=True)
    if well:
        console.print(f"{name}: {len(pairs)} pair(s), {days[0]} to {days[1]}, {rows:,} rows")
    return well


def _run(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    pairs: Sequence[str],
    timeframes: Sequence[Timeframe],
    days: tuple[date, date],
    config: dict[str, str],
    force: bool,
    vendors: Collection[str],
    console: Console,
) -> list[Tally]:
    told = enrolments(instance)
    # The first provider that is named for a pair is its own from then on, or `ffe dev` would go on
    # with the bars of another one.
    undecided = [pair for pair in pairs if told.get(pair, Enrolment()).provider is None]
    new = enrol(instance, undecided, start=None, provider=config["provider"] if vendors else None)
    due = select_days(
        instance,
        pairs,
        timeframes,
        days,
        utc_now(),
        partial(is_due, force=force),
        vendors,
    )
    all_days = len(days_between(*days))
    tallies = [
        Tally(
            pair,
            timeframe.code,
            due=len(due.get((pair, timeframe), ())),
            skipped=all_days - len(due.get((pair, timeframe), ())),
        )
        for pair in pairs
        for timeframe in timeframes
    ]
    boxes = plan(due, instance.get_dynamic_partitions(ASSET_PAIR))
    partitions = sum(box.partitions for box in boxes)
    console.print(
        f"{len(pairs)} pair(s) x {len(timeframes)} timeframe(s), {days[0]} to {days[1]},"
        f" from {config['provider']}: {partitions} partition(s) to load in {len(boxes)} run(s),"
        f" {sum(tally.skipped for tally in tallies)} complete"
    )
    if new:
        console.print(f"New in the universe: {', '.join(new)}")
    load(instance, job, boxes, config, tallies, console)
    return tallies
