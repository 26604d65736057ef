"""The tables that the models read: of the lake, pruned; and a few that the lakehouse makes."""

from collections.abc import Callable, Mapping
from datetime import UTC, timedelta
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.lake.tables import table_schema
from ffe_lakehouse.schemas.gold import source_columns
from ffe_lakehouse.settings import AssetClass, get_settings
from ffe_lakehouse.symbols import Symbol, parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES

_OF_PAIRS = ("silver/trade_lifecycle", "silver/decision_history", "silver/market_data_enriched")


def load(scope: Scope, source: str, table: str) -> pa.Table:
    """A source table as the models see it; loaded once a run.

    Args:
        scope: What is computed.
        source: ``silver``, ``bronze`` or ``ffe``.
        table: Its name there.

    Raises:
        InputError: There is no such table, or it has no such column.
    """
    name = f"{source}/{table}"
    if name not in scope.loaded:
        columns = list(source_columns()[source, table])
        made = _OWN[table](scope) if source == "ffe" else _of_the_lake(scope, name, columns)
        scope.loaded[name] = made.select(columns)
    return scope.loaded[name]


def _of_the_lake(scope: Scope, name: str, columns: list[str]) -> pa.Table:
    """The newest version of each row; none if nobody has written the table yet."""
    schema = table_schema(name)
    if not scope.lake.table_exists(name):
        return schema.arrow.empty_table()
    return scope.lake.read(name, scope.read(schema), columns, newest=bool(schema.values))


def _pairs(scope: Scope) -> pa.Table:
    pairs = _held(scope) if scope.pairs is None else scope.pairs
    symbols = [parse_symbol(pair) for pair in sorted(pairs)]
    periods = get_settings().periods_per_year
    return pa.table(
        {
            "asset_pair": pa.array([each.name for each in symbols], pa.string()),
            "asset_class": pa.array([each.asset_class for each in symbols], pa.string()),
            "base_currency": pa.array([each.base for each in symbols], pa.string()),
            "quote_currency": pa.array([each.quote for each in symbols], pa.string()),
            "periods_per_year": pa.array(
                [periods[each.asset_class] for each in symbols], pa.float64()
            ),
        }
    )


def _held(scope: Scope) -> set[str]:
    """Every pair of the lake, those of positions included."""
    snapshots = load(scope, "bronze", "raw_portfolio_snapshots")
    positions = pc.list_flatten(snapshots["positions"])
    pairs = set(pc.unique(pc.struct_field(positions, "asset_pair")).to_pylist())
    # The Delta log names them: the portfolio need not load millions of bars to know their pairs.
    for name in _OF_PAIRS:
        if scope.lake.table_exists(name):
            partitions = scope.lake.table(name).partitions()
            pairs.update(each["partition_asset_pair"] for each in partitions)
    return pairs


def _calendar(scope: Scope) -> pa.Table:
    first, end = get_settings().start_date, scope.last + timedelta(days=1)
    days = np.arange(np.datetime64(first), np.datetime64(end))
    # Only what is there has a calendar laid out: that of equities takes 0.3 s.
    classes = pc.unique(load(scope, "ffe", "pairs")["asset_class"]).to_pylist()
    parts = [
        pa.table(
            {
                "asset_class": pa.array([each] * days.size, pa.string()),
                "date": pa.array(days, pa.date32()),
                "is_return_day": pa.array(_return_days(each, days)),
            }
        )
        for each in get_args(AssetClass)
        if each in classes
    ]
    empty = {"asset_class": pa.string(), "date": pa.date32(), "is_return_day": pa.bool_()}
    return pa.concat_tables([pa.schema(empty).empty_table(), *parts])


def _return_days(asset_class: AssetClass, days: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Which days have a return: all, Monday to Friday, or the sessions of the exchange."""
    if asset_class == "crypto":
        return np.ones(days.size, dtype=bool)
    if asset_class == "forex":
        return np.is_busday(days)
    any_equity = Symbol("SPY", "equity", "SPY", "USD")
    start, end = (day.astype("datetime64[us]").item() for day in (days[0], days[-1] + 1))
    zoned = (each.replace(tzinfo=UTC) for each in (start, end))
    sessions = expected_bars(any_equity, TIMEFRAMES["1d"], *zoned)
    return np.isin(days, sessions.astype("datetime64[D]"))


def _settings(scope: Scope) -> pa.Table:
    settings = get_settings()
    bar = TIMEFRAMES[settings.mart_timeframe]
    values = {
        "initial_capital": settings.initial_capital,
        "return_basis": settings.return_basis,
        "risk_free_rate": settings.risk_free_rate,
        "initial_balance": settings.initial_balance,
        "account_currency": settings.account_currency,
        "mart_timeframe": bar.code,
        "bar_seconds": bar.duration.total_seconds(),
        "last_day": scope.last,
    }
    return pa.table({name: [value] for name, value in values.items()})


_OWN: Mapping[str, Callable[[Scope], pa.Table]] = {
    "pairs": _pairs,
    "calendar": _calendar,
    "settings": _settings,
}
