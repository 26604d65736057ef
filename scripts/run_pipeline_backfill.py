"""The old name of ``ffe backfill``, for scripts and crontabs that still call it.

``python scripts/run_pipeline_backfill.py --assets BTCUSD,ETHUSD --days 7``
"""

import sys

from ffe_lakehouse.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "backfill")
    main()
