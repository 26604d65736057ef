"""Laws of the repository itself: what its files name, how they are built, where links lead."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module
from dagster._core.workspace.load import location_origins_from_yaml_paths

from ffe_lakehouse.settings import Settings
from ffe_lakehouse_tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "ffe_lakehouse"
ENV_EXAMPLE = REPOSITORY / ".env.example"

# Written so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root)/|(?<![\w.])/(?:home|Users)/[a-z]|[C-Z]:\\\w")
REGISTRY = re.compile(
    r"pypi[.]org|pythonhosted[.]org|anaconda[.]org|npmjs[.]|yarnpkg[.]com|crates[.]io"
    r"|rubygems[.]org|repo1?[.]maven|proxy[.]golang|deb[.]debian|docker[.]io|ghcr[.]io|quay[.]io"
)
LOCK_FILE = re.compile(r"\b(?:uv|poetry|pdm|Pipfile|Cargo|yarn)[.]lock\b|package-lock[.]json")
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")

MODULES = sorted(PACKAGE.rglob("*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def tracked_files() -> list[Path]:
    listing = subprocess.run(  # noqa: S603 - fixed command
        ["git", "-c", f"safe.directory={REPOSITORY}", "ls-files", "-z"],  # noqa: S607 - of the PATH
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = (REPOSITORY / name for name in listing.split("\0") if name)
    return [path for path in paths if path.is_file()]


def tracked_texts() -> dict[str, str]:
    contents = {shown(path): path.read_bytes() for path in tracked_files()}
    return {name: body.decode() for name, body in contents.items() if b"\0" not in body}


def offending_lines(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in tracked_texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_the_env_example_names_exactly_the_settings() -> None:
    named = re.findall(r"^#?(FFE_\w+)=", ENV_EXAMPLE.read_text(), re.MULTILINE)
    assert named == [f"FFE_{field.upper()}" for field in Settings.model_fields]


def test_the_values_in_the_env_example_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"FFE_{field.upper()}", raising=False)
    example = Settings(_env_file=ENV_EXAMPLE)
    assert example == Settings(_env_file=None)
    given = {field for field in example.model_fields_set if getattr(example, field) is not None}
    assert given == {
        field for field in Settings.model_fields if getattr(example, field) is not None
    }


def test_no_file_names_a_path_of_one_machine() -> None:
    assert offending_lines(MACHINE_PATH) == []


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert offending_lines(REGISTRY) == []


def test_no_file_is_or_names_a_lock_file() -> None:
    assert offending_lines(LOCK_FILE) == []
    assert [shown(path) for path in tracked_files() if LOCK_FILE.search(path.name)] == []


@pytest.mark.parametrize("module", MODULES, ids=shown)
def test_a_module_says_what_belongs_in_it(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


@pytest.mark.parametrize("module", MODULES, ids=shown)
def test_a_module_has_less_than_400_lines(module: Path) -> None:
    assert len(module.read_text().splitlines()) < 400


def test_the_workspace_names_a_module_that_holds_the_definitions() -> None:
    origins = location_origins_from_yaml_paths([str(REPOSITORY / "workspace.yaml")])
    (origin,) = origins
    assert isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin)
    module = str(origin.loadable_target_origin.module_name)
    (target,) = loadable_targets_from_python_module(module, working_directory=None)
    assert target.attribute == "defs"


def test_pre_commit_runs_the_lint_commands_of_ci() -> None:
    config = (REPOSITORY / ".pre-commit-config.yaml").read_text()
    entries = re.findall(r"^ +entry: (.+)$", config, re.MULTILINE)
    script = (REPOSITORY / ".ci" / "run").read_text()
    lint = script.partition('say "lint"\n')[2].partition("\n\n")[0]
    assert entries == lint.splitlines()


def test_relative_links_lead_to_files() -> None:
    broken = []
    for path in tracked_files():
        if path.suffix != ".md":
            continue
        for groups in LINK.findall(path.read_text()):
            target = "".join(groups).partition("#")[0]
            if target and ":" not in target and not (path.parent / target).exists():
                broken.append(f"{shown(path)}: {target}")
    assert broken == []
