"""``python -m soa_db``: the command line where the console script is not on the PATH."""

import sys

from soa_db.cli import main

# Worker processes import this module anew, under another name.
if __name__ == "__main__":
    sys.exit(main())
