"""Additional outputs beside the slices of a cleaned series: a segmentation, a NIfTI mask."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrest.dicom import Series
from headrest.dicom.nifti import is_sheared, why_no_nifti, write_nifti
from headrest.dicom.segmentation import (
    ARTIFICIAL_INTELLIGENCE,
    CLUSTER_ANALYSIS,
    why_no_segmentation,
    write_segmentation,
)
from headrest.segment.support import describe


@dataclass(frozen=True)
class Output:
    """A file that is written beside the slices on request.

    Attributes
    ----------
    file : str
        Path below the folder of the series. No other DICOM file lies in the folder itself, so
        every reader finds one CT series there.
    package : str, the package that writes it.
    why_not : callable(series) -> str, why a series cannot have it, or empty.
    write_mask : callable(series, mask, path, method), writes the whole file or nothing.
    """

    file: str
    package: str
    why_not: Callable[[Series], str]
    write_mask: Callable[[Series, np.ndarray, Path, str], None]

    def is_in(self, folder: Path) -> bool:
        """Whether the file is in the folder of a cleaned series, and not empty."""
        path = folder / self.file
        return path.is_file() and path.stat().st_size > 0

    def write(self, folder: Path, series: Series, mask: np.ndarray, method: str) -> None:
        """Write the mask that a method found below the folder of a cleaned series."""
        path = folder / self.file
        path.parent.mkdir(exist_ok=True)
        self.write_mask(series, mask, path, method)


def _write_segmentation(series, mask, path, method):
    family = CLUSTER_ANALYSIS if method == "kmeans" else ARTIFICIAL_INTELLIGENCE
    write_segmentation(series, mask, path, describe(method), family)


def _write_nifti(series, mask, path, method):
    write_nifti(series, mask, path, describe(method))


OUTPUTS = {
    "segmentation": Output(
        "segmentation/headrest.dcm", "highdicom", why_no_segmentation, _write_segmentation
    ),
    "nifti": Output("headrest.nii.gz", "nibabel", why_no_nifti, _write_nifti),
}


def possible_outputs(series: Series, outputs: list[Output]) -> tuple[list[Output], list[str]]:
    """Choose the outputs that a series can have.

    Returns
    -------
    outputs : list of Output
    warnings : list of str, why it cannot have the others, and that a NIfTI file is sheared.
    """
    reasons = {output.file: output.why_not(series) for output in outputs}
    warnings = [f"no {file}: {reason}" for file, reason in reasons.items() if reason]
    possible = [output for output in outputs if not reasons[output.file]]
    if OUTPUTS["nifti"] in possible and is_sheared(series):
        warnings.append("headrest.nii.gz is sheared as the tilted slices are: ITK cannot open it")
    return possible, warnings
