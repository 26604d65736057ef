"""``ffe doctor``: is this installation well, and what to do if it is not.

Each thing that is looked at is a function that yields findings. Repairing Dagster's memory is the
business of ``rebuild``, repairing tables that of ``doctor_lake``.
"""

import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import dagster as dg
import pyarrow as pa
import typer
from dagster._daemon.types import DaemonHeartbeat
from deltalake.exceptions import DeltaError
from pydantic import SecretStr
from rich.console import Console

from ffe_lakehouse import __version__
from ffe_lakehouse.cli import options
from ffe_lakehouse.cli.doctor_lake import Repaired, disagreements, examine_all, repair
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance, prepare_home
from ffe_lakehouse.inventory import summarize
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.lake.log_files import LakeFiles
from ffe_lakehouse.output import grid, json_text, size
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.registry import get_provider
from ffe_lakehouse.rebuild import Rebuilt, TimeframeRebuilt, forgotten, rebuild
from ffe_lakehouse.settings import Settings, get_settings
from ffe_lakehouse.universe import enrolments, members

_LITTLE = 2**30
"""Bytes: with less room than that the next backfill may not end."""
_SILENT_AFTER = 300.0
"""Seconds: a daemon that lives is heard of every 30."""
_SKEW = 5.0
"""Seconds between the clocks of a machine and of its disk: with more, ages and order mislead."""


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes:
        about: What.
        status: ``wrong`` ends the command with exit code 1.
        text: What was found, and what to do about it.
        table: Of which table, if it is of one.
        kind: What kind of damage it is (``lake.health.Kind``), if it is any.
        path: Of which file of the table.
    """

    about: str
    status: Literal["ok", "note", "wrong"]
    text: str
    table: str = ""
    kind: str = ""
    path: str = ""


@dataclass(frozen=True)
class Patient:
    """What is looked at; ``deep`` also reads every file of the lake."""

    settings: Settings
    instance: dg.DagsterInstance
    lake: DeltaLakeManager
    files: LakeFiles
    deep: bool = False


Examination: TypeAlias = Callable[[Patient], Iterator[Finding]]


def doctor(
    rebuild_status: Annotated[
        bool,
        typer.Option(
            "--rebuild-status", help="Tell Dagster what the lake holds and Dagster forgot."
        ),
    ] = False,
    repair_tables: Annotated[
        bool,
        typer.Option(
            "--repair", help="Mend damaged tables; damaged files are moved, none is deleted."
        ),
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also read every file of the lake as a whole.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Look whether this installation is well.

    The exit code is 1 if something is wrong. --rebuild-status reconstructs a lost DAGSTER_HOME from
    the lake; what Dagster knows stays as it is. --repair mends what can be mended, and has Dagster
    forget the days whose rows are lost, so that they are loaded again; stop `ffe dev` first.
    """
    if rebuild_status and repair_tables:
        raise InputError("give --repair first, and then --rebuild-status alone")
    settings = get_settings()
    lake = open_lake()
    files = LakeFiles(settings.lake_uri, settings.storage_options)
    with open_instance(settings) as instance:
        if rebuild_status:
            _rebuild(instance, lake, as_json)
            return
        done = list(repair(instance, lake, files, deep=deep)) if repair_tables else []
        patient = Patient(settings, instance, lake, files, deep)
        found = [*map(_repaired, done)]
        found += [finding for examine in EXAMINATIONS for finding in examine(patient)]
    if as_json:
        typer.echo(json_text(found))
    else:
        if repair_tables and not done:
            options.console().print("There was nothing that could be repaired.")
        rows = [(each.about, each.status, each.text) for each in found]
        options.console().print(grid(("what", "status", "found"), rows, whole=("what", "status")))
    raise typer.Exit(1 if any(each.status == "wrong" for each in found) else 0)


def _repaired(done: Repaired) -> Finding:
    return Finding("repair", "note", f"{done.table}: {done.text}", done.table)


def _rebuild(instance: dg.DagsterInstance, lake: DeltaLakeManager, as_json: bool) -> None:
    console = options.console(stderr=as_json)
    rebuilt = rebuild(instance, lake, utc_now(), lambda each: _say(console, each))
    if as_json:
        typer.echo(json_text(rebuilt))
        return
    _sum_up(console, rebuilt)


def _say(console: Console, each: TimeframeRebuilt) -> None:
    if not each.bars + each.letters + each.known + each.untold:
        return
    console.print(
        f"{each.timeframe}: {each.bars:,} day(s) of bars and {each.letters:,} of dead letters"
        f" reported, {each.known:,} known already, {each.untold:,} left out"
    )


def _sum_up(console: Console, rebuilt: Rebuilt) -> None:
    if rebuilt.pairs:
        console.print(f"In the universe again: {', '.join(rebuilt.pairs)}")
    for name, why in rebuilt.skipped.items():
        console.print(f"Skipped {name}: {why}")
    if sum(each.untold for each in rebuilt.timeframes):
        console.print("What was left out the lake cannot tell of: it is fetched again.")
    if not any(each.bars + each.letters for each in rebuilt.timeframes):
        console.print("Dagster knew all that the lake holds; nothing was reported.")


def _versions(_: Patient) -> Iterator[Finding]:
    others = ", ".join(f"{name} {version(name)}" for name in ("dagster", "deltalake", "pyarrow"))
    text = f"ffe-lakehouse {__version__}, {others}, Python {platform.python_version()}"
    yield Finding("versions", "ok", text)


