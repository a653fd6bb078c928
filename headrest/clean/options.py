"""The options of a cleaning run."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headrest.clean.outputs import OUTPUTS
from headrest.dicom.mask import MANUALLY_CORRECTED, one_label
from headrest.dicom.pixels import check_default_rescale
from headrest.dicom.write import mask_digest
from headrest.segment.support import check_method, describe
from headrest.util import __version__
from headrest.util.errors import HeadrestError, require
from headrest.util.files import sha256


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
        """Keys of `headrest.clean.outputs.OUTPUTS` that were asked for."""
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
