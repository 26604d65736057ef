"""``ffe dev`` as a person starts it, and stops it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

FFE = Path(sys.executable).with_name("ffe")
PATIENCE = 300.0
"""Seconds until something must be there that is waited for."""

T = TypeVar("T")


@dataclass(frozen=True)
class Dev:
    """A running ``ffe dev``.

    Attributes:
        address: Of its UI.
        group: Process group of all of its processes.
    """

    address: str
    group: int

    def members(self) -> list[psutil.Process]:
        """Its processes."""
        return [process for process in psutil.process_iter() if _group(process) == self.group]


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of an installation in ``folder``, with these ``FFE_`` settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FFE_")}
    env.pop("DAGSTER_HOME", None)
    named = {f"FFE_{name.upper()}": value for name, value in settings.items()}
    return {**env, "FFE_HOME": str(folder / "data"), **named}


@contextmanager
def ffe_dev(folder: Path, env: Mapping[str, str]) -> Iterator[Dev]:
    """Start it, and interrupt it as Ctrl-C does; nothing of it may be left behind."""
    port = _free_port()
    with (folder / "dev.log").open("a") as log:
        server = subprocess.Popen(  # noqa: S603 - our own script
            [FFE, "dev", "--port", str(port)],
            env=dict(env),
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        dev = Dev(f"http://127.0.0.1:{port}", server.pid)
        try:
            wait_until(lambda: _answers(f"{dev.address}/server_info"))
            yield dev
        finally:
            left = _stop(dev)
            server.wait()
    assert left == []
    assert dev.members() == []


def wait_until(found: Callable[[], T], patience: float = PATIENCE) -> T:
    """What ``found`` returns, once that is true."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        result = found()
        if result:
            return result
        time.sleep(0.25)
    raise AssertionError(f"{found} found nothing within {patience} seconds")


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(dev: Dev) -> list[psutil.Process]:
    """Interrupt the whole group; who is still there after that."""
    members = dev.members()
    if members:
        os.killpg(dev.group, signal.SIGINT)
    _, alive = psutil.wait_procs(members, timeout=60)
    if alive:
        os.killpg(dev.group, signal.SIGKILL)
    return alive


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None
