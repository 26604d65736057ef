"""Settings: where they come from, and which values are refused."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from ffe_lakehouse.settings import Settings, get_settings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ``.env`` and no ``FFE_*`` of this machine."""
    import os

    for name in os.environ:
        if name.startswith("FFE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_lake_and_the_memory_lie_below_the_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "desk")
    assert settings.lake_uri == str(tmp_path / "desk" / "lake")
    assert settings.dagster_home == tmp_path / "desk" / "dagster"


def test_the_home_is_a_folder_of_the_working_directory_by_default(tmp_path: Path) -> None:
    assert Settings().lake_uri == str(tmp_path.resolve() / "data" / "lake")


def test_a_storage_path_moves_the_lake_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFE_STORAGE_PATH", "s3://bucket/lake")
    assert Settings().lake_uri == "s3://bucket/lake"
    assert Settings().dagster_home.name == "dagster"


def test_an_empty_storage_path_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFE_STORAGE_PATH", "")
    assert Settings().lake_uri.endswith("/data/lake")


def test_the_environment_wins_over_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("FFE_BATCH_DAYS=7\nFFE_START_DATE=2020-02-02\nOTHER=1\n")
    monkeypatch.setenv("FFE_BATCH_DAYS", "9")
    assert (Settings().batch_days, Settings().start_date) == (9, date(2020, 2, 2))


def test_nested_settings_have_variables_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFE_SIMULATED_FAULTS__GAPS", "0.5")
    monkeypatch.setenv("FFE_SIMULATED_FAULTS__FAILING_PAIRS", '["BTCUSD"]')
    faults = Settings().simulated_faults
    assert (faults.gaps, faults.bad_rows, faults.failing_pairs) == (0.5, 0.0, {"BTCUSD"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCH_DAYS", "0"),
        ("BATCH_DAYS", "many"),
        ("MAX_REJECT_RATIO", "1.5"),
        ("MAX_REJECT_RATIO", "nan"),
        ("SETTLEMENT_MINUTES", "-1"),
        ("START_DATE", "01.02.2020"),
        ("COMPRESSION", "zip"),
        ("SIMULATED_FAULTS__GAPS", "2"),
    ],
)
def test_a_value_out_of_bounds_is_refused_and_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FFE_{name}", value)
    with pytest.raises(ValidationError, match=name.split("__")[0].lower()):
        Settings()


def test_settings_do_not_change_under_way() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().batch_days = 3  # type: ignore[misc]


def test_the_settlement_delay_is_the_minutes_of_the_setting() -> None:
    assert Settings(settlement_minutes=1.5).settlement_delay == timedelta(seconds=90)


def test_a_process_reads_its_settings_once(monkeypatch: pytest.MonkeyPatch) -> None:
    get_settings.cache_clear()
    before = get_settings()
    monkeypatch.setenv("FFE_BATCH_DAYS", "3")
    assert get_settings() is before
    get_settings.cache_clear()
    assert get_settings().batch_days == 3
    get_settings.cache_clear()
