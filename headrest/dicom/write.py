"""Write a derived CT series (PS3.3 C.7.6.1.1.2 to .5): what was removed reads as air,
every other pixel is the source's to the bit."""

import copy
from datetime import datetime, timezone

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from pydicom.valuerep import DSfloat
from tqdm.auto import tqdm

from headrest import __version__
from headrest.dicom.attributes import number
from headrest.dicom.pixels import PADDING, as_stored
from headrest.errors import HeadrestError
from headrest.files import whole_folder
from headrest.hounsfield import AIR

IMPLEMENTATION_UID = generate_uid(entropy_srcs=["headrest"])
DERIVED_NUMBER = 1000
"""Added to Series Number (0020,0011), so that the derived series sorts behind its source."""

STALE = [
    "IconImageSequence",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "DataSetTrailingPadding",
]
"""True of the source's pixels only."""


def derived_uid(*sources):
    """Make a UID that is the same whenever the same sources are given.

    Examples
    --------
    >>> derived_uid("1.2.3", "kmeans") == derived_uid("1.2.3", "kmeans")
    True
    """
    return generate_uid(entropy_srcs=["headrest", __version__, *map(str, sources)])


def write_derived_series(series, removed, folder, parameters="", extra=None):
    """Write a copy of a series in which `removed` reads as air.

    Parameters
    ----------
    series : Series
    removed : bool array (slices, rows, columns)
        Filled with -1000 HU, or with the lowest stored value where -1000 HU cannot be stored.
    folder : path
        Gets one file a slice, 0001.dcm and so on along the slice normal; it appears only when
        it is complete.
    parameters : str
        How the mask was made: part of the derivation description and of the UIDs, so a rerun
        with the same parameters writes the same UIDs.
    extra : callable, optional
        Called with the folder before it is given its name, to lay more files beside the slices.

    Raises
    ------
    HeadrestError
        Where the mask does not fit the series, or the folder cannot be written.
    """
    if np.shape(removed) != series.stored.shape:
        shapes = f"a mask of {np.shape(removed)} for slices of {series.stored.shape}"
        raise HeadrestError(f"{folder}: not written: {shapes}")
    now = datetime.now(timezone.utc)
    with whole_folder(folder) as aside:
        rows = tqdm(range(len(series)), desc="writing", unit="slice", delay=2, leave=False)
        for i in rows:
            try:
                derived = _derive(series, i, parameters, now)
                _set_pixels(derived, _filled(series, removed, i))
                derived.save_as(aside / f"{i + 1:04d}.dcm", enforce_file_format=True)
            except OSError:
                raise
            except Exception as error:  # an odd element of the source may fail in any way
                reason = f"slice {i + 1} makes no DICOM ({type(error).__name__})"
                raise HeadrestError(f"{folder}: {reason}") from error
        if extra:
            extra(aside)


def _filled(series, removed, i):
    """Stored values of slice i with the fill value over what was removed."""
    header = series.headers[i]
    bits, signed = header.BitsStored, header.PixelRepresentation
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    fill = round((AIR - series.intercepts[i]) / series.slopes[i])
    words = series.stored[i].astype(np.int16 if signed else np.uint16)
    words[removed[i]] = np.clip(fill, low, high)
    return words


def _set_pixels(derived, words):
    order = ">" if derived.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    derived.add_new("PixelData", "OW", words.astype(words.dtype.newbyteorder(order)).tobytes())
    derived.HighBit = derived.BitsStored - 1
    vr = "SS" if derived.PixelRepresentation else "US"
    for keyword in PADDING:
        if (value := number(derived, keyword)) is not None:
            derived[keyword] = DataElement(keyword, vr, as_stored(value, derived))


def _derive(series, i, parameters, now):
    source = series.headers[i]
    derived = copy.deepcopy(source)
    for keyword in STALE:
        if keyword in derived:
            del derived[keyword]
    derived.SOPInstanceUID = derived_uid(source.SOPInstanceUID, parameters)
    derived.SeriesInstanceUID = derived_uid(series.fingerprint, parameters)
    derived.SeriesNumber = int(number(source, "SeriesNumber") or 0) + DERIVED_NUMBER
    description = f"{source.get('SeriesDescription') or ''} headrest removed".strip()
    derived.SeriesDescription = description[:64]
    derived.ImageType = ["DERIVED", *_image_type_rest(source)]
    for kind in ("InstanceCreation", "Content"):
        setattr(derived, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(derived, f"{kind}Time", now.strftime("%H%M%S"))
    if "RescaleSlope" not in source:  # the reader was told what the file does not say
        derived.RescaleSlope = DSfloat(series.slopes[i], auto_format=True)
        derived.RescaleIntercept = DSfloat(series.intercepts[i], auto_format=True)
    _say_what_was_done(derived, source, parameters, now)
    _renew_file_meta(derived)
    return derived


def _image_type_rest(source):
    value = source.get("ImageType") or []
    rest = [] if isinstance(value, str) else list(value[1:])
    return rest or ["PRIMARY", "AXIAL"]


def _say_what_was_done(derived, source, parameters, now):
    done = f"Support removed by headrest {__version__} ({parameters}): filled with {AIR:.0f} HU"
    before = source.get("DerivationDescription")
    derived.DerivationDescription = (f"{before}; {done}" if before else done)[:1024]
    mask = _code("113047", "DCM", "Pixel by pixel mask")
    derived.DerivationCodeSequence = [*source.get("DerivationCodeSequence", []), mask]
    derived.SourceImageSequence = [_source_image(source)]
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code("109103", "DCM", "Modifying Equipment")]
    equipment.Manufacturer = "headrest"
    equipment.ManufacturerModelName = "headrest"
    equipment.SoftwareVersions = __version__
    equipment.ContributionDateTime = now.strftime("%Y%m%d%H%M%S+0000")
    equipment.ContributionDescription = "Removal of the patient support from the pixels"
    earlier = source.get("ContributingEquipmentSequence", [])
    derived.ContributingEquipmentSequence = [*earlier, equipment]


def _code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _source_image(source):
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    purpose = _code("121322", "DCM", "Source image for image processing operation")
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _renew_file_meta(derived):
    # A native syntax stays what it is, so that unknown private elements keep their bytes.
    syntax = derived.file_meta.TransferSyntaxUID
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    kept = (ImplicitVRLittleEndian, ExplicitVRBigEndian)
    meta.TransferSyntaxUID = syntax if syntax in kept else ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"HEADREST_{__version__}"[:16]
    derived.file_meta = meta
    derived.preamble = bytes(128)  # a preamble can carry a program; ours is empty
