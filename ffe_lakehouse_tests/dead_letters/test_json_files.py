"""Dead letters as JSON files."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.dead_letters import export
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas import dead_letters
from ffe_lakehouse.timeframes import TIMEFRAMES

BATCH = "abc12345-0000-4000-8000-000000000000"
OTHER_BATCH = "def67890-0000-4000-8000-000000000000"
REJECTED_AT = datetime(2025, 12, 14, 10, 30, 0, 250_000, UTC)
RECORD = '{"date":"2025-12-14 09:00:00","high":42000,"low":42500}'


def letters(*several: dict[str, Any]) -> pa.Table:
    """Rows by ``schemas.dead_letters``: one letter each, with these columns changed."""
    usual = {
        "timestamp": datetime(2025, 12, 14, 9, tzinfo=UTC),
        "asset_pair": "BTCUSD",
        "timeframe": "1h",
        "reasons": ["high_below_low"],
        "record": RECORD,
        "window_start": datetime(2025, 12, 14, tzinfo=UTC),
        "window_end": datetime(2025, 12, 15, tzinfo=UTC),
        "run_id": "run-1",
        "source_provider": "alpha_vantage",
        "_extracted_at": REJECTED_AT,
        "_ingestion_id": BATCH,
        "is_mock": False,
        "partition_date": date(2025, 12, 14),
        "partition_asset_pair": "BTCUSD",
        "storage_period": "2025",
    }
    rows = [usual | {"letter_id": f"{n:032}"} | changed for n, changed in enumerate(several)]
    return pa.Table.from_pylist(rows, dead_letters(TIMEFRAMES["1h"]).arrow)


def records(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["records"]
    return found


def test_a_batch_becomes_a_file_of_this_name_and_shape(tmp_path: Path) -> None:
    [path] = export(letters({}), tmp_path)
    assert path.name == "dlq_2025-12-14T10-30-00_abc12345.json"
    assert json.loads(path.read_text()) == {
        "timestamp": "2025-12-14T10:30:00.250000Z",
        "error": "schema_validation_failed",
        "context": {"asset_pair": "BTCUSD", "timeframe": "1h", "provider": "alpha_vantage"},
        "records": [
            {
                "date": "2025-12-14 09:00:00",
                "high": 42000,
                "low": 42500,
                "reason": "high_below_low",
            }
        ],
    }


def test_every_batch_is_a_file_of_its_own(tmp_path: Path) -> None:
    later = {"_ingestion_id": OTHER_BATCH, "_extracted_at": REJECTED_AT + timedelta(hours=1)}
    paths = export(letters(later | {"asset_pair": "ETHUSD"}, {}, later, {}, {}), tmp_path)
    assert [path.name for path in paths] == [
        "dlq_2025-12-14T10-30-00_abc12345.json",
        "dlq_2025-12-14T11-30-00_def67890.json",
    ]
    assert [len(records(path)) for path in paths] == [3, 2]


def test_batches_of_the_same_moment_are_told_apart(tmp_path: Path) -> None:
    paths = export(letters({}, {"_ingestion_id": OTHER_BATCH}, {}), tmp_path)
    assert [len(records(path)) for path in paths] == [2, 1]


def test_an_export_repeated_writes_the_same_files(tmp_path: Path) -> None:
    some = letters({"timestamp": None}, {}, {"_ingestion_id": OTHER_BATCH}, {"timestamp": None})
    before = {path: path.read_bytes() for path in export(some, tmp_path)}
    after = export(some.take([3, 2, 1, 0]), tmp_path)
    assert {path: path.read_bytes() for path in after} == before
    assert set(tmp_path.iterdir()) == set(before)


def test_reasons_are_joined(tmp_path: Path) -> None:
    both = letters({"reasons": ["high_below_low", "open_out_of_range"]}, {})
    [path] = export(both, tmp_path)
    assert [record["reason"] for record in records(path)] == [
        "high_below_low, open_out_of_range",
        "high_below_low",
    ]


@pytest.mark.parametrize(
    ("record", "exported"),
    [
        ("{}", {}),
        (' {"a": 1 } \n', {"a": 1}),
        ('{"a":{"reason":"inner"}}', {"a": {"reason": "inner"}}),
        ('{"reason":"my own","a":1}', {"record": {"reason": "my own", "a": 1}}),
        ('{"record":1}', {"record": 1}),
        ("[1, 2]", {"record": [1, 2]}),
        ("null", {"record": None}),
        ("not } JSON", {"record": "not } JSON"}),
        ('{"a": NaN}', {"record": '{"a": NaN}'}),
        ("", {"record": ""}),
    ],
)
def test_a_record_of_any_kind_is_exported_with_its_reason(
    tmp_path: Path, record: str, exported: dict[str, Any]
) -> None:
    [path] = export(letters({"record": record}), tmp_path)
    assert records(path) == [exported | {"reason": "high_below_low"}]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("reason"), inner),
)


@given(st.text(st.characters(exclude_categories=["Cs"])) | ANY_JSON.map(json.dumps))
def test_no_record_is_lost_or_breaks_the_export(
    tmp_path_factory: pytest.TempPathFactory, record: str
) -> None:
    [path] = export(letters({"record": record}), tmp_path_factory.mktemp("export"))
    [exported] = records(path)
    assert exported.pop("reason") == "high_below_low"
    try:
        said = json.loads(record)
    except json.JSONDecodeError:
        said = record
    assert said == exported or said == exported["record"] or record == exported["record"]


def test_a_record_is_exported_letter_for_letter(tmp_path: Path) -> None:
    record = '{"price":42000.10,"exact":0.12345678901234567890,"twice":1,"twice":2,"big":1e400}'
    [path] = export(letters({"record": '{"price":42000.10,"twice":1,"twice":2}'}), tmp_path)
    assert '{"price":42000.10,"twice":1,"twice":2,"reason":"high_below_low"}' in path.read_text()
    [path] = export(letters({"record": record}), tmp_path)
    assert "42000.10" in path.read_text()


def test_no_letters_are_no_files(tmp_path: Path) -> None:
    assert export(letters(), tmp_path / "new") == []


def test_a_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    [path] = export(letters({}), tmp_path / "a" / "b")
    assert path.parent == tmp_path / "a" / "b"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot make the folder"):
        export(letters({}), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_that_cannot_be_written_is_refused_and_leaves_nothing_half(tmp_path: Path) -> None:
    blocked = tmp_path / "dlq_2025-12-14T10-30-00_abc12345.json"
    blocked.mkdir()
    with pytest.raises(InputError, match="cannot write"):
        export(letters({}), tmp_path)
    assert list(tmp_path.iterdir()) == [blocked]
