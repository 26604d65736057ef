"""What the old engine left in files."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ffe_lakehouse.cli.app import app
from ffe_lakehouse.dead_letters import export, read_letters
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.legacy import Claim, import_letters, read_claims
from ffe_lakehouse.settings import get_settings

RECORD = {"date": "2025-12-14 09:00:00", "high": 42000, "low": 42500}


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLakeManager:
    return DeltaLakeManager(tmp_path / "lake")


def write(folder: Path, *records: Any, name: str = "dlq_2025-12-14T10-30-00_abc12345.json") -> Path:
    """A file as the engine wrote it."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"asset_pair": "BTC_USD", "timeframe": "1h", "provider": "alpha_vantage"}
    document = {
        "timestamp": "2025-12-14T10-30-00",
        "error": "schema_validation_failed",
        "context": about,
        "records": list(records),
    }
    (folder / name).write_text(json.dumps(document))
    return folder / name


def test_a_record_is_a_letter_of_its_day_with_its_reason_as_a_code(
    lake: DeltaLakeManager, tmp_path: Path
) -> None:
    write(tmp_path / "old" / "dlq", RECORD | {"reason": "high < low"})
    (file,) = import_letters(lake, tmp_path / "old")
    assert (file.new, file.known, file.fault) == (1, 0, "")
    (letter,) = read_letters(lake).to_pylist()
    assert letter["reasons"] == ["high_below_low"]
    assert json.loads(letter["record"]) == RECORD
    assert letter["timestamp"] == datetime(2025, 12, 14, 9, tzinfo=UTC)
    assert letter["_extracted_at"] == datetime(2025, 12, 14, 10, 30, tzinfo=UTC)
    assert (letter["asset_pair"], letter["timeframe"]) == ("BTCUSD", "1h")
    assert letter["source_provider"] == "alpha_vantage"


def test_a_reason_without_a_code_stays_in_the_record(
    lake: DeltaLakeManager, tmp_path: Path
) -> None:
    odd = {"close": "n/a", "reason": "close is weird"}
    write(tmp_path / "old", odd)
    import_letters(lake, tmp_path / "old")
    (letter,) = read_letters(lake).to_pylist()
    assert letter["reasons"] == ["legacy_reason"]
    assert json.loads(letter["record"]) == odd
    assert (letter["timestamp"], letter["partition_date"]) == (None, date(2025, 12, 14))


def test_a_file_that_is_imported_again_adds_nothing(lake: DeltaLakeManager, tmp_path: Path) -> None:
    same = RECORD | {"reason": "high < low"}
    write(tmp_path / "old", same, same, RECORD | {"reason": "negative price", "low": -1})
    assert [file.new for file in import_letters(lake, tmp_path / "old")] == [3]
    assert [file.known for file in import_letters(lake, tmp_path / "old")] == [3]
    assert read_letters(lake).num_rows == 3


def test_what_the_lake_exports_can_be_imported(lake: DeltaLakeManager, tmp_path: Path) -> None:
    write(tmp_path / "old", RECORD | {"reason": "high < low, close not in range"})
    import_letters(lake, tmp_path / "old")
    before = read_letters(lake)
    export(before, tmp_path / "exported")
    other = DeltaLakeManager(tmp_path / "other")
    (file,) = import_letters(other, tmp_path / "exported")
    assert file.fault == ""
    after = read_letters(other)
    for name in ("reasons", "timestamp", "asset_pair", "source_provider", "_extracted_at"):
        assert after[name].to_pylist() == before[name].to_pylist()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty document"),
        (
            (
                '{"timestamp": "2025-12-14", "context": {"asset_pair": "BTCUSD", "timeframe": "1h",'
                ' "provider": "x"}, "records": [1]}'
            ),
            "no JSON object",
        ),
        ("[]", "TypeError"),
        ('{"context": {}}', "KeyError: 'records'"),
        ('{"context": {"asset_pair": "?"}, "records": []}', "'?'"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named_and_does_not_stop_the_others(
    lake: DeltaLakeManager, tmp_path: Path, text: str, fault: str
) -> None:
    write(tmp_path / "old", RECORD | {"reason": "high < low"})
    bad = tmp_path / "old" / "dlq_bad.json"
    bad.write_text(text)
    good, broken = import_letters(lake, tmp_path / "old")
    assert good.new == 1
    assert broken.path == bad
    assert fault in broken.fault


def test_the_command_says_what_it_took_and_what_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    get_settings.cache_clear()
    old = write(tmp_path / "old", RECORD | {"reason": "high < low"}).parent
    (old / "watermarks.json").write_text('{"BTCUSD_1h": "2025-12-14T10:00:00"}')
    result = CliRunner().invoke(app, ["import-legacy", str(old)])
    get_settings.cache_clear()
    assert result.exit_code == 0
    assert "1 dlq file(s): 1 letter(s) imported, 0 known before" in result.output
    assert "BTCUSD  1h         2025-12-14 10:00:00" in result.output


def test_watermarks_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "watermarks.json"
    path.write_text('{"BTCUSD_1h": "2025-12-14T10:00:00", "EUR_USD_1d": "2025-12-14T00:00:00"}')
    assert read_claims(path) == [
        Claim("BTCUSD", "1h", datetime(2025, 12, 14, 10, tzinfo=UTC)),
        Claim("EURUSD", "1d", datetime(2025, 12, 14, tzinfo=UTC)),
    ]


@pytest.mark.parametrize("text", ["[]", "{", '{"BTCUSD": "2025-12-14"}', '{"BTCUSD_1h": "soon"}'])
def test_watermarks_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "watermarks.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"watermarks.json is no watermarks.json"):
        read_claims(path)
