"""For reports and figures: text tables, colours, and the machine that made a result.

Source of the colours, distinguishable for colour-blind people: M. Okabe and K. Ito, Color Universal
Design, 2008.
"""

import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

SUPPORT_COLOR = "#D55E00"
PATIENT_COLOR = "#009E73"
PADDING_COLOR = "#56B4E9"
SECOND_COLOR = "#0072B2"
EXTRA_COLOR = "#F0E442"
OTHER_COLOR = "#8c8c8c"

PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "pydicom", "matplotlib", "pillow", "onnxruntime", "keras"),
    *("tensorflow", "tensorflow-cpu", "torch", "jax"),
)


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
    cpu, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        names = [row for row in info.read_text().splitlines() if row.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    processors = ", ".join([cpu, f"{os.cpu_count()} cores", *_nvidia_models()])
    python = f"{platform.system()}, Python {platform.python_version()}"
    return "\n".join([processors, python, ", ".join(_versions())])


def _versions():
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


def _nvidia_models():
    """Names of the NVIDIA GPUs, as the driver lists them on Linux."""
    for path in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        rows = (row.partition(":") for row in path.read_text().splitlines())
        yield from (value.strip() for name, _, value in rows if name.strip() == "Model")
