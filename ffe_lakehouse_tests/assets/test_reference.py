"""Reference data as Dagster sees it: assets that nobody computes, with what their pages show."""

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from ffe_lakehouse.assets.reference import UNIVERSE, reference_assets
from ffe_lakehouse.partitions import ASSET_PAIR, table_key
from ffe_lakehouse.schemas import INDEX_MEMBERSHIP


@pytest.fixture
def graph() -> AssetGraph:
    return dg.Definitions(assets=reference_assets()).resolve_asset_graph()


def test_nothing_of_it_can_be_launched(graph: AssetGraph) -> None:
    for key in (UNIVERSE, table_key(INDEX_MEMBERSHIP)):
        node = graph.get(key)
        assert node.is_external
        assert node.group_name == "reference"
        assert node.description


def test_the_universe_has_a_partition_for_each_pair(graph: AssetGraph) -> None:
    partitions = graph.get(UNIVERSE).partitions_def
    assert isinstance(partitions, dg.DynamicPartitionsDefinition)
    assert partitions.name == ASSET_PAIR


def test_the_page_of_the_membership_has_its_columns(graph: AssetGraph) -> None:
    schema = graph.get(table_key(INDEX_MEMBERSHIP)).metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == INDEX_MEMBERSHIP.arrow.names
