"""Clean one series: its options; find the support, write the derived series and the report."""

import hashlib
import os
import re
import shutil
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from headrest.clean import outputs
from headrest.clean.report import REVIEW, Report, complete_report, existing_result, save_report
from headrest.dicom import Series, as_series, write_derived_series
from headrest.dicom.codecs import output_syntax
from headrest.dicom.header import text
from headrest.dicom.mask import MANUALLY_CORRECTED, as_array, as_mask, mask_warnings, one_label
from headrest.dicom.pixels import check_default_rescale
from headrest.dicom.write import fill_hu, mask_digest, refuse_array
from headrest.hounsfield import AIR
from headrest.segment import support as segment
from headrest.segment.bound import other_anatomy
from headrest.segment.morphology import volume_ml
from headrest.util import HeadrestError, __version__, plain, require
from headrest.util.files import sha256

OWN_NAMES = re.compile(
    r"\d{4,}\.dcm|cleaning\.json|preview|\..*\.partial.*"
    r"|(headrest|cleaned|probability)(-resampled)?\.nii\.gz"
)
"""Names in the folder of a cleaned series."""


@dataclass(frozen=True)
class CleanOptions:
    """How series are read and cleaned: the keywords of `clean_series` and `clean_tree`.

    Attributes
    ----------
    method : str, "network" or "kmeans"; see `headrest.find_support`.
    weights : str, optional, a network that `headrest export` wrote, not the pretrained one.
    provider : str, optional; of ONNX Runtime, see `headrest.find_support`.
    mask : path, nibabel image, or bool array (slices, rows, columns), optional
        Mask that a person corrected, of one series: exactly its voxels are removed, by no method.
        A path is that of NIfTI or a DICOM Segmentation; the axes of an array are as of `Series.hu`.
    patient_only : bool, fill everything that is not patient: covers, linen, tubes and noise too.
    segmentation : bool, write `masks/NAME-segmentation.dcm`, beside the folder NAME of the series:
        DICOM Segmentation of the support with its boundary, even with `patient_only`, and patient.
    labelmap : bool, the same as a DICOM Label Map Segmentation, `masks/NAME-labelmap.dcm`.
    structures : bool, the same as an RT Structure Set, `masks/NAME-structures.dcm`, with the
        support as SUPPORT and the patient as EXTERNAL. Needs contourpy.
    nifti : bool, write `headrest.nii.gz`, a label image (1 support with boundary, 2 patient), and
        the cleaned image `cleaned.nii.gz`. Needs nibabel.
    nifti_resample : bool, the same on an even grid without shear, `*-resampled.nii.gz`, for uneven
        and tilted series, which NIfTI cannot hold or holds sheared.
    probability : bool, write `probability.nii.gz`, that of the network, before refinement and
        boundary: float from 0 to 1, resampled with `nifti_resample`. Needs nibabel.
    pictures : bool, keep a picture of every slice, `preview/slices.zip`, for `headrest.clean.page`.
    accept_ml : float, optional, write series below `review/` whose bound on the patient removed is
        above these ml, or that have none. A mask that a person corrected is accepted.
    compress : bool, compress slices as their source is, without loss; see `headrest.dicom.codecs`.
    drop_private : bool, delete private elements, which may name the patient.
    acquisition, by_instance_number, default_rescale, allow_missing : see `headrest.read_series`.

    Raises
    ------
    HeadrestError
        For a mask with `patient_only` or of several labels, or options that cannot be used.
    """

    method: str = "network"
    weights: str | None = None
    provider: str | None = None
    mask: Any = field(default=None, repr=False, compare=False)
    patient_only: bool = False
    segmentation: bool = False
    labelmap: bool = False
    structures: bool = False
    nifti: bool = False
    nifti_resample: bool = False
    probability: bool = False
    pictures: bool = False
    accept_ml: float | None = None
    compress: bool = False
    drop_private: bool = False
    acquisition: int | None = None
    by_instance_number: bool = False
    default_rescale: tuple[float, float] | None = None
    allow_missing: bool = False

    def __post_init__(self) -> None:
        if self.weights is not None:  # workers may run in another folder
            object.__setattr__(self, "weights", str(Path(self.weights).absolute()))
        if self.mask is None:
            segment.check_method(self.method, self.weights, self.provider)
        else:
            object.__setattr__(self, "mask", self._checked_mask())
        if self.probability and (self.method != "network" or self.mask is not None):
            raise HeadrestError("only the method network gives a probability")
        if self.accept_ml is not None and not self.accept_ml >= 0:
            raise HeadrestError(f"accept_ml is {self.accept_ml}: expected ml, 0 or more")
        check_default_rescale(self.default_rescale)
        for name in self.outputs:
            require(outputs.OUTPUTS[name][0].package)

    def _checked_mask(self):
        """Absolute path, image or bool array; refuse what would remove other voxels."""
        if self.patient_only:
            raise HeadrestError("patient_only fills more than a mask: leave one of them out")
        if self.weights or self.provider:
            raise HeadrestError("a mask is removed as it is: leave weights and provider out")
        if not isinstance(self.mask, (str, os.PathLike)):
            return self.mask if hasattr(self.mask, "affine") else one_label(as_array(self.mask))
        if not Path(self.mask).is_file():
            raise HeadrestError(f"{self.mask}: there is no such file; expected a mask")
        return str(Path(self.mask).absolute())

    @cached_property
    def description(self) -> str:
        """How the support is found, as additional outputs record it."""
        if self.mask is None:
            return segment.describe(self.method, self.weights)
        given, affine = getattr(self.mask, "dataobj", self.mask), getattr(self.mask, "affine", None)
        digest = sha256(given) if isinstance(given, str) else mask_digest(np.asarray(given), affine)
        return f"{MANUALLY_CORRECTED} mask={digest[:12]}"

    @property
    def parameters(self) -> str:
        """How voxels are chosen, as derived series record it."""
        return self.description + (" patient-only" if self.patient_only else "")

    @property
    def changes(self) -> str:
        """`parameters`, and how slices are written: what identifies the cleaned series."""
        others = ("compress", "drop_private")
        return self.parameters + "".join(f" {name}" for name in others if getattr(self, name))

    @property
    def outputs(self) -> list[str]:
        """Keys of `headrest.clean.outputs.OUTPUTS` that were asked for."""
        return [name for name in outputs.OUTPUTS if getattr(self, name, False)]

    def accept(self, bound_ml: float | None) -> bool:
        """Whether a series with this bound on the patient removed need not be reviewed."""
        if self.accept_ml is None or self.mask is not None:
            return True
        return bound_ml is not None and bound_ml <= self.accept_ml

    @property
    def reading(self) -> dict[str, Any]:
        """Keywords of `headrest.dicom.load_series`."""
        names = ("by_instance_number", "default_rescale", "allow_missing")
        return {name: getattr(self, name) for name in names}

    def folder_name(self, fingerprint: str) -> str:
        """Name the folder of a cleaned series by a hash of its fingerprint and these options, not
        by a DICOM attribute: "../.." is a legal Patient ID."""
        chosen = f"{fingerprint} {self.changes} {__version__}"
        return f"ct-{hashlib.sha256(chosen.encode()).hexdigest()[:12]}"


