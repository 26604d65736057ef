"""A made-up vendor: deterministic candles of any pair and window, with faults on demand.

The embedded default, so that everything runs without an account or a network, and the source that
tests know all truth about. Every number is a pure function of (seed, pair, minute): a window has
the same bars however it was asked for, and a coarser bar is the roll-up of its minutes. The market
itself stands in ``simulated_market``.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from ffe_lakehouse.providers.base import (
    RAW_CANDLES,
    CandleQuery,
    Page,
    Provider,
    ProviderError,
)
from ffe_lakehouse.providers.simulated_market import (
    EPOCH,
    MINUTE,
    Floats,
    Hashes,
    Market,
    Mask,
)
from ffe_lakehouse.settings import SimulatedFaults
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.transforms.rollup import roll_up

PAGE_DAYS = 90
"""UTC days of one page, whatever the timeframe: at most 129,600 minutes are in memory at once."""

_PAGE_MINUTES = PAGE_DAYS * 1440


class SimulatedProvider(Provider):
    """Candles of the simulated market, and what can go wrong on their way.

    Daily bars of equities are UTC days: for an exchange whose session crosses midnight UTC they are
    not its sessions.
    """

    name = "simulated"
    is_mock = True

    def __init__(self, seed: int, faults: SimulatedFaults, generation: int = 0) -> None:
        """Set up one market.

        Args:
            seed: Another seed is another market.
            faults: What goes wrong, applied to the bars of the timeframe asked for.
            generation: How often the vendor has revised its history. Each one gives other values
                to the same ``faults.revisions`` share of the bars; 0 is the original.

        Raises:
            InputError: ``faults.failing_pairs`` names something that is no pair.
        """
        self._seed = seed
        self._faults = faults
        self._generation = generation
        self._failing = frozenset(parse_symbol(pair).name for pair in faults.failing_pairs)

    def fetch(self, query: CandleQuery) -> Iterator[Page]:
        """Answer in pages of ``PAGE_DAYS`` UTC days.

        Raises:
            ProviderError: ``timeout`` for a failing pair: after the first page if there are more.
            InputError: The pair's trading calendar does not reach as far.
        """
        market = Market(self._seed, query.symbol)
        bar = query.timeframe.duration // MINUTE
        start = _ceil_to(query.start, bar)
        stop = max(start, _ceil_to(query.end, bar))
        edges = [start, *range(start - start % 1440 + _PAGE_MINUTES, stop, _PAGE_MINUTES), stop]
        for number, (low, high) in enumerate(pairwise(edges)):
            if query.symbol.name in self._failing and number == min(1, len(edges) - 2):
                raise ProviderError("timeout", f"{query.symbol}: no answer (simulated)")
            candles = market.minutes(low, high)
            if bar > 1:
                candles = roll_up(candles, query.timeframe)
            candles = self._spoil(candles, market, query)
            until = query.end if high == stop else EPOCH + high * MINUTE
            yield Page(candles, _Records(candles), until)

    def _spoil(self, candles: pa.Table, market: Market, query: CandleQuery) -> pa.Table:
        """Play the faults. Which bar is struck depends on the bar alone, not on the window."""
        faults = self._faults
        if not (faults.gaps or faults.bad_rows or (faults.revisions and self._generation)):
            return candles
        bars = candles["timestamp"].to_numpy().astype("datetime64[m]").astype(np.int64)

        def struck(fault: str, share: float) -> Mask:
            chosen: Mask = market.uniform(f"{fault} {query.timeframe}", bars) < share
            return chosen

        values = {name: candles[name].to_numpy().copy() for name in RAW_CANDLES.names[1:]}
        if self._generation:
            revised = struck("revision", faults.revisions)
            later = values["high"][revised] + market.tick * self._generation
            values["high"][revised] = later.round(market.decimals)
        broken = struck("bad row", faults.bad_rows)
        no_close = _break_laws(values, broken, market.hashes("way to break", bars), market.tick)
        kept = ~struck("gap", faults.gaps)
        columns = [candles["timestamp"]]
        for name, column in values.items():
            missing = candles[name].is_null().to_numpy()
            missing = missing | no_close if name == "close" else missing
            columns.append(pa.array(column, mask=missing))
        return pa.table(columns, schema=RAW_CANDLES).filter(pa.array(kept))


class _Records:
    """The "vendor's record" of row i: the row as JSON, with what is no number as text."""

    def __init__(self, candles: pa.Table) -> None:
        self._candles = candles

    def __call__(self, i: int) -> str:
        row: dict[str, Any] = self._candles.slice(i, 1).to_pylist()[0]
        # orjson would write NaN as null, and a dead letter could not tell the two apart.
        shown = {key: "NaN" if value != value else value for key, value in row.items()}
        return orjson.dumps(shown, option=orjson.OPT_UTC_Z).decode()


def _break_laws(values: dict[str, Floats], broken: Mask, ways: Hashes, tick: float) -> Mask:
    """Break each chosen bar in one of five ways, in place; returns where the close is missing."""
    way = np.where(broken, (ways % np.uint64(5)).astype(np.int64), -1)
    upside_down, outside, negative, unreadable = (way == kind for kind in range(4))
    values["high"][upside_down] = values["low"][upside_down] - tick
    values["close"][outside] = values["high"][outside] + 10 * tick
    values["low"][negative] *= -1
    values["high"][unreadable] = np.nan
    no_close: Mask = way == 4
    return no_close


def _ceil_to(moment: datetime, minutes: int) -> int:
    """The first multiple of ``minutes`` that is not before ``moment``, in minutes since 1970."""
    return -((EPOCH - moment) // (minutes * MINUTE)) * minutes
