"""The report of a series, `cleaning.json`, and the tables of a destination: manifest, failures."""

import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headrest.dicom import SeriesFiles
from headrest.dicom.write import CLEANED_IMAGE
from headrest.segment.morphology import ABSENT, TOUCHING
from headrest.util import HeadrestError, __version__, counted, plain
from headrest.util.files import atomic_file

REPORT_FILE, MANIFEST, FAILURES = "cleaning.json", "manifest", "failures.csv"

COLUMNS = ("series", "file", "reason")  # of `FAILURES`
REVIEW = "review"  # folder in a destination, of series that `accept_ml` does not accept
NO_BOUND = "no bound on the patient removed: to be reviewed"
UNCERTAIN_BELOW = 0.9  # confidence below which a slice is flagged as uncertain


@dataclass(frozen=True)
class Report:
    """The outcome of cleaning one series."""

    source: str = ""  # folder of the series below the source
    folder: str = ""  # path of the folder below the destination; empty where nothing was written
    description: str = ""  # Series Description (0008,103E) of the source
    method: str = ""
    options: str = ""  # how voxels were chosen and slices written, with the hash of the weights
    mask: str = ""  # name of the file of a mask that a person corrected
    slices: int = 0
    support_ml: float = 0.0  # that is removed, without its partial-volume boundary
    boundary_ml: float = 0.0  # of that boundary, which is removed too; 0 until 0.12.0
    bound_ml: float | None = None  # most patient removed, see `headrest.segment.bound`
    states: tuple[str, ...] = ()  # "free", "touching" or "absent" for each slice
    confidence: tuple[float, ...] = ()  # 0 to 1 for each slice; empty where the method gives none
    warnings: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()  # of warnings: those of `headrest.clean.page.WARNED`, "burned in"
    error: str = ""  # why nothing was written
    seconds: float = 0.0  # from the loaded series to this report
    version: str = __version__  # of headrest

    @property
    def status(self) -> str:
        """ "cleaned", "review" (written below `REVIEW`) or "failed"."""
        review = self.folder.startswith(f"{REVIEW}/")
        return "failed" if self.error else REVIEW if review else "cleaned"

    @property
    def lacks_bound(self) -> bool:
        """Whether it is to be reviewed because it has no bound on the patient removed."""
        return self.status == REVIEW and self.bound_ml is None

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
        line = f"{source} -> {self.folder}" if source else self.folder
        boundary = f" and {self.boundary_ml:.1f} ml of its boundary" if self.boundary_ml else ""
        line += f": {counted(self.slices, 'slice')}, "
        line += f"{self.support_ml:.1f} ml of support{boundary} removed"
        if self.bound_ml is not None:
            line += f", of the patient at most {self.bound_ml:.2f} ml (in 95 % of synthetic series)"
        line += f", {NO_BOUND}" * self.lacks_bound
        words = {"touching": "support touches" + " and is left" * (self.method == "kmeans")}
        flags = [(words.get(k, k), n, "s" * (len(n) > 1)) for k, n in self.flags.items() if n]
        return line + "".join(f", {flag} in slice{s} {ranges(n)}" for flag, n, s in flags)


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
    with atomic_file(folder / REPORT_FILE) as temporary:
        temporary.write_text(json.dumps(fields, indent=1), encoding="utf-8")


def complete_report(folder: Path) -> Report | None:
    """Read the report in a folder; None where it or a slice is missing, or a slice was cut off."""
    if not (folder / REPORT_FILE).exists():
        return None
    report, slice_bytes = _read_report(folder / REPORT_FILE)
    return report if slice_bytes == _slice_bytes(folder) else None


def _slice_bytes(folder):
    slices = sorted(folder.glob("*.dcm")) or folder.glob(CLEANED_IMAGE)
    return [path.stat().st_size for path in slices]


