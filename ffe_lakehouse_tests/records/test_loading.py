"""The way of a record: none is lost, none is stored twice, whatever happens between."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from deltalake.exceptions import DeltaError
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.records import Loaded, files_below
from ffe_lakehouse_tests.records.desk import (
    Desk,
    canonical,
    counts,
    decision,
    outcome,
    position,
    snapshot,
    trade,
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(["BTC-USD", "BUY", "long", "2025-12-02T10:00:00", "-1", "1e9", "0E-30"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["mock", "success", "product", "size"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)
MAKERS = {
    "decisions": decision,
    "trade_outcomes": trade,
    "outcomes": outcome,
    "pnl_snapshots": snapshot,
}


@st.composite
def records(draw: st.DrawFn, kind: str) -> object:
    """A lawful record in which up to three fields hold anything; or anything at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(VALUES)
    made = MAKERS[kind](**draw(st.sampled_from([{}, {"id": "2"}, {"platform": "p"}])))
    names = st.lists(st.sampled_from([*made, "confidence", "market_data"]), max_size=3)
    return made | {name: draw(VALUES) for name in draw(names)}


FILES = st.lists(
    st.sampled_from(sorted(MAKERS)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.lists(records(kind), max_size=5))
    ),
    max_size=4,
)


def exact(value: object) -> str:
    """The record as it must be found again: keys sorted, numbers as they were written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@settings(max_examples=30)
@given(FILES)
def test_every_record_is_accounted_for_and_found_again_word_by_word(
    files: list[tuple[str, list[Any]]],
) -> None:
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        said: Counter[str] = Counter()
        for number, (kind, content) in enumerate(files):
            table = desk.put(f"{kind}/{number}.json", content).parent.name
            said[table] += len(content)
        tables = {"raw_ai_decisions": ["decisions"], "raw_portfolio_snapshots": ["pnl_snapshots"]}
        tables["raw_trade_executions"] = ["trade_outcomes", "outcomes"]
        first, second = desk.load(), desk.load()
        for table, kinds in tables.items():
            fetched = sum(said[kind] for kind in kinds)
            expected = {exact(r) for kind, content in files if kind in kinds for r in content}
            assert {_compact(text) for text in desk.kept(table)} == expected
            for loaded in (each[table] for each in (first, second) if table in each):
                assert loaded.fetched == sum(counts(loaded)) == fetched
                assert loaded.rejected == first[table].rejected
                assert loaded.letters == len(desk.rows(f"dlq/{table}"))
            if table in second:
                assert second[table].new_letters == 0
                assert counts(second[table])[0] == 0
                held = Counter(
                    (row.get("asset_pair"), row["partition_date"])
                    for row in desk.rows(f"bronze/{table}")
                )
                days = second[table].days
                assert {place: days[place].rows for place in days} == held


def _compact(text: str) -> str:
    return exact(json.loads(text))


def test_to_load_everything_twice_makes_no_commit(desk: Desk) -> None:
    desk.put("decisions/a.json", [decision(), decision(id="2", action="?"), 5])
    desk.put("trade_outcomes/a.jsonl", [trade(), trade(), trade(side="?")])
    desk.put("pnl_snapshots/a.json", [snapshot(), snapshot(platform=None)])
    desk.load()
    before = desk.versions()
    assert len(before) == 6
    again = desk.load()
    assert desk.versions() == before
    assert {name: counts(loaded) for name, loaded in again.items()} == {
        "raw_ai_decisions": (0, 1, 0, 2),
        "raw_trade_executions": (0, 1, 1, 1),
        "raw_portfolio_snapshots": (0, 1, 0, 1),
    }


def test_a_table_gets_one_commit_of_many_files(desk: Desk) -> None:
    for number in range(20):
        desk.put(f"decisions/{number}.json", decision(id=str(number)))
        desk.put(f"decisions/bad{number}.json", decision(id=str(number), action="?"))
    desk.load()
    assert desk.versions() == {"bronze/raw_ai_decisions": 1, "dlq/raw_ai_decisions": 1}


def test_files_that_are_too_many_for_memory_are_loaded_one_lot_after_the_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffe_lakehouse.records.loading._MOST_BYTES", 250)
    for number in range(5):
        desk.put(f"decisions/{number}.json", decision(id=str(number)))
    desk.put("decisions/bad.json", decision(action="?"))
    assert counts(desk.load()["raw_ai_decisions"]) == (5, 0, 0, 1)
    assert desk.versions()["bronze/raw_ai_decisions"] > 1
    assert desk.load()["raw_ai_decisions"].letters == 1


def test_equal_letters_are_one_and_the_same_record_of_another_table_is_another(desk: Desk) -> None:
    desk.put("decisions/a.json", {"id": 1})
    desk.put("decisions/b.json", {"id": 1})
    desk.put("outcomes/a.json", {"id": 1})
    loaded = desk.load()
    assert counts(loaded["raw_ai_decisions"]) == (0, 0, 0, 2)
    assert loaded["raw_ai_decisions"].new_letters == 1
    (letter,) = desk.rows("dlq/raw_ai_decisions")
    assert letter["source"] == "decisions/a.json"
    assert len(desk.rows("dlq/raw_trade_executions")) == 1


def test_a_letter_is_known_on_another_day_too(desk: Desk) -> None:
    desk.put("decisions/a.json", b"no json")
    desk.load()
    desk.now = desk.now.replace(year=2027)
    assert desk.load()["raw_ai_decisions"].new_letters == 0


def test_a_record_that_was_put_right_is_stored_and_its_letter_stays(desk: Desk) -> None:
    desk.put("decisions/a.json", decision(asset_pair="BIP20DEC30CDE"))
    desk.load()
    desk.put("decisions/a.json", decision())
    assert counts(desk.load()["raw_ai_decisions"]) == (1, 0, 0, 0)
    assert desk.reasons("raw_ai_decisions") == [["unknown_product"]]


class Killed(Exception):  # noqa: N818 - what happens to the process, not an error of it
    """Stands for the death of the process."""


@pytest.mark.parametrize("survives", range(7))
def test_a_load_that_dies_at_any_write_ends_the_same_when_it_is_done_again(
    desk: Desk, survives: int
) -> None:
    decisions = [decision(), decision(reasoning="again"), decision(action="?")]
    trades = [trade(), trade(exit_time="2026-03-01"), trade(side="?")]
    whole = Desk(desk.folder / "whole")
    for each in (desk, whole):
        each.put("decisions/a.json", decisions)
        each.put("trade_outcomes/a.json", trades)
    expected = _told(whole.load())
    writes = 0

    def dying(*arguments: Any) -> Any:
        nonlocal writes
        if writes == survives:
            raise Killed
        writes += 1
        return desk.lake.append_if_changed(*arguments)

    files = files_below(desk.landing)
    if survives < 5:
        with pytest.raises(Killed):
            desk.loader(write=dying).load(files)
    else:
        desk.loader(write=dying).load(files)
    assert _told(desk.load()) == expected
    for table in ("raw_ai_decisions", "raw_trade_executions"):
        assert sorted(desk.kept(table)) == sorted(whole.kept(table))


def _told(loaded: dict[str, Loaded]) -> dict[str, Any]:
    """What does not hang on who stored it."""
    return {
        name: (
            each.fetched,
            each.letters,
            each.reasons,
            [(place, day.rows, day.elsewhere, day.files) for place, day in each.days.items()],
        )
        for name, each in loaded.items()
    }


def test_letters_are_stored_before_any_row(desk: Desk) -> None:
    desk.put("decisions/a.json", [decision(), decision(action="?")])
    desk.put("pnl_snapshots/a.json", [snapshot(positions=[position(side="?")]), snapshot()])
    order = []

    def noting(schema: Any, rows: Any, where: Any) -> Any:
        order.append(schema.name.partition("/")[0])
        return desk.lake.append_if_changed(schema, rows, where)

    desk.loader(write=noting).load(files_below(desk.landing))
    assert order == ["dlq", "dlq", "bronze", "bronze"]


def test_a_letter_that_cannot_be_stored_stops_the_load_before_any_row(desk: Desk) -> None:
    desk.put("decisions/a.json", [decision(), decision(action="?")])
    (desk.folder / "lake").mkdir()
    (desk.folder / "lake" / "dlq").write_text("a file where the folder should be")
    with pytest.raises(DeltaError, match="dlq"):
        desk.load()
    assert desk.versions() == {}


def test_canonical_is_what_the_lake_keeps(desk: Desk) -> None:
    desk.put("decisions/a.json", decision(reasoning="ä€", extra={"b": [1, 2.5], "a": None}))
    desk.load()
    (kept,) = desk.kept("raw_ai_decisions")
    assert kept == canonical(json.loads(kept))
