"""Additional outputs beside the slices of a series: segmentation, NIfTI mask, probability."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from headrest.dicom import Series, segmentation
from headrest.dicom.nifti import is_sheared, why_no_nifti, write_nifti
from headrest.segment.support import Support


class Output(NamedTuple):
    """A file that is written beside the slices on request.

    Attributes
    ----------
    file : str
        Path below the folder of the series. No other DICOM file lies in the folder itself, so
        every reader finds one CT series there.
    package : str, the package that writes it.
    why_not : callable(series) -> str, why a series cannot have it, or empty.
    write : callable(series, support, path, parameters), writes the whole file or nothing.
    """

    file: str
    package: str
    why_not: Callable[[Series], str]
    write: Callable[[Series, Support, Path, str], None]

    def is_in(self, folder: Path) -> bool:
        """Whether the file is in the folder of a cleaned series, and not empty."""
        path = folder / self.file
        return path.is_file() and path.stat().st_size > 0

    def write_into(self, folder: Path, series: Series, support: Support, parameters: str) -> None:
        """Write the file below the folder of a cleaned series."""
        path = folder / self.file
        path.parent.mkdir(exist_ok=True)
        self.write(series, support, path, parameters)


def _write_segmentation(series, support, path, parameters):
    of_kmeans = parameters.startswith("method=kmeans")
    family = segmentation.CLUSTER_ANALYSIS if of_kmeans else segmentation.ARTIFICIAL_INTELLIGENCE
    segmentation.write_segmentation(series, support.removed, path, parameters, family)


def _write_mask(series, support, path, parameters):
    write_nifti(series, support.removed, path, parameters)


def _write_probability(series, support, path, parameters):
    write_nifti(series, support.probability, path, parameters)


def _why_no_probability(series):
    return why_no_nifti(series) or ("its slices are tilted" if is_sheared(series) else "")


OUTPUTS = {
    "segmentation": Output(
        "segmentation/headrest.dcm",
        "highdicom",
        segmentation.why_no_segmentation,
        _write_segmentation,
    ),
    "nifti": Output("headrest.nii.gz", "nibabel", why_no_nifti, _write_mask),
    "probability": Output("probability.nii.gz", "nibabel", _why_no_probability, _write_probability),
}


def possible_outputs(series: Series, outputs: list[Output]) -> tuple[list[Output], list[str]]:
    """Choose the outputs that a series can have; one from NIfTI always gets its labels.

    Returns
    -------
    outputs : list of Output
    warnings : list of str, why it cannot have the others, and that a NIfTI file is sheared.
    """
    if series.image is not None and OUTPUTS["nifti"] not in outputs:
        outputs = [*outputs, OUTPUTS["nifti"]]
    reasons = {output.file: output.why_not(series) for output in outputs}
    warnings = [f"no {file}: {reason}" for file, reason in reasons.items() if reason]
    possible = [output for output in outputs if not reasons[output.file]]
    if OUTPUTS["nifti"] in possible and series.headers and is_sheared(series):
        warnings.append("headrest.nii.gz is sheared as the tilted slices are: ITK cannot open it")
    return possible, warnings
