"""Candles from a folder of files: ``PAIR_TIMEFRAME.parquet``, ``.csv`` or ``.csv.gz``.

Finding the file of a pair, decoding it once, and cutting windows out of it belong here. How a time
may be written is in ``timestamps``; which rows are good is decided in ``transforms.validation``.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import (
    RAW_CANDLES,
    CandleQuery,
    Page,
    Provider,
    ProviderError,
    to_numbers,
)
from ffe_lakehouse.providers.timestamps import Integers, from_micros, read_times, to_micros
from ffe_lakehouse.schemas import MEASURES, PRICES
from ffe_lakehouse.symbols import Symbol, parse_symbol
from ffe_lakehouse.timeframes import Timeframe, parse_timeframe

PAGE_ROWS = 200_000
"""A page holds at most so many rows, except where one UTC day alone has more."""

_TIME_COLUMNS = ("timestamp", "time", "date")
_MICROS_PER_DAY = 86_400_000_000
_TEXT = (
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.binary(), pa.large_binary(), pa.binary_view()),
)
_FILES_NAMED = 5
_FILES_KEPT = 4  # in memory: ten years of 1m bars are 5 M rows, 300 MB


class FilesProvider(Provider):
    """Your own candle files: PAIR_TIMEFRAME.parquet, .csv or .csv.gz in one folder.

    The pair and the timeframe of a file name may have any spelling that ``parse_symbol`` and
    ``parse_timeframe`` understand; other files are left alone. Of ``BTCUSD_1h.parquet`` and
    ``BTCUSD_1h.csv`` the first is read. Columns are found by name, in any order and case:

    * the time, read by ``timestamps.read_times``: ``timestamp``, else ``time`` or ``date``;
    * ``open``, ``high``, ``low``, ``close``;
    * ``volume``, ``trade_count`` and ``vwap``, null where the file has none.

    Any other column is only part of the record. An empty cell of a CSV file is null.

    Rows keep the order of the file within a page. A row whose time cannot be read is delivered
    with the nearest readable row above it (above the first: below it), so that windows that
    together cover the file deliver every row once.

    Attributes:
        folder: Absolute path of the folder.
    """

    name = "files"

    def __init__(self, folder: Path) -> None:
        """Nothing is read before the first question."""
        self.folder = folder.expanduser().absolute()

    def fetch(self, query: CandleQuery) -> Iterator[Page]:
        """Answer ``query`` from its file, in pages cut at UTC midnight.

        Raises:
            ProviderError: ``configuration``: the folder cannot be listed, or has the pair under
                two spellings; the file cannot be read, or lacks a column. ``invalid_symbol``: there
                is no file of this pair and timeframe.
        """
        file = _read(self._path(query))
        start, end = to_micros(query.start), to_micros(query.end)
        for cut in file.cuts(start, end):
            yield file.page(start, cut)
            start = cut

    def available(self) -> list[tuple[Symbol, Timeframe, Path]]:
        """The candle files of the folder, sorted by pair and timeframe.

        A pair and timeframe comes twice if two files spell it differently.

        Raises:
            ProviderError: ``configuration``: the folder cannot be listed.
        """
        try:
            paths = sorted(self.folder.iterdir())
        except OSError as error:
            raise ProviderError(
                "configuration",
                f"cannot read the folder of candle files {self.folder}: {error.strerror};"
                " name an existing one with --source DIR or FFE_FILES_DIR",
            ) from error
        found: dict[str, tuple[Symbol, Timeframe, Path]] = {}
        for suffix in _DECODERS:
            for path in paths:
                stem = path.name[: -len(suffix)]
                if path.name.lower().endswith(suffix) and stem not in found and path.is_file():
                    pair, _, timeframe = stem.rpartition("_")
                    try:
                        found[stem] = parse_symbol(pair), parse_timeframe(timeframe), path
                    except InputError:  # another file: a README.csv may lie beside the candles
                        continue
        return sorted(found.values())

    def _path(self, query: CandleQuery) -> Path:
        available = self.available()
        wanted = (query.symbol.name, query.timeframe)
        match [path for symbol, timeframe, path in available if (symbol.name, timeframe) == wanted]:
            case [path]:
                return path
            case []:
                raise ProviderError(
                    "invalid_symbol",
                    f"no file of {query.symbol} {query.timeframe} in {self.folder}:"
                    f" {_listing([path.name for *_, path in available])}",
                )
            case paths:
                raise ProviderError(
                    "configuration",
                    f"{query.symbol} {query.timeframe} has {len(paths)} files in {self.folder}:"
                    f" {', '.join(path.name for path in paths)}; keep one of them",
                )


def _listing(names: list[str]) -> str:
    if not names:
        return "it has no candle file (PAIR_TIMEFRAME.parquet, .csv or .csv.gz)"
    rest = len(names) - _FILES_NAMED
    return f"it has {', '.join(names[:_FILES_NAMED])}" + (f" and {rest} more" if rest > 0 else "")


@dataclass(frozen=True)
class _CandleFile:
    """A decoded file of ``n`` rows.

    Attributes:
        records: Its columns as they are.
        candles: The same rows by ``RAW_CANDLES``.
        places: Ascending: the time of each row of ``order``, in microseconds since the epoch.
        order: Row numbers by time; None if that is the order of the file.
    """

    records: pa.Table
    candles: pa.Table
    places: Integers
    order: npt.NDArray[np.intp] | None

    def cuts(self, start: int, end: int) -> Iterator[int]:
        """Where the pages of ``[start, end)`` end, in microseconds; the last is ``end``."""
        stop = np.searchsorted(self.places, end)
        while (beyond := np.searchsorted(self.places, start) + PAGE_ROWS) < stop:
            day = max(int(self.places[beyond]) // _MICROS_PER_DAY, start // _MICROS_PER_DAY + 1)
            start = day * _MICROS_PER_DAY
            if start >= end:
                break
            yield start
        yield end

    def page(self, start: int, end: int) -> Page:
        """The rows whose place is in ``[start, end)``."""
        first, last = np.searchsorted(self.places, [start, end]).tolist()
        if self.order is None:
            rows: Sequence[int] = range(first, last)
            candles = self.candles.slice(first, last - first)
        else:
            rows = np.sort(self.order[first:last]).tolist()
            candles = self.candles.take(pa.array(rows, pa.int64()))
        return Page(candles, partial(self._record, rows), from_micros(end))

    def _record(self, rows: Sequence[int], i: int) -> str:
        record: dict[str, object] = {}
        for position, name in enumerate(self.records.column_names):
            # A CSV file may have two columns of one name, and none of them may be lost.
            key = f"{name}#{position}" if name in record else name
            record[key] = _jsonable(_python(self.records.column(position)[rows[i]]))
        return json.dumps(record, ensure_ascii=False)


def _read(path: Path) -> _CandleFile:
    with _blaming(path):
        status = path.stat()
    return _read_version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_FILES_KEPT)
def _read_version(path: Path, _mtime_ns: int, _size: int) -> _CandleFile:
    """Decode and parse a file once per process, and again when it has changed."""
    decode = next(d for suffix, d in _DECODERS.items() if path.name.lower().endswith(suffix))
    with _blaming(path):
        records = decode(path).combine_chunks()
    columns = _find_columns(records.column_names, path)
    cells = {name: _cells(records.column(position)) for name, position in columns.items()}
    times = read_times(cells["timestamp"])
    if len(times) and times.null_count == len(times):
        sample = _python(records.column(columns["timestamp"])[0])
        raise ProviderError(
            "configuration",
            f"{path}: no time of column {records.column_names[columns['timestamp']]!r} can be"
            f" read; the first is {sample!r}",
        )
    numbers = [
        to_numbers(cells[name]) if name in cells else pa.nulls(len(records), pa.float64())
        for name in MEASURES
    ]
    places = _places(times)
    order = None
    if (places[1:] < places[:-1]).any():
        order = np.argsort(places, kind="stable")
        places = places[order]
    candles = pa.Table.from_arrays([times, *numbers], schema=RAW_CANDLES)
    return _CandleFile(records, candles, places, order)


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ProviderError("configuration", f"cannot read {path}: {error}") from error


def _decode_parquet(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read()


def _decode_csv(path: Path, compression: str | None = None) -> pa.Table:
    """All columns as bytes, so that the record is verbatim and no cell decides over a column."""
    with pa.input_stream(path, compression) as stream, pa_csv.open_csv(stream) as header:
        types = dict.fromkeys(header.schema.names, pa.binary())
    with pa.input_stream(path, compression) as stream:
        return pa_csv.read_csv(stream, convert_options=pa_csv.ConvertOptions(column_types=types))


_DECODERS: Mapping[str, Callable[[Path], pa.Table]] = {
    ".parquet": _decode_parquet,
    ".csv": _decode_csv,
    ".csv.gz": partial(_decode_csv, compression="gzip"),
}
"""By the end of the file name; of two files of one name the first is read."""


def _find_columns(names: list[str], path: Path) -> dict[str, int]:
    """Positions in the file by the names of ``RAW_CANDLES``.

    Raises:
        ProviderError: ``configuration``: a column is missing, or two could be meant.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(names):
        found[name.strip().lower()].append(position)
    found["timestamp"] = found["timestamp"] or found["time"] + found["date"]
    there = f"its columns are {', '.join(names)}"
    for name in ("timestamp", *PRICES):
        if not found[name]:
            missing = " or ".join(_TIME_COLUMNS) if name == "timestamp" else name
            raise ProviderError("configuration", f"{path} has no column {missing}: {there}")
    columns = {name: found[name] for name in RAW_CANDLES.names if found[name]}
    for name, positions in columns.items():
        if len(positions) > 1:
            both = " and ".join(repr(names[position]) for position in positions)
            said = f"{path}: {both} could both be the {name}: {there}"
            raise ProviderError("configuration", said)
    return {name: positions[0] for name, positions in columns.items()}


