"""Tests of ``ffe_lakehouse.records``."""
