"""Read one axial CT series into HU, slice by slice, and refuse what cannot be trusted.

Every rule is a small function; `_read_slice` and `load_series` list them in order.
"""

import warnings
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from pydicom import dcmread
from pydicom.uid import HTJ2K, JPEG2000, JPEGLSNearLossless
from tqdm.auto import tqdm

from headrest.dicom.attributes import number
from headrest.dicom.find import SeriesFiles, find_series
from headrest.dicom.geometry import order_slices
from headrest.dicom.pixels import PADDING, as_stored, decode
from headrest.dicom.series import Series
from headrest.errors import HeadrestError

EXTENDED_INTERCEPT = -8192
"""Scanners that offer an extended CT scale start it here; only there is 57343 HU a value."""


def read_series(
    folder, series_uid=None, *, acquisition=None, by_instance_number=False, default_rescale=None
):
    """Read the one axial CT series of a folder.

    Parameters
    ----------
    folder : path
        A single file, or a folder that is walked to the bottom; localizers, captures and files
        that are not DICOM are skipped.
    series_uid : str, optional
        Which series, where the folder holds several.
    acquisition : int, optional
        Keep only images with this Acquisition Number (0020,0012).
    by_instance_number : bool
        Accept images without position or orientation, and sort them by Instance Number.
    default_rescale : (slope, intercept), optional
        For images without rescale attributes. Without it they are refused: their stored
        values would pass for HU.

    Returns
    -------
    Series

    Raises
    ------
    HeadrestError
        Where there is no series, more than one, or one whose values or geometry cannot be
        trusted; the text names the file.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> read_series(get_testdata_file("CT_small.dcm")).hu.shape
    (1, 128, 128)
    """
    contents = find_series(folder)
    if contents.broken:
        raise contents.broken[0]
    chosen = _choose(folder, contents, series_uid)
    series = load_series(
        chosen,
        acquisition=acquisition,
        by_instance_number=by_instance_number,
        default_rescale=default_rescale,
    )
    return replace(series, warnings=contents.warnings + series.warnings)


def _choose(folder, contents, series_uid):
    found = [s for s in contents.series if series_uid in (None, s.uid)]
    if not found:
        listed = "; ".join(contents.warnings) or "the folder is empty"
        raise HeadrestError(f"{folder}: no axial CT series found ({listed})")
    if len(found) > 1:
        listed = "\n  ".join(str(s) for s in found)
        raise HeadrestError(f"{folder}: choose one series by its UID:\n  {listed}")
    return found[0]


@dataclass(frozen=True)
class _Slice:
    path: object
    header: object
    stored: np.ndarray
    slope: float
    intercept: float
    padding_hu: tuple | None
    warnings: tuple[str, ...]


def load_series(
    series_files: SeriesFiles, *, acquisition=None, by_instance_number=False, default_rescale=None
):
    """Read the pixels of one series that `find_series` found; see `read_series`."""
    slices, notes = [], []
    for path in tqdm(series_files.files, desc="reading", unit="slice", delay=2, leave=False):
        one = _read_slice(path, default_rescale)
        if acquisition is None or number(one.header, "AcquisitionNumber") == acquisition:
            slices.append(one)
    if not slices:
        folder = series_files.files[0].parent
        raise HeadrestError(f"{folder}: no image has Acquisition Number {acquisition}")
    slices, geometry = order_slices(_drop_copies(slices, notes), by_instance_number)
    notes += geometry.warnings + _value_notes(slices)
    return Series(
        headers=tuple(s.header for s in slices),
        stored=np.stack([s.stored for s in slices]),
        slopes=np.array([s.slope for s in slices]),
        intercepts=np.array([s.intercept for s in slices]),
        padding_hu=tuple(s.padding_hu for s in slices),
        positions=geometry.positions,
        orientation=geometry.orientation,
        spacing_mm=geometry.spacing_mm,
        tilt_deg=geometry.tilt_deg,
        warnings=tuple(notes),
    )


