"""``ffe dev``: the Dagster UI and daemon on this project, with a home that lasts."""

import os
import signal
import sys
from typing import Annotated

import typer

from ffe_lakehouse.instance import open_instance, prepare_home
from ffe_lakehouse.settings import get_settings


def dev(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000,
) -> None:
    """Start the Dagster UI and daemon; Ctrl-C ends both."""
    settings = get_settings()
    home = prepare_home(settings)
    with open_instance(settings):
        pass  # Runs that died with an earlier process are marked before anybody looks.
    typer.echo(f"Dagster on http://{host}:{port}, home {home}, lake {settings.lake_uri}")
    # A background job of a shell starts with SIGINT ignored, and Dagster then hears no signal.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = ["dagster", "dev", "-m", "ffe_lakehouse.definitions", "-h", host, "-p", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", *command])  # noqa: S606 - fixed command
