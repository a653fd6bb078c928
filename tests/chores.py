"""Functions that worker processes import and run."""

import os
import signal
import time
from pathlib import Path


def double(task):
    return 2 * task


def upper(task):
    """Return the task in capitals; die on "always", and the first time on a path."""
    once = task.startswith("/") and not Path(task).exists()
    if once:
        Path(task).touch()
    if once or task == "always":
        os.kill(os.getpid(), signal.SIGKILL)
    return task.upper()


def slowest_first(n):
    time.sleep(0.3 if n == 0 else 0)
    return -n
