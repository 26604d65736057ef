"""What trading each pair has come to."""

import pandas as pd

from ffe_lakehouse.report import charts, formats
from ffe_lakehouse.report.blocks import (
    SIMULATED,
    Block,
    Note,
    Plot,
    Plots,
    Section,
    Table,
    Tile,
    Tiles,
    columns,
    table,
)
from ffe_lakehouse.report.excerpts import PERFORMANCE, REGIMES, Excerpt, Excerpts
from ffe_lakehouse.report.periods import (
    dominant_regimes,
    equity_paths,
    max_drawdown,
    pooled,
    returns,
    totals,
)
from ffe_lakehouse.report.sections.common import (
    CURRENCY,
    REGIME_ORDER,
    TO_DATE,
    groups,
    nothing,
    tagged,
    unknown_before,
    with_outcomes,
)

_PERIOD = {
    "asset_pair": ("Pair", formats.text),
    "quote_currency": ("Currency", formats.text),
    "period_trades": ("Trades", formats.count),
    "period_win_rate": ("Win rate", formats.percent),
    "period_gross_pnl": ("Gross P&L", formats.money),
    "period_fees": ("Fees", formats.money),
    "period_net_pnl": ("Net P&L", formats.money),
    "period_expectancy": ("Expectancy", formats.money),
    "period_return": ("Return", formats.percent),
    "period_max_drawdown": ("Max drawdown", formats.percent),
    "open_trades": ("Open at the end", formats.count),
}
_TO_DATE = {
    "asset_pair": ("Pair", formats.text),
    "quote_currency": ("Currency", formats.text),
    "trades": ("Trades", formats.count),
    "win_rate": ("Win rate", formats.percent),
    "net_pnl": ("Net P&L", formats.money),
    "equity": ("Equity", formats.money),
    "profit_factor": ("Profit factor", formats.number),
    "average_win": ("Avg. win", formats.money),
    "average_loss": ("Avg. loss", formats.money),
    "average_holding_hours": ("Holding, h", formats.number),
    "annual_return": ("Annual ret.", formats.percent),
    "sharpe_ratio": ("Sharpe", formats.number),
    "sortino_ratio": ("Sortino", formats.number),
    "calmar_ratio": ("Calmar", formats.number),
    "max_drawdown": ("Max drawdown", formats.percent),
    "max_drawdown_days": ("Its days", formats.count),
    "unpriced_trades": ("Unpriced", formats.count),
}
_LEGEND = (
    ("Equity", "solid", "blue"),
    ("Drawdown, from the highest equity to date", "solid", "orange"),
    ("Most bars of the day are of a trend", "area", "trend"),
    ("of a range", "area", "range"),
    ("volatile", "area", "volatile"),
)
_SUMS = [
    "period_trades",
    "period_winning_trades",
    "period_gross_pnl",
    "period_net_pnl",
    "period_fees",
    "open_trades",
]


def performance(excerpts: Excerpts) -> Section:
    """Key figures by currency, both tables, returns of all pairs, and each pair by itself."""
    found = excerpts.of[PERFORMANCE]
    lead = (
        "Each pair starts with the same capital, so pairs compare by return. Money is in the pair's"
        " quote currency."
    )
    section = ("performance", "Performance by pair", lead)
    if found.rows.empty:
        return Section(*section, [nothing(excerpts, PERFORMANCE)])
    paths = equity_paths(found)
    paths["return"] = returns(paths)
    rows = _pairs(found, paths)
    traded = rows[rows["trades"] > 0]
    blocks: list[Block] = [Tiles(_tiles(rows)), *_tables(found, rows)]
    blocks.extend(
        unknown_before(excerpts, PERFORMANCE, rows[["asset_pair", "period_winning_trades"]])
    )
    if traded.empty:
        blocks.append(Note("No trade has been settled by the end of the period: no curve to show."))
        return Section(*section, blocks)
    paths = paths[paths["asset_pair"].isin(traded["asset_pair"])]
    blocks.append(_overview(paths))
    panels = _panels(paths, excerpts.of[REGIMES])
    blocks.append(Plots(panels, "Equity, drawdown and market regime", legend=_LEGEND))
    idle = sorted(rows.loc[rows["trades"] == 0, "asset_pair"])
    if idle:
        blocks.append(Note(f"Without a settled trade, and not drawn: {formats.listed(idle)}."))
    return Section(*section, blocks)


def _pairs(found: Excerpt, paths: pd.DataFrame) -> pd.DataFrame:
    """One row a pair: the period, and to date; by currency, the best first."""
    rows = with_outcomes(totals(found, ["winning_trades"]))
    last = paths.drop_duplicates("asset_pair", keep="last").set_index("asset_pair")
    rows["period_return"] = rows["asset_pair"].map(last["return"])
    rows["period_max_drawdown"] = rows["asset_pair"].map(
        paths.groupby("asset_pair")["equity"].agg(max_drawdown)
    )
    return rows.sort_values(
        [*CURRENCY, "period_net_pnl"], ascending=[True, True, False], ignore_index=True
    )


def _tables(found: Excerpt, rows: pd.DataFrame) -> list[Table]:
    sums = with_outcomes(pooled(rows, CURRENCY, _SUMS))
    sums["asset_pair"] = [f"All {currency} pairs" for currency in sums["quote_currency"]]
    members = rows.groupby(CURRENCY, observed=True).size().to_numpy()
    return [
        table(
            "In the period",
            rows,
            columns(found.mart, _PERIOD),
            apart=CURRENCY,
            sums=sums[members > 1],
        ),
        table(TO_DATE, rows, columns(found.mart, _TO_DATE), apart=CURRENCY),
    ]


def _tiles(rows: pd.DataFrame) -> list[Tile]:
    tiles = []
    for currency, tag, some in groups(rows):
        trades, wins = some["period_trades"].sum(), some["period_winning_trades"].sum(skipna=False)
        pairs = "1 pair" if len(some) == 1 else f"{len(some)} pairs"
        rate = f", {formats.percent(wins / trades)} won" if trades else ""
        tiles.append(
            Tile(
                f"Net P&L, {currency}",
                formats.money(some["period_net_pnl"].sum()),
                f"{pairs}, {formats.count(trades)} trades{rate}",
                tag,
            )
        )
    return tiles


def _overview(paths: pd.DataFrame) -> Plot:
    curves = {}
    for pair, some in paths.groupby("asset_pair"):
        tag = SIMULATED if some["is_mock"].iloc[0] else ""
        curves[tagged(str(pair), tag)] = some.set_index("date")["return"]
    return Plot(
        "Return since the beginning of the period",
        charts.curves(curves, "Return", ".1%"),
        "Equity over the equity before the period, less one.",
    )


def _panels(paths: pd.DataFrame, regimes: Excerpt) -> list[Plot]:
    shades = dominant_regimes(regimes, REGIME_ORDER)
    panels = []
    for pair, some in paths.groupby("asset_pair"):
        currency, is_mock = some[["quote_currency", "is_mock"]].iloc[-1]
        shade = shades[shades["asset_pair"] == pair].set_index("date")["regime"]
        panels.append(
            Plot(
                str(pair),
                charts.equity(
                    some["date"],
                    some["equity"],
                    some["drawdown"],
                    str(currency),
                    # A day that is not known is not shaded.
                    regimes=shade.reindex(some["date"]),
                ),
                tag=SIMULATED if is_mock else "",
            )
        )
    return panels
