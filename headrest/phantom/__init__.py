"""Synthetic head CT on a support, with its exact truth."""

from headrest.phantom.catalogue import KINDS as _SUPPORTS
from headrest.phantom.effects import TESTS as _EFFECTS
from headrest.phantom.materials import LIVING
from headrest.phantom.series import synthesize_patients, write_dicom
from headrest.phantom.study import Study, draw_parameters, render, synthesize, undecided

SUPPORTS = tuple(_SUPPORTS)
EFFECTS = tuple(_EFFECTS)

__all__ = [
    "EFFECTS",
    "LIVING",
    "SUPPORTS",
    "Study",
    "draw_parameters",
    "render",
    "synthesize",
    "synthesize_patients",
    "undecided",
    "write_dicom",
]
