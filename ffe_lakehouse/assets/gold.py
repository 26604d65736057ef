"""Gold: the models of ``dbt/`` as assets, their tests as asset checks.

One run of dbt computes a run's pairs and days. What is computed stands in the models; how they get
at the lake, in ``ffe_lakehouse.gold``; what they hang on, in ``ffe_lakehouse.marts``.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg
import numpy as np
from dagster_dbt import DagsterDbtTranslator, dbt_assets

from ffe_lakehouse.assets.events import data_version_tags, finished, materialized
from ffe_lakehouse.assets.metadata import OWNERS, table_metadata
from ffe_lakehouse.derivation import data_version, newest_read
from ffe_lakehouse.gold import runner
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.io_manager import DeltaIOManager, commit_info
from ffe_lakehouse.lake.where import whole_days
from ffe_lakehouse.marts import newest_of_portfolio, pair_marts
from ffe_lakehouse.partitions import (
    DATE,
    daily,
    daily_by_pair,
    days_between,
    partition_key,
    run_partitions,
    split_key,
    table_key,
)
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.gold import is_by_pair, marts
from ffe_lakehouse.settings import get_settings

GOLD = "gold"
"""Group of the marts."""
_UNIQUE_ID = "dagster_dbt/unique_id"
_OWN_SOURCE = "ffe"


def gold_assets() -> list[dg.AssetsDefinition]:
    """The marts of a pair, and those of the portfolio. dbt reads the project, if it has changed."""
    return [_models(by_pair=True), _models(by_pair=False)]


def dbt_folder() -> Path:
    """What dbt knows of the project."""
    return runner.prepare(get_settings().home.resolve() / "dbt")


class _Translator(DagsterDbtTranslator):
    """A model is a table of the lake, a test a check with a name that can be read."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey([GOLD, dbt_resource_props["name"]])

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: Any
    ) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        mart = marts().get(spec.key.path[-1])
        if mart is None:
            return spec
        return spec.replace_attributes(
            # What the lakehouse makes for each run is no table.
            deps=[dep for dep in spec.deps if dep.asset_key.path[0] != _OWN_SOURCE],
            kinds={"dbt", "duckdb", "deltalake"},
            owners=OWNERS,
            group_name=GOLD,
        ).merge_attributes(metadata=table_metadata(mart, get_settings().lake_uri))

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: Any
    ) -> dg.AssetCheckSpec | None:
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        if spec is None:
            return None
        test = self.get_resource_props(manifest, unique_id)
        name = (test.get("test_metadata") or test)["name"]
        # What a generic test means is said once, of the macro that it is.
        macro = manifest["macros"].get(f"macro.{test['package_name']}.test_{name}", {})
        return dg.AssetCheckSpec(
            name,
            asset=spec.asset_key,
            description=test["description"] or macro.get("description"),
            metadata=spec.metadata,
        )

    def get_partition_mapping(
        self,
        dbt_resource_props: Mapping[str, Any],
        dbt_parent_resource_props: Mapping[str, Any],
    ) -> dg.PartitionMapping | None:
        parent = self.get_asset_key(dbt_parent_resource_props).path
        mart = marts().get(dbt_resource_props["name"])
        if mart is None or is_by_pair(mart) or parent[0] in ("bronze", _OWN_SOURCE):
            return None  # The same partition; what is cumulative says so in its description.
        return dg.MultiToSingleDimensionPartitionMapping(DATE)


