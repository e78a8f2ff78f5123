"""Become another user, ask to be signalled when the parent dies, then become the program named.

Run as a script in a fresh interpreter (``python -I -S _launch.py UID GID PARENT SIGNAL PROGRAM ARGUMENT…``): a
``preexec_fn`` would run Python between fork and exec of a process with threads, which can deadlock, and Python 3.12
warns of.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Switch, arm, exec; does not return."""
    uid, gid, parent, number = (int(argument) for argument in arguments[:4])
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After setuid, which clears it (prctl(2)). macOS has no prctl.
    if parent and hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(arguments[4], arguments[4:])  # noqa: S606 (that is its purpose)


if __name__ == "__main__":
    main(sys.argv[1:])
