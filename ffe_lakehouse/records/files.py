"""The engine's files: which there are, and which records each of them holds.

A file is one JSON object or a list of them (``.json``), or one object a line (``.jsonl``). What is
no JSON object is kept, too, with the reason why it is none. What the fields of an object mean is
the business of ``contracts``.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.records.contracts import CONTRACTS, SIMULATED, Contract
from ffe_lakehouse.records.fields import canonical

NEWS = "news"
"""The kind that is no record of the engine: a vendor's answer."""
KINDS = (*CONTRACTS, NEWS)
"""Folders of the landing folder that records are looked for in, at any depth."""

_PARTIAL = (".part", ".tmp")
_UNREADABLE = "unreadable_file"
_NO_JSON = (ValueError, TypeError, RecursionError)


@dataclass(frozen=True)
class LandedFile:
    """A file of records.

    Attributes:
        path: Where it is.
        name: The same below the landing folder: ``decisions/2025-12-02.json``.
        size: Bytes.
        changed: Nanoseconds from the Unix epoch to its last change.
    """

    path: Path
    name: str
    size: int
    changed: int

    @property
    def kind(self) -> str:
        """What its records are: one of ``KINDS``."""
        return self.name.partition("/")[0]

    @property
    def contract(self) -> Contract:
        """What its records have to be; news have none."""
        return CONTRACTS[self.kind]

    @property
    def changed_at(self) -> datetime:
        """When it was last changed (UTC)."""
        return datetime.fromtimestamp(self.changed / 1e9, UTC)

    def read(self) -> bytes:
        """What is in it.

        Raises:
            OSError: It cannot be read.
        """
        return self.path.read_bytes()


@dataclass(frozen=True)
class SimulatedFile(LandedFile):
    """A file of lines that the simulated engine would leave: it lies nowhere, and is read alike.

    Attributes:
        content: What would be in it.
    """

    content: bytes

    @property
    def contract(self) -> Contract:
        """What its records have to be."""
        return SIMULATED[self.kind]

    def read(self) -> bytes:
        """What would be in it."""
        return self.content


def simulated_file(
    kind: str, pair: str, records: Iterable[Mapping[str, Any]], now: datetime
) -> SimulatedFile:
    """Records of the simulated engine as the file that it would leave them in.

    Args:
        kind: One of ``SIMULATED``.
        pair: Of which they are.
        records: Each becomes a line.
        now: When it would have been written (UTC).
    """
    content = b"".join(orjson.dumps(record) + b"\n" for record in records)
    name = f"{kind}/simulated/{pair}.jsonl"
    changed = int(now.timestamp() * 1e9)
    return SimulatedFile(Path(name), name, len(content), changed, content)


@dataclass(frozen=True)
class Said:
    """One record as a file says it.

    Attributes:
        file: Which file.
        place: File and line, or file and number in its list: ``trades/a.jsonl:3``.
        text: As JSON with sorted keys; verbatim, if it is no JSON object.
        values: Its fields; ``None`` if it is no JSON object.
        faults: What is wrong with it as JSON: reason codes, each with its words.
    """

    file: LandedFile
    place: str
    text: str
    values: dict[str, Any] | None
    faults: tuple[tuple[str, str], ...] = ()


def files_below(folder: Path) -> list[LandedFile]:
    """The files of records below a landing folder, in the order of their names.

    Hidden files and folders, and those that end in ``.part`` or ``.tmp``, are left alone.
    """
    return [
        _landed(folder, path)
        for kind in KINDS
        for path in sorted((folder / kind).rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.suffix not in _PARTIAL
        and path.is_file()
    ]


def named_files(folder: Path, names: Iterable[str]) -> tuple[list[LandedFile], dict[str, str]]:
    """These files of a landing folder, and why some of them are not there.

    Raises:
        InputError: A name does not lie in one of the folders that records are looked for in.
    """
    found, absent = [], {}
    for name in names:
        if name.partition("/")[0] not in KINDS or ".." in Path(name).parts:
            raise InputError(f"{name!r}: a file of records lies in {'/, '.join(KINDS)}/")
        try:
            found.append(_landed(folder, folder / name))
        except OSError as error:
            absent[name] = str(error)
    return found, absent


def _landed(folder: Path, path: Path) -> LandedFile:
    status = path.stat()
    # A name may hold bytes that are no UTF-8, which no text column and no run config takes.
    name = path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode()
    return LandedFile(path, name, status.st_size, status.st_mtime_ns)


def read_file(file: LandedFile) -> list[Said]:
    """Every record of a file, in its order. A file of lines may have blank ones.

    Raises:
        OSError: It cannot be read.
    """
    data = file.read()
    match file.path.suffix.lower():
        case ".json":
            return _of_document(file, data)
        case ".jsonl":
            lines = enumerate(data.split(b"\n"), 1)
            return [_of_line(file, number, line) for number, line in lines if line.strip()]
    return [refused(file, file.name, data, "its name ends in neither .json nor .jsonl")]


def _of_document(file: LandedFile, data: bytes) -> list[Said]:
    try:
        document = _parse(data)
        if not isinstance(document, list):
            return [_said(file, file.name, document)]
        return [
            _said(file, f"{file.name}[{number}]", value) for number, value in enumerate(document)
        ]
    except _NO_JSON as error:
        return [refused(file, file.name, data, str(error))]


def _of_line(file: LandedFile, number: int, line: bytes) -> Said:
    place = f"{file.name}:{number}"
    try:
        return _said(file, place, _parse(line))
    except _NO_JSON as error:
        return refused(file, place, line.removesuffix(b"\r"), str(error))


def _parse(data: bytes) -> Any:
    """A JSON value whose numbers keep the digits that they came with.

    As doubles, numbers of 20 digits would become other ones. Python's own writer, which the engine
    uses, also writes ``NaN``.
    """
    exact = orjson.Fragment
    return json.loads(
        data,
        parse_float=exact,
        parse_int=exact,
        parse_constant=exact,
        object_pairs_hook=_object,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {next(n for n in names if names.count(n) > 1)!r} twice")
    return found


def _said(file: LandedFile, place: str, exact: object) -> Said:
    """One value of ``_parse`` as a record.

    Raises:
        TypeError: It cannot be written again: 254 levels deep, or a text that is no Unicode.
    """
    text = canonical(exact)
    try:
        values, odd = orjson.loads(text), []
    except orjson.JSONDecodeError:
        values = json.loads(text, parse_int=float)
        odd = list(_not_finite(values, ""))
    if not isinstance(values, dict):
        return Said(file, place, text, None, ((_UNREADABLE, "it is no JSON object"),))
    return Said(file, place, text, values, tuple(("not_finite", each) for each in odd))


def refused(file: LandedFile, place: str, data: bytes, why: str) -> Said:
    """What is no record at all, verbatim, and why it is none."""
    # Bytes that are no UTF-8 are told as \xNN: a text column takes no others.
    text = data.decode("utf-8", "backslashreplace")
    return Said(file, place, text, None, ((_UNREADABLE, why),))


def _not_finite(value: object, place: str) -> Iterator[str]:
    """Where in a value there are numbers that JSON has not."""
    inside: Sequence[tuple[str, object]] = ()
    if isinstance(value, dict):
        inside = [(f"{place}.{name}" if place else name, each) for name, each in value.items()]
    elif isinstance(value, list):
        inside = [(f"{place}[{number}]", each) for number, each in enumerate(value)]
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{place} is {value}"
    for name, each in inside:
        yield from _not_finite(each, name)
