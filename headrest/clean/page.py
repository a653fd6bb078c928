"""One page about a run, to be looked at: a table of its series, and pictures of each."""

import base64
import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from tqdm.auto import tqdm

from headrest.clean.failures import Failures
from headrest.clean.preview import BYTES
from headrest.clean.report import REPORT_FILE, Report, read_report
from headrest.clean.report_rows import FLAGS, series_row
from headrest.clean.tree import FAILURES
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file
from headrest.util.version import __version__

TEMPLATE = Path(__file__).with_name("page.html")

PICTURE_BYTES = 14_000_000
"""Of all pictures of a page, before base64 adds a third: it opens at once, and can be mailed."""


def write_page(
    destination: str | Path,
    out: str | Path,
    reports: Sequence[Report] | None = None,
    identifiers: bool = False,
) -> None:
    """Write one HTML page about cleaned series: a table, and pictures of each.

    The page holds all it shows, asks no network for anything, and forbids the browser to.

    Parameters
    ----------
    destination : path, where the cleaned series lie.
    out : path, .html; replaced if it exists.
    reports : list of Report, optional
        What `clean_tree` returned. Without it, whatever lies in the destination.
    identifiers : bool
        Name the source folders, the files that failed, and the patients. Otherwise a series is
        called by its number and by the folder it was written to, which tells nobody who it is.

    Raises
    ------
    HeadrestError
        Where the destination holds no series, or the page cannot be written.

    Examples
    --------
    >>> from headrest import clean_tree
    >>> from headrest.clean.page import write_page
    >>> reports = clean_tree("archive", "cleaned")           # doctest: +SKIP
    >>> write_page("cleaned", "cleaned.html", reports)     # doctest: +SKIP
    """
    check_place(out)
    destination = Path(destination)
    reports = read_reports(destination) if reports is None else reports
    if not reports:
        raise HeadrestError(f"{destination}: holds no cleaned series")
    share = max(PICTURE_BYTES // len(reports), BYTES)
    rows = [
        series_row(number, report, destination, identifiers, share)
        for number, report in enumerate(tqdm(reports, "report", delay=2, unit="series"), 1)
    ]
    with atomic_file(out) as aside:
        aside.write_text(_page(rows, identifiers), encoding="utf-8")


def check_place(out: str | Path) -> None:
    """Refuse a place for the page before a long run, not after it.

    Raises
    ------
    HeadrestError
    """
    folder = Path(out).absolute().parent
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise HeadrestError(f"{out}: choose a name that ends in .html")
    if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(out).is_dir():
        raise HeadrestError(f"{out}: cannot be written to")


def read_reports(destination: str | Path) -> list[Report]:
    """Read what is known of every series below a folder.

    Parameters
    ----------
    destination : path, of one run or of many.

    Returns
    -------
    list of Report: what failed, as `failures.csv` has it, then the others by source. A damaged
    one has its reason in `error`.
    """
    reports = [_read(path) for path in sorted(Path(destination).glob(f"*/{REPORT_FILE}"))]
    reports.sort(key=lambda report: (report.source, report.folder))
    return [*_failed(Path(destination, FAILURES)), *reports]


def _failed(path):
    try:
        rows = Failures(path).rows.values()
    except HeadrestError as error:
        return [Report(source="", error=str(error))]
    return [Report(source=file, error=reason) for _, file, reason in rows]


def _read(path):
    name = path.parent.name
    try:
        report = replace(read_report(path), folder=name)
    except HeadrestError as error:
        return Report(source="", folder=name, error=str(error))
    return report if _is_sound(report) else Report("", name, error=f"{path}: damaged")


def _is_sound(report):
    words = (report.source, report.error, *report.states, *report.warnings)
    numbers = (report.slices, report.removed_ml, report.seconds, *report.confidence)
    return all(isinstance(word, str) for word in words) and all(
        isinstance(number, (int, float)) and math.isfinite(number) for number in numbers
    )


def _page(rows, identifiers):
    import jinja2  # only this module needs it

    text = TEMPLATE.read_text(encoding="utf-8")
    page = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(text)
    return page.render(
        rows=rows,
        identifiers=identifiers,
        version=__version__,
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        allowed={tag: _allowed(text, tag) for tag in ("style", "script")},
        total=_total(rows),
    )


def _allowed(text, tag):
    """Hash of the one style or script that the page may use (Content Security Policy)."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _total(rows):
    reports = [row["report"] for row in rows]
    every = [flag for row in rows for flag in row["flags"]]
    return {
        "series": len(rows),
        "flags": {flag: every.count(flag) for flag in FLAGS},
        "slices": sum(report.slices for report in reports),
        "removed_ml": sum(report.removed_ml for report in reports),
        "time": _duration(sum(report.seconds for report in reports)),
        "left_out": sum(row["left_out"] for row in rows),
    }


def _duration(seconds):
    """Write seconds as people say them.

    >>> [_duration(seconds) for seconds in (7.4, 605, 7380)]
    ['7 s', '10 min', '2 h 3 min']
    """
    hours, minutes = divmod(round(seconds) // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{round(seconds)} s"
