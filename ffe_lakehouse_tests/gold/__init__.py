"""Tests of the marts: real Delta, real dbt."""
