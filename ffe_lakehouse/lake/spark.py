"""The engine on a cluster: Spark's own Delta, for tables that one machine no longer holds.

Spark, Java and the session are asked for by the first call, not before. What runs where, and what a
cluster needs, stands in `docs/spark.md`.
"""
# ruff: noqa: ARG002 - how files are written is Spark's, whatever the table's schema.

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, reduce
from importlib.metadata import version as installed
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.commits import retried
from ffe_lakehouse.lake.durability import make_durable
from ffe_lakehouse.lake.engine import Optimized, Predicate
from ffe_lakehouse.schemas import TableSchema

if TYPE_CHECKING:
    from delta.tables import DeltaTable as SparkTable
    from pyspark.sql import DataFrame, SparkSession

_RETENTION_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"

_ALWAYS = {
    "spark.app.name": "ffe-lakehouse",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # The vectorized reader (Spark 4.2) does not know BYTE_STREAM_SPLIT, as derived tables have it.
    "spark.sql.parquet.enableVectorizedReader": "false",
    "spark.ui.showConsoleProgress": "false",
    # As delta-rs does: order by any column, say in the log that files were deleted, delete what the
    # call says (not what the table's property does), and read whatever version is still there.
    "spark.databricks.delta.optimize.zorder.checkStatsCollection.enabled": "false",
    "spark.databricks.delta.vacuum.logging.enabled": "true",
    "spark.databricks.delta.vacuum.retentionWindowIgnore.enabled": "false",
    "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration": "false",
    # Spark has its own; the older ones that Delta names would be copied to every executor.
    "spark.jars.excludes": "org.apache.hadoop:hadoop-client-api,"
    "org.apache.hadoop:hadoop-client-runtime",
    # Hadoop's .crc beside a file of the log would tell of damage once delta-rs has rewritten it.
    "spark.hadoop.fs.AbstractFileSystem.file.impl": "org.apache.hadoop.fs.local.RawLocalFs",
}
_LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    # Nothing is kept there, but Spark makes the folder: not where somebody happens to work.
    "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir(), "ffe-spark-warehouse")),
    # The defaults, 50, 200 and 10,000 tasks, are a cluster's: most of the time of a small table.
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.shuffle.partitions": "4",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
}


def spark_settings(given: Mapping[str, str], master: str) -> dict[str, str]:
    """Everything that a session needs: for ``SparkEngine``, or a ``PySparkResource``.

    Args:
        given: Spark settings that go before those of the lakehouse. To ``spark.jars.packages`` that
            of Delta is added, unless it is among them, or they are empty: then the cluster has it.
        master: ``local[4]``, ``yarn``, ``k8s://…``, ``spark://host:7077``.

    Raises:
        InputError: PySpark or Delta's Python package is not installed.
    """
    settings = {"spark.master": master, **_ALWAYS, **(_LOCAL if _is_local(master) else {}), **given}
    packages = given.get("spark.jars.packages")
    if packages is None or (packages and "io.delta:" not in packages):
        settings["spark.jars.packages"] = ",".join(filter(None, (delta_package(), packages)))
    return settings


def delta_package() -> str:
    """Maven's name of the Delta that fits the installed PySpark.

    Raises:
        InputError: PySpark or Delta's Python package is not installed.
    """
    with _spark_installed():
        spark, delta = installed("pyspark"), installed("delta-spark")
    return f"io.delta:delta-spark_{'.'.join(spark.split('.')[:2])}_2.13:{delta}"


