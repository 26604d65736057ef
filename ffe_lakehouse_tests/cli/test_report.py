"""``ffe report`` on marts that dbt has computed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ffe_lakehouse.cli import report
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold.conftest import dbt_folder
from ffe_lakehouse_tests.gold_lake import GoldLake

__all__ = ["dbt_folder"]

Run = Callable[..., str]


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command on 2024-01-04; what it prints, or the error that ends it."""
    clock = home / "clock"
    clock.write_text("2024-01-04T10:00:00Z")
    monkeypatch.setenv("FFE_CLOCK_FILE", str(clock))
    get_settings.cache_clear()
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(report.report)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory, dbt_folder: Path) -> Path:
    """A lake with the marts of 2024-01-01 to 2024-01-04: a trade of each of two pairs."""
    folder = tmp_path_factory.mktemp("computed")
    gold = GoldLake(DeltaLakeManager(folder), dbt_folder)
    gold.trade(0, 10.0)
    gold.trade(1, 20.0, asset_pair="ETHUSD")
    outcomes = gold.outcomes(marts(), last=3)
    assert {each.status for each in outcomes} <= {"success", "pass"}
    return folder


@pytest.fixture
def filled(computed: Path, home: Path) -> None:
    """They are in the lake of this installation."""
    shutil.copytree(computed, get_settings().lake_uri)


def test_one_line_says_what_was_written(filled: None, run: Run, home: Path) -> None:
    printed = run("--start", "2024-01-01", "--end", "2024-01-03", "--output", "made.html")
    page = home / "made.html"
    size = f"{page.stat().st_size / 1e6:.1f} MB"
    assert printed == f"made.html: {size}, 2024-01-01 to 2024-01-03, 2 pairs\n"
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in home.glob("*made*")] == ["made.html"]


def test_of_itself_it_looks_thirty_days_back_from_today(filled: None, run: Run, home: Path) -> None:
    assert "2023-12-05 to 2024-01-04" in run()
    assert (home / "report.html").exists()
    assert "2023-12-04 to 2024-01-03" in run("--end", "2024-01-03")
    assert "2024-01-03 to 2024-01-04" in run("--days", "2")


def test_it_does_not_look_back_beyond_the_first_day_of_the_lake(
    filled: None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_START_DATE", "2024-01-01")
    get_settings.cache_clear()
    assert "2024-01-01 to 2024-01-04" in run()


def test_pairs_can_be_chosen_in_any_spelling(filled: None, run: Run, home: Path) -> None:
    assert run("--assets", "eth-usd").endswith(", 1 pair\n")
    page = (home / "report.html").read_text()
    assert ">ETHUSD<" in page
    assert ">BTCUSD<" not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--start", "2024-01-03", "--end", "2024-01-01"), "2024-01-01 is before the start"),
        (("--end", "2024-02-30"), "'2024-02-30' is no day"),
        (("--end", "2014-05-01"), "2014-05-01 is before the first day of the lake, 2015-01-01"),
        (("--end", "2024-02-01"), "2024-02-01 is in the future"),
        (("--days", "0"), "ask for one day or more"),
        (("--days", "2", "--end", "2024-01-02"), "either --days, or"),
        (("--assets", "DOGEUSD"), "no mart has rows of DOGEUSD: there are BTCUSD, ETHUSD"),
        (("--assets", "a b"), "'a b'"),
        (("--output", "nowhere/report.html"), "no folder nowhere; make it first"),
        (("--output", "data"), "cannot write data"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    filled: None, run: Run, home: Path, arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InputError) as error:
        run(*arguments)
    assert said in str(error.value)
    assert not list(home.glob("*.html"))
    assert not list(home.glob(".*.part"))


def test_without_any_mart_it_says_what_computes_them(run: Run, home: Path) -> None:
    with pytest.raises(InputError, match=r"no gold table in .*--layers gold"):
        run()
    assert not list(home.glob("*.html"))
