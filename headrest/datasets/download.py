"""Real head CT by name, fetched from where it is published, and only when asked for.

A scan lies in the cache of the platform, or where HEADREST_DATA says. Its folder has its name
only when every file is there and is the one that was published.
"""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from headrest.util.errors import HeadrestError
from headrest.util.files import lock_folder, sha256

REGISTRY = Path(__file__).with_name("registry")
"""Lists of files with their SHA-256, and of series; they are part of the installed package."""

BASE = (
    "https://raw.githubusercontent.com/neurolabusc/dcm_qa_ct/"
    "d03e30e4c5c8ad07bf16422b96efc3e91e233dc5/In"
)
PLACES = {"ge-head": "GE", "philips-phantom": "Philips"}
"""Scans of neurolabusc/dcm_qa_ct (BSD-2-Clause), and the folder of each below `BASE`."""

RETRIES = 3
"""How often a file is asked for again, after one second, two and three."""


def fetch(name: str) -> Path:
    """Fetch a real scan, unless it is there already.

    Parameters
    ----------
    name : str
        "ge-head": a living person's head, 28 slices, tilted, its rails touch the ears; 15 MB.
        "philips-phantom": a plastic skull in a holder, as the scanner wrote it: two axial
        series, localizers and captures; 49 MB.

    Returns
    -------
    Path of its folder. Every file in it has the SHA-256 of `headrest/registry`.

    Raises
    ------
    HeadrestError
        Without a network, for wrong bytes, a full disk, or a name that does not exist. Called
        again it goes on with the first file that is missing.

    Notes
    -----
    From github.com/neurolabusc/dcm_qa_ct, BSD-2-Clause.

    Examples
    --------
    >>> fetch("nobody")
    Traceback (most recent call last):
    headrest.util.errors.HeadrestError: no scan 'nobody'; there is: ge-head, philips-phantom
    """
    if name not in PLACES:
        raise HeadrestError(f"no scan {name!r}; there is: {', '.join(PLACES)}")
    lines = (REGISTRY / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    digests = dict(line.split() for line in lines)
    folder = data_folder() / name
    if folder.exists():
        _check_digests(folder, digests)
    else:
        with _whole(folder) as aside:
            _download(name, digests, aside)
            _drop_strays(aside, digests)
    return folder


def fetch_idc(name: str) -> Path:
    """Fetch a CT series of the NCI Imaging Data Commons, unless it is there already.

    Parameters
    ----------
    name : str, of a row of `idc_series`, such as "idc-head-02".

    Returns
    -------
    Path of its folder, one file a slice.

    Raises
    ------
    HeadrestError
        Where the package idc-index is not installed, the series does not arrive whole, the disk
        is full, or there is no such name. Called again it goes on where it was.

    Notes
    -----
    Cite the collection by the DOI of its row, and A. Fedorov et al., RadioGraphics (2023),
    doi 10.1148/rg.230180.

    Examples
    --------
    >>> fetch_idc("ge-head")
    Traceback (most recent call last):
    headrest.util.errors.HeadrestError: no series 'ge-head'; see `python -m headrest fetch --list`
    """
    row = next((row for row in idc_series() if row["name"] == name), None)
    if row is None:
        raise HeadrestError(f"no series {name!r}; see `python -m headrest fetch --list`")
    folder = data_folder() / name
    if not folder.exists():
        with _whole(folder) as aside:
            _download_idc(row["series_uid"], aside)
            _check_series(row, aside)
    return folder


def idc_series() -> list[dict[str, str]]:
    """List the series that `fetch_idc` knows: heads of 13 patients, chests of three.

    Returns
    -------
    list of dict of name (letters tell series of one patient apart), part, scanner, slices, bytes,
    licence (CC BY 3.0 or 4.0), collection, doi, series_uid (0020,000E).

    Examples
    --------
    >>> sorted({row["licence"] for row in idc_series()})
    ['CC BY 3.0', 'CC BY 4.0']
    """
    with (REGISTRY / "idc.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def listing() -> str:
    """Write what can be fetched as a table: name, what it is, slices, size, licence, source."""
    from headrest.util.text import table

    known = [
        ("ge-head", "GE HiSpeed Dual", "28", "15", "BSD-2-Clause", "neurolabusc/dcm_qa_ct"),
        ("philips-phantom", "Philips", "28 + 54", "49", "BSD-2-Clause", "neurolabusc/dcm_qa_ct"),
    ]
    for row in idc_series():
        size = str(round(int(row["bytes"]) / 1e6))
        source = f"{row['collection']}, doi {row['doi']}"
        known.append((row["name"], row["scanner"], row["slices"], size, row["licence"], source))
    heads = ("name", "scanner", "slices", "MB", "licence", "source")
    return table(dict(zip(heads, zip(*known))))


def data_folder() -> Path:
    """Folder of all fetched scans: HEADREST_DATA, or the cache of the platform."""
    named = os.environ.get("HEADREST_DATA")
    if named:
        return Path(named).expanduser()
    import pooch  # here, since only those who fetch need it

    return Path(pooch.os_cache("headrest"))


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Fill a folder aside, and name it when it is whole; what came is kept until then."""
    with lock_folder(folder.parent):
        aside = folder.with_name(f".{folder.name}.incomplete")
        try:
            aside.mkdir(exist_ok=True)
            yield aside
            os.replace(aside, folder)
        except OSError as error:
            raise HeadrestError(
                f"{folder}: cannot be written ({error.strerror or error}); make room, or name "
                "another folder in HEADREST_DATA, and fetch again: it goes on where it was"
            ) from error


def _download(name: str, digests: dict[str, str], aside: Path) -> None:
    import pooch

    places = pooch.create(
        aside, f"{BASE}/{PLACES[name]}/", registry=digests, retry_if_failed=RETRIES
    )
    pooch.get_logger().setLevel("WARNING")  # the progress bar says the same in one line
    for file in tqdm(digests, desc=f"fetching {name}", unit="file"):
        with _failures_named(f"{name}/{file}"):
            places.fetch(file)


def _drop_strays(aside: Path, digests: dict[str, str]) -> None:
    """A killed download leaves a piece of a file, which would be taken for a slice."""
    for path in list(aside.rglob("*")):
        if path.is_file() and path.relative_to(aside).as_posix() not in digests:
            path.unlink()


@contextmanager
def _failures_named(file: str) -> Iterator[None]:
    from requests.exceptions import HTTPError, RequestException

    try:
        yield
    except HTTPError as error:
        raise HeadrestError(f"{file}: {error}; fetch again later") from error
    except RequestException as error:
        raise HeadrestError(
            f"{file}: no connection, or one that broke ({type(error).__name__}); check the "
            "network and fetch again: it goes on with this file"
        ) from error
    except ValueError as error:
        raise HeadrestError(
            f"{file}: what the server sends has another SHA-256 than what was published; "
            "nothing of it is kept. Look at what lies between (a proxy?) and fetch again"
        ) from error


def _check_digests(folder: Path, digests: dict[str, str]) -> None:
    for file, digest in digests.items():
        path = folder / file
        if not path.is_file() or sha256(path) != digest:
            raise HeadrestError(
                f"{path}: missing, or not what was fetched; remove {folder} and fetch again"
            )


def _download_idc(series_uid: str, aside: Path) -> None:
    try:
        from idc_index import IDCClient
    except ImportError as error:
        raise HeadrestError(f"{error}: to fetch from there, pip install idc-index") from error
    # With `sync` what came before is not fetched again; without a template no folders are made.
    try:
        IDCClient().download_dicom_series(
            series_uid, str(aside), use_s5cmd_sync=True, dirTemplate=None
        )
    except Exception as error:  # whatever its own tools raise
        raise HeadrestError(
            f"{series_uid}: idc-index could not fetch it ({type(error).__name__}: {error})"
        ) from error


def _check_series(row: dict[str, str], aside: Path) -> None:
    # A download that fails says so in a log, and nowhere else.
    from headrest.dicom import find_series

    files = [path for path in aside.iterdir() if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    if (len(files), size) != (int(row["slices"]), int(row["bytes"])):
        raise HeadrestError(
            f"{row['name']}: {len(files)} of {row['slices']} files came, {size} of {row['bytes']} "
            "bytes; check the network and fetch again: it goes on where it was"
        )
    found = [(one.uid, len(one.files)) for one in find_series(aside).series]
    if found != [(row["series_uid"], len(files))]:
        raise HeadrestError(f"{row['name']}: another series came than was asked for; see {aside}")
