"""What each way of deciding was worth: one provider alone, a vote, a fallback, a debate."""

from ffe_lakehouse.report import charts, formats, theme
from ffe_lakehouse.report.blocks import Block, Details, Note, Plot, Plots, Section, columns, table
from ffe_lakehouse.report.excerpts import ENSEMBLES, Excerpts
from ffe_lakehouse.report.periods import pooled, totals
from ffe_lakehouse.report.sections.common import (
    CURRENCY,
    TO_DATE,
    WITH_INTERVAL,
    groups,
    kinds,
    nothing,
    unknown_before,
    with_outcomes,
)

_PERIOD = {
    "decision_mode": ("Mode", formats.text),
    "quote_currency": ("Currency", formats.text),
    "period_decisions": ("Decisions", formats.count),
    "period_executed": ("Executed", formats.count),
    "period_trades": ("Trades", formats.count),
    "period_win_rate": ("Win rate", formats.percent),
    "period_net_pnl": ("Net P&L", formats.money),
    "period_expectancy": ("Expectancy", formats.money),
}
_TO_DATE = {
    "asset_pair": ("Pair", formats.text),
    "decision_mode": ("Mode", formats.text),
    "decisions": ("Decisions", formats.count),
    "executed": ("Executed", formats.count),
    "trades": ("Trades", formats.count),
    "win_rate": ("Win rate", formats.percent),
    "quote_currency": ("Currency", formats.text),
    "net_pnl": ("Net P&L", formats.money),
    "expectancy": ("Expectancy", formats.money),
    "mean_confidence": ("Mean confidence", formats.confidence),
    "mean_agreement": ("Mean agreement", formats.percent),
    "mean_failure_rate": ("Mean failure rate", formats.percent),
    "mean_confidence_adjustment": ("Mean adjustment", formats.number),
}
_SUMS = [
    "period_decisions",
    "period_executed",
    "period_trades",
    "period_winning_trades",
    "period_net_pnl",
]


def ensembles(excerpts: Excerpts) -> Section:
    """P&L and win rate of each mode, then pair by pair."""
    found = excerpts.of[ENSEMBLES]
    lead = "A trade is of the mode in which its decision was made; `unknown`: not in the lake."
    section = ("ensembles", "Ways of deciding", lead)
    if found.rows.empty:
        return Section(*section, [nothing(excerpts, ENSEMBLES)])
    rows = totals(found, ["executed", "winning_trades"])
    by_currency = with_outcomes(pooled(rows, [*CURRENCY, "decision_mode"], _SUMS))
    of_all = pooled(rows, ["is_mock", "decision_mode"], _SUMS)
    traded = of_all[of_all["period_trades"] > 0]
    blocks: list[Block] = [
        table("In the period", by_currency, columns(found.mart, _PERIOD), apart=CURRENCY)
    ]
    plots = [
        Plot(
            f"Net P&L by mode, {currency}",
            charts.bars(
                some["decision_mode"].tolist(),
                some["period_net_pnl"],
                f"Net P&L, {currency}",
                ",.2f",
                [theme.BLUE] * len(some),
            ),
            tag=tag,
        )
        for currency, tag, some in groups(by_currency[by_currency["period_trades"] > 0])
    ]
    plots += [
        Plot(
            "Win rate by mode",
            charts.rates(
                some["decision_mode"].tolist(),
                some["period_winning_trades"],
                some["period_trades"],
                "Win rate",
            ),
            WITH_INTERVAL,
            tag,
        )
        for tag, some in kinds(traded)
    ]
    blocks.append(Plots(plots) if plots else Note("No trade was settled in the period."))
    blocks.extend(unknown_before(excerpts, ENSEMBLES, rows))
    to_date = table(TO_DATE, rows, columns(found.mart, _TO_DATE), apart=["asset_pair"])
    blocks.append(Details("Pair by pair, to date", [to_date]))
    return Section(*section, blocks)
