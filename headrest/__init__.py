"""Remove the support from head CT: DICOM or NIfTI in, the same images without the support out."""

from headrest.clean.series import clean_series
from headrest.clean.tree import clean_tree
from headrest.datasets import fetch, fetch_idc
from headrest.dicom import read_series, series_from_array, write_derived_series
from headrest.evaluate.metrics import dice, iou, lost_ml, residual_ml
from headrest.hounsfield import rescale, window
from headrest.segment.labels import label_series, label_slice
from headrest.segment.support import crop_to_patient, find_support
from headrest.util import HeadrestError, __version__

__all__ = [
    "HeadrestError",
    "__version__",
    "clean_series",
    "clean_tree",
    "crop_to_patient",
    "dice",
    "fetch",
    "fetch_idc",
    "find_support",
    "iou",
    "label_series",
    "label_slice",
    "lost_ml",
    "read_series",
    "rescale",
    "residual_ml",
    "series_from_array",
    "window",
    "write_derived_series",
]
