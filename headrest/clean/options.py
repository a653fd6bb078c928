"""The options of a cleaning run, and the files that they ask for beside the cleaned slices."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headrest.clean.preview import SLICE_PICTURES, why_no_pictures, write_slices
from headrest.dicom import Series, segmentation
from headrest.dicom.mask import MANUALLY_CORRECTED, one_label
from headrest.dicom.nifti import is_sheared, needs_resampling, why_no_nifti, write_nifti
from headrest.dicom.pixels import check_default_rescale
from headrest.dicom.structures import write_structures
from headrest.dicom.write import fill_hu, mask_digest
from headrest.hounsfield import PATIENT, SUPPORT
from headrest.segment.support import Support, check_method, describe
from headrest.util import HeadrestError, __version__, require
from headrest.util.files import sha256


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
        path = self.path(temporary if temporary and "{}" not in self.file else folder)
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
"""The files of each option of `CleanOptions`."""


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


@dataclass(frozen=True)
class CleanOptions:
    """How series are read and cleaned: the keywords of `clean_series` and `clean_tree`.

    Attributes
    ----------
    method : str
        "network" or "kmeans"; see `headrest.find_support`.
    weights : str, optional
        Path of a network that `headrest export` wrote, to use instead of the pretrained one.
    provider : str, optional; of ONNX Runtime, see `headrest.find_support`.
    mask : path, or bool array (slices, rows, columns), optional
        Mask that a person corrected, of one series: exactly its voxels are removed, and no method
        is used. A path is NIfTI or a DICOM Segmentation, see `headrest.dicom.mask.read_mask`.
    patient_only : bool
        Fill everything that is not patient: covers, linen, tubes and noise too.
    segmentation : bool
        Write `masks/NAME-segmentation.dcm` as well, beside the folder NAME of the series: a DICOM
        Segmentation of the support with its partial-volume boundary, whether or not
        `patient_only` fills more, and of the patient.
    labelmap : bool
        The same as a DICOM Label Map Segmentation, `masks/NAME-labelmap.dcm`.
    structures : bool
        The same as an RT Structure Set, `masks/NAME-structures.dcm`, with the support as SUPPORT
        and the patient as EXTERNAL. Needs contourpy.
    nifti : bool
        Write `headrest.nii.gz`, a label image (1 support with boundary, 2 patient), and the
        cleaned image `cleaned.nii.gz` as well. Needs nibabel.
    nifti_resample : bool
        As `nifti`, and for uneven or tilted series, which NIfTI cannot hold or holds sheared,
        `headrest-resampled.nii.gz` and `cleaned-resampled.nii.gz` on an even, upright grid.
    probability : bool
        Write `probability.nii.gz` as well, the probability of support from 0 to 1 as float, for an
        evenly spaced series without tilt and the method "network". Needs nibabel.
    pictures : bool
        Keep a picture of every slice, `preview/slices.zip`, for `headrest.clean.page`.
    accept_ml : float, optional
        Write series below `review/` whose bound on the patient removed is above these ml, or
        that have none. A mask that a person corrected is accepted.
    compress : bool
        Compress each slice as its source is, without loss; see `headrest.dicom.codecs`.
    drop_private : bool
        Delete private elements, which may name the patient.
    acquisition, by_instance_number, default_rescale, allow_missing
        How `clean_tree` reads series; see `headrest.read_series`.

    Raises
    ------
    HeadrestError
        For a mask together with `patient_only`, a mask of several labels, a method, weights or a
        provider that cannot be used, a missing package, or a default
        rescale that is not a slope and an intercept.

    Examples
    --------
    >>> CleanOptions(method="kmeans").parameters
    'method=kmeans'
    """

    method: str = "network"
    weights: str | None = None
    provider: str | None = None
    mask: Any = field(default=None, repr=False, compare=False)
    patient_only: bool = False
    segmentation: bool = False
    labelmap: bool = False
    structures: bool = False
    nifti: bool = False
    nifti_resample: bool = False
    probability: bool = False
    pictures: bool = False
    accept_ml: float | None = None
    compress: bool = False
    drop_private: bool = False
    acquisition: int | None = None
    by_instance_number: bool = False
    default_rescale: tuple[float, float] | None = None
    allow_missing: bool = False

    def __post_init__(self) -> None:
        if self.weights is not None:  # workers may run in another folder
            object.__setattr__(self, "weights", str(Path(self.weights).absolute()))
        if self.mask is None:
            check_method(self.method, self.weights, self.provider)
        else:
            object.__setattr__(self, "mask", self._checked_mask())
        if self.probability and (self.method != "network" or self.mask is not None):
            raise HeadrestError("only the method network gives a probability")
        if self.accept_ml is not None and not self.accept_ml >= 0:
            raise HeadrestError(f"accept_ml is {self.accept_ml}: expected ml, 0 or more")
        check_default_rescale(self.default_rescale)
        for name in self.outputs:
            require(OUTPUTS[name][0].package)

    def _checked_mask(self):
        """Absolute path or bool array; refuse what would remove other voxels."""
        if self.patient_only:
            raise HeadrestError("patient_only fills more than a mask: leave one of them out")
        if not isinstance(self.mask, (str, Path)):
            return one_label(np.asarray(self.mask))
        if not Path(self.mask).is_file():
            raise HeadrestError(f"{self.mask}: there is no such file; expected a mask")
        return str(Path(self.mask).absolute())

    @property
    def description(self) -> str:
        """How the support is found, as additional outputs record it."""
        if self.mask is not None:
            by_file = isinstance(self.mask, str)
            digest = sha256(Path(self.mask)) if by_file else mask_digest(self.mask)
            return f"{MANUALLY_CORRECTED} mask={digest[:12]}"
        return describe(self.method, self.weights)

    @property
    def parameters(self) -> str:
        """How voxels are chosen, as derived series record it."""
        return self.description + (" patient-only" if self.patient_only else "")

    @property
    def changes(self) -> str:
        """`parameters`, and how slices are written: what identifies the cleaned series."""
        others = ("compress", "drop_private")
        return self.parameters + "".join(f" {name}" for name in others if getattr(self, name))

    @property
    def outputs(self) -> list[str]:
        """Keys of `OUTPUTS` that were asked for."""
        return [name for name in OUTPUTS if getattr(self, name)]

    def are_in(self, folder: Path) -> bool:
        """Whether all additional outputs exist for the series in a folder."""
        return all(output.is_in(folder) for name in self.outputs for output in OUTPUTS[name])

    def accept(self, bound_ml: float | None) -> bool:
        """Whether a series with this bound on the patient removed need not be reviewed."""
        if self.accept_ml is None or self.mask is not None:
            return True
        return bound_ml is not None and bound_ml <= self.accept_ml

    @property
    def reading(self) -> dict[str, Any]:
        """Keywords of `headrest.dicom.load_series`."""
        names = ("by_instance_number", "default_rescale", "allow_missing")
        return {name: getattr(self, name) for name in names}

    def folder_name(self, fingerprint: str) -> str:
        """Name the folder of a cleaned series by a hash of its fingerprint and these options.

        No DICOM attribute is part of the name: "../.." is a legal Patient ID.
        """
        chosen = f"{fingerprint} {self.changes} {__version__}"
        digest = hashlib.sha256(chosen.encode()).hexdigest()
        return f"ct-{digest[:12]}"
