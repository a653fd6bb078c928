"""Compressed pixel data: check an image against its header, decode it, encode it without loss.

Decoders allocate memory for the size that the compressed image declares, and pad or crop pixels
that do not fit without an error: each image is checked before it is decoded.
"""

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from pydicom import Dataset, uid
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate, get_frame, parse_basic_offsets
from pydicom.pixels import pixel_array
from pydicom.uid import UID

from headrest.dicom.header import number
from headrest.util import HeadrestError

SIZ, COD, SOT = 0xFF51, 0xFF52, 0xFF90  # JPEG 2000, ISO/IEC 15444-1 Annex A
SOF, SOS = 0xFFF7, 0xFFDA  # JPEG-LS, ISO/IEC 14495-1 Annex C
SOF1, SOF3 = 0xFFC1, 0xFFC3  # JPEG, ITU-T T.81 Annex B: sequential of 12 bits, and lossless
END_OF_IMAGE = b"\xff\xd9"
MAX_TILES = 1024  # of JPEG 2000; each costs a decoder memory, and real images have few
MAX_HEADER_BYTES = 2**21  # of marker segments; half a million empty ones take 0.3 s
PADDING_KEYWORDS = ("PixelPaddingValue", "PixelPaddingRangeLimit")


def check_frame(header: Dataset, syntax: UID) -> bool:
    """Refuse a compressed image that contradicts its header, or is cut short.

    Bytes after the end-of-image marker are padding, also where they are not zero; they are
    removed from the Pixel Data of the header. Return whether the image declares lossy compression.
    """
    if len(parse_basic_offsets(header.PixelData)) > 1:
        raise HeadrestError("several images in one file; not a CT slice")
    frame = get_frame(header.PixelData, 0, number_of_frames=1)
    if syntax == uid.RLELossless:
        _check_run_lengths(frame, header.Rows * header.Columns)
        return False
    segments, data_start = _segments(frame)
    end = frame.rfind(END_OF_IMAGE, data_start) + len(END_OF_IMAGE)
    if end <= data_start:
        raise HeadrestError("its compressed pixel data are cut short; copy the file again")
    if frame[end:].strip(b"\0"):
        header.PixelData = encapsulate([frame[:end]])
    try:
        *size, samples, bits, signed, lossy = CODECS[syntax].parse(segments)
    except (KeyError, IndexError, ZeroDivisionError, struct.error) as error:
        reason = f"its pixel data are no {CODECS[syntax].name} image, or damaged"
        raise HeadrestError(reason) from error
    # The first bytes may occur inside an image by chance, but not after an end marker.
    another = re.search(END_OF_IMAGE + b".?\0*" + re.escape(frame[:3]), frame, re.DOTALL)
    if samples != 1 or another:
        found = "several images" if another else f"{samples} samples per pixel"
        raise HeadrestError(f"its compressed data hold {found}: damaged, or declared wrongly")
    if size != [header.Rows, header.Columns]:
        raise HeadrestError(
            f"its compressed image is {size[0]} x {size[1]}, its header says "
            f"{header.Rows} x {header.Columns}: damaged, or declared wrongly"
        )
    # Where the signs differ, the sign bit is taken at Bits Stored.
    if bits > 16 or (signed != header.PixelRepresentation and bits < header.BitsStored):
        raise HeadrestError(
            f"its compressed image has {bits} bits, its header says {header.BitsStored}: "
            "damaged, or declared wrongly"
        )
    return lossy


def _segments(frame):
    """Marker segments before the image data (dict of marker to content), and where these start."""
    found, at = {}, 2
    while at + 4 <= min(len(frame), MAX_HEADER_BYTES):
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker == 0xFFFF:  # the first is a fill byte (ITU-T T.81 B.1.1.2)
            at += 1
            continue
        found.setdefault(marker, frame[at + 4 : at + 2 + length])
        if marker in (SOT, SOS) or marker < 0xFF00:
            break
        at += 2 + max(length, 2)
    return found, at


