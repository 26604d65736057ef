"""Fixtures of the lake's tests: a real S3 server with a lake of one's own, a lake to damage."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ffe_lakehouse_tests.doubles.s3 import S3Server
from ffe_lakehouse_tests.lake.damage import Patient


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of this process."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_address(s3: S3Server) -> str:
    """A lake's address that no other test has."""
    return f"s3://{s3.bucket}/{uuid4().hex}"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that says nothing of AWS; for the test to fill."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # No profile.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # No role of this machine.
    return monkeypatch


@pytest.fixture(scope="session")
def well(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake without damage: made once, copied by every test."""
    root = tmp_path_factory.mktemp("well") / "lake"
    Patient(root)
    return root


@pytest.fixture
def patient(well: Path, tmp_path: Path) -> Patient:
    """One that a test may damage."""
    shutil.copytree(well, tmp_path / "lake")
    return Patient(tmp_path / "lake", days=0)
