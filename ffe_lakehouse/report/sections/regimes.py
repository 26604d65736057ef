"""What the markets were like, and what was earned in it."""

import pandas as pd

from ffe_lakehouse.report import charts, formats, theme
from ffe_lakehouse.report.blocks import (
    Block,
    Details,
    Note,
    Plot,
    Plots,
    Section,
    columns,
    table,
)
from ffe_lakehouse.report.excerpts import REGIMES, Excerpts
from ffe_lakehouse.report.periods import pooled, ratio, totals
from ffe_lakehouse.report.sections.common import (
    CURRENCY,
    REGIME_ORDER,
    TO_DATE,
    groups,
    nothing,
    unknown_before,
    with_outcomes,
)

_DIRECTIONS = ("up", "flat", "down", "unknown")
_STATE = ["regime", "direction"]

_PERIOD = {
    "regime": ("Regime", formats.text),
    "direction": ("Direction", formats.text),
    "quote_currency": ("Currency", formats.text),
    "period_bars": ("Bars", formats.count),
    "period_time_share": ("Time share", formats.percent),
    "period_trades": ("Trades", formats.count),
    "period_win_rate": ("Win rate", formats.percent),
    "period_net_pnl": ("Net P&L", formats.money),
    "period_expectancy": ("Expectancy", formats.money),
}
_TO_DATE = {
    "asset_pair": ("Pair", formats.text),
    "regime": ("Regime", formats.text),
    "direction": ("Direction", formats.text),
    "bars": ("Bars", formats.count),
    "time_share": ("Time share", formats.percent),
    "mean_bar_return": ("Mean bar return", formats.fine_percent),
    "bar_volatility": ("Bar volatility", formats.fine_percent),
    "trades": ("Trades", formats.count),
    "win_rate": ("Win rate", formats.percent),
    "quote_currency": ("Currency", formats.text),
    "net_pnl": ("Net P&L", formats.money),
    "expectancy": ("Expectancy", formats.money),
}


def regimes(excerpts: Excerpts) -> Section:
    """What was earned in each regime, and how long it lasted: by currency, then pair by pair."""
    found = excerpts.of[REGIMES]
    lead = (
        "A trade is of the regime in which it began. Time is counted in bars; direction is that of"
        " the bar."
    )
    section = ("regimes", "Market regimes", lead)
    if found.rows.empty:
        return Section(*section, [nothing(excerpts, REGIMES)])
    rows = _in_order(totals(found, ["winning_trades"]))
    sums = _in_order(
        pooled(
            rows,
            [*CURRENCY, *_STATE],
            ["period_bars", "period_trades", "period_winning_trades", "period_net_pnl"],
        )
    ).sort_values(CURRENCY, kind="stable", ignore_index=True)
    sums = sums[(sums["period_bars"] > 0) | (sums["period_trades"] > 0)]
    everything = sums.groupby(CURRENCY, observed=True)["period_bars"].transform("sum")
    sums = with_outcomes(sums).assign(period_time_share=ratio(sums["period_bars"], everything))
    timeframe = str(found.rows["timeframe"].iloc[-1])
    blocks: list[Block] = [
        table(
            f"In the period, bars of {timeframe}",
            sums,
            columns(found.mart, _PERIOD),
            apart=CURRENCY,
        ),
        *(Plots(_plots(some, currency, tag)) for currency, tag, some in groups(sums)),
    ]
    if not sums["period_trades"].any():
        blocks.append(Note("No trade was settled in the period: there is time, but no P&L."))
    blocks.extend(unknown_before(excerpts, REGIMES, rows))
    of_pairs = rows.sort_values("asset_pair", kind="stable")
    to_date = table(TO_DATE, of_pairs, columns(found.mart, _TO_DATE), apart=["asset_pair"])
    blocks.append(Details("Pair by pair, to date", [to_date]))
    return Section(*section, blocks)


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """By regime and direction in their usual order, not that of the alphabet."""
    ranks = {
        "regime": {name: rank for rank, name in enumerate(REGIME_ORDER)},
        "direction": {name: rank for rank, name in enumerate(_DIRECTIONS)},
    }
    return rows.sort_values(
        _STATE, key=lambda names: names.map(ranks[str(names.name)]), ignore_index=True
    )


def _plots(some: pd.DataFrame, currency: str, tag: str) -> list[Plot]:
    labels = [
        regime if direction == "unknown" else f"{regime} {direction}"
        for regime, direction in zip(some["regime"], some["direction"], strict=True)
    ]
    colours = [theme.REGIME_COLOURS.get(regime, theme.FAINT) for regime in some["regime"]]
    drawn = []
    if some["period_trades"].any():
        figure = charts.bars(
            labels, some["period_net_pnl"], f"Net P&L, {currency}", ",.2f", colours
        )
        drawn.append(Plot(f"Net P&L by regime, {currency}", figure, tag=tag))
    if some["period_bars"].any():
        figure = charts.bars(labels, some["period_time_share"], "Time share", ".1%", colours)
        drawn.append(Plot(f"Time share by regime, {currency} pairs", figure, tag=tag))
    return drawn
