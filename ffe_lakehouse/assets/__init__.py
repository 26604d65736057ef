"""The assets: thin definitions around ``ingestion`` and ``transforms``."""
