"""Records of the trading engine: from its files to Bronze, or to the dead letters.

How a file becomes records (``files``), a record a row or a list of reasons (``fields``,
``contracts``), and which of them are stored as new versions (``versions``, ``loading``) belongs
here. What Dagster is told of it stands in ``assets.records``.
"""

from ffe_lakehouse.records.files import (
    KINDS,
    LandedFile,
    files_below,
    named_files,
    simulated_file,
)
from ffe_lakehouse.records.loading import Day, Loaded, Loader, Place, Write
from ffe_lakehouse.records.versions import Fate

__all__ = [
    "KINDS",
    "Day",
    "Fate",
    "LandedFile",
    "Loaded",
    "Loader",
    "Place",
    "Write",
    "files_below",
    "named_files",
    "simulated_file",
]