class SparkEngine:
    """Reads and writes Delta tables through Spark; see ``Engine``.

    Rows come and go as Arrow, by way of the driver. On a local disk Spark's Delta guards a commit
    against threads of its own process alone: let nothing else write the same table meanwhile.

    Args:
        session_conf: Spark settings, as ``spark_settings`` takes them. A session that is there
            already (a notebook's, a Dagster resource's) is used, with the settings it has.
        master: Which cluster.
        durable: On local disk, a write returns when it would survive a power cut.
    """

    def __init__(
        self,
        session_conf: Mapping[str, str] | None = None,
        master: str = "local[2]",
        *,
        durable: bool = True,
    ) -> None:
        """Nothing is started before the first call."""
        self._conf = dict(session_conf or {})
        self._master = master
        self._durable = durable

    @cached_property
    def session(self) -> "SparkSession":
        """The session, which the first call starts.

        Raises:
            InputError: Spark or Java is missing, Spark does not start, or the session that is there
                has no Delta.
        """
        with _spark_installed():
            import delta.exceptions  # noqa: F401 - makes Delta's errors Python's
            from pyspark.errors import PySparkException, PySparkRuntimeError
            from pyspark.sql import SparkSession
        builder = SparkSession.builder
        running = SparkSession.getActiveSession()
        if running is None:
            _refuse_without_java()
            _prepare_environment(self._master)
            for name, value in spark_settings(self._conf, self._master).items():
                builder = builder.config(name, value)
        try:
            session = running or builder.getOrCreate()
        except (PySparkRuntimeError, PySparkException) as error:
            raise InputError(
                f"Spark does not start ({error}); the lines above say why. It needs Java 17 or"
                " newer, and Maven Central for spark.jars.packages: without it, give the jars of"
                f" {delta_package()} as spark.jars, and spark.jars.packages empty"
            ) from error
        if "io.delta" not in str(session.conf.get("spark.sql.extensions", "")):
            raise InputError(
                "the Spark session that is there has no Delta: stop it, or make it with the"
                " settings of ffe_lakehouse.lake.spark.spark_settings"
            )
        session.sparkContext.setLogLevel("WARN")
        # As above, of the files that are not written through a FileContext.
        jvm, hadoop = session._jvm, session._jsc.hadoopConfiguration()  # noqa: SLF001
        jvm.org.apache.hadoop.fs.FileSystem.getLocal(hadoop).setWriteChecksum(False)
        return session

    def frame(self, uri: str, version: int | None = None) -> "DataFrame":
        """A table as a frame of Spark, for what is computed on the cluster."""
        reader = self.session.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(_address(uri))

    def read(
        self,
        uri: str,
        columns: Sequence[str] | None,
        predicate: Predicate | None,
        version: int | None,
    ) -> pa.Table:
        """Rows; files that the predicate rules out are not opened."""
        with _errors(OSError, f"cannot read {uri}"):
            frame = self.frame(uri, version)
            if predicate is not None:
                frame = frame.where(predicate.sql("spark"))
            if columns:
                frame = frame.select([_quoted(name) for name in columns])
            return frame.toArrow()

    def append(self, uri: str, rows: pa.Table, schema: TableSchema | None) -> int:
        """Add rows."""
        return self._committed(uri, lambda: self._write(uri, rows, "append", None))

    def overwrite(
        self, uri: str, rows: pa.Table, schema: TableSchema | None, predicate: Predicate | None
    ) -> int:
        """Replace rows."""
        condition = predicate.sql("spark") if predicate else None
        try:
            return self._committed(uri, lambda: self._write(uri, rows, "overwrite", condition))
        except DeltaError as error:
            if "DELTA_REPLACE_WHERE_MISMATCH" not in str(error):
                raise
            raise InputError(
                f"{uri}: rows lie outside of what is overwritten; nothing was written. {error}"
            ) from error

    def merge(
        self,
        uri: str,
        rows: pa.Table,
        schema: TableSchema | None,
        keys: Sequence[str],
        update: Sequence[str],
    ) -> int:
        """Update by key, insert what is new."""

        def write() -> None:
            from pyspark.sql import functions as sql

            target = self._table(uri)
            same = [
                sql.col(f"target.{_quoted(k)}") == sql.col(f"source.{_quoted(k)}") for k in keys
            ]
            # Which partitions the merge looks at: without that it reads the whole table.
            for name in target.detail().head()["partitionColumns"]:
                if name in keys and pa.types.is_string(rows.schema.field(name).type):
                    values = rows[name].unique().to_pylist()
                    same.append(sql.col(f"target.{_quoted(name)}").isin(values))
            condition = reduce(and_, same)
            given = {_quoted(name): f"source.{_quoted(name)}" for name in rows.column_names}
            merger = target.alias("target").merge(self._frame(rows).alias("source"), condition)
            if update:
                merger = merger.whenMatchedUpdate(
                    set={_quoted(name): given[_quoted(name)] for name in update}
                )
            merger.whenNotMatchedInsert(values=given).execute()

        return self._committed(uri, write)

    def compact(self, uri: str, schema: TableSchema | None) -> Optimized:
        """Put small files together."""
        return self._optimized(uri, lambda table: table.optimize().executeCompaction())

    def z_order(self, uri: str, schema: TableSchema | None, columns: Sequence[str]) -> Optimized:
        """Write every partition anew, in the order of a curve through ``columns``."""
        return self._optimized(uri, lambda table: table.optimize().executeZOrderBy(*columns))

    def vacuum(self, uri: str, retention_hours: float, *, short: bool, dry_run: bool) -> list[str]:
        """Delete what is no longer needed."""
        session = self.session
        if short:  # A session of its own: the check stays on for everybody else.
            session = session.newSession()
            session.conf.set(_RETENTION_CHECK, "false")
        address = _address(uri)
        vacuum = f"VACUUM delta.{_quoted(address)} RETAIN {math.ceil(retention_hours)} HOURS"
        with _errors(DeltaError, f"vacuum of {uri}"):
            rows = session.sql(f"{vacuum} DRY RUN").collect()
            if rows and not dry_run:
                session.sql(vacuum).collect()
        root = address.removeprefix("file://").rstrip("/") + "/"
        paths = (str(row["path"]).removeprefix("file:") for row in rows)
        return sorted(path.removeprefix(root) for path in paths)

    def history(self, uri: str, limit: int | None) -> list[dict[str, Any]]:
        """The commits, newest first; their time is that of the log's file."""
        with _errors(DeltaError, f"history of {uri}"):
            from pyspark.sql import functions as sql

            table = self._table(uri)
            found = table.history() if limit is None else table.history(limit)
            rows = found.withColumn("timestamp", sql.unix_millis("timestamp")).collect()
        told = (row.asDict(recursive=True) for row in rows)
        return [{name: value for name, value in each.items() if value is not None} for each in told]

    def restore(self, uri: str, version: int) -> None:
        """Bring back a version."""
        self._committed(uri, lambda: self._table(uri).restoreToVersion(version))

    def _table(self, uri: str) -> "SparkTable":
        session = self.session  # Before the import: says how to install what is missing.
        from delta.tables import DeltaTable as SparkTable

        return SparkTable.forPath(session, _address(uri))

    def _frame(self, rows: pa.Table) -> "DataFrame":
        # One task: the rows are in this process, and a file for each slice of them is no use.
        return self.session.createDataFrame(rows).coalesce(1)

    def _write(self, uri: str, rows: pa.Table, mode: str, condition: str | None) -> None:
        writer = self._frame(rows).write.format("delta").mode(mode)
        if condition is not None:
            writer = writer.option("replaceWhere", condition)
        writer.save(_address(uri))

    def _committed(self, uri: str, write: Callable[[], object]) -> int:
        durable = self._durable and "://" not in uri

        def attempt() -> int:
            before = DeltaTable(uri).version() if durable else -1
            with _errors(DeltaError, uri):
                write()
            if durable:
                table = DeltaTable(uri)
                make_durable(table, before)
                return table.version()
            newest = self._table(uri).history(1).head()
            return int(newest["version"])

        return retried(attempt)

    def _optimized(self, uri: str, optimize: Callable[["SparkTable"], "DataFrame"]) -> Optimized:
        found: list[Any] = []
        self._committed(uri, lambda: found.append(optimize(self._table(uri)).head()))
        metrics = found[-1]["metrics"]
        return Optimized(
            int(metrics["numFilesRemoved"]),
            int(metrics["numFilesAdded"]),
            int(metrics["filesRemoved"]["totalSize"] or 0),
            int(metrics["filesAdded"]["totalSize"] or 0),
        )


