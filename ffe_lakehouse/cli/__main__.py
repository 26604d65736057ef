"""``python -m ffe_lakehouse.cli``: the same as ``ffe``."""

from ffe_lakehouse.cli import main

main()
