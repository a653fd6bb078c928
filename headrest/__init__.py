"""Take the headrest out of head CT: DICOM folder in, cleaned DICOM series out."""

__version__ = "0.1.0"

from headrest.clean import clean_series, clean_tree, find_support
from headrest.dicom import read_series, write_derived_series
from headrest.errors import HeadrestError
from headrest.hounsfield import rescale, window
from headrest.labels import label_series, label_slice
from headrest.metrics import dice, iou, lost_ml, residual_ml

__all__ = [
    "HeadrestError",
    "clean_series",
    "clean_tree",
    "dice",
    "find_support",
    "iou",
    "label_series",
    "label_slice",
    "lost_ml",
    "read_series",
    "rescale",
    "residual_ml",
    "window",
    "write_derived_series",
]
