"""Versions: the last that was said holds, nothing is lost, and nothing is stored twice."""

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.records import Day, Loaded
from ffe_lakehouse.records.versions import Fate, Told, known_versions, settle
from ffe_lakehouse_tests.records.desk import LONG_AGO, NOW, Desk, counts, decision, trade

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
Stored = list[tuple[str, str, datetime]]


def told(key: str, text: str, changed: int = 0) -> Told:
    return Told(key, text, BEGIN + timedelta(minutes=changed))


def load(stored: Stored, some: list[Told], minute: int) -> list[Fate]:
    """Load versions into a list that stands for a table, as the loader does."""
    fates, rounds = settle(some, known_versions(stored))
    for turn, numbers in enumerate(rounds):
        since = BEGIN + timedelta(minutes=minute, microseconds=turn)
        assert len({some[number].key for number in numbers}) == len(numbers)
        stored.extend((str(some[number].key), some[number].text, since) for number in numbers)
    return fates


VERSIONS = st.lists(
    st.builds(told, st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 30)), max_size=8
).map(lambda some: sorted(some, key=lambda each: each.changed_at))


@given(st.lists(VERSIONS, max_size=4))
def test_after_a_load_its_last_version_of_each_fact_holds_unless_it_is_stale(
    loads: list[list[Told]],
) -> None:
    stored: Stored = []
    for number, some in enumerate(loads):
        before = known_versions(stored)
        fates = load(stored, some, minute=100 + number)
        known = known_versions(stored)
        for each in some:
            assert each.text in known[each.key].texts  # nothing is lost
        for key, last in {each.key: each.text for each in some}.items():
            # Every file here was changed before the first load: none goes back on purpose.
            stale = key in before and {e.text for e in some if e.key == key} <= before[key].texts
            assert known[key].newest == (before[key].newest if stale else last)
        assert len(fates) == len(some)


@given(VERSIONS)
def test_the_same_load_again_stores_nothing(some: list[Told]) -> None:
    stored: Stored = []
    load(stored, some, minute=100)
    size = len(stored)
    again = load(stored, some, minute=101)
    assert len(stored) == size
    assert Fate.WRITTEN not in again


@given(VERSIONS, st.randoms(use_true_random=False))
def test_of_what_was_loaded_any_part_again_stores_nothing(
    some: list[Told], chance: random.Random
) -> None:
    stored: Stored = []
    load(stored, some, minute=100)
    size = len(stored)
    load(stored, [each for each in some if chance.random() < 0.5], minute=101)
    assert len(stored) == size


def test_a_file_that_goes_back_to_an_older_version_is_believed() -> None:
    stored: Stored = []
    load(stored, [told("a", "x", 1)], minute=10)
    load(stored, [told("a", "y", 11)], minute=20)
    load(stored, [told("a", "x", 21)], minute=30)
    assert [text for _, text, _ in stored] == ["x", "y", "x"]


# --- in the lake


def texts(desk: Desk) -> list[object]:
    """What the versions of the decisions say, oldest first, and what holds."""
    table = "bronze/raw_ai_decisions"
    rows = sorted(desk.rows(table), key=lambda row: row["_extracted_at"])
    (newest,) = desk.lake.read(table, newest=True).to_pylist()
    assert newest == rows[-1]
    return [row["reasoning"] for row in rows]


def test_of_one_load_the_file_that_was_changed_last_holds(desk: Desk) -> None:
    desk.put("decisions/a.json", decision(reasoning="new"), LONG_AGO + 10)
    desk.put("decisions/b.json", decision(reasoning="old"), LONG_AGO)
    loaded = desk.load()["raw_ai_decisions"]
    assert counts(loaded) == (2, 0, 0, 0)
    assert texts(desk) == ["old", "new"]
    assert counts(desk.load()["raw_ai_decisions"]) == (0, 2, 0, 0)
    assert texts(desk) == ["old", "new"]


