"""What a header holds, whatever is wrong with it."""

import math
from functools import lru_cache

import numpy as np
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import Tag

ALIKE, SHORT = {"CS", "DS", "IS", "UI", "US"}, 128
"""VRs whose values mean the same in whatever character set, and bytes that are worth keeping."""


def numbers(header, keyword, count):
    """Read an attribute as finite numbers.

    Parameters
    ----------
    header : pydicom.Dataset
    keyword : str
    count : int, how many values it must have.

    Returns
    -------
    float array (count,), or None where it is missing, empty, of another length, or no number.
    """
    try:
        values = np.array(_numeric(header, keyword), float).reshape(count)
    except Exception:
        return None
    return values if np.isfinite(values).all() else None


def number(header, keyword):
    """Read an attribute as one finite number (float), or None."""
    try:
        value = float(_numeric(header, keyword))
    except Exception:
        return None
    return value if math.isfinite(value) else None


def _numeric(header, keyword):
    # pydicom converts a value when it is asked for, and a damaged one raises anything.
    value = value_of(header, keyword)
    if "_" in str(value):  # Python takes 1_0 for ten; DICOM does not (PS3.5 6.2)
        raise ValueError
    return value


def text(header, keyword):
    """Read an attribute as text (str), empty where it is missing, empty or damaged."""
    try:
        value = value_of(header, keyword)
    except Exception:
        return ""
    return "" if value is None else str(value)


def value_of(header, keyword):
    """Read an attribute as pydicom does, to be looked at, not changed; None where it is missing.

    In a series most values are those of the slice before, so what pydicom made of these is kept.
    """
    tag = _tag(keyword)
    raw = header.get_item(tag)
    if raw is None:
        return None
    odd = not isinstance(raw, RawDataElement) or len(raw.value) > SHORT
    if odd or (raw.VR or _vr(tag)) not in ALIKE:
        return header[keyword].value
    return _converted(*raw[:4], raw.is_implicit_VR, raw.is_little_endian)


_tag = lru_cache(Tag)


@lru_cache
def _vr(tag):
    return dictionary_VR(tag) if dictionary_has_tag(tag) else None


@lru_cache(1 << 12)
def _converted(tag, vr, length, value, implicit, little):
    return convert_raw_data_element(
        RawDataElement(tag, vr, length, value, 0, implicit, little)
    ).value


def has_place(header):
    """Whether a header says where its slice lies: position and orientation (bool)."""
    places = (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6))
    return all(numbers(header, keyword, count) is not None for keyword, count in places)


def is_unit_pair(axes):
    """Whether six numbers are two unit vectors at right angles (PS3.3 C.7.6.2.1.1)."""
    row, column = axes[:3], axes[3:]
    unit = max(abs(row @ row - 1), abs(column @ column - 1)) <= 0.02
    return bool(unit and abs(row @ column) <= 0.01)


def drop_private_elements(dataset):
    """Take every private element (PS3.5 7.8) out of a dataset, in its sequences as well.

    Parameters
    ----------
    dataset : pydicom.Dataset
    """
    for tag in list(dataset.keys()):
        if tag.is_private:
            del dataset[tag]
        elif _may_be_sequence(dataset, tag) and dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                drop_private_elements(item)


def _may_be_sequence(dataset, tag):
    # pydicom's own way reads every element, and fails at the first damaged one.
    if dictionary_has_tag(tag):
        return dictionary_VR(tag) == "SQ"
    return dataset.get_item(tag).VR in ("SQ", "UN", None)
