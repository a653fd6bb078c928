"""The report about one series, kept beside its slices as `cleaning.json`."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from headrest.dicom.write import CLEANED_IMAGE
from headrest.segment.morphology import ABSENT, TOUCHING
from headrest.util import HeadrestError, __version__, counted, plain

REPORT_FILE = "cleaning.json"

REVIEW, MASKS = "review", "masks"
"""Folders in a destination: series that `accept_ml` does not accept; masks beside the series."""

UNCERTAIN_BELOW = 0.9
"""Confidence below which a slice is flagged as uncertain."""


@dataclass(frozen=True)
class Report:
    """The outcome of cleaning one series.

    Attributes
    ----------
    source : str, folder of the series below the source.
    folder : str, path of the folder below the destination; empty where nothing was written.
    description : str, Series Description (0008,103E) of the source.
    method : str
    options : str, how voxels were chosen and slices written, with the hash of the weights.
    slices : int
    removed_ml : float, volume of the support, without its partial-volume boundary.
    bound_ml : float, most patient removed in 95 % of synthetic series like this, or None;
        see `headrest.segment.bound`.
    states : tuple of str, "free", "touching" or "absent" for each slice.
    confidence : tuple of float, 0 to 1 for each slice; empty where the method gives none.
    warnings : tuple of str
    error : str, why nothing was written.
    seconds : float
    version : str, of headrest.
    """

    source: str
    folder: str = ""
    description: str = ""
    method: str = ""
    options: str = ""
    slices: int = 0
    removed_ml: float = 0.0
    bound_ml: float | None = None
    states: tuple[str, ...] = ()
    confidence: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0
    version: str = __version__

    @property
    def status(self) -> str:
        """ "cleaned", "review" (written below `REVIEW`) or "failed"."""
        review = self.folder.startswith(f"{REVIEW}/")
        return "failed" if self.error else REVIEW if review else "cleaned"

    @property
    def flags(self) -> dict[str, list[int]]:
        """Numbers (from 1) of the slices that a person should check, for each reason."""
        return {
            "touching": [i for i, state in enumerate(self.states, 1) if state == TOUCHING],
            "uncertain": [i for i, c in enumerate(self.confidence, 1) if c < UNCERTAIN_BELOW],
            "nothing found": [i for i, state in enumerate(self.states, 1) if state == ABSENT],
        }

    def __repr__(self) -> str:
        return f"Report({self})"

    def __str__(self) -> str:
        source = plain(self.source)
        if self.error:
            return f"{source}: NOT CLEANED: {self.error}"
        line = f"{source} -> " if source else ""
        line += f"{self.folder}: {counted(self.slices, 'slice')}, {self.removed_ml:.1f} ml removed"
        if self.bound_ml is not None:
            line += f", of the patient at most {self.bound_ml:.2f} ml (in 95 % of synthetic series)"
        left = " and is left" if self.method == "kmeans" else ""
        words = {"touching": f"support touches{left}"}
        flags = [(words.get(flag, flag), n) for flag, n in self.flags.items() if n]
        return line + "".join(f", {flag} in {len(n)}: {ranges(n)}" for flag, n in flags)


def ranges(numbers: list[int]) -> str:
    """Write slice numbers as ranges.

    >>> ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)


def save_report(folder: Path, report: Report) -> None:
    """Write the report of a series, and the sizes of its slices in bytes, into its folder."""
    fields = {**asdict(report), "slice_bytes": _slice_bytes(folder)}
    fields = {"headrest": fields.pop("version"), **fields}
    (folder / REPORT_FILE).write_text(json.dumps(fields, indent=1), encoding="utf-8")


def complete_report(folder: Path) -> Report | None:
    """Read the report in a folder; None where it or a slice is missing, or a slice was cut off."""
    if not (folder / REPORT_FILE).exists():
        return None
    report, slice_bytes = _read(folder / REPORT_FILE)
    return report if slice_bytes == _slice_bytes(folder) else None


def _slice_bytes(folder):
    slices = sorted(folder.glob("*.dcm")) or folder.glob(CLEANED_IMAGE)
    return [path.stat().st_size for path in slices]


def existing_result(
    destination: str | Path, name: str, accept: Callable[[float | None], bool]
) -> Report | None:
    """Read the report of the complete result of a series, in the destination or below `REVIEW`.

    If `accept` says of its bound that it belongs to the other place, it is moved there first.
    """
    places = (Path(destination), Path(destination, REVIEW))
    for place in places:
        if report := complete_report(place / name):
            right = places[not accept(report.bound_ml)]
            if right != place:
                _move(place, right, name)
            folder = (right / name).relative_to(destination).as_posix()
            return replace(report, folder=folder)
    return None


def _move(place, right, name):
    try:
        for path in (*place.glob(f"{MASKS}/{name}-*.dcm"), place / name):
            target = right / path.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    except OSError as error:
        reason = f"cannot be moved to {right} ({error.strerror})"
        raise HeadrestError(f"{place / name}: {reason}") from error


def read_reports(destination: str | Path) -> list[Report]:
    """Read the reports of all series in a destination, by source; damaged ones have an `error`."""
    reports = []
    places = (Path(destination), Path(destination, REVIEW))
    for path in (path for place in places for path in place.glob(f"*/{REPORT_FILE}")):
        folder = path.parent.relative_to(destination).as_posix()
        try:
            reports.append(replace(_read(path)[0], folder=folder))
        except HeadrestError as error:
            reports.append(Report(source="", folder=folder, error=str(error)))
    return sorted(reports, key=lambda report: (report.source, report.folder))


def _read(path):
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["version"] = fields.pop("headrest")
        slice_bytes = fields.pop("slice_bytes", None)
        as_tuples = {key: tuple(fields[key]) for key in ("states", "confidence", "warnings")}
        report = Report(**{**fields, **as_tuples})
        texts: tuple = (report.source, report.error, report.folder, report.description)
        texts += (report.options, *report.states, *report.warnings)
        numbers: tuple = (report.slices, report.removed_ml, report.seconds, report.bound_ml or 0)
        numbers += report.confidence
        if not all(isinstance(text, str) for text in texts) or not np.isfinite(numbers).all():
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HeadrestError(f"{path}: damaged; remove its folder to clean again") from error
    return report, slice_bytes
