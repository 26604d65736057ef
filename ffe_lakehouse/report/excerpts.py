"""What is read of the marts for a report: the rows of a period, and those of the day before.

Real and simulated rows are kept apart here; what is made of the rows is in ``periods``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.where import whole_days
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.gold import is_by_pair, marts
from ffe_lakehouse.schemas.table import DERIVED

PORTFOLIO = "mart_daily_portfolio_summary"
PERFORMANCE = "mart_trading_performance"
REGIMES = "mart_market_regime_stats"
PROVIDERS = "mart_provider_attribution"
ENSEMBLES = "mart_ensemble_effectiveness"
REPORTED = (PORTFOLIO, PERFORMANCE, REGIMES, PROVIDERS, ENSEMBLES)


@dataclass(frozen=True)
class Period:
    """UTC days from ``first`` to ``last``, both included."""

    first: date
    last: date

    @property
    def before(self) -> date:
        """The day before the first."""
        return self.first - timedelta(days=1)

    @property
    def days(self) -> int:
        """How many."""
        return (self.last - self.first).days + 1


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Rows of a mart, sorted by its key: of each pair either real or simulated ones, never both.

    Attributes:
        mart: The table.
        period: Which days.
        rows: Those of the period. Days are ``datetime64``, nulls are NaN. ``is_mock`` is that of
            the pair: something of what is shown of it is simulated. Currencies are ordered, that
            of most pairs first.
        before: Those of the day before it, of the same kind: what had been counted by then.
    """

    mart: TableSchema
    period: Period
    rows: pd.DataFrame
    before: pd.DataFrame

    @property
    def name(self) -> str:
        """Of the model."""
        return self.mart.name.removeprefix("gold/")

    @property
    def group(self) -> list[str]:
        """The key without the day."""
        return [name for name in self.mart.key if name != "date"]

    @property
    def pairs(self) -> list[str]:
        """Pairs that have rows."""
        return _unique(self.rows, "asset_pair")

    @property
    def simulated(self) -> list[str]:
        """Those of them of which something is simulated."""
        return _unique(self.rows[self.rows["is_mock"]], "asset_pair")

    def with_sums(self, means: Iterable[tuple[str, str]]) -> "Excerpt":
        """With a column ``NAME_sum`` for each mean ``NAME``, so that means can be pooled.

        Args:
            means: The column of a mean, and that of how many it is the mean of.
        """
        sums = {
            # Of nothing there is no mean, but a sum: zero.
            f"{mean}_sum": lambda rows, mean=mean, count=count: (rows[mean] * rows[count]).where(
                rows[count] > 0, 0.0
            )
            for mean, count in means
        }
        return self.with_columns(**sums)

    def with_columns(self, **made: Callable[[pd.DataFrame], pd.Series]) -> "Excerpt":
        """With more columns, each made of the rows that have it."""
        return replace(self, rows=self.rows.assign(**made), before=self.before.assign(**made))


@dataclass(frozen=True, eq=False)
class Excerpts:
    """What a report shows.

    Attributes:
        period: Which days.
        pairs: Which pairs were asked for.
        lake: Where the marts are.
        of: What of each mart, by its name.
        real_since: First real day of the pairs that turned real within the period: what is
            simulated of them is left out.
        missing: Marts that nobody has computed yet.
    """

    period: Period
    pairs: tuple[str, ...]
    lake: str
    of: Mapping[str, Excerpt]
    real_since: Mapping[str, date]
    missing: tuple[str, ...]


