"""``ffe optimize``, ``vacuum``, ``restore`` and ``delete`` on a real lake."""

from pathlib import Path

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from ffe_lakehouse.cli import lake as commands
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, bars, day
from ffe_lakehouse_tests.cli.conftest import Outcome

HOURLY = raw_candles(TIMEFRAMES["1h"])
NAME = HOURLY.name


def ffe(*arguments: object, answer: str = "") -> Outcome:
    """Run a command as the ``ffe`` script does, with ``answer`` typed in."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    for command in (commands.optimize, commands.vacuum, commands.restore, commands.delete):
        app.command()(command)
    result = CliRunner().invoke(app, list(map(str, arguments)), input=answer)
    if isinstance(result.exception, InputError):
        return Outcome(2, str(result.exception))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.output)


@pytest.fixture
def filled(lake: DeltaLakeManager) -> DeltaLakeManager:
    """Four days of two pairs, by a commit a day: versions 1 to 4."""
    for number in range(4):
        rows = [bars(pair, day(number), 24) for pair in ("BTCUSD", "ETHUSD")]
        lake.append(HOURLY, pa.concat_tables(rows))
    return lake


def files(lake: DeltaLakeManager) -> int:
    return len(lake.table(NAME).file_uris())


def test_optimize_puts_files_together_and_says_so(filled: DeltaLakeManager) -> None:
    outcome = ffe("optimize", "raw_market_data_1h")
    assert outcome.code == 0
    assert outcome.text.startswith(f"{NAME}: 8 files are 2 now (8 of ")
    assert files(filled) == 2
    assert filled.read(NAME).num_rows == 192
    again = ffe("optimize", NAME)
    assert "nothing to do, its 2 files" in again.text
    assert filled.table(NAME).version() == 5


def test_optimize_orders_by_the_columns_it_is_given(filled: DeltaLakeManager) -> None:
    outcome = ffe("optimize", NAME, "--zorder", "timestamp, close")
    assert outcome.code == 0
    (commit,) = filled.history(NAME, 1)
    assert commit["operation"] == "OPTIMIZE"
    assert files(filled) == 2


@pytest.mark.parametrize("column", ["asset_pairs", "partition_asset_pair", ""])
def test_optimize_refuses_a_column_that_it_cannot_order_by(
    filled: DeltaLakeManager, column: str
) -> None:
    outcome = ffe("optimize", NAME, "--zorder", column)
    assert outcome.code == 2
    assert "cannot be ordered by" in outcome.text
    assert files(filled) == 8


def test_vacuum_leaves_a_week_by_itself(filled: DeltaLakeManager) -> None:
    filled.optimize_table(NAME)
    outcome = ffe("vacuum", NAME)
    assert outcome.text == f"{NAME}: 0 files were deleted\n"
    assert filled.read(NAME, version=4).num_rows == 192


def test_a_short_retention_must_be_allowed(filled: DeltaLakeManager) -> None:
    filled.optimize_table(NAME)
    refused = ffe("vacuum", NAME, "--retention-hours", 1)
    assert refused.code == 2
    assert "--allow-short-retention" in refused.text
    allowed = ffe("vacuum", NAME, "--retention-hours", 0, "--allow-short-retention")
    assert allowed.text == f"{NAME}: 8 files were deleted\n"
    assert filled.read(NAME).num_rows == 192


def test_a_dry_run_lists_the_files_and_deletes_none(filled: DeltaLakeManager) -> None:
    filled.optimize_table(NAME)
    hours = ("--retention-hours", 0, "--allow-short-retention")
    outcome = ffe("vacuum", NAME, *hours, "--dry-run")
    *paths, summary = outcome.text.splitlines()
    assert summary == f"{NAME}: 8 files would be deleted"
    assert all((Path(filled.table_uri(NAME)) / path).exists() for path in paths)
    assert len(paths) == 8


def test_restore_brings_back_a_version(filled: DeltaLakeManager) -> None:
    outcome = ffe("restore", NAME, "--version", 2)
    assert f"{NAME}: version 2 is back, as version 5." in outcome.text
    assert "`ffe backfill --force`" in outcome.text
    assert filled.read(NAME).num_rows == 96
    assert "is back, as version 6" in ffe("restore", NAME, "--version", 4).text
    assert filled.read(NAME).num_rows == 192


def test_restore_brings_back_a_moment(filled: DeltaLakeManager) -> None:
    newest = filled.get_table_history(NAME)["timestamp"].iloc[0]
    rows = filled.read(NAME).num_rows
    filled.append(HOURLY, bars("SOLUSD", START, 5))
    outcome = ffe("restore", NAME, "--as-of", newest.isoformat())
    assert "version 4 is back, as version 6" in outcome.text
    assert filled.read(NAME).num_rows == rows


def test_to_restore_the_newest_version_changes_nothing(filled: DeltaLakeManager) -> None:
    assert "nothing was changed" in ffe("restore", NAME, "--version", 4).text
    assert filled.table(NAME).version() == 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "--version N or --as-of T"),
        (("--version", 1, "--as-of", "2024-01-01"), "one of them"),
        (("--version", 9), "it has 0 to 4"),
        (("--as-of", "2001-01-01"), "did not exist at"),
        (("--as-of", "yesterday"), "is no time"),
    ],
)
def test_a_state_that_never_was_is_not_restored(
    filled: DeltaLakeManager, options: tuple[object, ...], reason: str
) -> None:
    outcome = ffe("restore", NAME, *options)
    assert outcome.code == 2
    assert reason in outcome.text
    assert filled.table(NAME).version() == 4


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_delete_asks_and_takes_no_for_an_answer(filled: DeltaLakeManager, answer: str) -> None:
    outcome = ffe("delete", NAME, answer=answer)
    assert outcome.code == 1
    assert "all of its 5 versions?" in outcome.text
    assert filled.read(NAME).num_rows == 192


def test_delete_deletes_when_it_is_told_yes(filled: DeltaLakeManager) -> None:
    filled.append(raw_candles(TIMEFRAMES["1d"]), bars("BTCUSD", START, 2, "1d"))
    outcome = ffe("delete", NAME, answer="y\n")
    assert outcome.code == 0
    assert f"{NAME} was deleted." in outcome.text
    assert not Path(filled.table_uri(NAME)).exists()
    assert ffe("delete", "raw_market_data_1d", "--yes").code == 0
    assert not filled.table_exists("bronze/raw_market_data_1d")


def test_a_table_of_ones_own_is_known_by_its_name(lake: DeltaLakeManager) -> None:
    for number in range(3):
        lake.create_or_update_table(pa.table({"a": [number]}), "silver/my_table")
    assert "3 files are 1 now" in ffe("optimize", "silver/my_table").text
    assert ffe("delete", "silver/my_table", "--yes").code == 0
    assert not lake.table_exists("silver/my_table")


@pytest.mark.parametrize("command", ["optimize", "vacuum", "restore", "delete"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raw_market_data_1h", "no table"),
        ("silver/nothing", "unknown table"),
        ("../elsewhere", "is no name of a table"),
    ],
)
def test_what_is_no_table_of_the_lake_is_refused(
    home: Path, command: str, name: str, reason: str
) -> None:
    more = {"restore": ("--version", 0), "delete": ("--yes",)}.get(command, ())
    outcome = ffe(command, name, *more)
    assert outcome.code == 2
    assert reason in outcome.text
