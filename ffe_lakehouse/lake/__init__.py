"""Delta storage without Dagster: usable as it is in a notebook.

``DeltaLakeManager`` reads and writes the tables of ``ffe_lakehouse.schemas`` below one root. What a
row means, and which rows belong together in a Dagster partition, is decided above.
"""

from ffe_lakehouse.lake.manager import DeltaLakeManager
from ffe_lakehouse.lake.versions import newest_versions
from ffe_lakehouse.lake.where import Where

__all__ = ["DeltaLakeManager", "Where", "newest_versions"]
