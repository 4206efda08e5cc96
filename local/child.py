"""Become the server: give up root, ask to end with the launcher, exec.

Run as a script: `child.py USER SIGNAL LAUNCHER COMMAND...`. Not a `preexec_fn`, because Python code between fork and exec
can deadlock when the launcher has threads. It starts as the launcher's user and drops root by itself, so the Python that
it needs may lie in a closed home folder.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
CLONE_NEWUSER = 0x10000000  # <linux/sched.h>
LIBC = ctypes.CDLL(None, use_errno=True)


def become(user: int, farewell: int, launcher: int, command: list[str]) -> None:
    """Replace this process by `command`, as `user`; the kernel sends it `farewell` when the launcher ends."""
    if os.geteuid() == 0:
        drop_root(user)
    elif user != os.geteuid():
        appear_as(user)
    os.umask(0o077)
    # After the change of user, which clears this wish; exec keeps it.
    checked(LIBC.prctl(PR_SET_PDEATHSIG, farewell, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != launcher:  # it ended before the wish: no signal will come
        signal.raise_signal(signal.SIGKILL)
    os.execv(command[0], command)  # noqa: S606  that is what this program is for


def drop_root(user: int) -> None:
    """Be `user` for good, in no group but its own."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def appear_as(user: int) -> None:
    """Call ourselves `user` in a name space of our own; files are still made as who we are."""
    own = os.geteuid()
    advice = f"initdb wants a name for user {own}: add one to /etc/passwd, or set SPARRING_DATABASE_URL"
    checked(LIBC.unshare(CLONE_NEWUSER), f"{advice}; borrowing a name in a user namespace")
    Path("/proc/self/uid_map").write_text(f"{user} {own} 1")


def checked(result: int, what: str) -> None:
    """Raise what libc's errno says when a call has failed."""
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    user, farewell, launcher = map(int, sys.argv[1:4])
    try:
        become(user, farewell, launcher, sys.argv[4:])
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[4]} as user {user}: {error}")
