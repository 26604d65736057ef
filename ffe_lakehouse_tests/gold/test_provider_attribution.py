"""What each provider was worth, by examples that can be done in the head."""

from typing import Any

import pytest

from ffe_lakehouse_tests.gold_lake import DAY, GoldLake, at, columns_of

MART = "mart_provider_attribution"
BUCKETS = ("0_20", "20_40", "40_60", "60_80", "80_100")


def days(gold: GoldLake, pair: str = "BTCUSD") -> list[dict[str, dict[str, Any]]]:
    """The rows of the first eight days: of each, by provider."""
    found: list[dict[str, dict[str, Any]]] = [{} for _ in range(8)]
    for row in gold.build(MART, last=7):
        if row["asset_pair"] == pair:
            found[(row["date"] - DAY).days][row["provider"]] = row
    return found


def ensemble(gold: GoldLake, day: float = 0, mode: str = "voting", **more: Any) -> dict[str, Any]:
    """A decision of an ensemble; what a trade says of it."""
    name = more.setdefault("decision_id", "d0")
    gold.decision(day, decision_mode=mode, ai_provider="ensemble", **more)
    return {"matched_decision_id": name, "decision_timestamp": at(day)}


def money(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {provider: row["attributed_net_pnl"] for provider, row in rows.items()}


def test_the_columns_are_in_the_order_of_the_documentation(gold: GoldLake) -> None:
    gold.trade(1, 5.0)
    (row, *_) = gold.build(MART, last=1)
    assert list(row) == columns_of(MART)[: len(row)]


def test_without_decisions_and_trades_there_are_no_rows(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    assert gold.build(MART, last=3) == []


def test_a_trade_is_shared_out_by_adjusted_weights(gold: GoldLake) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", adjusted_weight=0.5)
    gold.voice(0, "d0", "cli", adjusted_weight=0.3)
    gold.voice(0, "d0", "qwen", adjusted_weight=0.2)
    gold.trade(2, 10.0, **behind)
    found = days(gold)
    assert money(found[1]) == {"local": 0.0, "cli": 0.0, "qwen": 0.0}
    assert money(found[2]) == pytest.approx({"local": 5.0, "cli": 3.0, "qwen": 2.0})


def test_who_said_the_opposite_shares_in_it_all_the_same(gold: GoldLake) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", action="SELL")
    gold.voice(0, "d0", "cli", action="HOLD")
    gold.trade(2, 10.0, **behind)
    assert money(days(gold)[2]) == {"local": 5.0, "cli": 5.0}


@pytest.mark.parametrize("weight", [None, 0.0, -1.0])
def test_without_any_weight_the_shares_are_equal(gold: GoldLake, weight: float | None) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", adjusted_weight=weight)
    gold.voice(0, "d0", "cli", adjusted_weight=weight)
    gold.trade(2, 10.0, **behind)
    assert money(days(gold)[2]) == {"local": 5.0, "cli": 5.0}


@pytest.mark.parametrize("weight", [None, 0.0, -1.0])
def test_who_has_no_weight_beside_others_that_have_shares_in_the_trade_but_not_in_its_money(
    gold: GoldLake, weight: float | None
) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", adjusted_weight=weight)
    gold.voice(0, "d0", "cli", adjusted_weight=1e-30)
    gold.trade(2, 10.0, **behind)
    found = days(gold)[2]
    assert money(found) == {"local": 0.0, "cli": 10.0}
    assert (found["local"]["trades"], found["local"]["calls"]) == (1, 1)


def test_weights_may_be_as_large_as_numbers_are(gold: GoldLake) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", adjusted_weight=1.7e308)
    gold.voice(0, "d0", "cli", adjusted_weight=1.7e308)
    gold.trade(2, 10.0, **behind)
    assert money(days(gold)[2]) == {"local": 5.0, "cli": 5.0}


def test_a_provider_in_two_seats_has_its_larger_weight_once(gold: GoldLake) -> None:
    behind = ensemble(gold, mode="debate")
    gold.voice(0, "d0", "local", role="bull", adjusted_weight=0.75)
    gold.voice(0, "d0", "local", role="judge", adjusted_weight=0.25)
    gold.voice(0, "d0", "cli", role="bear", adjusted_weight=0.25)
    gold.trade(2, 8.0, **behind)
    assert money(days(gold)[2]) == {"local": 6.0, "cli": 2.0}


def test_what_is_argued_as_bull_or_bear_is_no_call(gold: GoldLake) -> None:
    behind = ensemble(gold, mode="debate")
    gold.voice(0, "d0", "local", role="bull", action="BUY", confidence=90.0)
    gold.voice(0, "d0", "cli", role="bear", action="SELL", confidence=90.0)
    gold.voice(0, "d0", "qwen", role="judge", action="BUY", confidence=70.0)
    gold.trade(2, 10.0, **behind)
    found = days(gold)[2]
    assert {name: (row["calls"], row["hits"]) for name, row in found.items()} == {
        "local": (0, 0),
        "cli": (0, 0),
        "qwen": (1, 1),
    }
    assert found["local"]["mean_confidence"] == 90.0


def test_a_judge_that_also_argued_is_taken_at_its_judgement(gold: GoldLake) -> None:
    behind = ensemble(gold, mode="debate")
    gold.voice(0, "d0", "local", role="bear", action="SELL", confidence=95.0)
    gold.voice(0, "d0", "local", role="judge", action="BUY", confidence=55.0)
    gold.trade(2, 10.0, **behind)
    row = days(gold)[2]["local"]
    assert (row["calls"], row["hits"], row["mean_confidence"]) == (1, 1, 55.0)
    assert row["decisions"] == 1


def test_who_argued_both_sides_has_the_confidence_of_the_louder_one(gold: GoldLake) -> None:
    ensemble(gold, mode="debate")
    gold.voice(0, "d0", "local", role="bear", confidence=None)
    gold.voice(0, "d0", "local", role="bull", confidence=30.0)
    gold.voice(0, "d0", "local", role="sceptic", confidence=40.0)
    assert days(gold)[2]["local"]["mean_confidence"] == 40.0


def test_a_provider_that_failed_has_no_part_in_the_decision(gold: GoldLake) -> None:
    behind = ensemble(gold, mode="fallback", providers_failed=["qwen"], failure_rate=0.5)
    gold.voice(0, "d0", "local")
    gold.trade(2, 10.0, **behind)
    assert money(days(gold)[2]) == {"local": 10.0}


def test_a_single_provider_has_the_whole_trade_and_its_own_call(gold: GoldLake) -> None:
    gold.decision(0, action="SELL", confidence=100.0, ai_provider="local")
    gold.trade(
        2, -4.0, side="SHORT", exit_price=104.0, matched_decision_id="d0", decision_timestamp=at(0)
    )
    (row,) = days(gold)[2].values()
    assert (row["provider"], row["attributed_net_pnl"]) == ("local", -4.0)
    assert (row["calls"], row["hits"], row["brier_score"]) == (1, 0, 1.0)


def test_an_ensemble_of_which_nobody_is_known_is_a_provider_of_its_own(gold: GoldLake) -> None:
    behind = ensemble(gold, mode="voting", confidence=0.0)
    gold.trade(2, 10.0, **behind)
    (row,) = days(gold)[2].values()
    assert (row["provider"], row["attributed_net_pnl"], row["calls"]) == ("ensemble", 10.0, 1)
    assert row["mean_confidence"] == 0.0


def test_a_trade_without_a_decision_is_of_the_provider_that_it_names_and_no_call(
    gold: GoldLake,
) -> None:
    gold.trade(2, 10.0, ai_provider="cli")
    gold.trade(2, 3.0)
    found = days(gold)[2]
    assert money(found) == {"cli": 10.0, "unknown": 3.0}
    assert {(row["trades"], row["calls"], row["decisions"]) for row in found.values()} == {
        (1, 0, 0)
    }


def test_a_real_trade_of_a_simulated_decision_is_of_the_provider_that_it_names(
    gold: GoldLake,
) -> None:
    behind = ensemble(gold, record_is_mock=True)
    gold.voice(0, "d0", "local")
    gold.trade(2, 10.0, ai_provider="cli", **behind)
    assert money(days(gold)[2]) == {"cli": 10.0}


def test_with_the_first_real_record_every_count_starts_anew(gold: GoldLake) -> None:
    for day, mock in ((0, True), (2, False), (4, True), (5, False)):
        gold.decision(
            day, confidence=50.0 + day, executed=True, execution_time=at(6), record_is_mock=mock
        )
    rows = [each["local"] for each in days(gold)]
    assert [row["is_mock"] for row in rows] == [True] * 2 + [False] * 6
    assert [row["decisions"] for row in rows] == [1, 1, 1, 1, 1, 2, 2, 2]
    assert [row["mean_confidence"] for row in rows] == [50.0] * 2 + [52.0] * 3 + [53.5] * 3
    assert [row["executed"] for row in rows] == [0, 0, 0, 0, 0, 0, 2, 2]


def test_several_trades_of_a_decision_are_several_calls_each_on_the_day_of_its_exit(
    gold: GoldLake,
) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", action="BUY", confidence=80.0)
    gold.trade(1, 10.0, **behind)
    gold.trade(3, -5.0, **behind)
    gold.trade(4, 0.0, **behind)
    rows = [each["local"] for each in days(gold)[:5]]
    assert [row["day_attributed_net_pnl"] for row in rows] == [0, 10, 0, -5, 0]
    assert [row["calls"] for row in rows] == [0, 1, 1, 2, 3]
    assert [row["hits"] for row in rows] == [0, 1, 1, 1, 1]
    assert [row["hit_rate"] for row in rows] == pytest.approx([None, 1, 1, 1 / 2, 1 / 3])
    assert rows[-1]["brier_score"] == pytest.approx((0.2**2 + 0.8**2 + 0.8**2) / 3)
    assert [row["decisions"] for row in rows] == [1] * 5


def test_a_call_is_judged_by_the_price_and_not_by_the_money(gold: GoldLake) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", action="BUY")
    gold.voice(0, "d0", "cli", action="SELL")
    gold.trade(1, -1.0, entry_price=100.0, exit_price=101.0, fees=2.0, **behind)
    assert {name: row["hits"] for name, row in days(gold)[1].items()} == {"local": 1, "cli": 0}


def test_a_price_that_has_not_moved_is_a_hit_of_nobody(gold: GoldLake) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", action="BUY")
    gold.voice(0, "d0", "cli", action="SELL")
    gold.trade(1, -2.0, entry_price=100.0, exit_price=100.0, **behind)
    assert [(row["calls"], row["hits"]) for row in days(gold)[1].values()] == [(1, 0), (1, 0)]


def test_a_hold_is_a_decision_but_no_call(gold: GoldLake) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", action="HOLD", confidence=70.0)
    gold.trade(1, 10.0, **behind)
    row = days(gold)[1]["local"]
    assert (row["decisions"], row["mean_confidence"], row["trades"]) == (1, 70.0, 1)
    assert (row["calls"], row["hit_rate"], row["brier_score"]) == (0, None, None)


def test_calls_are_sorted_by_confidence_and_100_is_in_the_last_bucket(gold: GoldLake) -> None:
    confidences = [0.0, 19.9, 20.0, 40.0, 60.0, 80.0, 100.0, None]
    for number, confidence in enumerate(confidences):
        moment = number / 24
        gold.decision(moment, confidence=confidence)
        gold.trade(
            1 + moment,
            1.0 if number % 2 else -1.0,
            matched_decision_id=f"d{number}",
            decision_timestamp=at(moment),
        )
    row = days(gold)[1]["local"]
    assert [row[f"calls_{each}"] for each in BUCKETS] == [2, 1, 1, 1, 2]
    assert [row[f"hits_{each}"] for each in BUCKETS] == [1, 0, 1, 0, 1]
    means = [row[f"mean_confidence_{each}"] for each in BUCKETS]
    assert means == pytest.approx([9.95, 20.0, 40.0, 60.0, 90.0])
    assert (row["calls"], row["hits"]) == (8, 4), "one of them without a known confidence"
    squares = [0.0, 0.801**2, 0.2**2, 0.6**2, 0.6**2, 0.2**2, 1.0]
    assert row["brier_score"] == pytest.approx(sum(squares) / 7)


def test_what_is_no_confidence_counts_as_unknown(gold: GoldLake) -> None:
    behind = ensemble(gold)
    for provider, confidence in (("local", None), ("cli", -1.0), ("qwen", 1e300)):
        gold.voice(0, "d0", provider, confidence=confidence)
    gold.trade(1, 10.0, **behind)
    for row in days(gold)[1].values():
        assert (row["mean_confidence"], row["brier_score"], row["calls"]) == (None, None, 1)
        assert sum(row[f"calls_{each}"] for each in BUCKETS) == 0


def test_an_execution_counts_on_its_day(gold: GoldLake) -> None:
    gold.decision(0, executed=True, execution_time=at(3.5))
    gold.decision(0.5, executed=False)
    gold.decision(1, executed=True, execution_time=at(0))
    assert [each["local"]["executed"] for each in days(gold)[:5]] == [0, 1, 1, 2, 2]


def test_a_trade_belongs_to_the_decision_of_its_moment_where_an_id_is_used_again(
    gold: GoldLake,
) -> None:
    first, second = ensemble(gold, 0), ensemble(gold, 2)
    gold.voice(0, "d0", "local")
    gold.voice(2, "d0", "cli")
    gold.trade(1, 10.0, **first)
    gold.trade(3, 7.0, **second)
    assert money(days(gold)[3]) == {"local": 10.0, "cli": 7.0}


def test_a_revised_decision_leaves_nothing_of_what_it_was(gold: GoldLake) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local", action="SELL")
    gold.trade(1, 10.0, **behind)
    assert money(days(gold)[1]) == {"local": 10.0}
    for table in [name for name in gold.rows if name.endswith("provider_decisions")]:
        gold.rows[table].clear()
    gold.voice(0, "d0", "cli", action="BUY")
    found = days(gold)[1]
    assert money(found) == {"cli": 10.0}
    assert found["cli"]["hits"] == 1


def test_only_trades_with_a_known_outcome_are_shared_out(gold: GoldLake) -> None:
    behind = ensemble(gold)
    gold.voice(0, "d0", "local")
    gold.trade(1, None, **behind)
    gold.trade(1, None, status="open", exit_time=None, exit_price=None, **behind)
    row = days(gold)[2]["local"]
    assert (row["trades"], row["calls"], row["attributed_net_pnl"]) == (0, 0, 0.0)


def test_a_provider_has_a_row_on_every_day_from_its_first_one(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    gold.decision(2, ai_provider="local")
    gold.decision(4, ai_provider="cli")
    both = {"local", "cli"}
    found = [set(each) for each in days(gold)]
    assert found == [set(), set(), {"local"}, {"local"}, both, both, both, both]


def test_pairs_are_counted_apart_each_in_its_currency(gold: GoldLake) -> None:
    gold.trade(1, 10.0, ai_provider="local")
    gold.trade(1, 900.0, ai_provider="local", asset_pair="USDJPY")
    assert money(days(gold)[2]) == {"local": 10.0}
    row = days(gold, "USDJPY")[2]["local"]
    assert (row["attributed_net_pnl"], row["quote_currency"]) == (900.0, "JPY")