@contextmanager
def _spark_installed() -> Iterator[None]:
    """Say how to install what an import or a look at a version misses."""
    try:
        yield
    except ImportError as error:  # PackageNotFoundError is one.
        raise InputError(
            "the engine spark needs PySpark and Delta's part of it, which are not installed:"
            " pip install 'ffe-lakehouse[spark]', or go on with FFE_ENGINE=delta_rs"
        ) from error


@contextmanager
def _errors(kind: type[Exception], what: str) -> Iterator[None]:
    """Tell Spark's errors as delta-rs tells its own; an overtaken commit, so that it is retried."""
    with _spark_installed():
        from delta import exceptions as delta
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

    overtaken = (
        delta.DeltaConcurrentModificationException,
        delta.ConcurrentWriteException,
        delta.MetadataChangedException,
        delta.ProtocolChangedException,
        delta.ConcurrentAppendException,
        delta.ConcurrentDeleteReadException,
        delta.ConcurrentDeleteDeleteException,
        delta.ConcurrentTransactionException,
    )
    try:
        yield
    except overtaken as error:
        raise CommitFailedError(_told(error)) from error
    except (PySparkException, Py4JError) as error:
        raise kind(f"{what}: {_told(error)}") from error


def _told(error: Exception) -> str:
    """What an error says, without the lines of where it was in Java."""
    text = str(error)
    causes = [line for line in text.splitlines() if line.startswith("Caused by: ")]
    return causes[-1] if causes else text.partition("\n\tat ")[0]


def _refuse_without_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=str(Path(home) / "bin") if home else None) is None:
        where = f"in JAVA_HOME ({home})" if home else "on the PATH"
        raise InputError(
            f"the engine spark needs Java 17 or newer, and there is none {where}: install it, or"
            " go on with FFE_ENGINE=delta_rs"
        )


def _prepare_environment(master: str) -> None:
    """Set what Spark takes from the environment alone."""
    if _is_local(master):
        # Or workers run on whatever python3 is on the PATH.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    elif os.environ.get("SPARK_LOCAL_IP") == "127.0.0.1":
        # By pandera, when it is imported: the executors would look for the driver on themselves.
        del os.environ["SPARK_LOCAL_IP"]


def _is_local(master: str) -> bool:
    """Whether everything runs on this machine."""
    return master.startswith("local")


def _address(uri: str) -> str:
    """A table's address as Hadoop spells it: ``s3a://`` and ``file://``."""
    if uri.startswith("s3://"):
        return f"s3a://{uri[len('s3://') :]}"
    return uri if "://" in uri else f"file://{Path(uri).absolute()}"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
