"""The report about one series, kept beside its slices as `cleaning.json`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from headrest.clean.options import CleanOptions
from headrest.segment.morphology import ABSENT, TOUCHING
from headrest.util.errors import HeadrestError, counted, plain
from headrest.util.version import __version__

REPORT_FILE = "cleaning.json"

UNCERTAIN_BELOW = 0.9
"""Confidence below which a slice is flagged as uncertain."""


@dataclass(frozen=True)
class Report:
    """The outcome of cleaning one series.

    Attributes
    ----------
    source : str, folder of the series below the source.
    folder : str, name of the folder below the destination; empty where nothing was written.
    method : str
    slices : int
    removed_ml : float, volume of the support, without its partial-volume boundary.
    states : tuple of str, "free", "touching" or "absent" for each slice.
    confidence : tuple of float, 0 to 1 for each slice; empty where the method gives none.
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
    def touching(self) -> list[int]:
        """Numbers (from 1) of the slices in which the support touches the patient."""
        return [i for i, state in enumerate(self.states, 1) if state == TOUCHING]

    @property
    def absent(self) -> list[int]:
        """Numbers (from 1) of the slices in which no support was found."""
        return [i for i, state in enumerate(self.states, 1) if state == ABSENT]

    @property
    def uncertain(self) -> list[int]:
        """Numbers (from 1) of the slices that a person should check."""
        return [i for i, sure in enumerate(self.confidence, 1) if sure < UNCERTAIN_BELOW]

    def __str__(self) -> str:
        source = plain(self.source)
        if self.error:
            return f"{source}: NOT CLEANED: {self.error}"
        line = f"{source} -> " if source else ""
        line += f"{self.folder}: {counted(self.slices, 'slice')}, {self.removed_ml:.1f} ml removed"
        kept = " and is left" if self.method == "kmeans" else ""
        flags = {
            f"support touches{kept}": self.touching,
            "uncertain": self.uncertain,
            "nothing found": self.absent,
        }
        return line + "".join(
            f", {flag} in {len(n)}: {ranges(n)}" for flag, n in flags.items() if n
        )


def ranges(numbers: list[int]) -> str:
    """Write slice numbers as ranges.

    >>> ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)


def save_report(folder: Path, report: Report) -> None:
    """Write the report of a series into its folder."""
    text = json.dumps({"headrest": __version__, **asdict(report)}, indent=1)
    (folder / REPORT_FILE).write_text(text, encoding="utf-8")


def read_report(path: Path) -> Report:
    """Read the report of a cleaned series back from its `cleaning.json`.

    Raises
    ------
    HeadrestError
        Where it is damaged.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields.pop("headrest")
        as_tuples = {key: tuple(fields[key]) for key in ("states", "confidence", "warnings")}
        return Report(**{**fields, **as_tuples})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HeadrestError(f"{path}: damaged; remove its folder to clean again") from error


def existing_report(
    fingerprint: str, destination: str | Path, options: CleanOptions
) -> Report | None:
    """Read the report of a series that is already cleaned, without reading the series.

    Returns
    -------
    Report, or None where there is no complete result with these options.
    """
    folder = Path(destination, options.folder_name(fingerprint))
    complete = (folder / REPORT_FILE).exists()
    if complete and all(output.is_in(folder) for output in options.outputs):
        return read_report(folder / REPORT_FILE)
    return None
