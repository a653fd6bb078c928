"""Tasks for processes of their own, which find them here."""

import os
import signal
import time
from pathlib import Path


def double(task):
    return 2 * task


def upper(task):
    """Return the task in capitals, but die of "always", and of a file that is not there yet."""
    once = task.startswith("/") and not Path(task).exists()
    if once:
        Path(task).touch()
    if once or task == "always":
        os.kill(os.getpid(), signal.SIGKILL)
    return task.upper()


def slowest_first(n):
    time.sleep(0.3 if n == 0 else 0)
    return -n
