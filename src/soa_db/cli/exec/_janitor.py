"""Delete a directory once nobody holds the other end of the pipe that is our standard input.

Run as a script in a fresh interpreter (``python -I -S _janitor.py DIRECTORY``), which returns as soon as a process of
nobody's waits: so the client that the caller becomes has no child that it did not start. It outlives the terminal and
every signal but SIGKILL.
"""

import os
import shutil
import signal
import sys


def main(directory: str) -> None:
    """Stay behind, wait for the end of the pipe, delete."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    os.chdir("/")
    while os.read(0, 1):
        pass
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
