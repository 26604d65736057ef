"""Tests of the report: from marts that dbt computes to the page in a browser."""
