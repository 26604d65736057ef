"""Decisions with their market: one row each, whatever the engine left, and nothing from later."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas.records import RAW_AI_DECISIONS
from ffe_lakehouse.schemas.silver import MULTI_TIMEFRAME_ANALYSIS
from ffe_lakehouse.schemas.silver_records import (
    DECISION_HISTORY,
    DECISION_MODES,
    FALLBACK_TIERS,
    PROVIDER_DECISIONS,
)
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.decisions import decision_history, provider_decisions
from ffe_lakehouse.transforms.multi_timeframe import analyse
from ffe_lakehouse_tests.transforms.silver_inputs import (
    MINUTE,
    NOON,
    at,
    closed_by,
    decision,
    decisions,
    enriched,
    of_each_pair,
    ragged_markets,
    real_records,
)

FIVE, HOUR = TIMEFRAMES["5m"], TIMEFRAMES["1h"]
START, END = at(NOON - 20 * 86_400_000_000), at(NOON + 86_400_000_000)
NO_ANALYSIS = MULTI_TIMEFRAME_ANALYSIS.arrow.empty_table()

finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = (
    *("providers_used", "providers_failed", "num_active", "num_total", "failure_rate"),
    *("voting_strategy", "fallback_tier", "agreement_score", "debate_mode", "original_weights"),
    *("adjusted_weights", "provider_decisions", "role_decisions", "debate_seats"),
)
said_of_providers = st.dictionaries(
    st.sampled_from(["local", "qwen", " local", "bull"]),
    anything
    | st.fixed_dictionaries({}, optional={"action": anything, "provider": st.just("qwen")}),
)
untidy = st.dictionaries(st.sampled_from(FIELDS), anything | said_of_providers) | anything


def history(*rows: dict[str, Any], **metadata: Any) -> list[dict[str, Any]]:
    rows = rows or (decision({"ensemble_metadata": metadata}),)
    return decision_history(decisions(*rows), {}, NO_ANALYSIS).to_pylist()


# --- laws


@settings(max_examples=40)
@given(ragged_markets(), st.lists(st.integers(-90, 90), min_size=1, max_size=3))
def test_bars_that_close_after_a_decision_never_change_its_row(
    market: dict[Timeframe, pa.Table], minutes: list[int]
) -> None:
    moments = [NOON + minute * MINUTE for minute in minutes]
    rows = [decision({"id": str(i)}, timestamp=at(now)) for i, now in enumerate(moments)]
    analysis = analyse(market, FIVE, START, END)
    whole = decision_history(decisions(*rows), market, analysis).to_pylist()
    for row, now in zip(rows, moments, strict=True):
        known = {each: closed_by(bars, each, now) for each, bars in market.items()}
        alone = decision_history(decisions(row), known, closed_by(analysis, FIVE, now))
        assert alone.to_pylist() == [r for r in whole if r["decision_id"] == row["decision_id"]]


@settings(max_examples=50)
@given(st.lists(untidy, min_size=1, max_size=4))
def test_whatever_the_engine_left_is_one_row_a_decision(metadata: list[Any]) -> None:
    rows = [
        decision({"id": str(number)}, ensemble_metadata=json.dumps(each))
        for number, each in enumerate(metadata)
    ]
    found = decision_history(decisions(*rows), {}, NO_ANALYSIS)
    assert sorted(found["decision_id"].to_pylist()) == [str(i) for i in range(len(metadata))]
    assert set(found["decision_mode"].to_pylist()) <= set(DECISION_MODES)
    DECISION_HISTORY.pandera.validate(found.to_pandas())


@settings(max_examples=50)
@given(st.lists(untidy, min_size=1, max_size=4))
def test_no_provider_says_two_things_in_one_role(metadata: list[Any]) -> None:
    rows = [
        decision({"id": str(number)}, ensemble_metadata=json.dumps(each))
        for number, each in enumerate(metadata)
    ]
    found = provider_decisions(decisions(*rows))
    keys = found.select(PROVIDER_DECISIONS.key).to_pylist()
    assert len({tuple(key.values()) for key in keys}) == len(keys)
    for number, each in enumerate(metadata):
        said = each.get("provider_decisions") if isinstance(each, dict) else None
        named = set(said) if isinstance(said, dict) else set()
        told = {key["provider"] for key in keys if key["decision_id"] == str(number)}
        assert named <= told


# --- the bar and the confluence


def test_a_decision_gets_the_newest_closed_bar_and_the_confluence_of_then() -> None:
    market = {HOUR: enriched(HOUR, [NOON - 60 * MINUTE]), FIVE: enriched(FIVE, [NOON])}
    analysis = analyse(market, FIVE, START, END)
    before, after = at(NOON + 4 * MINUTE), at(NOON + 5 * MINUTE)
    rows = [
        decision({"id": "early", "market_regime": "bull"}, timestamp=before),
        decision({"id": "late", "entry_price": 50.0}, timestamp=after),
    ]
    early, late = decision_history(decisions(*rows), market, analysis).to_pylist()
    hour, five = market[HOUR].to_pylist()[0], market[FIVE].to_pylist()[0]
    assert (early["bar_timeframe"], early["bar_closed_at"]) == ("1h", at(NOON))
    assert (early["market_regime"], early["engine_regime"]) == (hour["market_regime"], "bull")
    assert (early["confluence_score"], early["analysis_closed_at"]) == (None, None)
    assert (late["bar_timeframe"], late["rsi_14"]) == ("5m", five["rsi_14"])
    assert late["confluence_score"] == analysis["confluence_score"][0].as_py()
    assert late["analysis_closed_at"] == after
    assert late["entry_deviation"] == pytest.approx(50.0 / five["close"] - 1)


def test_what_is_simulated_is_told_of_the_row_and_of_the_record() -> None:
    real, fake = decision({"id": "a"}), decision({"id": "b", "market_data": {"mock": True}})
    market = {HOUR: enriched(HOUR, [NOON - 60 * MINUTE], is_mock=True)}

    def flags(bars: dict[Timeframe, pa.Table]) -> list[tuple[bool, bool]]:
        rows = decision_history(decisions(real, fake), bars, NO_ANALYSIS).to_pylist()
        return [(row["is_mock"], row["record_is_mock"]) for row in rows]

    assert flags({}) == [(False, False), (True, True)]
    assert flags(market) == [(True, False), (True, True)]


def test_the_newest_version_of_a_decision_holds_and_counts_those_before() -> None:
    versions = [
        decision({"executed": None}, _extracted_at=at(NOON + 1)),
        decision({"executed": True}, _extracted_at=at(NOON + 3)),
        decision({"executed": False}, _extracted_at=at(NOON + 2)),
        decision({"id": "other"}),
    ]
    row, other = history(*versions)
    assert (row["executed"], row["revision"], row["known_at"]) == (True, 2, at(NOON + 3))
    assert other["revision"] == 0


# --- the ensemble


@pytest.mark.parametrize(
    ("metadata", "provider", "mode"),
    [
        (None, "local", "single"),
        ({}, None, "single"),
        ({}, "ensemble", "voting"),
        ({"providers_used": ["local"]}, None, "voting"),
        ({"voting_strategy": "weighted", "fallback_tier": "weighted"}, "ensemble", "voting"),
        ({"fallback_tier": "primary"}, "ensemble", "voting"),
        ({"fallback_tier": 1}, "ensemble", "voting"),
        ({"fallback_tier": "majority_fallback"}, "ensemble", "fallback"),
        ({"fallback_tier": "single_provider"}, "ensemble", "fallback"),
        ({"fallback_tier": 4}, "ensemble", "fallback"),
        ({"voting_strategy": "debate", "fallback_tier": "debate"}, "ensemble", "debate"),
        ({"debate_mode": True}, "ensemble", "debate"),
        ({"voting_strategy": "debate", "fallback_tier": "single_provider"}, "ensemble", "debate"),
    ],
)
def test_the_mode_follows_from_strategy_tier_and_provider(
    metadata: dict[str, Any] | None, provider: str | None, mode: str
) -> None:
    said = {"ensemble_metadata": metadata, "ai_provider": provider}
    assert history(decision(said))[0]["decision_mode"] == mode


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        *((each, each) for each in FALLBACK_TIERS),
        *zip((1, 2, 3, 4), FALLBACK_TIERS, strict=True),
        ("2", "majority_fallback"),
        (3.0, "average_fallback"),
        *((name, "none") for name in ("primary", "weighted", "stacking", "Majority", "debate")),
        *((odd, None) for odd in (0, 5, 2.5, True, "", "tier_9", [1], None)),
    ],
)
def test_tiers_of_old_files_get_the_names_of_today(said: object, tier: str | None) -> None:
    row = history(fallback_tier=said)[0]
    assert row["fallback_tier"] == tier
    kept = None if said is None or isinstance(said, list) else str(said)
    assert row["engine_fallback_tier"] == kept


def test_fields_of_an_ensemble_are_typed_and_a_wrong_type_is_null() -> None:
    row = history(
        providers_used=["local", 7, "qwen"],
        providers_failed="cli",
        num_active=2.0,
        num_total=1e300,
        failure_rate="0.25",
        agreement_score="nan",
        local_quorum_met=1,
        quorum_penalty_applied=False,
        original_weights={"qwen": 0.5, "local": "0.25", "cli": []},
        adjusted_weights=[0.5],
    )[0]
    assert row["providers_used"] == ["local", "qwen"]
    assert row["num_active"] == 2
    assert row["failure_rate"] == 0.25
    assert row["quorum_penalty_applied"] is False
    assert row["original_weights"] == '{"cli":null,"local":0.25,"qwen":0.5}'
    unread = ("providers_failed", "num_total", "agreement_score", "local_quorum_met")
    assert {row[name] for name in (*unread, "adjusted_weights")} == {None}


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "7", '{"fallback_tier": NaN}', "[" * 2000])
def test_text_that_is_no_json_object_is_no_ensemble(text: str) -> None:
    (row,) = history(decision({}, ensemble_metadata=text))
    assert (row["decision_mode"], row["providers_used"]) == ("single", None)


def test_votes_are_told_apart_by_provider_with_their_weights() -> None:
    metadata = {
        "provider_decisions": {
            "local": {"action": "buy", "confidence": "80", "amount": 2, "reasoning": "up"},
            "qwen": {"action": "HOLD"},
            "cli": "no idea",
        },
        "original_weights": {"local": 0.5, "qwen": 0.25, "cli": 0.25},
        "adjusted_weights": {"local": 0.75},
    }
    rows = provider_decisions(decisions(decision({"ensemble_metadata": metadata}))).to_pylist()
    local, qwen, cli = rows
    assert (local["action"], local["confidence"], local["amount"]) == ("BUY", 80.0, 2.0)
    assert (local["original_weight"], local["adjusted_weight"], local["role"]) == (
        *(0.5, 0.75),
        "voter",
    )
    assert [row["agrees"] for row in rows] == [True, False, None]
    assert qwen["adjusted_weight"] is None
    assert (cli["provider"], cli["action"], cli["original_weight"]) == ("cli", None, 0.25)


def test_a_provider_in_two_seats_of_a_debate_has_a_row_for_each_role() -> None:
    metadata = {
        "voting_strategy": "debate",
        "provider_decisions": {
            "local": {"action": "HOLD"},
            "qwen": {"action": "SELL"},
            "cli": {"action": "BUY"},
        },
        "role_decisions": {
            "bull": {"action": "BUY", "provider": "local"},
            "judge": {"action": "HOLD"},
            "ghost": {"action": "BUY"},
        },
        "debate_seats": {"bull": "local", "bear": "qwen", "judge": "local", "absent": "codex"},
    }
    rows = provider_decisions(decisions(decision({"ensemble_metadata": metadata}))).to_pylist()
    assert sorted((row["provider"], row["role"], row["action"]) for row in rows) == [
        ("cli", "voter", "BUY"),
        ("local", "bull", "BUY"),
        ("local", "judge", "HOLD"),
        ("qwen", "bear", "SELL"),
        ("unknown", "ghost", "BUY"),
    ]


def test_decisions_of_two_pairs_are_refused() -> None:
    with pytest.raises(InputError, match="BTCUSD, ETHUSD"):
        history(decision({}), decision({"asset_pair": "ETHUSD"}))


def test_no_decision_is_no_row() -> None:
    none = decisions()
    assert decision_history(none, {}, NO_ANALYSIS).schema == DECISION_HISTORY.arrow
    assert provider_decisions(none).equals(PROVIDER_DECISIONS.arrow.empty_table())


# --- the engine's own files


def test_every_real_decision_is_one_row(shared_data: Path, tmp_path: Path) -> None:
    rows, refused = real_records(shared_data, tmp_path, RAW_AI_DECISIONS)
    assert (rows.num_rows, refused) == (14, 6)
    found = [
        row
        for of_pair in of_each_pair(rows)
        for row in decision_history(of_pair, {}, NO_ANALYSIS).to_pylist()
    ]
    keys = {(row["decision_id"], row["timestamp"]) for row in found}
    assert len(found) == len(keys) == rows.num_rows
    modes = [row["decision_mode"] for row in found]
    assert {mode: modes.count(mode) for mode in set(modes)} == {"voting": 3, "single": 11}
    assert sum(row["record_is_mock"] for row in found) == 4
    said = provider_decisions(rows).to_pylist()
    assert [(row["provider"], row["action"], row["agrees"]) for row in said] == [
        ("local", "BUY", True)
    ] * 3
