"""The check of the dead letters, run by Dagster over days that were really loaded."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.letter_checks import OPEN_LETTERS, letter_checks
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.dead_letters.desk import (
    DAYS,
    FIRST,
    HOURS,
    LAST,
    LETTERS,
    SWAPPED,
    Desk,
    write_file,
)
from ffe_lakehouse_tests.dead_letters.letters import at, letter, letters

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A day may have any share of rejects."""
    monkeypatch.setenv("FFE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FFE_MAX_REJECT_RATIO", "1")
    get_settings.cache_clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(instance, tmp_path)
    get_settings.cache_clear()


def checked(desk: Desk) -> dict[str, dg.AssetCheckEvaluation]:
    """What the check says of each day."""
    key = table_key(LETTERS)
    selection = dg.AssetSelection.checks_for_assets(key)
    location = dg.Definitions(
        assets=bronze_assets(),
        asset_checks=letter_checks(),
        jobs=[dg.define_asset_job("check_letters", selection)],
        resources={"io_manager": desk.io},
        executor=dg.in_process_executor,
    )
    box = Box(("BTCUSD",), FIRST, LAST, (HOURS,))
    job = location.resolve_job_def("check_letters")
    checks = [dg.AssetCheckKey(key, OPEN_LETTERS)]
    events = list(execute(desk.instance, job, box, checks=checks))
    assert events[-1].event_type_value == "PIPELINE_SUCCESS"
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    found = [e.asset_check_evaluation_data for e in events if e.event_type is kind]
    return {str(each.partition).split("|")[1]: each for each in found}


def share(evaluation: dg.AssetCheckEvaluation) -> object:
    return evaluation.metadata["share"].value


def test_days_are_judged_by_the_share_of_their_records_that_are_open_letters(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(desk.folder, swapped=25)  # all of the first day, one record of the second
    desk.load()
    found = checked(desk)
    assert [found[str(day)].passed for day in DAYS] == [False, False, True, True, True]
    assert [share(found[str(day)]) for day in DAYS[:3]] == [1.0, 1 / 24, 0.0]
    assert [found[str(day)].severity for day in DAYS[:2]] == [ERROR, WARN]
    assert found[str(FIRST)].metadata["count"].value == 24
    assert "high_below_low: 24" in str(found[str(FIRST)].metadata["sample"].value)
    assert "ffe dlq" in str(found[str(FIRST)].description)

    monkeypatch.setenv("FFE_OPEN_LETTERS__ERROR", "0.04")
    get_settings.cache_clear()
    assert checked(desk)[str(DAYS[1])].severity is ERROR
    monkeypatch.setenv("FFE_OPEN_LETTERS__ERROR", "0.5")
    monkeypatch.setenv("FFE_OPEN_LETTERS__WARN", "0.1")
    get_settings.cache_clear()
    assert checked(desk)[str(DAYS[1])].passed


def test_the_check_passes_once_the_letters_are_closed(desk: Desk) -> None:
    write_file(desk.folder, swapped=48)
    desk.load()
    desk.close(mapping=SWAPPED, days=(FIRST, FIRST))
    desk.close("discard", days=(DAYS[1], DAYS[1]))
    found = checked(desk)
    assert all(evaluation.passed for evaluation in found.values())
    assert {str(share(evaluation)) for evaluation in found.values()} == {"0.0"}


def test_letters_beside_the_days_bars_do_not_count(desk: Desk) -> None:
    write_file(desk.folder, swapped=0)
    desk.load()
    reasons = [["unclosed_bar"], ["outside_window"], ["bad_response"]]
    beside = [letter(at(1, n), reasons=r) for n, r in enumerate(reasons)]
    mixed = letter(at(1, 5), reasons=["unclosed_bar", "high_below_low"])
    desk.lake.append(LETTERS, letters(*beside))
    assert checked(desk)[str(FIRST)].passed
    desk.lake.append(LETTERS, letters(mixed))
    assert checked(desk)[str(FIRST)].metadata["count"].value == 1


def test_letters_of_an_earlier_answer_count_although_the_last_one_had_none(desk: Desk) -> None:
    write_file(desk.folder, swapped=2)
    desk.load()
    (desk.folder / "BTCUSD_1h.csv").write_text(
        "timestamp,open,high,low,close\n2024-01-05T00:00Z,1,1,1,1\n"
    )
    desk.now += timedelta(days=1)
    desk.load()
    found = checked(desk)[str(FIRST)]
    assert (found.passed, share(found), found.metadata["fetched"].value) == (False, 1.0, 2)


def test_a_day_that_was_never_loaded_is_not_judged(desk: Desk) -> None:
    write_file(desk.folder, swapped=0)
    desk.load(last=FIRST)
    assert list(checked(desk)) == [str(FIRST)]
