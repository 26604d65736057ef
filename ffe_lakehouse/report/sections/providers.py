"""What each AI provider was worth, and how far its confidence can be believed."""

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
from ffe_lakehouse.report.excerpts import PROVIDERS, Excerpt, Excerpts
from ffe_lakehouse.report.intervals import SOURCE, wilson
from ffe_lakehouse.report.periods import pooled, ratio, totals
from ffe_lakehouse.report.sections.common import (
    CURRENCY,
    TO_DATE,
    WITH_INTERVAL,
    groups,
    kinds,
    nothing,
    unknown_before,
)

_BUCKETS = {
    "0_20": "0 to 20 %",
    "20_40": "20 to 40 %",
    "40_60": "40 to 60 %",
    "60_80": "60 to 80 %",
    "80_100": "80 to 100 %",
}
_PERIOD = {
    "provider": ("Provider", formats.text),
    "quote_currency": ("Currency", formats.text),
    "period_decisions": ("Decisions", formats.count),
    "period_executed": ("Executed", formats.count),
    "period_trades": ("Trades", formats.count),
    "period_attributed_net_pnl": ("Attributed net P&L", formats.money),
    "period_calls": ("Calls", formats.count),
    "period_hits": ("Hits", formats.count),
    "period_hit_rate": ("Hit rate", formats.percent),
    "period_hit_rate_range": ("95 % interval", formats.share_range),
    "period_mean_confidence": ("Mean confidence", formats.percent),
    "period_brier_score": ("Brier score", formats.fine),
}
_CALIBRATION = {
    "provider": ("Provider", formats.text),
    "bucket": ("Confidence", formats.text),
    "period_calls": ("Calls", formats.count),
    "period_hits": ("Hits", formats.count),
    "period_hit_rate": ("Hit rate", formats.percent),
    "period_hit_rate_range": ("95 % interval", formats.share_range),
    "period_mean_confidence": ("Mean confidence", formats.percent),
}
_TO_DATE = {
    "asset_pair": ("Pair", formats.text),
    "provider": ("Provider", formats.text),
    "decisions": ("Decisions", formats.count),
    "executed": ("Executed", formats.count),
    "mean_confidence": ("Mean confidence", formats.confidence),
    "trades": ("Trades", formats.count),
    "quote_currency": ("Currency", formats.text),
    "attributed_net_pnl": ("Attributed net P&L", formats.money),
    "calls": ("Calls", formats.count),
    "hits": ("Hits", formats.count),
    "hit_rate": ("Hit rate", formats.percent),
    "brier_score": ("Brier score", formats.fine),
}
_CONFIDENCE = [f"mean_confidence_{bucket}" for bucket in _BUCKETS]
_COUNTS = [
    *("executed", "trades", "calls", "hits", "rated_calls", "brier_score_sum"),
    *(f"{name}_{bucket}" for name in ("calls", "hits") for bucket in _BUCKETS),
    *(f"{name}_sum" for name in _CONFIDENCE),
]
_SUMS = [
    "period_decisions",
    "period_attributed_net_pnl",
    *(f"period_{name}" for name in _COUNTS),
]


def providers(excerpts: Excerpts) -> Section:
    """P&L, hit rate and calibration of each provider, then pair by pair."""
    found = excerpts.of[PROVIDERS]
    lead = (
        "The P&L of a trade is shared out among those who took part in its decision, by their"
        " weights. A call is a BUY or SELL on a trade that has settled, a hit one that the price"
        " followed."
    )
    section = ("providers", "Provider attribution", lead)
    if found.rows.empty:
        return Section(*section, [nothing(excerpts, PROVIDERS)])
    rows = totals(_summable(found), _COUNTS)
    by_currency = _rated(pooled(rows, [*CURRENCY, "provider"], _SUMS)).sort_values(
        [*CURRENCY, "period_attributed_net_pnl"], ascending=[True, True, False], ignore_index=True
    )
    of_all = _rated(pooled(rows, ["is_mock", "provider"], _SUMS))
    blocks: list[Block] = [
        table("In the period", by_currency, columns(found.mart, _PERIOD), apart=CURRENCY)
    ]
    blocks.append(Plots([*_curves(found), *_hit_rates(of_all)]))
    blocks.extend(_calibration(found, of_all))
    blocks.extend(unknown_before(excerpts, PROVIDERS, rows))
    to_date = table(TO_DATE, rows, columns(found.mart, _TO_DATE), apart=["asset_pair"])
    blocks.append(Details("Pair by pair, to date", [to_date]))
    return Section(*section, blocks)


