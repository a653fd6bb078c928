"""Recognize a series without decoding its pixels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from pydicom.tag import Tag

from headrest.dicom.attributes import number
from headrest.dicom.find import SeriesFiles
from headrest.dicom.geometry import order_slices
from headrest.dicom.header import quiet, read_header
from headrest.dicom.series import Series
from headrest.util.files import sha256

TAGS = {
    int(Tag(keyword))
    for keyword in (
        "SOPInstanceUID",
        "SliceThickness",
        "SeriesInstanceUID",
        "AcquisitionNumber",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "Rows",
        "Columns",
        "InstanceNumber",
        "RescaleSlope",
        "RescaleIntercept",
        "PixelSpacing",
    )
}
"""All that tells which images a series is made of, in which order, and whether as they say."""


def fingerprint_of(
    files: SeriesFiles, acquisition=None, by_instance_number=False, default_rescale=None
) -> str:
    """Fingerprint of a series, from its headers and the bytes of its files.

    Parameters
    ----------
    files : SeriesFiles
    acquisition, by_instance_number, default_rescale : see `headrest.dicom.read_series`.

    Returns
    -------
    str, the same as ``load_series(files, ...).fingerprint``.

    Raises
    ------
    Exception
        Of any kind, where a header is damaged, or two files of one image are no copies to the
        byte; `headrest.dicom.load_series` says what is wrong, if anything is.
    """
    with quiet():
        slices: dict[str, SimpleNamespace] = {}
        for path in files.files:
            header = read_header(path, TAGS, TAGS)
            matrix = np.broadcast_to(np.uint16(0), (header.Rows, header.Columns))
            one = SimpleNamespace(path=path, header=header, stored=matrix)
            if acquisition in (None, number(header, "AcquisitionNumber")):
                twin = slices.setdefault(str(header.SOPInstanceUID), one)
                if twin is not one and sha256(twin.path) != sha256(path):
                    raise ValueError("two files of one image")
        ordered, _ = order_slices(list(slices.values()), by_instance_number)
        headers, paths = zip(*((one.header, one.path) for one in ordered))
        pairs = np.broadcast_to(default_rescale or (1, 0), (len(headers), 2)).T
        unread: list[Any] = [None] * 6
        return Series(headers, unread[0], *pairs, *unread, files=paths).fingerprint  # type: ignore
