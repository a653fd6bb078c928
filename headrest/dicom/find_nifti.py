"""Find NIfTI files in a folder."""

from pathlib import Path

from headrest.dicom.find import SeriesFiles
from headrest.dicom.nifti import is_nifti
from headrest.dicom.series import fingerprint_of_files


class NiftiFile(SeriesFiles):
    """One NIfTI file, as a series of one file."""

    def fingerprint(self, default_rescale: tuple[float, float] | None = None) -> str:
        """Fingerprint of the series that `read_nifti` reads from this file."""
        return fingerprint_of_files("NIfTI", self.files)


def find_nifti(source: str | Path, result_file: str) -> tuple[NiftiFile, ...]:
    """Find the NIfTI files of a folder and all its subfolders, or the one that a path names.

    Parameters
    ----------
    source : path
    result_file : str
        Folders with a file of this name hold results, and are skipped.
    """
    source = Path(source)
    found = [source] if source.is_file() else sorted(source.rglob("*.nii*"))
    return tuple(
        NiftiFile(str(path.absolute()), "", "", (path,))
        for path in found
        if is_nifti(path) and path.is_file() and not (path.parent / result_file).exists()
    )
