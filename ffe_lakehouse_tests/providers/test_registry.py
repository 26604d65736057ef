"""Providers by name, with plug-ins that are real distributions on ``sys.path``."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.files import FilesProvider
from ffe_lakehouse.providers.registry import describe_provider, get_provider, provider_names
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.settings import Settings

PLUG_IN = '''
from ffe_lakehouse.providers.base import Provider

class Acme(Provider):
    """Candles of the Acme exchange.

    Not shown in a list.
    """

    name = "acme"

    def __init__(self, settings):
        self.seed = settings.simulated_seed

    def fetch(self, query):
        yield from ()

def strange(settings):
    return "no provider"

def misnamed(settings):
    return Acme(settings)

number = 7
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution on ``sys.path``: its entry points, and the code of its module."""
    modules = []

    def install(distribution: str, code: str = PLUG_IN, **entry_points: str) -> None:
        folder = tmp_path / distribution
        information = folder / f"{distribution}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8"
        )
        (information / "entry_points.txt").write_text(
            "[ffe_lakehouse.providers]\n"
            + "".join(f"{name} = {distribution}_code:{it}\n" for name, it in entry_points.items()),
            encoding="utf-8",
        )
        (folder / f"{distribution}_code.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(str(folder))
        modules.append(f"{distribution}_code")

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def make_settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


def test_the_built_in_providers_are_made_from_the_settings(tmp_path: Path) -> None:
    settings = make_settings(files_dir=tmp_path, simulated_seed=3)
    files = get_provider("files", settings)
    assert isinstance(files, FilesProvider)
    assert files.folder == tmp_path
    assert isinstance(get_provider("simulated", settings), SimulatedProvider)


def test_every_built_in_provider_has_a_name_and_a_description() -> None:
    assert {"files", "simulated"} <= set(provider_names())
    assert all(len(describe_provider(name)) > 20 for name in provider_names())


def test_no_provider_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import json, sys; from ffe_lakehouse.providers.registry import *;"
        "[describe_provider(name) for name in provider_names()];"
        "print(json.dumps([m for m in sys.modules if m.startswith('ffe_lakehouse.providers.')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)  # noqa: S603
    assert set(json.loads(done.stdout)) == {
        "ffe_lakehouse.providers.base",
        "ffe_lakehouse.providers.registry",
    }


def test_an_unknown_provider_names_those_there_are(install: Install) -> None:
    install("acme", acme="Acme")
    with pytest.raises(InputError) as caught:
        get_provider("nope", make_settings())
    assert str(caught.value) == (
        "unknown provider 'nope': use one of alpaca, alpha_vantage, chain, coinbase, files, oanda,"
        " polygon, simulated, yahoo, acme"
    )


def test_the_files_provider_without_a_folder_names_the_setting() -> None:
    with pytest.raises(ProviderError, match="--source DIR or FFE_FILES_DIR") as caught:
        get_provider("files", make_settings(files_dir=None))
    assert caught.value.kind == "configuration"


def test_a_plug_in_is_made_from_the_settings_and_described(install: Install) -> None:
    install("acme", acme="Acme")
    provider = get_provider("acme", make_settings(simulated_seed=3))
    assert (provider.name, provider.seed) == ("acme", 3)  # type: ignore[attr-defined]
    assert "acme" in provider_names()
    assert describe_provider("acme") == "Candles of the Acme exchange."


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import missing_module_of_acme", "ModuleNotFoundError: No module named"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("pass", "AttributeError: "),
    ],
)
def test_a_plug_in_that_cannot_be_loaded_fails_alone_and_with_the_cause(
    install: Install, code: str, cause: str
) -> None:
    install("acme", acme="Acme")
    install("broken", code, broken="Broken")
    with pytest.raises(InputError, match=r"provider 'broken' of broken cannot be loaded") as caught:
        get_provider("broken", make_settings())
    assert cause in str(caught.value)
    assert describe_provider("broken") == str(caught.value)
    assert get_provider("acme", make_settings()).name == "acme"


def test_a_plug_in_may_not_take_a_built_in_name(install: Install) -> None:
    install("thief", files="Acme")
    with pytest.raises(InputError, match="'files' is built in, and thief brings another"):
        get_provider("files", make_settings())
    assert provider_names().count("files") == 1
    assert isinstance(get_provider("simulated", make_settings()), SimulatedProvider)


def test_two_distributions_may_not_bring_the_same_name(install: Install) -> None:
    install("one", acme="Acme")
    install("two", acme="Acme")
    with pytest.raises(InputError, match="comes from one and two: uninstall all but one"):
        get_provider("acme", make_settings())
    assert provider_names().count("acme") == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("strange", "made 'no provider', which is not a Provider"),
        ("misnamed", "not a Provider whose name is 'zenith'"),
        ("number", "'acme_code:number' is no class or function"),
    ],
)
def test_a_plug_in_that_is_no_provider_of_its_name_is_refused(
    install: Install, target: str, message: str
) -> None:
    install("acme", zenith=target)
    with pytest.raises(InputError, match=message):
        get_provider("zenith", make_settings())