def _jpeg_2000(found):
    _, *box, samples, depth, dx, dy = struct.unpack_from(">H8IHBBB", found[SIZ])
    x1, y1, x0, y0, tile_x, tile_y = box[:6]
    lossy = found[COD][9] == 0  # the irreversible 9-7 wavelet
    if (dx, dy) != (1, 1) or -(-x1 // tile_x) * -(-y1 // tile_y) > MAX_TILES:
        raise HeadrestError("not the JPEG 2000 image of a CT slice: damaged, or declared wrongly")
    return y1 - y0, x1 - x0, samples, (depth & 0x7F) + 1, depth >> 7, lossy


def _jpeg_ls(found):
    bits, rows, columns, samples = struct.unpack_from(">BHHB", found[SOF])
    return rows, columns, samples, bits, 0, found[SOS][1 + 2 * samples] > 0  # NEAR, largest error


def _jpeg(found):
    frame = found[SOF3] if SOF3 in found else found[SOF1]
    bits, rows, columns, samples = struct.unpack_from(">BHHB", frame)
    shift = found[SOS][3 + 2 * samples] & 15  # point transform: low bits that were dropped
    return rows, columns, samples, bits, 0, SOF1 in found or shift > 0


class Codec(NamedTuple):
    """A codec and the one plugin of pydicom that decodes it: others crash on damaged files.

    For JPEG, pydicom has only plugins that crash or are under the GPL: imagecodecs decodes it.
    """

    name: str
    packages: str  # of the decoder; the first is the plugin of pydicom
    parse: Callable[[dict[int, bytes]], tuple]  # rows, columns, samples, bits, signed, lossy
    lossless: UID  # of output; no encoder writes HTJ2K


JPEG = Codec("JPEG", "imagecodecs", _jpeg, uid.JPEGLosslessSV1)
JPEG_LS = Codec("JPEG-LS", "pyjpegls", _jpeg_ls, uid.JPEGLSLossless)
J2K = Codec("JPEG 2000", "pylibjpeg pylibjpeg-openjpeg", _jpeg_2000, uid.JPEG2000Lossless)
HTJ2K = J2K._replace(lossless=uid.ExplicitVRLittleEndian)
CODECS = {
    uid.RLELossless: Codec("RLE", "pydicom", tuple, uid.RLELossless),
    **dict.fromkeys((uid.JPEGLosslessSV1, uid.JPEGLossless, uid.JPEGExtended12Bit), JPEG),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), JPEG_LS),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), J2K),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), HTJ2K),
}


def _check_run_lengths(frame, pixels):
    """Refuse other than two segments of a byte per pixel and one of padding (PS3.5 Annex G)."""
    count, high, low = struct.unpack("<3L", frame[:12].ljust(12, b"\0"))
    sizes = [_unpacked(run, pixels + 1) for run in (frame[high:low], frame[low:])]
    if count != 2 or high < 64 or not all(pixels <= size <= pixels + 1 for size in sizes):
        raise HeadrestError(
            f"its RLE data are {count} segments, of {sizes[0]} and {sizes[1]} bytes or more, where "
            f"its matrix needs 2 of {pixels}: damaged, or declared wrongly"
        )


def _unpacked(run, most):
    """Unpacked length of a segment; `most` + 1 or more for a longer one, not all of it unpacked."""
    size, at, end = 0, 0, len(run)
    if end > 2 * most:
        return most + 1
    while at < end and size <= most:
        head = run[at]
        if head < 128:
            size += min(head + 1, end - at - 1)
            at += head + 2
        elif head > 128:
            size += 257 - head if at + 1 < end else 0
            at += 2
        else:
            at += 1
    return size


