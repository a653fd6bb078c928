"""Series in, cleaned series and report out."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from headrest.clean.outputs import EXTRAS, choose_extras
from headrest.clean.preview import write_previews
from headrest.dicom import Series, write_derived_series
from headrest.dicom.encode import left_uncompressed
from headrest.dicom.write import fill_hu
from headrest.hounsfield import AIR
from headrest.segment.anatomy import other_anatomy
from headrest.segment.morphology import ABSENT, TOUCHING, volume_ml
from headrest.segment.support import describe, find_support, outside_patient
from headrest.util.errors import HeadrestError, counted, plain
from headrest.util.version import __version__

REPORT = "cleaning.json"

SURE = 0.9
"""Confidence below which a slice is flagged as uncertain."""


@dataclass(frozen=True)
class Report:
    """What became of one series.

    Attributes
    ----------
    source : str, folder of the series below the source.
    folder : str, name of the folder below the destination; empty where nothing was written.
    method : str
    slices : int
    removed_ml : float, support taken out, without its rim.
    states : tuple of str, for each slice "free", "touching" or "absent".
    confidence : tuple of float, for each slice 0 to 1; empty where the method has no opinion.
    warnings : tuple of str
    error : str, why nothing was written.
    seconds : float
    """

    source: str
    folder: str = ""
    method: str = ""
    slices: int = 0
    removed_ml: float = 0.0
    states: tuple[str, ...] = ()
    confidence: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def touching(self):
        """Numbers (from 1) of the slices whose support touches the patient."""
        return [i for i, state in enumerate(self.states, 1) if state == TOUCHING]

    @property
    def absent(self):
        """Numbers (from 1) of the slices in which nothing was found."""
        return [i for i, state in enumerate(self.states, 1) if state == ABSENT]

    @property
    def uncertain(self):
        """Numbers (from 1) of the slices that somebody should look at."""
        return [i for i, sure in enumerate(self.confidence, 1) if sure < SURE]

    def __str__(self):
        source = plain(self.source)
        if self.error:
            return f"{source}: NOT CLEANED: {self.error}"
        line = f"{source} -> " if source else ""
        line += f"{self.folder}: {counted(self.slices, 'slice')}, {self.removed_ml:.1f} ml removed"
        left = " and is left" if self.method == "kmeans" else ""
        flags = {
            f"support touches{left}": self.touching,
            "uncertain": self.uncertain,
            "nothing found": self.absent,
        }
        said = [f", {what} in {len(n)}: {ranges(n)}" for what, n in flags.items() if n]
        return line + "".join(said)


def ranges(numbers):
    """Write 1, 2, 3, 7 as 1-3, 7: str."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)


