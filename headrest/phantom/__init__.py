"""Synthetic head CT on a support, with its exact truth."""

from headrest.phantom.catalogue import KINDS as _SUPPORTS
from headrest.phantom.effects import TESTS as _EFFECTS
from headrest.phantom.limbs import limb_center
from headrest.phantom.materials import LIVING
from headrest.phantom.series import read_truth, synthesize_patients, write_dicom
from headrest.phantom.study import Study, ambiguous_voxels, render, sample_parameters, synthesize

SUPPORTS = tuple(_SUPPORTS)
EFFECTS = tuple(_EFFECTS)

__all__ = [
    "EFFECTS",
    "LIVING",
    "SUPPORTS",
    "Study",
    "ambiguous_voxels",
    "limb_center",
    "read_truth",
    "render",
    "sample_parameters",
    "synthesize",
    "synthesize_patients",
    "write_dicom",
]
