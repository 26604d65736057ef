"""``landing_sensor``: files that somebody puts into the landing folder are loaded, once each.

Which files are new, and what run each becomes, belongs here; of the engine's records, which are
many small files, in ``landing_records``. How a candle file is read stands in ``providers.files``,
how a symbol list in ``symbol_lists``.

Dagster alone remembers what was loaded: every run names its files in a tag, with size and time of
change. A digest of the content would read every file at every look; this way a file that was only
touched is loaded again, which costs a run and, as rows are appended only if they differ, no row.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import dagster as dg
import pyarrow.compute as pc

from ffe_lakehouse.assets.bronze import INGEST_PREFIX
from ffe_lakehouse.automation.jobs import INGESTION, ingestion
from ffe_lakehouse.automation.landing_records import new_records, records, records_run
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.membership import index_name, load_index
from ffe_lakehouse.partitions import ASSET_PAIR, asset_pairs, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.providers.base import CandleQuery, ProviderError
from ffe_lakehouse.providers.files import FilesProvider
from ffe_lakehouse.records import KINDS, files_below
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbol_lists import read_symbols
from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.universe import Enrolment, enrol, enrolment_event

LANDED_TAG = "ffe/landed"
"""Run tag: the files of the run, each with its size and its time of change, a blank between two."""

LANDING = "landing"
"""Takes one symbol list; or fails, to say what is wrong with a file."""

_RETRIES = {
    "dagster/max_retries": "3",
    "dagster/retry_on_asset_or_op_failure": "false",
    "dagster/retry_strategy": "ALL_STEPS",
}
"""A run whose process died is run again: nobody else would load the file. A bad one stays bad."""

_CANDLES, _SYMBOLS = "candles", "symbols"
_LISTS = (".csv", ".txt")
_PARTIAL = (".part", ".tmp")
_QUIET_SECONDS = 5
"""A file that changed a moment ago may still be being written."""
_MOST_BYTES = 512 * 2**20
"""So much is read in one look: as CSV 15 s, of the 60 s after which Dagster ends a look."""
_PACKED = 5
"""A byte of a ``.csv.gz`` takes as long as so many others."""
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    changed: int

    @property
    def identity(self) -> str:
        """``candles/BTCUSD_1h.csv:4711:1704067200000000000``, without a blank in it."""
        return f"{quote(f'{self.path.parent.name}/{self.path.name}')}:{self.size}:{self.changed}"

    @property
    def effort(self) -> int:
        """How many bytes it is like to read."""
        return self.size * (_PACKED if self.path.suffix.lower() == ".gz" else 1)


_Boxes: TypeAlias = dict[tuple[str, date, date], dict[Timeframe, _File]]
"""Candle files that one run loads: those of one pair over the same days."""


class LandingConfig(dg.Config):
    """A file of the landing folder: the index that it is and its day, or what is wrong with it."""

    file: str
    index: str = ""
    as_of: str = ""
    fault: str = ""


@dg.op
def land(
    context: dg.OpExecutionContext,
    config: LandingConfig,
    io_manager: dg.ResourceParam[DeltaIOManager],
) -> None:
    """Take a symbol list: first as an index, then into the universe."""
    if config.fault:
        raise dg.Failure(f"{config.file} was not loaded: {config.fault}", allow_retries=False)
    symbols, as_of = read_symbols(Path(config.file)), date.fromisoformat(config.as_of)
    change = load_index(context.instance, io_manager.lake, config.index, symbols, as_of)
    context.log.info(str(change))
    names = [symbol.name for symbol in symbols]
    new = enrol(context.instance, names, start=None, provider=None)
    context.log.info(f"{len(new)} of {len(names)} pairs are new: {', '.join(new)}")


@dg.job(name=LANDING, description="Take a symbol list of the landing folder. The sensor runs this.")
def landing() -> None:
    """One op."""
    land()


def landing_sensor(clock: Callable[[], datetime] = utc_now) -> dg.SensorDefinition:
    """The sensor that loads new files.

    Args:
        clock: The present moment (UTC).
    """

    @dg.sensor(
        jobs=[ingestion, landing, records],
        minimum_interval_seconds=get_settings().sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Loads new candle files (candles/PAIR_TIMEFRAME.parquet, .csv, .csv.gz),"
        f" symbol lists (symbols/INDEX.csv, .txt) and the engine's records ({'/, '.join(KINDS)}/,"
        " .json, .jsonl) of the landing folder, once each. Move a file in with `mv` on the same"
        " disk: so it is never seen half-written.",
    )
    def landing_sensor(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        folder = get_settings().landing_folder
        files = _new_files(context.instance, folder)
        quiet = [file for file in files_below(folder) if _is_quiet(file.changed / 1e9)]
        told, cursor = new_records(quiet, context.cursor)
        if not files and not told:
            return dg.SkipReason(
                f"No new file in {folder}: candle files are looked for in {_CANDLES}/, symbol"
                f" lists in {_SYMBOLS}/, records in {'/, '.join(KINDS)}/."
            )
        singles, boxes = _as_runs(files, folder, clock(), context.log)
        known = set(context.instance.get_dynamic_partitions(ASSET_PAIR))
        new = sorted({pair for pair, *_ in boxes} - known)
        return dg.SensorResult(
            [
                *([records_run(told, folder, _RETRIES)] if told else []),
                *singles,
                *(_candle_run(folder, *box, of_box) for box, of_box in boxes.items()),
            ],
            cursor=cursor,
            # Dagster stores these first: no vendor is asked for a pair that comes in files.
            asset_events=[enrolment_event(pair, Enrolment(provider="files")) for pair in new],
            dynamic_partitions_requests=[asset_pairs.build_add_request(new)] if new else [],
        )

    return landing_sensor


def _new_files(instance: dg.DagsterInstance, landing: Path) -> list[_File]:
    """What no run has named yet, and nobody is writing any more; candle files come last."""
    tags = instance.get_run_tags([LANDED_TAG])
    landed = {identity for _, values in tags for value in values for identity in value.split()}
    found = []
    for folder in (landing, landing / _SYMBOLS, landing / _CANDLES):
        for path in sorted(folder.glob("*")):
            if path.name.startswith(".") or path.suffix in _PARTIAL or not path.is_file():
                continue
            status = path.stat()
            file = _File(path, status.st_size, status.st_mtime_ns)
            if _is_quiet(status.st_mtime) and file.identity not in landed:
                found.append(file)
    return found


def _is_quiet(changed: float) -> bool:
    """Whether nobody is writing a file any more that was changed then (Unix time)."""
    # A time far ahead is a wrong one, not that of a file that is being written.
    return abs(time.time() - changed) >= _QUIET_SECONDS


def _as_runs(
    files: Sequence[_File], landing: Path, now: datetime, log: logging.Logger
) -> tuple[list[dg.RunRequest], _Boxes]:
    """As many files as one look may take: those that are runs of their own, and candle files."""
    provider = FilesProvider(landing / _CANDLES)
    available = provider.available() if provider.folder.is_dir() else []
    candles = {path: (symbol, timeframe) for symbol, timeframe, path in available}
    singles: list[dg.RunRequest] = []
    boxes: _Boxes = {}
    read = 0
    for number, file in enumerate(files):
        if len(singles) + len(boxes) >= get_settings().max_runs_per_tick or read > _MOST_BYTES:
            log.info(f"{len(files) - number} files more are left for the next looks")
            break
        try:
            if file.path in candles:
                symbol, timeframe = candles[file.path]
                first, last = _days(provider, symbol, timeframe, file, now)
                read += file.effort
                start = get_settings().start_date
                if first < start:
                    log.warning(f"{file.path}: bars before FFE_START_DATE={start} are left out")
                box = (symbol.name, max(first, start), last)
                boxes.setdefault(box, {})[timeframe] = file
            else:
                singles.append(_list_run(file, landing, now))
        except (InputError, ProviderError) as error:
            singles.append(_single_run(file, fault=str(error)))
    return singles, boxes


def _days(
    provider: FilesProvider, symbol: Symbol, timeframe: Timeframe, file: _File, now: datetime
) -> tuple[date, date]:
    """The first and the last day (UTC) of which a candle file has bars that have closed."""
    if file.effort > _MOST_BYTES:
        raise InputError(
            "it is too large to be looked through by a sensor; load it with `ffe backfill"
            f" --source {provider.folder} --assets {symbol} --timeframes {timeframe}`"
        )
    query = CandleQuery(symbol, timeframe, _EVER, timeframe.floor(now))
    ends = [pc.min_max(page.candles["timestamp"]).as_py() for page in provider.fetch(query)]
    moments = [moment for each in ends for moment in each.values() if moment is not None]
    start = get_settings().start_date
    if not moments or max(moments).date() < start:
        raise InputError(f"it has no bar from FFE_START_DATE={start} until now")
    return min(moments).date(), max(moments).date()


def _candle_run(
    landing: Path, pair: str, first: date, last: date, files: Mapping[Timeframe, _File]
) -> dg.RunRequest:
    """The run that loads files of one pair over the same days."""
    timeframes = tuple(sorted(files))
    config = {"provider": "files", "source_dir": str(landing / _CANDLES)}
    return _run(
        INGESTION,
        files.values(),
        {f"{INGEST_PREFIX}{timeframe}": config for timeframe in timeframes},
        Box((pair,), first, last, timeframes).tags,
        [table_key(table(tf)) for tf in timeframes for table in (dead_letters, raw_candles)],
    )


def _list_run(file: _File, landing: Path, now: datetime) -> dg.RunRequest:
    """The run that takes a symbol list, which is true from today on."""
    if file.path.parent == landing:
        raise InputError(f"move it into {_CANDLES}/ or {_SYMBOLS}/")
    if file.path.parent.name == _CANDLES:
        raise InputError(
            "its name is not PAIR_TIMEFRAME.parquet, .csv or .csv.gz (BTCUSD_1h.csv), or there is"
            " another of the same name without the ending: keep one"
        )
    if file.path.suffix.lower() not in _LISTS:
        raise InputError(f"a symbol list ends in {' or '.join(_LISTS)}")
    return _single_run(file, index=index_name(file.path.stem), as_of=now.date().isoformat())


def _single_run(file: _File, **config: str) -> dg.RunRequest:
    return _run(LANDING, [file], {"land": {"file": str(file.path), **config}})


def _run(
    job: str,
    files: Iterable[_File],
    ops: Mapping[str, Mapping[str, str]],
    tags: Mapping[str, str] | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
) -> dg.RunRequest:
    landed = " ".join(file.identity for file in files)
    config: dict[str, Any] = {"ops": {op: {"config": dict(of_op)} for op, of_op in ops.items()}}
    return dg.RunRequest(
        run_key=landed,
        job_name=job,
        run_config=config,
        tags={**(tags or {}), **_RETRIES, LANDED_TAG: landed},
        asset_selection=assets,
        # To say nothing would be to ask for all checks of these assets, on every day.
        asset_check_keys=[],
    )