def _cells(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece; text is valid UTF-8 without blanks around it, and null if empty."""
    # combine_chunks copies even a single chunk (pyarrow 26).
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type not in _TEXT:
        return array
    raw = array.cast(pa.large_binary())
    try:
        text = raw.cast(pa.large_string())
    except pa.ArrowInvalid:  # not UTF-8: what cannot be decoded cannot be a number or a time
        values = (value and value.decode("utf-8", "replace") for value in raw.to_pylist())
        text = pa.array(values, pa.large_string())
    text = pc.utf8_trim_whitespace(text)
    # to_numbers would read "" as null too, but then all of the column value by value.
    return pc.if_else(pc.equal(text, ""), None, text)


def _places(times: pa.Array) -> Integers:
    """The time by which each row is delivered, in microseconds: its own, or its neighbour's."""
    micros: Integers = times.view(pa.int64()).fill_null(0).to_numpy()
    if times.null_count == 0:
        return micros
    readable = times.is_valid().to_numpy(zero_copy_only=False)
    above = np.maximum.accumulate(np.where(readable, np.arange(len(micros)), -1))
    return micros[np.where(above < 0, readable.argmax(), above)] if len(micros) else micros


def _python(cell: pa.Scalar) -> Any:
    """The value of a cell; its bytes or its bare number if Python cannot hold it."""
    if cell.type in _TEXT and cell.is_valid:
        return cell.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    try:
        return cell.as_py()
    except (ValueError, OverflowError, LookupError):  # a time of year 146138514312, zone Foo/Bar
        return cell.value


def _jsonable(value: Any) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if np.isfinite(value) else json.dumps(value)
        case date() | time():
            return value.isoformat()
        case dict():
            return {str(key): _jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [_jsonable(item) for item in value]
        case _:
            return str(value)
