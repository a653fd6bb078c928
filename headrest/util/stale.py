"""Hold a destination for one run, and take out of it what killed runs left half-written."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrest.util.files import alone

AT_WORK = ".headrest"
"""Folder that lies in a destination as long as a run is at work there."""

SWEPT = {
    "": re.compile(r"\.(?:ct-[0-9a-f]{12}|failures)\.(\d+)\.partial(?:\.csv)?(\.swept)?"),
    "ct-*/": re.compile(r"\.headrest(?:\.nii)?\.(\d+)\.partial\.gz(\.swept)?"),
    "ct-*/segmentation/": re.compile(r"\.headrest\.(\d+)\.partial\.dcm(\.swept)?"),
}
"""Names that `headrest.util.files` gives to incomplete files, with the number of the process."""


@contextmanager
def held(destination: Path) -> Iterator[None]:
    """Hold a destination; see `headrest.util.files.alone`.

    Raises
    ------
    HeadrestError
        Where another run is at work in it, or it cannot be written to.
    """
    with alone(destination / AT_WORK):
        sweep(destination)
        try:
            yield
        finally:
            sweep(destination)
            shutil.rmtree(destination / AT_WORK, ignore_errors=True)


def sweep(destination: Path) -> None:
    """Remove what is half-written, unless a process that lives is writing it."""
    for where, pattern in SWEPT.items():
        for left in list(destination.glob(f"{where}.*.partial*")):
            name = pattern.fullmatch(left.name)
            if name and not _is_at_work(int(name[1])):
                _remove(left, left if name[2] else left.with_name(f"{left.name}.swept"))


def _remove(left, away):
    # Renamed first: nobody can then give its right name to a folder that is half gone.
    with suppress(OSError):
        os.replace(left, away)
        shutil.rmtree(away) if away.is_dir() else away.unlink()


def _is_at_work(number):
    """Whether another process of that number lives on this machine."""
    if number == os.getpid() or os.name == "nt":
        return False  # Windows keeps a folder whose files are open, and cannot be asked so
    try:
        os.kill(number, 0)
        # Linux keeps the numbers of the dead until somebody has asked for them (proc(5)).
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except ProcessLookupError:
        return False
    except OSError:
        return True
