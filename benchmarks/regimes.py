"""Regimes and warm-up of real series: the tables and the pictures of `docs/indicators.md`.

    python benchmarks/regimes.py [--shared ../shared] [--images docs/images]

Prints the share of each regime by year, and what the place where a series begins still changes
after so many bars. Draws the regimes over four years of price, and over a few weeks of them.
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
import pyarrow as pa
import talib
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import enrich
from ffe_lakehouse.transforms.indicators import Floats, price_indicators
from ffe_lakehouse.transforms.regime import TREND_ADX, VOLATILE_RATIO, VOLATILITY_BARS
from ffe_lakehouse_tests.transforms.series import RECORDED, numbers, recorded, span

CLASSES = ("trend up", "trend down", "volatile", "range")
COLOURS = ("#1b6ca8", "#c8443a", "#eda63a", "#b9c0c7")
CLOSE_UP = {
    "BTCUSD_1h": (datetime(2021, 5, 5), datetime(2021, 6, 2)),  # noqa: DTZ001 - axes have no zone
    "EURUSD_15m": (datetime(2022, 9, 19), datetime(2022, 10, 1)),  # noqa: DTZ001 - the same
}
"""Series to draw, and the weeks that are drawn bar by bar."""

CLOSED = np.timedelta64(12, "h")
"""Longer without a bar is a weekend, and stays white."""

AFTER = (100, 200, 250, 300, 350, 400)
"""Bars after which a late start is compared with the whole series."""


def main() -> None:
    """Draw the pictures, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    series = {name: recorded(options.shared / "data", name) for name in RECORDED}
    rows = {
        name: enrich(bars, TIMEFRAMES[RECORDED[name][1]], *span(bars))
        for name, bars in series.items()
    }
    for name, weeks in CLOSE_UP.items():
        draw(name, rows[name], weeks, options.images / f"regimes-{name.lower()}.png")
    for line in [*shares_by_year(rows), "", *warm_up(series)]:
        sys.stdout.write(f"{line}\n")


def classes(rows: pa.Table) -> np.ndarray:
    """Number of each row's class in ``CLASSES``; -1 where the regime is not known yet."""
    regime = np.array(rows["market_regime"].to_pylist(), dtype=object)
    down = np.nan_to_num(numbers(rows, "trend_direction")) < 0
    named = np.where(regime == "trend", np.where(down, "trend down", "trend up"), regime)
    return np.array([CLASSES.index(name) if name else -1 for name in named])


# --- tables


def shares_by_year(rows: dict[str, pa.Table]) -> Iterator[str]:
    """Of the rows that have a regime, the share of each, as a Markdown table."""
    yield f"| series | year | rows | {' | '.join(CLASSES)} |"
    yield f"|---|---|--:|{'--:|' * len(CLASSES)}"
    for name in CLOSE_UP:
        table = rows[name]
        found = classes(table)
        years = table["timestamp"].to_numpy().astype("datetime64[Y]")
        for year in np.unique(years):
            known = found[(years == year) & (found >= 0)]
            if len(known):
                counts = np.bincount(known, minlength=len(CLASSES)) / len(known)
                cells = " | ".join(f"{share:.1%}" for share in counts)
                yield f"| {name} | {year} | {len(known):,} | {cells} |"


