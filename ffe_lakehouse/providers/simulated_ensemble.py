"""What the made-up AI providers of the simulated engine say, and what an ensemble makes of it.

Who answers, what each thinks, votes, debates and fallbacks belong here: the fields of a decision's
``ensemble_metadata``. When one falls, and what becomes of it, stands in ``simulated_engine``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ffe_lakehouse.providers.simulated_market import Floats, Integers, Market, Mask

Said = dict[str, Any]
"""What a provider said, as the engine writes it down."""


@dataclass(frozen=True)
class Voice:
    """A provider, and how good it is.

    Its view is a number of standard normal law whose correlation with what the price really does is
    ``skill``: the engine is a fiction, and its providers peep. Such a view says "up" rightly with
    the probability ``Phi(skill / sqrt(1 - skill**2) * view)``. So a provider whose ``belief`` is
    that factor, and whose ``mood`` is 0, is calibrated; a larger belief is overconfidence.

    Attributes:
        name: As in ``ai_provider``.
        weight: In a weighted vote.
        skill: Correlation of its view with the outcome, -1 to 1.
        belief: Confidence is ``100 * Phi(belief * |view| + mood)``.
        mood: Confidence of a provider that has no view at all, as a quantile of the normal law.
        is_local: It runs on the machine of the engine.
    """

    name: str
    weight: float
    skill: float
    belief: float
    mood: float = 0.0
    is_local: bool = False


VOICES = (
    Voice("local", 0.15, skill=0.05, belief=0.30, mood=-1.0, is_local=True),
    Voice("cli", 0.20, skill=0.05, belief=0.05),
    Voice("codex", 0.25, skill=0.20, belief=0.20),
    Voice("qwen", 0.15, skill=0.0, belief=0.90, mood=0.20, is_local=True),
    Voice("gemini", 0.25, skill=0.10, belief=0.55),
)
"""A modest one, two calibrated, and two overconfident ones. The names are those of the engine; how
good each is, is made up."""

_HESITATION = 0.5
"""A weaker view is a HOLD."""
_FAILS, _FAILS_IN_AN_OUTAGE, _OUTAGES = 0.06, 0.5, 0.1
_SINGLE, _DEBATE = 0.3, 0.2
"""Shares of the decisions; the others are votes."""
_STRATEGIES = ((0.5, "weighted"), (0.8, "majority"), (1.0, "stacking"))
"""With their cumulated shares of the votes."""
_TIERS = {1: "single_provider", 2: "average_fallback", 3: "majority_fallback"}
"""What a vote falls back to, by how many have answered."""
_POWERS = {
    "weighted": (1, 1),
    "majority": (0, 0),
    "stacking": (1, 2),
    "majority_fallback": (0, 0),
    "average_fallback": (0, 1),
    "single_provider": (0, 1),
}
"""A ballot counts weight and confidence, each to its power."""
_SEATS = ("bull", "bear", "judge")
_ARGUES = {"bull": 1.0, "bear": -1.0}
_ACTIONS = ("HOLD", "BUY", "SELL")
"""Of equal ones the first wins."""
_NO_QUORUM = 0.9


@dataclass(frozen=True)
class Verdict:
    """What was decided, as a decision's record tells it.

    Attributes:
        action: ``BUY``, ``SELL`` or ``HOLD``.
        confidence: 0 to 100.
        ai_provider: One of ``VOICES``, or ``ensemble``.
        summary: Who said it, in words.
        ensemble_metadata: How an ensemble came to it; ``None`` for a single provider.
        debate_metadata: Who sat where; ``None`` without a debate.
    """

    action: str
    confidence: int
    ai_provider: str
    summary: str
    ensemble_metadata: dict[str, Any] | None = None
    debate_metadata: dict[str, Any] | None = None


def amount(action: str, confidence: float) -> float:
    """What is suggested to put into it, in the quote currency; nothing into a HOLD."""
    return 0.0 if action == "HOLD" else 500.0 + 20.0 * confidence


def verdicts(market: Market, index: Integers, outcome: Floats) -> Iterator[Verdict]:
    """Decide.

    Args:
        market: Whose hash is drawn from.
        index: Place of each decision; all that is drawn hangs on it alone. Shape (n,).
        outcome: What the price really does after each, in standard deviations. Shape (n,).
    """
    views = np.column_stack(
        [
            voice.skill * outcome
            + math.sqrt(1 - voice.skill**2) * market.normal(f"view of {voice.name}", index)
            for voice in VOICES
        ]
    )
    order = np.column_stack([market.uniform(f"turn of {voice.name}", index) for voice in VOICES])
    drawn = [market.uniform(channel, index).tolist() for channel in ("mode", "strategy")]
    rows = (views.tolist(), _failing(market, index).tolist(), order.argsort(axis=1).tolist())
    for view, failed, turns, mode, strategy in zip(*rows, *drawn, strict=True):
        up = [turn for turn in turns if not failed[turn]]
        if mode < _SINGLE:
            yield _single(VOICES[turns[0]], view[turns[0]])
        elif mode < _SINGLE + _DEBATE and len(up) >= len(_SEATS):
            asked = turns[: turns.index(up[len(_SEATS) - 1]) + 1]
            yield _debate(up[: len(_SEATS)], view, [turn for turn in asked if failed[turn]])
        else:
            named = next(name for share, name in _STRATEGIES if strategy < share)
            down = [number for number in range(len(VOICES)) if failed[number]]
            yield _vote(sorted(up), view, down, named)


def _failing(market: Market, index: Integers) -> Mask:
    """Which provider does not answer, (n, providers); one always does."""
    draws = np.column_stack([market.uniform(f"failure of {voice.name}", index) for voice in VOICES])
    outage = market.uniform("outage", index) < _OUTAGES
    failed = draws < np.where(outage, _FAILS_IN_AN_OUTAGE, _FAILS)[:, None]
    failed[np.arange(len(index)), draws.argmax(axis=1)] = False
    return failed


def _single(voice: Voice, view: float) -> Verdict:
    said = _opinion(voice, view)
    summary = f"{voice.name} says {said['action']} at {said['confidence']} %"
    return Verdict(said["action"], said["confidence"], voice.name, summary)


def _vote(up: Sequence[int], views: Sequence[float], down: Sequence[int], strategy: str) -> Verdict:
    said = {VOICES[number].name: _opinion(VOICES[number], views[number]) for number in up}
    tier = _TIERS.get(len(up), "none")
    weights = _shares(up)
    of_weight, of_confidence = _POWERS[strategy if tier == "none" else tier]
    ballots = {
        name: weights[name] ** of_weight * each["confidence"] ** of_confidence
        for name, each in said.items()
    }
    votes = dict.fromkeys(_ACTIONS, 0.0)
    for name, each in said.items():
        # Of as many heads, the surer ones.
        votes[each["action"]] += ballots[name] + 1e-6 * each["confidence"]
    action = max(votes, key=votes.__getitem__)
    agreeing = {name: ballots[name] for name in said if said[name]["action"] == action}
    original = math.fsum(
        ballot * said[name]["confidence"] for name, ballot in agreeing.items()
    ) / math.fsum(agreeing.values())
    metadata = _metadata(up, down, said, action, original) | {
        "voting_strategy": strategy,
        "fallback_tier": tier,
        "debate_mode": False,
    }
    summary = f"{len(agreeing)} of {len(said)} providers say {action}"
    return _of_ensemble(action, summary, metadata)


def _debate(up: Sequence[int], views: Sequence[float], down: Sequence[int]) -> Verdict:
    seats = dict(zip(_SEATS, up, strict=True))
    roles: dict[str, Said] = {}
    for role, number in seats.items():
        voice = VOICES[number]
        said = _opinion(voice, views[number], _ARGUES.get(role))
        roles[role] = {"provider": voice.name, **said}
    names = {role: said["provider"] for role, said in roles.items()}
    judge = roles["judge"]
    said_by = {each["provider"]: _without_name(each) for each in roles.values()}
    metadata = _metadata(up, down, said_by, judge["action"], float(judge["confidence"])) | {
        "voting_strategy": "debate",
        "fallback_tier": "none",
        "debate_mode": True,
        "role_decisions": roles,
        "debate_seats": names,
    }
    summary = f"{names['judge']} hears {names['bull']} and {names['bear']}, and says"
    seated = {f"{role}_provider": name for role, name in names.items()}
    return _of_ensemble(judge["action"], f"{summary} {judge['action']}", metadata, seated)


def _of_ensemble(
    action: str,
    summary: str,
    metadata: dict[str, Any],
    debate: dict[str, Any] | None = None,
) -> Verdict:
    confidence = metadata["original_confidence"] * metadata["confidence_adjustment_factor"]
    return Verdict(action, round(confidence), "ensemble", summary, metadata, debate)


def _metadata(
    up: Sequence[int],
    down: Sequence[int],
    said: Mapping[str, Said],
    action: str,
    original: float,
) -> dict[str, Any]:
    total, quorum = len(up) + len(down), any(VOICES[number].is_local for number in up)
    factor = (0.7 + 0.3 * len(up) / total) * (1.0 if quorum else _NO_QUORUM)
    agreeing = sum(each["action"] == action for each in said.values())
    confidences = [each["confidence"] for each in said.values()]
    mean = sum(confidences) / len(up)
    return {
        "providers_used": [VOICES[number].name for number in up],
        "providers_failed": [VOICES[number].name for number in down],
        "num_active": len(up),
        "num_total": total,
        "failure_rate": len(down) / total,
        "original_weights": _shares([*up, *down]),
        "adjusted_weights": _shares(up),
        "weight_adjustment_applied": bool(down),
        "provider_decisions": dict(said),
        "agreement_score": agreeing / len(up),
        "confidence_variance": math.fsum((each - mean) ** 2 for each in confidences) / len(up),
        "original_confidence": round(original, 2),
        "confidence_adjustment_factor": factor,
        "local_quorum_met": quorum,
        "quorum_penalty_applied": not quorum,
    }


def _shares(numbers: Sequence[int]) -> dict[str, float]:
    """Weights of these providers, which sum to 1."""
    total = math.fsum(VOICES[number].weight for number in numbers)
    return {VOICES[number].name: VOICES[number].weight / total for number in numbers}


def _opinion(voice: Voice, view: float, argues: float | None = None) -> Said:
    """What a provider says: what it thinks, or what it has to argue (1: up, -1: down)."""
    if argues is not None:
        action, margin = ("BUY" if argues > 0 else "SELL"), argues * view
    elif abs(view) < _HESITATION:
        action, margin = "HOLD", _HESITATION - abs(view)
    else:
        action, margin = ("BUY" if view > 0 else "SELL"), abs(view)
    share = 0.5 * (1.0 + math.erf((voice.belief * margin + voice.mood) / math.sqrt(2.0)))
    confidence = round(100 * share)
    return {
        "action": action,
        "confidence": confidence,
        "amount": amount(action, confidence),
        "reasoning": _REASONS[action],
    }


def _without_name(said: Said) -> Said:
    return {name: value for name, value in said.items() if name != "provider"}


_REASONS = {
    "BUY": "The price will rise.",
    "SELL": "The price will fall.",
    "HOLD": "The price will stay about where it is.",
}
