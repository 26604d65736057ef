"""Gold: what dbt is given to read, and what becomes of its results. Imports no Dagster.

The models stand in ``dbt/``; here is how they get at the lake.
"""
