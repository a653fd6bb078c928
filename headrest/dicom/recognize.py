"""Recognize a series without reading its pixels."""

from types import SimpleNamespace

import numpy as np
from pydicom.tag import Tag

from headrest.dicom.find import SeriesFiles
from headrest.dicom.geometry import order_slices
from headrest.dicom.header import quiet, read_header
from headrest.dicom.series import Series

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
        "PixelSpacing",
    )
}
"""All that tells which images a series is made of, and in which order."""


def fingerprint_of(files: SeriesFiles) -> str:
    """Fingerprint of a series, from its headers alone.

    Parameters
    ----------
    files : SeriesFiles

    Returns
    -------
    str, the same as ``load_series(files).fingerprint``.

    Raises
    ------
    Exception
        Of any kind, where a header is damaged; `headrest.dicom.load_series` says what is wrong.
    """
    with quiet():
        slices: dict[str, SimpleNamespace] = {}
        for path in files.files:
            header = read_header(path, TAGS, TAGS)
            matrix = np.broadcast_to(np.uint16(0), (header.Rows, header.Columns))
            one = SimpleNamespace(path=path, header=header, stored=matrix)
            slices.setdefault(str(header.SOPInstanceUID), one)
        ordered, _ = order_slices(list(slices.values()))
        headers = tuple(one.header for one in ordered)
        return Series(headers, *[None] * 9).fingerprint  # type: ignore[arg-type]
