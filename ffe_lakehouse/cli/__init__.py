"""The command line: ``ffe``. Every command parses, calls the package, and prints.

Exit codes: 0 done; 1 something failed (a pair, a check); 2 the command was wrong.
"""

import sys

from deltalake.exceptions import DeltaError

from ffe_lakehouse.cli.app import app
from ffe_lakehouse.errors import InputError


def main() -> None:
    """Entry point of the ``ffe`` script."""
    try:
        app()
    except InputError as error:
        sys.stderr.write(f"ffe: {error}\n")
        sys.exit(2)
    except (DeltaError, OSError) as error:
        sys.stderr.write(f"ffe: the lake or Dagster's home cannot be used: {error}\n")
        sys.exit(1)
