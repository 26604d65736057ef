"""Options that several commands share, and how their texts become values."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import dagster as dg
import typer
from rich.console import Console

from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.partitions import ASSET_PAIR, check_range
from ffe_lakehouse.symbols import Symbol, parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe, parse_timeframe

Assets = Annotated[
    str | None, typer.Option(help="Pairs, with commas: BTCUSD,EUR_USD,AAPL. All, if left out.")
]
Timeframes = Annotated[
    str | None, typer.Option(help=f"With commas, of {', '.join(TIMEFRAMES)}. All, if left out.")
]
Start = Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD (UTC).")]
End = Annotated[str | None, typer.Option(help="Last day, included, YYYY-MM-DD (UTC).")]
Days = Annotated[int | None, typer.Option(help="The last so many days, today included.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for scripts.")]


def console(*, stderr: bool = False) -> Console:
    """Where a command prints. Into a file or pipe nothing is cut at the width of a terminal."""
    made = Console(stderr=stderr, highlight=False, markup=False)
    if not made.is_terminal:
        made.width = 160
    return made


def known_pairs(instance: dg.DagsterInstance, text: str | None) -> list[str]:
    """Pairs of the universe from ``BTCUSD,ETHUSD``; all of them for ``None``.

    Raises:
        InputError: One of them has no partitions.
    """
    known = list(instance.get_dynamic_partitions(ASSET_PAIR))
    if text is None:
        return known
    pairs = [symbol.name for symbol in symbols(text)]
    unknown = [pair for pair in pairs if pair not in known]
    if unknown:
        raise InputError(
            f"unknown pair {', '.join(unknown)}: the universe has {', '.join(known) or 'none yet'};"
            f" add one with `ffe pairs add {unknown[0]}`"
        )
    return pairs


def symbols(text: str) -> list[Symbol]:
    """Pairs from ``BTCUSD,ETHUSD``, each once.

    Raises:
        InputError: One of them is no pair, or there is none.
    """
    return list(dict.fromkeys(parse_symbol(part) for part in text.split(",")))


def timeframes(text: str | None) -> list[Timeframe]:
    """Timeframes from ``1h,1d``, each once, by duration; all of them for ``None``."""
    if text is None:
        return list(TIMEFRAMES.values())
    return sorted({parse_timeframe(part) for part in text.split(",")})


def day(text: str) -> date:
    """A day from ``YYYY-MM-DD``.

    Raises:
        InputError: It is none.
    """
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"{text!r} is no day: write YYYY-MM-DD") from None


def moment(text: str) -> datetime:
    """A moment from ISO 8601; without a zone it is UTC.

    Raises:
        InputError: It is none.
    """
    try:
        parsed = datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError:
        raise InputError(f"{text!r} is no time: write 2024-01-31 or 2024-01-31T10:00:00Z") from None
    return parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)


def day_range(days: int | None, start: str | None, end: str | None) -> tuple[date, date]:
    """First and last day, both included, of ``--days N`` or ``--start D --end D``.

    Raises:
        InputError: Neither or both are given, or the range cannot be loaded.
    """
    now = utc_now()
    if days is not None:
        if start is not None or end is not None:
            raise InputError("give either --days, or --start and --end")
        if days < 1:
            raise InputError(f"--days {days}: ask for one day or more")
        first, last = now.date() - timedelta(days - 1), now.date()
    elif start is not None:
        first, last = day(start), day(end) if end is not None else now.date()
    else:
        raise InputError("say which days: --days 7, or --start 2024-01-01 --end 2024-01-31")
    check_range(first, last, now)
    return first, last
