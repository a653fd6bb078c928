"""From a folder of DICOM files to a series in HU, and back to a derived series."""

from headrest.dicom.find import find_series
from headrest.dicom.read import load_series, read_series
from headrest.dicom.segmentation import write_segmentation
from headrest.dicom.series import FolderContents, Series, SeriesFiles, series_from_array
from headrest.dicom.write import write_derived_series

__all__ = [
    "FolderContents",
    "Series",
    "SeriesFiles",
    "find_series",
    "load_series",
    "read_series",
    "series_from_array",
    "write_derived_series",
    "write_segmentation",
]
