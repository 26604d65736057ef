"""Symbol lists: from arguments, a text file, or a column of a CSV file.

A list is taken as a whole or not at all: one symbol that cannot be understood refuses it, and the
message says where it stands. What becomes of the symbols belongs in ``universe`` and
``membership``.
"""

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.symbols import Symbol, parse_symbol

_NAMED = 20


def symbols_from_list(texts: Iterable[str]) -> list[Symbol]:
    """Symbols from texts, each once, in order.

    Raises:
        InputError: One of them is none.
    """
    return _parse("the list", ((f"symbol {n}", text) for n, text in enumerate(texts, 1)))


def read_symbols(path: Path, column: str | None = None) -> list[Symbol]:
    """Symbols from a file: of ``column`` (``symbol``) of a CSV file, else one a line.

    Raises:
        InputError: There is no such file or column, it has no symbol, or one that is none.
    """
    if column is None and path.suffix.lower() != ".csv":
        return symbols_from_text_file(path)
    return symbols_from_csv(path, column or "symbol")


def symbols_from_text_file(path: Path) -> list[Symbol]:
    """Symbols from a file with one a line; ``#`` begins a comment.

    Raises:
        InputError: There is no such file, it has no symbol, or one that is none.
    """
    with _blaming(path):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    texts = [line.partition("#")[0].strip() for line in lines]
    return _parse(str(path), ((f"line {n}", text) for n, text in enumerate(texts, 1) if text))


def symbols_from_csv(path: Path, column: str = "symbol") -> list[Symbol]:
    """Symbols from a column of a CSV file; its name may differ in case.

    Raises:
        InputError: There is no such file or column, it has no symbol, or one that is none.
    """
    with _blaming(path), path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        header = next(lines, [])
        rows = [(lines.line_num, row) for row in lines if row]
    places = [n for n, name in enumerate(header) if name.strip().lower() == column.strip().lower()]
    if len(places) != 1:
        fault = "has several columns" if places else "has no column"
        raise InputError(
            f"{path} {fault} {column!r}: its columns are {', '.join(header) or 'none'}"
        )
    place = places[0]
    return _parse(
        str(path), ((f"line {n}", row[place] if place < len(row) else "") for n, row in rows)
    )


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read the symbol list {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the symbol list {path}: {error}") from error


def _parse(source: str, entries: Iterable[tuple[str, str]]) -> list[Symbol]:
    symbols: dict[Symbol, None] = {}
    bad: list[str] = []
    count = 0
    for place, text in entries:
        count += 1
        try:
            symbols[parse_symbol(text)] = None
        except InputError:
            bad.append(f"{place} {text!r}")
    if bad:
        shown = ", ".join(bad[:_NAMED])
        rest = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise InputError(
            f"{source}: nothing was taken, since {len(bad)} of {count} symbols are neither a pair"
            f" (BTCUSD, EUR_USD) nor a ticker (AAPL, BRK.B): {shown}{rest}"
        )
    if not symbols:
        raise InputError(f"{source} has no symbol")
    return list(symbols)
