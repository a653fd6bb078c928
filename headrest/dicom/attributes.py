"""Read attributes of a header in which any value may be missing or damaged."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import BaseTag, Tag

CACHED_VRS, CACHED_BYTES = {"CS", "DS", "IS", "UI", "US", "TM"}, 128
"""VRs that no character set affects, and length of the values whose conversion is cached: most
values of a slice are those of the slice before, and conversion is half the time of a search."""


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


def numbers(header: Dataset, keyword: str, count: int) -> np.ndarray | None:
    """Read an attribute as `count` finite numbers.

    Returns
    -------
    float array (count,), or None where the value is missing, malformed or of another length.
    """
    try:
        values = np.array(_numeric(header, keyword), float).reshape(count)
    except Exception:  # pydicom converts a value on access; a damaged one raises any exception
        return None
    return values if np.isfinite(values).all() else None


def number(header: Dataset, keyword: str | tuple[int, int]) -> float | None:
    """Read an attribute as one finite number, or None."""
    try:
        value = float(_numeric(header, keyword))
    except Exception:
        return None
    return value if math.isfinite(value) else None


def _numeric(header, keyword):
    value = value_of(header, keyword)
    if "_" in str(value):  # Python reads 1_0 as ten; DICOM does not (PS3.5 6.2)
        raise ValueError
    return value


def text(header: Dataset, keyword: str) -> str:
    """Read an attribute as text; empty where it is missing, empty or damaged."""
    try:
        value = value_of(header, keyword)
    except Exception:
        return ""
    return "" if value is None else str(value)


def has_place(header: Dataset) -> bool:
    """Whether a header has a readable position and orientation."""
    places = (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6))
    return all(numbers(header, keyword, count) is not None for keyword, count in places)


def is_unit_pair(axes: np.ndarray) -> bool:
    """Whether six numbers are two unit vectors at right angles (PS3.3 C.7.6.2.1.1)."""
    row, column = axes[:3], axes[3:]
    unit = max(abs(row @ row - 1), abs(column @ column - 1)) <= 0.02
    return bool(unit and abs(row @ column) <= 0.01)


def drop_private_elements(dataset: Dataset) -> None:
    """Delete every private element (PS3.5 7.8) of a dataset and of its sequences."""
    for tag in list(dataset.keys()):
        if tag.is_private:
            del dataset[tag]
        elif _may_be_sequence(dataset, tag) and dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                drop_private_elements(item)


def _may_be_sequence(dataset: Dataset, tag: BaseTag) -> bool:
    # Dataset.remove_private_tags reads every element, and fails at the first damaged one.
    if dictionary_has_tag(tag):
        return dictionary_VR(tag) == "SQ"
    return dataset.get_item(tag).VR in ("SQ", "UN", None)
