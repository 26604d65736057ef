"""What the made-up providers say: fields that agree with one another, and how good each is."""

from collections import Counter, defaultdict
from functools import lru_cache

import numpy as np
import pytest

from ffe_lakehouse.providers.simulated_ensemble import VOICES, Verdict, verdicts
from ffe_lakehouse.providers.simulated_market import Market
from ffe_lakehouse.symbols import parse_symbol

NAMES = [voice.name for voice in VOICES]
ACTIONS = {"BUY", "SELL", "HOLD"}


@lru_cache(maxsize=1)
def said() -> list[tuple[float, Verdict]]:
    """20,000 outcomes, each with a verdict on it."""
    index = np.arange(20_000)
    outcome = np.random.default_rng(7).standard_normal(index.size)
    market = Market(0, parse_symbol("BTCUSD"))
    return list(zip(outcome.tolist(), verdicts(market, index, outcome), strict=True))


def ensembles() -> list[tuple[Verdict, dict]]:
    return [
        (verdict, verdict.ensemble_metadata)
        for _, verdict in said()
        if verdict.ensemble_metadata is not None
    ]


def test_each_verdict_is_one_of_a_provider_or_of_an_ensemble() -> None:
    for _, verdict in said():
        assert verdict.action in ACTIONS
        assert 0 <= verdict.confidence <= 100
        assert (verdict.ai_provider == "ensemble") == (verdict.ensemble_metadata is not None)
        assert verdict.ai_provider in (*NAMES, "ensemble")


def test_those_that_answered_and_those_that_failed_are_all_that_were_asked() -> None:
    for _, told in ensembles():
        used, failed = told["providers_used"], told["providers_failed"]
        assert used
        assert not set(used) & set(failed)
        assert (told["num_active"], told["num_total"]) == (len(used), len(used) + len(failed))
        assert told["failure_rate"] == len(failed) / told["num_total"]
        assert set(told["provider_decisions"]) == set(used)
        if not told["debate_mode"]:
            assert {*used, *failed} == set(NAMES)


def test_weights_sum_to_one_and_those_of_the_failed_are_shared_out() -> None:
    for _, told in ensembles():
        original, adjusted = told["original_weights"], told["adjusted_weights"]
        assert set(original) == {*told["providers_used"], *told["providers_failed"]}
        assert set(adjusted) == set(told["providers_used"])
        for weights in (original, adjusted):
            assert sum(weights.values()) == pytest.approx(1)
        assert told["weight_adjustment_applied"] == (adjusted != original)
        first = told["providers_used"][0]
        for name in adjusted:
            ratio = original[name] / original[first]
            assert adjusted[name] / adjusted[first] == pytest.approx(ratio)


def test_agreement_variance_and_confidence_follow_from_what_was_said() -> None:
    for verdict, told in ensembles():
        each = list(told["provider_decisions"].values())
        agreeing = [one["confidence"] for one in each if one["action"] == verdict.action]
        assert told["agreement_score"] == len(agreeing) / len(each)
        variance = np.var([one["confidence"] for one in each])
        assert told["confidence_variance"] == pytest.approx(variance)
        original, factor = told["original_confidence"], told["confidence_adjustment_factor"]
        assert min(agreeing) - 0.01 <= original <= max(agreeing) + 0.01
        assert verdict.confidence == round(original * factor)
        assert 0 < factor <= 1
        assert (factor == 1) == (not told["providers_failed"] and told["local_quorum_met"])
        assert told["quorum_penalty_applied"] != told["local_quorum_met"]


def test_a_vote_falls_back_by_how_many_have_answered() -> None:
    tiers = {1: "single_provider", 2: "average_fallback", 3: "majority_fallback"}
    votes = [(verdict, told) for verdict, told in ensembles() if not told["debate_mode"]]
    for verdict, told in votes:
        assert told["fallback_tier"] == tiers.get(told["num_active"], "none")
        said_by = [one["action"] for one in told["provider_decisions"].values()]
        if "majority" in (told["voting_strategy"], told["fallback_tier"].partition("_")[0]):
            most = max(Counter(said_by).values())
            if told["fallback_tier"] not in ("single_provider", "average_fallback"):
                assert Counter(said_by)[verdict.action] == most
        assert verdict.action in said_by
    assert {told["fallback_tier"] for _, told in votes} == {"none", *tiers.values()}
    assert {told["voting_strategy"] for _, told in votes} == {"weighted", "majority", "stacking"}


def test_a_debate_is_decided_by_its_judge() -> None:
    debates = [(verdict, told) for verdict, told in ensembles() if told["debate_mode"]]
    assert debates
    for verdict, told in debates:
        seats, roles = told["debate_seats"], told["role_decisions"]
        assert told["voting_strategy"] == "debate"
        assert list(seats) == list(roles) == ["bull", "bear", "judge"]
        assert list(seats.values()) == told["providers_used"]
        assert {role: one["provider"] for role, one in roles.items()} == seats
        assert (roles["bull"]["action"], roles["bear"]["action"]) == ("BUY", "SELL")
        assert verdict.action == roles["judge"]["action"]
        assert verdict.debate_metadata == {f"{role}_provider": seats[role] for role in seats}


def test_all_modes_have_their_share() -> None:
    modes = Counter(
        "single" if told is None else "debate" if told["debate_mode"] else told["fallback_tier"]
        for told in (verdict.ensemble_metadata for _, verdict in said())
    )
    shares = {mode: count / modes.total() for mode, count in modes.items()}
    assert shares["single"] == pytest.approx(0.3, abs=0.02)
    assert shares["debate"] == pytest.approx(0.19, abs=0.02)
    assert shares["none"] == pytest.approx(0.44, abs=0.03)
    assert min(shares.values()) > 0.005


def hits() -> dict[str, list[tuple[float, bool]]]:
    """How sure each provider was of a call of its own, and whether it was right."""
    found = defaultdict(list)
    for outcome, verdict in said():
        told = verdict.ensemble_metadata
        if told is None:
            each = {verdict.ai_provider: (verdict.action, verdict.confidence)}
        elif not told["debate_mode"]:
            opinions = told["provider_decisions"]
            each = {name: (one["action"], one["confidence"]) for name, one in opinions.items()}
        else:
            continue
        for name, (action, confidence) in each.items():
            if action != "HOLD":
                found[name].append((confidence / 100, (action == "BUY") == (outcome > 0)))
    return found


def test_codex_is_right_as_often_as_it_says_and_qwen_as_often_as_a_coin() -> None:
    found = {name: np.array(calls, dtype=float) for name, calls in hits().items()}
    for name in ("cli", "codex"):
        confidence, right = found[name].T
        assert right.mean() == pytest.approx(confidence.mean(), abs=0.02)
    confidence, right = found["qwen"].T
    assert right.mean() == pytest.approx(0.5, abs=0.02)
    assert confidence.mean() > 0.8
    sure = found["codex"][:, 0] > 0.65
    assert found["codex"][sure, 1].mean() == pytest.approx(found["codex"][sure, 0].mean(), abs=0.04)
