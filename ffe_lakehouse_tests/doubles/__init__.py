"""Vendors played by a local HTTP server: their formats, limits and bad days."""
