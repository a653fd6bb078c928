"""More that a folder can hold, and what must come of it: what the rows 1 to 50 leave out."""

import numpy as np
from cases import case
from conftest import head_hu, make_series, make_slice, uid, write_slice
from makers import (
    ENCODERS,
    NATIVE,
    OVERLAY,
    at,
    both,
    drawing,
    encoded,
    extra,
    file_beside,
    framed,
    items,
    mislabelled,
    odd,
    other_vr,
    resized,
    special,
    spoilt,
    whole,
)
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

J2K, JLS, RLE = JPEG2000Lossless, JPEGLSLossless, RLELossless
IMPLICIT, EXPLICIT = ImplicitVRLittleEndian, ExplicitVRLittleEndian
BIG, DEFLATED = ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian
LUT = [Dataset()]
TILT = [1, 0, 0, 0, 0.94, -0.342]
AIR = np.full((64, 64), -1000)


def ending(tail):
    """Put bytes behind the end of a file."""
    return spoilt(lambda data: data + tail)


def twice(keyword, value):
    """Write an element a second time behind the pixels."""

    def spoil(data):
        other = make_slice(**{keyword: value})
        return data + element_bytes(other, keyword)

    return spoilt(spoil)


def element_bytes(ds, keyword):
    element = ds[keyword]
    value = str(element.value).encode()
    value += b" " * (len(value) % 2)
    tag = element.tag.group.to_bytes(2, "little") + element.tag.elem.to_bytes(2, "little")
    return tag + element.VR.encode() + len(value).to_bytes(2, "little") + value


def without(start):
    """Take the first element out whose tag and kind of value are these bytes."""

    def spoil(data):
        at = data.index(start)
        return data[:at] + data[at + 8 + int.from_bytes(data[at + 6 : at + 8], "little") :]

    return spoilt(spoil)


def without_meta(data):
    return data[:132] + data[data.index(b"\x08\x00\x08\x00CS") :]


def lying_sequence(length):
    """A sequence of explicit length that is longer or shorter than its items."""

    def spoil(data):
        at = data.index(b"\x08\x00\x40\x11SQ") + 8
        return data[:at] + length.to_bytes(4, "little") + data[at + 4 :]

    return spoilt(spoil, ReferencedImageSequence=[Dataset()])


def in_many_syntaxes(folder):
    """A series each of whose slices is written in another way."""
    for number, syntax in enumerate([*NATIVE, *ENCODERS], 1):
        native = syntax if syntax in NATIVE else EXPLICIT
        ds = make_slice(number, TransferSyntaxUID=native)
        write_slice(folder / f"{number}.dcm", encoded(ds, syntax if syntax in ENCODERS else None))


def signs_mixed(folder):
    """Signed and unsigned stored values in one series."""
    make_series(folder)
    signed = make_slice(
        9, PixelRepresentation=1, RescaleIntercept=0, ImagePositionPatient=[-112, -112, 20]
    )
    write_slice(folder / "09.dcm", signed)


def odd_overlay(*elements):
    """An overlay in the unused bits that contradicts itself."""

    def make(folder):
        ds = make_slice(stored=(head_hu() + 1024) | (drawing().astype(int) << 15))
        ds.BitsStored, ds.HighBit = 12, 11
        for element, vr, value in [*OVERLAY, *elements]:
            ds.add_new((0x6000, element), vr, value)
        write_slice(folder / "01.dcm", ds)

    return make


def doubled(data):
    return data + data


def narrow(syntax, **changes):
    """Compress as 12 bits, then declare more."""

    def make(folder):
        shape = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
        ds = make_slice(**shape, RescaleIntercept=0, hu=np.clip(head_hu(), -1024, 2047))
        ds = encoded(ds, syntax)
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        write_slice(folder / "01.dcm", ds)

    return make


def commented(frame):
    """Put the bytes that a JPEG 2000 image begins with into a comment of it (marker FF64)."""
    start = frame.index(b"\xff\x5c")
    return frame[:start] + b"\xff\x64\x00\x08\x00\x00\xff\x4f\xff\x51" + frame[start:]


def two_stacks(folder):
    make_series(folder / "a", 2)
    make_series(
        folder / "b", 3, ImageOrientationPatient=TILT, SOPInstanceUID=lambda n: uid("tilted", n)
    )


