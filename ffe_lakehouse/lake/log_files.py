"""The files of a lake, and the Delta logs among them, as they are: torn ones, too.

What a finding means stands in ``health``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

import deltalake
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.fs import DeltaStorageHandler
from pyarrow import fs as arrow_fs

from ffe_lakehouse.lake.names import lake_address

LOG = "_delta_log"
DAMAGED = "_damaged"
"""Folder of the lake, outside of every table, to which damaged files are moved."""

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.(?:\d{10}\.(\d{10})\.|[0-9a-f-]{36}\.)?parquet")

State: TypeAlias = Literal["good", "empty", "torn", "missing"]
"""How the commit of a version is; ``torn`` is not what a writer wrote."""


@dataclass(frozen=True)
class Lost:
    """Rows that are lost or may be: of a pair, and of the UTC days from ``first`` to ``last``.

    ``None`` is any pair, or no bound: the files did not tell.
    """

    pair: str | None
    first: date | None
    last: date | None


@dataclass(frozen=True)
class Commit:
    """One JSON commit.

    Attributes:
        path: Relative to the table.
        state: ``torn`` is not what a writer wrote.
        files: Data files that it names.
        changed: Pairs and days whose rows it changes.
        told: Its ``dagster/partitions``, if it says any.
    """

    path: str
    state: Literal["good", "empty", "torn"]
    files: frozenset[str] = frozenset()
    changed: tuple[Lost, ...] = ()
    told: str | None = None


@dataclass
class Log:
    """The log of a table: its commits, and which checkpoints can be read.

    Attributes:
        commits: By version.
        sound: Files of the newest checkpoint that can be read, by its version; at most one.
        broken: Files of checkpoints that cannot be read, by version.
        hint: How ``_last_checkpoint`` is; ``wrong`` names a checkpoint that is not there.
        files: Data files that the sound checkpoint names.
    """

    commits: dict[int, Commit] = field(default_factory=dict)
    sound: dict[int, list[str]] = field(default_factory=dict)
    broken: dict[int, list[str]] = field(default_factory=dict)
    hint: Literal["none", "good", "torn", "wrong"] = "none"
    files: set[str] = field(default_factory=set)

    @property
    def base(self) -> int:
        """Version of the checkpoint that a reader starts from; -1 for the first commit."""
        return max(self.sound, default=-1)

    @property
    def newest(self) -> int:
        """Newest version."""
        return max([*self.commits, self.base, -1])

    @property
    def bad(self) -> list[int]:
        """Versions that a reader needs, and whose commit is empty, torn or missing."""
        return [v for v in range(self.base + 1, self.newest + 1) if self.state(v) != "good"]

    @property
    def can_start(self) -> bool:
        """Whether a reader finds a version to start from: a checkpoint, or the first commit."""
        return self.base >= 0 or self.state(0) == "good"

    def state(self, version: int) -> State:
        """How the commit of a version is."""
        return self.commits[version].state if version in self.commits else "missing"


@dataclass(frozen=True)
class LakeFiles:
    """The files of one lake, on local disk or in an object store. Paths are relative to its root.

    Attributes:
        storage_path: Root of the lake.
        options: Storage options of delta-rs.
    """

    storage_path: str
    options: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def handler(self) -> Any:
        """What reads, lists and moves. It cannot write (deltalake 1.6.6)."""
        return arrow_fs.PyFileSystem(DeltaStorageHandler(self.uri, dict(self.options)))

    @property
    def uri(self) -> str:
        """Root as delta-rs takes it."""
        return lake_address(self.storage_path)

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk: an object store stores a file as a whole or not at all."""
        return "://" not in self.uri

    @property
    def exists(self) -> bool:
        """Whether there is a lake at all. An object store always counts as one."""
        return not self.is_local or Path(self.uri).is_dir()

    def below(self, folder: str) -> dict[str, Any]:
        """Every file below a folder of the lake, relative to that folder, with size and time."""
        selector = arrow_fs.FileSelector(folder, recursive=True, allow_not_found=True)
        skip = len(folder) + 1 if folder else 0
        return {
            found.path[skip:]: found
            for found in self.handler.get_file_info(selector)
            if found.type is arrow_fs.FileType.File
        }

    def tables(self) -> list[str]:
        """Names of the tables: every folder with a Delta log."""
        if not self.exists:
            return []
        heads = (path.partition(f"/{LOG}/") for path in self.below(""))
        return sorted({name for name, log, _ in heads if log and not name.startswith(DAMAGED)})

    def read(self, path: str) -> bytes:
        """The content of a file."""
        with self.handler.open_input_file(path) as file:
            return bytes(file.read())

    def move(self, path: str, to: str) -> None:
        """Move a file; folders are made."""
        self.handler.move(path, to)

    def size(self, path: str) -> int | None:
        """Its size in bytes; ``None`` if there is no such file."""
        (found,) = self.handler.get_file_info([path])
        return None if found.type is not arrow_fs.FileType.File else int(found.size)


