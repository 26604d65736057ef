"""Rows on their way out: files that are written whole or not at all, JSON, and grids on a screen.

How a value is written for people or for other programs belongs here; which rows are wanted does
not.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.table import Table
from rich.text import Text

from ffe_lakehouse.errors import InputError

GAP = 2
"""Blanks between two columns of a grid."""

_JSON_ROWS = 10_000  # rows that are Python objects at the same time


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write in the place of ``path``; it takes that place only if nothing fails.

    Raises:
        InputError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def row_writer(path: Path) -> Callable[[pa.Table], None]:
    """What writes rows to ``path``, in the format that its suffix names.

    Parquet keeps the types. In CSV and JSON a time is ISO 8601 in UTC (``2024-01-31T10:00:00Z``),
    with microseconds where a column has any; a list is one CSV cell, joined with ``", "``.
    An existing file is replaced as a whole.

    Raises:
        InputError: At once if the suffix is none of these or there is no such folder; when it is
            called, if the file cannot be written.
    """
    encode = _ENCODERS.get(path.suffix.lower())
    if encode is None:
        raise InputError(f"cannot write {path}: its name must end in one of {', '.join(_ENCODERS)}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    return partial(_write, path, encode)


def _write(path: Path, encode: Callable[[pa.Table, Path], None], rows: pa.Table) -> None:
    with whole_file(path) as part:
        encode(rows, part)


def _write_csv(rows: pa.Table, path: Path) -> None:
    rows = _iso_times(rows)
    for index, field in enumerate(rows.schema):
        if pa.types.is_list(field.type):
            rows = rows.set_column(index, field.name, pc.binary_join(rows[field.name], ", "))
    pa_csv.write_csv(rows, path)


def _write_json(rows: pa.Table, path: Path) -> None:
    separator = b"[\n"
    with path.open("wb") as file:
        for batch in _iso_times(rows).to_batches(max_chunksize=_JSON_ROWS):
            for row in batch.to_pylist():
                file.write(separator + orjson.dumps(row))
                separator = b",\n"
        file.write(b"\n]\n" if separator == b",\n" else b"[]\n")


def _write_parquet(rows: pa.Table, path: Path) -> None:
    pq.write_table(rows, path, compression="zstd")


_ENCODERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".json": _write_json,
}


def _iso_times(rows: pa.Table) -> pa.Table:
    """Timestamps as texts; without a fraction if no value of the column has one."""
    for index, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            exact = rows[field.name].cast(pa.timestamp("us"))
            seconds = exact.cast(pa.timestamp("s"), safe=False)
            whole = pc.all(pc.equal(seconds, exact)).as_py() is not False
            texts = pc.strftime(seconds if whole else exact, format="%Y-%m-%dT%H:%M:%SZ")
            rows = rows.set_column(index, field.name, texts)
    return rows


def json_text(value: object) -> str:
    """Indented JSON of plain values, dataclasses, dates and times (UTC, with ``Z``)."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode()


def grid(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    numbers: Collection[str] = (),
    whole: Collection[str] = (),
    gap: int = GAP,
) -> Table:
    """Rows below headers, for a screen; what does not fit is folded, never shortened.

    Args:
        headers: Names of the columns.
        rows: Their values, shown as ``cell`` does. None of them is taken for markup.
        numbers: Columns that are flush right, and not folded.
        whole: Other columns that are not folded.
        gap: Blanks between two columns.
    """
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for header in headers:
        table.add_column(
            header,
            overflow="fold",
            no_wrap=header in numbers or header in whole,
            justify="right" if header in numbers else "left",
        )
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    return table


def cell(value: object) -> str:
    """A value for people: times in UTC to the second, ten digits of a float, nothing for null."""
    match value:
        case None:
            return ""
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case float():
            return f"{value:.10g}"
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case list() | tuple():
            return ", ".join(map(cell, value))
        case _:
            return str(value)


def size(count: int) -> str:
    """A number of bytes as ``139.6 MB`` (decimal units)."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
