"""Is this a head at all? The networks have seen nothing else."""

import numpy as np

from headrest.dicom.attributes import text
from headrest.hounsfield import SUPPORT_HU
from headrest.segment.components import between, find_components, largest
from headrest.segment.morphology import open_mask

OTHER_PARTS = (
    *("CHEST", "THORAX", "LUNG", "HEART", "BREAST", "ABDOMEN", "LIVER", "KIDNEY", "PELVIS"),
    *("SPINE", "SHOULDER", "ELBOW", "WRIST", "HAND", "FEMUR", "KNEE", "ANKLE", "FOOT", "EXTREMITY"),
)
"""What Body Part Examined (0018,0015) may say that is no head, DICOM PS3.16 Annex L."""

HEAD_MM, WIDE_SHARE = 280.0, 0.5
"""No head is larger across, but shoulders are, and they may stand in some slices of a head."""

LUNG_HU, LUNG_MM, LUNG_MM2, LUNG_SHARE = (-950.0, -600.0), 4.0, 5000.0, 1 / 3
"""Air of sinuses and of hollow skulls is darker than lungs, or smaller; the tips of lungs may
stand in some slices of a neck."""

ASKED = 24
"""Slices, at most, that are looked at, spread evenly."""


def other_anatomy(series, device):
    """Say why a series may show another part of the body than a head.

    Parameters
    ----------
    series : Series
    device : bool array (slices, rows, columns), the support that was found.

    Returns
    -------
    list of str: one warning, or none. That there is none proves nothing: legs are no wider than
    heads, and headers are often wrong.

    Notes
    -----
    A header that says HEAD is not believed, one that says CHEST is passed on: Body Part Examined
    comes from the protocol that was chosen, and was wrong in 15 % of the images of M. O. Gueld et
    al., Proc. SPIE 4685 (2002) 280.
    """
    reasons = _named(series) + _seen(series, device)
    if not reasons:
        return []
    return [f"another body part than a head? {'; '.join(reasons)}. Look at the result"]


def _named(series):
    said = text(series.headers[0], "BodyPartExamined").upper()
    named = [part for part in OTHER_PARTS if part in said]  # never more of it than these words
    return [f"the header says {named[0]}"] if named else []


def _seen(series, device):
    chosen = np.unique(np.linspace(0, len(series) - 1, ASKED).astype(int))
    sizes = [_measure(series.hu[i], device[i], series.spacing_mm[1:]) for i in chosen]
    across, lungs = np.array([size for size in sizes if size] or [(0, 0)]).T
    wide, dark = (across > HEAD_MM).mean(), (lungs > LUNG_MM2).mean()
    reasons = []
    if wide > WIDE_SHARE:
        reasons.append(f"{across.max():.0f} mm across, and over {HEAD_MM:.0f} in most slices")
    if dark > LUNG_SHARE:
        reasons.append(f"air as of lungs in {dark:.0%} of the slices")
    return reasons


def _measure(hu, device, spacing_mm):
    """Millimetres across the largest piece of the patient, and mm2 of lung in it; or None."""
    piece = largest(find_components((hu > SUPPORT_HU) & ~device)[0])
    if not piece.any():
        return None
    spans = [np.ptp(np.flatnonzero(piece.any(axis))) + 1 for axis in (1, 0)]
    lung = open_mask(piece & between(hu, LUNG_HU), LUNG_MM, spacing_mm)
    return max(np.multiply(spans, spacing_mm)), lung.sum() * np.prod(spacing_mm)
