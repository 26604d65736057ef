"""Records of the simulated engine on the way of real ones: none is refused, all stay made up."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from ffe_lakehouse.providers.simulated_engine import SimulatedEngine
from ffe_lakehouse.records import LandedFile, Loaded, files_below, simulated_file
from ffe_lakehouse.schemas.records import RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS
from ffe_lakehouse.schemas.silver import MARKET_DATA_UNIFIED, MULTI_TIMEFRAME_ANALYSIS
from ffe_lakehouse.schemas.silver_records import DECISION_MODES
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.transforms.decisions import decision_history, provider_decisions
from ffe_lakehouse.transforms.trades import trade_lifecycle
from ffe_lakehouse_tests.records.desk import (
    ENGINE,
    NOW,
    Desk,
    canonical,
    counts,
    decision,
    snapshot,
    trade,
)

TABLES = [table.name for table in ENGINE]
FIRST, LAST = date(2026, 4, 20), date(2026, 5, 1)
"""The last day is the running one."""
PAIRS = ("BTCUSD", "EURUSD", "AAPL")


def left(
    *pairs: str, first: date = FIRST, last: date = LAST, now: datetime = NOW
) -> list[LandedFile]:
    """The files that the engine would have left."""
    return [
        simulated_file(kind, pair, records, now)
        for pair in pairs
        for kind, records in SimulatedEngine(0, parse_symbol(pair))
        .records(first, last, now)
        .items()
    ]


def load(desk: Desk, files: Iterable[LandedFile]) -> dict[str, Loaded]:
    loaded, unread = desk.loader().load(list(files))
    assert not unread
    return {each.schema.name.removeprefix("bronze/"): each for each in loaded}


def flags(desk: Desk) -> set[tuple[str, bool]]:
    """Who left the rows, and whether they are made up."""
    return {
        (row["source_provider"], row["is_mock"]) for table in TABLES for row in desk.rows(table)
    }


def test_none_is_refused_and_all_say_that_they_are_made_up(desk: Desk) -> None:
    loaded = load(desk, left(*PAIRS))
    assert len(loaded) == 3
    for each in loaded.values():
        written, *others = counts(each)
        assert written
        assert others == [0, 0, 0]
    assert flags(desk) == {("simulated", True)}


def test_the_record_is_kept_word_by_word(desk: Desk) -> None:
    files = left("BTCUSD")
    load(desk, files)
    said = {canonical(json.loads(line)) for file in files for line in file.read().splitlines()}
    assert {row["record"] for table in TABLES for row in desk.rows(table)} == said


def test_to_load_them_twice_makes_no_commit(desk: Desk) -> None:
    load(desk, left("BTCUSD", "AAPL"))
    before = desk.versions()
    for each in load(desk, left("AAPL", "BTCUSD", now=NOW)).values():
        assert counts(each)[0] == 0
        assert counts(each)[1] == each.fetched
    assert desk.versions() == before


def test_the_running_day_is_completed_and_nothing_of_it_is_written_twice(desk: Desk) -> None:
    day = NOW.date()
    load(desk, left("BTCUSD", first=day))
    before = {row["record"] for table in TABLES for row in desk.rows(table)}
    desk.now = NOW + timedelta(days=1)
    again = load(desk, left("BTCUSD", first=day, now=desk.now))
    assert all(counts(each)[0] for each in again.values())
    rows = [row["record"] for table in TABLES for row in desk.rows(table)]
    assert len(rows) == len(set(rows))
    assert before < set(rows)


def test_pairs_and_days_one_after_the_other_end_as_all_at_once(desk: Desk) -> None:
    middle = date(2026, 4, 25)
    load(desk, left("AAPL", first=middle))
    load(desk, left("BTCUSD"))
    load(desk, left("BTCUSD", "AAPL", last=middle))
    whole = Desk(desk.folder / "whole")
    load(whole, left("BTCUSD", "AAPL"))
    for table in TABLES:
        found, wanted = ([row["record"] for row in each.rows(table)] for each in (desk, whole))
        assert sorted(found) == sorted(wanted)


def test_real_files_beside_them_stay_real(desk: Desk) -> None:
    # Even under the very names that the made-up files have.
    desk.put("decisions/simulated/BTCUSD.jsonl", [decision()])
    desk.put("trade_outcomes/simulated/BTCUSD.jsonl", [trade(product="BTC-USD")])
    desk.put("pnl_snapshots/simulated/BTCUSD.jsonl", [snapshot(platform="simulated:BTCUSD")])
    load(desk, [*files_below(desk.landing), *left("BTCUSD")])
    assert flags(desk) == {("simulated", True), ("engine", False)}
    for table in TABLES:
        real = [row for row in desk.rows(table) if not row["is_mock"]]
        assert len(real) == 1


def test_a_made_up_record_that_is_refused_is_a_made_up_letter(desk: Desk) -> None:
    loaded = load(desk, [simulated_file("decisions", "BTCUSD", [{"id": 1}], NOW)])
    assert counts(loaded["raw_ai_decisions"]) == (0, 0, 0, 1)
    (letter,) = desk.rows("dlq/raw_ai_decisions")
    assert (letter["source_provider"], letter["is_mock"]) == ("simulated", True)
    assert letter["source"] == "decisions/simulated/BTCUSD.jsonl:1"


def test_a_file_of_lines_that_breaks_off_is_a_made_up_letter_too(desk: Desk) -> None:
    file = simulated_file("pnl_snapshots", "BTCUSD", [], NOW)
    load(desk, [replace(file, content=b'{"timestamp": ')])
    (letter,) = desk.rows("dlq/raw_portfolio_snapshots")
    assert (letter["reasons"], letter["is_mock"]) == (["unreadable_file"], True)


# --- what Silver makes of them


@pytest.fixture
def bronze(desk: Desk) -> dict[str, pa.Table]:
    """All versions of BTCUSD."""
    load(desk, left("BTCUSD", first=date(2026, 3, 1)))
    return {table.name: desk.lake.read(table.name) for table in ENGINE}


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_silver_agrees_with_every_profit_and_finds_the_decision_behind_it(
    bronze: dict[str, pa.Table],
) -> None:
    decisions, executions = (bronze[t.name] for t in (RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS))
    minutes = MARKET_DATA_UNIFIED.arrow.empty_table()
    trades = rows_of(trade_lifecycle(executions, minutes, {}, decisions))
    closed = [row for row in trades if row["status"] == "closed"]
    assert {(row["pnl_agrees"], row["pnl_basis"]) for row in closed} == {(True, "net")}
    assert {(row["remaining_size"], row["is_revised"]) for row in closed} == {(0.0, False)}
    assert all(row["record_is_mock"] for row in trades)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    assert {row["decision_match"] for row in trades if row["entry_time"] >= start} == {"given"}
    # What runs at this moment is open, and nothing else is.
    still = [row for row in trades if row["status"] == "open"]
    assert still
    assert all(NOW - row["entry_time"] <= timedelta(days=2) for row in still)


def test_silver_reads_every_mode_and_every_provider(bronze: dict[str, pa.Table]) -> None:
    decisions = bronze[RAW_AI_DECISIONS.name]
    analysis = MULTI_TIMEFRAME_ANALYSIS.arrow.empty_table()
    history = rows_of(decision_history(decisions, {}, analysis))
    assert {row["decision_mode"] for row in history} == set(DECISION_MODES)
    modes = {row["decision_id"]: row["decision_mode"] for row in history}
    assert not any(row["fallback_tier"] is None for row in history if row["providers_used"])
    said = rows_of(provider_decisions(decisions))
    assert {row["provider"] for row in said} == {"local", "cli", "codex", "qwen", "gemini"}
    for row in said:
        is_debate = modes[row["decision_id"]] == "debate"
        assert (row["role"] != "voter") == is_debate
        assert row["confidence"] is not None
        assert row["adjusted_weight"] is not None
