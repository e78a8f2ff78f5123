"""``python -m soa_db``: the command line where the console script is not on the PATH."""

import sys

from soa_db.cli import main

sys.exit(main())