def clean_series(
    series: Any, destination: str | Path, *, source: str = "", **options: Any
) -> Report:
    """Write a derived series without its support.

    Parameters
    ----------
    series : Series, or a path or nibabel image, which `headrest.read_series` reads
    destination : path
        Gets one folder for the series, named by a hash of its files, with one DICOM file per
        slice and `cleaning.json`; for a series from NIfTI with `cleaned.nii.gz` and the labels
        `headrest.nii.gz`, on the grid of the source. The folder appears only when it is complete.
        A complete one is not made again; one that has lost slices is.
    source : str, name of the series in the report.
    **options : see `headrest.clean.series.CleanOptions`.

    Returns
    -------
    Report. Its `warnings` name the outputs that this series cannot have, such as NIfTI of
    unevenly spaced slices. Outputs that are asked for later are added to the complete folder.

    Raises
    ------
    HeadrestError
        Where the destination cannot be written, the method cannot be used, or a package is missing.

    Examples
    --------
    >>> import tempfile
    >>> from pydicom.data import get_testdata_file
    >>> file = get_testdata_file("693_UNCR.dcm", download=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = clean_series(file, folder, method="kmeans")
    >>> report.states, report.slices
    (('free',), 1)
    """
    chosen = CleanOptions(**options)
    if chosen.acquisition is not None or any(chosen.reading.values()):
        raise HeadrestError(f"acquisition, {', '.join(chosen.reading)}: pass them to read_series")
    refuse_array(series)
    return clean_with_options(as_series(series), destination, chosen, source)


