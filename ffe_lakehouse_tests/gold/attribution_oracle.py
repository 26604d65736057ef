"""What the marts of attribution have to say, computed without SQL: day by day, record by record.

It is slow and literal on purpose, and shares nothing with the models but their documentation.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import fsum, isclose
from typing import Any

from ffe_lakehouse.schemas.silver_records import (
    DECISION_HISTORY,
    PROVIDER_DECISIONS,
    TRADE_LIFECYCLE,
)

Row = Mapping[str, Any]
Rows = dict[tuple[Any, ...], dict[str, Any]]
_DAY = timedelta(days=1)
_BUCKETS = ((0, 20), (20, 40), (40, 60), (60, 80), (80, 100))


@dataclass(frozen=True)
class Part:
    """What a provider has to do with a decision, or with a trade that has none."""

    provider: str
    share: float
    action: str | None = None
    confidence: float | None = None
    is_free: bool = False


class Oracle:
    """Both marts of the rows that a ``GoldLake`` has gathered, as they are on its ``last`` day."""

    def __init__(self, rows: Mapping[str, Sequence[Row]], last: date) -> None:
        """Keep the records up to ``last``."""
        tables = (DECISION_HISTORY, PROVIDER_DECISIONS, TRADE_LIFECYCLE)
        self._decisions, self._voices, self._trades = (
            [row for row in rows.get(table.name, ()) if row["partition_date"] <= last]
            for table in tables
        )
        self._last = last

    def providers(self) -> Rows:
        """Rows of ``mart_provider_attribution`` by pair, provider, day."""
        found: Rows = {}
        for pair, day, mock, decisions, trades in self._stand():
            voices = [(each, part) for each in decisions for part in self._parts(each)]
            shares = [(each, part) for each in trades for part in self._parts_of_trade(each)]
            for provider in {part.provider for _, part in voices + shares}:
                own = [(each, part) for each, part in voices if part.provider == provider]
                has = [(each, part) for each, part in shares if part.provider == provider]
                found[pair, provider, day] = {
                    **_head(pair, day, mock),
                    "provider": provider,
                    **_decided([each for each, _ in own], day),
                    "mean_confidence": _mean(part.confidence for _, part in own),
                    "trades": len(has),
                    "attributed_net_pnl": fsum(
                        trade["net_pnl"] * part.share for trade, part in has
                    ),
                    "day_attributed_net_pnl": fsum(
                        trade["net_pnl"] * part.share
                        for trade, part in has
                        if trade["partition_date"] == day
                    ),
                    **_called(has),
                }
        return found

    def modes(self) -> Rows:
        """Rows of ``mart_ensemble_effectiveness`` by pair, mode, day."""
        found: Rows = {}
        for pair, day, mock, decisions, trades in self._stand():
            made = [self._mode(trade) for trade in trades]
            for mode in {each["decision_mode"] for each in decisions} | set(made):
                own = [each for each in decisions if each["decision_mode"] == mode]
                has = [each for each, of in zip(trades, made, strict=True) if of == mode]
                today = [each for each in has if each["partition_date"] == day]
                wins = sum(each["net_pnl"] > 0 for each in has)
                found[pair, mode, day] = {
                    **_head(pair, day, mock),
                    "decision_mode": mode,
                    **_decided(own, day),
                    "day_trades": len(today),
                    "day_net_pnl": fsum(each["net_pnl"] for each in today),
                    "trades": len(has),
                    "winning_trades": wins,
                    "win_rate": wins / len(has) if has else None,
                    "net_pnl": fsum(each["net_pnl"] for each in has),
                    "expectancy": _mean(each["net_pnl"] for each in has),
                    "mean_confidence": _mean(each["confidence"] for each in own),
                    "mean_agreement": _mean(_share(each["agreement_score"]) for each in own),
                    "mean_failure_rate": _mean(_share(each["failure_rate"]) for each in own),
                    "mean_confidence_adjustment": _mean(
                        _share(each["confidence_adjustment_factor"]) for each in own
                    ),
                }
        return found

    def _stand(self) -> Iterator[tuple[str, date, bool, list[Row], list[Row]]]:
        """Each day of each pair: what was decided and what has settled by then, and counts."""
        records = [*self._decisions, *self._trades]
        for pair in sorted({each["asset_pair"] for each in records}):
            of_pair = [each for each in records if each["asset_pair"] == pair]
            day = min(each["partition_date"] for each in of_pair)
            while day <= self._last:
                mock = self._is_mock(pair, day)
                yield (
                    pair,
                    day,
                    mock,
                    self._of(self._decisions, pair, day, mock, lambda _: True),
                    self._of(
                        self._trades,
                        pair,
                        day,
                        mock,
                        lambda row: row["status"] == "closed" and row["net_pnl"] is not None,
                    ),
                )
                day += _DAY

    def _of(
        self, rows: Iterable[Row], pair: str, day: date, mock: bool, wanted: Callable[[Row], bool]
    ) -> list[Row]:
        return [
            row
            for row in rows
            if row["asset_pair"] == pair
            and row["partition_date"] <= day
            and row["record_is_mock"] == mock == self._is_mock(pair, row["partition_date"])
            and wanted(row)
        ]

    def _is_mock(self, pair: str, day: date) -> bool:
        return not any(
            row["partition_date"] <= day
            for row in (*self._decisions, *self._trades)
            if row["asset_pair"] == pair and not row["record_is_mock"]
        )

    def _decision(self, trade: Row) -> Row | None:
        wanted = trade["matched_decision_id"], trade["decision_timestamp"], trade["asset_pair"]
        for each in self._decisions:
            is_it = (each["decision_id"], each["timestamp"], each["asset_pair"]) == wanted
            if is_it and each["record_is_mock"] == trade["record_is_mock"]:
                return each
        return None

    def _mode(self, trade: Row) -> str:
        decision = self._decision(trade)
        return "unknown" if decision is None else decision["decision_mode"]

    def _parts_of_trade(self, trade: Row) -> list[Part]:
        decision = self._decision(trade)
        return (
            [Part(trade["ai_provider"] or "unknown", 1)]
            if decision is None
            else self._parts(decision)
        )

    def _parts(self, decision: Row) -> list[Part]:
        key = ("asset_pair", "decision_id", "timestamp")
        voices = [
            each for each in self._voices if all(each[name] == decision[name] for name in key)
        ]
        if decision["decision_mode"] == "single" or not voices:
            provider = decision["ai_provider"] or "unknown"
            return [Part(provider, 1, decision["action"], decision["confidence"], True)]
        seats: dict[str, list[Row]] = {}
        for each in voices:
            seats.setdefault(each["provider"], []).append(each)
        weights = {
            provider: max(max(each["adjusted_weight"] or 0, 0) for each in held)
            for provider, held in seats.items()
        }
        largest = max(weights.values())
        # Of the largest, since a sum of the largest doubles is infinite.
        parts = {name: weight / largest if largest else 1 for name, weight in weights.items()}
        return [
            _voice(provider, parts[provider] / fsum(parts.values()), held)
            for provider, held in seats.items()
        ]


def _voice(provider: str, share: float, seats: Sequence[Row]) -> Part:
    free = [each for each in seats if each["role"] in ("judge", "voter")]
    said = sorted(seats, key=lambda each: each["role"])
    confidences = [(_percent(each["confidence"]), each["action"]) for each in free or said]
    confidence, action = max(confidences, key=lambda each: -1 if each[0] is None else each[0])
    return Part(provider, share, action, confidence, bool(free))


def _head(pair: str, day: date, mock: bool) -> dict[str, Any]:
    return {"asset_pair": pair, "date": day, "quote_currency": pair[3:], "is_mock": mock}


def _decided(decisions: Sequence[Row], day: date) -> dict[str, Any]:
    return {
        "day_decisions": sum(each["partition_date"] == day for each in decisions),
        "decisions": len(decisions),
        "executed": sum(
            bool(each["executed"])
            and (each["execution_time"] is None or each["execution_time"].date() <= day)
            for each in decisions
        ),
    }


def _called(trades: Sequence[tuple[Row, Part]]) -> dict[str, Any]:
    calls = []
    for trade, part in trades:
        if part.is_free and part.action in ("BUY", "SELL"):
            move = trade["exit_price"] - trade["entry_price"]
            calls.append((part.confidence, move > 0 if part.action == "BUY" else move < 0))
    rated = [(confidence, hit) for confidence, hit in calls if confidence is not None]
    row: dict[str, Any] = {
        "calls": len(calls),
        "hits": sum(hit for _, hit in calls),
        "hit_rate": _mean(float(hit) for _, hit in calls),
        "brier_score": _mean((confidence / 100 - hit) ** 2 for confidence, hit in rated),
    }
    for low, high in _BUCKETS:
        among = [
            (confidence, hit)
            for confidence, hit in rated
            if low <= confidence < high or confidence == high == 100
        ]
        row |= {
            f"calls_{low}_{high}": len(among),
            f"hits_{low}_{high}": sum(hit for _, hit in among),
            f"mean_confidence_{low}_{high}": _mean(confidence for confidence, _ in among),
        }
    return row


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known else None


def _percent(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 100 else None


def _share(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 1 else None


def differences(found: Iterable[Row], expected: Rows, *key: str) -> list[str]:
    """Where rows of a mart are not what is expected; numbers may be off by 1e-9."""
    rows = {tuple(row[name] for name in key): row for row in found}
    wrong = [f"{each}: only one has it" for each in rows.keys() ^ expected.keys()]
    for each in rows.keys() & expected.keys():
        row, wanted = rows[each], expected[each]
        wrong += [
            f"{each} {name}: {row.get(name)!r}, not {wanted.get(name)!r}"
            for name in row.keys() | wanted.keys()
            if not _alike(row.get(name), wanted.get(name))
        ]
    return sorted(wrong)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float | int):
        return isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other and type(one) is type(other))
