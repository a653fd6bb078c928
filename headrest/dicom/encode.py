"""Write stored values into a derived slice, uncompressed or losslessly compressed."""

from collections.abc import Iterable

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from headrest.dicom.attributes import number
from headrest.dicom.codestream import JPEG_SYNTAXES
from headrest.dicom.pixels import PADDING_KEYWORDS, PLUGINS, as_stored, decode_jpeg, fits
from headrest.util.errors import HeadrestError

LOSSLESS_SYNTAX = {
    DeflatedExplicitVRLittleEndian: DeflatedExplicitVRLittleEndian,
    RLELossless: RLELossless,
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), JPEGLSLossless),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), JPEG2000Lossless),
    **dict.fromkeys(JPEG_SYNTAXES, JPEGLosslessSV1),
}
"""Output syntax of a compressed source. No installed encoder writes HTJ2K."""


def output_syntax(syntax: UID, compress: bool = False) -> UID:
    """Transfer syntax of a derived slice, for that of its source.

    With `compress`, the lossless syntax of the same codec; otherwise, and for HTJ2K, which cannot
    be written, a compressed source becomes Explicit VR Little Endian.

    Examples
    --------
    >>> from pydicom.uid import JPEG2000
    >>> output_syntax(JPEG2000).name, output_syntax(JPEG2000, compress=True).name
    ('Explicit VR Little Endian', 'JPEG 2000 Image Compression (Lossless Only)')
    """
    # A native syntax is kept, so that unknown private elements keep their bytes.
    if syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        return syntax
    return (
        LOSSLESS_SYNTAX.get(syntax, ExplicitVRLittleEndian) if compress else ExplicitVRLittleEndian
    )


def left_uncompressed(syntaxes: Iterable[UID]) -> set[str]:
    """Names of the compressed transfer syntaxes that `output_syntax` cannot keep."""
    return {
        syntax.name
        for syntax in syntaxes
        if syntax.is_encapsulated and not output_syntax(syntax, compress=True).is_encapsulated
    }


def set_pixels(derived: Dataset, words: np.ndarray) -> None:
    """Set Pixel Data (7FE0,0010) in the transfer syntax of the file meta information.

    `words` are stored values (rows, columns). High Bit and the padding attributes are made to fit
    them. Refuse compressed pixels that do not decode to the same values.
    """
    derived.HighBit = derived.BitsStored - 1
    vr = "SS" if derived.PixelRepresentation else "US"
    padding = {k: value for k in PADDING_KEYWORDS if (value := number(derived, k)) is not None}
    believed = all(fits(value, derived) for value in padding.values())
    for keyword, value in padding.items():
        if believed:
            derived[keyword] = DataElement(keyword, vr, as_stored(value, derived))
        else:  # no pixel can have it; masked to Bits Stored it could equal tissue
            del derived[keyword]
    syntax = derived.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _compress(derived, words, syntax)
        return
    if syntax == ExplicitVRBigEndian:
        words = words.astype(words.dtype.newbyteorder(">"))
    derived.add_new("PixelData", "OW", words.tobytes())


def _compress(derived, words, syntax):
    if syntax in JPEG_SYNTAXES:
        derived.add_new("PixelData", "OB", encapsulate([_encoded_jpeg(words, derived.BitsStored)]))
        back = decode_jpeg(derived)
    else:
        plugin = PLUGINS[syntax]
        derived.compress(syntax, words, encoding_plugin=plugin, generate_instance_uid=False)
        back = pixel_array(derived, raw=True, decoding_plugin=plugin)
    if back.shape != words.shape or (back != words).any():
        raise HeadrestError(f"{syntax.name} changed its pixels; write it without compression")


def _encoded_jpeg(words, bits):
    from imagecodecs import jpeg8_encode

    kept = words.astype(np.uint16) & np.uint16((1 << bits) - 1)
    return jpeg8_encode(kept, lossless=True, predictor=1, bitspersample=bits)
