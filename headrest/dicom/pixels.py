"""Decode the stored values of one CT image, checked against what its header declares."""

import re
import warnings

import numpy as np
from pydicom.pixels import pixel_array
from pydicom.pixels.utils import pack_bits
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)

from headrest.dicom.attributes import number
from headrest.errors import HeadrestError

NATIVE = {
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
}
# One decoder a syntax, named: pydicom would else take any plugin that is installed, and some
# end the Python process on a damaged file.
PLUGINS = {
    RLELossless: "pydicom",
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), "pylibjpeg"),
    **dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "pylibjpeg"),
}
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
LARGEST = 4096 * 4096
"""Pixels of one slice; nothing larger is decoded. CT matrices go up to 2048 x 2048."""


def decode(header):
    """Decode the pixel data of one CT image, and take it out of its header.

    Parameters
    ----------
    header : pydicom.Dataset
        Loses its Pixel Data (7FE0,0010); overlays hidden in the unused bits of the pixels
        move to Overlay Data (60xx,3000), where they belong (PS3.3 C.9.2).

    Returns
    -------
    stored : int16 or uint16 array (rows, columns)
        Masked to Bits Stored (0028,0101), as PS3.5 8.1.1 demands.
    notes : list of str

    Raises
    ------
    HeadrestError
        Where header and pixel data contradict each other.
    """
    _check_declared(header)
    raw = _decoded(header)
    stored = _mask_to_bits_stored(raw, header)
    notes = _bit_notes(raw, stored, header)
    if raw is not stored:
        _move_overlays(header, raw)
    del header.PixelData
    return stored, notes


def as_stored(value, header):
    """Read a padding value as a stored value of this image.

    Its VR is ambiguous (US or SS, PS3.5 A.2), and files declare the wrong one: 63536 is then
    what -2000 looks like.
    """
    bits = header.BitsStored
    value = int(value) & ((1 << bits) - 1)
    signed = header.PixelRepresentation and value >= 1 << (bits - 1)
    return value - (1 << bits) if signed else value


def _whole_number(header, keyword):
    value = number(header, keyword)
    if value is None or value != int(value):
        raise HeadrestError(f"{keyword} is missing or not a number")
    return int(value)


def _check_declared(header):
    if header.get("SOPClassUID") in (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage):
        raise HeadrestError("enhanced multi-frame CT; convert it to single-frame CT first")
    if "PixelData" not in header:
        raise HeadrestError("no pixel data; the file ends early or holds no image")
    rows, columns, allocated, stored, samples, signed = (
        _whole_number(header, keyword)
        for keyword in (
            "Rows",
            "Columns",
            "BitsAllocated",
            "BitsStored",
            "SamplesPerPixel",
            "PixelRepresentation",
        )
    )
    if samples != 1 or int(header.get("NumberOfFrames") or 1) != 1:
        raise HeadrestError("colour or several frames in one file; not a CT slice")
    if allocated != 16 or not 8 < stored <= 16 or signed not in (0, 1):
        raise HeadrestError(
            f"{stored} of {allocated} bits, PixelRepresentation {signed}; a CT slice has 16 bits"
        )
    if not 0 < rows * columns <= LARGEST:
        raise HeadrestError(f"a matrix of {rows} x {columns} pixels")


def _decoded(header):
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax in NATIVE:
        return _native(header, ">" if syntax == ExplicitVRBigEndian else "<")
    if syntax not in PLUGINS:
        name = getattr(syntax, "name", syntax)
        raise HeadrestError(
            f"transfer syntax {name} is not supported; "
            "decompress the file first, for instance with: dcmdjpeg IN OUT"
        )
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            pixels = pixel_array(
                header, raw=True, correct_unused_bits=False, decoding_plugin=PLUGINS[syntax]
            )
    except Exception as error:
        raise HeadrestError(_why_undecoded(syntax, error)) from error
    _refuse_excess(said)
    return pixels


def _refuse_excess(said):
    # pydicom drops what an RLE segment holds beyond the image. One byte is padding; more of
    # it are rows that the header denies.
    for warning in said:
        sizes = re.search(r"padding - (\d+) vs. (\d+) bytes", str(warning.message))
        if sizes and int(sizes[1]) - int(sizes[2]) > 1:
            raise HeadrestError(
                f"the pixel data is damaged or declared wrongly: {sizes[1]} bytes of RLE where "
                f"the matrix needs {sizes[2]}"
            )


def _why_undecoded(syntax, error):
    missing = {"pyjpegls": "pyjpegls", "pylibjpeg": "pylibjpeg pylibjpeg-openjpeg"}
    if "missing" in str(error) or "not available" in str(error):
        return f"{syntax.name} needs: pip install {missing.get(PLUGINS[syntax], 'pydicom')}"
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
    stored = np.dtype(np.int16 if header.PixelRepresentation else np.uint16)
    words = np.frombuffer(header.PixelData, stored.newbyteorder(byte_order), expected // 2)
    return words.astype(stored, copy=False).reshape(header.Rows, header.Columns)


def _mask_to_bits_stored(raw, header):
    shift = 16 - header.BitsStored
    if not shift:
        return raw
    # Left and back again drops the unused bits, and spreads the sign of signed values.
    return np.right_shift(np.left_shift(raw, shift), shift)


def _bit_notes(raw, stored, header):
    notes = []
    hidden = sum(1 << bit for _, bit in _embedded_overlays(header))
    if ((raw ^ stored) & np.array(~hidden & 0xFFFF, np.uint16).view(raw.dtype)).any():
        notes.append("values beyond BitsStored were cut: bone may read as air, or air as bone")
    if "HighBit" in header and _whole_number(header, "HighBit") != header.BitsStored - 1:
        notes.append(f"HighBit does not fit BitsStored {header.BitsStored}")
    return notes


def _embedded_overlays(header):
    """Group and bit of each overlay that hides in the unused bits of the pixels (retired)."""
    for group in range(0x6000, 0x601F, 2):
        if (group, 0x0102) in header and (group, 0x3000) not in header:
            yield group, int(header[group, 0x0102].value)


def _move_overlays(header, raw):
    for group, bit in list(_embedded_overlays(header)):
        header.add_new((group, 0x3000), "OW", pack_bits((raw.ravel() >> bit) & 1))
        header[group, 0x0100].value, header[group, 0x0102].value = 1, 0
