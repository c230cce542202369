"""`child_process PID …`, run by `python -P -m`: the `mbrl` command in a process that ends when its parent, PID, does.

A run that outlived its worker would go on writing into the folder in which another worker takes it up.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOOK_S = 1.0


def end_with(parent: int) -> None:
    """Makes this process end when its parent does, however that ends.

    Linux sends the signal itself, when the thread that started this process ends; elsewhere a thread looks every second.

    Args:
        parent: the process that started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_look, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before it could be asked for
        os._exit(1)


def _look(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def main(arguments: list[str]) -> None:
    """Ties this process to the one named first, then runs `mbrl` with the other arguments."""
    end_with(int(arguments[0]))
    sys.argv = ["mbrl", *arguments[1:]]
    runpy.run_module("mbrl.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
