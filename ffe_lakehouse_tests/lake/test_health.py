"""Every kind of damage is found, none is invented, and no damage raises."""

import random
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.lake.health import examine, read_checksums
from ffe_lakehouse.lake.log_files import LakeFiles, Lost
from ffe_lakehouse_tests.builders import bars, box, day
from ffe_lakehouse_tests.lake.damage import (
    DAYS,
    TABLE,
    Harm,
    Patient,
    age,
    blank,
    cut_a_line,
    empty,
    flip,
    scramble,
    scramble_texts,
    tear,
)


def lost(*numbers: int) -> tuple[Lost, ...]:
    return tuple(Lost("BTCUSD", day(each).date(), day(each).date()) for each in numbers)


def test_a_healthy_table_has_nothing(patient: Patient) -> None:
    patient.checkpoint(2)
    patient.checkpoint()
    assert patient.examine(deep=True) == []
    assert patient.files.tables() == [TABLE.name]


def test_a_table_after_every_operation_has_nothing(tmp_path: Path) -> None:
    uri = str(tmp_path / "mine")
    places = ["a b:c%/ü", "x"]
    write_deltalake(uri, pa.table({"p": places, "v": [1.0, 2.0]}), partition_by=["p"])
    table = DeltaTable(uri)
    for value in range(3):
        write_deltalake(table, pa.table({"p": places, "v": [3.0, float(value)]}), mode="append")
    write_deltalake(table, pa.table({"p": ["x"], "v": [6.0]}).slice(0, 0), mode="append")
    table.optimize.compact()
    table.delete("v = 2.0")
    new = pa.table({"p": ["x"], "v": [0.0]})
    merger = table.merge(new, "target.v = source.v", source_alias="source", target_alias="target")
    merger.when_matched_update({"v": "source.v + 9"}).execute()
    write_deltalake(
        table, pa.table({"p": ["x"], "v": [6.0]}), mode="overwrite", predicate="p = 'x'"
    )
    table.restore(2)
    table.create_checkpoint()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert examine(LakeFiles(str(tmp_path)), "mine", datetime.now(UTC), deep=True) == []


def test_no_lake_has_no_tables(tmp_path: Path) -> None:
    assert LakeFiles(str(tmp_path / "none")).tables() == []
    assert LakeFiles(str(tmp_path)).tables() == []


@pytest.mark.parametrize(
    ("version", "harm", "kind", "days"),
    [
        (DAYS, empty, "empty_commit", [5]),
        (DAYS, tear, "torn_commit", [5]),
        (DAYS, blank, "torn_commit", [5]),
        (DAYS, cut_a_line, "torn_commit", [5]),
        (3, empty, "empty_commit", [2]),
        (3, tear, "torn_commit", [2, 3, 4, 5]),
        (3, cut_a_line, "torn_commit", [2, 3, 4, 5]),
        (3, Path.unlink, "missing_commit", [2, 3, 4, 5]),
    ],
)
def test_a_damaged_commit_is_found_with_the_days_that_it_costs(
    patient: Patient, version: int, harm: Harm, kind: str, days: list[int]
) -> None:
    harm(patient.commit(version))
    (found,) = patient.examine()
    assert (found.kind, found.harmful, found.mendable) == (kind, True, True)
    assert found.path == f"_delta_log/{version:020}.json"
    assert found.lost == lost(*days)


@pytest.mark.parametrize("harm", [empty, tear, Path.unlink])
def test_a_damaged_first_commit_cannot_be_mended(patient: Patient, harm: Harm) -> None:
    harm(patient.commit(0))
    (found,) = patient.examine()
    assert (found.harmful, found.mendable) == (True, False)
    assert "restore the table from a backup" in found.text


@pytest.mark.parametrize("harm", [empty, tear, Path.unlink])
def test_a_damaged_commit_below_a_checkpoint_only_costs_older_versions(
    patient: Patient, harm: Harm
) -> None:
    before = patient.facts()
    patient.checkpoint()
    harm(patient.commit(3))
    (found,) = patient.examine()
    assert (found.harmful, found.mendable) == (False, False)
    assert patient.facts() == before


@pytest.mark.parametrize("harm", [empty, tear, blank, scramble, scramble_texts])
def test_a_broken_checkpoint_is_found(patient: Patient, harm: Harm) -> None:
    harm(patient.checkpoint())
    (found,) = patient.examine()
    assert (found.kind, found.harmful, found.mendable) == ("broken_checkpoint", True, True)


def test_a_broken_checkpoint_without_its_commits_cannot_be_mended(patient: Patient) -> None:
    tear(patient.checkpoint())
    patient.commit(0).unlink()
    found = patient.examine()
    assert {each.kind for each in found} == {"broken_checkpoint", "missing_commit"}
    assert not any(each.mendable for each in found)


def test_an_older_broken_checkpoint_is_found_by_a_deep_look_and_harms_nobody(
    patient: Patient,
) -> None:
    older = patient.checkpoint(2)
    patient.checkpoint()
    tear(older)
    assert patient.examine() == []
    (found,) = patient.examine(deep=True)
    assert (found.kind, found.harmful, found.mendable) == ("broken_checkpoint", False, True)


def test_a_hint_is_torn_or_names_a_checkpoint_that_is_gone(patient: Patient) -> None:
    checkpoint = patient.checkpoint()
    hint = patient.log / "_last_checkpoint"
    whole = hint.read_text()
    tear(hint)
    (found,) = patient.examine()
    assert (found.kind, found.harmful) == ("broken_hint", False)
    hint.write_text(whole)
    checkpoint.unlink()
    (found,) = patient.examine()
    assert (found.kind, found.harmful) == ("broken_hint", True)


