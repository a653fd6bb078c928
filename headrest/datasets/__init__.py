"""Real head CT by name, downloaded from its publisher on request only.

A scan lies in the cache of the platform, or below HEADREST_DATA. Its folder gets its name only
when every file is there with the published SHA-256.
"""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrest.util import HeadrestError, progress, table
from headrest.util.files import lock_folder, sha256

REGISTRY = Path(__file__).with_name("registry")
"""Files with their SHA-256, and the series of the Imaging Data Commons; part of the package."""

COMMIT = "d03e30e4c5c8ad07bf16422b96efc3e91e233dc5"
BASE = f"https://raw.githubusercontent.com/neurolabusc/dcm_qa_ct/{COMMIT}/In"
PLACES = {"ge-head": "GE", "philips-phantom": "Philips"}
"""Scans of neurolabusc/dcm_qa_ct (BSD-2-Clause), and the folder of each below `BASE`."""

RETRIES = 3
"""Further attempts per file, after one second, two and three; pooch does them."""


def fetch(name: str) -> Path:
    """Download a real scan, unless it is already complete.

    Parameters
    ----------
    name : str
        "ge-head": a living person's head, 28 slices, tilted, its rails touch the ears; 15 MB.
        "philips-phantom": a plastic skull in a head holder, as the scanner wrote it: two axial
        series, localizers and captures; 49 MB.

    Returns
    -------
    Path of its folder. Every file in it has the SHA-256 of `headrest/datasets/registry`.

    Raises
    ------
    HeadrestError
        Without a network, for wrong bytes, a full disk, or an unknown name. The next call
        continues with the first missing file.

    Examples
    --------
    >>> fetch("unknown")
    Traceback (most recent call last):
    headrest.util.HeadrestError: no scan 'unknown'; see `python -m headrest fetch --list`
    """
    if name not in PLACES:
        raise HeadrestError(f"no scan {name!r}; see `python -m headrest fetch --list`")
    import pooch  # imported here: only downloads need it

    folder = data_folder() / name
    files = pooch.create(folder, f"{BASE}/{PLACES[name]}/", retry_if_failed=RETRIES)
    files.load_registry(REGISTRY / f"{name}.txt")
    if folder.exists():
        for file, digest in files.registry.items():
            if not (folder / file).is_file() or sha256(folder / file) != digest:
                why = f"missing, or not what was fetched; remove {folder} and fetch again"
                raise HeadrestError(f"{folder / file}: {why}")
    else:
        with _incomplete(folder) as files.path:
            _download(name, files)
    return folder


def fetch_idc(name: str) -> Path:
    """Download a CT series of the NCI Imaging Data Commons, unless it is already complete.

    Parameters
    ----------
    name : str, of a row of `idc_series`, such as "idc-head-02".

    Returns
    -------
    Path of its folder, one file per slice; their number, bytes and UID are checked at every call.
    Errors as `fetch`, or where idc-index is not installed.

    Notes
    -----
    Cite the collection by the DOI of its row, and A. Fedorov et al., RadioGraphics (2023),
    doi 10.1148/rg.230180.

    Examples
    --------
    >>> fetch_idc("ge-head")
    Traceback (most recent call last):
    headrest.util.HeadrestError: no series 'ge-head'; see `python -m headrest fetch --list`
    """
    row = next((row for row in idc_series() if row["name"] == name), None)
    if row is None:
        raise HeadrestError(f"no series {name!r}; see `python -m headrest fetch --list`")
    folder = data_folder() / name
    if folder.exists():
        _check_series(row, folder, f"remove {folder} and fetch again")
    else:
        with _incomplete(folder) as temporary:
            _download_idc(row["series_uid"], temporary)
            _check_series(row, temporary, "check the network and fetch again to continue")
    return folder


