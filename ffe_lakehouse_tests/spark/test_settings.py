"""What a session is made with, and what is said if it cannot be made: needs no Java."""

import sys

import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.spark import SparkEngine, _address, _refuse_without_java, spark_settings


def test_deltas_package_is_added_to_others_unless_it_is_there_or_none_is_wanted() -> None:
    pytest.importorskip("delta")
    ours = spark_settings({}, "yarn")["spark.jars.packages"]
    assert ours.startswith("io.delta:delta-spark_4.")
    for given, expected in {
        "org.apache.hadoop:hadoop-aws:3.5.0": f"{ours},org.apache.hadoop:hadoop-aws:3.5.0",
        "io.delta:delta-spark_2.13:4.0.0": "io.delta:delta-spark_2.13:4.0.0",
        "": "",
    }.items():
        assert spark_settings({"spark.jars.packages": given}, "yarn")["spark.jars.packages"] == (
            expected
        )


def test_a_users_setting_goes_before_ours_and_a_cluster_keeps_its_own() -> None:
    given = {"spark.jars.packages": "", "spark.ui.enabled": "true"}
    local, cluster = spark_settings(given, "local[4]"), spark_settings(given, "k8s://https://host")
    assert local["spark.ui.enabled"] == "true"
    assert local["spark.driver.host"] == "127.0.0.1"
    assert not {"spark.driver.host", "spark.sql.shuffle.partitions"} & set(cluster)
    assert local["spark.sql.session.timeZone"] == cluster["spark.sql.session.timeZone"] == "UTC"


def test_an_object_store_is_spelled_as_hadoop_does_and_a_folder_is_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.chdir(str(tmp_path))
    assert _address("s3://bucket/lake/x") == "s3a://bucket/lake/x"
    assert _address("gs://bucket/x") == "gs://bucket/x"
    assert _address("lake/a b") == f"file://{tmp_path}/lake/a b"


def test_without_pyspark_it_is_said_how_to_install_it_and_the_rest_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pyspark", "delta")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("pyspark", "delta"):
        monkeypatch.setitem(sys.modules, name, None)
    lake = DeltaLakeManager(str(tmp_path), engine=SparkEngine())
    assert not lake.table_exists("x")
    with pytest.raises(InputError, match=r"pip install 'ffe-lakehouse\[spark\]'"):
        lake.engine.read("x", None, None, None)


@pytest.mark.parametrize("home", [None, "/nowhere"], ids=["no java", "a wrong JAVA_HOME"])
def test_without_java_it_is_said_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if home:
        monkeypatch.setenv("JAVA_HOME", home)
    with pytest.raises(InputError, match=home or "none on the PATH"):
        _refuse_without_java()
