import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_rescale

from headrest.hounsfield import outside_field_of_view, rescale, window


def test_rescale_equals_pydicom_slice_by_slice_and_keeps_fractions_and_large_values():
    header = dcmread(get_testdata_file("CT_small.dcm"))
    expected = apply_rescale(header.pixel_array, header)
    ours = rescale(header.pixel_array, header.RescaleSlope, header.RescaleIntercept)
    assert np.array_equal(ours, expected)
    stored = np.array([[[100]], [[65535]]], np.uint16)
    both = rescale(stored, np.array([1.0, 0.5]), np.array([-1000.0, 0.0]))
    assert both.ravel().tolist() == [-900, 32767.5]
    assert rescale(stored, 1, -8192).ravel().tolist() == [-8092, 57343]


@pytest.mark.parametrize(
    ("hu", "padding", "outside"),
    [
        (-3024.0, (-3024.0, -3024.0), True),  # declared
        (-2016.0, (-3024.0, -3024.0), True),  # rings beside what is declared
        (-1500.0, None, True),  # not declared
        (-1005.0, (-1010.0, -1000.0), True),  # a declared range within air
        (-1090.0, None, False),  # noise in air
        (-1000.0, (-3024.0, -3024.0), False),
    ],
)
def test_padding_rule(hu, padding, outside):
    assert outside_field_of_view(np.array([hu]), padding).tolist() == [outside]


def test_window_ends():
    assert window(np.array([0.0, 40.0, 80.0, 500.0]), 40, 80).tolist() == [0, 0.5, 1, 1]
