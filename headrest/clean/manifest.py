"""Tables in a destination: manifest.json and manifest.csv of all series, failures.csv."""

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from headrest.clean.report import Report, ranges, read_reports
from headrest.dicom import SeriesFiles
from headrest.util import HeadrestError, __version__, plain
from headrest.util.files import atomic_file

MANIFEST, FAILURES = "manifest", "failures.csv"

COLUMNS = ("series", "file", "reason")


class Failures:
    """Table of failures, written atomically whenever it changes.

    One row per series, until it is cleaned: a hash of its Series Instance UID, the file or folder,
    the reason; and one for each file that belongs to no series. An empty table leaves no file.
    Raises HeadrestError where a file of that name is something else.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.rows = _read(self.path) if self.path.exists() else {}

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
            file = os.path.abspath(file)
            self.rows[file] = ("", file, reason)
        self.write()

    def note(self, files: SeriesFiles, error: str) -> None:
        """Record why a series failed; an empty error deletes its row."""
        key, before = series_hash(files), dict(self.rows)
        self.rows.pop(key, None)
        if error:
            self.rows[key] = (key, *_named_file(files, error))
        if self.rows != before:
            with suppress(HeadrestError):  # another program has it open (Windows): write it later
                self.write()

    def write(self) -> None:
        """Write the whole table; raises HeadrestError where that fails."""
        if self.rows:
            _write_csv(self.path, [COLUMNS, *self.rows.values()])
        else:
            self.path.unlink(missing_ok=True)


def read_results(destination: str | Path) -> list[Report]:
    """Read all that is known of the series of a destination: failures first, then by source.

    A damaged report, or table of failures, has its reason in `error`.
    """
    reports = read_reports(destination)
    try:
        rows = Failures(Path(destination, FAILURES)).rows.values()
    except HeadrestError as error:
        return [Report(source="", error=str(error)), *reports]
    return [*(Report(source=file, error=reason) for _, file, reason in rows), *reports]


def write_manifest(destination: str | Path) -> None:
    """Write manifest.json and manifest.csv: each series of a destination, of earlier runs too."""
    rows = [manifest_row(report) for report in read_results(destination)]
    document = {"headrest": __version__, "series": rows}
    with atomic_file(Path(destination, f"{MANIFEST}.json")) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
    cells = ([_cell(value) for value in row.values()] for row in rows)
    _write_csv(Path(destination, f"{MANIFEST}.csv"), [manifest_row(Report(source="")), *cells])


def _write_csv(path, rows):
    with (
        atomic_file(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file).writerows(rows)


def manifest_row(report: Report) -> dict[str, Any]:
    """Row of the manifest; "touching", "uncertain" and "nothing_found" list numbers of slices."""
    weights = re.search(r"weights=(\w+)", report.options)
    return {
        "status": report.status,
        "source": report.source,
        "series_description": report.description,
        "folder": report.folder,
        "slices": report.slices,
        "support_ml": report.removed_ml,
        "bound_ml": report.bound_ml,
        **{flag.replace(" ", "_"): numbers for flag, numbers in report.flags.items()},
        "warnings": list(report.warnings),
        "error": report.error,
        "options": report.options,
        "weights": weights[1] if weights else "",
        "version": report.version,
        "seconds": report.seconds,
    }


def _cell(value):
    """Text of a cell; a text that a spreadsheet would run as a formula is quoted."""
    if isinstance(value, list):
        numbers = value and isinstance(value[0], int)
        return ranges(value) if numbers else "; ".join(map(plain, value))
    if not isinstance(value, str):
        return value
    return f"'{plain(value)}" if value.startswith(("=", "+", "-", "@")) else plain(value)


def series_hash(files: SeriesFiles) -> str:
    """Pseudonym of a series or stack: 12 hexadecimal digits of the SHA-256 of its UID."""
    name = f"{files.uid}{files.stack}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(name).hexdigest()[:12]


def file_and_reason(error: str) -> tuple[str, str]:
    """Split the text of an error into the file that it begins with, or empty, and the reason.

    A name may hold ": " itself: the longest beginning that exists is the file.
    """
    ends = [found.start() for found in re.finditer(": ", error)]
    there = [end for end in ends if os.path.lexists(error[:end])]
    end = max(there, default=ends[0] if ends else None)
    return ("", error) if end is None else (error[:end], error[end + 2 :])


def _named_file(files, error):
    """The file of the series that an error names, or their folder; and the reason."""
    file, reason = file_and_reason(error)
    damaged = (file_and_reason(message)[0] for message in files.damaged)
    if file not in {*map(plain, files.files), *damaged}:
        file, reason = files.files[0].parent, error
    return plain(os.path.abspath(file)), reason


def _read(path):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            columns, *rows = csv.reader(file)
            if tuple(columns) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
                raise ValueError
    except (OSError, ValueError, csv.Error) as error:
        raise HeadrestError(f"{path}: no table of failures; move it away") from error
    return {row[0] or row[1]: tuple(row) for row in rows}
