"""Trading performance a second time, to compare with: plain Python, returns and risk by empyrical.

It computes every day anew from all trades up to it, and shares no line with the models.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

import empyrical
import exchange_calendars
import numpy as np

Row = Mapping[str, Any]
CALENDARS: dict[str, tuple[float, Callable[[date], bool]]] = {
    "crypto": (365.0, lambda day: day.weekday() < 7),
    "forex": (260.0, lambda day: day.weekday() < 5),
    "equity": (252.0, lambda day: day in sessions()),
}
"""Return days of a year, and whether a day is one, by asset class."""


@dataclass(frozen=True)
class Oracle:
    """What the settings say.

    Attributes:
        asset_class: Of the pair.
        capital: Of the pair before its first trade.
        basis: ``equity`` or ``capital``.
        risk_free_rate: Of a year.
    """

    asset_class: str
    capital: float = 10_000.0
    basis: str = "equity"
    risk_free_rate: float = 0.0

    def rows(self, trades: Sequence[Row], first: date, last: date) -> Iterator[dict[str, Any]]:
        """The columns of the mart but for those that say what the row is of.

        Args:
            trades: Rows of ``silver/trade_lifecycle``, all simulated or all real.
            first: First day of the pair.
            last: Last day, included.
        """
        returns: list[float] = []
        growth: list[float] = []
        curve = [(first - timedelta(days=1), self.capital)]
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            known = [each for each in trades if each["partition_date"] <= day]
            today = [each for each in settled(known) if each["partition_date"] == day]
            totals = outcomes(known)
            equity = self.capital + totals["net_pnl"]
            is_return_day = bool(totals["trades"]) and (
                CALENDARS[self.asset_class][1](day) or bool(today)
            )
            made = None
            if is_return_day:
                before = curve[-1][1]
                made = self._return(equity, before)
                growth.append(equity / before - 1 if before else math.nan)
            if made is not None:
                returns.append(made)
            curve.append((day, equity))
            yield {
                "date": day,
                **{f"day_{name}": outcomes(today)[name] for name in _OF_A_DAY},
                **totals,
                "equity": equity,
                "is_return_day": is_return_day,
                "daily_return": made,
                **self._ratios(np.array(returns)),
                **self._risk(np.array(growth), curve, len(returns)),
            }

    def _return(self, equity: float, before: float) -> float | None:
        if self.basis == "capital":
            return (equity - before) / self.capital
        return equity / before - 1 if before > 0 else None

    def _ratios(self, returns: np.ndarray) -> dict[str, Any]:
        periods = CALENDARS[self.asset_class][0]
        free = (1 + self.risk_free_rate) ** (1 / periods) - 1
        sharpe = empyrical.sharpe_ratio(returns, risk_free=free, annualization=periods)
        sortino = empyrical.sortino_ratio(returns, required_return=free, annualization=periods)
        return {
            "return_days": len(returns),
            "sharpe_ratio": number(sharpe),
            "sortino_ratio": number(sortino),
        }

    def _risk(
        self, growth: np.ndarray, curve: Sequence[tuple[date, float]], count: int
    ) -> dict[str, Any]:
        """Of the equity curve; by empyrical as long as there has always been equity."""
        periods, equity = CALENDARS[self.asset_class][0], curve[-1][1]
        downs = drawdowns(curve)
        low = min(downs)
        if min(each for _, each in curve) > 0 and len(growth):
            annual = empyrical.annual_return(growth, annualization=periods)
            low = empyrical.max_drawdown(growth)
            calmar = empyrical.calmar_ratio(growth, annualization=periods)
        else:
            has_one = equity > 0 and count
            annual = (equity / self.capital) ** (periods / count) - 1 if has_one else math.nan
            calmar = annual / abs(low) if low else math.nan
        return {
            "annual_return": number(annual),
            "drawdown": downs[-1],
            "max_drawdown": low,
            "max_drawdown_days": days_of_the_deepest(curve),
            "calmar_ratio": number(calmar),
        }


_OF_A_DAY = ("trades", "gross_pnl", "net_pnl", "fees")


@cache
def sessions() -> set[date]:
    """Days on which New York trades."""
    calendar = exchange_calendars.get_calendar("XNYS", start="2015-01-01")
    return {session.date() for session in calendar.sessions}


def number(value: float) -> float | None:
    """What is no number, or infinite, is nothing."""
    return float(value) if math.isfinite(value) else None


def settled(trades: Iterable[Row]) -> list[Row]:
    """Closed, and their P&L is known."""
    return [each for each in trades if each["status"] == "closed" and each["net_pnl"] is not None]


def outcomes(trades: Sequence[Row]) -> dict[str, Any]:
    """What trades came to, whenever that was."""
    ended = settled(trades)
    wins = [each["net_pnl"] for each in ended if each["net_pnl"] > 0]
    losses = [each["net_pnl"] for each in ended if each["net_pnl"] < 0]
    held = [each["holding_seconds"] for each in ended if each["holding_seconds"] is not None]
    net = math.fsum(each["net_pnl"] for each in ended)
    still_open = sum(each["status"] == "open" for each in trades)
    return {
        "trades": len(ended),
        "winning_trades": len(wins),
        "losing_trades": len(losses),
        "open_trades": still_open,
        "unpriced_trades": len(trades) - len(ended) - still_open,
        "win_rate": len(wins) / len(ended) if ended else None,
        "profit_factor": math.fsum(wins) / -math.fsum(losses) if losses else None,
        "expectancy": net / len(ended) if ended else None,
        "gross_pnl": math.fsum(each["gross_pnl"] for each in ended),
        "net_pnl": net,
        "fees": math.fsum(each["fees"] or 0.0 for each in ended),
        "average_win": math.fsum(wins) / len(wins) if wins else None,
        "average_loss": math.fsum(losses) / len(losses) if losses else None,
        "average_holding_hours": math.fsum(held) / len(held) / 3600 if held else None,
    }


def drawdowns(curve: Sequence[tuple[date, float]]) -> list[float]:
    """How far each day's equity is below the highest so far."""
    values = np.array([equity for _, equity in curve])
    peaks = np.maximum.accumulate(values)
    found: list[float] = ((values - peaks) / peaks).tolist()
    return found


def days_of_the_deepest(curve: Sequence[tuple[date, float]]) -> int:
    """From the last day at the peak to the last day below it."""
    downs = drawdowns(curve)
    low = downs.index(min(downs))
    start = max(place for place in range(low + 1) if downs[place] == 0)
    after = (place for place in range(low, len(downs)) if downs[place] == 0)
    return (curve[next(after, len(downs)) - 1][0] - curve[start][0]).days if low else 0


def differences(rows: Sequence[Row], expected: Iterable[Row]) -> list[str]:
    """Where two tables differ by more than a billionth of the value, and 1e-12."""
    found = []
    for row, right in zip(rows, expected, strict=True):
        for name, value in right.items():
            if not _same(row[name], value):
                found.append(f"{row['date']} {name}: {row[name]!r}, not {value!r}")
    return found


def _same(value: Any, expected: Any) -> bool:
    if isinstance(expected, float) and value is not None:
        return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(value == expected)
