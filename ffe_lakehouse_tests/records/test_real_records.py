"""The engine's real files: each record of each is in Bronze or in the dead letters."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from ffe_lakehouse.records import files_below
from ffe_lakehouse_tests.records.desk import Desk, canonical, counts


@pytest.fixture
def landed(desk: Desk, shared_data: Path) -> Desk:
    """A desk with the real files, loaded."""
    copytree(shared_data / "records", desk.landing)
    return desk


def said(desk: Desk, *kinds: str) -> Iterator[dict[str, Any]]:
    """Every record of these kinds, read without any code of the lakehouse."""
    for kind in kinds:
        for path in sorted((desk.landing / kind).iterdir()):
            text = path.read_text()
            yield from map(json.loads, text.splitlines() if path.suffix == ".jsonl" else [text])


KINDS = {
    "raw_ai_decisions": ["decisions"],
    "raw_trade_executions": ["trade_outcomes", "outcomes"],
    "raw_portfolio_snapshots": ["pnl_snapshots"],
}


def test_each_record_is_accounted_for_by_count_and_word_by_word(landed: Desk) -> None:
    files = len(list(landed.landing.rglob("*.json*")))
    loaded = landed.load()
    assert sum(len(each.files) for each in loaded.values()) == files == 31
    assert {name: counts(each) for name, each in loaded.items()} == {
        "raw_ai_decisions": (14, 0, 0, 6),
        "raw_trade_executions": (16, 0, 0, 0),
        "raw_portfolio_snapshots": (3, 0, 0, 0),
    }
    for table, kinds in KINDS.items():
        expected = Counter(canonical(record) for record in said(landed, *kinds))
        kept = Counter(canonical(json.loads(text)) for text in landed.kept(table))
        assert kept == expected


def test_each_decision_is_in_one_place_by_its_id(landed: Desk) -> None:
    landed.load()
    rows = landed.rows("bronze/raw_ai_decisions")
    letters = landed.rows("dlq/raw_ai_decisions")
    ids = Counter(record["id"] for record in said(landed, "decisions"))
    refused = [json.loads(letter["record"])["id"] for letter in letters]
    assert Counter(row["decision_id"] for row in rows) + Counter(refused) == ids
    assert ids["test-learn"] == 3
    assert ids["test-learn"] == len(
        {r["timestamp"] for r in rows if r["decision_id"] == "test-learn"}
    )
    assert all(name.startswith("RECOVERED_BIP20DEC30CDE_") for name in refused)
    assert {(*letter["reasons"], letter["asset_pair"]) for letter in letters} == {
        ("unknown_product", None)
    }
    assert {row["asset_pair"] for row in rows} == {"BTCUSD", "ETHUSD"}
    # What the engine made of mock bars says so.
    mock = {r["id"] for r in said(landed, "decisions") if r.get("market_data", {}).get("mock")}
    assert {row["decision_id"] for row in rows if row["is_mock"]} == mock
    assert len(mock) == 4


def test_each_trade_is_there_and_the_one_that_ended_twice_has_two_versions(landed: Desk) -> None:
    landed.load()
    rows = landed.rows("bronze/raw_trade_executions")
    expected = Counter(
        r.get("trade_id") or r["decision_id"] for r in said(landed, *KINDS["raw_trade_executions"])
    )
    assert Counter(row["trade_id"] for row in rows) == expected
    twice = [row for row in rows if row["trade_id"].startswith("98bc28df")]
    assert [str(row["partition_date"]) for row in twice] == ["2026-02-27", "2026-04-01"]
    assert [row["realized_pnl"] for row in twice] == [-0.00586, -0.005265]
    (tiny,) = [row for row in rows if row["trade_id"].startswith("16b797b3")]
    assert tiny["entry_size"] == 0.0000199700449326011
    assert tiny["realized_pnl"] == 0.0
    older = [row for row in rows if row["source_provider"] == "engine_memory"]
    assert [row["side"] for row in older] == ["LONG", "LONG", "SHORT", "LONG", "LONG"]


def test_the_newer_end_of_a_trade_tells_of_the_day_of_the_older_one(landed: Desk) -> None:
    for last in files_below(landed.landing):
        if last.name == "trade_outcomes/2026-04-01.jsonl":
            continue
        landed.load(last.name)
    newest = landed.load("trade_outcomes/2026-04-01.jsonl")["raw_trade_executions"]
    assert {(pair, str(day)) for pair, day in newest.days} == {
        ("EURUSD", "2026-04-01"),
        ("GBPUSD", "2026-04-01"),
        ("GBPUSD", "2026-02-27"),
    }


def test_snapshots_are_told_in_numbers_and_in_utc(landed: Desk) -> None:
    landed.load()
    rows = landed.rows("bronze/raw_portfolio_snapshots")
    assert [row["total_pnl"] for row in rows] == [-9.5554, -9.2613, -9.1352]
    assert {row["partition_date"].isoformat() for row in rows} == {"2026-02-13"}
    assert {each["asset_pair"] for row in rows for each in row["positions"]} == {"EURUSD"}
    assert {each["size"] for row in rows for each in row["positions"]} == {2101.0}


def test_to_land_them_again_changes_nothing(landed: Desk) -> None:
    landed.load()
    before = landed.versions()
    again = landed.load()
    assert landed.versions() == before
    assert sum(counts(each)[0] for each in again.values()) == 0
    assert sum(each.new_letters for each in again.values()) == 0
