"""Synthetic head CT on a support, with its exact truth."""

from .catalogue import KINDS as _SUPPORTS
from .effects import TESTS as _EFFECTS
from .materials import LIVING
from .series import synthesize_patients, write_dicom
from .study import Study, draw_parameters, render, synthesize, undecided

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
