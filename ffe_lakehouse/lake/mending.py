"""Mending what ``health`` finds, where that can be done without guessing.

Nothing is deleted: damaged files are moved out of the table, to ``_damaged`` in the lake. What a
table cannot keep is said by pair and day, so that it can be loaded again. Nobody else may write
meanwhile: a writer that has seen a commit that is taken away would leave a gap behind it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deltalake import CommitProperties, DeltaTable

from ffe_lakehouse.lake.durability import force, make_durable
from ffe_lakehouse.lake.health import FILE_KINDS, Damage, Kind, examine
from ffe_lakehouse.lake.log_files import DAMAGED, LOG, LakeFiles, Log, Lost, merged, read_log

_ORDER: tuple[Kind, ...] = (
    "torn_commit",
    "missing_commit",
    "empty_commit",
    "broken_checkpoint",
    "broken_hint",
    *FILE_KINDS,
    "leftover_files",
)
"""What is mended first: the log from its end, then the data files that it names."""

_OF_VERSION = re.compile(r"\.?(\d{20})\..*")


@dataclass(frozen=True)
class Mended:
    """Something that was done to a table.

    Attributes:
        table: Its name.
        text: What was done, and why.
        moved: Files that were moved away, relative to the table.
        to: Folder of the lake to which they were moved; empty if none was.
        lost: Whose rows the table no longer has, or may no longer have.
    """

    table: str
    text: str
    moved: tuple[str, ...] = ()
    to: str = ""
    lost: tuple[Lost, ...] = ()


def mend(files: LakeFiles, table: str, now: datetime, *, deep: bool = False) -> Iterator[Mended]:
    """Mend a table step by step, as far as it can be; a healthy one is not touched.

    Args:
        files: The lake.
        table: Name of a table in it, to which nobody else writes meanwhile.
        now: The present moment (UTC).
        deep: Also look for damage that only reading every file shows.

    Yields:
        Each step, when it is done.
    """
    done: set[tuple[str, str]] = set()
    while steps := [each for each in examine(files, table, now, deep=deep) if each.mendable]:
        first = min(steps, key=lambda each: _ORDER.index(each.kind))
        if (first.kind, first.path) in done:
            return  # It did not help: the next examination says so.
        done.add((first.kind, first.path))
        same = [each for each in steps if each.kind in FILE_KINDS and first.kind in FILE_KINDS]
        yield _Surgery(files, table, now).mend(first, same)


@dataclass(frozen=True)
class _Surgery:
    files: LakeFiles
    table: str
    now: datetime

    @property
    def to(self) -> str:
        """Where its damaged files go."""
        return f"{DAMAGED}/{self.now:%Y-%m-%dT%H%M%S.%fZ}/{self.table}"

    def mend(self, damage: Damage, of_files: list[Damage]) -> Mended:
        if damage.kind in FILE_KINDS:
            return self._without(of_files)
        if damage.kind.endswith("_commit"):
            return self._mend_commits(damage)
        moved = [damage.path]
        if damage.kind == "broken_checkpoint":
            log = read_log(self.files, self.table, deep=True)
            version = int(damage.path.rpartition("/")[2][:20])
            moved = [*log.broken[version], f"{LOG}/_last_checkpoint"]
        return self._said(damage, self._move(moved))

    def _mend_commits(self, damage: Damage) -> Mended:
        log = read_log(self.files, self.table)
        first = int(damage.path.rpartition("/")[2][:20])
        bad = [v for v in log.bad if v >= first]
        tail = log.newest in bad and bad == list(range(first, log.newest + 1))
        if damage.kind == "empty_commit" and not tail:
            return self._said(damage, self._replace(log, first))
        return self._said(damage, self._cut(log, first))

    def _cut(self, log: Log, first: int) -> list[str]:
        """Take away all commits from ``first`` on, the newest first: the log never has a gap."""
        there = self.files.below(f"{self.table}/{LOG}")
        of = {name: int(found[1]) for name in there if (found := _OF_VERSION.fullmatch(name))}
        doomed = sorted((name for name in of if of[name] >= first), key=lambda n: -of[n])
        hint = ["_last_checkpoint"] if log.broken and max(log.broken) >= first else []
        return self._move([f"{LOG}/{name}" for name in [*hint, *doomed]])

    def _replace(self, log: Log, version: int) -> list[str]:
        """Put a commit without rows in the place of an empty file: it reads the same."""
        path = log.commits[version].path
        made = self.files.below(f"{self.table}/{LOG}")[f"{version:020}.json"].mtime
        info = {
            "timestamp": int((made or self.now).timestamp() * 1000),
            "operation": "REPAIR",
            "operationParameters": {"found": "an empty file"},
            "engineInfo": "ffe doctor",
        }
        moved = self._move([path])
        place = Path(self.files.uri) / self.table / path
        place.write_text(json.dumps({"commitInfo": info}))
        force(place)
        force(place.parent)
        return moved

    def _without(self, damages: list[Damage]) -> Mended:
        """Take damaged data files out of the table in one commit."""
        moved = self._move([each.path for each in damages if each.kind != "missing_file"])
        options = dict(self.files.options)
        opened = DeltaTable(f"{self.files.uri}/{self.table}", storage_options=options)
        before = opened.version()
        opened.repair(commit_properties=CommitProperties(custom_metadata={"ffe": "doctor"}))
        opened.update_incremental()
        if self.files.is_local:
            make_durable(opened, before)
        named = ", ".join(sorted(each.path for each in damages)[:3])
        more = f" and {len(damages) - 3:,} more" if len(damages) > 3 else ""
        text = f"took {len(damages):,} damaged data files out of the table: {named}{more}"
        lost = merged(lost for each in damages for lost in each.lost)
        return Mended(self.table, text, tuple(moved), self.to if moved else "", lost)

    def _move(self, paths: list[str]) -> list[str]:
        moved = []
        for path in paths:
            if self.files.size(f"{self.table}/{path}") is not None:
                self.files.move(f"{self.table}/{path}", f"{self.to}/{path}")
                moved.append(path)
        return moved

    def _said(self, damage: Damage, moved: list[str]) -> Mended:
        text = f"{damage.path}: {damage.text}"
        return Mended(self.table, text, tuple(moved), self.to if moved else "", damage.lost)
