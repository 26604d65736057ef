"""Gold tables. Their columns stand where an analyst looks for them: with the models, in ``dbt/``.

What is read of the YAML there is what dbt documents: columns, types, descriptions, constraints. A
mart's key is the ``key`` in its ``meta``.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from ffe_lakehouse.schemas.table import DERIVED, TIMESTAMP, Column, TableSchema

_TYPES: dict[str, pa.DataType] = {
    "varchar": pa.string(),
    "date": pa.date32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamptz": TIMESTAMP,
}
_PAIR = "asset_pair"


@lru_cache(maxsize=1)
def dbt_project() -> Path:
    """Folder of the dbt project: in the package if it is installed, else beside it."""
    package = Path(__file__).resolve().parents[1]
    packed = package / "dbt"
    return packed if packed.is_dir() else package.parent / "dbt"


@lru_cache(maxsize=1)
def marts() -> dict[str, TableSchema]:
    """The marts by the name of their model, in the order of their files."""
    found = {}
    for file in sorted((dbt_project() / "models" / "marts").glob("*.yml")):
        for model in _read(file)["models"]:
            found[model["name"]] = _schema(model)
    return found


def is_by_pair(mart: TableSchema) -> bool:
    """Whether its partitions are of a day and pair, or of a day alone."""
    return _PAIR in mart.arrow.names


@lru_cache(maxsize=1)
def source_columns() -> dict[tuple[str, str], tuple[str, ...]]:
    """Columns that the models read of each source table."""
    file = dbt_project() / "models" / "staging" / "sources.yml"
    return {
        (source["name"], table["name"]): tuple(column["name"] for column in table["columns"])
        for source in _read(file)["sources"]
        for table in source["tables"]
    }


def _read(file: Path) -> Any:
    return yaml.load(file.read_text(), Loader=yaml.CSafeLoader)


def _schema(model: dict[str, Any]) -> TableSchema:
    columns = [
        Column(
            column["name"],
            _TYPES[column["data_type"]],
            " ".join(column["description"].split()),
            nullable={"type": "not_null"} not in column.get("constraints", ()),
        )
        for column in model["columns"]
    ]
    by_pair = any(column.name == _PAIR for column in columns)
    places = [column for column in DERIVED if by_pair or column.name != "partition_asset_pair"]
    key = tuple(model["config"]["meta"]["key"])
    return TableSchema(
        name=f"gold/{model['name']}",
        description=" ".join(model["description"].split()),
        columns=(*columns, *places),
        key=key,
        partition_by=("partition_asset_pair", "storage_period") if by_pair else ("storage_period",),
        sort_by=key,
        # Among the first 32 columns, of which Delta keeps statistics; partition_date is not.
        time_column="date",
    )
