"""Write a derived CT series (PS3.3 C.7.6.1.1.2 to .5).

Removed pixels are set to air; every other pixel keeps its stored bits."""

import copy
import hashlib
import io
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DSfloat

from headrest.dicom.codecs import output_syntax, set_pixels
from headrest.dicom.frames import frame_source
from headrest.dicom.header import drop_private_elements, named_errors, number, quiet
from headrest.dicom.mask import one_label
from headrest.dicom.nifti import encode_like_source
from headrest.dicom.series import Series, check_shape
from headrest.hounsfield import AIR
from headrest.util import HeadrestError, __version__, progress
from headrest.util.files import atomic_folder

IMPLEMENTATION_UID = generate_uid(entropy_srcs=["headrest"])

SERIES_NUMBER_OFFSET = 1000  # so that a derived series sorts after its source
CLEANED_IMAGE = "cleaned.nii.gz"  # of a series from NIfTI
DERIVATION = "Support removed by headrest"  # in Derivation Description (0008,2111)

SOURCE_ONLY = ["IconImageSequence", "SmallestImagePixelValue", "LargestImagePixelValue"]
SOURCE_ONLY += ["SmallestPixelValueInSeries", "LargestPixelValueInSeries"]
SOURCE_ONLY += ["DigitalSignaturesSequence", "MACParametersSequence", "InstanceCreatorUID"]
SOURCE_ONLY += ["ExtendedOffsetTable", "ExtendedOffsetTableLengths", "DataSetTrailingPadding"]
"""Attributes that describe the source file and are deleted."""


def derived_uid(*sources: object) -> UID:
    """Make the UID that follows from these sources and the version of headrest.

    >>> derived_uid("1.2.3", "kmeans") == derived_uid("1.2.3", "kmeans")
    True
    """
    return generate_uid(entropy_srcs=["headrest", __version__, *map(str, sources)])


def write_derived_series(
    series: Series,
    removed: np.ndarray,
    folder: str | Path,
    parameters: str = "",
    extra: Callable[[Path], object] | None = None,
    *,
    compress: bool = False,
    drop_private: bool = False,
) -> None:
    """Write a copy of a series in which the pixels of `removed` are air.

    Parameters
    ----------
    series : Series
        From NIfTI, one file `cleaned.nii.gz` is written, with affine, data type and header kept.
    removed : bool array (slices, rows, columns), or a mask of 0 and 1
        Filled with -1000 HU, or with the nearest value that can be stored; see `fill_hu`.
    folder : path
        Written atomically, with one file per slice, 0001.dcm and so on along the slice normal.
    parameters : str
        How the mask was made, for the derivation description. The UIDs depend on it and on the
        mask, so that a rerun writes the same UIDs.
    extra : callable, optional
        Called with the temporary folder after the slices, to write additional outputs.
    compress : bool
        Compress losslessly with the codec of the source; see `headrest.dicom.codecs`. The UIDs
        stay the same. Without it slices are uncompressed.
    drop_private : bool, delete private elements (PS3.5 7.8), which may name the patient.

    Raises
    ------
    HeadrestError
        Where the mask does not fit the series, the series was made from an array, or the folder
        cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pydicom.data import get_testdata_file
    >>> from headrest import read_series
    >>> series = read_series(get_testdata_file("CT_small.dcm"))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     write_derived_series(series, series.hu > 1000, Path(place, "derived"))
    ...     derived = read_series(Path(place, "derived"))
    >>> bool((derived.hu[series.hu > 1000] == -1000).all())
    True
    """
    refuse_array(series)
    with named_errors(f"{folder}: not written", "no mask"):
        check_shape(removed, series)
        removed = one_label(np.asarray(removed))
    if drop_private:
        parameters = f"{parameters}, private elements dropped".removeprefix(", ")
    now = datetime.now(timezone.utc)
    made_of = series.headers and (series.fingerprint, parameters, mask_digest(removed))
    with quiet(), atomic_folder(folder) as temporary:
        if series.image is not None:
            stored = np.stack([_filled(series, removed, i) for i in range(len(series))])
            (temporary / CLEANED_IMAGE).write_bytes(encode_like_source(series, stored))
        for i in progress(range(len(series.headers)), "writing", brief=True):
            with named_errors(f"{folder}: slice {i + 1}", "makes no DICOM", passed=(OSError,)):
                derived = _derive(series, i, made_of, now)
                _describe_derivation(derived, series, i, parameters, now)
                if drop_private:
                    drop_private_elements(derived)
                syntax = output_syntax(series.headers[i].file_meta.TransferSyntaxUID, compress)
                derived.file_meta = file_meta(syntax)
                derived.file_meta.ImplementationVersionName = f"HEADREST_{__version__}"[:16]
                derived.preamble = bytes(128)  # a preamble can carry a program
                set_pixels(derived, _filled(series, removed, i))
                encoded = io.BytesIO()
                derived.save_as(encoded, enforce_file_format=True)
                (temporary / f"{i + 1:04d}.dcm").write_bytes(encoded.getvalue())
        if extra:
            extra(temporary)