def _models(*, by_pair: bool) -> dg.AssetsDefinition:
    names = [name for name, mart in marts().items() if is_by_pair(mart) is by_pair]

    @dbt_assets(
        manifest=dbt_folder() / "manifest.json",
        select=" ".join(names),
        name="pair_marts" if by_pair else "portfolio_marts",
        partitions_def=daily_by_pair() if by_pair else daily(),
        backfill_policy=dg.BackfillPolicy.single_run(),
        dagster_dbt_translator=_Translator(),
    )
    def models(
        context: dg.AssetExecutionContext, io_manager: dg.ResourceParam[DeltaIOManager]
    ) -> Iterator[dg.DagsterEvent | dg.AssetCheckResult]:
        places = [split_key(key) for key in run_partitions(context)]
        pairs = sorted({pair for pair, _ in places})
        first, last = (limit(day for _, day in places) for limit in (min, max))
        # Before anything is read: what comes in meanwhile has not been seen.
        seen = _seen(context.instance, pairs, first, last)
        chosen = [
            mart for mart in marts().values() if table_key(mart) in context.selected_asset_keys
        ]
        tested = {key.asset_key.path[-1] for key in context.selected_asset_check_keys}
        where = whole_days(tuple(pairs) if by_pair else None, first, last)
        commit = commit_info(context.run.run_id, "+".join(mart.name for mart in chosen), where)
        scope = Scope(io_manager.lake, last, first, where.pairs, commit)
        if chosen:
            outcomes = runner.build(scope, [_name(mart) for mart in chosen], dbt_folder())
        else:
            outcomes = runner.test(scope, sorted(tested), dbt_folder())
        failed = [each for each in outcomes if each.is_model and each.status != "success"]
        if not failed:
            yield from materialized(context, list(_events(chosen, scope, seen)))
        yield from _results(context, outcomes)
        if failed:
            raise _failure(failed)
        yield from finished(context, context.assets_def.check_specs_by_output_name)

    return models


Seen: TypeAlias = Mapping[tuple[str, date], int]


def _seen(instance: dg.DagsterInstance, pairs: Sequence[str], first: date, last: date) -> Seen:
    """Number of the newest event that each pair and day hangs on; those that hang on none left out.

    The pair of a portfolio's day is empty.
    """
    if pairs == [""]:
        rows = newest_of_portfolio(instance, first, last)[np.newaxis]
    else:
        rows = newest_read(instance, pair_marts()[0], pairs, first, last)
    days = days_between(first, last)
    return {
        (pair, day): number
        for pair, row in zip(pairs, rows, strict=True)
        for day, number in zip(days, row.tolist(), strict=True)
        if number
    }


def _events(
    chosen: Sequence[TableSchema], scope: Scope, seen: Seen
) -> Iterator[dg.AssetMaterialization]:
    for mart in chosen:
        counts = scope.stored[mart.name]
        for (pair, day), number in seen.items():
            yield dg.AssetMaterialization(
                table_key(mart),
                partition=partition_key(pair, day) if pair else day.isoformat(),
                metadata={"dagster/partition_row_count": counts[pair or None, day]},
                tags=data_version_tags(data_version(number)),
            )


def _results(
    context: dg.AssetExecutionContext, outcomes: Sequence[runner.Outcome]
) -> Iterator[dg.AssetCheckResult]:
    """What became of the tests that this run is asked for."""
    specs = {spec.metadata[_UNIQUE_ID]: spec for spec in context.assets_def.check_specs}
    for each in outcomes:
        spec = specs.get(each.unique_id)
        if spec is None or spec.key not in context.selected_asset_check_keys:
            continue
        if each.status == "skipped":  # Its model failed: that says it all.
            continue
        metadata: dict[str, Any] = {"count": each.failures}
        if each.sample:
            metadata["sample"] = dg.MetadataValue.md(_as_table(each.sample))
        warns = each.status == "warn"
        yield dg.AssetCheckResult(
            passed=each.status == "pass",
            asset_key=spec.asset_key,
            check_name=spec.name,
            severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
            description=each.message or None,
            metadata=metadata,
        )


def _as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(f"{value}" for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


def _failure(failed: Sequence[runner.Outcome]) -> dg.Failure:
    reasons = [f"{each.unique_id.rpartition('.')[2]}: {each.message}" for each in failed]
    return dg.Failure("; ".join(reasons), allow_retries=False)


def _name(mart: TableSchema) -> str:
    return mart.name.rpartition("/")[2]
