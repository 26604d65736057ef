"""``ffe backfill``: load days of pairs into the lake, as Dagster runs of this process."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, TypeAlias, cast

import dagster as dg
import typer
from rich.console import Console
from rich.table import Table

from ffe_lakehouse.automation.jobs import INGESTION
from ffe_lakehouse.backfill import Failed, register_pairs, run_box
from ffe_lakehouse.cli import options
from ffe_lakehouse.cli.progress import Progress, duration
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.partitions import ASSET_PAIR, days_between, split_key, table_key
from ffe_lakehouse.planning import is_due, plan, select_days
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.registry import get_provider
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import Timeframe

_Metadata: TypeAlias = Mapping[str, dg.MetadataValue]

COUNTS = ("fetched", "written", "unchanged", "duplicate", "rejected")


@dataclass
class Tally:
    """What became of one timeframe of one pair in this command."""

    pair: str
    timeframe: str
    due: int
    skipped: int
    loaded: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    last_timestamp: str | None = None
    failed: list[Failed] = field(default_factory=list)

    @property
    def status(self) -> str:
        """``error``, ``validation_failed``, ``skipped``, ``no_data`` or ``success``."""
        if self.loaded < self.due:
            refused = self.failed and all(failed.refused for failed in self.failed)
            return "validation_failed" if refused else "error"
        if not self.due:
            return "skipped"
        return "success" if self.counts["fetched"] else "no_data"

    def add_letters(self, metadata: _Metadata) -> None:
        """Count a day of dead letters; every day has one, also if its bars were refused."""
        self._count(metadata, "fetched", "rejected")

    def add_bars(self, metadata: _Metadata) -> None:
        """Count a day of bars."""
        self.loaded += 1
        self._count(metadata, "written", "unchanged", "duplicate")
        self.counts["missing"] += cast("int", metadata["bars_missing"].value)
        if "last_timestamp" in metadata:
            seconds = cast("float", metadata["last_timestamp"].value)
            moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")
            self.last_timestamp = max(self.last_timestamp or moment, moment)

    def as_dict(self, provider: str) -> dict[str, object]:
        """For scripts: how it ended, and every count."""
        return {
            "asset_pair": self.pair,
            "timeframe": self.timeframe,
            "provider": provider,
            "status": self.status,
            "records": self.counts["written"] + self.counts["unchanged"],
            "failed_records": self.counts["rejected"],
            "watermark": self.last_timestamp,
            "days": {"due": self.due, "loaded": self.loaded, "skipped": self.skipped},
            "rows": {name: self.counts[name] for name in COUNTS},
            "bars_missing": self.counts["missing"],
            "reasons": [failed.reason for failed in self.failed],
        }

    def _count(self, metadata: _Metadata, *names: str) -> None:
        self.counts.update({name: cast("int", metadata[f"rows_{name}"].value) for name in names})


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
    force: Annotated[bool, typer.Option(help="Fetch what is complete, too.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Load candles into the lake.

    What is complete is skipped; what failed or is unfinished is tried again.
    """
    pairs = [symbol.name for symbol in options.symbols(assets)]
    wanted = options.timeframes(timeframes)
    first, last = options.day_range(days, start, end)
    config = _config(provider, source)
    vendors = _vendors(config["provider"]) if provider or source else ()
    console = options.console(stderr=as_json)
    # The asset graph takes half a second to build: only once the command is known to be right.
    from ffe_lakehouse.definitions import defs

    job = defs().resolve_job_def(INGESTION)
    with open_instance(get_settings()) as instance:
        tallies = _run(instance, job, pairs, wanted, (first, last), config, force, vendors, console)
    if as_json:
        found = [tally.as_dict(config["provider"]) for tally in tallies]
        typer.echo(json.dumps(found, indent=2))
    raise typer.Exit(1 if any(tally.loaded < tally.due for tally in tallies) else 0)


