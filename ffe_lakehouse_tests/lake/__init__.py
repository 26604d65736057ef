"""Tests of the Delta storage, on real tables."""
