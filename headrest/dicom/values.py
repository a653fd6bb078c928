"""Read attributes that may be missing or damaged, and check that the values of a slice are HU."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from pydicom import Dataset, uid
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import Tag

from headrest.hounsfield import AIR, DENSE_HU, PADDING_BELOW
from headrest.util.errors import HeadrestError

CACHED_VRS, CACHED_BYTES = {"CS", "DS", "IS", "UI", "US", "TM"}, 128
"""VRs that no character set affects, and length of the values whose conversion is cached: most
values of a slice are those of the slice before, and conversion is half the time of a search."""

EXTENDED_INTERCEPT = -8192
"""Intercept of the extended CT scale; only with it are values up to 57343 HU plausible."""

SLOPE_RANGE = (0.001, 100)
"""Plausible size of Rescale Slope; outside it 16 bits hold no CT scale."""

ENHANCED_CLASSES = (uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage)
CT_CLASSES = {uid.CTImageStorage, *ENHANCED_CLASSES}
PLACE = (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6))
CT_KEYWORDS = ["RescaleSlope", "RescaleIntercept", "PixelSpacing", *dict(PLACE)]
"""Attributes that an image of Modality CT with an anonymised class must have."""

PADDING_KEYWORDS = ("PixelPaddingValue", "PixelPaddingRangeLimit")

WRAP, MIN_AIR_SHARE = 4096, 0.02
"""Modulus of 12-bit values, and share of pixels that must be air once they are read as signed."""

OTHER_QUANTITIES = {"OD", "MGML", "Z_EFF", "ED", "EDW", "PCT"}
"""Rescale Types that are not HU (PS3.3 C.11.1.1.2)."""


def value_of(header: Dataset, keyword: str | tuple[int, int]) -> Any:
    """Read an attribute as pydicom does; None where it is missing. Do not change it."""
    raw = header.get_item(tag := _tag(keyword))
    if isinstance(raw, RawDataElement) and raw.VR in CACHED_VRS and 0 < raw.length <= CACHED_BYTES:
        return _converted(raw._replace(value_tell=0))
    return None if raw is None else header[tag].value


_tag = lru_cache(Tag)


@lru_cache(4096)
def _converted(raw):
    return convert_raw_data_element(raw).value


def numbers(header: Dataset, keyword: str | tuple[int, int], count: int) -> np.ndarray | None:
    """Read an attribute as a float array of `count` finite numbers; None where it is not that."""
    try:
        value = value_of(header, keyword)
        values = np.array(value, float).reshape(count)
    except Exception:  # pydicom converts a value on access; a damaged one raises any exception
        return None
    # Python reads 1_0 as ten; DICOM does not (PS3.5 6.2).
    return values if np.isfinite(values).all() and "_" not in str(value) else None


def number(header: Dataset, keyword: str | tuple[int, int]) -> float | None:
    """Read an attribute as one finite number, or None."""
    values = numbers(header, keyword, 1)
    return None if values is None else float(values[0])


def text(header: Dataset, keyword: str) -> str:
    """Read an attribute as text; empty where it is missing, empty or damaged."""
    try:
        value = value_of(header, keyword)
    except Exception:
        return ""
    return "" if value is None else str(value)


def has_place(header: Dataset) -> bool:
    """Whether a header has a readable position and orientation."""
    return all(numbers(header, *place) is not None for place in PLACE)


def is_unit_pair(axes: np.ndarray) -> bool:
    """Whether six numbers are two unit vectors at right angles (PS3.3 C.7.6.2.1.1)."""
    row, column = axes[:3], axes[3:]
    unit = max(abs(row @ row - 1), abs(column @ column - 1)) <= 0.02
    return bool(unit and abs(row @ column) <= 0.01)


def drop_private_elements(dataset: Dataset) -> None:
    """Delete every private element (PS3.5 7.8) of a dataset and of its sequences.

    Dataset.remove_private_tags reads every element, and fails at the first damaged one.
    """
    for tag in list(dataset.keys()):
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else dataset.get_item(tag).VR
        if tag.is_private:
            del dataset[tag]
        elif vr in ("SQ", "UN", None) and dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                drop_private_elements(item)


def stored_padding(header: Dataset) -> dict[str, int] | None:
    """Padding attributes as stored values of this image; None where no pixel can have one.

    Their VR is ambiguous (US or SS, PS3.5 A.2). Files with the wrong one give 63536 for -2000.
    """
    found, size = {}, 1 << header.BitsStored
    for keyword in PADDING_KEYWORDS:
        if keyword not in header or header.get_item(keyword).value in (None, b""):
            continue
        value = number(header, keyword)
        if value is None or not -(1 << 15) <= value < 1 << 16:
            return None
        masked = int(value) % size
        found[keyword] = masked - size * (header.PixelRepresentation and 2 * masked >= size)
        if (found[keyword] - int(value)) % (1 << 16):
            return None
    return found


def check_default_rescale(pair: Sequence[float] | None) -> None:
    """Refuse a default rescale that gives no HU."""
    if pair is not None and (len(pair) != 2 or not np.isfinite(pair).all() or not pair[0]):
        raise HeadrestError(f"default_rescale {tuple(pair)}: not a slope and an intercept")


def identify_ct(header: Dataset) -> tuple[str, str]:
    """Class of a CT image and a warning about it; or no class, and the reason to skip the image."""
    given = value_of(header, "SOPClassUID")
    declared = value_of(header.file_meta, "MediaStorageSOPClassUID")
    if given in CT_CLASSES:
        return given, ""
    if not given and declared in CT_CLASSES:
        return declared, "SOPClassUID is missing: taken from the file meta information"
    sop_class = given or declared or uid.UID("")
    capture = sop_class == uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    if capture and "PerFrameFunctionalGroupsSequence" in header:
        return sop_class, "multi-frame capture with positions: read as CT Image"
    known = not sop_class.is_private and sop_class.name != sop_class
    if not known and value_of(header, "Modality") == "CT" and all(k in header for k in CT_KEYWORDS):
        return uid.CTImageStorage, "SOPClassUID is not a class of the Standard: read as CT Image"
    return "", f"{sop_class.name if known else 'unknown object'}, not a CT image"


def check_wrapped(stored: np.ndarray, header: Dataset, slope: float, intercept: float) -> None:
    """Refuse signed values that were stored as unsigned and wrapped at 4096."""
    if header.PixelRepresentation or stored.max() >= WRAP or stored.min() + intercept <= DENSE_HU:
        return
    wrapped = (stored.astype(np.int32) - WRAP) * slope + intercept
    if np.mean(abs(wrapped - AIR) < AIR - PADDING_BELOW) >= MIN_AIR_SHARE:
        raise HeadrestError(
            f"air has {AIR + WRAP * slope:.0f} HU: signed values were stored as unsigned and "
            "wrapped at 4096; declare them as signed: "
            "dcmodify -m 0028,0101=12 -m 0028,0102=11 -m 0028,0103=1 FILE"
        )


def rescale_pair(header: Dataset, default: Sequence[float] | None) -> tuple[float, float]:
    """Rescale Slope and Intercept, type 1 in a CT image (PS3.3 C.8.2.1); refuse others than HU.

    `default` is used for a header that has neither.
    """
    neither = "RescaleSlope" not in header and "RescaleIntercept" not in header
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if neither and default:
        slope, intercept = map(float, default)
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
    if not SLOPE_RANGE[0] <= abs(slope) <= SLOPE_RANGE[1]:
        raise HeadrestError(f"RescaleSlope {slope:g} gives no HU; export the series again")
    if header.get("ModalityLUTSequence"):  # an empty one holds no table
        raise HeadrestError("has a table (ModalityLUTSequence) besides its rescale; one is wrong")
    if text(header, "RescaleType").upper() in OTHER_QUANTITIES:
        raise HeadrestError("its values are no HU (RescaleType)")
    return slope, intercept


def check_range(stored: np.ndarray, slope: float, intercept: float) -> list[str]:
    """Refuse HU that no scanner measures; return warnings about unusual ones."""
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
    elif lowest > DENSE_HU:
        notes.append("no air anywhere: the image is all tissue, or the rescale is wrong")
    if lowest < EXTENDED_INTERCEPT:
        notes.append(f"values down to {lowest:.0f} HU")
    return notes


def check_volume(hu: np.ndarray) -> None:
    """Refuse NaN, infinity, values that int16 cannot hold, and a volume without air."""
    lowest, highest = float(hu.min()), float(hu.max())
    if not np.isfinite([lowest, highest]).all():
        raise HeadrestError(
            "values are NaN or infinite: replace them with air, np.nan_to_num(hu, nan=-1024)"
        )
    if highest > 32767 or lowest < -32768:
        raise HeadrestError(
            f"values from {lowest:.0f} to {highest:.0f}: no HU; an integer overflow? "
            "Convert to a signed type before the rescale: stored.astype(np.int32)"
        )
    if lowest > DENSE_HU:
        raise HeadrestError(
            f"the lowest value is {lowest:.0f}: expected HU, with air near -1000; "
            "shifted by 1000 or 1024? hu = values - 1024; or scaled to 0..1, or a mask?"
        )


def padding_hu(
    header: Dataset, slope: float, intercept: float
) -> tuple[tuple[float, float] | None, list[str]]:
    """HU (lowest, highest) of Pixel Padding Value and Range Limit, PS3.3 C.7.5.1.1.2; and warnings.

    None where there are no padding attributes, or implausible ones.
    """
    if (stored := stored_padding(header)) is None:
        return None, ["padding value ignored: no pixel can have it"]
    ends = [value * slope + intercept for value in stored.values()]
    if not ends:
        return None, []
    if max(ends) > -900:
        return None, [f"padding value of {max(ends):.0f} HU ignored: tissue has that value too"]
    return (min(ends), max(ends)), []


def declared_notes(header: Dataset) -> list[str]:
    """Warnings about what a header declares; refuse an image that cannot be referred to."""
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        if not text(header, keyword):
            raise HeadrestError(f"{keyword} is missing, so nothing could refer to this image")
    notes, lossy = [], text(header, "LossyImageCompression")
    if header.preamble is None:
        notes.append("no preamble and no meta header: read as Implicit VR Little Endian")
    if lossy == "01":
        notes.append("lossy compression: HU are not those that the scanner measured")
    elif header.file_meta.TransferSyntaxUID in (uid.JPEG2000, uid.HTJ2K) and not lossy:
        notes.append("compression that may be lossy, which the file does not declare")
    if (number(header, "RescaleSlope") or 1) < 0:
        notes.append("RescaleSlope is negative: stored values fall as HU rise")
    if text(header, "BurnedInAnnotation").upper() == "YES":
        notes.append("burned-in annotation: text in the pixels may name the patient")
    if text(header, "RescaleType").upper() not in ("", "HU"):
        notes.append("RescaleType is not HU; read as HU nevertheless")
    return notes
