"""Replay on a real lake: which letters become bars, which are settled by a bar, which stay."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ffe_lakehouse.dead_letters import Replayed, replay
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import bars
from ffe_lakehouse_tests.dead_letters.letters import (
    FETCHED,
    HOUR,
    SWAPPED,
    at,
    letter,
    letters,
    record,
)

HOURS = TIMEFRAMES["1h"]
BRONZE = raw_candles(HOURS)
NOW = at(20)
CONFLICT = ("conflicting_duplicate",)


class Desk:
    """A lake of 1h bars, and what a replay does to it."""

    def __init__(self, folder: Path) -> None:
        """An empty lake."""
        self.lake = DeltaLakeManager(folder)

    def replay(self, *some: dict[str, Any], mapping: Mapping[str, str] = SWAPPED) -> Replayed:
        """Replay letters, at ``NOW``."""
        write = self.lake.append_if_changed
        return replay(self.lake, HOURS, letters(*some), mapping, NOW, write)

    def bars(self) -> list[dict[str, Any]]:
        """Every version of every bar."""
        return self.lake.read(BRONZE.name).to_pylist()

    def opens(self) -> list[float]:
        """The open price of each of them."""
        return [bar["open"] for bar in self.bars()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_record_that_passes_is_a_bar_of_its_vendor_that_is_known_from_now_on(desk: Desk) -> None:
    found = desk.replay(letter(at(2, 10), is_mock=True), letter(at(2, 11)))
    assert found.written.all()
    assert found.settled.all()
    assert found.why_open == [(), ()]
    first, second = desk.bars()
    prices = [first[name] for name in ("open", "high", "low", "close")]
    assert prices == [100.0, 102.0, 98.0, 101.0]
    assert (first["timestamp"], first["source_provider"]) == (at(2, 10), "tests")
    assert [first["is_mock"], second["is_mock"]] == [True, False]
    assert first["_extracted_at"] == NOW
    known = desk.lake.read(BRONZE.name, columns=["timestamp"])
    assert known.num_rows == 2


def test_what_still_breaks_a_rule_stays_open_and_says_which(desk: Desk) -> None:
    found = desk.replay(letter(at(2, 10)), letter(at(2, 11), record="{}"), mapping={})
    assert not found.settled.any()
    assert found.why_open[0] == ("high_below_low", "open_out_of_range", "close_out_of_range")
    assert found.why_open[1] == ("unreadable_record",)
    assert desk.bars() == []


def test_a_replay_repeated_writes_nothing_and_settles_the_same_letters(desk: Desk) -> None:
    some = [letter(at(2, hour)) for hour in range(5)]
    assert desk.replay(*some).written.all()
    before = desk.bars()
    again = desk.replay(*some)
    assert not again.written.any()
    assert again.there.all()
    assert desk.bars() == before


@pytest.mark.parametrize("known", [FETCHED + HOUR, FETCHED - HOUR], ids=["later", "earlier"])
def test_a_bar_that_the_vendor_gave_is_never_changed_and_settles_the_letter(
    desk: Desk, known: Any
) -> None:
    desk.lake.append(BRONZE, bars("BTCUSD", at(2, 10), 1, price=50.0, known=known))
    found = desk.replay(letter(at(2, 10)))
    assert (found.written.tolist(), found.there.tolist()) == ([False], [True])
    assert desk.opens() == [50.0]


def test_a_bar_settles_its_letter_also_if_the_record_can_never_be_one(desk: Desk) -> None:
    desk.lake.append(BRONZE, bars("BTCUSD", at(2, 10), 1))
    found = desk.replay(letter(at(2, 10), record="rubbish"), letter(None, record="rubbish"))
    assert found.there.tolist() == [True, False]
    assert found.why_open == [(), ("unreadable_record",)]


def test_the_bar_of_another_vendor_settles_nothing(desk: Desk) -> None:
    desk.lake.append(BRONZE, bars("BTCUSD", at(2, 10), 1, price=50.0, provider="another"))
    found = desk.replay(
        letter(at(2, 10)),
        letter(at(2, 10), source_provider="a third", record=record(70.0)),
        letter(at(2, 10), source_provider="a fourth", record="rubbish"),
    )
    assert found.written.tolist() == [True, True, False]
    assert not found.there.any()
    assert sorted(desk.opens()) == [50.0, 70.0, 100.0]


def test_a_bar_that_was_running_when_it_was_fetched_is_never_one_however_late_it_is(
    desk: Desk,
) -> None:
    running = letter(
        at(2, 10),
        reasons=["unclosed_bar"],
        record=record(swapped=False),
        _extracted_at=at(2, 10) + HOUR / 2,
    )
    found = desk.replay(running, mapping={})
    assert found.why_open == [("unclosed_bar",)]
    assert desk.bars() == []
    desk.lake.append(BRONZE, bars("BTCUSD", at(2, 10), 1))
    assert desk.replay(running, mapping={}).there.all()


def test_a_bar_belongs_to_the_day_of_its_letter_and_lies_on_the_grid(desk: Desk) -> None:
    found = desk.replay(
        letter(None, record=record(sent="2024-01-03T10:00:00Z")),
        letter(None, record=record(sent="2024-01-01T10:00:00Z")),
        letter(None, record=record(sent="2024-01-02T10:30:00Z")),
        letter(None, record=record(sent="2024-01-02T10:00:00Z")),
        mapping={**SWAPPED, "timestamp": "sent"},
    )
    outside = ("outside_window",)
    assert found.why_open == [outside, outside, ("misaligned_timestamp",), ()]
    assert [bar["timestamp"] for bar in desk.bars()] == [at(2, 10)]


def test_of_several_letters_of_one_bar_the_last_that_was_fetched_counts(desk: Desk) -> None:
    found = desk.replay(
        letter(at(2, 10), record=record(30.0), _extracted_at=FETCHED - HOUR),
        letter(at(2, 10), record=record(50.0), _extracted_at=FETCHED + HOUR),
        letter(at(2, 10), record=record(40.0), _extracted_at=FETCHED),
    )
    assert found.written.tolist() == [False, True, False]
    assert found.there.tolist() == [True, False, True]
    assert desk.opens() == [50.0]


def test_letters_of_one_answer_that_contradict_each_other_all_stay_open(desk: Desk) -> None:
    both = [letter(at(2, 10), record=record(price)) for price in (30.0, 50.0)]
    found = desk.replay(*both, letter(at(2, 11)))
    assert found.why_open == [CONFLICT, CONFLICT, ()]
    assert desk.opens() == [100.0]


def test_one_record_twice_in_an_answer_is_one_bar(desk: Desk) -> None:
    found = desk.replay(letter(at(2, 10)), letter(at(2, 10), letter_id="another"))
    assert sorted(found.written.tolist()) == [False, True]
    assert found.settled.all()
    assert len(desk.bars()) == 1


@pytest.mark.parametrize("reason", ["conflicting_duplicate", "bad_response"])
def test_what_only_a_whole_answer_can_tell_no_record_can_undo(desk: Desk, reason: str) -> None:
    found = desk.replay(letter(at(2, 10), reasons=[reason]))
    assert found.why_open == [(reason,)]
    assert desk.bars() == []


def test_the_rules_of_today_are_applied_and_not_the_reasons_of_then(desk: Desk) -> None:
    once_refused = letter(at(2, 10), reasons=["negative_volume"], record=record(swapped=False))
    assert desk.replay(once_refused, mapping={}).written.all()
    negative = letter(at(2, 11), record=record(swapped=False, volume=-1))
    assert desk.replay(negative, mapping={}).why_open == [("negative_volume",)]
    assert desk.replay(negative, mapping={"volume": ""}).written.all()
    assert [bar["volume"] for bar in desk.bars()] == [None, None]


def test_letters_of_many_days_are_one_commit(desk: Desk) -> None:
    some = [letter(at(1) + timedelta(days=n)) for n in range(0, 9, 2)]
    assert desk.replay(*some).written.all()
    writes = [c for c in desk.lake.history(BRONZE.name) if c["operation"] == "WRITE"]
    assert len(writes) == 1
