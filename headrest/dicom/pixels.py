"""Decode the stored values of one CT image and check them against its header."""

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.pixels.utils import pack_bits
from pydicom.uid import ExplicitVRBigEndian, UncompressedTransferSyntaxes

from headrest.dicom.codecs import CODECS, check_frame, decode_frame
from headrest.dicom.values import ENHANCED_CLASSES, number, text, value_of
from headrest.util.errors import HeadrestError, plain

MATRIX = ["Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel"]
MATRIX += ["PixelRepresentation"]
MAX_PIXELS = 2048 * 2048
"""Pixels of one slice at most; no scanner makes larger ones."""


def decode(header: Dataset) -> tuple[np.ndarray, list[str]]:
    """Decode the pixel data of one CT image and delete it from the header.

    Overlays in the unused bits of the pixels move to Overlay Data (60xx,3000) (PS3.3 C.9.2).
    Return stored values, int16 or uint16 (rows, columns), masked to Bits Stored (0028,0101)
    (PS3.5 8.1.1), and warnings.
    """
    check_declared(header)
    raw = _decoded(header).astype(np.int16 if header.PixelRepresentation else np.uint16, copy=False)
    stored = mask_to_bits_stored(raw, header)
    notes = bit_notes(raw, stored, header)
    if raw is not stored:
        for group, bit in list(_embedded_overlays(header)):
            header.add_new((group, 0x3000), "OW", pack_bits((raw.ravel() >> bit) & 1))
            header[group, 0x0100].value, header[group, 0x0102].value = 1, 0
    del header.PixelData
    return stored, notes


def _whole_number(header, keyword):
    value = number(header, keyword)
    if value is None or value != int(value):
        raise HeadrestError(f"{keyword} is missing or not a number")
    if header.get_item(keyword).VR != "US" and value >= 0:  # later code reads it with its VR
        header[keyword] = DataElement(keyword, "US", int(value))
    return int(value)


def check_declared(header: Dataset) -> None:
    """Refuse a header that does not describe one CT slice."""
    if text(header, "SOPClassUID") in ENHANCED_CLASSES:
        raise HeadrestError("enhanced multi-frame CT without frames; export it again")
    if "PixelData" not in header:
        raise HeadrestError("no pixel data; the file ends early or holds no image")
    if "FloatPixelData" in header or "DoubleFloatPixelData" in header:
        raise HeadrestError("pixels of two kinds in one file; export it again")
    rows, columns, allocated, stored, samples, signed = (
        _whole_number(header, keyword) for keyword in MATRIX
    )
    if samples != 1 or header.get("NumberOfFrames") not in (None, "", 1):
        raise HeadrestError("colour or several frames in one file; not a CT slice")
    photometric = text(header, "PhotometricInterpretation") or "MONOCHROME2"
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise HeadrestError("colour or a palette (PhotometricInterpretation); not a CT slice")
    if allocated != 16 or not 8 < stored <= 16 or signed not in (0, 1):
        raise HeadrestError(
            f"{stored} of {allocated} bits, PixelRepresentation {signed}; a CT slice has 16 bits"
        )
    if min(rows, columns) < 1 or rows * columns > MAX_PIXELS:
        raise HeadrestError(f"a matrix of {rows} x {columns} pixels")


def _decoded(header):
    syntax = value_of(header.file_meta, "TransferSyntaxUID")
    if syntax in UncompressedTransferSyntaxes:
        return _native(header, ">" if syntax == ExplicitVRBigEndian else "<")
    if syntax not in CODECS:
        name = plain(getattr(syntax, "name", syntax))[:64]
        raise HeadrestError(
            f"transfer syntax {name} is not supported; "
            "decompress the file first, for instance with: dcmdjpeg IN OUT"
        )
    for table in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if table in header:
            del header[table]  # not needed for a single frame
    try:
        lossy = check_frame(header, syntax)
        pixels = decode_frame(header, syntax, correct_unused_bits=False)
    except HeadrestError:
        raise
    except Exception as error:
        raise HeadrestError(_why_undecoded(syntax, error)) from error
    if pixels.shape != (header.Rows, header.Columns):
        raise HeadrestError("several images in one file; not a CT slice")
    if lossy:
        header.LossyImageCompression = "01"
    return pixels


def _why_undecoded(syntax, error):
    missing = {"pyjpegls": "pyjpegls", "pylibjpeg": "pylibjpeg pylibjpeg-openjpeg"}
    if isinstance(error, ImportError):
        return f"{syntax.name} needs: pip install imagecodecs"
    if "missing" in str(error) or "not available" in str(error):
        return f"{syntax.name} needs: pip install {missing.get(CODECS[syntax].plugin, 'pydicom')}"
    return f"the pixel data cannot be decoded as {syntax.name}: damaged, or declared wrongly"


def _native(header, byte_order):
    expected = header.Rows * header.Columns * 2
    excess = len(header.PixelData) - expected
    # PS3.5 8.1.1 pads to even length, and some writers pad an even length as well.
    if excess not in (0, 1):
        raise HeadrestError(
            f"{len(header.PixelData)} bytes of pixel data where {header.Rows} x {header.Columns} "
            f"pixels need {expected}; the file is cut short or its header is wrong"
        )
    kind = byte_order + ("i2" if header.PixelRepresentation else "u2")
    words = np.frombuffer(header.PixelData, kind, expected // 2)
    return words.reshape(header.Rows, header.Columns)


def mask_to_bits_stored(raw: np.ndarray, header: Dataset) -> np.ndarray:
    """Clear the bits above Bits Stored; the same array where there are none."""
    bits, signed = header.BitsStored, header.PixelRepresentation
    highest = 1 << (bits - 1 if signed else bits)
    if raw.max() < highest and (not signed or raw.min() >= -highest):
        return raw
    # Shifting left and back clears the unused bits and extends the sign of signed values.
    return np.right_shift(np.left_shift(raw, 16 - bits), 16 - bits)


def bit_notes(raw: np.ndarray, stored: np.ndarray, header: Dataset) -> list[str]:
    """Warnings about bits above Bits Stored that are no overlay, and about High Bit."""
    notes = []
    if raw is not stored:
        hidden = sum(1 << bit for _, bit in _embedded_overlays(header))
        if ((raw ^ stored) & np.array(~hidden & 0xFFFF, np.uint16).view(raw.dtype)).any():
            notes.append("values beyond BitsStored were cut: bone may read as air, or air as bone")
    if "HighBit" in header and _whole_number(header, "HighBit") != header.BitsStored - 1:
        notes.append(f"HighBit does not fit BitsStored {header.BitsStored}")
    return notes


def _embedded_overlays(header):
    """Group and bit of each overlay in the unused bits of the pixels (retired)."""
    matrix = [header.Rows, header.Columns]
    for group in range(0x6000, 0x601F, 2):
        if (group, 0x0102) in header and (group, 0x3000) not in header:
            bit, *size = (number(header, (group, n)) for n in (0x0102, 0x0010, 0x0011))
            if bit is not None and header.BitsStored <= bit <= 15 and size == matrix:
                yield group, int(bit)
