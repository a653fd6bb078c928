"""What the page about a run says of one series, with and without names."""

import base64
import io
import os
import re
from itertools import accumulate
from pathlib import Path

from PIL import Image
from pydicom import dcmread

from headrest.clean.failures import file_and_reason
from headrest.clean.preview import FOLDER
from headrest.clean.report import Report, ranges

FLAGS = ("flagged", "touching", "uncertain", "nothing found", "failed")
"""All by which the series of a page can be chosen."""

IDENTIFIERS = {
    "PatientName": "patient",
    "PatientID": "patient ID",
    "StudyDate": "study date",
    "AccessionNumber": "accession",
    "StudyDescription": "study",
    "SeriesDescription": "series",
}


def series_row(
    number: int, report: Report, destination: Path, identifiers: bool, share: int
) -> dict:
    """Gather what the page says of a series.

    Parameters
    ----------
    number : int, from 1.
    report : Report
    destination : path, where the cleaned series lie.
    identifiers : bool, whether files and patients are named.
    share : int, bytes that its pictures may take.

    Returns
    -------
    dict, as `page.html` uses it.
    """
    folder = None if report.error else destination / Path(report.folder).name
    pictures = _pictures(folder, report) if folder else []
    shown = _fitting(pictures, share)
    warnings = [w for w in report.warnings if identifiers or not w.startswith("skipped ")]
    return {
        "number": number,
        "report": report,
        "folder": _called(report.folder, identifiers),
        "slices": _slices(report),
        "flags": _flags(report),
        "names": _names(report, folder) if identifiers else {},
        "error": report.error if identifiers else without_names(report.error),
        "notes": [*_where(report), *warnings, *([] if pictures else _no_pictures(report))],
        "pictures": shown,
        "left_out": len(pictures) - len(shown),
    }


def _called(folder, identifiers):
    if not folder:
        return "nothing written"
    ours = re.fullmatch("ct-[0-9a-f]{12}", folder)  # somebody may have renamed it after a patient
    return folder if ours or identifiers else "folder renamed"


def _slices(report):
    return {
        "touching": report.touching,
        "uncertain": report.uncertain,
        "nothing found": report.absent,
    }


def _flags(report):
    if report.error:
        return ["failed"]
    kinds = [flag for flag, numbers in _slices(report).items() if numbers]
    return ["flagged", *kinds] if kinds else []


def _where(report):
    notes = [f"{flag} in {ranges(n)}" for flag, n in _slices(report).items() if n]
    left = report.method == "kmeans" and report.touching
    return [f"{notes[0]}, and left", *notes[1:]] if left else notes


def _no_pictures(report):
    if report.error:
        return []
    burned_in = any(w.startswith("burned-in annotation") for w in report.warnings)
    return ["no pictures, because of that text" if burned_in else "no pictures are kept with it"]


def without_names(error: str) -> str:
    """Take the files out of a reason, for folders and files are often named by the patient.

    Examples
    --------
    >>> without_names("/archive/DOE^JOHN/1.dcm: RescaleSlope is 0, so every pixel would ...")
    'RescaleSlope is 0, so every pixel would ...'
    >>> without_names("/archive/1.dcm and DOE.dcm lie at one position; keep the right one")
    'two files lie at one position; keep the right one'
    """
    if pair := re.search(r" (lie at one position|share a SOP Instance UID).*", error):
        return f"two files{pair[0]}"
    file, reason = file_and_reason(error)
    if os.path.lexists(file):
        return reason
    *folders, last = re.split(r"[/\\]", error)
    _, colon, reason = last.partition(": ")
    if colon:
        return reason
    return "the reason names files and is not shown here" if folders else error


def _pictures(folder, report):
    """Every picture of a series, the flagged ones first: list of dict."""
    found = []
    for path in sorted((folder / FOLDER).glob("*.webp")):
        try:
            coded, number = path.read_bytes(), int(path.stem)
            width, height = Image.open(io.BytesIO(coded)).size
        except (OSError, ValueError):
            continue  # no picture of ours
        words = [flag for flag, numbers in _slices(report).items() if number in numbers]
        found.append(
            {
                "number": number,
                "flags": words,
                "large": bool({"touching", "uncertain"}.intersection(words)),
                "bytes": len(coded),
                "data": base64.b64encode(coded).decode(),
                "width": width,
                "height": height,
            }
        )
    return sorted(found, key=lambda picture: not picture["large"])


def _fitting(pictures, share):
    """The first pictures, as many as fit into so many bytes."""
    ends = accumulate(picture["bytes"] for picture in pictures)
    return [picture for picture, end in zip(pictures, ends) if end <= share]


def _names(report, folder):
    """Whom and what a series shows, as its first file says it: dict of str to str."""
    names = {"from": report.source}
    if folder is None:
        return names
    try:  # whatever a damaged file does, the page goes on
        path = min(folder.glob("*.dcm"))
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(IDENTIFIERS))
        names |= {label: str(header.get(key, "")) for key, label in IDENTIFIERS.items()}
    except Exception:
        names["patient"] = "cannot be read"
    return {label: value for label, value in names.items() if value}
