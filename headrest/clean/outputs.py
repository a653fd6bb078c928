"""The files beside the slices of a cleaned series: masks, NIfTI, and pictures for the HTML page."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import numpy as np
from PIL import Image, ImageColor
from scipy.ndimage import binary_erosion

from headrest.dicom import Series, segmentation
from headrest.dicom.header import text
from headrest.dicom.nifti import is_sheared, needs_resampling, why_no_nifti, write_nifti
from headrest.dicom.structures import write_structures
from headrest.dicom.write import fill_hu
from headrest.hounsfield import AIR, DENSE_HU, WIDE, window
from headrest.segment.morphology import bounding_box
from headrest.segment.support import Support
from headrest.util import PATIENT_COLOR, SUPPORT_COLOR
from headrest.util.files import atomic_file

PREVIEW_FOLDER = "preview"  # in the folder of a series; holds 0012.webp for the slice 0012.dcm
SLICE_PICTURES = f"{PREVIEW_FOLDER}/slices.zip"  # of all slices, on request: `write_slices`

MOST_PREVIEWS = 6
LARGE, SMALL = 208, 128  # longer side in pixels of an uncertain or touching slice, and of another
GAP, MARGIN = 4, 12  # pixels between the pictures of a slice, and around what they show
PREVIEW_BYTES = 10_000  # of a picture at most; all of a series thus take less than 60 KB
STEP_SIDE = 640  # longer side of a picture in `write_slices` in pixels: larger slices are reduced


class Result(NamedTuple):
    """A series, its support, the voxels that are filled, and how the support was found."""

    series: Series
    support: Support
    filled: np.ndarray
    parameters: str
    notes: tuple[str, ...] = ()  # warnings about the mask

    @property
    def hu(self) -> np.ndarray:
        """The cleaned image in HU: int16 where that holds all of its values, else float32."""
        series = self.series
        hu = np.empty(series.stored.shape, np.float32)
        for i in range(len(series)):
            hu[i] = series.stored[i] * series.slopes[i] + series.intercepts[i]
            hu[i][self.filled[i]] = fill_hu(series, i)
        whole = hu.astype(np.int16)
        return whole if np.array_equal(whole, hu) else hu


def why_no_pictures(series: Series) -> str:
    """Reason why no picture is made: Burned In Annotation (0028,0301; PS3.3 C.7.6.1) is YES.

    The text in the pixels may name the patient.
    """
    burned = any(text(header, "BurnedInAnnotation").upper() == "YES" for header in series.headers)
    return "text is burned into the pixels" if burned else ""


def write_previews(folder: Path, result: Result, flags: Mapping[str, Sequence[int]]) -> None:
    """Write small pictures of some slices, larger ones of uncertain and touching slices."""
    series, removed, patient = result.series, result.filled, result.support.patient
    if why_no_pictures(series):
        return
    large = (flags["uncertain"], flags["touching"])
    numbers = choose_slices(len(series), large, flags["nothing found"])
    shown = np.array(numbers) - 1
    box = bounding_box(((series.hu[shown] > DENSE_HU) | removed[shown]).any(0), MARGIN)
    (folder / PREVIEW_FOLDER).mkdir()
    for n in numbers:
        side = LARGE if any(n in group for group in large) else SMALL
        hu, fill, inside = (a[n - 1][box] for a in (series.hu, removed, patient))
        picture = triptych(hu, fill, inside, series.spacing_mm[1:], side)
        (folder / PREVIEW_FOLDER / f"{n:04d}.webp").write_bytes(encode_preview(picture))


def choose_slices(
    count: int, flagged: Sequence[Sequence[int]] = (), absent: Sequence[int] = ()
) -> list[int]:
    """Choose at most `MOST_PREVIEWS` of `count` slices to show, by numbers from 1, in order.

    The flagged ones come first, the most urgent kind first; the rest is evenly spread. Slices
    without support, often just the top of the head, get half of the places that are left.

    >>> choose_slices(60, [[7, 8]], absent=range(41, 61))
    [7, 8, 12, 31, 46, 56]
    """
    chosen: list[int] = []
    known: set[int] = set()
    for group in flagged:
        chosen += _spread([n for n in group if n not in known], MOST_PREVIEWS - len(chosen))
        known.update(group)
    nothing = [n for n in absent if n not in known]
    known.update(nothing)
    rest = [n for n in range(1, count + 1) if n not in known]
    left = MOST_PREVIEWS - len(chosen)
    chosen += _spread(nothing, max(left // 2, left - len(rest)))
    return sorted(chosen + _spread(rest, MOST_PREVIEWS - len(chosen)))


def _spread(numbers, count):
    """Take the middle of each of `count` equal parts."""
    count = min(count, len(numbers))
    return [numbers[int((k + 0.5) * len(numbers) / count)] for k in range(count)]


def triptych(
    hu: np.ndarray, removed: np.ndarray, patient: np.ndarray, spacing_mm: Sequence[float], side: int
) -> Image.Image:
    """Render a slice (rows, columns) before, with the masks and after, side by side.

    `side` is the longer side of one slice in pixels; the aspect is that of `spacing_mm`.
    """
    size_mm = np.multiply(hu.shape, spacing_mm)
    height, width = np.maximum(np.rint(side * size_mm / size_mm.max()), 1).astype(int).tolist()
    size, lanczos, mean = (width, height), Image.Resampling.LANCZOS, Image.Resampling.BOX
    images = (_grey(one) for one in (hu, np.where(removed, AIR, hu)))
    before, after = (image.resize(size, lanczos).convert("RGB") for image in images)
    masks = (Image.fromarray(np.uint8(200) * mask) for mask in (patient, removed))
    inside, filled = (mask.resize(size, mean) for mask in masks)
    line, marked = Image.fromarray(np.uint8(200) * _outline(np.asarray(inside) > 100)), before
    for share, color in ((line, PATIENT_COLOR), (filled, SUPPORT_COLOR)):
        marked = Image.composite(Image.new("RGB", size, color), marked, share)
    picture = Image.new("RGB", (3 * width + 2 * GAP, height))
    for i, one in enumerate((before, marked, after)):
        picture.paste(one, (i * (width + GAP), 0))
    return picture


def _outline(mask):
    return mask & ~binary_erosion(mask)


def _grey(hu):
    return Image.fromarray(np.uint8(255 * window(hu, *WIDE)))


def encode_preview(picture: Image.Image) -> bytes:
    """Encode a picture as WebP of at most `PREVIEW_BYTES`: lower quality, then half the size."""
    for quality in (80, 55, 35, 20):
        coded = io.BytesIO()
        picture.save(coded, "WEBP", quality=quality, method=2)  # 4 takes twice the time for 3 %
        if coded.tell() <= PREVIEW_BYTES:
            return coded.getvalue()
    return encode_preview(picture.reduce(2))


def write_slices(result: Result, path: Path) -> None:
    """Write a zip file with three pictures of every slice, for the page to stack.

    0001.jpg is the slice before, 0001-masks.png the outlines of the filled voxels and of the
    patient, and 0001-after.png covers the filled voxels in black.
    """
    series, removed, patient = result.series, result.filled, result.support.patient
    box = bounding_box(((series.hu > DENSE_HU) | removed).any(0), MARGIN)
    step = -(-max(series.hu[0][box].shape) // STEP_SIDE)
    box = tuple(slice(one.start, one.stop, step) for one in box)
    size_mm = np.multiply(series.hu[0][box].shape, series.spacing_mm[1:])
    height, width = np.rint(size_mm / min(series.spacing_mm[1:])).astype(int)
    with atomic_file(path) as temporary, ZipFile(temporary, "w") as file:
        for n, (hu, filled, inside) in enumerate(zip(series.hu, removed, patient), 1):
            hu, filled, inside = hu[box], filled[box], inside[box]
            pictures = {
                ".jpg": _grey(hu).resize((width, height)),
                "-masks.png": _layer(np.where(_outline(filled), 1, 2 * _outline(inside))),
                "-after.png": _layer(3 * filled),
            }
            for ending, picture in pictures.items():
                coded = io.BytesIO()
                picture.save(coded, "PNG" if ending.endswith("png") else "JPEG", quality=60)
                file.writestr(f"{n:04d}{ending}", coded.getvalue())


def _layer(values):
    """Picture of small numbers: 0 transparent, 1 orange, 2 blue, 3 black."""
    picture = Image.fromarray(values.astype(np.uint8), "P")
    colors = ("#000000", SUPPORT_COLOR, PATIENT_COLOR, "#000000")
    picture.putpalette([part for color in colors for part in ImageColor.getrgb(color)])
    picture.info["transparency"] = 0
    return picture


class Output(NamedTuple):
    """A file that is written with the slices on request.

    `file` is its path below the folder of the series; with {}, the name of that folder, beside it,
    so that every reader finds one CT series in the folder. `why_not` says why a series cannot have
    it, or is empty; `write` writes all of it or nothing.
    """

    file: str
    package: str
    why_not: Callable[[Series], str]
    write: Callable[[Result, Path], None]

    def path(self, folder: Path) -> Path:
        """Path of the file for a series in this folder."""
        beside = "{}" in self.file
        return folder.parent / self.file.format(folder.name) if beside else folder / self.file

    def is_in(self, folder: Path) -> bool:
        """Whether the file of a series in this folder is there, and not empty."""
        return self.path(folder).is_file() and self.path(folder).stat().st_size > 0

    def write_for(self, folder: Path, result: Result, temporary: Path | None = None) -> None:
        """Write the file of a series in this folder, which is still the temporary one if given."""
        self.write(result, self.path(temporary if temporary and "{}" not in self.file else folder))


def _nifti(name, values, resample=False):
    def write(result, path):
        write_nifti(result.series, attrgetter(values)(result), path, result.parameters, resample)

    if resample:
        return Output(f"{name}-resampled.nii.gz", "nibabel", attrgetter("why_not_placed"), write)
    return Output(f"{name}.nii.gz", "nibabel", why_no_nifti, write)


def _masks(name, package, write_masks):
    def write(result, path):
        write_masks(result.series, result.support.labels, path, result.parameters)

    return Output(f"masks/{{}}-{name}.dcm", package, segmentation.why_no_segmentation, write)


def _write_segmentation(series, labels, path, parameters, kind="BINARY"):
    of_kmeans = parameters.startswith("method=kmeans")
    family = segmentation.CLUSTER_ANALYSIS if of_kmeans else segmentation.ARTIFICIAL_INTELLIGENCE
    segmentation.write_segmentation(series, labels, path, parameters, family, kind)


OUTPUTS = {
    "segmentation": [_masks("segmentation", "pydicom", _write_segmentation)],
    "labelmap": [_masks("labelmap", "pydicom", partial(_write_segmentation, kind="LABELMAP"))],
    "structures": [_masks("structures", "contourpy", write_structures)],
    "nifti": [_nifti("headrest", "support.labels"), _nifti("cleaned", "hu")],
    "nifti_resample": [_nifti("headrest", "support.labels", True), _nifti("cleaned", "hu", True)],
    "probability": [_nifti("probability", "support.probability")],
    "probability_resample": [_nifti("probability", "support.probability", True)],
    "pictures": [Output(SLICE_PICTURES, "PIL", why_no_pictures, write_slices)],
}
"""The files of each option of `CleanOptions`; a resampled probability by two of them."""


def possible_outputs(series: Series, names: list[str]) -> tuple[list[Output], list[str]]:
    """Choose the outputs, by keys of `OUTPUTS`, that a series can have; one from NIfTI always gets
    its labels. The warnings say why it cannot have others, and what NIfTI files are like."""
    names, warnings = list(names), []
    if series.image is not None:
        names.append("nifti")
    if "nifti_resample" in names and not series.why_not_placed:
        if needs_resampling(series):
            names = [name.replace("probability", "probability_resample") for name in names]
            outputs = [o for name in names if "resample" in name for o in OUTPUTS[name]]
            files = ", ".join(output.file for output in outputs)
            grid = f"an even grid without shear, slices {series.spacing_mm[0]:.2f} mm apart"
            warnings.append(f"{files} are resampled to {grid}")
        else:
            names[names.index("nifti_resample")] = "nifti"
    outputs = [output for name in dict.fromkeys(names) for output in OUTPUTS[name]]
    if series.image is not None:  # `write_derived_series` keeps the header of its source
        outputs.remove(OUTPUTS["nifti"][1])
    possible = []
    for output in outputs:
        if reason := output.why_not(series):
            file = output.file.replace("masks/{}-", "").replace(".dcm", "")
            warnings.append(f"no {file}: {reason}")
        else:
            possible.append(output)
    sheared = [output.file for output in possible if output.why_not is why_no_nifti]
    if sheared and series.headers and is_sheared(series):
        warnings.append(
            f"sheared as the tilted slices are: {', '.join(sheared)}; ITK cannot open this, "
            "--nifti-resample writes files without shear"
        )
    return possible, warnings