def _places(patient: Patient) -> Iterator[Finding]:
    home = prepare_home(patient.settings)
    yield Finding("Dagster's home", "ok", str(home))
    yield Finding("lake", "ok", patient.settings.lake_uri)
    places = {"Dagster's home": home}
    if Path(patient.settings.lake_uri).is_dir():
        places["the lake"] = Path(patient.settings.lake_uri)
    for name, place in places.items():
        free = shutil.disk_usage(place).free
        if free < _LITTLE:
            text = f"only {size(free)} free for {name}: make room, or move it with FFE_HOME"
            yield Finding("disk", "wrong", text)
        else:
            yield Finding("disk", "ok", f"{size(free)} free for {name}")


def _clock(patient: Patient) -> Iterator[Finding]:
    with tempfile.NamedTemporaryFile(dir=prepare_home(patient.settings)) as probe:
        skew = Path(probe.name).stat().st_mtime - time.time()
    if patient.settings.clock_file is not None:
        text = f"FFE_CLOCK_FILE says that it is {utc_now():%Y-%m-%d %H:%M:%S} UTC"
        yield Finding("clock", "note", text)
    if abs(skew) > _SKEW:
        text = f"the disk's is {skew:+.0f} s off the machine's: set both by the same time server"
        yield Finding("clock", "wrong", text)
    else:
        text = "the machine's and the disk's agree; whether they are right is not looked at"
        yield Finding("clock", "ok", text)


def _health(patient: Patient) -> Iterator[Finding]:
    names, found = patient.files.tables(), list(examine_all(patient.files, deep=patient.deep))
    for each in found:
        how = ": `ffe doctor --repair` does it" if each.harmful and each.mendable else ""
        status: Literal["note", "wrong"] = "wrong" if each.harmful else "note"
        text = f"{each.table} {each.path}: {each.text}{how}"
        yield Finding("table", status, text, each.table, each.kind, each.path)
    ill = {each.table for each in found if each.harmful}
    deep = ", every file read" if patient.deep else "; --deep reads every file"
    yield Finding("lake's files", "ok", f"{len(names) - len(ill)} tables are whole{deep}")


def _tables(patient: Patient) -> Iterator[Finding]:
    try:
        tables = summarize(patient.lake)
        lost = forgotten(patient.instance, patient.lake)
    except (DeltaError, OSError, pa.ArrowException) as error:
        yield Finding("tables", "wrong", f"a table cannot be read: {error}")
        return
    rows, held = sum(each.rows for each in tables), sum(each.bytes for each in tables)
    yield Finding("tables", "ok", f"{len(tables)} tables, {rows:,} rows, {size(held)}")
    if lost:
        days = ", ".join(f"{name}: {count:,}" for name, count in lost.items())
        yield Finding(
            "memory",
            "wrong",
            f"days that the lake holds and Dagster does not know ({days}):"
            " run `ffe doctor --rebuild-status`",
        )
    else:
        yield Finding("memory", "ok", "Dagster knows of every day that the lake holds")


def _memory(patient: Patient) -> Iterator[Finding]:
    try:
        lost = disagreements(patient.instance, patient.lake, patient.files)
    except InputError as error:
        yield Finding("memory", "wrong", str(error))
        return
    for name, keys in lost.items():
        text = (
            f"{name}: of {len(keys):,} days Dagster counts rows that the lake has not, the first"
            f" is {keys[0]}: `ffe doctor --repair` has them loaded again"
        )
        yield Finding("memory", "wrong", text, name)


def _pairs(patient: Patient) -> Iterator[Finding]:
    pairs = members(patient.instance, patient.settings)
    foreign = [each.pair for each in pairs if each.asset_class is None]
    yield Finding("pairs", "ok", f"{len(pairs) - len(foreign)} in the universe")
    for name in foreign:
        text = f"the partition {name!r} is no pair: `ffe pairs remove {name}`"
        yield Finding("pairs", "wrong", text)


def _providers(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    wanted = {each.provider for each in enrolments(patient.instance).values()} - {None, "files"}
    for name in sorted({settings.default_provider, *filter(None, wanted)}):
        try:
            get_provider(name, settings)
        except (ProviderError, InputError) as error:
            yield Finding("provider", "wrong", f"{name} cannot be asked: {error}")
        else:
            yield Finding("provider", "ok", f"{name} is ready")
    secrets = [
        f"FFE_{name.upper()}"
        for name in type(settings).model_fields
        if isinstance(getattr(settings, name), SecretStr)
    ]
    secrets += [f"FFE_STORAGE_OPTIONS[{name}]" for name in sorted(settings.storage_options)]
    yield Finding("credentials", "note", f"set: {', '.join(secrets) or 'none'}")
    text = "each process has its own; the log of a run says when a vendor was left alone"
    yield Finding("breakers", "note", text)


def _daemon(patient: Patient) -> Iterator[Finding]:
    heartbeats: list[DaemonHeartbeat] = list(patient.instance.get_daemon_heartbeats().values())
    if not heartbeats:
        text = "never ran here: `ffe dev` starts it; without it, nothing is loaded by itself"
        yield Finding("daemon", "note", text)
        return
    # Dagster's own times are the machine's.
    newest = max(each.timestamp for each in heartbeats)
    seen = f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if datetime.now(UTC).timestamp() - newest > _SILENT_AFTER:
        yield Finding("daemon", "note", f"last heard of at {seen}: `ffe dev` starts it")
    else:
        yield Finding("daemon", "ok", f"running; heard of at {seen}")
        for each in heartbeats:
            for error in each.errors or ():
                message = error.message.strip().partition("\n")[0]
                yield Finding("daemon", "wrong", f"{each.daemon_type}: {message}")


EXAMINATIONS: tuple[Examination, ...] = (
    _versions,
    _places,
    _clock,
    _health,
    _tables,
    _memory,
    _pairs,
    _providers,
    _daemon,
)
"""In the order in which they are shown."""
