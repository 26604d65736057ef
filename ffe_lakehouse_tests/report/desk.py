"""The records of a desk that never was: markets with regimes, providers of some skill."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffe_lakehouse_tests.gold_lake import GoldLake, at

REGIMES = ("trend", "range", "volatile")
_HOURLY_VOLATILITY = {"trend": 0.003, "range": 0.002, "volatile": 0.007}
_NOTIONAL = 4_000.0
_FEE = 0.0005
"""Of what is bought or sold."""

SKILLS = {"local": 0.50, "cli": 0.54, "codex": 0.58, "qwen": 0.48, "gemini": 0.55}
"""How often a provider says where the price will go."""


@dataclass
class Desk:
    """Fills Silver with what a desk did, day after day.

    Attributes:
        gold: Where it is written.
        days: How many, from day 0 on.
        providers: Skill by name.
        simulated_until: By pair, the day on which its real records begin; all days for one that
            is simulated altogether.
        decisions_a_day: On average.
    """

    gold: GoldLake
    days: int
    providers: dict[str, float] = field(default_factory=lambda: dict(SKILLS))
    simulated_until: dict[str, int] = field(default_factory=dict)
    decisions_a_day: float = 1.5
    held: list[dict[str, Any]] = field(default_factory=list)

    def trade(self, pair: str, price: float, seed: int) -> None:
        """The market of a pair, and what was decided and traded there."""
        random = np.random.default_rng(seed)
        prices = self._market(pair, price, random)
        opened = np.flatnonzero(random.random(self.days * 24 - 48) < self.decisions_a_day / 24)
        for number, hour in enumerate(opened):
            self._decide(pair, number, int(hour) + 1, prices, random)

    def report(self, seed: int = 0) -> None:
        """A snapshot of what was held, on most days."""
        random = np.random.default_rng(seed)
        for day in np.flatnonzero(random.random(self.days) < 0.8):
            moment = at(float(day) + 0.9)
            positions = [
                {name: value for name, value in each.items() if name not in ("since", "until")}
                | {"unrealized_pnl": float(random.normal(0, 40))}
                for each in self.held
                if each["since"] <= moment < each["until"]
            ]
            self.gold.snapshot(float(day) + 0.9, positions)

    def _market(self, pair: str, price: float, random: np.random.Generator) -> NDArray[np.float64]:
        """Bars of every hour; closes, the first one before them all."""
        hours = self.days * 24
        # A regime lasts for two and a half days on average.
        changes = np.cumsum(random.random(hours) < 1 / 60)
        regimes = random.integers(0, 3, changes[-1] + 1)[changes]
        directions = random.choice([-1, 1], changes[-1] + 1)[changes]
        volatility = np.array([_HOURLY_VOLATILITY[name] for name in REGIMES])[regimes]
        drift = np.where(regimes == 0, directions * 0.0006, 0.0)
        returns = random.normal(drift, volatility)
        for hour in range(hours):
            self.gold.bar(
                hour / 24,
                REGIMES[regimes[hour]],
                int(directions[hour]),
                asset_pair=pair,
                log_returns=float(returns[hour]),
                is_mock=pair in self.simulated_until,
            )
        return price * np.exp(np.concatenate([[0], np.cumsum(returns)]))

    def _decide(
        self,
        pair: str,
        number: int,
        hour: int,
        prices: NDArray[np.float64],
        random: np.random.Generator,
    ) -> None:
        until = hour + int(random.integers(2, 30))
        rises = prices[until] > prices[hour]
        mode = str(
            random.choice(["voting", "debate", "fallback", "single"], p=[0.6, 0.2, 0.1, 0.1])
        )
        said = [self._say(name, rises, random) for name in self.providers]
        if mode == "single":
            said = [said[int(random.integers(len(said)))]]
        buys = sum(up for _, up, _ in said) * 2 > len(said)
        executed = bool(random.random() < 0.75)
        record = {
            "asset_pair": pair,
            "record_is_mock": hour < 24 * self.simulated_until.get(pair, 0),
        }
        key = {"decision_id": f"{pair}-{number}"}
        day = hour / 24
        self.gold.decision(
            day,
            **key,
            **record,
            action="BUY" if buys else "SELL",
            confidence=float(np.mean([confidence for *_, confidence in said])),
            executed=executed,
            execution_time=at(day) if executed else None,
            ai_provider=said[0][0] if mode == "single" else "ensemble",
            decision_mode=mode,
            failure_rate=None if mode == "single" else float(random.choice([0, 0.2])),
            agreement_score=None if mode == "single" else float(random.uniform(0.5, 1)),
            confidence_adjustment_factor=None if mode == "single" else 0.9,
        )
        for name, up, confidence in said if mode != "single" else ():
            action = "BUY" if up else "SELL"
            self.gold.voice(
                day,
                key["decision_id"],
                name,
                asset_pair=pair,
                action=action,
                confidence=confidence,
                adjusted_weight=float(random.uniform(0, 1)),
            )
        if executed:
            self._execute(record, key["decision_id"], (hour, until), buys, prices)

    def _say(self, name: str, rises: bool, random: np.random.Generator) -> tuple[str, bool, float]:
        """Who, whether the price will rise, and how sure that is: rather too sure."""
        confidence = float(random.beta(4, 2.2)) * 100
        is_right = random.random() < self.providers[name] + 0.25 * (confidence - 65) / 100
        return name, bool(rises == is_right), confidence

    def _execute(
        self,
        record: dict[str, Any],
        decision_id: str,
        hours: tuple[int, int],
        buys: bool,
        prices: NDArray[np.float64],
    ) -> None:
        entry, exit_ = (float(prices[hour]) for hour in hours)
        size = _NOTIONAL / entry
        gross = (exit_ - entry) * size * (1 if buys else -1)
        fees = _FEE * (entry + exit_) * size
        since, until = (at(hour / 24) for hour in hours)
        side = "LONG" if buys else "SHORT"
        self.gold.trade(
            hours[1] / 24,
            gross - fees,
            **record,
            trade_id=f"trade-{decision_id}",
            side=side,
            gross_pnl=gross,
            fees=fees,
            entry_time=since,
            entry_price=entry,
            exit_price=exit_,
            entry_size=size,
            exit_size=size,
            holding_seconds=(until - since) / timedelta(seconds=1),
            matched_decision_id=decision_id,
            decision_timestamp=since,
            decision_match="given",
        )
        if not record["record_is_mock"]:
            self.held.append(
                {
                    "product": record["asset_pair"],
                    "asset_pair": record["asset_pair"],
                    "side": side,
                    "size": size,
                    "entry_price": entry,
                    "current_price": exit_,
                    "since": since,
                    "until": until,
                }
            )
