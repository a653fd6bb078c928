"""Decode the stored values of one CT image, and check that they fit its header and are HU."""

import re
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from pydicom import Dataset, uid
from pydicom.pixels.utils import pack_bits

from headrest.dicom.codecs import CODECS, check_frame, decode_frame, stored_padding
from headrest.dicom.frames import ENHANCED_CLASSES
from headrest.dicom.header import number, text, value_of
from headrest.hounsfield import AIR, DENSE_HU, PADDING_BELOW
from headrest.util import HeadrestError, plain

MATRIX = "Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel", "PixelRepresentation"
MAX_PIXELS = 2048 * 2048  # of one slice; no scanner makes larger ones
SLOPE_RANGE = (0.001, 100)  # outside it, 16 bits hold no CT scale

EXTENDED_INTERCEPT = -8192  # of the extended CT scale; only with it are 57343 HU plausible
WRAP, MIN_AIR_SHARE = 4096, 0.02  # of 12-bit values; share of air once they are read as signed

SHIFTED_BELOW, MAX_SHIFTED_SHARE = -1500, 0.3
"""HU below which there is padding alone, and the largest share of voxels there with other values
than that of padding. It is at most 0.21 in six real series, where padding was compressed with loss;
0.48 or more once they are shifted by -1000."""

MAX_AIR_SHARE, MIN_TISSUE_SHARE = 0.005, 0.1
"""Values are shifted by 1000 or 1024 where a smaller share than the first is at -1150 to -850 HU
(without the most common value, padding), and a larger one than the second at 900 to 1250. The
latter is 0.065 at most in six synthetic and six real series, and 0.2 or more once these are
shifted, but 0.02 to 0.04 where most of the image is air."""

CLIPPED_ABOVE, MAX_CLIPPED_SHARE = -900, 0.05
"""Values are clipped if the lowest is above these HU and a larger share of the voxels has it: air
is lower and noisy."""

NOT_HU = {"OD", "MGML", "Z_EFF", "ED", "EDW", "PCT"}  # of Rescale Type (PS3.3 C.11.1.1.2)


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
            header.add_new((group, 0x0100), "US", 1)
            header.add_new((group, 0x0102), "US", 0)
    del header.PixelData
    return stored, notes


def _whole_number(header, keyword):
    value = number(header, keyword)
    if value is None or value != int(value):
        raise HeadrestError(f"{keyword} is missing or not a number")
    if header.get_item(keyword).VR != "US" and value >= 0:  # later code reads it with its VR
        header.add_new(keyword, "US", int(value))
    return int(value)


def check_declared(header: Dataset) -> None:
    """Refuse a header that does not describe one CT slice."""
    if text(header, "SOPClassUID") in ENHANCED_CLASSES:
        raise HeadrestError("enhanced multi-frame CT without frames; export it again")
    if not header.get("PixelData"):
        raise HeadrestError("no pixel data; the file ends early or holds no image")
    if "FloatPixelData" in header or "DoubleFloatPixelData" in header:
        raise HeadrestError("pixels of two kinds in one file; export it again")
    rows, columns, allocated, stored, samples, signed = (_whole_number(header, n) for n in MATRIX)
    if samples != 1 or header.get("NumberOfFrames") not in (None, "", 1):
        raise HeadrestError("colour or several frames in one file; not a CT slice")
    photometric = text(header, "PhotometricInterpretation") or "MONOCHROME2"
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise HeadrestError("colour or a palette (PhotometricInterpretation); not a CT slice")
    if allocated != 16 or not 8 < stored <= 16 or signed not in (0, 1):
        found = f"{stored} of {allocated} bits, PixelRepresentation {signed}"
        raise HeadrestError(f"{found}; a CT slice has 16 bits")
    if min(rows, columns) < 1 or rows * columns > MAX_PIXELS:
        raise HeadrestError(f"a matrix of {rows} x {columns} pixels")


