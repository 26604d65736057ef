"""What happened within a period, from rows whose columns are cumulative. Pure: frames to frames.

A column ``day_x`` is summed up. A count without one is what it has come to by the last day, less
what it had come to by the day before the first. Sums are only made of what has one unit: whoever
pools rows says by which currency.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ffe_lakehouse.report.excerpts import Excerpt

_ACROSS = "bars"
"""Counted on where real records begin, so it does not tell whether a count begins there."""


def totals(excerpt: Excerpt, counts: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each key but the day.

    Args:
        excerpt: Rows of a mart.
        counts: Cumulative columns of which the period's share is wanted.

    Returns:
        All columns of the mart as of the last day, and besides them ``period_x`` for each
        ``day_x`` and for each of ``counts``. The latter is NaN where it is not known what had been
        counted before the period: the rows of the day before are not there, and those of the
        period do not begin at zero.
    """
    group = excerpt.group
    days = [name for name in map(str, excerpt.rows.columns) if name.startswith("day_")]
    grouped = excerpt.rows.groupby(group, sort=True)
    last = excerpt.rows.drop_duplicates(group, keep="last").set_index(group).sort_index()
    first = excerpt.rows.drop_duplicates(group, keep="first").set_index(group).sort_index()
    mirrors = {name.removeprefix("day_"): name for name in days}
    mirrors.pop(_ACROSS, None)
    begins = pd.Series(True, index=first.index)
    for cumulative, day in mirrors.items():
        begins &= first[cumulative] == first[day]
    before = excerpt.before.set_index(group)[list(counts)].reindex(last.index)
    before = before.mask(before.isna() & begins.to_numpy()[:, None], 0)
    shares = {f"period_{name}": last[name] - before[name] for name in counts}
    sums = {f"period_{name.removeprefix('day_')}": grouped[name].sum() for name in days}
    return last.assign(**sums, **shares).reset_index()


def pooled(rows: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Sums of rows that have the same ``by``; NaN where one of them is.

    Args:
        rows: From ``totals``.
        by: What keeps apart what must not be added: the currency, real and simulated.
        columns: Which are summed up.
    """
    grouped = rows.groupby(list(by), as_index=False, observed=True)
    sums: pd.DataFrame = grouped[list(columns)].agg(_whole_sum)
    return sums


def _whole_sum(values: pd.Series) -> float:
    return float(values.sum(skipna=False))


def ratio(numerator: pd.Series, denominator: pd.Series) -> pd.Series:
    """Their quotient; NaN where there is nothing to divide by."""
    return numerator / denominator.where(denominator != 0)


def equity_paths(performance: Excerpt) -> pd.DataFrame:
    """The equity of each pair at the end of each day, from the day before its first one on.

    What a pair had before is its equity less the P&L of that day: exact, also where the row of the
    day before is not there.

    Returns:
        Columns ``asset_pair``, ``date``, ``equity``, ``drawdown`` (from the highest to date),
        ``quote_currency``, ``is_mock``; sorted by pair and day. ``drawdown`` of the day before is
        NaN.
    """
    shown = ["asset_pair", "date", "equity", "drawdown", "quote_currency", "is_mock"]
    first = performance.rows.drop_duplicates("asset_pair", keep="first")
    start = first.assign(
        date=first["date"] - pd.Timedelta(days=1),
        equity=first["equity"] - first["day_net_pnl"],
        drawdown=np.nan,
    )
    paths = pd.concat([start[shown], performance.rows[shown]])
    return paths.sort_values(["asset_pair", "date"], ignore_index=True)


def account_path(portfolio: Excerpt) -> pd.Series:
    """The account's equity at the end of each day, if it is known from the day before the period.

    If the account begins within the period, its initial balance is what it had before.

    Returns:
        Equity by day.
    """
    known = pd.concat([portfolio.before, portfolio.rows]).set_index("date")
    first = known.iloc[0]
    path = known["equity"]
    if portfolio.before.empty and first["realized_pnl"] == first["day_realized_pnl"]:
        initial = {known.index[0] - pd.Timedelta(days=1): first["balance"] - first["realized_pnl"]}
        path = pd.concat([pd.Series(initial), path])
    return path


def returns(paths: pd.DataFrame) -> pd.Series:
    """Equity over that before the period, less one; NaN if that was not above zero."""
    base = paths.groupby("asset_pair")["equity"].transform("first")
    return paths["equity"] / base.where(base > 0) - 1


def max_drawdown(equity: pd.Series) -> float:
    """The deepest fall from the highest equity so far: 0 or below, as a share of it."""
    peaks = equity.cummax()
    return float((equity / peaks.where(peaks > 0) - 1).min())


def dominant_regimes(regimes: Excerpt, order: Sequence[str]) -> pd.DataFrame:
    """The regime of most bars of each day of each pair; none of a day without bars.

    Args:
        regimes: Rows of ``mart_market_regime_stats``.
        order: Of equally many the first of these wins.

    Returns:
        Columns ``asset_pair``, ``date``, ``regime``.
    """
    key = ["asset_pair", "date", "regime"]
    bars = regimes.rows.groupby(key, as_index=False)[["day_bars"]].sum()
    bars = bars[bars["day_bars"] > 0].assign(
        rank=lambda rows: rows["regime"].map({name: n for n, name in enumerate(order)})
    )
    bars = bars.sort_values(
        ["asset_pair", "date", "day_bars", "rank"], ascending=[True, True, False, True]
    )
    return bars.drop_duplicates(["asset_pair", "date"])[key].reset_index(drop=True)
