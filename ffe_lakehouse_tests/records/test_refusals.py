"""Which records are refused: every reason by an example, and what their letters say."""

from typing import Any

import pytest

from ffe_lakehouse.schemas.records import RECORD_REASONS
from ffe_lakehouse_tests.records.desk import (
    Desk,
    at,
    canonical,
    counts,
    decision,
    outcome,
    position,
    snapshot,
    trade,
)


def refused(desk: Desk, kind: str, record: object) -> dict[str, Any]:
    """The letter of a record that is refused."""
    desk.put(f"{kind}/a.json", record)
    ((name, loaded),) = desk.load().items()
    assert counts(loaded) == (0, 0, 0, 1)
    assert desk.rows(f"bronze/{name}") == []
    (letter,) = desk.rows(f"dlq/{name}")
    assert loaded.reasons == dict.fromkeys(letter["reasons"], 1)
    return letter


MISSING = [
    *(("decisions", decision, name) for name in ("id", "asset_pair", "timestamp", "action")),
    *(
        ("trade_outcomes", trade, name)
        for name in ("trade_id", "product", "side", "entry_time", "entry_price", "entry_size")
    ),
    *(
        ("outcomes", outcome, name)
        for name in (
            *("decision_id", "asset_pair", "action"),
            *("entry_timestamp", "entry_price", "position_size"),
        )
    ),
    *(("pnl_snapshots", snapshot, name) for name in ("timestamp", "platform", "positions")),
    # An exit is a time and a price.
    *(("trade_outcomes", trade, name) for name in ("exit_time", "exit_price")),
    *(("outcomes", outcome, name) for name in ("exit_timestamp", "exit_price")),
]


@pytest.mark.parametrize(
    ("kind", "make", "name"), MISSING, ids=[f"{kind}-{name}" for kind, _, name in MISSING]
)
def test_a_missing_field_is_named(desk: Desk, kind: str, make: Any, name: str) -> None:
    letter = refused(desk, kind, make(**{name: None}))
    assert letter["reasons"] == ["missing_field"]
    assert f"{name} is missing" in letter["detail"]


FAULTS: list[tuple[str, str, dict[str, Any], str]] = [
    ("missing_field", "decisions", decision(id=" "), "id is ' '"),
    (
        "missing_field",
        "pnl_snapshots",
        snapshot(positions=[position(product=None)]),
        "positions[0]",
    ),
    ("wrong_type", "decisions", decision(confidence={"value": 80}), "confidence is {'value': 80}"),
    ("wrong_type", "decisions", decision(entry_price=True), "entry_price is True"),
    ("wrong_type", "decisions", decision(id=7), "id is 7"),
    ("wrong_type", "decisions", decision(reasoning=["a"]), "reasoning"),
    ("wrong_type", "decisions", decision(executed="yes"), "executed is 'yes'"),
    ("wrong_type", "decisions", decision(ensemble_metadata=[1]), "ensemble_metadata is [1]"),
    ("wrong_type", "decisions", decision(execution_result="ok"), "execution_result"),
    ("wrong_type", "decisions", decision(execution_result={"success": 1}), "result.success is 1"),
    ("wrong_type", "decisions", decision(market_data={"mock": "no"}), "market_data.mock"),
    ("wrong_type", "pnl_snapshots", snapshot(positions={}), "positions is {}"),
    ("wrong_type", "pnl_snapshots", snapshot(positions=["EUR_USD"]), "positions"),
    ("wrong_type", "pnl_snapshots", snapshot(position_count=1.5), "position_count is 1.5"),
    ("wrong_type", "pnl_snapshots", snapshot(position_count=1e300), "position_count"),
    ("bad_time", "decisions", decision(timestamp="yesterday"), "timestamp is 'yesterday'"),
    ("bad_time", "decisions", decision(timestamp=1764690683), "timestamp is 1764690683"),
    ("bad_time", "decisions", decision(timestamp="0001-01-01T00:00:00+05:00"), "timestamp"),
    ("bad_time", "decisions", decision(execution_time="soon"), "execution_time is 'soon'"),
    ("bad_time", "trade_outcomes", trade(exit_time="later"), "exit_time is 'later'"),
    (
        "in_the_future",
        "decisions",
        decision(timestamp="2026-05-02T12:00:01"),
        "2026-05-02T12:00:01",
    ),
    ("before_start_date", "decisions", decision(timestamp="2014-12-31T23:59:59"), "FFE_START_DATE"),
    ("unknown_product", "decisions", decision(asset_pair="BIP20DEC30CDE"), "BIP20DEC30CDE"),
    ("unknown_product", "trade_outcomes", trade(product="BIP-20DEC30-CDE"), "product: unknown"),
    (
        "unknown_product",
        "pnl_snapshots",
        snapshot(positions=[position(product="?")]),
        "[0].product",
    ),
    ("unknown_action", "decisions", decision(action="WAIT"), "action is 'WAIT', not one of BUY"),
    ("unknown_side", "trade_outcomes", trade(side="BUY"), "side is 'BUY', not one of LONG"),
    ("unknown_side", "outcomes", outcome(action="HOLD"), "action is 'HOLD', not one of BUY"),
    ("unknown_side", "pnl_snapshots", snapshot(positions=[position(side="UP")]), "[0].side"),
    ("not_finite", "decisions", decision(entry_price="cheap"), "entry_price is 'cheap'"),
    ("not_finite", "decisions", decision(entry_price="1_000"), "entry_price is '1_000'"),
    ("not_finite", "decisions", decision(entry_price=""), "entry_price is ''"),
    ("not_finite", "decisions", decision(entry_price="Infinity"), "entry_price is 'Infinity'"),
    ("not_finite", "decisions", decision(entry_price=float("nan")), "entry_price is nan"),
    ("not_finite", "decisions", decision(other=[{"a": float("-inf")}]), "other[0].a is -inf"),
    ("not_finite", "trade_outcomes", trade(realized_pnl="1e999"), "realized_pnl is '1e999'"),
    ("price_not_positive", "decisions", decision(entry_price=0), "entry_price is above zero"),
    ("price_not_positive", "decisions", decision(stop_loss_price="-1"), "stop_loss_price"),
    ("price_not_positive", "decisions", decision(suggested_amount=-1), "suggested_amount is not"),
    ("price_not_positive", "trade_outcomes", trade(entry_size="0"), "entry_size is above zero"),
    ("price_not_positive", "trade_outcomes", trade(exit_price=-2), "exit_price is above zero"),
    ("price_not_positive", "outcomes", outcome(position_size=0), "entry_size is above zero"),
    (
        "price_not_positive",
        "pnl_snapshots",
        snapshot(positions=[position(size=0)]),
        "[0].size is 0",
    ),
    ("confidence_out_of_range", "decisions", decision(confidence=100.5), "[0, 100]"),
    ("confidence_out_of_range", "decisions", decision(confidence="-1"), "[0, 100]"),
    (
        "exit_before_entry",
        "trade_outcomes",
        trade(exit_time="2026-02-13T21:02:20.383861Z"),
        "exit_time is not before entry_time",
    ),
]


