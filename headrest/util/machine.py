"""Processor and package versions of the machine that made a result."""

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "pydicom", "matplotlib", "pillow", "onnxruntime", "keras"),
    *("tensorflow", "tensorflow-cpu", "torch", "jax"),
)


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
