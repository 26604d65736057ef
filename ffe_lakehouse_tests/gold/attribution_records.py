"""Decisions, voices and trades, made up: what the marts of attribution are computed of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse_tests.gold_lake import GoldLake, at

PAIRS = ("BTCUSD", "EURJPY")
DAYS = 8
"""A history is of so many days."""
_MODES = ("single", "voting", "fallback", "debate")
_ACTIONS = st.sampled_from(["BUY", "SELL", "HOLD"])
_MOMENTS = st.integers(0, DAYS * 24 - 1).map(lambda hours: hours / 24)
_CONFIDENCES = st.none() | st.sampled_from([0.0, 20.0, 80.0, 100.0]) | st.floats(0, 100)
_SHARES = st.none() | st.sampled_from([0.0, 1.0, -0.5, 7.0]) | st.floats(0, 1)
_WEIGHTS = st.sampled_from([None, -1.0, 0.0, 0.0, 0.25, 1.0, 1.0, 1e300]) | st.floats(0, 2)
_PRICES = st.sampled_from([90.0, 100.0, 110.0])
_MONEY = st.none() | st.just(0.0) | st.floats(-1e6, 1e6)

Said = Mapping[str, Any]


@dataclass(frozen=True)
class History:
    """Records of some pairs, as arguments of the methods of ``GoldLake``."""

    decisions: Sequence[Said]
    voices: Sequence[Said]
    trades: Sequence[Said]

    def known_by(self, day: int) -> "History":
        """What the lake held at the end of a day, when nobody knew what comes after."""
        decisions = [each for each in self.decisions if int(each["day"]) <= day]
        unexecuted = {"executed": None, "execution_time": None}
        return replace(
            self,
            decisions=[
                {**each, **(unexecuted if _executed_after(each, day) else {})} for each in decisions
            ],
            voices=[each for each in self.voices if int(each["day"]) <= day],
            trades=[each for each in self.trades if int(each["day"]) <= day],
        )

    def lake(self, folder: Path, dbt: Path) -> GoldLake:
        """A lake of nothing else."""
        gold = GoldLake(DeltaLakeManager(folder), dbt)
        for each in self.decisions:
            gold.decision(**each)
        for each in self.voices:
            gold.voice(**each)
        for each in self.trades:
            gold.trade(**each)
        gold.write()
        return gold


def _executed_after(decision: Said, day: int) -> bool:
    moment = decision["execution_time"]
    return moment is not None and moment >= at(day + 1)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Simulated first, then real, now and then the other way; each pair in its own way."""
    real_from = {pair: draw(st.integers(0, DAYS)) for pair in PAIRS}

    def mock(pair: str, day: float) -> bool:
        return (day < real_from[pair]) != (draw(st.integers(0, 9)) == 9)

    decisions, voices = [], []
    moments = draw(st.lists(_MOMENTS, min_size=8, max_size=20, unique=True))
    for day in moments:
        pair = draw(st.sampled_from(PAIRS))
        decision = {
            "day": day,
            "asset_pair": pair,
            # The engine uses some of its ids again.
            "decision_id": draw(st.sampled_from(["d0", "d1", "d2"])),
            "action": draw(_ACTIONS),
            "confidence": draw(_CONFIDENCES),
            "ai_provider": draw(st.sampled_from([None, "local", "ensemble"])),
            "decision_mode": draw(st.sampled_from(_MODES)),
            "executed": draw(st.sampled_from([None, False, True, True])),
            "execution_time": draw(st.none() | st.floats(-1, 4).map(lambda by, d=day: at(d + by))),
            "agreement_score": draw(_SHARES),
            "failure_rate": draw(_SHARES),
            "confidence_adjustment_factor": draw(_SHARES),
            "record_is_mock": mock(pair, day),
        }
        decisions.append(decision)
        voices += draw(_voices(decision))
    return History(decisions, voices, draw(_trades(decisions, mock)))


@st.composite
def _voices(draw: st.DrawFn, decision: Said) -> list[dict[str, Any]]:
    """One a provider; in a debate one a seat, and a provider may sit in several."""
    providers = st.sampled_from(["local", "cli", "qwen"])
    if decision["decision_mode"] == "single":
        seats: list[tuple[str, str]] = []
    elif decision["decision_mode"] == "debate":
        seats = [(draw(providers), role) for role in draw(_some("bear", "bull", "judge"))]
    else:
        seats = [(provider, "voter") for provider in draw(_some("local", "cli", "qwen"))]
    return [
        {
            "day": decision["day"],
            "asset_pair": decision["asset_pair"],
            "decision_id": decision["decision_id"],
            "provider": provider,
            "role": role,
            "action": draw(st.none() | _ACTIONS),
            "confidence": draw(_CONFIDENCES | st.sampled_from([-1.0, 101.0, 1e300])),
            "adjusted_weight": draw(_WEIGHTS),
        }
        for provider, role in seats
    ]


def _some(*names: str) -> st.SearchStrategy[list[str]]:
    return st.sets(st.sampled_from(names)).map(sorted)


@st.composite
def _trades(draw: st.DrawFn, decisions: Sequence[Said], mock: Any) -> list[dict[str, Any]]:
    """Of a decision, several of one too, or of none; closed or open, with P&L or without."""
    trades = []
    for number in range(draw(st.integers(8, 20))):
        decision = draw(st.none() | st.sampled_from(decisions))
        if decision is None:
            pair, day = draw(st.sampled_from(PAIRS)), draw(_MOMENTS)
            behind = {}
        else:
            pair = decision["asset_pair"]
            day = decision["day"] + draw(st.floats(0, DAYS - decision["day"], exclude_max=True))
            behind = {
                "matched_decision_id": decision["decision_id"],
                "decision_timestamp": at(decision["day"]),
            }
        trades.append(
            {
                "day": day,
                "asset_pair": pair,
                "trade_id": f"t{number}",
                "net_pnl": draw(_MONEY),
                "entry_price": draw(_PRICES),
                "exit_price": draw(_PRICES),
                "status": draw(st.sampled_from(["closed", "closed", "closed", "open"])),
                "ai_provider": draw(st.sampled_from([None, "local", "recovery"])),
                "record_is_mock": mock(pair, day),
                **behind,
            }
        )
    return trades