def existing_result(
    destination: str | Path, name: str, accept: Callable[[float | None], bool]
) -> Report | None:
    """Read the report of a complete result, or None; move it into or out of `review/` where
    `accept` of its bound says so."""
    places = (Path(destination), Path(destination, REVIEW))
    for place in places:
        if report := complete_report(place / name):
            right = places[not accept(report.bound_ml)]
            if right != place:
                _move(place, right, name)
            return replace(report, folder=(right / name).relative_to(destination).as_posix())
    return None


def _move(place, right, name):
    try:
        with suppress(FileNotFoundError):
            (right / name).rmdir()  # fails if it holds files, before the masks are moved
        for path in (*place.glob(f"masks/{name}-*.dcm"), place / name):
            target = right / path.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    except OSError as error:
        where = f"{place / name}: cannot be moved to {right}"
        raise HeadrestError(f"{where} ({error.strerror}); remove {right / name} first") from error


def _read_report(path):
    try:
        fields = {"kinds": [], **json.loads(path.read_text(encoding="utf-8"))}  # until 0.12.0 none
        fields["version"] = fields.pop("headrest")
        fields.setdefault("support_ml", fields.pop("removed_ml", 0))  # its name until 0.11.0
        slice_bytes = fields.pop("slice_bytes", None)
        for key in ("states", "confidence", "warnings", "kinds"):
            fields[key] = tuple(fields[key])
        report = Report(**fields)
        texts: tuple = (report.source, report.error, report.folder, report.description)
        texts += (report.options, report.mask, *report.states, *report.warnings, *report.kinds)
        numbers: tuple = (report.slices, report.support_ml, report.boundary_ml, report.seconds)
        numbers += (report.bound_ml or 0, *report.confidence)
        if not all(isinstance(text, str) for text in texts) or not np.isfinite(numbers).all():
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HeadrestError(f"{path}: damaged; remove its folder to clean again") from error
    return report, slice_bytes


class Failures:
    """Table of failures: `series_hash`, file and reason of each series until it is cleaned, and of
    each damaged file of unknown series. Without rows there is no file. Raises HeadrestError where
    another file has its name."""

    def __init__(self, path: str | Path):
        self.path, self.rows = Path(path), {}
        if not self.path.exists():
            return
        try:
            with open(path, encoding="utf-8", newline="") as file:
                columns, *rows = csv.reader(file)
                if tuple(columns) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
                    raise ValueError
        except (OSError, ValueError, csv.Error) as error:
            raise HeadrestError(f"{path}: no table of failures; move it away") from error
        self.rows = {row[0] or row[1]: tuple(row) for row in rows}

    def begin(
        self, source: Path, series: Iterable[SeriesFiles], broken: Iterable[HeadrestError]
    ) -> None:
        """Delete the rows of a source that a search no longer found, and add its broken files."""
        known = {series_hash(files) for files in series}
        above = plain(os.path.abspath(source))
        self.rows = {
            key: row
            for key, row in self.rows.items()
            if key in known or not Path(row[1]).is_relative_to(above)
        }
        for error in broken:
            file, reason = file_and_reason(str(error))
            self.rows[os.path.abspath(file)] = ("", os.path.abspath(file), reason)
        self.write()

    def note(self, files: SeriesFiles, error: str) -> None:
        """Record why a series failed; an empty error deletes its row."""
        key, before = series_hash(files), dict(self.rows)
        self.rows.pop(key, None)
        if error:
            file, reason = file_and_reason(error)
            damaged = (file_and_reason(message)[0] for message in files.damaged)
            if file not in {*map(plain, files.files), *damaged}:
                first, *others = files.files
                file, reason = str(first.parent if others else first), error
            self.rows[key] = (key, plain(os.path.abspath(file)), reason)
        if self.rows != before:
            with suppress(HeadrestError):  # another program has it open (Windows): write it later
                self.write()

    def write(self) -> None:
        """Write the whole table; raises HeadrestError where that fails."""
        if self.rows:
            _write_csv(self.path, [COLUMNS, *self.rows.values()])
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise HeadrestError(f"{self.path}: cannot be deleted ({error.strerror})") from error


