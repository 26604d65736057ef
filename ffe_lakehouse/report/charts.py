"""The plots: each from columns to a plotly figure. What is in the columns is not decided here.

A name that comes from data is escaped, since plotly takes a little HTML for markup. Colours are
those of a light page; the page's script changes them on a dark one.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from ffe_lakehouse.report import theme
from ffe_lakehouse.report.intervals import wilson

_WIDE, _PANEL = 380, 320
"""Heights in pixels."""
_QUARTERS = {"tickformat": ".0%", "dtick": 0.25, "tick0": 0}
_ROW = 34
"""Of a bar."""


def curves(
    values: Mapping[str, pd.Series],
    title: str,
    hover: str,
    *,
    styles: Mapping[str, Mapping[str, object]] | None = None,
) -> go.Figure:
    """One line for each name, over days.

    Args:
        values: By name, indexed by day.
        title: Of the vertical axis.
        hover: How a value is shown, in d3's language; shares are percentages on the axis, too.
        styles: Line by name, where several plots have the same names.
    """
    figure = _figure(_WIDE)
    styles = styles or theme.lines(values)
    for name, series in values.items():
        figure.add_scatter(
            x=_days(series.index),
            y=series.to_numpy(dtype=float),
            name=escape(name),
            line=dict(styles[name]),
            hovertemplate=f"%{{y:{hover}}}",
        )
    figure.update_yaxes(title_text=escape(title), tickformat=_ticks(hover))
    return figure


def equity(
    days: pd.Series,
    values: pd.Series,
    drawdowns: pd.Series,
    currency: str,
    *,
    regimes: pd.Series | None = None,
    carried: pd.Series | None = None,
) -> go.Figure:
    """Equity above drawdown, over the same days; what the shades mean, the page has to say.

    Args:
        days: One for each value.
        values: Equity, in ``currency``.
        drawdowns: 0 or below.
        currency: Of the equity.
        regimes: By day, shaded behind the equity.
        carried: Which days are not of their own snapshot: marked.
    """
    figure = _figure(_WIDE if carried is not None else _PANEL)
    x = _days(days)
    if regimes is not None:
        _shade(figure, regimes)
    figure.add_scatter(
        x=x,
        y=values.to_numpy(dtype=float),
        name="Equity",
        line={"color": theme.BLUE, "width": 2},
        hovertemplate="%{y:,.2f}",
        yaxis="y2",
    )
    if carried is not None and carried.any():
        figure.add_scatter(
            x=x,
            y=values.where(carried).to_numpy(dtype=float),
            name="Positions carried forward",
            mode="markers",
            marker={"symbol": "circle-open", "size": 5, "color": theme.GREY},
            hoverinfo="skip",
            yaxis="y2",
        )
    figure.add_scatter(
        x=x,
        y=drawdowns.to_numpy(dtype=float),
        name="Drawdown",
        line={"color": theme.ORANGE, "width": 1.5},
        fill="tozeroy",
        fillcolor=theme.FALL,
        hovertemplate="%{y:.1%}",
        yaxis="y3",
    )
    upper, lower = [0.36, 1], [0, 0.28]
    figure.update_layout(
        xaxis={"anchor": "y3", "type": "date"},
        # The shading has an axis of its own, below that of the equity.
        yaxis={"domain": upper, "range": [0, 1], "visible": False, "fixedrange": True},
        yaxis2={
            "domain": upper,
            "overlaying": "y",
            # Not where the axis below has its ticks.
            "tickmode": "auto",
            "nticks": 6,
            "title": {"text": f"Equity, {escape(currency)}"},
        },
        yaxis3={
            "domain": lower,
            "title": {"text": "Drawdown"},
            "tickformat": _ticks("%"),
            "nticks": 4,
            "rangemode": "tozero",
        },
    )
    return figure


def _shade(figure: go.Figure, regimes: pd.Series) -> None:
    """A column of the whole height on each day, one trace a regime."""
    x = _days(regimes.index)
    for regime, colour in theme.REGIME_SHADES.items():
        if (regimes == regime).any():
            figure.add_scatter(
                x=x,
                y=(regimes == regime).to_numpy(dtype="int8"),
                name=regime.capitalize(),
                # From noon to noon, so that the day's own value is in the middle.
                line={"shape": "hvh", "width": 0},
                fill="tozeroy",
                fillcolor=colour,
                hoverinfo="skip",
            )


def exposure(exposures: pd.DataFrame, gross: pd.Series, currency: str) -> go.Figure:
    """What was held of each pair at the end of each day: long above zero, short below.

    Args:
        exposures: A column for each pair, indexed by day; at most six, the last for all others.
        gross: The sum without signs, likewise.
        currency: Of both.
    """
    figure = _figure(_WIDE)
    x = _days(exposures.index)
    for (pair, values), colour in zip(
        exposures.items(), (*theme.PARTS, theme.OTHERS), strict=False
    ):
        figure.add_bar(
            x=x,
            y=values.to_numpy(dtype=float),
            name=escape(str(pair)),
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate="%{y:,.0f}",
        )
    figure.add_scatter(
        x=x,
        y=gross.to_numpy(dtype=float),
        name="Gross",
        line={"color": theme.INK, "width": 1, "shape": "hvh"},
        hovertemplate="%{y:,.0f}",
    )
    figure.update_layout(barmode="relative", bargap=0.1)
    figure.update_yaxes(title_text=f"Net exposure, {escape(currency)}")
    return figure


def bars(
    labels: Sequence[str], values: pd.Series, title: str, hover: str, colours: Sequence[str]
) -> go.Figure:
    """A bar for each label, the first at the top.

    Args:
        labels: From data or not.
        values: One each.
        title: Of the axis of the values.
        hover: How a value is shown, in d3's language.
        colours: One each.
    """
    figure = _figure(_rows(labels))
    figure.add_bar(
        x=values.to_numpy(dtype=float),
        y=[escape(label) for label in labels],
        orientation="h",
        marker={"color": list(colours)},
        hovertemplate=f"%{{y}}: %{{x:{hover}}}<extra></extra>",
    )
    return _flat(figure, title, _ticks(hover))


def rates(labels: Sequence[str], successes: pd.Series, trials: pd.Series, title: str) -> go.Figure:
    """A dot with its Wilson interval for each label: a share that was counted."""
    figure = _figure(_rows(labels))
    share, low, high = _shares(successes, trials)
    figure.add_scatter(
        x=share,
        y=[escape(label) for label in labels],
        mode="markers",
        marker={"color": theme.BLUE, "size": 9},
        error_x=_whiskers(share, low, high),
        customdata=np.column_stack([low, high, trials.to_numpy(dtype=float)]),
        hovertemplate=(
            "%{y}: %{x:.1%} of %{customdata[2]:,.0f}"
            "<br>95 %: %{customdata[0]:.1%} to %{customdata[1]:.1%}<extra></extra>"
        ),
    )
    _flat(figure, title, _ticks("%"))
    figure.update_xaxes(range=[-0.02, 1.02])
    return figure


def calibration(confidence: pd.Series, hits: pd.Series, calls: pd.Series) -> go.Figure:
    """What came true against how sure it was, one dot a bucket; on the diagonal they agree.

    Args:
        confidence: Mean of the bucket, 0 to 1; NaN without calls.
        hits: Of its calls those that came true.
        calls: How many there were.
    """
    figure = _figure(300)
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": theme.FAINT, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
    share, low, high = _shares(hits, calls)
    figure.add_scatter(
        x=confidence.to_numpy(dtype=float),
        y=share,
        mode="markers+text",
        text=[f"{each:,.0f}" for each in calls],
        textposition="middle right",
        textfont={"size": 11, "color": theme.FAINT},
        marker={"color": theme.BLUE, "size": 9},
        error_y=_whiskers(share, low, high),
        customdata=np.column_stack([low, high]),
        hovertemplate=(
            "confidence %{x:.1%}, came true %{y:.1%} of %{text}"
            "<br>95 %: %{customdata[0]:.1%} to %{customdata[1]:.1%}<extra></extra>"
        ),
    )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title_text="Mean confidence", range=[-0.04, 1.08])
    figure.update_yaxes(title_text="Hit rate", range=[-0.04, 1.04])
    figure.for_each_xaxis(lambda axis: axis.update(_QUARTERS))
    figure.for_each_yaxis(lambda axis: axis.update(_QUARTERS))
    return figure


def _shares(successes: pd.Series, trials: pd.Series) -> tuple[NDArray[np.float64], ...]:
    share = (successes / trials.where(trials > 0)).to_numpy(dtype=float)
    return share, *wilson(successes, trials)


def _whiskers(
    share: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> dict[str, Any]:
    return {
        "array": high - share,
        "arrayminus": share - low,
        "color": theme.BLUE,
        "thickness": 1.2,
        "width": 4,
    }


def _flat(figure: go.Figure, title: str, tickformat: str) -> go.Figure:
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title_text=escape(title), tickformat=tickformat)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticklabelstandoff=6)
    return figure


def _ticks(hover: str) -> str:
    """How the values of an axis are shown: percentages without zeros, numbers as they come."""
    return ".2~%" if hover.endswith("%") else ""


def _rows(labels: Sequence[str]) -> int:
    return 70 + _ROW * max(len(labels), 2)


def _figure(height: int) -> go.Figure:
    # Without one, plotly would put its own template of 7 kB into each figure.
    return go.Figure(layout={"template": "none", "height": height})


def _days(days: Any) -> list[str]:
    texts: list[str] = pd.DatetimeIndex(days).strftime("%Y-%m-%d").tolist()
    return texts
