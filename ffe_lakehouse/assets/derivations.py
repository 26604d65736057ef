"""Every derived table: what it reads, and what computes it."""

from dataclasses import dataclass

import dagster as dg

from ffe_lakehouse.assets import silver, silver_records
from ffe_lakehouse.assets.derived import Compute, derived_asset
from ffe_lakehouse.assets.features import compute_features, derived_features
from ffe_lakehouse.derivation import Derived
from ffe_lakehouse.features import feature_sets


@dataclass(frozen=True)
class Derivation:
    """One step.

    Attributes:
        derived: What it reads and writes.
        compute: Makes the rows.
    """

    derived: Derived
    compute: Compute


def derivations() -> list[Derivation]:
    """Every derived table that follows Bronze by itself."""
    return [
        Derivation(silver.UNIFY, silver.unify_days),
        Derivation(silver.ENRICH, silver.enrich_days),
        Derivation(silver.ANALYSE, silver.analyse_days),
        Derivation(silver_records.DECIDE, silver_records.decide_days),
        Derivation(silver_records.TRADE, silver_records.trade_days),
        *(
            Derivation(derived_features(features), compute_features(features))
            for features in feature_sets()
        ),
    ]


def derived_assets() -> list[dg.AssetsDefinition]:
    """Their assets."""
    return [derived_asset(each.derived, each.compute) for each in derivations()]
