"""What a cleaned series may have beside its slices: a segmentation, a NIfTI mask."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headrest.dicom.nifti import is_sheared, why_no_nifti, write_nifti
from headrest.dicom.segmentation import (
    ARTIFICIAL_INTELLIGENCE,
    CLUSTER_ANALYSIS,
    why_no_segmentation,
    write_segmentation,
)
from headrest.segment.support import describe
from headrest.util.packages import require


@dataclass(frozen=True)
class Extra:
    """A file laid beside the slices if asked for.

    Attributes
    ----------
    file : str
        Its path below the folder of the series. The slices alone lie in the folder itself, so
        that whoever opens it finds one CT series.
    package : str, what it needs.
    why_not : callable(series), says why a series cannot have it, or an empty str.
    write : callable(series, support, path, method), writes it whole or not at all.
    """

    file: str
    package: str
    why_not: Callable
    write: Callable

    def lay(self, folder, series, support, method):
        """Write the file for one `Support` below a folder."""
        path = Path(folder, self.file)
        path.parent.mkdir(exist_ok=True)
        self.write(series, support, path, method)


def _segmentation(series, support, path, method):
    family = CLUSTER_ANALYSIS if method == "kmeans" else ARTIFICIAL_INTELLIGENCE
    write_segmentation(series, support.removed, path, describe(method), family)


def _nifti(series, support, path, method):
    write_nifti(series, support.removed, path, describe(method))


EXTRAS = {
    "segmentation": Extra(
        "segmentation/headrest.dcm", "highdicom", why_no_segmentation, _segmentation
    ),
    "nifti": Extra("headrest.nii.gz", "nibabel", why_no_nifti, _nifti),
}


def choose_extras(series, **asked):
    """Choose the extras that a series gets.

    Parameters
    ----------
    series : Series
    **asked : bool for each name in `EXTRAS`

    Returns
    -------
    extras : list of Extra, that were asked for and are possible.
    notes : list of str, why the others are not, and what is odd about these.

    Raises
    ------
    HeadrestError
        Where a package that is needed is not installed.
    """
    extras, notes = [], []
    for name, extra in EXTRAS.items():
        if not asked[name]:
            continue
        require(extra.package)
        if reason := extra.why_not(series):
            notes.append(f"no {extra.file}: {reason}")
        else:
            extras.append(extra)
    if EXTRAS["nifti"] in extras and is_sheared(series):
        notes.append("headrest.nii.gz is sheared as the tilted slices are: ITK will not open it")
    return extras, notes