@pytest.mark.parametrize(
    ("reason", "kind", "record", "detail"),
    FAULTS,
    ids=[f"{reason}-{number}" for number, (reason, *_) in enumerate(FAULTS)],
)
def test_a_fault_is_told_with_its_reason_its_field_and_its_value(
    desk: Desk, reason: str, kind: str, record: dict[str, Any], detail: str
) -> None:
    letter = refused(desk, kind, record)
    assert letter["reasons"] == [reason]
    assert detail in letter["detail"]
    assert letter["source"] == f"{kind}/a.json"


def test_every_reason_has_an_example() -> None:
    elsewhere = {"unreadable_file", "conflicting_version"}  # files, and news
    assert {reason for reason, *_ in FAULTS} == RECORD_REASONS.keys() - elsewhere


def test_a_letter_has_all_reasons_that_apply_in_their_order(desk: Desk) -> None:
    said = decision(id=None, asset_pair="BIP20DEC30CDE", confidence=101, entry_price=0)
    said |= {"timestamp": "nonsense", "action": 5}
    letter = refused(desk, "decisions", said)
    assert letter["reasons"] == [
        *("missing_field", "wrong_type", "bad_time"),
        *("unknown_product", "price_not_positive", "confidence_out_of_range"),
    ]
    assert len(letter["detail"].split("; ")) == 6


def test_a_letter_says_of_its_record_what_can_be_read(desk: Desk) -> None:
    said = trade(side="UP")
    letter = refused(desk, "trade_outcomes", said)
    assert letter["asset_pair"] == "EURUSD"
    assert letter["timestamp"] == at("2026-02-14T13:57:23.770471")
    assert letter["partition_date"] == letter["timestamp"].date()
    assert letter["record"] == canonical(said)
    assert letter["run_id"] == "run-1"


def test_a_clock_that_is_a_day_ahead_is_no_fault(desk: Desk) -> None:
    desk.put("decisions/a.json", decision(timestamp="2026-05-02T12:00:00"))
    desk.load()
    (row,) = desk.rows("bronze/raw_ai_decisions")
    assert row["partition_date"].isoformat() == "2026-05-02"


def test_a_letter_of_the_far_future_is_of_the_day_it_was_refused(desk: Desk) -> None:
    letter = refused(desk, "decisions", decision(timestamp="9999-12-31T00:00:00"))
    assert letter["timestamp"].year == 9999
    assert letter["partition_date"] == desk.now.date()
    assert letter["storage_period"] == "2026"