def idc_series() -> list[dict[str, str]]:
    """List the series that `fetch_idc` knows: heads of 13 patients, chests of three.

    Each has a name (letters distinguish series of one patient), part, scanner, slices, bytes,
    licence, collection, doi, and series_uid (0020,000E).

    >>> sorted({row["licence"] for row in idc_series()})
    ['CC BY 3.0', 'CC BY 4.0']
    """
    with (REGISTRY / "idc.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def listing() -> str:
    """Table of all scans: name, scanner, slices, size, licence, source."""
    rows = [
        ("name", "scanner", "slices", "MB", "licence", "source"),
        ("ge-head", "GE HiSpeed Dual", "28", "15", "BSD-2-Clause", "neurolabusc/dcm_qa_ct"),
        ("philips-phantom", "Philips", "28 + 54", "49", "BSD-2-Clause", "neurolabusc/dcm_qa_ct"),
    ]
    for row in idc_series():
        size = str(round(int(row["bytes"]) / 1e6))
        source = f"{row['collection']}, doi {row['doi']}"
        rows.append((row["name"], row["scanner"], row["slices"], size, row["licence"], source))
    return table({head: values for head, *values in zip(*rows)})


def data_folder() -> Path:
    """Folder of all fetched scans: HEADREST_DATA, or the cache of the platform."""
    import pooch

    return Path(os.environ.get("HEADREST_DATA") or pooch.os_cache("headrest")).expanduser()


@contextmanager
def _incomplete(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, and rename it when complete; after an error it stays."""
    with lock_folder(folder.parent):
        temporary = folder.with_name(f".{folder.name}.incomplete")
        try:
            temporary.mkdir(exist_ok=True)
            yield temporary
            os.replace(temporary, folder)
        except OSError as error:
            why = f"cannot be written ({error.strerror or error})"
            remedy = "make room, or name another folder in HEADREST_DATA; fetching again continues"
            raise HeadrestError(f"{folder}: {why}; {remedy}") from error


def _download(name, files):
    import pooch
    from requests.exceptions import HTTPError, RequestException

    pooch.get_logger().setLevel("WARNING")  # the progress bar replaces one line per file
    for file in progress(files.registry, f"fetching {name}", unit="file"):
        try:
            files.fetch(file)
        except HTTPError as error:
            raise HeadrestError(f"{name}/{file}: {error}; fetch again later") from error
        except RequestException as error:
            why = f"no connection, or a broken one ({type(error).__name__}); check the network"
            raise HeadrestError(f"{name}/{file}: {why} and fetch again to continue") from error
        except ValueError as error:
            why = "not the published SHA-256, so it is not stored; look for a proxy in between"
            raise HeadrestError(f"{name}/{file}: {why} and fetch again to continue") from error
    for path in list(files.path.rglob("*")):  # a killed download leaves parts of files
        if path.is_file() and path.relative_to(files.path).as_posix() not in files.registry:
            path.unlink()


def _download_idc(series_uid, temporary):
    # Synchronizing skips files that are complete; dirTemplate=None makes no subfolders.
    options = {"use_s5cmd_sync": True, "dirTemplate": None}
    try:
        from idc_index import IDCClient

        IDCClient().download_dicom_series(series_uid, str(temporary), **options)
    except ImportError as error:
        raise HeadrestError(f"{error}: to fetch from there, pip install idc-index") from error
    except Exception as error:  # its tools raise errors of many types
        why = f"{type(error).__name__}: {error}"
        raise HeadrestError(f"{series_uid}: idc-index could not fetch it ({why})") from error


def _check_series(row, folder, remedy):
    """Refuse an incomplete series: idc-index reports one in a log only, and files get deleted."""
    from headrest.dicom import find_series

    files = [path for path in folder.glob("*.dcm") if path.name[0] != "."]
    size = sum(path.stat().st_size for path in files)
    if (len(files), size) != (int(row["slices"]), int(row["bytes"])):
        there = f"{len(files)} of {row['slices']} files, {size} of {row['bytes']} bytes"
        raise HeadrestError(f"{row['name']}: {there}; {remedy}")
    found = [(one.uid, len(one.files)) for one in find_series(folder).series]
    if found != [(row["series_uid"], len(files))]:
        raise HeadrestError(f"{row['name']}: another series arrived; see {folder}")
