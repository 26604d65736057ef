"""The job ``records``: the engine's files of the landing folder, as one run.

Which files a run loads, and in which order Dagster hears of it, belongs here; how they are read and
stored stands in ``ffe_lakehouse.records``.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import dagster as dg
import pyarrow as pa
from pydantic import Field

from ffe_lakehouse.assets.events import materialized
from ffe_lakehouse.assets.records import told_of
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.io_manager import DeltaIOManager, commit_info
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.versions import Changes
from ffe_lakehouse.partitions import ASSET_PAIR
from ffe_lakehouse.records import KINDS, LandedFile, Loaded, Loader, files_below, named_files
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import Symbol, parse_symbol
from ffe_lakehouse.universe import enrol

RECORDS = "records"
"""Loads files of records."""
RECORDS_OP = "load_records"
_NAMED = 20
_MOST_FILES = 10_000
"""So many files one run names at most: its config is 1 MB then."""


class RecordsConfig(dg.Config):
    """Which files are loaded; by default every file of the landing folder."""

    folder: str = Field("", description=f"Has {'/, '.join(KINDS)}/; default: FFE_LANDING_DIR.")
    files: list[str] = Field(
        [], description="Only these, as named below the folder: decisions/2025-12-02.json."
    )


@dg.op(name=RECORDS_OP, out=dg.Out(dg.Nothing))
def load_records(
    context: dg.OpExecutionContext,
    config: RecordsConfig,
    io_manager: dg.ResourceParam[DeltaIOManager],
) -> Iterator[dg.DagsterEvent]:
    """Read files, store their records or dead letters, and report what was touched."""
    folder = Path(config.folder) if config.folder else get_settings().landing_folder
    if config.folder and not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the one that holds {'/, '.join(KINDS)}/")
    files, absent = files_below(folder), dict[str, str]()
    if config.files:
        files, absent = named_files(folder, config.files)
    loader = Loader(
        lake=io_manager.lake,
        write=partial(_write, io_manager.lake, context.run.run_id),
        run_id=context.run.run_id,
        start=get_settings().start_date,
        now=utc_now(),
        symbols=_universe(context.instance),
    )
    loaded, unread = loader.load(files)
    _enrol_new(context.instance, loaded)
    yield from materialized(context, [event for each in loaded for event in told_of(each)])
    if failed := absent | unread:
        names = [f"{name}: {why}" for name, why in failed.items()]
        raise dg.Failure(
            f"{len(failed)} file(s) could not be read, the others are loaded: "
            + "; ".join(names[:_NAMED]),
            allow_retries=False,
        )


@dg.job(
    name=RECORDS,
    description="Load the engine's decisions, trades and portfolio snapshots, and news, from"
    " files; without config, every file of the landing folder. What is known already changes"
    " nothing. The landing sensor and `ffe land` run this.",
)
def records() -> None:
    """One op."""
    load_records()


def _write(
    lake: DeltaLakeManager, run_id: str, schema: TableSchema, rows: pa.Table, where: Where
) -> Changes:
    return lake.append_if_changed(schema, rows, where, commit_info(run_id, schema.name, where))


def _universe(instance: dg.DagsterInstance) -> list[Symbol]:
    """Whose news are wanted; a partition that somebody added by hand may be no pair."""
    found = []
    for pair in instance.get_dynamic_partitions(ASSET_PAIR):
        with suppress(InputError):
            found.append(parse_symbol(pair))
    return found


def _enrol_new(instance: dg.DagsterInstance, loaded: Sequence[Loaded]) -> None:
    """Give new pairs partitions. Nobody asked for their candles: no vendor is asked for them."""
    known = set(instance.get_dynamic_partitions(ASSET_PAIR))
    told = {pair for each in loaded for pair, _ in each.days if pair is not None}
    enrol(instance, sorted(told - known), start=None, provider="files")


def new_records(files: Sequence[LandedFile], cursor: str | None) -> tuple[list[LandedFile], str]:
    """Those of ``files`` that no look has requested yet, and the cursor after they are.

    The cursor has what was requested of the files that are still there. A run's tag, in which other
    files are remembered, may not be longer than 2,700 characters on Postgres: some 30 files.
    """
    names = {_identity(file): file for file in files}
    requested = set((cursor or "").split()) & names.keys()
    new = dict([item for item in names.items() if item[0] not in requested][:_MOST_FILES])
    return list(new.values()), " ".join(sorted(requested | new.keys()))


def records_run(files: Sequence[LandedFile], folder: Path, tags: dict[str, str]) -> dg.RunRequest:
    """The run that loads these files of a landing folder."""
    names = [file.name for file in files]
    return dg.RunRequest(
        run_key=_digest(" ".join(map(_identity, files))),
        job_name=RECORDS,
        run_config={"ops": {RECORDS_OP: {"config": {"folder": str(folder), "files": names}}}},
        tags=tags,
    )


def _identity(file: LandedFile) -> str:
    """Another one as soon as somebody changes the file."""
    return _digest(f"{file.name}:{file.size}:{file.changed}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
