"""Pure functions from table to table: no Dagster, no I/O, no clock."""
