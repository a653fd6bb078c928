"""The table of what could not be cleaned, beside what was."""

import csv
import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from headrest.dicom import SeriesFiles
from headrest.util.errors import HeadrestError, plain
from headrest.util.files import atomic_file

COLUMNS = ("series", "file", "reason")


class Failures:
    """What could not be cleaned, in a table (failures.csv) that is always whole.

    One row a series: a hash of its Series Instance UID, the file or folder, the reason; and one
    for each file that belongs to no series. A series that is cleaned later leaves the table, and
    an empty table leaves no file.

    Parameters
    ----------
    path : path of the table, which need not exist.

    Raises
    ------
    HeadrestError
        Where a file of that name is something else.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.rows = dict(_read(self.path))

    def begin(
        self,
        source: str | Path,
        series: Iterable[SeriesFiles],
        broken: Iterable[HeadrestError],
    ) -> None:
        """Bring the rows of a source up to what a walk has found there.

        Parameters
        ----------
        source : path. Rows of files elsewhere stay.
        series : iterable of `headrest.dicom.SeriesFiles`; their rows stay until they are done.
        broken : iterable of HeadrestError, of files whose header cannot be read.
        """
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
        """Take down what became of a series; an empty error takes its row away."""
        key, before = series_hash(files), dict(self.rows)
        self.rows.pop(key, None)
        if error:
            self.rows[key] = (key, *_named_file(files, error))
        if self.rows != before:
            with suppress(HeadrestError):  # somebody looks at it, on Windows: another time
                self.write()

    def write(self) -> None:
        """Write the table, whole.

        Raises
        ------
        HeadrestError
            Where it cannot be written.
        """
        if not self.rows:
            self.path.unlink(missing_ok=True)
            return
        with (
            atomic_file(self.path) as aside,
            open(aside, "w", encoding="utf-8", newline="") as file,
        ):
            csv.writer(file).writerows([COLUMNS, *self.rows.values()])


def series_hash(files: SeriesFiles) -> str:
    """Pseudonym of a series or stack: 12 hexadecimal digits of the SHA-256 of its UID."""
    name = f"{files.uid}{files.stack}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(name).hexdigest()[:12]


def file_and_reason(error: str) -> tuple[str, str]:
    """Part the text of an error into the file that it begins with, empty if with none, and why.

    A name may hold ": " itself: of all that the text may begin with, the longest that exists
    counts.
    """
    ends = [found.start() for found in re.finditer(": ", error)]
    there = [end for end in ends if os.path.lexists(error[:end])]
    end = max(there, default=ends[0] if ends else None)
    return ("", error) if end is None else (error[:end], error[end + 2 :])


def _named_file(files, error):
    """Part an error's text into the file of the series that it names, or their folder; and why."""
    for path in files.files:
        if error.startswith(f"{plain(path)}: "):
            return plain(os.path.abspath(path)), error[len(plain(path)) + 2 :]
    return plain(os.path.abspath(files.files[0].parent)), error


def _read(path):
    if not path.exists():
        return
    try:
        with open(path, encoding="utf-8", newline="") as file:
            columns, *rows = csv.reader(file)
            if tuple(columns) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
                raise ValueError
    except (OSError, ValueError, csv.Error) as error:
        raise HeadrestError(f"{path}: no table of failures; move it away") from error
    yield from ((row[0] or row[1], tuple(row)) for row in rows)
