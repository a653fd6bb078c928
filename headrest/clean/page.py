"""One HTML page about a run: a table of its series, and pictures of each."""

import base64
import hashlib
import io
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from itertools import accumulate
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from PIL import Image
from pydicom import dcmread
from tqdm.auto import tqdm

from headrest.clean.outputs import PREVIEW_BYTES, PREVIEW_FOLDER, SLICE_PICTURES
from headrest.clean.report import NO_BOUND, REVIEW, Report, file_and_reason, ranges, read_results
from headrest.clean.tree import clean_tree
from headrest.util import HeadrestError, __version__, progress
from headrest.util.files import READ_ERRORS, atomic_file

TEMPLATE = Path(__file__).with_name("page.html")

PICTURE_BYTES = 14_000_000  # of a page, before base64 adds a third: a browser opens it at once

# Flags by which the series of a page can be filtered.
WARNED = ("other body part", "mask of the patient", "HU in doubt")
FLAGS = ("flagged", "touching", "uncertain", "nothing found", *WARNED, REVIEW, "failed")

IDENTIFIERS = {
    "PatientName": "patient",
    "PatientID": "patient ID",
    "StudyDate": "study date",
    "AccessionNumber": "accession",
    "StudyDescription": "study",
    "SeriesDescription": "series",
}


def print_message(message: object) -> None:
    """Print a message or a Report with its warnings, above the progress bar."""
    tqdm.write(str(message))
    for warning in getattr(message, "warnings", ()):
        tqdm.write(f"  {warning}")


def clean_and_report(
    source: str | Path,
    destination: str | Path,
    jobs: int,
    scheduler: str | None,
    report: str | Path | None,
    identifiers: bool,
    **options: Any,
) -> int:
    """Write a cleaned copy of every axial CT series below SOURCE.

    One line per series says how much was removed, and lists the slices in which the support
    touches the patient, the result is uncertain, or no support was found; manifest.csv in
    DESTINATION lists all series. The exit status is 0 if every series was written.
    """
    if report:
        check_place(report)
        options["pictures"] = True
    elif identifiers:
        raise HeadrestError("--identifiers shows names on a page: add --report FILE.html")
    reports = clean_tree(source, destination, jobs, scheduler, print_message, **options)
    if report:
        write_page(destination, report, reports, identifiers)
    failed = sum(bool(report.error) for report in reports)
    review = sum(report.status == REVIEW for report in reports)
    below = "" if options["accept_ml"] is None else f", {review} of them to be reviewed in {REVIEW}"
    print(f"{len(reports) - failed} series cleaned{below}, {failed} not")
    return 1 if failed else 0