def read_results(destination: str | Path) -> list[Report]:
    """Read all that is known of the series of a destination: failures first, then by source. A
    damaged report, or table of failures, has its reason in `error`."""
    reports = []
    for pattern in (f"[!.]*/{REPORT_FILE}", f"{REVIEW}/[!.]*/{REPORT_FILE}"):
        for path in Path(destination).glob(pattern):
            try:
                report, slice_bytes = _read_report(path)
                if slice_bytes not in (None, _slice_bytes(path.parent)):  # old versions have none
                    lost = f"{path.parent}: slices are missing; clean it again"
                    report = replace(report, error=report.error or lost)
            except HeadrestError as error:
                report = Report(error=str(error))
            folder = path.parent.relative_to(destination).as_posix()
            reports.append(replace(report, folder=folder))
    reports.sort(key=lambda report: (report.source, report.folder))
    try:
        rows = Failures(Path(destination, FAILURES)).rows.values()
    except HeadrestError as error:
        return [Report(error=str(error)), *reports]
    return [*(Report(source=file, error=reason) for _, file, reason in rows), *reports]


def write_manifest(destination: str | Path) -> None:
    """Write manifest.json and manifest.csv: each series of a destination, of earlier runs too."""
    rows = [manifest_row(report) for report in read_results(destination)]
    document = {"headrest": __version__, "series": rows}
    with atomic_file(Path(destination, f"{MANIFEST}.json")) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
    cells = ([_cell(value) for value in row.values()] for row in rows)
    _write_csv(Path(destination, f"{MANIFEST}.csv"), [manifest_row(Report()), *cells])


def refuse_other_manifest(destination: str | Path) -> None:
    """Raise a HeadrestError where another file has a name of the manifest: it would be lost."""
    for ending, start in ((".json", b'{\n "headrest": '), (".csv", b"status,")):
        path = Path(destination, MANIFEST + ending)
        if path.exists() and not (path.is_file() and path.read_bytes().startswith(start)):
            raise HeadrestError(f"{path}: no manifest of headrest; move it away")


def _write_csv(path, rows):
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def manifest_row(report: Report) -> dict[str, Any]:
    """Row of the manifest; "touching", "uncertain" and "nothing_found" list numbers of slices."""
    weights = re.search(r"weights=(\w+)", report.options)

    def fields(*names):
        return {name: getattr(report, name) for name in names}

    return {
        **fields("status", "source"),
        "series_description": report.description,
        **fields("folder", "slices", "support_ml", "boundary_ml", "bound_ml"),
        **{flag.replace(" ", "_"): numbers for flag, numbers in report.flags.items()},
        "warnings": list(report.warnings),
        **fields("error", "options", "mask"),
        "weights": weights[1] if weights else "",
        **fields("version", "seconds"),
    }


def _cell(value):
    """Text of a cell; a text that a spreadsheet would run as a formula is quoted."""
    if isinstance(value, list):
        value = ranges(value) if value and isinstance(value[0], int) else "; ".join(value)
    if not isinstance(value, str):
        return value
    return f"'{plain(value)}" if value.startswith(("=", "+", "-", "@")) else plain(value)


def series_hash(files: SeriesFiles) -> str:
    """Pseudonym of a series or stack: 12 hexadecimal digits of the SHA-256 of its UID."""
    name = f"{files.uid}{files.stack}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(name).hexdigest()[:12]


def file_and_reason(error: str) -> tuple[str, str]:
    """Split the text of an error into the file that it begins with, or empty, and the reason."""
    ends = [found.start() for found in re.finditer(": ", error)]
    there = [end for end in ends if os.path.lexists(error[:end])]  # a name may hold ": "
    end = max(there, default=ends[0] if ends else None)
    return ("", error) if end is None else (error[:end], error[end + 2 :])