def clean_with_options(
    series: Series, destination: str | Path, options: CleanOptions, source: str = ""
) -> Report:
    """Do the work of `clean_series`."""
    began = time.monotonic()
    chosen, warnings = outputs.possible_outputs(series, options.outputs)
    warnings += _compromises(series, options.compress)
    name = options.folder_name(series.fingerprint)
    if report := existing_result(destination, name, options.accept):
        folder = Path(destination, report.folder)
        if missing := [output for output in chosen if not output.is_in(folder)]:
            result = _result(series, options)
            for output in missing:
                output.write_for(folder, result)
        noted = tuple(dict.fromkeys((*report.warnings, *series.warnings, *warnings)))
        if noted != report.warnings:  # the manifest names them too
            report = replace(report, warnings=noted)
            save_report(folder, report)
        return replace(report, source=str(source) or report.source)
    result = _result(series, options)
    support = result.support
    other = other_anatomy(series, support.mask)
    of_patient = [] if options.mask is None else mask_warnings(support.removed, series)
    kinds: dict[str, Any] = {"other body part": other, "mask of the patient": of_patient}
    kinds["HU in doubt"] = any("rescale is wrong" in text for text in series.warnings)
    kinds["burned in"] = outputs.why_no_pictures(series)
    bound_ml = None if options.patient_only else support.bound_ml  # more is filled than it counts
    place = "" if options.accept(bound_ml) else REVIEW
    folder = Path(destination, place, name)
    spacing_mm = (series.extent_mm, *series.spacing_mm[1:])  # slices may be unevenly spaced
    report = Report(
        source=str(source),
        folder=folder.relative_to(destination).as_posix(),
        description=next((text(header, "SeriesDescription") for header in series.headers), ""),
        method=options.method if options.mask is None else MANUALLY_CORRECTED,
        options=options.changes,
        mask=Path(options.mask).name if isinstance(options.mask, str) else "",
        slices=len(series),
        support_ml=round(volume_ml(support.mask, spacing_mm), 3),
        boundary_ml=round(volume_ml(support.boundary & ~support.mask, spacing_mm), 3),
        bound_ml=bound_ml,
        states=support.states,
        confidence=support.confidence,
        warnings=(*series.warnings, *other, *warnings, *result.notes, *of_patient),
        kinds=tuple(kind for kind, found in kinds.items() if found),
        seconds=round(time.monotonic() - began, 2),
    )

    def write_beside(partial: Path) -> None:
        save_report(partial, report)
        outputs.write_previews(partial, result, report.flags)
        series.release_hu()  # a segmentation of 140 slices needs as much memory
        for output in chosen:
            output.write_for(folder, result, partial)
        for earlier in (Path(destination, name), Path(destination, REVIEW, name)):
            _delete_incomplete(earlier, with_masks=earlier != folder)

    form = {"compress": options.compress, "drop_private": options.drop_private}
    write_derived_series(series, result.filled, folder, options.parameters, write_beside, **form)
    return report


def _result(series, options):
    """The support of a series and the voxels to fill."""
    caught: list = []
    if options.mask is None:
        support = segment.find_support(series, options.method, options.weights, options.provider)
    else:
        with catch_warnings(record=True) as caught:
            simplefilter("always")
            support = segment.support_from_mask(series, as_mask(options.mask, series))
    if not options.probability:
        support = replace(support, probability=None)
    filled = support.removed
    if options.patient_only:
        if not support.patient.any():
            raise HeadrestError("no patient found: patient_only would fill the whole series")
        outside = segment.outside_patient(support.patient, series.spacing_mm)
        filled = filled | outside & ~series.padding
    notes = tuple(str(warning.message) for warning in caught)
    return outputs.Result(series, support, filled, options.description, notes)


def _delete_incomplete(folder, with_masks):
    """Delete an earlier result that has lost slices, if asked with its masks; refuse if it holds
    other files."""
    if complete_report(folder):  # another process was faster
        return
    if others := [path.name for path in folder.glob("*") if not OWN_NAMES.fullmatch(path.name)]:
        what = f"slices are missing, but it holds {plain(others[0])}"
        raise HeadrestError(f"{folder}: {what}; move the folder away to clean again")
    shutil.rmtree(folder, ignore_errors=True)
    for path in folder.parent.glob(f"masks/{folder.name}-*.dcm") if with_masks else ():
        path.unlink(missing_ok=True)


def _compromises(series, compress):
    """Warnings of syntaxes that cannot be written, and of a fill value that is not air."""
    given = {h.file_meta.TransferSyntaxUID for h in series.headers if compress}
    packed = [one for one in given if one.is_encapsulated]
    names = sorted({one.name for one in packed if not output_syntax(one, True).is_encapsulated})
    warnings = [f"left uncompressed: {name} cannot be written" for name in names]
    for i, slope in enumerate(series.slopes):
        if abs((hu := fill_hu(series, i)) - AIR) > abs(slope):
            return [*warnings, f"the fill value reads as {hu:.0f} HU: -1000 cannot be stored"]
    return warnings
