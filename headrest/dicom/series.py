"""One axial CT series: its files, in memory, or made from an array of HU."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from headrest.dicom.geometry import PIXEL_SPACING_RANGE_MM, slice_normal, tilt_deg
from headrest.dicom.header import PLACE, is_nifti, number, numbers
from headrest.dicom.pixels import check_volume
from headrest.hounsfield import FLOOR, outside_field_of_view, rescale
from headrest.util import HeadrestError, cores, counted, plain
from headrest.util.files import sha256

MAX_SHOWN = 64  # characters of a value in a message; DICOM's limit of a long string, LO (PS3.5 6.2)
MAX_SLICE_SPACING_MM = 100.0  # above it, the number is no distance in mm
FIELD_RANGE_MM = (30.0, 1500.0)  # no head is narrower, and no scanner reconstructs more

# For messages, a call that works.
CALL = "series_from_array(hu, spacing_mm=(5.0, 0.5, 0.5))  # hu[slices, rows, columns]; z, y, x"


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one axial CT series, or of one stack of it."""

    uid: str  # Series Instance UID
    number: str  # Series Number
    description: str  # Series Description
    files: tuple[Path, ...]  # one per image; a multi-frame file is named once per frame
    stack: str = ""  # its name, where the series has several; see `headrest.dicom.stacks`
    warnings: tuple[str, ...] = ()  # images that were left out, and how stacks were separated
    damaged: tuple[str, ...] = ()  # damaged files that may belong to the series, with the reason
    frames: tuple[int, ...] = ()  # of multi-frame files the frame of each of `files`, from 1; or 0
    lacks_rescale: bool = False  # whether a default rescale applies
    derived: bool = False  # whether headrest wrote it

    def __str__(self) -> str:
        about = f"series {self.number or '?'}, {self.description or 'no description'}"
        about += f", {self.stack}" if self.stack else ""
        return f"{plain(self.uid)[:MAX_SHOWN]} ({counted(len(self.files), 'image')}, {about})"

    def fingerprint(self, default_rescale: tuple[float, float] | None = None) -> str:
        """Hash the UID, the bytes of the files in any order, frames, and a rescale that applies.

        UIDs alone do not identify: a defaced or re-exported copy may keep those of the original.
        Raises HeadrestError where a file cannot be read.
        """
        try:
            hashes = {path: sha256(path) for path in set(self.files)}
        except OSError as error:
            raise HeadrestError(f"{error.filename}: {error.strerror}; read it again") from error
        images = zip_longest(self.files, self.frames)
        contents = {f"{hashes[path]} {frame or ''}".strip() for path, frame in images}
        words = ["NIfTI" if is_nifti(self.files[0]) else self.uid, *sorted(contents)]
        if default_rescale is not None and self.lacks_rescale:
            words.append("{} {}".format(*map(float, default_rescale)))
        return hashlib.sha256(" ".join(words).encode()).hexdigest()


