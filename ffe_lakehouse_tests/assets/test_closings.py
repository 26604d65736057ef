"""Dead letters are closed in real Dagster runs, on a real lake."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ffe_lakehouse.assets.closings import BEING_LOADED
from ffe_lakehouse.partitions import daily_by_pair, table_key
from ffe_lakehouse.schemas import CLOSINGS
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import State
from ffe_lakehouse_tests.dead_letters.desk import (
    BARS,
    DAYS,
    FIRST,
    LAST,
    LETTERS,
    LONG_AFTER,
    SWAPPED,
    Desk,
    write_file,
)
from ffe_lakehouse_tests.dead_letters.letters import at, letter, letters

COMPLETE, FAILED, HOLES, MISSING = State.COMPLETE, State.FAILED, State.HOLES, State.MISSING


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A day may have any share of rejects."""
    monkeypatch.setenv("FFE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FFE_MAX_REJECT_RATIO", "1")
    get_settings.cache_clear()
    write_file(tmp_path, swapped=100)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(instance, tmp_path)
    get_settings.cache_clear()


@pytest.fixture
def strict(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Five rejects in a hundred fail a day."""
    monkeypatch.setenv("FFE_MAX_REJECT_RATIO", "0.05")
    get_settings.cache_clear()
    return desk


def test_a_hundred_letters_with_a_fault_that_can_be_mended_become_a_hundred_bars(
    desk: Desk,
) -> None:
    assert desk.load()
    assert (len(desk.bars()), desk.open().num_rows) == (20, 100)
    assert desk.close(mapping=SWAPPED)
    assert (len(desk.bars()), desk.open().num_rows) == (120, 0)
    assert desk.letters().num_rows == 100
    assert desk.broken() == []
    assert [desk.told("letters", day)["open_letters"] for day in DAYS] == [0] * 5
    counts = ("letters_taken", "letters_closed", "bars_written", "bars_there")
    assert [desk.told("closings", FIRST)[name] for name in counts] == [24, 24, 24, 0]

    bars, reports, closings = desk.bars(), desk.reports(), desk.closings()
    assert desk.close(mapping=SWAPPED)
    assert (desk.bars(), desk.reports(), desk.closings()) == (bars, reports, closings)
    assert desk.broken() == []


def test_a_closing_says_by_whom_why_when_and_in_which_run(desk: Desk) -> None:
    desk.load()
    desk.now = LONG_AFTER + timedelta(days=1)
    assert desk.close(mapping=SWAPPED, by="bob", why="swapped headers")
    (run,) = desk.instance.get_runs(limit=1)
    said = {
        tuple(closing[n] for n in ("action", "closed_by", "why")) for closing in desk.closings()
    }
    assert said == {("replayed", "bob", "swapped headers")}
    assert {closing["run_id"] for closing in desk.closings()} == {run.run_id}
    assert {closing["closed_at"] for closing in desk.closings()} == {desk.now}
    told = desk.told("closings", FIRST)
    assert (told["action"], told["closed_by"], told["why"]) == ("replay", "bob", "swapped headers")


def test_a_replayed_day_is_told_with_counts_that_hold_and_looks_as_its_bars_do(desk: Desk) -> None:
    desk.load()
    before = desk.told("bars", FIRST)
    assert "candles" not in before
    assert desk.close(mapping=SWAPPED)
    after = desk.told("bars", FIRST)
    rows = ("fetched", "written", "unchanged", "duplicate", "rejected", "revised")
    assert [after[f"rows_{name}"] for name in rows] == [24, 24, 0, 0, 0, 0]
    assert (before["bars_missing"], after["bars_missing"], after["bars_expected"]) == (24, 0, 24)
    assert after["dagster/partition_row_count"] == 24
    assert after["last_timestamp"] == datetime(2024, 1, 1, 23, tzinfo=UTC).timestamp()
    assert after["candles"].startswith("![")
    assert (before["quality_score"], after["quality_score"]) == (0.0, 1.0)
    kept = ("asked_at", "asked_until", "source_provider")
    assert [after[name] for name in kept] == [before[name] for name in kept]


def test_what_does_not_pass_stays_open_and_the_run_says_how_many_and_why(desk: Desk) -> None:
    desk.load()
    assert desk.close()  # as they are, they break the rules of today, too
    assert (len(desk.bars()), desk.open().num_rows, desk.closings()) == (20, 100, [])
    told = desk.told("closings", FIRST)
    assert (told["letters_taken"], told["letters_closed"]) == (24, 0)
    assert told["why_open"] == dict.fromkeys(
        ("high_below_low", "open_out_of_range", "close_out_of_range"), 24
    )
    assert desk.close(mapping={"high": "hgih"})
    assert desk.told("closings", FIRST)["why_open"] == {"no field 'hgih'": 24}


def test_only_the_letters_that_are_meant_are_taken(desk: Desk) -> None:
    write_file(desk.folder, swapped=3, pair="ETHUSD")
    desk.load()
    desk.load(pair="ETHUSD")
    assert desk.close(mapping=SWAPPED, reasons=["missing_close"])
    assert desk.close(mapping=SWAPPED, timeframes=["1m", "1d"])
    assert desk.closings() == []
    assert desk.close(mapping=SWAPPED, days=(DAYS[1], DAYS[2]), timeframes=["1h"])
    assert {closing["partition_date"] for closing in desk.closings()} == {DAYS[1], DAYS[2]}
    assert desk.close(mapping=SWAPPED, pairs=("BTCUSD", "ETHUSD"), reasons=["high_below_low"])
    assert desk.open().num_rows == 0
    assert desk.broken("ETHUSD") == []


def test_a_discarded_letter_is_closed_and_nothing_is_written(desk: Desk) -> None:
    desk.load()
    bars, reports = desk.bars(), desk.reports()
    assert desk.close("discard", days=(FIRST, FIRST))
    assert (desk.bars(), desk.reports()) == (bars, reports)
    assert {closing["action"] for closing in desk.closings()} == {"discarded"}
    assert desk.told("letters", FIRST)["open_letters"] == 0
    assert desk.open().num_rows == 76
    # What is discarded is no bar any more, whatever a later replay could make of it.
    assert desk.close(mapping=SWAPPED)
    assert len(desk.bars()) == 96


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"why": " "}, "say why"),
        ({"by": ""}, "say by"),
        ({"reasons": ["high < low"]}, "unknown reason 'high < low'"),
        ({"timeframes": ["2h"]}, "unknown timeframe '2h'"),
        ({"mapping": {"hig": "low"}}, "unknown column 'hig'"),
        ({"action": "discard", "mapping": SWAPPED}, "a mapping is for a replay"),
    ],
)
def test_what_cannot_be_done_fails_before_anything_is_done(
    desk: Desk, config: dict[str, Any], says: str
) -> None:
    desk.load()
    assert not desk.close(**config)
    assert desk.closings() == []
    (run,) = desk.instance.get_runs(limit=1)
    (failure, *_) = [
        e for e in desk.instance.all_logs(run.run_id) if e.dagster_event.is_step_failure
    ]
    assert says in str(failure.dagster_event.step_failure_data.error)


# --- the watermark


def test_a_day_with_holes_keeps_them_and_a_complete_one_stays_complete(desk: Desk) -> None:
    desk.load()
    assert [known.state for known in desk.known()] == [HOLES] * 5
    desk.close(mapping=SWAPPED, days=(FIRST, FIRST))
    assert desk.known()[0].version == "holes:24:files"
    desk.load()  # asked a second time
    versions = [known.version for known in desk.known()]
    assert versions == ["closed:24:files", *["closed:0:files"] * 3, "closed:20:files"]
    desk.close(mapping=SWAPPED)
    assert {known.version for known in desk.known()} == {"closed:24:files"}
    assert desk.broken() == []


@pytest.mark.parametrize("seen_at", ["while it runs", "long after"])
def test_a_day_that_was_loaded_while_it_ran_stays_unfinished_or_late(
    desk: Desk, seen_at: str
) -> None:
    desk.now = datetime(2024, 1, 2, 12, 30, tzinfo=UTC)
    desk.load(last=DAYS[1])
    state = State.UNFINISHED
    if seen_at == "long after":
        desk.now, state = LONG_AFTER, State.LATE
    assert desk.close(mapping=SWAPPED, days=(DAYS[1], DAYS[1]))
    (known,) = desk.known([DAYS[1]])
    assert (known.state, known.version) == (state, "open:12:files")
    assert desk.broken() == []


def test_a_day_that_failed_stays_failed_and_can_be_loaded_once_its_letters_are_closed(
    strict: Desk,
) -> None:
    assert not strict.load()
    assert [known.state for known in strict.known()] == [FAILED] * 5
    assert strict.close(mapping=SWAPPED, days=(FIRST, FIRST))
    assert strict.close("discard", days=(DAYS[1], LAST))
    assert [known.state for known in strict.known()] == [FAILED] * 5
    assert (len(strict.bars()), strict.reports()) == (24, 0)
    assert strict.told("letters", FIRST)["open_letters"] == 0

    assert strict.load()
    assert [known.state.is_done for known in strict.known()] == [True] * 5
    assert len(strict.bars()) == 24 + 20
    assert strict.told("bars", FIRST)["dagster/partition_row_count"] == 24
    assert strict.told("letters", FIRST)["open_letters"] == 0
    assert strict.broken() == []


def test_a_day_that_was_loaded_and_then_failed_stays_failed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.load()
    monkeypatch.setenv("FFE_MAX_REJECT_RATIO", "0.05")
    get_settings.cache_clear()
    assert not desk.load()
    reports = desk.reports()
    assert desk.close(mapping=SWAPPED)
    assert [known.state for known in desk.known()] == [FAILED] * 5
    assert desk.reports() == reports


def test_a_day_that_was_never_loaded_stays_so_and_has_its_bars(desk: Desk) -> None:
    desk.lake.append(LETTERS, letters(letter(at(2, 10))))
    assert desk.close(mapping=SWAPPED)
    assert len(desk.bars()) == 1
    assert desk.known([DAYS[1]])[0].state is MISSING
    assert desk.told("letters", DAYS[1]) == {}
    assert desk.told("closings", DAYS[1])["bars_written"] == 1


def test_a_day_that_somebody_reported_by_hand_is_told_again_without_a_version(desk: Desk) -> None:
    desk.lake.append(LETTERS, letters(letter(at(2, 10))))
    desk.instance.report_runless_asset_event(
        dg.AssetMaterialization(table_key(BARS), partition="BTCUSD|2024-01-02")
    )
    before = desk.known([DAYS[1]])[0]
    assert desk.close(mapping=SWAPPED)
    after = desk.known([DAYS[1]])[0]
    assert (after.state, after.version) == (before.state, before.version)
    assert desk.told("bars", DAYS[1])["dagster/partition_row_count"] == 1
    assert desk.broken() == []


def test_letters_of_a_day_that_is_being_loaded_are_left_until_it_is(desk: Desk) -> None:
    desk.load()

    @dg.asset(key=table_key(BARS), partitions_def=daily_by_pair())
    def loading() -> None:
        assert desk.close(mapping=SWAPPED, days=(FIRST, DAYS[1]))

    assert dg.materialize(
        [loading], instance=desk.instance, partition_key="BTCUSD|2024-01-01"
    ).success
    assert desk.told("closings", FIRST)["why_open"] == {BEING_LOADED: 24}
    assert desk.told("closings", DAYS[1])["letters_closed"] == 24
    assert desk.open().num_rows == 76


def test_a_bar_that_came_later_settles_its_letter(desk: Desk) -> None:
    desk.load()
    write_file(desk.folder, swapped=0)  # the vendor has mended it
    desk.now = LONG_AFTER + timedelta(days=1)
    desk.load()
    bars, reports = desk.bars(), desk.reports()
    assert desk.close(mapping=SWAPPED)
    assert desk.open().num_rows == 0
    assert (desk.bars(), desk.reports()) == (bars, reports)
    counts = ("letters_closed", "bars_written", "bars_there")
    assert [desk.told("closings", FIRST)[name] for name in counts] == [24, 0, 24]


def test_the_days_without_letters_are_not_reported(desk: Desk) -> None:
    desk.load()
    assert desk.close(mapping=SWAPPED, days=(date(2023, 12, 20), LAST))
    done = desk.instance.get_materialized_partitions(table_key(CLOSINGS))
    assert done == {f"BTCUSD|{day}" for day in DAYS}
