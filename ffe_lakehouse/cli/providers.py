"""``ffe providers``: who can be asked for candles, what each has, and what it still needs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Literal

import typer

from ffe_lakehouse.cli import options
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.output import grid, json_text
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.capabilities import MATRIX, Capability, rows
from ffe_lakehouse.providers.limits import vendor_policy
from ffe_lakehouse.providers.registry import describe_provider, get_provider, provider_names
from ffe_lakehouse.settings import Settings, get_settings
from ffe_lakehouse.timeframes import Timeframe


@dataclass(frozen=True)
class Listed:
    """A provider in the list.

    Attributes:
        name: As on the command line.
        description: What it is; empty if it is broken and cannot tell.
        status: ``broken``: its plug-in cannot be used.
        needs: What it misses, or why it is broken; one line.
        limits: How often the plan of the settings lets it be asked.
        serves: What it has, if it is one of the vendors of the matrix.
    """

    name: str
    description: str
    status: Literal["ready", "not configured", "broken"]
    needs: str | None = None
    limits: str | None = None
    serves: tuple["Served", ...] = ()


@dataclass(frozen=True)
class Served:
    """One asset class of a vendor.

    Attributes:
        asset_class: ``crypto``, ``forex`` or ``equity``.
        timeframes: What it has itself.
        rolled_up: What is made of a finer one.
        history_days: How far back it reaches, by timeframe; others as far as it has data.
    """

    asset_class: str
    timeframes: tuple[str, ...]
    rolled_up: tuple[str, ...]
    history_days: dict[str, int]


def providers(as_json: options.AsJson = False) -> None:
    """List the providers: what each has, and what it still needs."""
    settings = get_settings()
    found = [_listed(name, settings) for name in provider_names()]
    if as_json:
        typer.echo(json_text(found))
        return
    lines = [(p.name, p.status, "\n".join(filter(None, (p.description, p.needs)))) for p in found]
    console = options.console()
    console.print(
        grid(("provider", "status", "what it is, and what it needs"), lines, whole=("status",))
    )
    matrix = [
        (
            p.name,
            served.asset_class,
            " ".join(served.timeframes),
            " ".join(served.rolled_up),
            _history(served.history_days),
            p.limits or "",
        )
        for p in found
        for served in p.serves
    ]
    console.print()
    heads = ("vendor", "class", "its own", "rolled up", "reaches back", "limits of the plan")
    console.print(grid(heads, matrix, whole=("its own", "rolled up")))


def _listed(name: str, settings: Settings) -> Listed:
    listed = _status(name, settings)
    if name not in MATRIX:
        return listed
    rates = vendor_policy(name, settings).rates
    limits = ", ".join(map(str, rates)) or "none"
    return replace(listed, limits=limits, serves=tuple(_served(name)))


def _served(vendor: str) -> Iterator[Served]:
    """What the matrix says of a vendor, by asset class."""
    for asset_class, found in groupby(_rows(vendor), key=itemgetter(0)):
        how = [(timeframe, capability) for _, timeframe, capability in found]
        yield Served(
            asset_class,
            tuple(tf.code for tf, capability in how if capability.asked == tf),
            tuple(tf.code for tf, capability in how if capability.asked != tf),
            {tf.code: cap.history.days for tf, cap in how if cap.history is not None},
        )


def _history(days_of: dict[str, int]) -> str:
    """``1m: 29 days, 5m 15m: 59 days``."""
    codes_of: dict[int, list[str]] = {}
    for code, days in days_of.items():
        codes_of.setdefault(days, []).append(code)
    return ", ".join(f"{' '.join(codes)}: {days} days" for days, codes in codes_of.items())


def _rows(vendor: str) -> Iterator[tuple[str, Timeframe, Capability]]:
    return ((kind, timeframe, how) for name, kind, timeframe, how in rows() if name == vendor)


def _status(name: str, settings: Settings) -> Listed:
    description = describe_provider(name)
    try:
        get_provider(name, settings)
    except ProviderError as error:
        return Listed(name, description, "not configured", _one_line(str(error)))
    except InputError as error:
        # What cannot be loaded has no description but this very message.
        described = "" if description == str(error) else description
        return Listed(name, described, "broken", _one_line(str(error)))
    except Exception as error:  # noqa: BLE001 - a plug-in is foreign code and may raise anything
        return Listed(name, description, "broken", _one_line(f"{type(error).__name__}: {error}"))
    return Listed(name, description, "ready")


def _one_line(text: str) -> str:
    return " ".join(text.split())
