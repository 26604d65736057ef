"""Tests of the assets, as real Dagster runs."""