def refuse_array(series: Any) -> None:
    """Refuse to write an array, or a series made from one: it has no header to keep."""
    if series.kind == "array" if isinstance(series, Series) else isinstance(series, np.ndarray):
        call = "support = find_support(hu, spacing_mm=(z, y, x)); hu[support.removed] = -1000"
        raise HeadrestError(f"a series from an array has no file to write: {call}")


def mask_digest(mask: np.ndarray, affine: np.ndarray | None = None) -> str:
    """SHA-256 of a mask, or of labels, and of the affine of an image."""
    content = (np.packbits(mask) if mask.dtype == bool else mask).tobytes()
    content += b"" if affine is None else affine.tobytes()
    return hashlib.sha256(content).hexdigest()


def fill_hu(series: Series, i: int) -> float:
    """HU of the removed pixels of slice i: -1000 HU, or the nearest value that can be stored."""
    return float(_fill(series, i) * series.slopes[i] + series.intercepts[i])


def _fill(series, i):
    """Stored value of `fill_hu`."""
    air, dtype = (AIR - series.intercepts[i]) / series.slopes[i], series.stored.dtype
    if dtype.kind == "f":
        return air
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if series.headers:
        bits, signed = series.headers[i].BitsStored, series.headers[i].PixelRepresentation
        low, high = -signed << (bits - 1), (1 << (bits - signed)) - 1
    return min(max(round(air), low), high)


def _filled(series, removed, i):
    """Stored values of slice i with the removed pixels filled."""
    dtype = series.stored.dtype
    if series.headers:
        dtype = np.dtype(np.int16 if series.headers[i].PixelRepresentation else np.uint16)
    words = series.stored[i].astype(dtype)
    words[removed[i]] = _fill(series, i)
    return words


def _copied(header):
    """Copy a header deeply, but for tags and raw elements, which are immutable."""
    items = [(tag, header.get_item(tag)) for tag in header.keys()]  # noqa: SIM118
    shared = [one for pair in items for one in pair if isinstance(one, (int, RawDataElement))]
    return copy.deepcopy(header, {id(one): one for one in shared})


def _derive(series, i, made_of, now):
    source = series.headers[i]
    derived = _copied(source)
    for keyword in SOURCE_ONLY:
        derived.pop(keyword, None)
    derived.SOPInstanceUID = derived_uid(source.SOPInstanceUID, *made_of)
    derived.SeriesInstanceUID = derived_uid(*made_of)
    derived.SeriesNumber = offset_series_number(source, SERIES_NUMBER_OFFSET)
    derived.SeriesDescription = appended(source, "SeriesDescription", " ", "headrest removed", 64)
    kinds = source.get("ImageType") or ""
    rest = [] if isinstance(kinds, str) else list(kinds[1:])
    derived.ImageType = ["DERIVED", *(rest or ["PRIMARY", "AXIAL"])]
    set_times(derived, _local(source, now), "InstanceCreation", "Content")
    if "RescaleSlope" not in source:  # given by the user
        derived.RescaleSlope = DSfloat(series.slopes[i], auto_format=True)
        derived.RescaleIntercept = DSfloat(series.intercepts[i], auto_format=True)
    return derived


