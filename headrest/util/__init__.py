"""Parts that every folder uses: the version, HeadrestError, texts of messages, colours of figures.

The version is part of derived UIDs and of folder names. Colours are distinguishable for
colour-blind people: M. Okabe and K. Ito, Color Universal Design, 2008.
"""

import importlib.util
import os
import platform
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

__version__ = "0.18.1"

SUPPORT_COLOR = "#D55E00"
PATIENT_COLOR = "#0072B2"
PADDING_COLOR = "#56B4E9"
EXTRA_COLOR = "#F0E442"
OTHER_COLOR = "#8c8c8c"
IGNORED_COLOR = "#CC79A7"

PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "pydicom", "matplotlib", "pillow", "onnxruntime", "keras"),
    *("tensorflow", "tensorflow-cpu", "torch", "jax"),
)


class HeadrestError(Exception):
    """Input that cannot be trusted, or a place that cannot be written.

    The text names the file and the remedy, never a patient. Control characters, which file names
    and header values may contain, are escaped.
    """

    def __init__(self, text: object = ""):
        super().__init__("\n".join(map(plain, str(text).split("\n"))))


def plain(text: object) -> str:
    r"""Escape everything in a text that a terminal would not print as one line.

    >>> plain("scan\n\x1b[2J\udcff")
    'scan\\n\\x1b[2J\\udcff'
    """
    printable = [c.isprintable() or unicodedata.category(c) == "Zs" for c in str(text)]
    return "".join(c if ok else ascii(c)[1:-1] for c, ok in zip(str(text), printable))


def counted(n: int, noun: str) -> str:
    """Write a number with its noun.

    >>> counted(1, "slice"), counted(2, "slice")
    ('1 slice', '2 slices')
    """
    return f"{n} {noun}{'s' * (n != 1 and noun != 'series')}"


def require(package: str, advice: str = "") -> None:
    """Raise HeadrestError with the line for pip, and the advice, if a package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise HeadrestError(f"{package} is not installed: pip install {package}{advice}")


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this code."""
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def progress(
    items: Iterable | None,
    description: str,
    total: int | None = None,
    unit: str = "slice",
    initial: int = 0,
    brief: bool = False,
) -> Any:
    """Progress bar of tqdm over items: in a terminal and in Jupyter. In a log it is one line.

    `brief` work has a bar only while it lasts, after two seconds, and no line. Nothing is shown
    where TQDM_DISABLE is set in the environment, as in worker processes.
    """
    off = bool(os.environ.get("TQDM_DISABLE"))
    disable = off if off or in_notebook() else None  # None: where it is no terminal
    style: dict = {"delay": 2, "leave": False} if brief else {}
    bar = tqdm(items, description, total, initial=initial, unit=unit, disable=disable, **style)
    if bar.disable and not (off or brief):
        print(f"{description}: {counted(bar.total - initial, unit)}", file=sys.stderr)
    return bar


def cores() -> int:
    """Threads as OMP_NUM_THREADS says, as in a worker, or the cores of this process."""
    if first := re.match(r"\s*0*([1-9]\d*)", os.environ.get("OMP_NUM_THREADS", "")):
        return int(first[1])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def table(columns: Mapping[str, Iterable], digits: int = 1) -> str:
    """Write columns of one length as an aligned text table, floats with so many `digits`.

    Examples
    --------
    >>> print(table({"slice": [1, 12], "ml": [0.5, 10.25]}))
    slice    ml
        1   0.5
       12  10.2
    """
    cells = [[name, *(_cell(v, digits) for v in column)] for name, column in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    rows = zip(*cells)
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths)) for row in rows)


def _cell(value, digits):
    return f"{value:.{digits}f}" if isinstance(value, (float, np.floating)) else str(value)


def machine() -> str:
    """Describe the machine and the installed packages in three lines."""
    cpus = _values("model name", Path("/proc").glob("cpuinfo"))
    cpu = next(cpus, platform.processor() or platform.machine())
    gpus = _values("Model", Path("/proc/driver/nvidia/gpus").glob("*/information"))
    python = f"{platform.system()}, Python {platform.python_version()}"
    versions = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    return "\n".join(map(", ".join, [[cpu, f"{os.cpu_count()} cores", *gpus], [python], versions]))


def _values(key, paths):
    """Values of a key in files of Linux with lines "key: value"."""
    for path in paths:
        rows = (row.partition(":") for row in path.read_text().splitlines())
        yield from (value.strip() for name, _, value in rows if name.strip() == key)
