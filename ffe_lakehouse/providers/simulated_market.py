"""The market that the simulated provider quotes, and the simulated engine trades in.

What is true of one pair: when it trades, at which prices, how busily. How it is delivered, and what
goes wrong then, belongs in ``simulated``.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.providers.base import RAW_CANDLES
from ffe_lakehouse.schemas import TIMESTAMP
from ffe_lakehouse.settings import AssetClass
from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse.timeframes import TIMEFRAMES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

# The path is anchored every 2**19 minutes (364 days) and filled in by halves down to the minute.
_LEVELS = 19

# Roughly what one unit was worth in US dollars in 2024: decides where a pair's prices lie.
# fmt: off
_DOLLARS: dict[str, float] = {
    "BTC": 60_000, "ETH": 3_000, "SOL": 150, "BNB": 550, "XRP": 0.6, "ADA": 0.45, "DOGE": 0.12,
    "AVAX": 30, "DOT": 6, "LINK": 15, "LTC": 80, "BCH": 400, "UNI": 8, "ATOM": 7, "XLM": 0.11,
    "USDT": 1, "USDC": 1, "USD": 1, "EUR": 1.10, "GBP": 1.27, "JPY": 1 / 150, "CHF": 1.14,
    "AUD": 0.66, "NZD": 0.61, "CAD": 0.73, "SEK": 0.096, "NOK": 0.094, "DKK": 0.147, "SGD": 0.75,
    "HKD": 0.128, "CNH": 0.139, "CNY": 0.139, "MXN": 0.055, "ZAR": 0.054, "TRY": 0.03, "PLN": 0.25,
    "HUF": 0.0028, "CZK": 0.044, "ILS": 0.27, "THB": 0.028, "INR": 0.012, "KRW": 1 / 1350,
    "BRL": 0.19, "XAU": 2_300, "XAG": 28, "XPT": 950, "XPD": 950, "AAPL": 190, "MSFT": 420,
    "GOOGL": 170, "AMZN": 180, "NVDA": 120, "META": 500, "TSLA": 220, "JPM": 200, "BRK.B": 430,
    "SPY": 550, "QQQ": 470, "IWM": 210, "GLD": 220, "TLT": 95,
}
# fmt: on

# A pair starts out between these, so that ten years of its path stay within the price range that
# the asset checks expect (0.0001 to 1e6). It makes BTCJPY and BTCKRW cheaper than they are.
_LOWEST_BASE, _HIGHEST_BASE = 0.01, 100_000.0


@dataclass(frozen=True)
class _Habits:
    """How an asset class behaves.

    Attributes:
        volatility: Standard deviation of the yearly log return.
        unknown: Range of the base price, in dollars, of a name that is not in the table.
        turnover: Median dollars traded in a minute; None where there is no common volume.
        lot: Decimals of a volume.
        ticket: Dollars of an average trade.
        busy: Busiest moments, in hours UTC.
    """

    volatility: float
    unknown: tuple[float, float]
    turnover: float | None = None
    lot: int = 0
    ticket: float = 1.0
    busy: tuple[float, ...] = ()


_HABITS: dict[AssetClass, _Habits] = {
    "crypto": _Habits(0.60, (0.1, 50.0), 400_000.0, lot=8, ticket=2_000.0, busy=(15.0,)),
    "forex": _Habits(0.08, (0.5, 2.0)),
    "equity": _Habits(0.30, (20.0, 400.0), 6_000_000.0, ticket=8_000.0, busy=(14.0, 20.5)),
}


class Market:
    """All that is true of one pair under one seed: a hash. Minutes count from 1970-01-01 UTC.

    The log price is a Brownian path in wall-clock time by Lévy's construction (P. Mörters and
    Y. Peres, *Brownian Motion*, 2010, theorem 1.3): anchors a year apart, then midpoints, each a
    hash of its place. Its standard deviation over any span up to a year is the yearly volatility
    times the root of the span; beyond, it returns to its base price. High and low of a minute
    follow the law of the extremes of a Brownian bridge between open and close. The open of a
    minute is the close of the minute before.

    Volume is lognormal around a daily shape; forex has no volume, trade count or vwap. Nothing here
    is a model to trade on.

    Attributes:
        sigma: Standard deviation of the log return of a minute.
        decimals: Of a price.
        tick: The smallest step of a price.
    """

    def __init__(self, seed: int, symbol: Symbol) -> None:
        """No price is computed yet.

        Args:
            seed: Another seed is another market.
            symbol: The pair.
        """
        self._key = f"{seed}/{symbol}"
        self._symbol = symbol
        self._habits = _HABITS[symbol.asset_class]
        base = self._dollars(symbol.base) / self._dollars(symbol.quote)
        self._base = min(max(base, _LOWEST_BASE), _HIGHEST_BASE)
        self.sigma = self._habits.volatility / math.sqrt(365.25 * 1440)
        self.decimals = _decimals(symbol.asset_class, self._base)
        self.tick = 10.0**-self.decimals

    def minutes(self, low: int, high: int) -> pa.Table:
        """The 1m candles of the minutes in ``[low, high)`` in which the market is open."""
        at = self.open_minutes(low, high)
        if not len(at):
            return RAW_CANDLES.empty_table()
        path = self._path(int(at[0]), int(at[-1]) + 1)
        opens, closes = path[at - at[0]], path[at - at[0] + 1]
        highs, lows = self._extremes(at, opens, closes)
        opens, highs, lows, closes = (
            column.round(self.decimals) for column in (opens, highs, lows, closes)
        )
        # The law holds before rounding but for the last bit, which can tip a tick.
        highs = np.maximum(highs, np.maximum(opens, closes))
        lows = np.minimum(lows, np.minimum(opens, closes))
        measures = [opens, highs, lows, closes, *self._activity(at, opens, highs, lows, closes)]
        times = pa.array(at.astype("datetime64[m]").astype("datetime64[us]")).cast(TIMESTAMP)
        return pa.table([times, *measures], schema=RAW_CANDLES)

    def open_minutes(self, low: int, high: int) -> Integers:
        """The minutes in ``[low, high)`` in which the market is open, ascending."""
        bars = expected_bars(
            self._symbol, TIMEFRAMES["1m"], EPOCH + low * MINUTE, EPOCH + high * MINUTE
        )
        return bars.astype("datetime64[m]").astype(np.int64)

    def prices(self, at: Integers) -> Floats:
        """The price at the start of each of these minutes, in any order.

        It is the open of that minute's candle, if there is one, and the close of the minute before.
        Nothing but the way down to each minute is computed: 19 levels, however far apart they are.
        """
        left, right = self._anchors(at >> _LEVELS), self._anchors((at >> _LEVELS) + 1)
        for level in range(_LEVELS - 1, -1, -1):
            half = at >> level
            middle = self._midpoints(half | 1, left, right, level)
            is_right = half & 1 == 1
            left, right = np.where(is_right, middle, left), np.where(is_right, right, middle)
        price: Floats = (self._base * np.exp(left)).round(self.decimals)
        return price

    def hashes(self, channel: str, index: Integers, level: int = 0) -> Hashes:
        """Element ``index`` of the SplitMix64 sequence that belongs to ``channel``.

        Constants and steps from G. Steele, D. Lea and C. Flood, "Fast splittable pseudorandom
        number generators", OOPSLA 2014; the state after i steps is seed + i * gamma, so any
        element can be had without the ones before.
        """
        name = f"{self._key}/{channel}/{level}".encode()
        seed = np.frombuffer(blake2b(name, digest_size=8).digest(), np.uint64)
        z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + seed
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        return z

    def uniform(self, channel: str, index: Integers) -> Floats:
        """Numbers in ``(0, 1)`` by place."""
        return _unit(self.hashes(channel, index))

    def normal(self, channel: str, index: Integers, level: int = 0) -> Floats:
        """Numbers of about standard normal law by place: the sum of a hash's four 16-bit words.

        Mean 0, variance 1, bounded at 3.46. In integers, so equal on every machine.
        """
        words = np.uint64(0x0000FFFF0000FFFF)
        z = self.hashes(channel, index, level)
        pairs = (z & words) + ((z >> np.uint64(16)) & words)
        total = (pairs & np.uint64(0xFFFFFFFF)) + (pairs >> np.uint64(32))
        normal: Floats = (total.astype(np.float64) - 2 * 0xFFFF) / math.sqrt((2**32 - 1) / 3)
        return normal

    def _path(self, low: int, high: int) -> Floats:
        """Prices at the start of every minute in ``[low, high]``, not yet rounded to the tick."""
        first, last = low >> _LEVELS, -(-high >> _LEVELS)
        log_price = self._anchors(np.arange(first, last + 1))
        for level in range(_LEVELS - 1, -1, -1):
            halves = np.empty(2 * len(log_price) - 1)
            halves[::2] = log_price
            midpoints = np.arange(2 * first + 1, 2 * last, 2)
            halves[1::2] = self._midpoints(midpoints, log_price[:-1], log_price[1:], level)
            left = (low >> level) - 2 * first
            first, last = low >> level, -(-high >> level)
            log_price = halves[left : left + last - first + 1]
        price: Floats = self._base * np.exp(log_price)
        return price

    def _anchors(self, index: Integers) -> Floats:
        """Log prices over the base, a year apart."""
        # Independent, and their difference has the variance of that span: 2 s^2 = sigma^2 span.
        spread = self.sigma * math.sqrt(2.0**_LEVELS / 2)
        return spread * self.normal("path", index, _LEVELS)

    def _midpoints(self, index: Integers, left: Floats, right: Floats, level: int) -> Floats:
        """A bridge's midpoints: the mean of its ends plus noise of variance span / 4."""
        deviation = self.sigma * math.sqrt(2.0 ** (level + 1) / 4)
        return (left + right) * 0.5 + deviation * self.normal("path", index, level)

    def _extremes(self, at: Integers, opens: Floats, closes: Floats) -> tuple[Floats, Floats]:
        """Highest and lowest price of each minute.

        The maximum of a Brownian bridge from a to b of variance v is
        ``(a + b + sqrt((a - b)**2 - 2 v ln U)) / 2`` with U uniform (P. Glasserman, *Monte Carlo
        Methods in Financial Engineering*, 2003, section 6.4). Here high and low are drawn as if
        independent.
        """
        z = self.hashes("extremes", at)
        middle, square = opens + closes, (opens - closes) ** 2
        variance = (self.sigma * opens) ** 2
        highs = middle + np.sqrt(square - 2 * variance * np.log(_unit(z)))
        lows = middle - np.sqrt(square - 2 * variance * np.log(_unit(z << np.uint64(32))))
        return highs / 2, lows / 2

    def _activity(
        self, at: Integers, opens: Floats, highs: Floats, lows: Floats, closes: Floats
    ) -> list[pa.Array | Floats]:
        """Volume, trade count and vwap of each minute; nulls if the class has no common volume."""
        habits = self._habits
        if habits.turnover is None:
            return [pa.nulls(len(at), pa.float64())] * 3
        shape = _shape_of_day(habits.busy)[at % 1440]
        dollars_per_unit = self._base * self._dollars(self._symbol.quote)
        volume = (
            habits.turnover / dollars_per_unit * shape * np.exp(0.8 * self.normal("volume", at))
        )
        volume = np.maximum(volume.round(habits.lot), 10.0**-habits.lot)
        trades = np.ceil(volume * dollars_per_unit / habits.ticket)
        vwap = np.clip((opens + highs + lows + closes) / 4, lows, highs)
        return [volume, trades, vwap]

    def _dollars(self, name: str) -> float:
        known = _DOLLARS.get(name)
        if known is not None:
            return known
        low, high = self._habits.unknown
        digest = blake2b(name.encode(), digest_size=8).digest()
        share = int.from_bytes(digest, "big") / 2**64
        dollars: float = low * (high / low) ** share
        return dollars


def _unit(z: Hashes) -> Floats:
    """The upper 32 bits as a number in ``(0, 1)``, never 0, so that it has a logarithm."""
    return ((z >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32


def _shape_of_day(busy: tuple[float, ...]) -> Floats:
    """Relative activity of each minute of a UTC day: bells of two hours around the busy moments."""
    hours = np.arange(1440) / 60
    bells = [np.exp(-(((hours - peak + 12) % 24 - 12) ** 2) / (2 * 2.0**2)) for peak in busy]
    shape: Floats = 0.5 + np.sum(bells, axis=0)
    return shape


def _decimals(asset_class: AssetClass, base: float) -> int:
    """Decimals of a price: cents for equities, tenths of a pip for forex, 5 digits for crypto."""
    if asset_class == "equity":
        return 2
    if asset_class == "forex":
        return 5 if base < 20 else 3
    return int(np.clip(4 - np.floor(np.log10(base)), 2, 8))