@dataclass(frozen=True)
class Series:
    """One axial CT series, sorted along the slice normal.

    Attributes
    ----------
    headers : tuple of pydicom.Dataset
        One per slice, without pixel data. Empty for a series from NIfTI or from an array.
    stored : int array (slices, rows, columns)
        Stored values, masked to Bits Stored. NIfTI and arrays may be float.
    slopes, intercepts : float array (slices,)
        Rescale Slope (0028,1053) and Rescale Intercept (0028,1052) of each slice.
    padding_hu : for each slice (lowest, highest) HU of its padding tags, or None.
    positions, orientation : float arrays (slices, 3), in mm, and (6,)
        Image Position and Orientation (Patient) (0020,0032), (0020,0037).
    spacing_mm : (z, y, x)
        Median distance of neighbouring slices along their normal, Pixel Spacing (0028,0030).
    warnings : tuple of str, findings in the input and how each was handled.
    files : one Path per slice.
    frames : for multi-frame files the frame of each of `files`, from 1.
    source : SeriesFiles that the series was read from, or None.
    image : the nibabel image that the series was read from, or None.
    """

    headers: tuple
    stored: np.ndarray
    slopes: np.ndarray
    intercepts: np.ndarray
    padding_hu: tuple
    positions: np.ndarray
    orientation: np.ndarray
    spacing_mm: tuple[float, float, float]
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    frames: tuple[int, ...] = ()
    source: SeriesFiles | None = None
    image: Any = None

    @property
    def uid(self) -> str:
        """Series Instance UID (0020,000E); HeadrestError for a series without DICOM headers."""
        if not self.headers:
            raise HeadrestError(f"no Series Instance UID: made from {self.kind}, not from DICOM")
        return str(self.headers[0].SeriesInstanceUID)

    @property
    def kind(self) -> str:
        """Form of the source: "DICOM", "NIfTI" or "array"."""
        return "DICOM" if self.headers else "array" if self.image is None else "NIfTI"

    @property
    def gaps_mm(self) -> np.ndarray:
        """Distances of neighbouring slices along their normal: float array (slices - 1,)."""
        return abs(np.diff(self.positions @ slice_normal(self.orientation)))

    @property
    def why_not_placed(self) -> str:
        """Reason why the positions of slices are unknown; empty where they are known."""
        read = (numbers(header, *place) for header in self.headers for place in PLACE)
        return "its slices have no position" if any(one is None for one in read) else ""

    @property
    def tilt_deg(self) -> float:
        """Angle between the slice normal and the long axis of the table, in degrees."""
        return tilt_deg(self.orientation)

    @cached_property
    def hu(self) -> np.ndarray:
        """HU, float32 (slices, rows, columns); -1024 outside the field of view."""

        def convert(hu, stored, slope, intercept, limits):
            hu[:] = rescale(stored, slope, intercept)
            hu[outside_field_of_view(hu, limits)] = FLOOR

        hu = np.empty(self.stored.shape, np.float32)
        slices = hu, self.stored, self.slopes, self.intercepts, self.padding_hu
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(convert, *slices))
        return hu

    @property
    def padding(self) -> np.ndarray:
        """Bool (slices, rows, columns): outside the field of view; computed at each access."""
        hu = map(rescale, self.stored, self.slopes, self.intercepts)
        return np.stack(list(map(outside_field_of_view, hu, self.padding_hu)))

    def release_hu(self) -> None:
        """Free the memory of `hu`, which is computed again on demand."""
        self.__dict__.pop("hu", None)

    @property
    def steps_mm(self) -> np.ndarray:
        """Steps (3, 3) from a slice, row and column to the next, in mm of x, y and z."""
        axes = self.orientation.reshape(2, 3)
        # Rounded in the files to a length below one, which over a whole row exceeds a micron.
        x_axis, y_axis = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        steps = np.array([slice_normal(self.orientation), y_axis, x_axis])
        return steps * np.reshape(self.spacing_mm, (3, 1))

    @property
    def extent_mm(self) -> np.ndarray:
        """Extent of each slice along the normal, in mm: float array (slices,).

        Half the distance to each neighbour; at a gap, at most Slice Thickness (0018,0050) or
        the median distance.
        """
        gaps = self.gaps_mm
        if not len(gaps):
            return np.array([self.spacing_mm[0]])
        thick = [number(header, "SliceThickness") or 0 for header in self.headers] or [0]
        most = np.maximum(thick, self.spacing_mm[0])
        before, after = np.r_[gaps[0], gaps], np.r_[gaps, gaps[-1]]
        return (np.minimum(before, most) + np.minimum(after, most)) / 2

    @cached_property
    def fingerprint(self) -> str:
        """Hash that identifies the input: of its files and a default rescale, or of its values.

        Raises HeadrestError where a file was deleted after it was read.
        """
        if self.source:
            rescales = zip(self.headers, self.slopes, self.intercepts)
            given = ((m, b) for header, m, b in rescales if header.get("RescaleSlope") is None)
            return self.source.fingerprint(next(given, None))
        grid = self.positions, self.orientation, self.spacing_mm, self.slopes, self.intercepts
        digest = hashlib.sha256(f"{self.stored.dtype} {self.stored.shape}".encode())
        for values in (*map(np.array, grid), self.stored):
            digest.update(np.ascontiguousarray(values).tobytes())
        if self.image is not None:  # its axes and header are kept in the cleaned image
            digest.update(self.image.affine.tobytes() + self.image.header.binaryblock)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.stored)

    def __repr__(self) -> str:
        slices, rows, columns = self.stored.shape
        grid = f"{counted(slices, 'slice')} of {rows} x {columns}, "
        grid += "{:.2f} x {:.3f} x {:.3f} mm".format(*self.spacing_mm)
        tilt = f"tilt {self.tilt_deg:.1f} degrees"
        return f"Series({grid}, {tilt}, {counted(len(self.warnings), 'warning')})"


def check_shape(values: np.ndarray, series: Series, where: str = "") -> None:
    """Refuse a mask, labels or values of another shape than the series; `where` begins the text."""
    given, expected = np.shape(values), series.stored.shape
    if given != expected:
        raise HeadrestError(f"{where}a mask of {given} for slices of {expected}")


