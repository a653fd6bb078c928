"""Check a compressed image against its header before it is decoded.

Decoders allocate memory for the size that the compressed image declares, and pad or crop pixels
that do not fit without an error.
"""

import re
import struct

from pydicom import Dataset
from pydicom.encaps import encapsulate, get_frame, parse_basic_offsets
from pydicom.uid import (
    UID,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from headrest.util.errors import HeadrestError

JPEG_SYNTAXES = (JPEGLosslessSV1, JPEGLossless, JPEGExtended12Bit)
"""ITU-T T.81 JPEG of more than eight bits."""

SIZ, COD, SOT = 0xFF51, 0xFF52, 0xFF90  # JPEG 2000, ISO/IEC 15444-1 Annex A
SOF, SOS = 0xFFF7, 0xFFDA  # JPEG-LS, ISO/IEC 14495-1 Annex C
SOF1, SOF3 = 0xFFC1, 0xFFC3  # JPEG, ITU-T T.81 Annex B: sequential of 12 bits, and lossless
END_OF_IMAGE = b"\xff\xd9"
MAX_TILES = 1024
"""JPEG 2000 tiles of one image at most; each costs a decoder memory, and real images have few."""


def check_frame(header: Dataset, syntax: UID) -> bool:
    """Refuse a compressed image that contradicts its header, or is cut short.

    Bytes after the end-of-image marker are padding, also where they are not zero; they are
    removed from the Pixel Data of the header.

    Returns
    -------
    bool
        Whether the image itself declares lossy compression.
    """
    if len(parse_basic_offsets(header.PixelData)) > 1:
        raise HeadrestError("several images in one file; not a CT slice")
    frame = get_frame(header.PixelData, 0, number_of_frames=1)
    if syntax == RLELossless:
        _check_run_lengths(frame, header.Rows * header.Columns)
        return False
    segments, data_start = _segments(frame)
    end = frame.rfind(END_OF_IMAGE, data_start) + len(END_OF_IMAGE)
    if end <= data_start:
        raise HeadrestError("its compressed pixel data are cut short; copy the file again")
    if frame[end:].strip(b"\0"):
        header.PixelData = encapsulate([frame[:end]])
    size, samples, bits, signed, lossy = PARSERS.get(syntax, _jpeg_2000)(segments)
    # The first bytes may occur inside an image by chance, but not after an end marker.
    another = re.search(END_OF_IMAGE + b".?\0*" + re.escape(frame[:3]), frame, re.DOTALL)
    if (*size, samples) != (header.Rows, header.Columns, 1) or another:
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
    while at + 4 <= len(frame):
        marker, length = struct.unpack_from(">HH", frame, at)
        found.setdefault(marker, frame[at + 4 : at + 2 + length])
        if marker in (SOT, SOS) or marker < 0xFF00:
            break
        at += 2 + max(length, 2)
    return found, at


def _jpeg_2000(found):
    try:
        _, *box, samples, depth, dx, dy = struct.unpack_from(">H8IHBBB", found[SIZ])
        x1, y1, x0, y0, tile_x, tile_y = box[:6]
        tiles = -(-x1 // tile_x) * -(-y1 // tile_y)
        lossy = found[COD][9] == 0  # the irreversible 9-7 wavelet
    except (KeyError, IndexError, ZeroDivisionError, struct.error) as error:
        raise HeadrestError("its pixel data are no JPEG 2000 image, or damaged") from error
    if (dx, dy) != (1, 1) or tiles > MAX_TILES:
        raise HeadrestError("not the JPEG 2000 image of a CT slice: damaged, or declared wrongly")
    return (y1 - y0, x1 - x0), samples, (depth & 0x7F) + 1, depth >> 7, lossy


def _jpeg_ls(found):
    try:
        bits, rows, columns, samples = struct.unpack_from(">BHHB", found[SOF])
        lossy = found[SOS][1 + 2 * samples] > 0  # NEAR, the largest error
    except (KeyError, IndexError, struct.error) as error:
        raise HeadrestError("its pixel data are no JPEG-LS image, or damaged") from error
    return (rows, columns), samples, bits, 0, lossy


def _jpeg(found):
    try:
        frame = found[SOF3] if SOF3 in found else found[SOF1]
        bits, rows, columns, samples = struct.unpack_from(">BHHB", frame)
        shift = found[SOS][3 + 2 * samples] & 15  # point transform: low bits that were dropped
    except (KeyError, IndexError, struct.error) as error:
        raise HeadrestError("its pixel data are no JPEG image, or damaged") from error
    return (rows, columns), samples, bits, 0, SOF1 in found or shift > 0


PARSERS = {
    **dict.fromkeys(JPEGLSTransferSyntaxes, _jpeg_ls),
    **dict.fromkeys(JPEG_SYNTAXES, _jpeg),
}
"""Parser of the segments of each syntax; all others are JPEG 2000."""


def _check_run_lengths(frame, pixels):
    """Each byte of a pixel has one segment, of as many bytes as pixels (PS3.5 Annex G).

    One more byte is padding; more would be additional rows, or a decompression bomb.
    """
    count, high, low = struct.unpack("<3L", frame[:12].ljust(12, b"\0"))
    sizes = [_unpacked(run, pixels + 1) for run in (frame[high:low], frame[low:])]
    if count != 2 or high < 64 or not all(pixels <= size <= pixels + 1 for size in sizes):
        raise HeadrestError(
            f"its RLE data unpack to {max(sizes)} bytes where its matrix has {pixels} pixels: "
            "damaged, or declared wrongly"
        )


def _unpacked(run, most):
    """Unpacked length of a segment; counting ends above `most`."""
    size, at, end = 0, 0, len(run)
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