def clean_series(
    series: Series,
    destination: str | Path,
    method: str = "network",
    outside: bool = False,
    segmentation: bool = False,
    nifti: bool = False,
    compress: bool = False,
    drop_private: bool = False,
    source: str = "",
) -> Report:
    """Write a derived series without its support.

    Parameters
    ----------
    series : Series
    destination : path
        Gets a folder of its own for the series, named by a hash of its UIDs, with one DICOM
        file a slice and `cleaning.json`. The folder appears only when it is complete, and a
        complete one is not made again.
    method : str, see `find_support`.
    outside : bool
        Blank as well whatever lies outside the patient at -500 HU and below: foam, linen, noise.
    segmentation : bool
        Lay `segmentation/headrest.dcm` into the folder as well, a DICOM Segmentation of the
        source: the support and its soft rim, whether or not `outside` blanks more. Needs
        highdicom; see `headrest.dicom.write_segmentation`.
    nifti : bool
        Lay `headrest.nii.gz` into the folder as well, the same mask as NIfTI. Needs nibabel;
        see `headrest.dicom.nifti.write_nifti`.
    compress : bool
        Compress each slice as its source is, without loss; see `headrest.dicom.encode`.
    drop_private : bool
        Leave the private elements out; they may name the patient.
    source : str, how the report calls the series.

    Returns
    -------
    Report. What a series cannot have, such as NIfTI of uneven slices, its `warnings` say. What
    is asked for later is added to the complete folder.

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
    began = time.monotonic()
    parameters = _parameters(method, outside)
    extras, notes = choose_extras(series, segmentation=segmentation, nifti=nifti)
    notes += _left_uncompressed(series) if compress else []
    notes += _not_air(series)
    form = {"compress": compress, "drop_private": drop_private}
    folder = Path(destination, _folder_name(series.fingerprint, parameters, **form))
    if (folder / REPORT).exists():
        return _add_extras(folder, series, method, extras, notes)
    support = find_support(series, method)
    mask = support.removed
    if outside:
        mask |= outside_patient(support.mask, series.hu, series.padding, series.spacing_mm)
    spacing_mm = (series.extent_mm, *series.spacing_mm[1:])  # two stacks of a head lie unevenly
    report = Report(
        source=str(source),
        folder=folder.name,
        method=method,
        slices=len(series),
        removed_ml=round(volume_ml(support.mask, spacing_mm), 3),
        states=support.states,
        confidence=support.confidence,
        warnings=(*series.warnings, *other_anatomy(series, support.mask), *notes),
        seconds=round(time.monotonic() - began, 2),
    )

    def lay_beside(aside):
        text = json.dumps({"headrest": __version__, **asdict(report)}, indent=1)
        (aside / REPORT).write_text(text, encoding="utf-8")
        write_previews(aside, series, mask, (report.uncertain, report.touching), report.absent)
        for extra in extras:
            extra.lay(aside, series, support, method)

    write_derived_series(series, mask, folder, parameters, lay_beside, **form)
    return report


def existing_report(
    fingerprint,
    destination,
    method="network",
    outside=False,
    segmentation=False,
    nifti=False,
    compress=False,
    drop_private=False,
):
    """Read the report of a series that has been cleaned already, without the series.

    Parameters
    ----------
    fingerprint : str, of a Series.
    destination and so on : as for `clean_series`.

    Returns
    -------
    Report, or None where there is no complete output, or an extra that is asked for is not in it.
    """
    form = {"compress": compress, "drop_private": drop_private}
    name = _folder_name(fingerprint, _parameters(method, outside), **form)
    asked = {"segmentation": segmentation, "nifti": nifti}
    needed = [REPORT, *(EXTRAS[extra].file for extra, wanted in asked.items() if wanted)]
    if all(Path(destination, name, file).exists() for file in needed):
        return read_report(Path(destination, name, REPORT))
    return None


def _parameters(method, outside):
    return describe(method) + (" outside" if outside else "")


def _left_uncompressed(series):
    names = left_uncompressed(header.file_meta.TransferSyntaxUID for header in series.headers)
    return [f"left uncompressed: {name} cannot be written" for name in sorted(names)]


def _not_air(series):
    fills = [fill_hu(series, i) for i in range(len(series))]
    off = [hu for hu, slope in zip(fills, series.slopes) if abs(hu - AIR) > abs(slope)]
    return [f"what is removed reads as {off[0]:.0f} HU: -1000 cannot be stored"] if off else []


def _folder_name(fingerprint, parameters, compress, drop_private):
    # Never from a tag as it stands: "../.." is a legal patient number.
    chosen = f"{fingerprint} {parameters} {compress} {drop_private} {__version__}"
    return f"ct-{hashlib.sha256(chosen.encode()).hexdigest()[:12]}"


def _add_extras(folder, series, method, extras, notes):
    """Lay what was not asked for before into a complete folder; return its report."""
    report = read_report(folder / REPORT)
    missing = [extra for extra in extras if not (folder / extra.file).exists()]
    if missing:
        support = find_support(series, method)
        for extra in missing:
            extra.lay(folder, series, support, method)
    return replace(report, warnings=tuple(dict.fromkeys((*report.warnings, *notes))))


def read_report(path):
    """Read the Report of a finished series back from its `cleaning.json`.

    Raises
    ------
    HeadrestError
        Where it is damaged.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields.pop("headrest")
        as_tuples = {key: tuple(fields[key]) for key in ("states", "confidence", "warnings")}
        return Report(**{**fields, **as_tuples})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HeadrestError(f"{path}: damaged; remove its folder to clean again") from error
