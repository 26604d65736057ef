"""The truth that the doubles tell: candle tables by pair and timeframe, cut into windows.

Nothing here knows a vendor. Times are microseconds since the epoch, so that a window is two
integers; a measure that there is none of is NaN.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ffe_lakehouse.providers.base import RAW_CANDLES, CandleQuery
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.schemas import MEASURES, PRICES
from ffe_lakehouse.settings import SimulatedFaults
from ffe_lakehouse.symbols import Symbol, parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

MICROS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Key = tuple[str, str]
"""A pair and a timeframe code: ``("BTCUSD", "1h")``."""

Splits = Sequence[tuple[int, float]]
"""From when on (microseconds) there are how many new shares for an old one."""


def micros(moment: datetime) -> int:
    """Microseconds since the epoch."""
    return round((moment - EPOCH).total_seconds() * MICROS)


@dataclass(frozen=True)
class Bars:
    """Some bars of one pair and timeframe.

    Attributes:
        symbol: Whose.
        timeframe: How long.
        times: Open times in microseconds since the epoch, shape (n,).
        measures: ``open`` to ``vwap``, shape (n,) each; NaN where there is none.
    """

    symbol: Symbol
    timeframe: Timeframe
    times: NDArray[np.int64]
    measures: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        """How many."""
        return len(self.times)

    def take(self, rows: slice | NDArray[np.int64]) -> "Bars":
        """Some rows, in the order named."""
        measures = {name: values[rows] for name, values in self.measures.items()}
        return Bars(self.symbol, self.timeframe, self.times[rows], measures)

    def moved(self, delta: int | NDArray[np.int64]) -> "Bars":
        """The same bars ``delta`` microseconds later, one for all or one each."""
        return Bars(self.symbol, self.timeframe, self.times + delta, self.measures)

    def adjusted(self, splits: "Splits") -> "Bars":
        """Prices and volume in the shares of after all ``splits``, as most vendors show them."""
        factor = np.ones(len(self))
        day = 86_400 * MICROS if self.timeframe.code == "1d" else 1
        for since, ratio in splits:
            factor[self.times // day < since // day] *= ratio
        measures = {
            name: values * factor if name == "volume" else values / factor
            for name, values in self.measures.items()
            if name != "trade_count"
        }
        measures["trade_count"] = self.measures["trade_count"]
        return Bars(self.symbol, self.timeframe, self.times, measures)

    def newest_first(self) -> "Bars":
        """The other way round."""
        return self.take(slice(None, None, -1))

    def seconds(self) -> list[int]:
        """Open times in whole seconds since the epoch."""
        return (self.times // MICROS).tolist()

    def prices(self) -> Iterable[tuple[float, float, float, float]]:
        """Open, high, low and close of every bar."""
        return zip(*(self.measures[name].tolist() for name in PRICES), strict=True)

    def of(self, name: str) -> list[float]:
        """One measure, NaN where there is none."""
        return self.measures[name].tolist()


def joined(*parts: Bars) -> Bars:
    """The rows of all parts, one after the other."""
    first = parts[0]
    measures = {name: np.concatenate([part.measures[name] for part in parts]) for name in MEASURES}
    times = np.concatenate([part.times for part in parts])
    return Bars(first.symbol, first.timeframe, times, measures)


class Market:
    """Candle tables that any double can serve: what was traded, unadjusted.

    Attributes:
        splits: Of shares, by pair. A vendor that adjusts prices does so by them.

    Args:
        tables: Columns of ``RAW_CANDLES``, or some of them, in any order of rows.
    """

    def __init__(self, tables: Mapping[Key, pa.Table]) -> None:
        """The tables are decoded once."""
        self.splits: dict[str, Splits] = {}
        self.tables = {key: _canonical(table).sort_by("timestamp") for key, table in tables.items()}
        self._bars = {key: _bars(*key, table) for key, table in self.tables.items()}

    @classmethod
    def simulated(
        cls, keys: Iterable[Key], start: datetime, end: datetime, decimals: int | None = None
    ) -> "Market":
        """Bars of the simulated provider that open in ``[start, end)``.

        ``decimals`` rounds the prices: some formats carry only so many digits.
        """
        provider = SimulatedProvider(0, SimulatedFaults())
        tables = {}
        for pair, code in keys:
            query = CandleQuery(parse_symbol(pair), TIMEFRAMES[code], start, end)
            table = pa.concat_tables([page.candles for page in provider.fetch(query)])
            if decimals is not None:
                for name in (*PRICES, "vwap"):
                    rounded = pa.array(table[name].to_numpy().round(decimals), from_pandas=True)
                    table = table.set_column(table.column_names.index(name), name, rounded)
            tables[pair, code] = table.cast(RAW_CANDLES)
        return cls(tables)

    @classmethod
    def of_files(cls, folder: Path) -> "Market":
        """Every ``PAIR_TIMEFRAME.parquet`` of a folder."""
        tables = {}
        for path in sorted(folder.glob("*.parquet")):
            pair, _, code = path.stem.rpartition("_")
            table = pq.read_table(path)
            tables[pair, code] = table.rename_columns(
                ["timestamp" if name == "time" else name for name in table.column_names]
            )
        return cls(tables)

    @property
    def symbols(self) -> list[Symbol]:
        """The pairs that there is anything of."""
        return [parse_symbol(pair) for pair in dict.fromkeys(pair for pair, _ in self._bars)]

    def bars(self, symbol: Symbol, code: str, first: int, last: int) -> Bars:
        """The bars that open in ``[first, last]``, both included (microseconds), ascending."""
        bars = self._bars.get((symbol.name, code))
        if bars is None:
            return _bars(symbol.name, code, RAW_CANDLES.empty_table())
        low = np.searchsorted(bars.times, first)
        return bars.take(slice(int(low), int(np.searchsorted(bars.times, last, side="right"))))

    def split_bars(self, symbol: Symbol, code: str, first: int, last: int) -> Bars:
        """The same bars, adjusted for every split until today."""
        return self.bars(symbol, code, first, last).adjusted(self.splits.get(symbol.name, ()))

    def table(self, key: Key, start: datetime, end: datetime) -> pa.Table:
        """The same truth as a provider must deliver it: the rows that open in ``[start, end)``."""
        table = self.tables[key]
        times = table["timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
        low, high = np.searchsorted(times, [micros(start), micros(end)])
        return table.slice(int(low), int(high - low))


def _canonical(table: pa.Table) -> pa.Table:
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in RAW_CANDLES
    ]
    return pa.table(columns, schema=RAW_CANDLES)


def _bars(pair: str, code: str, table: pa.Table) -> Bars:
    times = table["timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
    measures = {
        name: table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in MEASURES
    }
    return Bars(parse_symbol(pair), TIMEFRAMES[code], times, measures)
