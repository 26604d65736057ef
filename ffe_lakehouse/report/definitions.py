"""What each figure of the page means: a mart's column as dbt's YAML says, the period's as here."""

from dataclasses import dataclass

from ffe_lakehouse.report.excerpts import REPORTED
from ffe_lakehouse.report.intervals import SOURCE
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse.schemas.table import DERIVED

_DAYS_SUM = "Sum over the days of the period of `{}`."
_SHARE = "`{}` at the end of the period less that at the end of the day before it."

PERIOD_FIGURES = {
    "period_trades": "Trades that were settled in the period: closed, with known P&L.",
    "period_winning_trades": _SHARE.format("winning_trades"),
    "period_win_rate": "Winning trades / trades of the period; — without trades.",
    "period_gross_pnl": _DAYS_SUM.format("day_gross_pnl"),
    "period_net_pnl": _DAYS_SUM.format("day_net_pnl") + " Never added up over currencies.",
    "period_fees": _DAYS_SUM.format("day_fees"),
    "period_expectancy": "Net P&L / trades of the period; — without trades.",
    "period_return": (
        "Net P&L of the period / equity at the end of the day before it; — if that was not above 0."
    ),
    "period_max_drawdown": (
        "The deepest fall of the equity, at the end of a day, from the highest before it within the"
        " period. The equity before the period counts as its first."
    ),
    "period_decisions": _DAYS_SUM.format("day_decisions"),
    "period_executed": _SHARE.format("executed"),
    "period_calls": _SHARE.format("calls"),
    "period_hits": _SHARE.format("hits"),
    "period_hit_rate": "Hits / calls of the period; — without calls.",
    "period_hit_rate_range": f"Where the true hit rate lies in 95 of 100 cases. {SOURCE}.",
    "period_brier_score": (
        "Mean of (confidence / 100 - hit)² over the calls of the period with a known confidence: 0"
        " is best, and 50 % confidence in everything scores 0.25. — without such calls."
    ),
    "period_mean_confidence": "Mean confidence of the calls of the period; — without such calls.",
    "period_attributed_net_pnl": (
        _DAYS_SUM.format("day_attributed_net_pnl") + " Never added up over currencies."
    ),
    "period_bars": _DAYS_SUM.format("day_bars"),
    "period_time_share": "Bars / all bars of the same pairs in the period; — without bars.",
    "bucket": "Calls whose confidence lies in it, the upper end left out (100 % included).",
}
"""By name of the column that holds them; of what happened within the period only."""


@dataclass(frozen=True)
class Definition:
    """A figure and what it means."""

    anchor: str
    name: str
    meaning: str


@dataclass(frozen=True)
class Glossary:
    """The figures of a mart, or of the period."""

    title: str
    meaning: str
    definitions: list[Definition]


def anchor(scope: str, name: str) -> str:
    """Where a definition stands on the page."""
    return f"{scope}.{name}"


def glossaries() -> list[Glossary]:
    """All definitions: of the period first, then mart by mart."""
    of_period = [
        Definition(anchor("period", name), name.removeprefix("period_"), meaning)
        for name, meaning in PERIOD_FIGURES.items()
    ]
    found = [
        Glossary(
            "Figures of the period",
            "What happened within the period alone, made of the marts' days and counts.",
            of_period,
        )
    ]
    for name in REPORTED:
        mart = marts()[name]
        columns = [
            Definition(anchor(name, column.name), column.name, column.description)
            for column in mart.columns
            if column not in DERIVED
        ]
        found.append(Glossary(mart.name, mart.description, columns))
    return found
