"""A market-data and trading lakehouse, as a Dagster asset graph.

The layers, each a group of Delta tables that are Dagster assets:

* **Bronze**: candles as the vendors gave them, append-only, every version kept.
* **DLQ**: the records that a rule refused, verbatim, with the reasons. One table per Bronze table.
* **Silver**: curated, enriched and joined tables.
* **Gold**: marts for dashboards.

``ffe_lakehouse.definitions`` is the Dagster code location, ``ffe`` the command line.
``docs/architecture.md`` tells how the parts fit.
"""

__version__ = "1.0.0"
