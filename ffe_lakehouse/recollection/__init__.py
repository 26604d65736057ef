"""What the lake itself tells of each day: how much is there, and whether it is final.

The lake keeps no record of who asked for what, but its rows and commits prove most of it. Reporting
it to Dagster is the business of ``rebuild``.
"""

from ffe_lakehouse.recollection.conclusion import Finality, Recollection, recollect
from ffe_lakehouse.recollection.evidence import Sources, pairs_of

__all__ = ["Finality", "Recollection", "Sources", "pairs_of", "recollect"]
