"""Find the elements of a file that is written as most are. Any other is left to pydicom.

Before each element, pydicom asks again how the file may be written. Where nothing is odd, what it
finds is found here in a tenth of the time; values stay raw until somebody asks for them.
"""

from struct import Struct

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

UNDEFINED = 0xFFFFFFFF
CHARACTER_SET = 0x00080005

MOST = 1 << 14
"""Elements of one file; none of a CT slice comes near it."""

IMPLICIT, EXPLICIT, LONG = ({end: Struct(end + f) for end in "<>"} for f in ("HHL", "HH2sH", "L"))
"""Tag, VR and length of an element, in either byte order (PS3.5 7.1.2 and 7.1.3)."""

VRS = {vr.value.encode(): vr.value for vr in VR if len(vr.value) == 2}


def scan(source, data, at, implicit, little, watch, tags=None):
    """Find elements, one after the other.

    Parameters
    ----------
    source : seekable binary file.
    data : bytes, all of it or its beginning.
    at : int, where the first element starts.
    implicit, little : bool, how they are written.
    watch : callable(tag, length, start), asked before each; True ends the scan.
    tags : set of int, optional; only these are kept.

    Returns
    -------
    (pydicom.Dataset, int), the elements and where the scan ended; or None where a VR is none of
    those of the Standard, there are very many elements, or `data` ends too early.
    """
    end = "<" if little else ">"
    unpack, long = (IMPLICIT if implicit else EXPLICIT)[end].unpack_from, LONG[end].unpack_from
    if implicit and data[at + 4 : at + 6] in VRS:
        return None  # most likely explicit, whatever the file says
    found, vr, start = {}, None, at + 8
    while start <= len(data) and len(found) < MOST:
        if implicit:
            group, number, length = unpack(data, at)
        else:
            group, number, code, length = unpack(data, at)
            vr = VRS.get(code)
            if vr in EXPLICIT_VR_LENGTH_32:
                if start + 4 > len(data):
                    return None
                (length,), start = long(data, start), start + 4
        tag = group << 16 | number
        if watch(tag, length, start):
            return _dataset(found, implicit, little), at
        if vr is None and not implicit:
            return None
        if length == UNDEFINED:
            element, at = _without_length(source, at, implicit, little, found)
        else:
            value = data[start : start + length] if length else empty_value_for_VR(vr, raw=True)
            element = RawDataElement(BaseTag(tag), vr, length, value, start, implicit, little)
            at = start + length
        if element is None or (length != UNDEFINED and at > len(data)):
            return None
        if tags is None or tag in tags or tag == CHARACTER_SET:
            found[element.tag] = element
        start = at + 8
    return (_dataset(found, implicit, little), at) if at == source.size else None


def _without_length(source, at, implicit, little, found):
    """An element that ends where it says, and where that is; None where the file ends before."""
    source.seek(at)
    elements = data_element_generator(source, implicit, little, encoding=_encoding(found))
    try:
        return next(elements, None), source.tell()
    except EOFError:
        return None, at


def _encoding(found):
    if CHARACTER_SET not in found:
        return default_encoding
    return convert_encodings(convert_raw_data_element(found[CHARACTER_SET]).value)


def _dataset(found, implicit, little):
    dataset = Dataset(found, parent_encoding=default_encoding)
    dataset.set_original_encoding(implicit, little, _encoding(found))
    return dataset
