"""How the simulated engine writes down what it does: records in the format of the real engine.

Numbers of trades are texts, exact to the last digit, as the real engine's are. A pair is spelt as a
platform would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from ffe_lakehouse.providers.simulated_ensemble import Verdict, amount
from ffe_lakehouse.providers.simulated_market import EPOCH
from ffe_lakehouse.settings import AssetClass
from ffe_lakehouse.symbols import Symbol

Record = dict[str, Any]

_FEES: dict[AssetClass, Decimal] = {
    "crypto": Decimal("0.0005"),
    "forex": Decimal("0.00005"),
    "equity": Decimal("0.0002"),
}
"""Share of the price that each side of a trade costs."""
_STOP = 5.0
"""Standard deviations to the stop and the target: so far away that no price gets there."""
_BALANCE = 10_000.0

MICROSECONDS = 60_000_000
"""Of a minute."""
SHORTEST = 10
"""Minutes that a trade lasts at least."""


class Fate(Enum):
    """What becomes of a decision."""

    SIGNAL = auto()
    """It was not meant to be traded."""
    PASSED_BY = auto()
    """Nobody traded it."""
    REFUSED = auto()
    """The platform did not take it."""
    TRADED = auto()


@dataclass(frozen=True)
class Call:
    """A decision and what becomes of it.

    Attributes:
        name: Tells it from any other.
        decided: When, in microseconds since 1970 (UTC).
        executed: When it is traded, if it is: in the same minute.
        exited: When its horizon ends.
        price: At the decision, and at the entry.
        exit_price: At the end of the horizon.
        change: Of the price since its day began, in percent.
        deviation: Standard deviation of the log price over the horizon.
        regime: Of its day so far.
        verdict: What was decided.
        lot: What becomes of it, if it can be traded.
    """

    name: str
    decided: int
    executed: int
    exited: int
    price: float
    exit_price: float
    change: float
    deviation: float
    regime: str
    verdict: Verdict
    lot: Fate

    @property
    def minute(self) -> int:
        """In which it falls, since 1970."""
        return self.decided // MICROSECONDS

    @property
    def exit_minute(self) -> int:
        """In which its horizon ends."""
        return self.exited // MICROSECONDS

    @property
    def fate(self) -> Fate:
        """What becomes of it: nobody begins a trade when the market is about to close."""
        can_be_traded = self.side is not None and self.exit_minute - self.minute >= SHORTEST
        return self.lot if can_be_traded else Fate.PASSED_BY

    @property
    def amount(self) -> float:
        """What it puts at stake, in the quote currency."""
        return amount(self.verdict.action, self.verdict.confidence)

    @property
    def size(self) -> Decimal:
        """The same in base units, to four digits."""
        return Decimal(f"{self.amount / self.price:.4g}")

    @property
    def side(self) -> str | None:
        """``LONG`` or ``SHORT``; ``None`` for a HOLD."""
        return {"BUY": "LONG", "SELL": "SHORT"}.get(self.verdict.action)

    def id(self, of: str) -> str:
        """A name that is unique in the world, of the decision or of its trade."""
        return str(uuid5(NAMESPACE_OID, f"{self.name}/{of}"))


def decision(symbol: Symbol, call: Call) -> Record:
    """A decision."""
    verdict, holds = call.verdict, call.side is None
    trend = "bullish" if call.change > 0 else "bearish" if call.change < 0 else "neutral"
    distance = _STOP * call.deviation * (-1 if call.side == "SHORT" else 1)
    return {
        "id": call.id("decision"),
        "asset_pair": symbol.name,
        "timestamp": _text(call.decided),
        "action": verdict.action,
        "confidence": verdict.confidence,
        "reasoning": f"{call.change:+.2f} % on the day; {verdict.summary}.",
        "suggested_amount": call.amount,
        "recommended_position_size": None if holds else float(call.size),
        "position_type": call.side,
        "entry_price": call.price,
        "stop_loss_price": None if holds else call.price * (1 - distance),
        "stop_loss_fraction": None if holds else abs(distance),
        "take_profit_percentage": None if holds else 100 * abs(distance),
        "signal_only": call.fate is Fate.SIGNAL,
        "executed": call.fate is Fate.TRADED,
        "execution_time": _text(call.executed) if call.fate is Fate.TRADED else None,
        "execution_result": _RESULTS.get(call.fate),
        "ai_provider": verdict.ai_provider,
        "model_name": "simulated",
        "market_regime": call.regime,
        "market_data": {
            "asset_pair": symbol.name,
            "type": symbol.asset_class,
            "close": call.price,
            "price_change": round(call.change, 4),
            "trend": trend,
            "is_bullish": trend == "bullish",
            "sentiment": {"available": False, "overall_sentiment": "neutral"},
            "mock": True,
        },
        "balance_snapshot": {f"SIMULATED_{symbol.quote}": _BALANCE},
        "ensemble_metadata": verdict.ensemble_metadata,
        "debate_metadata": verdict.debate_metadata,
    }


_RESULTS = {
    Fate.TRADED: {"success": True, "message": "filled"},
    Fate.REFUSED: {"success": False, "message": "insufficient margin"},
}


def trade(symbol: Symbol, call: Call, *, closed: bool) -> Record:
    """The trade of a decision: as it begins, or with its outcome, net of fees."""
    size, entry = call.size, _exact(call.price)
    record: Record = {
        "trade_id": call.id("trade"),
        "decision_id": call.id("decision"),
        "product": _product(symbol),
        "side": call.side,
        "entry_time": _text(call.executed),
        "entry_price": str(entry),
        "entry_size": f"{size:f}",
    }
    if not closed:
        return record
    exit_price = _exact(call.exit_price)
    fees = _FEES[symbol.asset_class] * (entry + exit_price) * size
    pnl = _sign(call) * (exit_price - entry) * size - fees
    return record | {
        "exit_time": _text(call.exited),
        "exit_price": str(exit_price),
        "exit_price_source": "simulated:last_close",
        "exit_size": f"{size:f}",
        "realized_pnl": f"{pnl:f}",
        "fees": f"{fees:f}",
        "holding_duration_seconds": (call.exited - call.executed) // 1_000_000,
        "roi_percent": f"{100 * pnl / (entry * size):f}",
    }


def snapshot(symbol: Symbol, moment: datetime, held: Sequence[Call], price: float) -> Record:
    """What is held at a moment, marked to a price; the price is no number if nothing is held.

    Each pair is a platform of its own: what one holds does not hang on which pairs were asked for
    beside it.
    """
    positions = [
        {
            "product": _product(symbol),
            "side": call.side,
            "size": float(call.size),
            "entry_price": call.price,
            "current_price": price,
            "unrealized_pnl": float(_sign(call) * (_exact(price) - _exact(call.price)) * call.size),
        }
        for call in held
    ]
    return {
        "timestamp": moment.isoformat(),
        "platform": f"simulated:{symbol}",
        "total_pnl": sum(each["unrealized_pnl"] for each in positions),
        "position_count": len(positions),
        "positions": positions,
    }


def _product(symbol: Symbol) -> str:
    separator = {"crypto": "-", "forex": "_"}.get(symbol.asset_class)
    return symbol.name if separator is None else f"{symbol.base}{separator}{symbol.quote}"


def _sign(call: Call) -> int:
    return 1 if call.side == "LONG" else -1


def _exact(price: float) -> Decimal:
    """A price that is rounded to its tick, as the decimal number that it stands for."""
    return Decimal(repr(price))


def _text(microseconds: int) -> str:
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat()
