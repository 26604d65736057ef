"""What several sections need: what to say where there is nothing, and how groups are named."""

from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial

import pandas as pd

from ffe_lakehouse.report.blocks import SIMULATED, Note
from ffe_lakehouse.report.excerpts import PERFORMANCE, Excerpts
from ffe_lakehouse.report.formats import NOTHING, listed
from ffe_lakehouse.report.periods import ratio

CURRENCY = ["is_mock", "quote_currency"]
"""What keeps apart what must not be added up: simulated from real, and currencies."""
REGIME_ORDER = ("trend", "range", "volatile", "unknown")
TO_DATE = "To date: since the pair's first day"
WITH_INTERVAL = "With the 95 % Wilson interval."


def nothing(excerpts: Excerpts, name: str) -> Note:
    """Why a section is empty, and what fills it."""
    table, period = f"gold/{name}", excerpts.period
    fill = partial(_backfill, excerpts.pairs, period.first, period.last)
    if name in excerpts.missing:
        return Note(f"{table} has not been computed yet. This computes it:", fill())
    if excerpts.of[PERFORMANCE].rows.empty:
        return Note(f"{table} has no rows of this period. This computes them:", fill())
    return Note(
        f"{table} has no rows of this period, though other marts have: there is no record of the"
        " engine for it, or it was not computed with them. `ffe land FOLDER` loads records; then:",
        fill(layers="silver,gold"),
    )


def groups(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Rows by currency, real before simulated: the currency, a tag, and the rows."""
    for (is_mock, currency), some in rows.groupby(CURRENCY, observed=True):
        yield str(currency), SIMULATED if is_mock else "", some


def kinds(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows by whether they are simulated, real ones first: a tag, and the rows."""
    for is_mock, some in rows.groupby("is_mock"):
        yield SIMULATED if is_mock else "", some


def tagged(name: str, tag: str) -> str:
    """A name with what is to be known of it."""
    return f"{name} ({tag})" if tag else name


def with_outcomes(rows: pd.DataFrame) -> pd.DataFrame:
    """With win rate and expectancy of the period."""
    return rows.assign(
        period_win_rate=ratio(rows["period_winning_trades"], rows["period_trades"]),
        period_expectancy=ratio(rows["period_net_pnl"], rows["period_trades"]),
    )


def unknown_before(excerpts: Excerpts, name: str, rows: pd.DataFrame) -> list[Note]:
    """Why counts of the period are not known, if some are not."""
    counted = [column for column in map(str, rows.columns) if column.startswith("period_")]
    pairs = sorted(rows.loc[rows[counted].isna().any(axis=1), "asset_pair"].unique())
    if not pairs:
        return []
    before = excerpts.period.before
    return [
        Note(
            f"What had been counted before the period is not known of {listed(pairs)}, so some of"
            f" its counts are {NOTHING}: gold/{name} has no row of {before}. This computes it:",
            _backfill(pairs, before, before),
        )
    ]


def not_computed(excerpts: Excerpts) -> list[Note]:
    """Which days within the period the marts lack, up to the newest that one of them has."""
    found = {name: each for name, each in excerpts.of.items() if len(each.rows)}
    if not found:
        return []
    newest: pd.Timestamp = max(each.rows["date"].max() for each in found.values())
    notes = []
    for name, each in found.items():
        whose = each.rows.get("asset_pair", pd.Series("all pairs", index=each.rows.index))
        days = each.rows["date"].groupby(whose)
        lacking = (newest - days.min()).dt.days + 1 - days.nunique()
        lacking = lacking[lacking > 0]
        if len(lacking):
            notes.append(
                Note(
                    f"gold/{name} lacks {lacking.sum():,} day(s) of"
                    f" {listed(lacking.index.tolist())}. This computes them:",
                    _backfill(excerpts.pairs, excerpts.period.first, newest.date()),
                )
            )
    return notes


def _backfill(pairs: Sequence[str], first: date, last: date, layers: str = "gold") -> str:
    assets = ",".join(pairs) or "BTCUSD"
    return f"ffe backfill --assets {assets} --start {first} --end {last} --layers {layers}"