@pytest.mark.parametrize(
    ("harm", "kind"), [(Path.unlink, "missing_file"), (tear, "wrong_size"), (empty, "wrong_size")]
)
@pytest.mark.parametrize("with_checkpoint", [False, True])
def test_a_data_file_that_is_not_whole_is_found(
    patient: Patient, harm: Harm, kind: str, with_checkpoint: bool
) -> None:
    if with_checkpoint:
        patient.checkpoint()
    harm(patient.data(2))
    (found,) = patient.examine()
    assert (found.kind, found.harmful, found.mendable) == (kind, True, True)
    assert found.lost == lost(2)


@pytest.mark.parametrize("harm", [blank, scramble])
def test_a_data_file_that_cannot_be_decoded_is_found_by_a_deep_look(
    patient: Patient, harm: Harm
) -> None:
    (patient.folder / "_checksums").unlink()
    harm(patient.data(2))
    assert patient.examine() == []
    (found,) = patient.examine(deep=True)
    assert (found.kind, found.lost) == ("damaged_file", lost(2))


def test_files_that_nobody_needs_are_noted_when_no_writer_can_be_at_work(patient: Patient) -> None:
    orphan = patient.data(2).with_name("part-of-a-killed-writer.parquet")
    shutil.copy(patient.data(2), orphan)
    leftover = patient.log / "_commit_0b0e.json.tmp"
    leftover.write_text("{")
    assert patient.examine() == []
    age(orphan)
    age(leftover)
    found = {each.kind: each for each in patient.examine()}
    assert set(found) == {"orphaned_files", "leftover_files"}
    assert not any(each.harmful for each in found.values())
    assert not found["orphaned_files"].mendable


def test_files_of_older_versions_are_no_orphans(patient: Patient) -> None:
    patient.lake.optimize_table(TABLE.name)
    for path in patient.folder.rglob("*.parquet"):
        age(path)
    assert patient.examine() == []
    patient.checkpoint()
    for version in range(DAYS + 1):
        patient.commit(version).unlink()
    assert patient.examine() == []


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_happens_to_a_file_is_found_and_does_not_raise(
    data: st.DataObject, well: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("ill") / "lake"
    shutil.copytree(well, root)
    patient = Patient(root, days=0)
    before = patient.facts()
    if data.draw(st.booleans(), label="checkpoint"):
        patient.checkpoint()
    paths = sorted(path for path in patient.folder.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(paths))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1), label="at")
    how = data.draw(st.sampled_from(["cut", "noise", "remove"]))
    if how == "remove":
        path.unlink()
    else:
        noise = data.draw(st.binary(min_size=1, max_size=40)) if how == "noise" else b""
        path.write_bytes(content[:at] + noise + content[at + len(noise) :] * (how == "noise"))
    found = patient.examine(deep=True)
    try:
        after = patient.facts()
    except Exception:  # noqa: BLE001 - whatever a reader says of a damaged table
        after = []
    if not any(each.harmful for each in found) and how != "noise":
        newest_is_gone = how == "remove" and path == patient.commit(DAYS)
        assert after == before or newest_is_gone


def test_every_flipped_bit_of_a_data_file_is_found(patient: Patient) -> None:
    path = patient.data(2)
    content = path.read_bytes()
    for bit in random.Random(0).sample(range(len(content) * 8), 60):  # noqa: S311 - no secret
        flip(path, bit)
        (found,) = patient.examine(deep=True)
        assert (found.kind, found.lost) == ("damaged_file", lost(2))
        path.write_bytes(content)
    assert patient.examine(deep=True) == []


def test_without_a_checksum_a_file_that_cannot_be_decoded_is_found(patient: Patient) -> None:
    (patient.folder / "_checksums").unlink()
    path = patient.data(2)
    content = path.read_bytes()
    found = 0
    for bit in random.Random(0).sample(range(len(content) * 8), 60):  # noqa: S311 - no secret
        flip(path, bit)
        kinds = {each.kind for each in patient.examine(deep=True)}
        assert kinds <= {"damaged_file"}
        found += len(kinds)
        path.write_bytes(content)
    assert 0 < found < 60


def test_a_checksum_that_is_damaged_itself_condemns_no_file(patient: Patient) -> None:
    sums = patient.folder / "_checksums"
    content = sums.read_bytes()
    for bit in random.Random(1).sample(range(len(content) * 8), 60):  # noqa: S311 - no secret
        flip(sums, bit)
        assert patient.examine(deep=True) == []
        sums.write_bytes(content)
    tear(sums)
    assert patient.examine(deep=True) == []


def test_every_file_has_its_checksum_after_every_kind_of_write(patient: Patient) -> None:
    patient.lake.optimize_table(TABLE.name)
    table = DeltaTable(str(patient.folder))
    paths = pa.table(table.get_add_actions())["path"].to_pylist()
    assert paths
    assert set(paths) <= set(read_checksums(patient.files, TABLE.name))
    table.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert (patient.folder / "_checksums").exists()


def test_a_table_of_two_pairs_tells_whose_rows_are_lost(patient: Patient) -> None:
    patient.lake.append_if_changed(TABLE, bars("ETHUSD", day(1), 72), box("ETHUSD", 1, 3))
    patient.commit(DAYS + 1).write_bytes(b"")
    (found,) = patient.examine()
    assert found.lost == (Lost("ETHUSD", day(1).date(), day(3).date()),)


def test_a_file_that_cannot_be_opened_is_not_taken_for_damaged(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LakeFiles.read

    def refuse(files: LakeFiles, path: str) -> bytes:
        if path.endswith(".parquet"):
            raise PermissionError(13, "Permission denied", path)
        return read(files, path)

    monkeypatch.setattr(LakeFiles, "read", refuse)
    (found,) = patient.examine(deep=True)
    assert (found.kind, found.mendable) == ("unreadable", False)
