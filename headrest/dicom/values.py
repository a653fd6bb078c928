"""Whether the values of one slice are HU, and what is odd about them."""

import numpy as np
from pydicom.uid import HTJ2K, JPEG2000

from headrest.dicom.attributes import number, text
from headrest.dicom.pixels import PADDING, as_stored, fits
from headrest.hounsfield import PADDING_BELOW, SUPPORT_HU
from headrest.util.errors import HeadrestError

EXTENDED_INTERCEPT = -8192
"""Scanners that offer an extended CT scale start it here; only there is 57343 HU a value."""

SLOPES = (0.001, 100)
"""HU from one stored value to the next; outside this, 16 bits hold no CT scale."""

NOT_HU = {"OD", "MGML", "Z_EFF", "ED", "EDW", "PCT"}
"""Rescale Types of other quantities (PS3.3 C.11.1.1.2)."""


def check_default_rescale(pair):
    """Refuse a rescale that somebody said and that gives no HU."""
    if pair is not None and (len(pair) != 2 or not np.isfinite(pair).all() or not pair[0]):
        raise HeadrestError(f"default_rescale {tuple(pair)}: not a slope and an intercept")


def rescale_pair(header, default):
    """Rescale Slope and Intercept, type 1 in a CT image (PS3.3 C.8.2.1).

    Parameters
    ----------
    header : pydicom.Dataset
    default : (slope, intercept), or None; for a header that has neither.

    Returns
    -------
    (slope, intercept), floats

    Raises
    ------
    HeadrestError
        Where they give no HU.
    """
    neither = "RescaleSlope" not in header and "RescaleIntercept" not in header
    if neither and default:
        slope, intercept = (float(value) for value in default)
    else:
        slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if slope is None or intercept is None:
        raise HeadrestError(
            "RescaleSlope and RescaleIntercept are missing, so its values are not HU; if you know "
            "them: default_rescale=(slope, intercept), or --default-rescale"
            if neither
            else "RescaleSlope or RescaleIntercept is missing or no number, so its values are not "
            "HU; export the series again"
        )
    if slope == 0:
        raise HeadrestError("RescaleSlope is 0, so every pixel would have the same HU")
    if not SLOPES[0] <= abs(slope) <= SLOPES[1]:
        raise HeadrestError(f"RescaleSlope {slope:g} gives no HU; export the series again")
    if header.get("ModalityLUTSequence"):  # an empty one holds no table
        raise HeadrestError("a table (ModalityLUTSequence) beside its rescale; which is true?")
    if text(header, "RescaleType").upper() in NOT_HU:
        raise HeadrestError("its values are no HU (RescaleType)")
    return slope, intercept


def check_range(stored, slope, intercept):
    """Refuse HU that no scanner measures; return notes (list of str) on those that are odd."""
    lowest, highest = sorted(float(v) * slope + intercept for v in (stored.min(), stored.max()))
    if highest > 65535 or (highest > 32767 and intercept > EXTENDED_INTERCEPT):
        raise HeadrestError(
            f"values up to {highest:.0f} HU: signed values were declared unsigned "
            "(PixelRepresentation), or the rescale is wrong; export the series again"
        )
    notes = []
    if highest > 16000:
        notes.append(f"values up to {highest:.0f} HU")
    if highest < PADDING_BELOW:
        notes.append("nothing above -1100 HU: nothing was measured, or the rescale is wrong")
    elif lowest > SUPPORT_HU:
        notes.append("no air anywhere: the image is all tissue, or the rescale is wrong")
    if lowest < EXTENDED_INTERCEPT:
        notes.append(f"values down to {lowest:.0f} HU")
    return notes


def padding_hu(header, slope, intercept):
    """HU of Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2).

    Returns
    -------
    (lowest, highest) in HU, or None where there are none to be believed; and notes (list of str).
    """
    present = [k for k in PADDING if k in header and header.get_item(k).value not in (None, b"")]
    ends = [number(header, keyword) for keyword in present]
    if any(value is None or not fits(value, header) for value in ends):
        return None, ["padding value ignored: it is none that a pixel can have"]
    if not ends:
        return None, []
    ends = [as_stored(value, header) * slope + intercept for value in ends]
    low, high = min(ends), max(ends)
    if high > -900:
        return None, [f"padding value of {high:.0f} HU ignored: tissue has that value too"]
    return (low, high), []


def declared_notes(header):
    """Notes (list of str) on what a header says of its pixels."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"):
        if not text(header, keyword):
            raise HeadrestError(f"{keyword} is missing, so nothing could refer to this image")
    notes, lossy = [], text(header, "LossyImageCompression")
    if lossy == "01":
        notes.append("lossy compression: HU are not those that the scanner measured")
    elif header.file_meta.TransferSyntaxUID in (JPEG2000, HTJ2K) and not lossy:
        notes.append("compression that may be lossy, and the file does not say")
    if text(header, "BurnedInAnnotation").upper() == "YES":
        notes.append("burned-in annotation: text in the pixels may name the patient")
    if text(header, "RescaleType").upper() not in ("", "HU"):
        notes.append("RescaleType is not HU; read as HU nevertheless")
    return notes
