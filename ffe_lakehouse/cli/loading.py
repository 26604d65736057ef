"""Loading as a command shows it: runs with progress, a tally a pair and timeframe, a summary.

Which days are loaded is decided by the command (``backfill``, ``gaps``).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TypeAlias, cast

import dagster as dg
from rich.console import Console
from rich.table import Table

from ffe_lakehouse.backfill import Failed, run_box
from ffe_lakehouse.cli.progress import Progress, duration
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.partitions import split_key, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.registry import get_provider
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES

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
    scores: list[float] = field(default_factory=list)
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

    @property
    def quality_score(self) -> float | None:
        """Mean of the loaded days' scores, 0 to 1; ``None`` if no day was loaded."""
        return fmean(self.scores) if self.scores else None

    def add_letters(self, metadata: _Metadata) -> None:
        """Count a day of dead letters; every day has one, also if its bars were refused."""
        self._count(metadata, "fetched", "rejected")

    def add_bars(self, metadata: _Metadata) -> None:
        """Count a day of bars."""
        self.loaded += 1
        self._count(metadata, "written", "unchanged", "duplicate")
        self.counts["missing"] += cast("int", metadata["bars_missing"].value)
        self.scores.append(cast("float", metadata["quality_score"].value))
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
            "quality_score": self.quality_score,
            "reasons": [failed.reason for failed in self.failed],
        }

    def _count(self, metadata: _Metadata, *names: str) -> None:
        self.counts.update({name: cast("int", metadata[f"rows_{name}"].value) for name in names})


def provider_config(provider: str | None, source: Path | None = None) -> dict[str, str]:
    """Config of the ingestion, tried here so that a wrong provider stops the command at once.

    Args:
        provider: Its name; the default one for ``None``.
        source: Folder that the files provider reads.

    Raises:
        InputError: There is no such provider or folder, or the provider misses a setting.
    """
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


def load(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    boxes: Sequence[Box],
    config: Mapping[str, str],
    tallies: Sequence[Tally],
    console: Console,
) -> None:
    """Execute runs one after the other, with progress; show what became of every pair.

    Args:
        instance: Where they are recorded.
        job: Contains the Bronze assets of all timeframes.
        boxes: What to load.
        config: Config of the ingestion.
        tallies: One for every pair and timeframe; they are counted up.
        console: Where it is shown.
    """
    tally_of = {(TIMEFRAMES[tally.timeframe], tally.pair): tally for tally in tallies}
    table_of = {table_key(raw_candles(each)).path[-1]: each for each in TIMEFRAMES.values()}

    def count(event: dg.AssetMaterialization) -> None:
        layer, table = event.asset_key.path
        tally = tally_of[table_of[table], split_key(str(event.partition))[0]]
        if layer == "dlq":
            tally.add_letters(event.metadata)
        else:
            tally.add_bars(event.metadata)
            progress.update(successful=1)

    with Progress(sum(box.partitions for box in boxes), console) as progress:
        for box in boxes:
            before = progress.successful
            failures = run_box(instance, job, box, config, count)
            progress.update(failed=box.partitions - (progress.successful - before))
            for failure in failures:
                for timeframe, pair in product(box.timeframes, box.pairs):
                    if failure.concerns(pair, timeframe.code):
                        tally_of[timeframe, pair].failed.append(failure)
    _summary(tallies, progress.elapsed, console)


def _summary(tallies: Sequence[Tally], elapsed: float, console: Console) -> None:
    table = Table("pair", "timeframe", "status", box=None, pad_edge=False)
    for name in ("days", *COUNTS, "missing", "quality"):
        table.add_column(name, justify="right")
    table.add_column("until (UTC)")
    for tally in tallies:
        numbers = [tally.loaded, *(tally.counts[name] for name in (*COUNTS, "missing"))]
        table.add_row(
            tally.pair,
            tally.timeframe,
            tally.status,
            *(f"{number:,}" for number in numbers),
            "" if tally.quality_score is None else f"{tally.quality_score:.2%}",
            tally.last_timestamp or "",
        )
    console.print(table)
    pairs = {tally.pair for tally in tallies}
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
