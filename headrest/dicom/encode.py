"""Put stored values into a derived slice: as they are, or losslessly compressed."""

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import (
    JPEG2000,
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
from headrest.dicom.codestream import JPEG
from headrest.dicom.pixels import PADDING, PLUGINS, as_stored, decode_jpeg, fits
from headrest.util.errors import HeadrestError

LOSSLESS = {
    DeflatedExplicitVRLittleEndian: DeflatedExplicitVRLittleEndian,
    RLELossless: RLELossless,
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), JPEGLSLossless),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), JPEG2000Lossless),
    **dict.fromkeys(JPEG, JPEGLosslessSV1),
}
"""What a compressed source is written back as; nothing at hand writes HTJ2K."""


def output_syntax(syntax, compress=False):
    """Choose the transfer syntax of a derived slice.

    Parameters
    ----------
    syntax : pydicom.uid.UID, of its source.
    compress : bool
        Compress as the source is, but losslessly: JPEG 2000 stays JPEG 2000 and loses nothing
        more. Without it a compressed source comes out as Explicit VR Little Endian.

    Returns
    -------
    pydicom.uid.UID. What cannot be written (HTJ2K) comes out uncompressed.

    Examples
    --------
    >>> from pydicom.uid import JPEG2000
    >>> output_syntax(JPEG2000).name, output_syntax(JPEG2000, compress=True).name
    ('Explicit VR Little Endian', 'JPEG 2000 Image Compression (Lossless Only)')
    """
    # A native syntax stays what it is, so that unknown private elements keep their bytes.
    if syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        return syntax
    return LOSSLESS.get(syntax, ExplicitVRLittleEndian) if compress else ExplicitVRLittleEndian


def left_uncompressed(syntaxes):
    """Name the compressed transfer syntaxes that `output_syntax` cannot keep.

    Parameters
    ----------
    syntaxes : iterable of pydicom.uid.UID, of the sources.

    Returns
    -------
    set of str
    """
    return {
        syntax.name
        for syntax in syntaxes
        if syntax.is_encapsulated and not output_syntax(syntax, compress=True).is_encapsulated
    }


def set_pixels(derived, words):
    """Write stored values in the transfer syntax that the file meta information names.

    Parameters
    ----------
    derived : pydicom.Dataset
        Gets Pixel Data (7FE0,0010); High Bit and the padding attributes are made to fit it.
    words : int16 or uint16 array (rows, columns)

    Raises
    ------
    HeadrestError
        Where what was compressed does not decode to the same values.
    """
    derived.HighBit = derived.BitsStored - 1
    vr = "SS" if derived.PixelRepresentation else "US"
    padding = {k: value for k in PADDING if (value := number(derived, k)) is not None}
    believed = all(fits(value, derived) for value in padding.values())
    for keyword, value in padding.items():
        if believed:
            derived[keyword] = DataElement(keyword, vr, as_stored(value, derived))
        else:  # no pixel has it; in the bits that pixels have it would be the value of tissue
            del derived[keyword]
    syntax = derived.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _compress(derived, words, syntax)
        return
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    derived.add_new("PixelData", "OW", words.astype(words.dtype.newbyteorder(order)).tobytes())


def _compress(derived, words, syntax):
    if syntax in JPEG:
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
