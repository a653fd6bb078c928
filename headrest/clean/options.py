"""The options of a cleaning run."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headrest.clean.outputs import OUTPUTS, Output
from headrest.dicom.mask import MANUALLY_CORRECTED, one_label
from headrest.dicom.values import check_default_rescale
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
        Write `segmentation/headrest.dcm` as well, a DICOM Segmentation of the support and its
        partial-volume boundary, whether or not `patient_only` fills more. Needs highdicom.
    nifti : bool
        Write `headrest.nii.gz` as well, the same mask as NIfTI. Needs nibabel.
    probability : bool
        Write `probability.nii.gz` as well, the probability of support from 0 to 1 as float, for an
        evenly spaced series without tilt and the method "network". Needs nibabel.
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
    nifti: bool = False
    probability: bool = False
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
        check_default_rescale(self.default_rescale)
        for output in self.outputs:
            require(output.package)

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
    def finding(self) -> dict[str, Any]:
        """Keywords of `headrest.find_support`."""
        return {name: getattr(self, name) for name in ("method", "weights", "provider")}

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
    def outputs(self) -> list[Output]:
        """The additional outputs that were asked for."""
        return [output for name, output in OUTPUTS.items() if getattr(self, name)]

    @property
    def reading(self) -> dict[str, Any]:
        """Keywords of `headrest.dicom.load_series`."""
        names = ("by_instance_number", "default_rescale", "allow_missing")
        return {name: getattr(self, name) for name in names}

    def folder_name(self, fingerprint: str) -> str:
        """Name the folder of a cleaned series by a hash of its fingerprint and these options.

        No DICOM attribute is part of the name: "../.." is a legal Patient ID.
        """
        chosen = f"{fingerprint} {self.parameters} {self.compress} {self.drop_private}"
        digest = hashlib.sha256(f"{chosen} {__version__}".encode()).hexdigest()
        return f"ct-{digest[:12]}"
