"""The whole asset graph against its picture in ``graph.json``.

When the graph changes on purpose: ``UPDATE_GRAPH=1 pytest ffe_lakehouse_tests/test_graph.py``, and
read what the diff of ``graph.json`` says.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ffe_lakehouse.definitions import defs
from ffe_lakehouse.settings import get_settings

SNAPSHOT = Path(__file__).with_name("graph.json")

# Prints every file that an import opens to write, and every connection that it makes.
WATCHED_IMPORT = """
import os, sys
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not path.startswith("/dev/"):
            sys.stdout.write(f"{event} {path}\\n")
    elif event in ("socket.connect", "os.mkdir", "os.rename", "subprocess.Popen"):
        sys.stdout.write(f"{event} {arguments}\\n")
import dagster, deltalake, pandera.pandas, exchange_calendars
sys.addaudithook(watch)
import ffe_lakehouse.definitions
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in list(os.environ):
        if name.startswith("FFE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def picture() -> dict[str, Any]:
    """Everything that has a name in the code location, sorted."""
    repository = defs().get_repository_def()
    graph = repository.asset_graph
    assets = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        partitions = node.partitions_def
        assets[key.to_user_string()] = {
            # dagster-dbt adds the SQL of the model.
            "description": (node.description or "").partition("\n\n#### Raw SQL")[0] or None,
            "group": node.group_name,
            "owners": sorted(node.owners),
            "kinds": sorted(node.kinds),
            "parents": sorted(parent.to_user_string() for parent in node.parent_keys),
            "together_with": sorted(
                other.to_user_string() for other in node.execution_set_asset_keys
            ),
            "partitions": str(partitions) if partitions else None,
            "backfill_policy": str(node.backfill_policy),
            "metadata": sorted(node.metadata),
            "checks": sorted(check.name for check in node.check_keys),
        }
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    return {
        "assets": assets,
        "checks_with_partitions": sorted(
            key.to_user_string()
            for key in graph.asset_check_keys
            if graph.get(key).partitions_def is not None
        ),
        "jobs": {
            job.name: {
                "description": job.description,
                "executor": job.executor_def.name,
                "steps": sorted(job.graph.node_dict),
            }
            for job in jobs
        },
        "resources": sorted(repository.get_top_level_resources()),
        "schedules": sorted(schedule.name for schedule in repository.schedule_defs),
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
    }


def test_the_graph_is_as_in_its_picture() -> None:
    now = picture()
    if "UPDATE_GRAPH" in os.environ:
        SNAPSHOT.write_text(json.dumps(now, indent=2) + "\n")
    assert now == json.loads(SNAPSHOT.read_text())


def test_the_definitions_are_valid() -> None:
    dg.Definitions.validate_loadable(defs())


def test_the_graph_is_the_same_each_time_and_leaves_nothing_behind(home: Path) -> None:
    assert picture() == picture()
    # But what dbt knows of the project, read once.
    (kept,) = (home / "data" / "dbt").iterdir()
    assert (kept / "manifest.json").exists()
    assert [*home.iterdir(), *(home / "data").iterdir()] == [home / "data", home / "data" / "dbt"]


def test_the_settings_are_read_when_the_definitions_are_made_and_not_before(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_START_DATE", "2020-02-02")
    get_settings.cache_clear()
    partitions = picture()["assets"]["bronze/raw_market_data_1h"]["partitions"]
    assert "starting 2020-02-02" in partitions
    monkeypatch.setenv("FFE_START_DATE", "rubbish")
    script = "import ffe_lakehouse.definitions as d; print('imported', flush=True); d.defs()"
    done = subprocess.run(  # noqa: S603 - fixed command
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "imported\n"
    assert done.returncode != 0
    assert "rubbish" in done.stderr


def test_an_import_writes_no_file_and_connects_to_nobody(home: Path) -> None:
    done = subprocess.run(  # noqa: S603 - fixed command
        [sys.executable, "-B", "-c", WATCHED_IMPORT], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert list(home.iterdir()) == []
