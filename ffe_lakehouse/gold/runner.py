"""dbt's commands, run in this process: what is computed, a ``Scope`` says.

dbt allows it (``dbtRunner``), one command at a time. A process of its own for each would spend four
seconds on imports and on reading the project.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

from ffe_lakehouse.gold.scope import Scope, given
from ffe_lakehouse.schemas.gold import dbt_project

_SILENT = ("--quiet", "--no-print", "--log-level", "none", "--log-level-file", "none")
_SAMPLE = 20
_WORSE = ("pass", "warn", "fail", "error")


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

    @property
    def name(self) -> str:
        """Of the model."""
        return self.unique_id.rpartition(".")[2]


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
        with TemporaryDirectory(dir=home, prefix=".") as made:
            result = dbtRunner().invoke(["parse", *_SILENT, *_paths(Path(made))])
            if not result.success:
                raise RuntimeError(f"dbt cannot read {dbt_project()}: {result.exception}")
            # Whole or not at all: several processes begin at once when the UI does.
            with suppress(OSError):
                Path(made).rename(folder)
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


def summed_up(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Tests that ran, each once: of several runs of it, with all that they found."""
    ran: dict[str, list[Outcome]] = {}
    for each in outcomes:
        # What is skipped is a test of a model that failed: that says it all.
        if not each.is_model and each.status != "skipped":
            ran.setdefault(each.unique_id, []).append(each)
    return [
        replace(
            max(of_test, key=lambda each: _WORSE.index(each.status)),
            failures=sum(each.failures for each in of_test),
            sample=tuple(row for each in of_test for row in each.sample)[:_SAMPLE],
        )
        for of_test in ran.values()
    ]


def _invoke(command: str, scope: Scope, models: Iterable[str], folder: Path) -> list[Outcome]:
    options = [*_SILENT, *_paths(folder), "--no-write-json", "--select", *models]
    try:
        with given(scope):
            result = dbtRunner().invoke([command, *options])
        error = result.exception
        if error is not None and not isinstance(error, Exception):
            raise error  # Somebody ends the run: dbt catches that, too.
        if error is not None:
            raise RuntimeError(f"dbt {command}: {error}") from error
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
    finally:
        # Else dbt-duckdb keeps what was loaded and computed in memory until the next command.
        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]


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
    for name in ("*.yml", "macros/**/*.*", "models/**/*.*", "tests/**/*.*"):
        for file in sorted(project.glob(name)):
            found.update(f"{file.relative_to(project)}\0".encode() + file.read_bytes())
    return found.hexdigest()[:16]
