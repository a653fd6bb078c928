"""The machine that made a result: its processor and the versions of its packages."""

import os
import platform
from importlib.metadata import packages_distributions, version
from pathlib import Path

PACKAGES = ("numpy", "scipy", "scikit-learn", "pydicom", "matplotlib", "pillow", "keras")


def machine() -> str:
    """Describe the machine and the packages in a few lines."""
    cpu, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        names = [row for row in info.read_text().splitlines() if row.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    packages = [f"{name} {version(name)}" for name in (*PACKAGES, *_backend())]
    python = f"{platform.system()}, Python {platform.python_version()}"
    processors = ", ".join([cpu, f"{os.cpu_count()} cores", *_accelerators()])
    return "\n".join([processors, python, ", ".join(packages)])


def _accelerators():
    """Names of NVIDIA's, as its driver gives them on Linux."""
    told = [path.read_text() for path in Path("/proc/driver/nvidia/gpus").glob("*/information")]
    rows = [row.split(":", 1) for text in told for row in text.splitlines()]
    return [value.strip() for name, *rest in rows if name.strip() == "Model" for value in rest]


def _backend():
    from headrest.util.backend import keras  # loaded only where it is asked for

    name = keras.backend.backend()
    return [n for n in packages_distributions().get(name, ()) if not n.startswith("keras")][:1]