def _local(source, now):
    """The time in the time zone that a file declares (PS3.3 C.12.1.1.8)."""
    try:
        return now.astimezone(datetime.strptime(source.TimezoneOffsetFromUTC, "%z").tzinfo)
    except (AttributeError, TypeError, ValueError):
        return now.astimezone()


def appended(source: Dataset, keyword: str, between: str, text: str, longest: int) -> str:
    """Append text to the value of an attribute; shorten the old value where it gets too long."""
    value = source.get(keyword) or ""  # a list where it holds a backslash
    before = value if isinstance(value, str) else " ".join(map(str, value))
    before = before[: max(longest - len(between) - len(text), 0)]
    return f"{before}{between}{text}"[:longest] if before else text[:longest]


def offset_series_number(source: Dataset, more: int) -> int:
    """Series Number plus an offset, within the range of an IS: 1 to 2**31 - 1."""
    return min(max(int(number(source, "SeriesNumber") or 0) + more, 1), 2**31 - 1)


def _describe_derivation(derived, series, i, parameters, now):
    source, how = series.headers[i], f" ({parameters})" if parameters else ""
    done = f"{DERIVATION} {__version__}{how}: filled with {fill_hu(series, i):.0f} HU"
    derived.DerivationDescription = appended(source, "DerivationDescription", "; ", done, 1024)
    mask = code("113047", "DCM", "Pixel by pixel mask")
    derived.DerivationCodeSequence = [*derived.get("DerivationCodeSequence", []), mask]
    derived.SourceImageSequence = [source_image(source)]
    equipment = item(
        PurposeOfReferenceCodeSequence=[code("109103", "DCM", "Modifying Equipment")],
        Manufacturer="headrest",
        ManufacturerModelName="headrest",
        SoftwareVersions=__version__,
        ContributionDateTime=now.strftime("%Y%m%d%H%M%S+0000"),
        ContributionDescription="Removal of the patient support from the pixels",
    )
    earlier = derived.get("ContributingEquipmentSequence", [])
    derived.ContributingEquipmentSequence = [*earlier, equipment]


def item(**elements: object) -> Dataset:
    """Make a Dataset of keywords and values, or elements of other datasets."""
    made = Dataset()
    for keyword, value in elements.items():
        if isinstance(value, DataElement):
            made[keyword] = value
        else:
            setattr(made, keyword, value)
    return made


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Make the item of a code sequence (PS3.3 8)."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def reference(header: Dataset) -> Dataset:
    """Make an item that refers to the image of a header, or to the frame it was made from."""
    return copy.deepcopy(frame_source(header)) or item(
        ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID
    )


def source_image(source: Dataset) -> Dataset:
    """Item of Source Image Sequence (0008,2112) that refers to a slice, or to its frame."""
    image = reference(source)
    purpose = code("121322", "DCM", "Source image for image processing operation")
    image.PurposeOfReferenceCodeSequence = [purpose]
    image.SpatialLocationsPreserved = "YES"
    return image


def file_meta(syntax: UID) -> FileMetaDataset:
    """Make file meta information; pydicom adds class and UID when the file is written."""
    elements = item(TransferSyntaxUID=syntax, ImplementationClassUID=IMPLEMENTATION_UID)
    return FileMetaDataset(elements)


def set_times(dataset: Dataset, time: datetime, *kinds: str) -> None:
    """Set the date and time attributes of these kinds."""
    for kind in kinds:
        setattr(dataset, f"{kind}Date", time.strftime("%Y%m%d"))
        setattr(dataset, f"{kind}Time", time.strftime("%H%M%S"))
