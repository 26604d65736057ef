"""Tests of ``ffe_lakehouse.transforms``."""
