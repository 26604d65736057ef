"""The Dagster instance of this installation: a home that lasts, and runs that are really alive.

With no ``DAGSTER_HOME``, Dagster takes a temporary one and forgets every partition at exit: the
watermark would be gone. So every command goes through ``open_instance``.
"""

import json
import os
import shutil
import socket
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster._core.storage.tags import GRPC_INFO_TAG

from ffe_lakehouse.settings import Settings

PROCESS_TAG = "ffe/process"
"""Run tag: the process that executes the run, as ``host:pid:start``."""

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def prepare_home(settings: Settings) -> Path:
    """Make ``DAGSTER_HOME`` (the environment's, or below ``FFE_HOME``) and point Dagster to it."""
    home = Path(os.environ.get("DAGSTER_HOME") or settings.dagster_home)
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        with as_file(files("ffe_lakehouse") / "dagster.yaml") as template:
            shutil.copyfile(template, home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance in ``DAGSTER_HOME``, with the runs of dead processes marked as failed."""
    prepare_home(settings)
    instance = dg.DagsterInstance.get()
    fail_dead_runs(instance)
    return instance


def this_process() -> str:
    """The value of ``PROCESS_TAG`` for runs that this process executes."""
    me = psutil.Process()
    return f"{socket.gethostname()}:{me.pid}:{me.create_time():.0f}"


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs as failed whose process on this machine is gone; returns their ids.

    A killed process cannot say that its run failed: the partitions would count as in progress
    for ever. A run of the daemon belongs to a code server, which reports it while it lives itself.
    """
    dead = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED)):
        process, server = run.tags.get(PROCESS_TAG), run.tags.get(GRPC_INFO_TAG)
        if process is not None and _is_dead(process):
            instance.report_run_failed(run, f"the process of this run ({process}) is gone")
            dead.append(run.run_id)
        elif server is not None and _is_deaf(json.loads(server)):
            instance.report_run_failed(run, f"the code server of this run ({server}) is gone")
            dead.append(run.run_id)
    return dead


def _is_dead(process: str) -> bool:
    host, pid, start = process.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        # Process numbers are used again; start times are not.
        return f"{psutil.Process(int(pid)).create_time():.0f}" != start
    except psutil.NoSuchProcess:
        return True


def _is_deaf(server: Mapping[str, Any]) -> bool:
    """Whether nobody listens at the socket of a code server of this machine."""
    path = server.get("socket")
    if path is None:
        return False  # A port may be another machine's, or another program's by now.
    with socket.socket(socket.AF_UNIX) as attempt:
        try:
            attempt.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return True
    return False