def one_oblique(folder):
    make_series(folder, 5)
    write_slice(folder / "09.dcm", make_slice(9, ImageOrientationPatient=TILT))


def named(*names):
    """A good series under other file names."""

    def make(folder):
        for number, name in enumerate(names, 1):
            write_slice(folder / name, make_slice(number))

    return make


def copy_with(**changes):
    """The second slice once more, with the same UID and something else in it."""
    return both(make_series, lambda folder: write_slice(folder / "x.dcm", make_slice(2, **changes)))


STRANGE = [
    # Rescale.
    case("slope-with-underscore", whole(RescaleSlope=b"1_0 "), "refused", "RescaleSlope"),
    case("slope-huge", whole(RescaleSlope=b"1e30"), "refused", "RescaleSlope"),
    case("slope-huge-negative", whole(RescaleSlope=b"-1e30 "), "refused", "RescaleSlope"),
    case("slope-tiny", whole(RescaleSlope=b"1e-30 "), "refused", "RescaleSlope"),
    case("slope-infinite", whole(RescaleSlope=b"1e999 "), "refused", "RescaleSlope"),
    case("intercept-huge", whole(RescaleIntercept=b"1e30"), "refused", "HU"),
    case("slope-as-double", other_vr("FD", RescaleSlope=1.0), "handled"),
    case("slope-as-text", other_vr("LO", RescaleSlope="1"), "handled"),
    case(
        "intercept-forgotten",
        whole(stored=head_hu() + 1024, RescaleIntercept=0),
        "warned",
        "no air",
        head_hu() + 1024,
    ),
    case("rescale-of-electron-density", odd(RescaleType="ED"), "refused", "RescaleType"),
    case("rescale-type-unspecified", whole(RescaleType="US"), "warned", "RescaleType"),
    case(
        "table-instead-of-rescale",
        whole(ModalityLUTSequence=LUT, RescaleSlope=None, RescaleIntercept=None),
        "refused",
        "Rescale",
    ),
    case("empty-table-beside-rescale", whole(ModalityLUTSequence=[]), "handled"),
    case("table-beside-rescale", whole(ModalityLUTSequence=LUT), "refused", "ModalityLUT"),
    case("air-everywhere", whole(hu=AIR), "handled", "", AIR),
    # Matrix and bits.
    case("rows-as-signed", other_vr("SS", Rows=64), "handled"),
    case("rows-as-long", other_vr("UL", Rows=64), "handled"),
    case("rows-as-text", other_vr("LO", Rows="64"), "handled"),
    case("matrix-negative", other_vr("SS", Rows=-64, Columns=-64), "refused", "matrix"),
    case("rows-of-two-values", whole(Rows=b"\x40\x00\x40\x00"), "refused", "Rows"),
    case("frames-of-words", whole(NumberOfFrames=b"one "), "refused"),
    case("frames-one", whole(NumberOfFrames=1), "handled"),
    case("frames-none", whole(NumberOfFrames=0), "refused", "frames"),
    case("colour-of-one-sample", whole(PhotometricInterpretation="RGB"), "refused", "colour"),
    case("palette", whole(PhotometricInterpretation="PALETTE COLOR"), "refused", "palette"),
    case("no-photometric", whole(PhotometricInterpretation=None), "handled"),
    case("pixels-of-odd-length", spoilt(lambda d: resized(d, -1)), "refused", "bytes"),
    case(
        "float-pixels",
        whole(PixelData=None, FloatPixelData=bytes(64 * 64 * 4)),
        "refused",
        "no pixel data",
    ),
    case("float-pixels-too", whole(FloatPixelData=bytes(64 * 64 * 4)), "refused", "two kinds"),
    case("padding-no-pixel-has", other_vr("UL", PixelPaddingValue=70000), "warned", "padding"),
    case("padding-of-words", other_vr("LO", PixelPaddingValue="none"), "warned", "padding"),
    case("padding-empty", other_vr("US", PixelPaddingValue=None), "handled"),
    case("smallest-value-lies", other_vr("US", SmallestImagePixelValue=60000), "handled"),
    case("icc-profile", whole(ICCProfile=bytes(300)), "handled"),
    # File structure.
    case("no-transfer-syntax", without(b"\x02\x00\x10\x00UI"), "refused", "transfer syntax"),
    case("no-meta", spoilt(without_meta), "refused", "transfer syntax"),
    case("two-files-in-one", spoilt(doubled), "refused", "more than one image"),
    case("zeros-behind", ending(bytes(1000)), "handled"),
    case("words-behind", ending(b"the end, or so it seems " * 9), "refused"),
    case("slope-twice", twice("RescaleSlope", 2), "refused", "twice"),
    case("sequence-too-long", lying_sequence(4000), "refused"),
    case("sequence-too-short", lying_sequence(2), "refused"),
    case("sequence-beyond-the-file", lying_sequence(1 << 30), "refused", "cut short"),
    case("sequence-without-end", lying_sequence(0xFFFFFFFF), "refused"),
    case("implicit-called-explicit", mislabelled(IMPLICIT, EXPLICIT), "handled"),
    case("explicit-called-implicit", mislabelled(EXPLICIT, IMPLICIT), "handled"),
    case("big-called-little", mislabelled(BIG, EXPLICIT), "refused"),
    case("little-called-big", mislabelled(EXPLICIT, BIG), "refused"),
    case("raw-called-deflated", mislabelled(EXPLICIT, DEFLATED), "refused", "deflated"),
    case("deflated-called-raw", mislabelled(DEFLATED, EXPLICIT), "refused"),
    case("charset-unknown", whole(SpecificCharacterSet="ISO_IR 999"), "handled"),
    case(
        "charset-of-junk",
        spoilt(
            lambda d: d.replace(b"ISO_IR 100", b"\xff\xfe\\\0\1 \0\0\0", 1),
            SpecificCharacterSet="ISO_IR 100",
        ),
        "refused",
    ),
    case(
        "deflated-cut", spoilt(lambda d: d[:-20], TransferSyntaxUID=DEFLATED), "refused", "deflated"
    ),
    case(
        "deflated-spoilt",
        spoilt(lambda d: d[:600] + b"\xff" * 40 + d[640:], TransferSyntaxUID=DEFLATED),
        "refused",
    ),
    # Overlays.
    case("overlay-of-another-size", odd_overlay((0x0010, "US", 999)), "warned", "BitsStored"),
    case("overlay-in-a-used-bit", odd_overlay((0x0102, "US", 3)), "warned", "BitsStored"),
    case("overlay-beyond-the-bits", odd_overlay((0x0102, "US", 60000)), "warned", "BitsStored"),
    case("overlay-of-words", odd_overlay((0x0102, "LO", "top")), "warned", "BitsStored"),
    # Compressed frames.
    case("no-end-of-items", spoilt(lambda d: d[:-8], RLE), "refused", "ends early"),
    case("fragments", framed(lambda f: items(f[:1000], f[1000:]), J2K), "handled"),
    case("offset-wrong", framed(lambda f: items(f, offsets=b"\x40\0\0\0"), J2K), "refused"),
    case("offset-beyond", framed(lambda f: items(f, offsets=b"\xf0\xff\xff\0"), J2K), "refused"),
    case(
        "two-offsets",
        framed(lambda f: items(f, f, offsets=bytes(4) + (len(f) + 8).to_bytes(4, "little")), J2K),
        "refused",
        "several images",
    ),
    case(
        "fragment-missing", framed(lambda f: items(f[: len(f) // 2]), J2K), "refused", "cut short"
    ),
    case(
        "fragment-missing-jpeg-ls",
        framed(lambda f: items(f[: len(f) // 2]), JLS),
        "refused",
        "cut short",
    ),
    case("fragment-missing-rle", framed(lambda f: items(f[: len(f) // 2]), RLE), "refused", "RLE"),
    case("no-fragments", framed(lambda f: items(), J2K), "refused"),
    case("two-images", framed(lambda f: items(f, f), J2K), "refused", "damaged"),
    case("start-bytes-inside-jpeg-2000", framed(lambda f: items(commented(f)), J2K), "handled"),
    case("two-images-jpeg-ls", framed(lambda f: items(f, f), JLS), "refused", "damaged"),
    case("two-images-rle", framed(lambda f: items(f, f), RLE), "refused", "RLE"),
    case("middle-of-jpeg-2000-gone", framed(lambda f: items(f[:900] + f[1100:]), J2K), "refused"),
    case(
        "zeros-in-jpeg-2000",
        framed(lambda f: items(f[:120] + bytes(400) + f[520:]), J2K),
        "refused",
    ),
    case("jpeg-ls-12-bits-called-16", narrow(JLS, BitsStored=16, HighBit=15), "refused", "12 bits"),
    case(
        "jpeg-2000-called-unsigned",
        narrow(J2K, BitsStored=16, HighBit=15, PixelRepresentation=0, RescaleIntercept=-1024),
        "refused",
        "12 bits",
    ),
    case("syntaxes-mixed", in_many_syntaxes, "handled"),
    case("signs-mixed", signs_mixed, "warned", "rescale differs"),
    # Geometry.
    case("spacing-zero", whole(PixelSpacing=[0, 0]), "refused", "PixelSpacing"),
    case("spacing-negative", whole(PixelSpacing=[-3.5, 3.5]), "refused", "PixelSpacing"),
    case("spacing-nan", whole(PixelSpacing=b"nan\\3.5 "), "refused", "PixelSpacing"),
    case("spacing-huge", whole(PixelSpacing=[1e9, 1e9]), "refused", "PixelSpacing"),
    case("spacing-tiny", whole(PixelSpacing=[1e-5, 1e-5]), "refused", "PixelSpacing"),
    case("spacing-of-three", whole(PixelSpacing=[1, 1, 1]), "refused", "PixelSpacing"),
    case("thickness-negative", whole(1, SliceThickness=-5), "warned", "thickness"),
    case("thickness-zero", whole(1, SliceThickness=0), "warned", "thickness"),
    case("axes-of-zeros", odd(ImageOrientationPatient=[0] * 6), "refused", "unit axes"),
    case("axes-too-long", whole(ImageOrientationPatient=[2, 0, 0, 0, 2, 0]), "refused", "unit"),
    case("axes-nan", whole(ImageOrientationPatient=b"nan\\0\\0\\0\\1\\0 "), "refused", "Orient"),
    case("axes-one-number", whole(ImageOrientationPatient=b"1 "), "refused", "Orient"),
    case("position-far-away", at(5, 10, 1e30), "refused", "ImagePosition"),
    case("two-stacks", two_stacks, "refused", "choose one stack"),
    case("one-oblique", one_oblique, "warned", "skipped 09.dcm: another orientation"),
    case(
        "two-frames-of-reference",
        odd(FrameOfReferenceUID=uid("other")),
        "warned",
        "frames of reference",
    ),
    case("two-patients", odd(PatientID="CANARY-2"), "refused", "two patients"),
    case("two-studies", odd(StudyInstanceUID=uid("other")), "refused", "two studies"),
    case(
        "copy-of-other-slope",
        copy_with(RescaleSlope=2, stored=head_hu() + 1024),
        "refused",
        "share",
    ),
    case("copy-of-other-orientation", copy_with(ImageOrientationPatient=TILT), "refused", "share"),
    # Identity.
    case("series-uid-empty", whole(SeriesInstanceUID=""), "refused", "SeriesInstanceUID"),
    case(
        "series-uid-of-two", whole(SeriesInstanceUID=b"1.2\\3.4 "), "refused", "SeriesInstanceUID"
    ),
    case("series-uid-endless", whole(SeriesInstanceUID=b"1." * 15000 + b"1\0"), "handled"),
    case(
        "series-uid-of-words",
        whole(SeriesInstanceUID="Kopf \u00e4\u00f6".encode("latin-1")),
        "handled",
    ),
    case("instance-uid-empty", whole(SOPInstanceUID=""), "refused", "SOPInstanceUID"),
    case("no-class", without(b"\x08\x00\x16\x00UI"), "warned", "SOPClassUID"),
    case("no-modality", whole(Modality=None), "refused", "header"),
    case("class-of-two", extra(SOPClassUID=b"1.2\\3.4 "), "refused", "header"),
    # Files.
    case("pipe", special("pipe"), "warned", "not DICOM"),
    case("socket", special("socket"), "warned", "not DICOM"),
    case("endless", special("endless"), "warned", "not DICOM"),
    case("dangling-link", special("dangling"), "warned", "broken link"),
    case("loop-of-links", special("loop"), "warned", "not followed"),
    case(
        "names-of-all-kinds", named("a\nb.dcm", "\x1b[2J.dcm", "Kopf \u00e4 \u5934.dcm"), "handled"
    ),
    case("named-dicomdir", named("DICOMDIR", "x.txt", ".hidden"), "handled"),
    case("packed", file_beside("a.zip", b"PK\3\4" + bytes(200)), "warned", "not DICOM"),
]
