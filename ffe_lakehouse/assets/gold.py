"""Gold: the models of ``dbt/`` as assets, their tests as asset checks.

One run of dbt computes a run's pairs and days. What is computed stands in the models; how they get
at the lake, in ``ffe_lakehouse.gold``; what they hang on, in ``ffe_lakehouse.marts``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg
import numpy as np
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from numpy.typing import NDArray

from ffe_lakehouse.assets.events import data_version_tags, finished, materialized
from ffe_lakehouse.assets.metadata import OWNERS, table_metadata
from ffe_lakehouse.derivation import data_version, materializations, newest_read
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
_SAMPLE = 20


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
        chosen = [
            mart for mart in marts().values() if table_key(mart) in context.selected_asset_keys
        ]
        # Before anything is read: what comes in meanwhile has not been seen.
        seen = _seen(context.instance, pairs, first, last)
        before = _reported(context.instance, chosen, pairs, first, last)
        tested = {key.asset_key.path[-1] for key in context.selected_asset_check_keys}
        where = whole_days(tuple(pairs) if by_pair else None, first, last)
        commit = commit_info(context.run.run_id, "+".join(mart.name for mart in chosen), where)
        scope = Scope(io_manager.lake, last, first, where.pairs, commit)
        if chosen:
            builds = _builds(scope, [_name(mart) for mart in chosen])
        else:
            builds = [_Build(scope, runner.test(scope, sorted(tested), dbt_folder()))]
        now = _reported(context.instance, chosen, pairs, first, last)
        # Of what another run has computed meanwhile nobody knows whose rows were written last: as
        # if nothing had been seen, so that it is computed once more.
        doubtful = {place: 0 for place in seen if now.get(place) != before.get(place)}
        yield from materialized(context, list(_events(chosen, builds, {**seen, **doubtful})))
        yield from _results(context, builds)
        failed = _failed(builds[1:] or builds)
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
    return _by_day(rows, pairs, first, last)


def _reported(
    instance: dg.DagsterInstance,
    chosen: Sequence[TableSchema],
    pairs: Sequence[str],
    first: date,
    last: date,
) -> Seen:
    """Number of the newest materialization of each day, whoever made it."""
    of_pairs = None if pairs == [""] else pairs
    rows = [materializations(instance, table_key(mart), of_pairs, first, last) for mart in chosen]
    return _by_day(np.max(rows, axis=0), pairs, first, last) if rows else {}


def _by_day(rows: NDArray[np.int64], pairs: Sequence[str], first: date, last: date) -> Seen:
    days = days_between(first, last)
    return {
        (pair, day): number
        for pair, row in zip(pairs, rows, strict=True)
        for day, number in zip(days, row.tolist(), strict=True)
        if number
    }


@dataclass(frozen=True)
class _Build:
    """One command of dbt: what it had to compute, and what became of it."""

    scope: Scope
    outcomes: Sequence[runner.Outcome]

    @property
    def pairs(self) -> Sequence[str]:
        """Its pairs; an empty one for the portfolio."""
        return self.scope.pairs or ("",)

    @property
    def failed(self) -> list[runner.Outcome]:
        """Models that are not stored."""
        return [each for each in self.outcomes if each.is_model and each.status != "success"]


def _builds(scope: Scope, names: Sequence[str]) -> list[_Build]:
    """Compute marts; what fails once more for each of the pairs, so that one fails alone."""
    builds = [_Build(scope, runner.build(scope, names, dbt_folder()))]
    failed = [each.name for each in builds[0].failed]
    if failed and len(builds[0].pairs) > 1:
        for pair in builds[0].pairs:
            alone = Scope(scope.lake, scope.last, scope.first, (pair,), scope.commit)
            builds.append(_Build(alone, runner.build(alone, failed, dbt_folder())))
    return builds


def _events(
    chosen: Sequence[TableSchema], builds: Sequence[_Build], seen: Seen
) -> Iterator[dg.AssetMaterialization]:
    stored = {
        (name, pair): counts
        for build in builds
        for name, counts in build.scope.stored.items()
        for pair in build.pairs
    }
    for mart in chosen:
        for (pair, day), number in seen.items():
            counts = stored.get((mart.name, pair))
            if counts is None:
                continue
            yield dg.AssetMaterialization(
                table_key(mart),
                partition=partition_key(pair, day) if pair else day.isoformat(),
                metadata={"dagster/partition_row_count": counts[pair or None, day]},
                tags=data_version_tags(data_version(number)),
            )


def _results(
    context: dg.AssetExecutionContext, builds: Sequence[_Build]
) -> Iterator[dg.AssetCheckResult]:
    """What became of the tests that this run is asked for."""
    specs = {spec.metadata[_UNIQUE_ID]: spec for spec in context.assets_def.check_specs}
    for each in runner.summed_up(chain.from_iterable(build.outcomes for build in builds)):
        spec = specs.get(each.unique_id)
        if spec is None or spec.key not in context.selected_asset_check_keys:
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


def _failed(builds: Sequence[_Build]) -> dict[str, str]:
    """Why, by pair; of the portfolio the pair is empty."""
    return {
        pair: "; ".join(f"{each.name}: {each.message}" for each in build.failed)
        for build in builds
        for pair in build.pairs
        if build.failed
    }


def _failure(failed: Mapping[str, str]) -> dg.Failure:
    """The end of a step in which something failed: says which pairs and marts, and why."""
    reasons = [f"{pair} {reason}".strip() for pair, reason in list(failed.items())[:_SAMPLE]]
    by_pair = {pair: reason for pair, reason in failed.items() if pair}
    return dg.Failure("; ".join(reasons), metadata=by_pair, allow_retries=False)


def _name(mart: TableSchema) -> str:
    return mart.name.rpartition("/")[2]
