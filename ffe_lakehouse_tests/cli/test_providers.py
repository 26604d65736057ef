"""``ffe providers``, with plug-ins that are real distributions on ``sys.path``."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.cli.conftest import Run

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Make a plug-in ``name`` whose factory is ``make`` of this code."""
    modules = []

    def install(name: str, code: str) -> None:
        folder = tmp_path / name
        information = folder / f"{name}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(
            f"[ffe_lakehouse.providers]\n{name} = {name}_code:make\n"
        )
        (folder / f"{name}_code.py").write_text(code)
        monkeypatch.syspath_prepend(str(folder))
        modules.append(f"{name}_code")

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def listed(ffe: Run) -> dict[str, dict[str, str | None]]:
    outcome = ffe("providers", "--json")
    assert outcome.code == 0
    return {provider["name"]: provider for provider in json.loads(outcome.text)}


def test_what_needs_nothing_is_ready(ffe: Run) -> None:
    assert listed(ffe)["simulated"]["status"] == "ready"
    assert re.search(r"simulated +ready", ffe("providers").text)


def test_what_misses_a_setting_names_it_until_it_is_there(
    ffe: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = listed(ffe)["files"]
    assert files["status"] == "not configured"
    assert "FFE_FILES_DIR" in str(files["needs"])
    assert "FFE_FILES_DIR" in ffe("providers").text
    monkeypatch.setenv("FFE_FILES_DIR", str(home))
    get_settings.cache_clear()
    assert listed(ffe)["files"] == files | {"status": "ready", "needs": None}


def test_a_plug_in_that_cannot_be_imported_is_broken_and_the_others_are_listed(
    ffe: Run, install: Install
) -> None:
    install("acme", "import nowhere_to_be_found")
    found = listed(ffe)
    assert found["acme"]["status"] == "broken"
    assert found["acme"]["description"] == ""
    assert "No module named 'nowhere_to_be_found'" in str(found["acme"]["needs"])
    assert {"simulated", "files"} < found.keys()


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ('def make(settings): raise RuntimeError("no\\n  licence")', "RuntimeError: no licence"),
        ("def make(settings): raise KeyError('token')", "KeyError: 'token'"),
        ("def make(): pass", "TypeError: make() takes 0"),
        ("def make(settings): return 7", "not a Provider"),
        ("make = 7", "is no class or function"),
    ],
)
def test_a_plug_in_that_fails_is_broken_with_its_cause_on_one_line(
    ffe: Run, install: Install, code: str, cause: str
) -> None:
    install("acme", code)
    acme = listed(ffe)["acme"]
    assert acme["status"] == "broken"
    assert cause in str(acme["needs"])
    assert ffe("providers").code == 0


def test_what_a_plug_in_says_is_never_taken_for_markup(ffe: Run, install: Install) -> None:
    install(
        "acme", 'def make(settings):\n    """[bold]All[/nonsense] candles."""\n    raise OSError'
    )
    assert "[bold]All[/nonsense] candles." in ffe("providers").text
