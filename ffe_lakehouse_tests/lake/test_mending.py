"""What is mended and then loaded again equals what was there; a healthy table is not touched."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.lake.health import examine
from ffe_lakehouse.lake.log_files import DAMAGED, LakeFiles
from ffe_lakehouse.lake.mending import Mended, mend
from ffe_lakehouse_tests.lake.damage import (
    DAYS,
    TABLE,
    Harm,
    Patient,
    age,
    blank,
    cut_a_line,
    empty,
    scramble,
    tear,
)


def mended(patient: Patient, *, deep: bool = False) -> list[Mended]:
    return list(mend(patient.files, TABLE.name, datetime.now(UTC), deep=deep))


def assert_equal_after_loading_again(patient: Patient, steps: list[Mended], before: list) -> None:
    """Exactly what was said to be lost is loaded again, and then nothing is."""
    assert not any(each.harmful for each in patient.examine(deep=True))
    patient.facts()
    patient.load_again(lost for each in steps for lost in each.lost)
    assert patient.facts() == before
    assert not any(each.harmful for each in patient.examine(deep=True))


def test_a_healthy_table_is_not_touched(patient: Patient) -> None:
    patient.checkpoint()
    before = patient.content()
    assert mended(patient, deep=True) == []
    assert patient.content() == before


@pytest.mark.parametrize("harm", [empty, tear, blank, cut_a_line])
@pytest.mark.parametrize("version", [DAYS, DAYS - 1, 3, 1])
@pytest.mark.parametrize("checkpoint", [None, 2])
def test_a_damaged_commit(
    patient: Patient, harm: Harm, version: int, checkpoint: int | None
) -> None:
    before = patient.facts()
    if checkpoint:
        patient.checkpoint(checkpoint)
    harm(patient.commit(version))
    steps = mended(patient)
    assert len(steps) == (0 if checkpoint and version <= checkpoint else 1)
    assert_equal_after_loading_again(patient, steps, before)


def test_the_newest_commit_is_taken_away_and_kept_outside_of_the_table(patient: Patient) -> None:
    tear(patient.commit(DAYS))
    torn = patient.commit(DAYS).read_bytes()
    (step,) = mended(patient)
    assert not patient.commit(DAYS).exists()
    assert step.moved == (f"_delta_log/{DAYS:020}.json",)
    assert step.to.startswith(f"{DAMAGED}/")
    assert (patient.root / step.to / step.moved[0]).read_bytes() == torn
    assert patient.files.tables() == [TABLE.name]
    assert sorted(path.name for path in patient.root.iterdir()) == [DAMAGED, "bronze"]


def test_an_empty_commit_in_the_middle_costs_no_other(patient: Patient) -> None:
    empty(patient.commit(3))
    before = patient.facts()
    (step,) = mended(patient)
    assert patient.facts() == before
    assert DeltaTable(str(patient.folder)).version() == DAYS
    assert len(step.lost) == 1
    history = patient.lake.get_table_history(TABLE.name)
    assert history["operation"].to_list().count("REPAIR") == 1


def test_several_commits_at_the_end_and_one_in_the_middle(patient: Patient) -> None:
    before = patient.facts()
    for version in (2, DAYS - 1):
        empty(patient.commit(version))
    tear(patient.commit(DAYS))
    steps = mended(patient)
    assert DeltaTable(str(patient.folder)).version() == DAYS - 2
    assert_equal_after_loading_again(patient, steps, before)


def test_a_gap_takes_the_table_back_to_the_version_before(patient: Patient) -> None:
    before = patient.facts()
    patient.commit(3).unlink()
    (step,) = mended(patient)
    assert "goes back to version 2" in step.text
    assert sorted(step.moved) == [f"_delta_log/{version:020}.json" for version in (4, 5, 6)]
    assert_equal_after_loading_again(patient, [step], before)


def test_what_cannot_be_mended_is_left_as_it_is(patient: Patient) -> None:
    tear(patient.checkpoint())
    patient.commit(0).unlink()
    before = patient.content()
    assert mended(patient, deep=True) == []
    assert patient.content() == before


def test_a_table_of_a_single_torn_commit_is_none_afterwards(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "lake", days=1)
    before = patient.facts()
    patient.commit(1).unlink()
    tear(patient.commit(0))
    steps = mended(patient)
    assert patient.files.tables() == []
    patient.load_again(lost for each in steps for lost in each.lost)
    assert patient.facts() == before


@pytest.mark.parametrize("harm", [empty, tear, blank, scramble])
def test_a_broken_checkpoint_costs_nothing(patient: Patient, harm: Harm) -> None:
    before = patient.facts()
    harm(patient.checkpoint())
    (step,) = mended(patient)
    assert step.lost == ()
    assert len(step.moved) == 2
    assert patient.facts() == before
    assert patient.examine(deep=True) == []


def test_a_broken_checkpoint_and_an_older_one_that_can_be_read(patient: Patient) -> None:
    before = patient.facts()
    patient.checkpoint(2)
    newest = patient.checkpoint()
    for version in range(2):
        patient.commit(version).unlink()
    tear(newest)
    mended(patient)
    assert patient.facts() == before


def test_a_hint_that_leads_nowhere_costs_nothing(patient: Patient) -> None:
    before = patient.facts()
    patient.checkpoint().unlink()
    (step,) = mended(patient)
    assert step.moved == ("_delta_log/_last_checkpoint",)
    assert patient.facts() == before


@pytest.mark.parametrize("harm", [Path.unlink, tear, empty, blank, scramble])
@pytest.mark.parametrize("numbers", [(2,), (0, 3, 5)])
def test_a_damaged_data_file(patient: Patient, harm: Harm, numbers: tuple[int, ...]) -> None:
    before = patient.facts()
    for path in [patient.data(number) for number in numbers]:
        harm(path)
    (step,) = mended(patient, deep=True)
    assert len(step.lost) == len(numbers)
    assert_equal_after_loading_again(patient, [step], before)


def test_a_data_file_with_odd_characters_in_its_path(tmp_path: Path) -> None:
    rows = pa.table({"p": ["a b:c%/ü", "x"], "v": [1.0, 2.0]})
    write_deltalake(str(tmp_path / "mine"), rows, partition_by=["p"])
    (path,) = (tmp_path / "mine").glob("p=a*/*")
    tear(path)
    (_step,) = mend(LakeFiles(str(tmp_path)), "mine", datetime.now(UTC))
    table = DeltaTable(str(tmp_path / "mine"))
    assert pa.table(table.to_pyarrow_table())["v"].to_pylist() == [2.0]
    assert examine(LakeFiles(str(tmp_path)), "mine", datetime.now(UTC)) == []


def test_leftovers_are_moved_away_and_orphans_stay(patient: Patient) -> None:
    orphan = patient.data().with_name("part-of-a-killed-writer.parquet")
    shutil.copy(patient.data(), orphan)
    leftover = patient.log / "_commit_0b0e.json.tmp"
    leftover.write_text("{")
    young = patient.log / "_commit_0b0f.json.tmp"
    young.write_text("{")
    age(orphan)
    age(leftover)
    mended(patient)
    assert orphan.exists()
    assert young.exists()
    assert not leftover.exists()


def test_what_was_moved_away_is_no_table_and_survives_a_vacuum(patient: Patient) -> None:
    tear(patient.data(2))
    mended(patient)
    kept = {name for name in patient.content() if name.startswith(DAMAGED)}
    assert kept
    DeltaTable(str(patient.folder)).vacuum(
        0, dry_run=False, enforce_retention_duration=False, full=True
    )
    assert {name for name in patient.content() if name.startswith(DAMAGED)} == kept


@settings(max_examples=25)
@given(data=st.data())
def test_several_damages_at_once_are_mended_or_said_to_be_beyond_it(
    data: st.DataObject, well: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("ill") / "lake"
    shutil.copytree(well, root)
    patient = Patient(root, days=0)
    before = patient.facts()
    for version in data.draw(st.sets(st.integers(1, DAYS), max_size=2), label="checkpoints"):
        patient.checkpoint(version)
    paths = sorted(path for path in patient.folder.rglob("*") if path.is_file())
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=4, unique=True)):
        harm = data.draw(st.sampled_from([empty, tear, blank]))
        harm(path)
    steps = mended(patient, deep=True)
    left = [each for each in patient.examine(deep=True) if each.harmful]
    assert not any(each.mendable for each in left)
    if not left and patient.files.tables():
        assert set(patient.facts()) <= set(before)
        # Also of days whose rows a newer commit, that is gone, had brought.
        patient.load_again(lost for each in steps for lost in each.lost)
        assert patient.facts() == before
