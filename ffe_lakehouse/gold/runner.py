"""dbt's commands, run in this process: what is computed, a ``Scope`` says.

dbt allows it (``dbtRunner``), one command at a time. A process of its own for each would spend four
seconds on imports and on reading the project.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from dbt.cli.main import dbtRunner

from ffe_lakehouse.gold.scope import Scope, given
from ffe_lakehouse.schemas.gold import dbt_project

_SILENT = ("--quiet", "--no-print", "--log-level", "none", "--log-level-file", "none")
_SAMPLE = 20


@dataclass(frozen=True)
class Outcome:
    """What became of a model or a test.

    Attributes:
        unique_id: dbt's id: ``model.ffe_lakehouse.mart_trading_performance``.
        status: ``success``, ``pass``, ``warn``, ``fail``, ``error``, ``skipped``, … as dbt says.
        message: In dbt's words; empty if there are none.
        failures: Rows that a test has found; 0 for a model.
        sample: Some of them.
    """

    unique_id: str
    status: str
    message: str
    failures: int = 0
    sample: tuple[dict[str, Any], ...] = ()

    @property
    def is_model(self) -> bool:
        """Whether it is of a model, or else of a test."""
        return self.unique_id.startswith("model.")


def prepare(home: Path) -> Path:
    """The folder of what dbt knows of the project, ``manifest.json`` included; made if need be.

    Args:
        home: Where such folders are kept: one for each state of the project.

    Raises:
        RuntimeError: The project cannot be read; says why.
    """
    folder = home / _digest()
    if not folder.exists():
        home.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(dir=home, prefix="."))
        result = dbtRunner().invoke(["parse", *_SILENT, *_paths(made)])
        if not result.success:
            raise RuntimeError(f"dbt cannot read {dbt_project()}: {result.exception}")
        # Whole or not at all: several processes begin at once when the UI does.
        with suppress(OSError):
            made.rename(folder)
        rmtree(made, ignore_errors=True)
    return folder


def build(scope: Scope, models: Iterable[str], folder: Path) -> list[Outcome]:
    """Compute and store marts, and test what was computed.

    Args:
        scope: Which pairs and days, in which lake.
        models: Names.
        folder: From ``prepare``.

    Returns:
        What became of each model and test. A model or test that failed raises nothing.

    Raises:
        RuntimeError: dbt did not get as far as the models; says why.
    """
    return _invoke("build", scope, models, folder)


def test(scope: Scope, models: Iterable[str], folder: Path) -> list[Outcome]:
    """Test marts as they are stored; otherwise as ``build``."""
    return _invoke("test", scope, models, folder)


def _invoke(command: str, scope: Scope, models: Iterable[str], folder: Path) -> list[Outcome]:
    options = [*_SILENT, *_paths(folder), "--no-write-json", "--select", *models]
    with given(scope):
        result = dbtRunner().invoke([command, *options])
    if result.exception is not None:
        raise RuntimeError(f"dbt {command}: {result.exception}") from result.exception
    # What a command returns depends on the command: of these, a result for each node.
    results: Any = result.result
    return [
        Outcome(
            each.node.unique_id,
            str(each.status),
            (each.message or "").strip(),
            each.failures or 0,
            _sample(scope, each.node.compiled_code) if each.failures else (),
        )
        for each in results
    ]


def _sample(scope: Scope, query: str) -> tuple[dict[str, Any], ...]:
    """The first rows that a test has found."""
    if scope.connection is None:
        return ()
    with scope.connection.cursor() as cursor:
        for name, rows in scope.loaded.items():
            # The view of a source reads what its cursor was told: dbt-duckdb tells each of its own.
            cursor.register(f"memory_{name.replace('/', '_')}_df", rows)
        found = cursor.sql(query).limit(_SAMPLE)
        return tuple(dict(zip(found.columns, row, strict=True)) for row in found.fetchall())


def _paths(folder: Path) -> Sequence[str]:
    project = str(dbt_project())
    return (
        *("--project-dir", project, "--profiles-dir", project),
        *("--target-path", str(folder), "--log-path", str(folder)),
    )


def _digest() -> str:
    """Another one as soon as a file of the project, or dbt itself, is another."""
    project = dbt_project()
    found = hashlib.sha256(f"{version('dbt-core')} {version('dbt-duckdb')} {project}".encode())
    for name in ("*.yml", "macros/**/*.sql", "models/**/*.*", "tests/**/*.sql"):
        for file in sorted(project.glob(name)):
            found.update(f"{file.relative_to(project)}\0".encode() + file.read_bytes())
    return found.hexdigest()[:16]
