"""dbt's commands, run in this process: what is computed, a ``Scope`` says.

dbt allows it (``dbtRunner``), one command at a time. A process of its own for each would spend four
seconds on imports and on reading the project.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner

from ffe_lakehouse.gold.scope import Scope, given
from ffe_lakehouse.schemas.gold import dbt_project

_SILENT = ("--quiet", "--no-print", "--log-level", "none", "--log-level-file", "none")


@dataclass(frozen=True)
class Outcome:
    """What became of a model or a test.

    Attributes:
        unique_id: dbt's id: ``model.ffe_lakehouse.mart_trading_performance``.
        status: ``success``, ``pass``, ``warn``, ``fail``, ``error``, ``skipped``, … as dbt says.
        message: In dbt's words; empty if there are none.
        failures: Rows that a test has found; ``None`` for a model.
        sql: The query of a test that has found some, for whoever wants to look.
    """

    unique_id: str
    status: str
    message: str
    failures: int | None
    sql: str


def prepare(home: Path) -> Path:
    """The folder of what dbt knows of the project, ``manifest.json`` included; made if need be.

    Args:
        home: Where such folders are kept: one for each state of the project.

    Raises:
        RuntimeError: The project cannot be read; says why.
    """
    folder = home / _digest()
    if not (folder / "manifest.json").exists():
        result = dbtRunner().invoke(["parse", *_SILENT, *_paths(folder)])
        if not result.success:
            raise RuntimeError(f"dbt cannot read {dbt_project()}: {result.exception}")
    return folder


def build(scope: Scope, models: Iterable[str], folder: Path) -> list[Outcome]:
    """Compute and store models, and run their tests.

    Args:
        scope: Which pairs and days, in which lake.
        models: Names.
        folder: From ``prepare``.

    Returns:
        What became of each model and test. A model or test that failed raises nothing.

    Raises:
        RuntimeError: dbt did not get as far as the models; says why.
    """
    with given(scope):
        result = dbtRunner().invoke(
            ["build", *_SILENT, *_paths(folder), "--no-write-json", "--select", *models]
        )
    if result.exception is not None:
        raise RuntimeError(f"dbt: {result.exception}") from result.exception
    # What a command returns depends on the command: of `build`, a result for each node.
    results: Any = result.result
    return [
        Outcome(
            each.node.unique_id,
            str(each.status),
            each.message or "",
            each.failures,
            (each.node.compiled_code or "") if each.failures else "",
        )
        for each in results
    ]


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
