"""Check whether a series shows a head: the networks were trained on heads alone."""

import numpy as np

from headrest.dicom.header import text
from headrest.dicom.series import Series
from headrest.hounsfield import DENSE_HU
from headrest.segment.components import find_components
from headrest.segment.morphology import open_mask

OTHER_PARTS = (
    *("CHEST", "THORAX", "LUNG", "HEART", "BREAST", "ABDOMEN", "LIVER", "KIDNEY", "PELVIS"),
    *("SPINE", "SHOULDER", "ELBOW", "WRIST", "HAND", "FEMUR", "KNEE", "ANKLE", "FOOT", "EXTREMITY"),
)
"""Words in Body Part Examined (0018,0015) that exclude a head, DICOM PS3.16 Annex L."""

MAX_HEAD_MM, WIDE_SHARE = 280.0, 0.5
"""No head is larger across. Shoulders are: up to this share of the slices of a head shows them."""

LUNG_HU, LUNG_MM, LUNG_MM2, LUNG_SHARE = (-950.0, -600.0), 4.0, 5000.0, 1 / 3
"""HU, least thickness and area of lung in a slice: air in sinuses and in skull phantoms is darker
or smaller. Up to this share of the slices of a neck shows the tips of lungs."""

MAX_SLICES = 24
"""Slices to measure, evenly spaced."""


def other_anatomy(series: Series, support: np.ndarray) -> list[str]:
    """Warn if a series may show another part of the body than a head.

    Parameters
    ----------
    series : Series
    support : bool array (slices, rows, columns), the support that was found.

    Returns
    -------
    list of str: one warning, or none. No warning is no proof: legs are no wider than heads.

    Notes
    -----
    A header that says HEAD is ignored, one that says CHEST is reported: Body Part Examined comes
    from the protocol, and was wrong in 15 % of the images of M. O. Gueld et al., Proc. SPIE 4685
    (2002) 280.
    """
    reasons = _from_header(series) + _from_pixels(series, support)
    if not reasons:
        return []
    return [f"another body part than a head? {'; '.join(reasons)}. Look at the result"]


def _from_header(series):
    examined = "".join(text(one, "BodyPartExamined") for one in series.headers[:1]).upper()
    parts = [part for part in OTHER_PARTS if part in examined]  # report these words only
    return [f"the header says {parts[0]}"] if parts else []


def _from_pixels(series, support):
    chosen = np.unique(np.linspace(0, len(series) - 1, MAX_SLICES).astype(int))
    sizes = [_measure(series.hu[i], support[i], series.spacing_mm[1:]) for i in chosen]
    across, lungs = np.array([size for size in sizes if size] or [(0, 0)]).T
    wide, dark = (across > MAX_HEAD_MM).mean(), (lungs > LUNG_MM2).mean()
    reasons = []
    if wide > WIDE_SHARE:
        reasons.append(f"{across.max():.0f} mm across, and over {MAX_HEAD_MM:.0f} in most slices")
    if dark > LUNG_SHARE:
        reasons.append(f"air as of lungs in {dark:.0%} of the slices")
    return reasons


def _measure(hu, support, spacing_mm):
    """Size in mm of the largest component of the patient, and mm2 of lung in it; or None."""
    labels, count = find_components((hu > DENSE_HU) & ~support)
    if not count:
        return None
    patient = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    spans = [np.ptp(np.flatnonzero(patient.any(axis))) + 1 for axis in (1, 0)]
    lung = open_mask(patient & (hu >= LUNG_HU[0]) & (hu <= LUNG_HU[1]), LUNG_MM, spacing_mm)
    return max(np.multiply(spans, spacing_mm)), lung.sum() * np.prod(spacing_mm)
