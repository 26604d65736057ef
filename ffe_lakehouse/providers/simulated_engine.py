"""A made-up trading engine beside the made-up vendor: decisions, trades and portfolio snapshots.

So that a newcomer without any data has marts with something in them. It trades in the simulated
market, at its prices, and what it leaves is loaded as the real engine's files are. Every record is
a pure function of (seed, pair, moment): it is the same whichever days were asked for, with which
other pairs, and when.

When it decides and what becomes of that is here; what its providers say in ``simulated_ensemble``,
how it is written down in ``simulated_records``.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from ffe_lakehouse.providers.simulated_ensemble import verdicts
from ffe_lakehouse.providers.simulated_market import EPOCH, MINUTE, Floats, Integers, Market
from ffe_lakehouse.providers.simulated_records import (
    MICROSECONDS,
    SHORTEST,
    Call,
    Fate,
    Record,
    decision,
    snapshot,
    trade,
)
from ffe_lakehouse.symbols import Symbol

_DAY, _SNAPSHOTS = 1440, 360
_LONGEST = 2 * _DAY
"""Minutes that a trade lasts at most."""
_MOST_A_DAY = 16
"""More than there are decisions: gives each its own place in a hash."""
_SAMPLES = 15
_FATES = (Fate.SIGNAL, Fate.PASSED_BY, Fate.REFUSED, Fate.TRADED)
_SHARES = np.array([0.08, 0.35, 0.39])
"""Of the decisions to buy or sell, cumulated: up to where each fate but the last goes."""


class SimulatedEngine:
    """The engine as far as one pair goes.

    It may decide whenever a bar has just closed and the market goes on. Six to ten times a day it
    does, less often on a day on which the market is open for less than five hours. Each decision
    has a horizon of ten minutes to two days. If it is traded, the trade ends there, or at the last
    such moment before; the price, as at the entry, is the close of the bar that has just closed.
    """

    def __init__(self, seed: int, symbol: Symbol) -> None:
        """Nothing is decided yet.

        Args:
            seed: That of the market. Another seed is another engine, too: its records stay beside.
            symbol: The pair.
        """
        self._name = f"simulated engine {seed}/{symbol}"
        self._symbol, self._market = symbol, Market(seed, symbol)

    def records(self, first: date, last: date, now: datetime) -> dict[str, list[Record]]:
        """What tells of these days, by the kind of file that the engine would leave it in.

        A decision is of the day on which it falls; a trade of that of its entry and, with its
        outcome, of that of its exit. A snapshot is taken every six hours. What happens in a minute
        is told when it has ended.

        Args:
            first: First UTC day.
            last: Last UTC day, included.
            now: The present moment (UTC).

        Raises:
            InputError: The pair's trading calendar does not reach as far.
        """
        low, end = (_first_minute(day) for day in (first, last + timedelta(days=1)))
        high = min(end, (now - EPOCH) // MINUTE)
        # Whatever is still held in the window was entered so long before at most.
        calls = list(self._calls(low - _LONGEST, end))
        traded = [call for call in calls if call.fate is Fate.TRADED]
        trades = [
            (minute, trade(self._symbol, call, closed=closed))
            for call in traded
            for minute, closed in ((call.minute, False), (call.exit_minute, True))
            if low <= minute < high
        ]
        trades.sort(key=lambda told: told[0])
        return {
            "decisions": [
                decision(self._symbol, call) for call in calls if low <= call.minute < high
            ],
            "trade_outcomes": [record for _, record in trades],
            "pnl_snapshots": self._snapshots(traded, low, high),
        }

    def _calls(self, low: int, high: int) -> Iterator[Call]:
        """Every decision of the minutes in ``[low, high)``, which are whole days; ascending."""
        market = self._market
        opens = market.open_minutes(low - 1, high + _LONGEST)
        moments = opens[1:][np.diff(opens) == 1]
        index, place, since = self._moments(moments, np.arange(low // _DAY, high // _DAY))
        minute = moments[place]
        horizon = SHORTEST * (_LONGEST / SHORTEST) ** market.uniform("horizon", index)
        ends = moments[np.searchsorted(moments, minute + horizon.astype(np.int64), "right") - 1]
        path, regimes = self._past(moments, since, place)
        entry, close = path[:, -1], market.prices(ends)
        deviation = market.sigma * np.sqrt(np.maximum(ends - minute, 1))
        drawn = market.uniform("fate", index)[:, None] >= _SHARES
        columns: dict[str, list[Any]] = {
            "name": [f"{self._name}/{number}" for number in index.tolist()],
            "decided": _within(minute, 5 + 40 * market.uniform("second of a decision", index)),
            "executed": _within(minute, 46 + 9 * market.uniform("second of an entry", index)),
            "exited": _within(ends, 5 + 50 * market.uniform("second of an exit", index)),
            "price": entry.tolist(),
            "exit_price": close.tolist(),
            "change": (100 * (entry / path[:, 0] - 1)).tolist(),
            "deviation": deviation.tolist(),
            "regime": regimes,
            "verdict": list(verdicts(market, index, np.log(close / entry) / deviation)),
            "lot": [_FATES[number] for number in drawn.sum(axis=1).tolist()],
        }
        for row in zip(*columns.values(), strict=True):
            yield Call(**dict(zip(columns, row, strict=True)))

    def _moments(self, moments: Integers, days: Integers) -> tuple[Integers, Integers, Integers]:
        """When it decides.

        Returns:
            Of each decision: its place in the hash, its place in ``moments``, and that of the first
            moment of its day.
        """
        bounds = np.searchsorted(moments, np.append(days, days[-1] + 1) * _DAY)
        room = np.diff(bounds)
        wanted = 6 + (5 * self._market.uniform("decisions of a day", days)).astype(np.int64)
        counts = np.minimum(wanted, room // 30)
        day = np.repeat(np.arange(len(days)), counts)
        slot = np.arange(len(day)) - np.repeat(np.cumsum(counts) - counts, counts)
        index = days[day] * _MOST_A_DAY + slot
        share = (slot + self._market.uniform("moment", index)) / counts[day]
        since = bounds[day]
        return index, since + (share * room[day]).astype(np.int64), since

    def _past(
        self, moments: Integers, since: Integers, place: Integers
    ) -> tuple[Floats, list[str]]:
        """Prices from the first moment of each decision's day to the decision, and their regime.

        A trend has gone at least 0.4 of its way in one direction (P. Kaufman's efficiency ratio,
        *Smarter Trading*, 1995); without one the market is volatile if it moved by a fifth more
        than usual.
        """
        steps = (place - since)[:, None] * np.arange(_SAMPLES) // (_SAMPLES - 1)
        seen = moments[since[:, None] + steps]
        path = self._market.prices(seen.ravel()).reshape(seen.shape)
        moves = np.diff(np.log(path), axis=1)
        net, way = moves.sum(axis=1), np.abs(moves).sum(axis=1)
        usual = self._market.sigma**2 * (seen[:, -1] - seen[:, 0])
        regimes = np.select(
            [
                (np.abs(net) >= 0.4 * way) & (net > 0),
                (np.abs(net) >= 0.4 * way) & (net < 0),
                (moves**2).sum(axis=1) > 1.2**2 * usual,
            ],
            ["TRENDING_BULL", "TRENDING_BEAR", "HIGH_VOLATILITY_CHOP"],
            "LOW_VOLATILITY_RANGING",
        )
        return path, regimes.tolist()

    def _snapshots(self, traded: list[Call], low: int, high: int) -> list[Record]:
        """The portfolio every six hours in ``[low, high)``, which begins with a day."""
        held: defaultdict[int, list[Call]] = defaultdict(list)
        for call in traded:
            next_one = call.minute - call.minute % _SNAPSHOTS + _SNAPSHOTS
            stop = min(call.exit_minute + 1, high)
            for minute in range(max(next_one, low), stop, _SNAPSHOTS):
                held[minute].append(call)
        # Marked to the last close. What is held was entered in the last two days: there is one.
        minutes = np.array(sorted(held), np.int64)
        opens = self._market.open_minutes(low - _LONGEST, max(low, high))
        closes = self._market.prices(opens[np.searchsorted(opens, minutes) - 1] + 1)
        marks = dict(zip(minutes.tolist(), closes.tolist(), strict=True))
        return [
            snapshot(
                self._symbol, EPOCH + minute * MINUTE, held[minute], marks.get(minute, math.nan)
            )
            for minute in range(low, high, _SNAPSHOTS)
        ]


def _first_minute(day: date) -> int:
    return (day - EPOCH.date()).days * _DAY


def _within(minute: Integers, second: Floats) -> list[int]:
    """Moments in these minutes, in microseconds since 1970."""
    moments: list[int] = (minute * MICROSECONDS + (second * 1e6).astype(np.int64)).tolist()
    return moments
