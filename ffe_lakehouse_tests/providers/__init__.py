"""Tests of ``ffe_lakehouse.providers``."""