def read_log(files: LakeFiles, table: str, *, deep: bool = False) -> Log:
    """The log of a table. Listed again if a commit is missing that was made meanwhile."""
    for _ in range(3):
        log = _read_log(files, table, deep=deep)
        if all(log.state(version) != "missing" for version in log.bad):
            break
    return log


def _read_log(files: LakeFiles, table: str, *, deep: bool) -> Log:
    log, checkpoints = Log(), dict[int, list[tuple[str, int]]]()
    names = files.below(f"{table}/{LOG}")
    for name in sorted(names):
        path = f"{LOG}/{name}"
        if commit := _COMMIT.fullmatch(name):
            log.commits[int(commit[1])] = _commit(path, files.read(f"{table}/{path}"))
        elif part := _CHECKPOINT.fullmatch(name):
            checkpoints.setdefault(int(part[1]), []).append((path, int(part[2] or 1)))
    for version in sorted(checkpoints, reverse=True):
        paths = [path for path, _ in checkpoints[version]]
        if log.sound and not deep:
            break
        known = None
        if len(paths) >= max(parts for _, parts in checkpoints[version]):
            known = _checkpoint(files, [f"{table}/{path}" for path in paths])
        if known is None:
            log.broken[version] = paths
        elif not log.sound:
            log.sound, log.files = {version: paths}, known
    if "_last_checkpoint" in names:
        try:
            hint = orjson.loads(files.read(f"{table}/{LOG}/_last_checkpoint"))["version"]
            log.hint = "good" if hint in checkpoints else "wrong"
        except (ValueError, KeyError, TypeError):
            log.hint = "torn"
    return log


def _commit(path: str, content: bytes) -> Commit:
    if not content.strip():
        return Commit(path, "empty")
    try:
        # Of text, splitlines would also split at U+0085.
        actions = [orjson.loads(line) for line in content.splitlines() if line.strip()]
        info: dict[str, Any] = next(
            (each["commitInfo"] for each in actions if "commitInfo" in each), {}
        )
        adds = [each["add"] for each in actions if "add" in each]
        removes = [each["remove"] for each in actions if "remove" in each]
        paths = frozenset(unquote(each["path"]) for each in (*adds, *removes))
        # What rewrites rows adds files; of what only deletes them, the log tells the pair alone.
        new = tuple(lost_of(each) for each in adds or removes if each.get("dataChange", True))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Commit(path, "torn")
    # This release of delta-rs ends no commit with a line break, and counts the files of an append:
    # of another one nothing is concluded.
    by_delta_rs = info.get("engineInfo") == f"delta-rs:py-{deltalake.__version__}"
    is_append = (info.get("operationParameters") or {}).get("mode") == "Append"
    told = (info.get("operationMetrics") or {}).get("num_added_files", len(adds))
    cut = by_delta_rs and (content.endswith(b"\n") or (is_append and told != len(adds)))
    return Commit(
        path, "torn" if cut else "good", paths, new, str(info.get("dagster/partitions") or "")
    )


def _checkpoint(files: LakeFiles, paths: list[str]) -> set[str] | None:
    """The data files that a checkpoint names; ``None`` if it cannot be read."""
    known: set[str] = set()
    told = {"metaData": 0, "protocol": 0}
    # Outside of the attempt: a disk or a store that gives no answer is no damage.
    contents = [files.read(path) for path in paths]
    try:
        for content in contents:
            rows = open_parquet(content).read()
            rows.validate(full=True)  # Texts are not looked at when they are read.
            for stats in pc.struct_field(rows["add"].combine_chunks(), "stats").to_pylist():
                orjson.loads(stats or "{}")
            for name in told:
                told[name] += len(rows) - rows[name].null_count
            for name in ("add", "remove"):
                named = pc.drop_null(pc.struct_field(rows[name].combine_chunks(), "path"))
                known.update(unquote(each) for each in named.to_pylist())
    except Exception:  # noqa: BLE001 - a damaged file may raise anything
        return None
    return known if all(told.values()) else None


def open_parquet(content: bytes) -> pq.ParquetFile:
    """A Parquet file; checksums of its pages are looked at if it has any."""
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)


def lost_of(add: Mapping[str, Any]) -> Lost:
    """Pair and days of a file, as a commit tells of it."""
    stats = orjson.loads(add.get("stats") or "{}")
    low, high = (stats.get(name, {}).get("partition_date") for name in ("minValues", "maxValues"))
    values = add.get("partitionValues") or {}
    return Lost(
        values.get("partition_asset_pair"),
        date.fromisoformat(low) if low else None,
        date.fromisoformat(high) if high else None,
    )


def merged(lost: Iterable[Lost]) -> tuple[Lost, ...]:
    """The same, each once, in order."""
    return tuple(sorted(set(lost), key=str))