def _config(provider: str | None, source: Path | None) -> dict[str, str]:
    """Config of the ingestion, tried here so that a wrong provider stops the command at once."""
    settings = get_settings()
    if source is not None:
        if not source.is_dir():
            raise InputError(f"--source {source} is no folder: name one that holds candle files")
        settings = settings.model_copy(update={"files_dir": source.absolute()})
        provider = provider or "files"
        if provider != "files":
            raise InputError(f"--source is for the provider 'files', not for {provider!r}")
    name = provider or settings.default_provider
    try:
        get_provider(name, settings)
    except ProviderError as error:
        raise InputError(str(error)) from error
    config = {"provider": name}
    if source is not None:
        config["source_dir"] = str(source.absolute())
    return config


def _vendors(provider: str) -> Collection[str]:
    """Whose bars are wanted if a provider is named: what others loaded is then loaded again.

    A week of the simulated market does not keep the real one out.
    """
    if provider == "chain":
        return {name for chain in get_settings().provider_chain.values() for name in chain}
    return (provider,)


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
    new = register_pairs(instance, pairs)
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
    tallies = {
        (table_key(raw_candles(timeframe)).path[-1], pair): Tally(
            pair,
            timeframe.code,
            due=len(due.get((pair, timeframe), ())),
            skipped=all_days - len(due.get((pair, timeframe), ())),
        )
        for pair in pairs
        for timeframe in timeframes
    }
    boxes = plan(due, instance.get_dynamic_partitions(ASSET_PAIR))
    partitions = sum(box.partitions for box in boxes)
    console.print(
        f"{len(pairs)} pair(s) x {len(timeframes)} timeframe(s), {days[0]} to {days[1]},"
        f" from {config['provider']}: {partitions} partition(s) to load in {len(boxes)} run(s),"
        f" {sum(tally.skipped for tally in tallies.values())} complete"
    )
    if new:
        console.print(f"New in the universe: {', '.join(new)}")

    def count(event: dg.AssetMaterialization) -> None:
        layer, table = event.asset_key.path
        tally = tallies[table, split_key(str(event.partition))[0]]
        if layer == "dlq":
            tally.add_letters(event.metadata)
        else:
            tally.add_bars(event.metadata)
            progress.update(successful=1)

    with Progress(partitions, console) as progress:
        for box in boxes:
            before = progress.successful
            failures = run_box(instance, job, box, config, count)
            progress.update(failed=box.partitions - (progress.successful - before))
            for failure in failures:
                for pair, timeframe in product(box.pairs, box.timeframes):
                    if failure.concerns(pair, timeframe.code):
                        tallies[table_key(raw_candles(timeframe)).path[-1], pair].failed.append(
                            failure
                        )
    _summary(list(tallies.values()), pairs, progress.elapsed, console)
    return list(tallies.values())


def _summary(
    tallies: Sequence[Tally], pairs: Sequence[str], elapsed: float, console: Console
) -> None:
    table = Table("pair", "timeframe", "status", box=None, pad_edge=False)
    for name in ("days", *COUNTS, "missing"):
        table.add_column(name, justify="right")
    table.add_column("until (UTC)")
    for tally in tallies:
        numbers = [tally.loaded, *(tally.counts[name] for name in (*COUNTS, "missing"))]
        table.add_row(
            tally.pair,
            tally.timeframe,
            tally.status,
            *(f"{number:,}" for number in numbers),
            tally.last_timestamp or "",
        )
    console.print(table)
    failed = {tally.pair for tally in tallies if tally.loaded < tally.due}
    written = sum(tally.counts["written"] for tally in tallies)
    console.print(
        f"Ingestion Summary: Successful: {len(pairs) - len(failed)}/{len(pairs)}"
        f" Failed: {len(failed)}/{len(pairs)};"
        f" {written:,} rows written in {duration(elapsed)}"
    )
    if failed:
        console.print("Failed symbols:")
        for tally in tallies:
            for failure in tally.failed:
                text = f"- {tally.pair} {tally.timeframe}: {failure.reason}"
                console.print(text, soft_wrap=True)
