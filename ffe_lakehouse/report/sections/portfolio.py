"""The account: what it was worth, and what it held."""

import json

import pandas as pd

from ffe_lakehouse.report import charts, formats, theme
from ffe_lakehouse.report.blocks import (
    SIMULATED,
    Block,
    Details,
    Note,
    Plot,
    Section,
    Tile,
    Tiles,
    columns,
    table,
)
from ffe_lakehouse.report.excerpts import PORTFOLIO, Excerpt, Excerpts
from ffe_lakehouse.report.periods import account_path, max_drawdown
from ffe_lakehouse.report.sections.common import nothing

_MOST = len(theme.PARTS)
"""Pairs that have a colour of their own in the plot of exposures; the others share one."""

_DAYS = {
    "date": ("Day", formats.day),
    "equity": ("Equity", formats.money),
    "balance": ("Balance", formats.money),
    "day_realized_pnl": ("Realized P&L", formats.money),
    "unrealized_pnl": ("Unrealized P&L", formats.money),
    "drawdown": ("Drawdown", formats.percent),
    "positions": ("Positions", formats.count),
    "gross_exposure": ("Gross exposure", formats.money),
    "net_exposure": ("Net exposure", formats.money),
    "days_since_snapshot": ("Days since snapshot", formats.count),
}


def portfolio(excerpts: Excerpts) -> Section:
    """Key figures, equity and drawdown, exposure by pair, and day by day."""
    found = excerpts.of[PORTFOLIO]
    lead = (
        "The account at the end of each day: all pairs and platforms, not only those chosen here."
    )
    if found.rows.empty:
        return Section("portfolio", "Portfolio", lead, [nothing(excerpts, PORTFOLIO)])
    rows = found.rows
    currency = str(rows["account_currency"].iloc[-1])
    carried = rows["is_carried_forward"].astype(bool)
    blocks: list[Block] = [
        Tiles(_tiles(found, currency)),
        Plot(
            "Equity and drawdown",
            charts.equity(
                rows["date"], rows["equity"], rows["drawdown"], currency, carried=carried
            ),
            _carried(int(carried.sum()), len(rows)),
        ),
    ]
    exposures = _exposures(rows)
    if exposures.empty:
        blocks.append(Note("No position was held at the end of any day of the period."))
    else:
        gross = rows.set_index("date")["gross_exposure"]
        caption = "Long above zero, short below; the line is gross exposure."
        blocks.append(
            Plot("Exposure by pair", charts.exposure(exposures, gross, currency), caption)
        )
    blocks.extend(_left_out(rows))
    days = table(f"In {currency}", rows.drop(columns="is_mock"), columns(found.mart, _DAYS))
    blocks.append(Details("Day by day", [days]))
    is_mock = bool(rows["is_mock"].iloc[-1])
    return Section("portfolio", "Portfolio", lead, blocks, SIMULATED if is_mock else "")


def _tiles(found: Excerpt, currency: str) -> list[Tile]:
    last = found.rows.iloc[-1]
    path = account_path(found)
    base = path.iloc[0]
    since = f"since the end of {formats.day(path.index[0])}"
    change = (last["equity"] / base - 1) if base > 0 else None
    return [
        Tile(f"Equity, {currency}", formats.money(last["equity"]), formats.day(last["date"])),
        Tile("Change of equity", formats.money(last["equity"] - base), since),
        Tile("Return", formats.percent(change), since),
        Tile("Realized P&L", formats.money(found.rows["day_realized_pnl"].sum()), "in the period"),
        Tile("Unrealized P&L", formats.money(last["unrealized_pnl"]), "of open positions"),
        Tile(
            "Max drawdown",
            formats.percent(max_drawdown(path)),
            f"in the period; {formats.percent(last['max_drawdown'])} to date",
        ),
        Tile(
            "Gross exposure",
            formats.money(last["gross_exposure"]),
            f"net {formats.money(last['net_exposure'])}",
        ),
        Tile(
            "Open positions",
            formats.count(last["positions"]),
            f"snapshot of {formats.moment(last['snapshot_at'])}"
            if pd.notna(last["snapshot_at"])
            else "no snapshot yet",
        ),
    ]


def _carried(days: int, of: int) -> str:
    if not days:
        return ""
    return (
        f"On {days} of {of} days no platform reported: the positions of an earlier day are carried"
        " forward (circles)."
    )


def _exposures(rows: pd.DataFrame) -> pd.DataFrame:
    """A column for each pair that was held, indexed by day; the largest ones by themselves."""
    held = pd.DataFrame(
        [json.loads(each) for each in rows["exposure_by_pair"]], index=rows["date"], dtype=float
    )
    largest = held.abs().max().sort_values(ascending=False, kind="stable").index
    own, others = sorted(largest[:_MOST]), largest[_MOST:]
    shown = held[own]
    return shown if others.empty else shown.assign(Others=held[others].sum(axis=1))


def _left_out(rows: pd.DataFrame) -> list[Note]:
    last = rows.iloc[-1]
    trades, positions = int(last["unconverted_trades"]), int(last["unconverted_positions"])
    notes = []
    if trades:
        notes.append(
            f"Closed trades to date that the balance leaves out: {trades:,}. Neither currency of"
            " their pair is the account's."
        )
    if positions:
        notes.append(
            f"Open positions that the exposures leave out: {positions:,}. Neither currency of"
            " their pair is the account's, or the engine does not say enough."
        )
    return [Note(text) for text in notes]
