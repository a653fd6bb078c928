"""Small pictures of some slices, kept with a cleaned series for the HTML page."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from headrest.dicom import Series
from headrest.dicom.values import text
from headrest.hounsfield import AIR, DENSE_HU, WIDE, window
from headrest.util.report import SUPPORT_COLOR

PREVIEW_FOLDER = "preview"
"""In the folder of a series; holds 0012.webp for the slice 0012.dcm."""

MOST_PREVIEWS = 6
LARGE, SMALL = 208, 128
"""Longer side of a slice in pixels, where it is flagged and where it is not."""

GAP, MARGIN = 4, 12
PREVIEW_BYTES = 10_000
"""Most bytes of a picture; all of a series thus take less than 60 KB."""


def write_previews(
    folder: Path, series: Series, removed: np.ndarray, flags: Mapping[str, Sequence[int]]
) -> None:
    """Write pictures of some slices: before, with the removed voxels in orange, and after.

    No picture is made where Burned In Annotation (0028,0301; PS3.3 C.7.6.1) is YES: the text in
    the pixels may name the patient.

    Parameters
    ----------
    folder : path of the cleaned series; gets a folder `preview`.
    series : Series
    removed : bool array (slices, rows, columns), the voxels that are filled.
    flags : as `headrest.clean.report.Report.flags`; uncertain and touching slices are larger.
    """
    if any(text(header, "BurnedInAnnotation").upper() == "YES" for header in series.headers):
        return
    large = (flags["uncertain"], flags["touching"])
    numbers = choose_slices(len(series), large, flags["nothing found"])
    box = _box([(series.hu[n - 1] > DENSE_HU) | removed[n - 1] for n in numbers])
    (folder / PREVIEW_FOLDER).mkdir()
    for n in numbers:
        side = LARGE if any(n in group for group in large) else SMALL
        picture = triptych(series.hu[n - 1][box], removed[n - 1][box], series.spacing_mm[1:], side)
        (folder / PREVIEW_FOLDER / f"{n:04d}.webp").write_bytes(encode_preview(picture))


def choose_slices(
    count: int, flagged: Sequence[Sequence[int]] = (), absent: Sequence[int] = ()
) -> list[int]:
    """Choose the slices to show: the flagged ones first, the rest evenly spread.

    Parameters
    ----------
    count : int, slices of the series.
    flagged : sequence of sequences of int
        Numbers (from 1) of the slices that a person should check, the most urgent kind first.
    absent : sequence of int
        Numbers of the slices without support, often just the top of the head; they get half of
        the places that the flagged ones leave.

    Returns
    -------
    list of int, numbers of at most `MOST_PREVIEWS` slices, in order.

    Examples
    --------
    >>> choose_slices(60)
    [6, 16, 26, 36, 46, 56]
    >>> choose_slices(60, [[7, 8]])
    [7, 8, 10, 24, 39, 53]
    >>> choose_slices(60, absent=range(41, 61))
    [7, 21, 34, 44, 51, 57]
    """
    chosen: list[int] = []
    known: set[int] = set()
    for group in flagged:
        chosen += _spread([n for n in group if n not in known], MOST_PREVIEWS - len(chosen))
        known.update(group)
    nothing = [n for n in absent if n not in known]
    rest = [n for n in range(1, count + 1) if n not in known.union(nothing)]
    left = MOST_PREVIEWS - len(chosen)
    chosen += _spread(nothing, max(left // 2, left - len(rest)))
    return sorted(chosen + _spread(rest, MOST_PREVIEWS - len(chosen)))


def _spread(numbers, count):
    """Take the middle of each of `count` equal parts."""
    count = min(count, len(numbers))
    return [numbers[int((k + 0.5) * len(numbers) / count)] for k in range(count)]


def _box(masks):
    """Rows and columns, with a margin, in which any of these has anything."""
    found = np.any(masks, axis=0)
    ends = []
    for axis in (1, 0):
        at = np.flatnonzero(found.any(axis))
        first, last = (at[0], at[-1]) if len(at) else (0, found.shape[1 - axis])
        ends.append(slice(max(first - MARGIN, 0), last + MARGIN + 1))
    return tuple(ends)


def triptych(
    hu: np.ndarray, removed: np.ndarray, spacing_mm: Sequence[float], side: int
) -> Image.Image:
    """Render a slice three times, side by side: before, with `removed` in orange, and after.

    Parameters
    ----------
    hu : float array (rows, columns), in HU.
    removed : bool array of that shape.
    spacing_mm : (y, x) in mm; pixels that are not square keep their aspect.
    side : int, pixels of the longer side of one slice.

    Returns
    -------
    PIL Image, RGB.
    """
    size_mm = np.multiply(hu.shape, spacing_mm)
    height, width = np.maximum(np.rint(side * size_mm / size_mm.max()), 1).astype(int).tolist()
    before, after = (_grey(one, (width, height)) for one in (hu, np.where(removed, AIR, hu)))
    share = Image.fromarray((200 * removed).astype(np.uint8))
    share = share.resize(before.size, Image.Resampling.BOX)
    orange = Image.new("RGB", before.size, ImageColor.getrgb(SUPPORT_COLOR))
    marked = Image.composite(orange, before, share)
    picture = Image.new("RGB", (3 * width + 2 * GAP, height))
    for i, one in enumerate((before, marked, after)):
        picture.paste(one, (i * (width + GAP), 0))
    return picture


def _grey(hu, size):
    grey = Image.fromarray(np.uint8(255 * window(hu, *WIDE)))
    return grey.resize(size, Image.Resampling.LANCZOS).convert("RGB")


def encode_preview(picture: Image.Image) -> bytes:
    """Encode a picture as WebP of at most `PREVIEW_BYTES`: lower quality, then half the size."""
    for quality in (80, 55, 35, 20):
        coded = io.BytesIO()
        picture.save(coded, "WEBP", quality=quality, method=2)  # 4 takes twice the time for 3 %
        if coded.tell() <= PREVIEW_BYTES:
            return coded.getvalue()
    return encode_preview(picture.reduce(2))