def volume_series(
    stored: np.ndarray, grid: tuple, slope: float = 1.0, intercept: float = 0.0, **source: Any
) -> Series:
    """Make a series without DICOM headers; `grid` is positions, orientation and spacing."""
    rescales = np.full((2, len(stored)), [[slope], [intercept]])
    values = (stored, *rescales, (None,) * len(stored), *grid)
    return Series((), *values, **source)  # type: ignore[call-arg]


def series_from_array(hu: np.ndarray, spacing_mm: Sequence[float]) -> Series:
    """Make a series from an array of HU.

    Parameters
    ----------
    hu : int or float array (slices, rows, columns), in HU
        Slices axial, from feet to head; rows from anterior to posterior, columns from the right
        of the patient to the left, as in DICOM.
    spacing_mm : (z, y, x)
        Distance of slices, of rows and of columns, in mm.

    Returns
    -------
    Series without DICOM headers, as `find_support` takes it.

    Raises
    ------
    HeadrestError
        For another type or number of axes, values that are not HU, or a spacing that does not
        fit; the text shows a call that works.

    Examples
    --------
    >>> hu = np.full((4, 64, 48), -1000)
    >>> hu[:, 20:40, 10:30] = 40
    >>> series_from_array(hu, spacing_mm=(5, 3.5, 3.5))
    Series(4 slices of 64 x 48, 5.00 x 3.500 x 3.500 mm, tilt 0.0 degrees, 0 warnings)
    """
    if not hasattr(hu, "__array__"):
        expected = "expected a Series, a path, a nibabel image, or an array of HU"
        raise HeadrestError(f"{type(hu).__name__}: {expected}; for example {CALL}")
    if isinstance(hu, np.ma.MaskedArray):
        raise HeadrestError("a masked array: fill it with air, hu.filled(-1024)")
    stored = np.asarray(hu)
    if stored.dtype.kind not in "iuf":
        raise HeadrestError(f"an array of {stored.dtype}: expected HU as int or float")
    if stored.ndim != 3 or not stored.size:
        what = "one slice is hu[np.newaxis]" if stored.ndim == 2 else "pass one volume at a time"
        raise HeadrestError(f"an array of shape {stored.shape}: {what}; for example {CALL}")
    spacing = _checked_spacing(spacing_mm)
    if stored.shape[0] == stored.shape[1] and 2 * stored.shape[2] <= stored.shape[0]:
        raise HeadrestError(  # axial slices are nearly always square
            f"an array of shape {stored.shape}: slices last, in the order x, y, z? "
            "Expected (slices, rows, columns): hu.transpose(2, 1, 0)"
        )
    if reason := why_no_field(stored.shape, spacing):
        raise HeadrestError(f"spacing_mm={spacing_mm}: {reason}; for example {CALL}")
    check_volume(stored)
    positions = np.outer(np.arange(len(stored)) * spacing[0], [0, 0, 1.0])
    return volume_series(stored, (positions, np.array([1.0, 0, 0, 0, 1, 0]), spacing))


def why_no_field(shape: Sequence[int], spacing_mm: Sequence[float]) -> str:
    """Reason why slices of this shape and spacing (z, y, x) show no head; empty where they may."""
    narrow, wide = sorted(np.multiply(shape[1:], spacing_mm[1:]))
    if FIELD_RANGE_MM[0] <= narrow and wide <= FIELD_RANGE_MM[1]:
        return ""
    matrix, mm = "{} x {}".format(*shape[1:]), narrow if narrow < FIELD_RANGE_MM[0] else wide
    expected = "expected axial slices of 30 to 1500 mm, and a spacing in mm"
    return f"slices of {matrix} pixels would be {mm:.0f} mm wide or high; {expected}"


def _checked_spacing(spacing_mm):
    spacing: tuple[float, ...] = ()
    with suppress(TypeError, ValueError):
        spacing = tuple(map(float, spacing_mm))
    reason, (low, high) = "", PIXEL_SPACING_RANGE_MM
    if len(spacing) != 3:
        reason = "expected three numbers (z, y, x) in mm"
    elif not (np.isfinite(spacing).all() and min(spacing) > 0):
        reason = "each number must be positive"
    elif min(spacing) < low:
        reason = "too small for mm; metres? Multiply by 1000"
    elif max(spacing[1:]) > high or spacing[0] > MAX_SLICE_SPACING_MM:
        reason = "too large for mm; micrometres? Or not in the order (z, y, x)"
    elif spacing[0] == spacing[1] and not 0.5 < spacing[2] / spacing[1] < 2:
        reason = "in the order x, y, z? Expected (z, y, x)"  # pixels are nearly always square
    if reason:
        raise HeadrestError(f"spacing_mm={spacing_mm}: {reason}; for example {CALL}")
    return spacing