def decode_frame(header: Dataset, syntax: UID, **options: Any) -> np.ndarray:
    """Decode the compressed image of a header: int array (rows, columns); options of pydicom."""
    if CODECS[syntax] is not JPEG:
        plugin = CODECS[syntax].packages.split()[0]
        return pixel_array(header, raw=True, decoding_plugin=plugin, **options)
    from imagecodecs import jpeg8_decode

    words = jpeg8_decode(get_frame(header.PixelData, 0, number_of_frames=1)).astype(np.uint16)
    bits = header.BitsStored
    if header.PixelRepresentation and words.max() < 1 << bits:  # the encoder dropped the sign bits
        return np.left_shift(words, 16 - bits).view(np.int16) >> (16 - bits)
    return words


def output_syntax(syntax: UID, compress: bool = False) -> UID:
    """Transfer syntax of a derived slice, for that of its source.

    With `compress`, the lossless syntax of the same codec; otherwise, and for HTJ2K, which cannot
    be written, a compressed source becomes Explicit VR Little Endian.

    >>> from pydicom.uid import JPEG2000
    >>> output_syntax(JPEG2000).name, output_syntax(JPEG2000, compress=True).name
    ('Explicit VR Little Endian', 'JPEG 2000 Image Compression (Lossless Only)')
    """
    # A native syntax is kept, so that unknown private elements keep their bytes.
    kept = (uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)
    if syntax in kept or (compress and syntax == uid.DeflatedExplicitVRLittleEndian):
        return syntax
    return CODECS[syntax].lossless if compress and syntax in CODECS else uid.ExplicitVRLittleEndian


def stored_padding(header: Dataset) -> dict[str, int] | None:
    """Padding attributes as stored values of this image; None where no pixel can have one.

    Their VR is ambiguous (US or SS, PS3.5 A.2). Files with the wrong one give 63536 for -2000.
    """
    found, size = {}, 1 << header.BitsStored
    for keyword in PADDING_KEYWORDS:
        if keyword not in header or header.get_item(keyword).value in (None, b""):
            continue
        value = number(header, keyword)
        if value is None or not -(1 << 15) <= value < 1 << 16:
            return None
        masked = int(value) % size
        found[keyword] = masked - size * (header.PixelRepresentation and 2 * masked >= size)
        if (found[keyword] - int(value)) % (1 << 16):
            return None
    return found


def set_pixels(derived: Dataset, words: np.ndarray) -> None:
    """Set Pixel Data (7FE0,0010) to stored values (rows, columns), in the syntax of the file meta.

    High Bit and the padding attributes are made to fit. Refuse compressed pixels that do not decode
    to the same values.
    """
    derived.HighBit = derived.BitsStored - 1
    vr = "SS" if derived.PixelRepresentation else "US"
    padding = stored_padding(derived)
    for keyword in PADDING_KEYWORDS:
        if padding is None:  # no pixel can have it; masked to Bits Stored it could equal tissue
            derived.pop(keyword, None)
        elif keyword in padding:
            derived[keyword] = DataElement(keyword, vr, padding[keyword])
    syntax = derived.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _compress(derived, words, syntax)
        return
    if syntax == uid.ExplicitVRBigEndian:
        words = words.astype(words.dtype.newbyteorder(">"))
    derived.add_new("PixelData", "OW", words.tobytes())


def _compress(derived, words, syntax):
    if CODECS[syntax] is JPEG:
        from imagecodecs import jpeg8_encode

        bits = derived.BitsStored
        kept = words.astype(np.uint16) & np.uint16((1 << bits) - 1)
        frame = jpeg8_encode(kept, lossless=True, predictor=1, bitspersample=bits)
        derived.add_new("PixelData", "OB", encapsulate([bytes(frame)]))
    else:
        plugin = CODECS[syntax].packages.split()[0]
        derived.compress(syntax, words, encoding_plugin=plugin, generate_instance_uid=False)
    back = decode_frame(derived, syntax)
    if back.shape != words.shape or (back != words).any():
        raise HeadrestError(f"{syntax.name} changed its pixels; write it without compression")
