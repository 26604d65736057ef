"""Tests of the engine on a cluster; those of a session need Java, PySpark and Delta's jar."""