def _summable(found: Excerpt) -> Excerpt:
    """With the sums that the means are made of."""
    calls = [f"calls_{bucket}" for bucket in _BUCKETS]
    # Only calls with a known confidence are in a bucket, and have a Brier score.
    rated = found.with_columns(rated_calls=lambda rows: rows[calls].sum(axis=1))
    return rated.with_sums([("brier_score", "rated_calls"), *zip(_CONFIDENCE, calls, strict=True)])


def _rated(rows: pd.DataFrame) -> pd.DataFrame:
    rated = rows["period_rated_calls"]
    confidence = rows[[f"period_{name}_sum" for name in _CONFIDENCE]].sum(axis=1, skipna=False)
    return _with_hit_rate(rows).assign(
        period_mean_confidence=ratio(confidence, rated) / 100,
        period_brier_score=ratio(rows["period_brier_score_sum"], rated),
    )


def _with_hit_rate(rows: pd.DataFrame) -> pd.DataFrame:
    low, high = wilson(rows["period_hits"], rows["period_calls"])
    return rows.assign(
        period_hit_rate=ratio(rows["period_hits"], rows["period_calls"]),
        period_hit_rate_range=pd.Series(zip(low, high, strict=True), index=rows.index),
    )


def _curves(found: Excerpt) -> list[Plot]:
    """The P&L of each provider as it grew, one plot a currency."""
    plots = []
    styles = theme.lines(sorted(found.rows["provider"].unique()))
    for currency, tag, some in groups(found.rows):
        days = some.pivot_table(
            index="date", columns="provider", values="day_attributed_net_pnl", aggfunc="sum"
        )
        if not days.to_numpy(na_value=0).any():
            continue
        grown = {str(name): values.fillna(0).cumsum() for name, values in days.items()}
        figure = charts.curves(grown, f"Net P&L, {currency}", ",.2f", styles=styles)
        plots.append(Plot(f"Attributed net P&L, {currency}", figure, tag=tag))
    return plots


def _hit_rates(of_all: pd.DataFrame) -> list[Plot]:
    plots = []
    for tag, some in kinds(of_all[of_all["period_calls"] > 0]):
        ranked = some.sort_values("period_hit_rate", ascending=False)
        figure = charts.rates(
            ranked["provider"].tolist(), ranked["period_hits"], ranked["period_calls"], "Hit rate"
        )
        plots.append(Plot("Hit rate", figure, WITH_INTERVAL, tag))
    return plots


def _calibration(found: Excerpt, of_all: pd.DataFrame) -> list[Block]:
    buckets = _by_bucket(of_all)
    called = buckets[buckets["period_calls"] > 0]
    if called.empty:
        return [Note("No call with a known confidence has settled in the period: no calibration.")]
    plots = []
    for tag, some in kinds(called):
        for provider, dots in some.groupby("provider"):
            figure = charts.calibration(
                dots["period_mean_confidence"], dots["period_hits"], dots["period_calls"]
            )
            plots.append(Plot(str(provider), figure, tag=tag))
    return [
        Plots(
            plots,
            "Calibration",
            "What came true against how sure the provider was. On the dotted line both agree; below"
            f" it the provider is too sure. Numbers count calls. {SOURCE}.",
            columns=3,
        ),
        Details(
            "Calibration by bucket",
            [table("", called, columns(found.mart, _CALIBRATION), apart=["is_mock", "provider"])],
        ),
    ]


def _by_bucket(of_all: pd.DataFrame) -> pd.DataFrame:
    """One row for each provider and bucket, by provider."""
    parts = [
        of_all[["is_mock", "provider"]].assign(
            bucket=label,
            period_calls=of_all[f"period_calls_{bucket}"],
            period_hits=of_all[f"period_hits_{bucket}"],
            period_mean_confidence=ratio(
                of_all[f"period_mean_confidence_{bucket}_sum"], of_all[f"period_calls_{bucket}"]
            )
            / 100,
        )
        for bucket, label in _BUCKETS.items()
    ]
    buckets = pd.concat(parts).sort_values(["is_mock", "provider"], kind="stable")
    return _with_hit_rate(buckets.reset_index(drop=True))