def _decoded(header):
    syntax = value_of(header.file_meta, "TransferSyntaxUID")
    if syntax in uid.UncompressedTransferSyntaxes:
        return _native(header, syntax)
    if syntax not in CODECS:
        name = plain(getattr(syntax, "name", syntax))[:64]
        raise HeadrestError(
            f"transfer syntax {name} is not supported; "
            "decompress the file first, for instance with: dcmdjpeg IN OUT"
        )
    for table in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        header.pop(table, None)  # not needed for a single frame
    try:
        lossy = check_frame(header, syntax)
        pixels = decode_frame(header, syntax, correct_unused_bits=False)
    except HeadrestError:
        raise
    except Exception as error:
        reason = f"the pixel data cannot be decoded as {syntax.name}: damaged, or declared wrongly"
        if isinstance(error, ImportError) or re.search("missing|not available", str(error)):
            reason = f"{syntax.name} needs: pip install {CODECS[syntax].packages}"
        raise HeadrestError(reason) from error
    if pixels.shape != (header.Rows, header.Columns):
        raise HeadrestError("several images in one file; not a CT slice")
    if lossy:
        header.LossyImageCompression = "01"
    return pixels


def _native(header, syntax):
    found, expected = len(header.PixelData), header.Rows * header.Columns * 2
    # PS3.5 8.1.1 pads to even length, and some writers pad an even length as well.
    if not expected <= found <= expected + 1:
        raise HeadrestError(
            f"{found} bytes of pixel data where {header.Rows} x {header.Columns} pixels need "
            f"{expected}; the file is cut short or its header is wrong"
        )
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    kind = f"{order}{'ui'[header.PixelRepresentation]}2"
    return np.frombuffer(header.PixelData, kind, expected // 2).reshape(header.Rows, -1)


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


def check_default_rescale(pair: Sequence[float] | None) -> None:
    """Refuse a default rescale that gives no HU."""
    if pair is None:
        return
    with suppress(TypeError, ValueError):
        slope, intercept = map(float, pair)
        if slope and np.isfinite([slope, intercept]).all():
            return
    raise HeadrestError(f"default_rescale {pair}: not a slope and an intercept")


def check_wrapped(stored: np.ndarray, header: Dataset, slope: float, intercept: float) -> None:
    """Refuse signed values that were stored as unsigned and wrapped at 4096."""
    has_air = stored.min() * slope + intercept <= DENSE_HU
    if header.PixelRepresentation or has_air or stored.max() >= WRAP:
        return
    wrapped = (stored.astype(np.int32) - WRAP) * slope + intercept
    if np.mean(abs(wrapped - AIR) < AIR - PADDING_BELOW) >= MIN_AIR_SHARE:
        raise HeadrestError(
            f"air has {AIR + WRAP * slope:.0f} HU: signed values were stored as unsigned and "
            "wrapped at 4096; declare them as signed: "
            "dcmodify -m 0028,0101=12 -m 0028,0102=11 -m 0028,0103=1 FILE"
        )


def rescale_pair(header: Dataset, default: Sequence[float] | None) -> tuple[float, float]:
    """Slope and intercept, type 1 in CT (PS3.3 C.8.2.1), or `default` for neither; refuse no HU."""
    neither = "RescaleSlope" not in header and "RescaleIntercept" not in header
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if neither and default:
        slope, intercept = map(float, default)
    if slope is None or intercept is None:
        raise HeadrestError(
            "RescaleSlope and RescaleIntercept are missing, so its values are not HU; if you know "
            "them: default_rescale=(slope, intercept), or --default-rescale"
            if neither
            else "RescaleSlope or RescaleIntercept is missing or no number, so its values are not "
            "HU; export the series again"
        )
    if slope == 0:
        raise HeadrestError("RescaleSlope is 0, so every pixel would have the same HU")
    if not SLOPE_RANGE[0] <= abs(slope) <= SLOPE_RANGE[1]:
        raise HeadrestError(f"RescaleSlope {slope:g} gives no HU; export the series again")
    if header.get("ModalityLUTSequence"):  # an empty one holds no table
        raise HeadrestError("has a table (ModalityLUTSequence) besides its rescale; one is wrong")
    if text(header, "RescaleType").upper() in NOT_HU:
        raise HeadrestError("its values are no HU (RescaleType)")
    return slope, intercept


def check_range(stored: np.ndarray, slope: float, intercept: float) -> list[str]:
    """Refuse HU that no scanner measures; return warnings about unusual ones."""
    lowest, highest = sorted(float(v) * slope + intercept for v in (stored.min(), stored.max()))
    if highest > 65535 or (highest > 32767 and intercept > EXTENDED_INTERCEPT):
        raise HeadrestError(
            f"values up to {highest:.0f} HU: signed values were declared unsigned "
            "(PixelRepresentation), or the rescale is wrong; export the series again"
        )
    notes = []
    if highest > 16000:
        notes.append(f"values up to {highest:.0f} HU")
    if highest < PADDING_BELOW:
        notes.append("nothing above -1100 HU: nothing was measured, or the rescale is wrong")
    elif lowest > DENSE_HU:
        notes.append("no air anywhere: the image is all tissue, or the rescale is wrong")
    if lowest < EXTENDED_INTERCEPT:
        notes.append(f"values down to {lowest:.0f} HU")
    return notes


def check_volume(stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> None:
    """Refuse NaN, infinity, values that int16 cannot hold, and a volume without air near -1000."""
    ends = stored.min(), stored.max()
    lowest, highest = sorted(float(v) * slope + intercept for v in ends)
    if not np.isfinite([lowest, highest]).all():
        raise HeadrestError(
            "values are NaN or infinite: replace them with air, np.nan_to_num(hu, nan=-1024)"
        )
    if highest > 32767 or lowest < -32768:
        raise HeadrestError(
            f"values from {lowest:.0f} to {highest:.0f}: no HU; an integer overflow? "
            "Convert to a signed type before the rescale: stored.astype(np.int32)"
        )
    clipped = lowest > CLIPPED_ABOVE and np.mean(stored == ends[slope < 0]) > MAX_CLIPPED_SHARE
    shifted = f"the lowest value is {lowest:.0f}" if clipped or lowest > DENSE_HU else ""
    if shifted or _is_shifted(stored[:, ::4, ::4] * slope + intercept):
        raise HeadrestError(
            f"{shifted or 'soft tissue is near 1000'}: expected HU, with air near -1000. If values "
            "are shifted: hu = values - 1000, or - 1024. Clipped, scaled to 0..1, or a mask?"
        )
    beyond = np.less if slope > 0 else np.greater
    low = stored[beyond(stored, (SHIFTED_BELOW - intercept) / slope)]
    if low.size and (abs(low - np.median(low)) > 1).sum() > MAX_SHIFTED_SHARE * stored.size:
        raise HeadrestError(
            f"values from {lowest:.0f} to {highest:.0f}, many near -2000: expected HU, with air "
            "near -1000; was the intercept added twice? hu = values + 1024"
        )


def _is_shifted(hu):
    """Whether soft tissue is near 1000 HU, and no air near -1000."""
    counts = np.bincount((np.clip(np.rint(hu), -1500, 1500) + 1500).astype(int).ravel(), None, 3001)
    air, cancellous, tissue = counts[350:651], counts[1700:2201].sum(), counts[2400:2751].sum()
    no_air = air.sum() - air.max() < MAX_AIR_SHARE * hu.size
    return no_air and tissue > max(MIN_TISSUE_SHARE * hu.size, 2 * cancellous)


def padding_hu(
    header: Dataset, slope: float, intercept: float
) -> tuple[tuple[float, float] | None, list[str]]:
    """HU (lowest, highest) of the padding attributes (PS3.3 C.7.5.1.1.2), or None; and warnings."""
    if (stored := stored_padding(header)) is None:
        return None, ["padding value ignored: no pixel can have it"]
    ends = [value * slope + intercept for value in stored.values()]
    if not ends:
        return None, []
    if max(ends) > -900:
        return None, [f"padding value of {max(ends):.0f} HU ignored: tissue has that value too"]
    return (min(ends), max(ends)), []


def declared_notes(header: Dataset) -> list[str]:
    """Warnings about what a header declares; refuse an image that cannot be referred to."""
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        if not text(header, keyword):
            raise HeadrestError(f"{keyword} is missing, so nothing could refer to this image")
    bare, lossy = header.preamble is None, text(header, "LossyImageCompression")
    maybe = not lossy and header.file_meta.TransferSyntaxUID in (uid.JPEG2000, uid.HTJ2K)
    slope, kind = number(header, "RescaleSlope"), text(header, "RescaleType").upper()
    burned = text(header, "BurnedInAnnotation").upper()
    notes = {
        "no preamble and no meta header: read as Implicit VR Little Endian": bare,
        "lossy compression: HU are not those that the scanner measured": lossy == "01",
        "compression that may be lossy, which the file does not declare": maybe,
        "RescaleSlope is negative: stored values fall as HU rise": (slope or 1) < 0,
        "burned-in annotation: text in the pixels may name the patient": burned == "YES",
        "RescaleType is not HU; read as HU nevertheless": kind not in ("", "HU"),
    }
    return [note for note, applies in notes.items() if applies]