def test_of_one_file_the_last_line_holds(desk: Desk) -> None:
    lines = [decision(reasoning=text) for text in ("one", "one", "two", "one")]
    desk.put("decisions/a.jsonl", lines)
    assert counts(desk.load()["raw_ai_decisions"]) == (3, 0, 1, 0)
    assert texts(desk) == ["one", "two", "one"]
    assert counts(desk.load()["raw_ai_decisions"]) == (0, 3, 1, 0)


def test_a_file_that_was_rewritten_is_a_new_version(desk: Desk) -> None:
    desk.put("decisions/a.json", decision(reasoning="before"))
    desk.load()
    desk.put("decisions/a.json", decision(reasoning="after"), LONG_AGO + 60)
    assert counts(desk.load()["raw_ai_decisions"]) == (1, 0, 0, 0)
    assert texts(desk) == ["before", "after"]


def test_to_load_an_old_file_again_does_not_undo_a_newer_one(desk: Desk) -> None:
    desk.put("decisions/a.json", decision(reasoning="before"))
    desk.load()
    desk.put("decisions/b.json", decision(reasoning="after"), LONG_AGO + 60)
    desk.load("decisions/b.json")
    assert counts(desk.load("decisions/a.json")["raw_ai_decisions"]) == (0, 1, 0, 0)
    assert texts(desk) == ["before", "after"]


def test_keys_in_another_order_are_the_same_record(desk: Desk) -> None:
    desk.put("decisions/a.json", decision())
    desk.load()
    desk.put("decisions/a.json", dict(reversed(decision().items())), LONG_AGO + 60)
    assert counts(desk.load()["raw_ai_decisions"]) == (0, 1, 0, 0)


def test_an_id_on_three_moments_is_three_decisions(desk: Desk) -> None:
    days = ["2025-01-01", "2025-11-27", "2025-11-29"]
    desk.put("decisions/a.jsonl", [decision(timestamp=f"{day}T00:00:01") for day in days])
    desk.load()
    assert desk.lake.read("bronze/raw_ai_decisions", newest=True).num_rows == 3


def test_a_trade_that_ends_again_is_told_of_on_both_days(desk: Desk) -> None:
    other = trade(trade_id="t-2", exit_time="2026-02-16T10:00:00Z")
    desk.put("trade_outcomes/a.jsonl", [trade(), other])
    (first, second), _ = _days(desk)
    assert (first.rows, first.elsewhere, second.elsewhere) == (1, 0, 0)
    desk.put("trade_outcomes/b.jsonl", [trade(exit_time="2026-04-01T23:55:20Z")], LONG_AGO + 60)
    for fates in ((1, 0, 0, 0), (0, 1, 0, 0)):  # and so again, if the first run told nobody
        (first, last), loaded = _days(desk, "trade_outcomes/b.jsonl")
        assert [str(day) for _, day in sorted(loaded.days)] == ["2026-02-14", "2026-04-01"]
        assert counts(loaded) == fates
        assert (first.rows, first.elsewhere, first.counts.total()) == (1, 1, 0)
        assert (last.rows, last.elsewhere, last.counts.total()) == (1, 1, 1)


def _days(desk: Desk, *names: str) -> tuple[list[Day], Loaded]:
    """The days that a load tells of, in order."""
    loaded = desk.load(*names)["raw_trade_executions"]
    return [loaded.days[place] for place in sorted(loaded.days)], loaded


def test_the_clock_of_a_rehearsal_does_not_make_versions(desk: Desk) -> None:
    desk.now = datetime(2026, 3, 1, tzinfo=UTC)  # long before the files were changed
    for name, changed in (("a", 1), ("b", 2)):
        content = decision(reasoning=name)
        desk.put(f"decisions/{name}.json", content, (NOW + timedelta(days=changed)).timestamp())
    for _ in range(2):
        desk.load()
        assert texts(desk) == ["a", "b"]
