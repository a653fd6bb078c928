"""Series in, cleaned series and report out."""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from headrest import __version__
from headrest.dicom import find_series, load_series, write_derived_series
from headrest.errors import HeadrestError
from headrest.labels import ABSENT, TOUCHING
from headrest.metrics import volume_ml
from headrest.support import describe, find_support, outside_patient

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
        if self.error:
            return f"{self.source}: NOT CLEANED: {self.error}"
        line = f"{self.source} -> {self.folder}: {self.slices} slices"
        line += f", {self.removed_ml:.1f} ml removed"
        left = " and is left" if self.method == "kmeans" else ""
        flags = {
            f"support touches{left}": self.touching,
            "uncertain": self.uncertain,
            "nothing found": self.absent,
        }
        said = [f", {what} in {len(n)}: {_ranges(n)}" for what, n in flags.items() if n]
        return line + "".join(said)


def _ranges(numbers):
    """Write 1, 2, 3, 7 as 1-3, 7."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)


def clean_series(series, destination, method="network", outside=False, source=""):
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
    source : str, how the report calls the series.

    Returns
    -------
    Report

    Raises
    ------
    HeadrestError
        Where the destination cannot be written to, or the method cannot be used.

    Examples
    --------
    >>> from headrest import clean_series, read_series
    >>> series = read_series("scan")                      # doctest: +SKIP
    >>> clean_series(series, "cleaned").removed_ml        # doctest: +SKIP
    205.0
    """
    began = time.monotonic()
    parameters = describe(method) + (" outside" if outside else "")
    folder = Path(destination, _folder_name(series.fingerprint, parameters))
    if (folder / REPORT).exists():
        return _read_report(folder / REPORT)
    removal = find_support(series, method)
    mask = removal.mask
    if outside:
        mask |= outside_patient(removal.device, series.hu, series.padding, series.spacing_mm)
    report = Report(
        source=str(source),
        folder=folder.name,
        method=method,
        slices=len(series),
        removed_ml=round(volume_ml(removal.device, series.spacing_mm), 3),
        states=removal.states,
        confidence=removal.confidence,
        warnings=series.warnings,
        seconds=round(time.monotonic() - began, 2),
    )

    def lay_report(aside):
        text = json.dumps({"headrest": __version__, **asdict(report)}, indent=1)
        (aside / REPORT).write_text(text, encoding="utf-8")

    write_derived_series(series, mask, folder, parameters, lay_report)
    return report


def _folder_name(fingerprint, parameters):
    # Never from a tag as it stands: "../.." is a legal patient number.
    key = hashlib.sha256(f"{fingerprint} {parameters} {__version__}".encode()).hexdigest()
    return f"ct-{key[:12]}"


def _read_report(path):
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields.pop("headrest")
        as_tuples = {key: tuple(fields[key]) for key in ("states", "confidence", "warnings")}
        return Report(**{**fields, **as_tuples})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HeadrestError(f"{path}: damaged; remove its folder to clean again") from error


def clean_tree(source, destination, method="network", outside=False, tell=None):
    """Clean every axial CT series below a folder.

    Parameters
    ----------
    source : path
        Walked to the bottom; see `headrest.dicom.find_series`.
    destination : path
        Made if needed; gets a folder a series. Must not lie inside the source.
    method : str, see `find_support`.
    outside : bool, see `clean_series`.
    tell : callable, optional
        Called with a line about each kind of file that was passed over, and with each Report
        as soon as it is there.

    Returns
    -------
    list of Report, one a series and one for each CT file with a broken header. A series that
    cannot be trusted has its reason in `error`, and the rest goes on.

    Raises
    ------
    HeadrestError
        Where there is no CT series at all, the destination cannot be written to, or the method
        cannot be used.
    """
    _prepare(source, destination, method)
    contents = find_series(source)
    if not contents.series and not contents.broken:
        listed = "; ".join(contents.warnings) or "the folder is empty"
        raise HeadrestError(f"{source}: no axial CT series found ({listed})")
    tell = tell or (lambda _: None)
    reports = [Report(source=str(source), error=str(error)) for error in contents.broken]
    for known in (*contents.warnings, *reports):
        tell(known)
    for files in tqdm(contents.series, desc="cleaning", unit="series"):
        reports.append(_clean_one(files, Path(source), destination, method, outside))
        tell(reports[-1])
    return reports


def _prepare(source, destination, method):
    """Refuse before any computing what would fail after it."""
    describe(method)
    if not os.path.exists(source):
        raise HeadrestError(f"{source}: there is no such folder or file")
    source, destination = Path(source).resolve(), Path(destination).resolve()
    if destination.is_relative_to(source):
        raise HeadrestError(f"{destination}: lies inside {source}; choose a folder beside it")
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadrestError(f"{destination}: cannot be made ({error.strerror})") from error
    if not os.access(destination, os.W_OK):
        raise HeadrestError(f"{destination}: cannot be written to")


def _clean_one(files, source, destination, method, outside):
    name = os.path.relpath(files.files[0].parent, source.resolve().parent)
    try:
        return clean_series(load_series(files), destination, method, outside, name)
    except HeadrestError as error:
        return Report(source=name, error=str(error))
    except MemoryError:
        return Report(source=name, error="out of memory: too large for this machine")
