"""Clean one series: find its support, write the derived series and the report."""

import re
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from headrest.clean.options import CleanOptions, Result, possible_outputs
from headrest.clean.preview import write_previews
from headrest.clean.report import REVIEW, Report, complete_report, existing_result, save_report
from headrest.dicom import Series, write_derived_series
from headrest.dicom.codecs import left_uncompressed
from headrest.dicom.header import text
from headrest.dicom.mask import MANUALLY_CORRECTED, as_mask
from headrest.dicom.read import as_series
from headrest.dicom.write import fill_hu, refuse_array
from headrest.hounsfield import AIR
from headrest.segment.anatomy import other_anatomy
from headrest.segment.morphology import volume_ml
from headrest.segment.support import find_support, outside_patient, support_from_mask
from headrest.util import HeadrestError, plain

OWN_NAMES = re.compile(
    r"\d{4,}\.dcm|cleaning\.json|preview|\..*\.partial.*"
    r"|(headrest|cleaned|probability)(-resampled)?\.nii\.gz"
)
"""Names in the folder of a cleaned series."""


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
        `headrest.nii.gz` (1 support, 2 patient), on the grid of the source. The folder appears
        only when it is complete. A complete one is not made again; one that has lost slices is.
    source : str, name of the series in the report.
    **options : see `headrest.clean.options.CleanOptions`.

    Returns
    -------
    Report. Its `warnings` name the outputs that this series cannot have, such as NIfTI of
    unevenly spaced slices. Outputs that are asked for later are added to the complete folder.

    Raises
    ------
    HeadrestError
        Where the destination cannot be written to, the method cannot be used, or a package is
        missing.

    Examples
    --------
    >>> import tempfile
    >>> from pydicom.data import get_testdata_file
    >>> from headrest import read_series
    >>> series = read_series(get_testdata_file("693_UNCR.dcm", download=False))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = clean_series(series, folder, method="kmeans")
    >>> report.states, report.slices
    (('free',), 1)
    """
    chosen = CleanOptions(**options)
    if chosen.acquisition is not None or chosen.reading != CleanOptions().reading:
        raise HeadrestError(f"acquisition, {', '.join(chosen.reading)}: pass them to read_series")
    return clean_with_options(as_series(series), destination, chosen, source)


def clean_with_options(
    series: Series, destination: str | Path, options: CleanOptions, source: str = ""
) -> Report:
    """Do the work of `clean_series`."""
    began = time.monotonic()
    refuse_array(series)
    outputs, warnings = possible_outputs(series, options.outputs)
    warnings += _compromises(series, options.compress)
    name = options.folder_name(series.fingerprint)
    if report := existing_result(destination, name, options.accept):
        folder = Path(destination, report.folder)
        if missing := [output for output in outputs if not output.is_in(folder)]:
            result = _result(series, options)
            for output in missing:
                output.write_for(folder, result)
        return replace(report, warnings=tuple(dict.fromkeys((*report.warnings, *warnings))))
    result = _result(series, options)
    support = result.support
    bound_ml = None if options.patient_only else support.bound_ml  # more is filled than it counts
    folder = Path(destination, "" if options.accept(bound_ml) else REVIEW, name)
    spacing_mm = (series.extent_mm, *series.spacing_mm[1:])  # slices may be unevenly spaced
    report = Report(
        source=str(source),
        folder=folder.relative_to(destination).as_posix(),
        description=next((text(header, "SeriesDescription") for header in series.headers), ""),
        method=options.method if options.mask is None else MANUALLY_CORRECTED,
        options=options.changes,
        slices=len(series),
        removed_ml=round(volume_ml(support.mask, spacing_mm), 3),
        bound_ml=bound_ml,
        states=support.states,
        confidence=support.confidence,
        warnings=(*series.warnings, *other_anatomy(series, support.mask), *warnings),
        seconds=round(time.monotonic() - began, 2),
    )

    def write_beside_slices(partial: Path) -> None:
        save_report(partial, report)
        write_previews(partial, series, result.filled, support.patient, report.flags)
        series.release_hu()  # a segmentation of 140 slices needs as much memory
        for output in outputs:
            output.write_for(folder, result, partial)
        _delete_incomplete(folder)

    form = {"compress": options.compress, "drop_private": options.drop_private}
    filled, parameters = result.filled, options.parameters
    write_derived_series(series, filled, folder, parameters, write_beside_slices, **form)
    return report


def _result(series, options):
    """The support of a series and the voxels to fill."""
    if options.mask is None:
        support = find_support(series, options.method, options.weights, options.provider)
    else:
        support = support_from_mask(series, as_mask(options.mask, series))
    if not options.probability:
        support = replace(support, probability=None)
    filled = support.removed
    if options.patient_only:
        outside = outside_patient(support.patient, series.spacing_mm)
        filled = filled | (outside & ~series.padding)
    return Result(series, support, filled, options.description)


def _delete_incomplete(folder):
    """Delete an earlier result that has lost slices; refuse if it holds other files."""
    if complete_report(folder):  # another process was faster
        return
    others = [path.name for path in folder.glob("*") if not OWN_NAMES.fullmatch(path.name)]
    if others:
        raise HeadrestError(
            f"{folder}: slices are missing, and it cannot be made again because it holds "
            f"{plain(others[0])}; move the folder away"
        )
    shutil.rmtree(folder, ignore_errors=True)


def _compromises(series, compress):
    """Warnings of syntaxes that cannot be written, and of a fill value that is not air."""
    syntaxes = [header.file_meta.TransferSyntaxUID for header in series.headers if compress]
    names = sorted(left_uncompressed(syntaxes))
    warnings = [f"left uncompressed: {name} cannot be written" for name in names]
    for hu, slope in zip(map(partial(fill_hu, series), range(len(series))), series.slopes):
        if abs(hu - AIR) > abs(slope):
            return [*warnings, f"the fill value reads as {hu:.0f} HU: -1000 cannot be stored"]
    return warnings