def _read_slice(path, default_rescale):
    """Read one file, with every failure of it turned into a HeadrestError that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of them is said again in our words
            header = dcmread(path)
            stored, notes = decode(header)
            slope, intercept = _rescale_pair(header, default_rescale)
            notes += _check_range(header, stored, slope, intercept)
            padding, padding_note = _padding_hu(header, slope, intercept)
            notes += padding_note + _declared_notes(header)
    except HeadrestError as error:
        raise HeadrestError(f"{path}: {error}") from error.__cause__
    except Exception as error:  # a damaged element surfaces wherever it is first touched
        # What pydicom says quotes values, and a value may name the patient.
        raise HeadrestError(f"{path}: cannot be read ({type(error).__name__})") from error
    return _Slice(path, header, stored, slope, intercept, padding, tuple(notes))


def _rescale_pair(header, default):
    """Rescale Slope and Intercept, type 1 in a CT image (PS3.3 C.8.2.1)."""
    if "RescaleSlope" not in header and "RescaleIntercept" not in header and default:
        return float(default[0]), float(default[1])
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if slope is None or intercept is None:
        raise HeadrestError(
            "RescaleSlope or RescaleIntercept is missing or not a number, so its values are not "
            "HU; where both are missing and you know them: default_rescale=(slope, intercept)"
        )
    if slope == 0:
        raise HeadrestError("RescaleSlope is 0, so every pixel would have the same HU")
    return slope, intercept


def _check_range(header, stored, slope, intercept):
    ends = [float(v) * slope + intercept for v in (stored.min(), stored.max())]
    highest = max(ends)
    if highest > 32767 and intercept > EXTENDED_INTERCEPT:
        raise HeadrestError(
            f"values up to {highest:.0f} HU: signed values were declared unsigned "
            "(PixelRepresentation); export the series again"
        )
    if highest > 16000:
        return [f"values up to {highest:.0f} HU"]
    return []


def _padding_hu(header, slope, intercept):
    """HU of Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2), and a note if odd."""
    ends = [number(header, keyword) for keyword in PADDING]
    ends = [as_stored(v, header) * slope + intercept for v in ends if v is not None]
    if not ends:
        return None, []
    low, high = min(ends), max(ends)
    if high > -900:
        return None, [f"padding value of {high:.0f} HU ignored: tissue has that value too"]
    return (low, high), []


def _declared_notes(header):
    if not header.get("SOPInstanceUID"):
        raise HeadrestError("SOPInstanceUID is missing, so nothing could refer to this image")
    notes, syntax = [], header.file_meta.TransferSyntaxUID
    if syntax == JPEGLSNearLossless:
        header.LossyImageCompression = "01"  # whether the file admits it or not
    lossy = str(header.get("LossyImageCompression", ""))
    if lossy == "01":
        notes.append("lossy compression: HU are not those that the scanner measured")
    elif syntax in (JPEG2000, HTJ2K) and not lossy:
        notes.append("compression that may be lossy, and the file does not say")
    if str(header.get("BurnedInAnnotation", "")).upper() == "YES":
        notes.append("burned-in annotation: text in the pixels may name the patient")
    return notes


def _drop_copies(slices, notes):
    """One image a SOP Instance UID; the same UID on another image is refused."""
    kept = {}
    for one in slices:
        twin = kept.setdefault(str(one.header.SOPInstanceUID), one)
        places = [s.header.get("ImagePositionPatient") for s in (one, twin)]
        if places[0] != places[1] or not np.array_equal(twin.stored, one.stored):
            raise HeadrestError(
                f"{one.path} and {twin.path.name} share a SOP Instance UID but not their "
                "pixels or place; keep the right one"
            )
    if len(kept) < len(slices):
        notes.append(f"{len(slices) - len(kept)} copies of the same image dropped")
    return list(kept.values())


def _value_notes(slices):
    counts = Counter(note for s in slices for note in s.warnings)
    notes = [f"{note} ({n} of {len(slices)} slices)" for note, n in counts.items()]
    if len({(s.slope, s.intercept) for s in slices}) > 1:
        notes.append("rescale differs from slice to slice: each has its own applied")
    return notes