def warm_up(series: dict[str, pa.Table]) -> Iterator[str]:
    """The largest change of any indicator by a late start, so many bars after it, as a table.

    Measured against the price, the range of an oscillator, the ATR for the MACD, the value itself
    for the ATR and the volatility.
    """
    heads = "".join(f" {n} bars |" for n in AFTER)
    yield f"| series | bars | starts |{heads} worst at {AFTER[-1]} |"
    yield f"|---|--:|--:|{'--:|' * len(AFTER)}---|"
    for name, bars in series.items():
        high, low, close = (bars[column].to_numpy() for column in ("high", "low", "close"))
        whole = price_indicators(high, low, close)
        starts = range(1, len(close) - max(AFTER), max(1, len(close) // 3000))
        worst = {n: dict.fromkeys(whole, 0.0) for n in AFTER}
        for start in starts:
            stop = start + max(AFTER) + 1
            part = price_indicators(high[start:stop], low[start:stop], close[start:stop])
            for column, values in part.items():
                for n in AFTER:
                    apart = abs(values[n] - whole[column][start + n])
                    if apart:
                        unit = _unit(column, whole, close)[start + n]
                        worst[n][column] = max(worst[n][column], apart / unit)
        cells = "".join(f" {max(worst[n].values()):.0e} |" for n in AFTER)
        where = max(worst[AFTER[-1]], key=worst[AFTER[-1]].__getitem__)
        yield f"| {name} | {len(close):,} | {len(starts):,} |{cells} `{where}` |"


def _unit(column: str, whole: dict[str, Floats], close: Floats) -> Floats:
    if column.startswith("macd"):
        return whole["atr_14"]
    if column in ("atr_14", "realized_volatility_20"):
        return whole[column]
    if column.startswith(("ema", "sma", "bb")):
        return close
    return np.full(len(close), 1.0 if "returns" in column else 100.0)


# --- pictures


def draw(name: str, rows: pa.Table, weeks: tuple[datetime, datetime], path: Path) -> None:
    """Four years coloured by regime, the shares by week, and a few weeks with what decides."""
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (years, shares, bars, adx, ratio) = plt.subplots(
        5, 1, figsize=(11, 11.5), layout="constrained", height_ratios=[3, 1.3, 3, 1.2, 1.2]
    )
    times = rows["timestamp"].to_numpy().astype("datetime64[m]")
    found, close = classes(rows), numbers(rows, "close")
    relative = numbers(rows, "atr_14") / close
    usual = relative / talib.SMA(relative, VOLATILITY_BARS)

    _coloured_line(years, times, close, found)
    years.set_title(f"{name}: close, coloured by regime", loc="left")
    _shares(shares, times, found)
    shares.set_title("share of the bars of each week", loc="left")

    inside = (times >= np.datetime64(weeks[0])) & (times < np.datetime64(weeks[1]))
    times, found = times[inside], found[inside]
    _bands(bars, times, found)
    _line(bars, times, close[inside])
    bars.set_title(f"{weeks[0]:%d %b} to {weeks[1]:%d %b %Y}, bar by bar", loc="left")
    _line(adx, times, numbers(rows, "adx_14")[inside])
    adx.axhline(TREND_ADX, color=COLOURS[0], linestyle="--", linewidth=0.9)
    adx.set_title(f"ADX(14); above {TREND_ADX:g} is trend", loc="left")
    _line(ratio, times, usual[inside])
    ratio.axhline(VOLATILE_RATIO, color=COLOURS[2], linestyle="--", linewidth=1.2)
    ratio.set_title(
        f"ATR(14) / close over its mean of {VOLATILITY_BARS} bars; above {VOLATILE_RATIO:g}"
        " and without a trend is volatile",
        loc="left",
    )
    for axes in (bars, adx, ratio):
        axes.set_xlim(times[0], times[-1])
        axes.xaxis.set_major_formatter(mdates.DateFormatter("%d %b"))
    handles = [mpl.patches.Patch(color=c, label=n) for n, c in zip(CLASSES, COLOURS, strict=True)]
    years.legend(
        handles=handles, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False
    )
    figure.savefig(path, dpi=100, pil_kwargs={"optimize": True})
    plt.close(figure)


def _coloured_line(axes: Axes, times: np.ndarray, values: Floats, found: np.ndarray) -> None:
    points = np.column_stack([mdates.date2num(times), values])
    for number, colour in [(-1, "black"), *reversed(list(enumerate(COLOURS)))]:
        inside = np.flatnonzero(found[1:] == number)
        segments = np.stack([points[inside], points[inside + 1]], axis=1)
        axes.add_collection(LineCollection(segments, colors=colour, linewidths=1.1))
    axes.autoscale_view()
    axes.set_xlim(times[0], times[-1])
    axes.xaxis_date()


def _line(axes: Axes, times: np.ndarray, values: Floats) -> None:
    shut = np.flatnonzero(np.diff(times) > CLOSED) + 1
    axes.plot(
        np.insert(times, shut, times[shut]),
        np.insert(values, shut, np.nan),
        color="black",
        linewidth=0.8,
    )


def _shares(axes: Axes, times: np.ndarray, found: np.ndarray) -> None:
    weeks, number = np.unique(times.astype("datetime64[W]"), return_inverse=True)
    counts = np.zeros((len(weeks), len(CLASSES)))
    np.add.at(counts, (number[found >= 0], found[found >= 0]), 1)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    axes.stackplot(weeks.astype("datetime64[m]"), share.T, colors=COLOURS, step="post")
    axes.set_xlim(times[0], times[-1])
    axes.set_ylim(0, 1)


def _bands(axes: Axes, times: np.ndarray, found: np.ndarray) -> None:
    shut = np.diff(times) > CLOSED
    begins = np.flatnonzero(np.append(True, (found[1:] != found[:-1]) | shut))
    lasts = np.append(begins[1:] - 1, len(times) - 1)
    ends = times[np.minimum(lasts + 1, len(times) - 1)]
    ends = np.where(ends - times[lasts] > CLOSED, times[lasts], ends)
    for first, end in zip(begins, ends, strict=True):
        axes.axvspan(times[first], end, color=COLOURS[found[first]], alpha=0.55, linewidth=0)


if __name__ == "__main__":
    main()
