"""A Spark of the tests' own."""

import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ffe_lakehouse.lake.spark import SparkEngine


@contextmanager
def running(master: str, conf: Mapping[str, str] = MappingProxyType({})) -> "Iterator[SparkEngine]":
    """An engine that has started; stopped at the end."""
    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("delta") is None:
        pytest.skip("PySpark is not installed: pip install 'ffe-lakehouse[spark]'")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java 17 or newer, and there is none")
    # Not above: this file may be imported before pytest knows which warnings are accepted.
    from ffe_lakehouse.lake.spark import SparkEngine

    engine = SparkEngine(conf, master)
    try:
        yield engine
    finally:
        if "session" in engine.__dict__:
            engine.session.stop()


@pytest.fixture(scope="module")
def spark() -> "Iterator[SparkEngine]":
    """Spark in two threads of one process."""
    with running("local[2]") as engine:
        yield engine