def chosen_pairs(lake: DeltaLakeManager, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The pairs that were asked for, or all that the marts have.

    Raises:
        InputError: There is no mart yet, or none has rows of one of the pairs.
    """
    known = _known_pairs(lake)
    unknown = [pair for pair in wanted or () if pair not in known]
    if unknown:
        raise InputError(
            f"no mart has rows of {', '.join(unknown)}: there are {', '.join(known) or 'none'};"
            f" compute it with `ffe backfill --assets {','.join(unknown)} --days 30 --layers gold`"
        )
    return tuple(known if wanted is None else wanted)


def _known_pairs(lake: DeltaLakeManager) -> list[str]:
    """Pairs of which any mart has rows, from the Delta logs alone."""
    tables = [marts()[name] for name in REPORTED if lake.table_exists(f"gold/{name}")]
    if not tables:
        raise InputError(
            f"no gold table in {lake.storage_path} yet: compute the marts with"
            " `ffe backfill --assets BTCUSD --days 30 --layers gold`"
        )
    found: set[str] = set()
    for table in filter(is_by_pair, tables):
        files = pa.table(lake.table(table.name).get_add_actions(flatten=True))
        if files.num_rows:
            found.update(pc.unique(files["partition.partition_asset_pair"]).to_pylist())
    return sorted(found)


def read(lake: DeltaLakeManager, pairs: tuple[str, ...], period: Period) -> Excerpts:
    """What a report needs of the marts; no rows of one that nobody has computed.

    Args:
        lake: Where they are.
        pairs: Canonical pairs; a mart that is of no pair is read as it is.
        period: Which days.
    """
    rows = {name: _rows(lake, marts()[name], pairs, period) for name in REPORTED}
    currencies, real = _currencies(rows), _first_real_days(rows)
    performance = rows[PERFORMANCE]
    rows[PERFORMANCE] = performance.assign(
        is_mock=performance["is_mock"].astype(bool) & _has_records(performance)
    )
    return Excerpts(
        period,
        pairs,
        lake.storage_path,
        {name: _excerpt(marts()[name], period, rows[name], real, currencies) for name in REPORTED},
        {pair: day.date() for pair, day in real.items() if day.date() > period.first},
        tuple(name for name in REPORTED if not lake.table_exists(f"gold/{name}")),
    )


def _rows(
    lake: DeltaLakeManager, mart: TableSchema, pairs: tuple[str, ...], period: Period
) -> pd.DataFrame:
    columns = [each.name for each in mart.columns if each not in DERIVED]
    if lake.table_exists(mart.name):
        where = whole_days(pairs if is_by_pair(mart) else None, period.before, period.last)
        table = lake.read(mart.name, where, columns)
    else:
        table = pa.schema([mart.arrow.field(name) for name in columns]).empty_table()
    rows: pd.DataFrame = table.to_pandas(date_as_object=False)
    return rows


def _has_records(performance: pd.DataFrame) -> pd.Series:
    """Days by whose end a pair has any trade. Before its first record it counts as simulated."""
    return performance[["trades", "open_trades", "unpriced_trades"]].sum(axis=1) > 0


def _first_real_days(rows: Mapping[str, pd.DataFrame]) -> dict[str, pd.Timestamp]:
    """The day on which real records begin, of the pairs that have simulated ones before it."""
    # The mart of regimes says of bars, too, whether they are simulated.
    days = pd.concat(
        [
            rows[PERFORMANCE].assign(has_records=_has_records),
            rows[PROVIDERS].assign(has_records=True),
            rows[ENSEMBLES].assign(has_records=True),
        ]
    )
    is_mock = days["is_mock"].astype(bool)
    turning = days["asset_pair"].isin(days.loc[is_mock & days["has_records"], "asset_pair"])
    first = days[turning & ~is_mock].groupby("asset_pair")["date"].min()
    return {str(pair): day for pair, day in first.items()}


def _currencies(rows: Mapping[str, pd.DataFrame]) -> pd.CategoricalDtype:
    """All quote currencies, that of most pairs first."""
    pairs = pd.concat(
        [some[["asset_pair", "quote_currency"]] for some in rows.values() if "asset_pair" in some]
    ).drop_duplicates()
    counts = pairs["quote_currency"].value_counts().rename_axis("name").reset_index()
    ranked = counts.sort_values(["count", "name"], ascending=[False, True])
    return pd.CategoricalDtype(ranked["name"].tolist(), ordered=True)


def _excerpt(
    mart: TableSchema,
    period: Period,
    rows: pd.DataFrame,
    real: Mapping[str, pd.Timestamp],
    currencies: pd.CategoricalDtype,
) -> Excerpt:
    is_mock = rows["is_mock"].astype(bool)
    if is_by_pair(mart):
        # The bars of a pair are simulated in this regime and not in that one: it is one pair.
        rows = rows[~(rows["date"] < pd.to_datetime(rows["asset_pair"].map(real)))]
        is_mock = is_mock[rows.index].groupby(rows["asset_pair"]).transform("max").astype(bool)
        # So that groups of rows come in this order, wherever they are made.
        rows = rows.assign(quote_currency=rows["quote_currency"].astype(currencies))
    else:
        rows = rows[is_mock == is_mock.min()]
    rows = rows.assign(is_mock=is_mock[rows.index])
    within = rows["date"] >= pd.Timestamp(period.first)
    # As a mart is sorted by its key, the rows of a group follow one another, day by day.
    return Excerpt(
        mart, period, rows[within].reset_index(drop=True), rows[~within].reset_index(drop=True)
    )


def _unique(rows: pd.DataFrame, column: str) -> list[str]:
    return sorted(rows[column].unique()) if column in rows else []
