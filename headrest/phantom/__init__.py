"""Synthetic head CT on a support, with its exact truth."""

from headrest.phantom.chest_limbs import limb_center
from headrest.phantom.dicom import read_truth, synthesize_patients, write_dicom
from headrest.phantom.materials import LIVING
from headrest.phantom.study import Study, render, sample_parameters, synthesize
from headrest.phantom.supports import CATALOGUE as _CATALOGUE

SUPPORTS = tuple(_CATALOGUE)

__all__ = [
    "LIVING",
    "SUPPORTS",
    "Study",
    "limb_center",
    "read_truth",
    "render",
    "sample_parameters",
    "synthesize",
    "synthesize_patients",
    "write_dicom",
]