def write_page(
    destination: str | Path,
    out: str | Path,
    reports: Sequence[Report] | None = None,
    identifiers: bool = False,
) -> None:
    """Write one HTML page about cleaned series; it loads nothing from outside.

    Series without a bound on the patient removed come first, the others from the highest bound on.

    Parameters
    ----------
    destination : path, where `clean_tree` wrote the series.
    out : path of the page, .html; its folder is made.
    reports : sequence of Report, optional, as `clean_tree` returns them; by default of all series.
    identifiers : bool, name source folders, files that failed, and patients; otherwise a series has
        its number and its folder in the destination.

    Raises
    ------
    HeadrestError
        Where the destination holds no series, or the page cannot be written.
    """
    check_place(out)
    destination = Path(destination)
    reports = read_results(destination) if reports is None else reports
    if not reports:
        raise HeadrestError(f"{destination}: holds no cleaned series")
    reports = sorted(reports, key=lambda r: -np.inf if r.bound_ml is None else -r.bound_ml)
    share = max(PICTURE_BYTES // len(reports), PREVIEW_BYTES)
    shown = enumerate(progress(reports, "report", unit="series", brief=True), 1)
    rows = [_row(n, report, destination, identifiers, share) for n, report in shown]
    with atomic_file(out) as temporary:
        temporary.write_text(_page(rows, identifiers), "utf-8", "backslashreplace")


def check_place(out: str | Path) -> None:
    """Raise a HeadrestError, before a long run, if the page could not be written after it."""
    folder = next(one for one in Path(out).absolute().parents if one.exists())
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise HeadrestError(f"{out}: choose a name that ends in .html")
    if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(out).is_dir():
        raise HeadrestError(f"{out}: cannot be written to")


def without_names(error: str) -> str:
    """Delete the files from a reason: folders and files are often named after the patient.

    >>> without_names("/archive/DOE^JOHN/1.dcm: RescaleSlope is 0, so every pixel would ...")
    'RescaleSlope is 0, so every pixel would ...'
    >>> without_names("out of memory: too large for this machine")
    'out of memory: too large for this machine'
    """
    if pair := re.search(r" (lie at one position|share a SOP Instance UID).*", error):
        return f"two files{pair[0]}"
    file, reason = file_and_reason(error)
    if os.path.lexists(file):
        return reason
    *folders, last = re.split(r"[/\\]", error)
    _, colon, reason = last.partition(": ")
    if not folders:
        return error
    return reason if colon else "the reason names files and is not shown here"


def _page(rows, identifiers):
    import jinja2  # loaded only where a page is written

    text = TEMPLATE.read_text(encoding="utf-8")
    page = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(text)
    reports = [row["report"] for row in rows]
    bounded = any(report.bound_ml is not None for report in reports)
    flags = [flag for row in rows for flag in row["flags"]]
    return page.render(
        rows=[row | {"numbers": _numbers(row["report"], bounded)} for row in rows],
        identifiers=identifiers,
        version=__version__,
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        allowed={tag: _content_hash(text, tag) for tag in ("style", "script")},
        flags={flag: flags.count(flag) for flag in FLAGS},
        slices=sum(report.slices for report in reports),
        removed_ml=sum(report.support_ml + report.boundary_ml for report in reports),
        time=_duration(sum(report.seconds for report in reports)),
        left_out=sum(row["left_out"] for row in rows),
        bounded=bounded,
    )


def _numbers(report, bounded):
    """Numbers of a series by the titles of their columns: each to sort by, and as text."""
    columns = {"Slices": (report.slices, str(report.slices))}
    columns["Support, ml"] = report.support_ml, f"{report.support_ml:.1f}"
    if bounded:
        ml = 1e9 if report.bound_ml is None else report.bound_ml
        columns["Patient, ml at most"] = ml, "not known" if ml == 1e9 else f"{ml:.2f}"
    columns |= {flag.capitalize(): (len(n), str(len(n))) for flag, n in report.flags.items()}
    return columns | {"Seconds": (report.seconds, f"{report.seconds:.1f}")}


def _content_hash(text, tag):
    """Hash of the one style or script that the page may use (Content Security Policy)."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _duration(seconds):
    hours, minutes = divmod(round(seconds) // 60, 60)
    if not hours:
        return f"{minutes} min" if minutes else f"{round(seconds)} s"
    return f"{hours} h {minutes} min"


def _row(number, report, destination, identifiers, share):
    """Content of one row of the page; its pictures may take `share` bytes."""
    review = REVIEW if report.status == REVIEW else ""
    folder = None if report.error else destination / review / Path(report.folder).name
    pictures = _pictures(folder, report.flags) if folder else []
    ends = accumulate(picture["bytes"] for picture in pictures)
    shown = [picture for picture, end in zip(pictures, ends) if end <= share]
    left = share - sum(picture["bytes"] for picture in shown)
    own = re.fullmatch("(review/)?ct-[0-9a-f]{12}", report.folder)  # a person may have renamed it
    named = own or identifiers
    kinds = [flag for flag, numbers in report.flags.items() if numbers] + [review] * bool(review)
    kinds += [kind for kind in WARNED if kind in report.kinds]
    return {
        "number": number,
        "report": report,
        "folder": report.folder if named or not report.folder else "folder renamed",
        "can_tick": bool(named) and not report.error,  # ticks are kept by the name of the folder
        "flags": ["failed"] if report.error else ["flagged", *kinds] if kinds else [],
        "names": _names(report, folder) if identifiers else {},
        "error": report.error if identifiers else without_names(report.error),
        "notes": _notes(report, identifiers, pictures),
        "pictures": shown,
        "slices": _slices(folder, report, left) if folder else [],
        "left_out": len(pictures) - len(shown),
    }


def _notes(report, identifiers, pictures):
    kept = ", and left" if report.method == "kmeans" else ""
    flags = [(flag, ranges(numbers)) for flag, numbers in report.flags.items() if numbers]
    notes = [f"{flag} in {text}{kept if flag == 'touching' else ''}" for flag, text in flags]
    notes += [NO_BOUND] * report.lacks_bound
    notes += [w for w in report.warnings if identifiers or not w.startswith("skipped ")]
    if not pictures and not report.error:
        burned_in = "burned in" in report.kinds
        notes.append(f"no pictures{', because of that text' if burned_in else ' are kept with it'}")
    return notes


def _pictures(folder, flags):
    """The pictures of a series, the flagged ones first: list of dict."""
    found = []
    for path in sorted((folder / PREVIEW_FOLDER).glob("*.webp")):
        with suppress(OSError, ValueError):  # not a picture of headrest
            coded = path.read_bytes()
            picture = _picture(path.stem, flags, data=coded)
            large = bool({"touching", "uncertain"}.intersection(picture["flags"]))
            found.append({**picture, "large": large, "bytes": len(coded)})
    return sorted(found, key=lambda picture: not picture["large"])


def _picture(name, flags, **coded):
    """Content of a picture named by the number of its slice; its layers are of one size."""
    number = int(name)
    width, height = Image.open(io.BytesIO(next(iter(coded.values())))).size
    reasons = [flag for flag, numbers in flags.items() if number in numbers]
    layers = {layer: base64.b64encode(one).decode() for layer, one in coded.items()}
    return {"number": number, "flags": reasons, "width": width, "height": height, **layers}


def _slices(folder, report, room):
    """Pictures of all slices, or of as many as fit into `room` bytes: list of dict."""
    try:
        with ZipFile(folder / SLICE_PICTURES) as file:
            names = sorted(name for name in file.namelist() if name.endswith(".jpg"))
            step = -(-sum(one.file_size for one in file.infolist()) // max(room, 1))
            return [
                _picture(
                    name.removesuffix(".jpg"),
                    report.flags,
                    before=file.read(name),
                    masks=file.read(name.replace(".jpg", "-masks.png")),
                    after=file.read(name.replace(".jpg", "-after.png")),
                )
                for name in names[step // 2 :: step]
            ]
    except READ_ERRORS:
        return []  # not a file of headrest, or none was asked for


def _names(report, folder):
    """Identifiers of a series, from its first file: dict of str to str."""
    names = {"from": report.source}
    for path in sorted(folder.glob("*.dcm") if folder else [])[:1]:  # NIfTI names no patient
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=list(IDENTIFIERS))
            names |= {label: str(header.get(key, "")) for key, label in IDENTIFIERS.items()}
        except Exception:  # a damaged file makes pydicom raise any exception
            names["patient"] = "cannot be read"
    return {label: value for label, value in names.items() if value}
