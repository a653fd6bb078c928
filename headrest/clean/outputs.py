"""Additional outputs of a cleaned series: segmentations, structures, NIfTI, pictures."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from headrest.clean.preview import SLICE_PICTURES, why_no_pictures, write_slices
from headrest.dicom import Series, segmentation
from headrest.dicom.nifti import is_sheared, needs_resampling, why_no_nifti, write_nifti
from headrest.dicom.structures import write_structures
from headrest.dicom.write import fill_hu
from headrest.hounsfield import PATIENT, SUPPORT
from headrest.segment.support import Support


class Result(NamedTuple):
    """A series, its support, the voxels that are filled, and how the support was found."""

    series: Series
    support: Support
    filled: np.ndarray
    parameters: str

    @property
    def labels(self) -> np.ndarray:
        """Label image, uint8: 1 support with its partial-volume boundary, 2 patient."""
        removed = self.support.removed
        patient = self.support.patient * np.uint8(PATIENT)
        return np.where(removed, np.uint8(SUPPORT), patient)

    @property
    def hu(self) -> np.ndarray:
        """The cleaned image in HU: int16 where that holds all of its values, else float32."""
        series = self.series
        hu = np.empty(series.stored.shape, np.float32)
        for i in range(len(series)):
            hu[i] = series.stored[i] * series.slopes[i] + series.intercepts[i]
            hu[i][self.filled[i]] = fill_hu(series, i)
        whole = hu.astype(np.int16)
        return whole if np.array_equal(whole, hu) else hu


class Output(NamedTuple):
    """A file that is written with the slices on request.

    `file` is its path below the folder of the series; with {}, the name of that folder, beside it:
    no DICOM but the slices lies in the folder, so that every reader finds one CT series there.
    `why_not` says why a series cannot have it, or is empty; `write` writes all of it or nothing.
    """

    file: str
    package: str
    why_not: Callable[[Series], str]
    write: Callable[[Result, Path], None]

    def path(self, folder: Path) -> Path:
        """Path of the file for a series in this folder."""
        beside = "{}" in self.file
        return folder.parent / self.file.format(folder.name) if beside else folder / self.file

    def is_in(self, folder: Path) -> bool:
        """Whether the file of a series in this folder is there, and not empty."""
        return self.path(folder).is_file() and self.path(folder).stat().st_size > 0

    def write_for(self, folder: Path, result: Result, temporary: Path | None = None) -> None:
        """Write the file of a series in this folder, which is still the temporary one if given."""
        path = self.path(folder)
        if temporary and "{}" not in self.file:
            path = self.path(temporary)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write(result, path)


def _why_not_placed(series):
    return "" if series.image is not None else segmentation.why_no_segmentation(series)


def _why_no_probability(series):
    return why_no_nifti(series) or ("its slices are tilted" if is_sheared(series) else "")


def _nifti(name, values, why_not=why_no_nifti, resample=False):
    def write(result, path):
        write_nifti(result.series, values(result), path, result.parameters, resample)

    return Output(f"{name}.nii.gz", "nibabel", why_not, write)


def _masks(name, package, write_masks):
    def write(result, path):
        write_masks(result.series, result.labels, path, result.parameters)

    return Output(f"masks/{{}}-{name}.dcm", package, segmentation.why_no_segmentation, write)


def _write_segmentation(series, labels, path, parameters, kind="BINARY"):
    of_kmeans = parameters.startswith("method=kmeans")
    family = segmentation.CLUSTER_ANALYSIS if of_kmeans else segmentation.ARTIFICIAL_INTELLIGENCE
    segmentation.write_segmentation(series, labels, path, parameters, family, kind)


_write_labelmap = partial(_write_segmentation, kind="LABELMAP")

OUTPUTS = {
    "segmentation": [_masks("segmentation", "pydicom", _write_segmentation)],
    "labelmap": [_masks("labelmap", "pydicom", _write_labelmap)],
    "structures": [_masks("structures", "contourpy", write_structures)],
    "nifti": [_nifti("headrest", attrgetter("labels")), _nifti("cleaned", attrgetter("hu"))],
    "nifti_resample": [
        _nifti("headrest-resampled", attrgetter("labels"), _why_not_placed, resample=True),
        _nifti("cleaned-resampled", attrgetter("hu"), _why_not_placed, resample=True),
    ],
    "probability": [_nifti("probability", attrgetter("support.probability"), _why_no_probability)],
    "pictures": [
        Output(
            SLICE_PICTURES,
            "PIL",
            why_no_pictures,
            lambda r, path: write_slices(path, r.series, r.filled, r.support.patient),
        )
    ],
}
"""The files of each option of `headrest.clean.options.CleanOptions`."""


def possible_outputs(series: Series, names: list[str]) -> tuple[list[Output], list[str]]:
    """Choose the outputs, by keys of `OUTPUTS`, that a series can have; one from NIfTI always gets
    its labels. The warnings say why it cannot have others, and what NIfTI files are like."""
    names, warnings = list(names), []
    if series.image is not None:
        names.append("nifti")
    if "nifti_resample" in names and not _why_not_placed(series):
        if needs_resampling(series):
            files = " and ".join(output.file for output in OUTPUTS["nifti_resample"])
            grid = f"an even, upright grid, slices {series.spacing_mm[0]:.2f} mm apart"
            warnings.append(f"{files} are resampled to {grid}")
        else:
            names[names.index("nifti_resample")] = "nifti"
    outputs = [output for name in dict.fromkeys(names) for output in OUTPUTS[name]]
    if series.image is not None:  # `write_derived_series` keeps the header of its source
        outputs.remove(OUTPUTS["nifti"][1])
    reasons = {output: output.why_not(series) for output in outputs}
    for output, reason in reasons.items():
        if reason:
            file = output.file.replace("masks/{}-", "").replace(".dcm", "")
            warnings.append(f"no {file}: {reason}")
    possible = [output for output in outputs if not reasons[output]]
    if OUTPUTS["nifti"][0] in possible and series.headers and is_sheared(series):
        warnings.append(
            "headrest.nii.gz is sheared as the tilted slices are: ITK cannot open it; "
            "--nifti-resample writes an upright one"
        )
    return possible, warnings
