"""What each way of deciding was worth, by examples that can be done in the head."""

from typing import Any

import pytest

from ffe_lakehouse_tests.gold_lake import DAY, GoldLake, at, columns_of

MART = "mart_ensemble_effectiveness"


def days(gold: GoldLake) -> list[dict[str, dict[str, Any]]]:
    """The rows of the first eight days: of each, by mode."""
    found: list[dict[str, dict[str, Any]]] = [{} for _ in range(8)]
    for row in gold.build(MART, last=7):
        found[(row["date"] - DAY).days][row["decision_mode"]] = row
    return found


def test_the_columns_are_in_the_order_of_the_documentation(gold: GoldLake) -> None:
    gold.trade(1, 5.0)
    (row, *_) = gold.build(MART, last=1)
    assert list(row) == columns_of(MART)[: len(row)]


def test_without_decisions_and_trades_there_are_no_rows(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    assert gold.build(MART, last=3) == []


def test_trades_are_counted_by_the_mode_of_their_decision_on_the_day_of_the_exit(
    gold: GoldLake,
) -> None:
    modes = ("single", "voting", "fallback", "debate")
    for number, mode in enumerate(modes):
        gold.decision(number / 24, decision_mode=mode)
        for pnl in (10.0 * (number + 1), -5.0):
            gold.trade(
                2 + number / 24,
                pnl,
                matched_decision_id=f"d{number}",
                decision_timestamp=at(number / 24),
            )
    gold.trade(2, 0.0)
    before, found = days(gold)[1:3]
    assert {mode: row["day_net_pnl"] for mode, row in found.items()} == {
        "single": 5.0,
        "voting": 15.0,
        "fallback": 25.0,
        "debate": 35.0,
        "unknown": 0.0,
    }
    debate, unknown = found["debate"], found["unknown"]
    assert (debate["trades"], debate["winning_trades"], debate["win_rate"]) == (2, 1, 0.5)
    assert (debate["net_pnl"], debate["expectancy"]) == (35.0, 17.5)
    assert (unknown["trades"], unknown["win_rate"], unknown["decisions"]) == (1, 0.0, 0)
    assert set(before) == set(modes)
    assert {(row["trades"], row["win_rate"], row["expectancy"]) for row in before.values()} == {
        (0, None, None)
    }


def test_a_day_without_trades_repeats_the_totals_but_not_those_of_the_day(gold: GoldLake) -> None:
    gold.decision(0)
    gold.trade(1, 4.0, matched_decision_id="d0", decision_timestamp=at(0))
    row = days(gold)[5]["single"]
    assert (row["day_decisions"], row["day_trades"], row["day_net_pnl"]) == (0, 0, 0.0)
    assert (row["decisions"], row["trades"], row["net_pnl"]) == (1, 1, 4.0)


def test_means_are_over_the_decisions_that_have_the_value(gold: GoldLake) -> None:
    for moment, confidence, agreement, failures, factor in (
        (0.0, 80.0, 1.0, 0.0, 1.0),
        (0.1, None, 0.5, None, 0.7),
        (0.2, 50.0, None, 0.5, None),
    ):
        gold.decision(
            moment,
            decision_mode="voting",
            confidence=confidence,
            agreement_score=agreement,
            failure_rate=failures,
            confidence_adjustment_factor=factor,
        )
    row = days(gold)[0]["voting"]
    means = ("confidence", "agreement", "failure_rate", "confidence_adjustment")
    found = [row[f"mean_{name}"] for name in means]
    assert found == pytest.approx([65.0, 0.75, 0.25, 0.85])


def test_a_mean_without_any_value_is_null(gold: GoldLake) -> None:
    gold.decision(0, confidence=None)
    row = days(gold)[3]["single"]
    assert [row[name] for name in row if name.startswith("mean_")] == [None] * 4


@pytest.mark.parametrize("value", [-0.1, 1.1, 1e300])
def test_what_is_no_share_counts_as_unknown(gold: GoldLake, value: float) -> None:
    names = ("agreement_score", "failure_rate", "confidence_adjustment_factor")
    gold.decision(0, decision_mode="voting", **dict.fromkeys(names, value))
    row = days(gold)[0]["voting"]
    assert [row[name] for name in row if name.startswith("mean_")] == [60.0, None, None, None]


def test_an_execution_counts_on_its_day(gold: GoldLake) -> None:
    gold.decision(0, executed=True, execution_time=at(3.5))
    gold.decision(0.5, executed=False)
    gold.decision(1, executed=True)
    assert [each["single"]["executed"] for each in days(gold)[:5]] == [0, 1, 1, 2, 2]


def test_a_mode_has_a_row_on_every_day_from_its_first_one(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    gold.decision(2, decision_mode="debate")
    assert [list(each) for each in days(gold)] == [[]] * 2 + [["debate"]] * 6


def test_a_real_trade_of_a_simulated_decision_has_an_unknown_mode(gold: GoldLake) -> None:
    gold.decision(0, decision_mode="debate", record_is_mock=True)
    gold.trade(2, 10.0, matched_decision_id="d0", decision_timestamp=at(0))
    found = days(gold)
    assert list(found[1]) == ["debate"]
    assert {mode: row["trades"] for mode, row in found[2].items()} == {"unknown": 1}


def test_with_the_first_real_record_every_count_starts_anew(gold: GoldLake) -> None:
    for day, mock in ((0, True), (1, True), (3, False), (4, True)):
        gold.decision(day, executed=True, execution_time=at(day + 3), record_is_mock=mock)
    rows = [each["single"] for each in days(gold)]
    assert [row["is_mock"] for row in rows] == [True] * 3 + [False] * 5
    assert [row["decisions"] for row in rows] == [1, 2, 2, 1, 1, 1, 1, 1]
    assert [row["executed"] for row in rows] == [0, 0, 0, 0, 0, 0, 1, 1]


def test_a_decision_that_turns_out_to_be_a_debate_moves_there_with_its_trades(
    gold: GoldLake,
) -> None:
    gold.decision(0, decision_mode="voting")
    gold.trade(1, 4.0, matched_decision_id="d0", decision_timestamp=at(0))
    assert list(days(gold)[1]) == ["voting"]
    gold.rows["silver/decision_history"].clear()
    gold.decision(0, decision_mode="debate")
    assert {mode: row["net_pnl"] for mode, row in days(gold)[1].items()} == {"debate": 4.0}
