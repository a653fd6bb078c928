"""The options of a cleaning run."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrest.clean.outputs import OUTPUTS, Output
from headrest.dicom.values import check_default_rescale
from headrest.segment.support import check_method, describe
from headrest.util.packages import require
from headrest.util.version import __version__


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
    outside : bool
        Blank also everything at -500 HU and below outside the patient: foam, linen, noise.
    segmentation : bool
        Write `segmentation/headrest.dcm` as well, a DICOM Segmentation of the support and its
        partial-volume boundary, whether or not `outside` blanks more. Needs highdicom.
    nifti : bool
        Write `headrest.nii.gz` as well, the same mask as NIfTI. Needs nibabel.
    compress : bool
        Compress each slice as its source is, without loss; see `headrest.dicom.encode`.
    drop_private : bool
        Delete private elements, which may name the patient.
    acquisition, by_instance_number, default_rescale, allow_missing
        How `clean_tree` reads series; see `headrest.read_series`.

    Raises
    ------
    HeadrestError
        For a method, weights or a provider that cannot be used, a missing package, or a default
        rescale that is not a slope and an intercept.

    Examples
    --------
    >>> CleanOptions(method="kmeans").parameters
    'method=kmeans'
    """

    method: str = "network"
    weights: str | None = None
    provider: str | None = None
    outside: bool = False
    segmentation: bool = False
    nifti: bool = False
    compress: bool = False
    drop_private: bool = False
    acquisition: int | None = None
    by_instance_number: bool = False
    default_rescale: tuple[float, float] | None = None
    allow_missing: bool = False

    def __post_init__(self) -> None:
        if self.weights is not None:  # workers may run in another folder
            object.__setattr__(self, "weights", str(Path(self.weights).absolute()))
        check_method(self.method, self.weights, self.provider)
        check_default_rescale(self.default_rescale)
        for output in self.outputs:
            require(output.package)

    @property
    def finding(self) -> dict[str, Any]:
        """Keywords of `headrest.find_support`."""
        return {name: getattr(self, name) for name in ("method", "weights", "provider")}

    @property
    def description(self) -> str:
        """How the support is found, as additional outputs record it."""
        return describe(self.method, self.weights)

    @property
    def parameters(self) -> str:
        """How voxels are chosen, as derived series record it."""
        return self.description + (" outside" if self.outside else "")

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
