"""Everything that a folder can hold, and what must come of each: refused, warned, handled.

Each case has its maker, words of the message, and the HU if they are not those of `head_hu`. The
numbers are the rows of README.md.
"""
# ruff: noqa: F405

from conftest import uid
from makers import *  # noqa: F403
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage
from pydicom.uid import MRImageStorage as MR
from pydicom.uid import SecondaryCaptureImageStorage as CAPTURE

HEAD = head_hu()
STORED, EXTENDED = HEAD + 1024, with_peak(57343)
ANONYMISED = {"SOPClassUID": "1.2.826.0.1.77"}
DIM = np.minimum(HEAD, -500)
COLOUR = imagecodecs.jpegls_encode(np.zeros((64, 64, 3), "u1"))
CODECS = {"rle": RLE, "jpeg-ls": JLS, "jpeg-2000": J2K, "jpeg": JPEG}
HALVES = {"stored": np.full((64, 64), 2053), "RescaleSlope": lambda n: 1 if n == 1 else 1.5}
HALF_HU = np.repeat([1029, 2055.5, 2055.5], 64 * 64).reshape(3, 64, 64)
JUNK = b"\xff\xfe\\\x00\x01 \x00\x00\x00"
LUT = [Dataset()]
NARROW = {**TWELVE, **SIGNED, "hu": np.clip(HEAD, -1024, 2047)}
NO_RESCALE = {"RescaleSlope": None, "RescaleIntercept": None}
OVERFLOW = {**TWELVE, **SIGNED, "hu": with_peak(3000)}
RESENT = {"SOPInstanceUID": uid("resent")}
SAGITTAL = [0, 1, 0, 0, 0, -1]
SECOND = {"SOPInstanceUID": uid("x"), "hu": with_peak(7), "AcquisitionNumber": 2}
SIZES = [(512, 480), (768, 768), (1024, 1024)]
SIXTEEN = {"BitsStored": 16, "HighBit": 15}
TENTHS = {"stored": (HEAD + 600) // 10 % 4096, "RescaleSlope": 10, "RescaleIntercept": -600}
TWO_FRAMES = {"NumberOfFrames": 2, "Rows": 64, "Columns": 64, "PixelData": bytes(4 * 64 * 64)}
UNSIGNED = {"PixelRepresentation": 0, "RescaleIntercept": -1024}
SKEWED = [1, 0, 0, 0.1, 1, 0]

PADDING = cornered(-1024)
SCOUT = {"SOPInstanceUID": uid("scout"), "InstanceNumber": 99}
ODD = {
    "no-position": {"ImagePositionPatient": None},
    "another-matrix": {"hu": of_size(64, 80)},
    "another-pixel-spacing": {"PixelSpacing": [1, 1]},
}
ODD_ALONE = {**ODD, "both": {"hu": of_size(96, 80), "ImagePositionPatient": None}}
"""Images that no stack fits, such as a scout; the last one cannot fill a gap either."""
SLOPES = {"02-no-slope": None, "03-slope-zero": 0, "04-slope-nan": b"NaN ", "05-slope-empty": b""}
SLOPES |= {"05-slope-comma": b"1,0 ", "05-slope-twice": b"1\\1 ", "slope-with-underscore": b"1_0 "}
SLOPES |= {"slope-huge-negative": b"-1e30 ", "slope-tiny": b"1e-30 "}

REFUSED = {
    **{f"69-{k}-in-a-gap": (beside(5, "03.dcm", 3, **v), "03.dcm") for k, v in ODD.items()},
    **{k: (whole(RescaleSlope=v), "RescaleSlope") for k, v in SLOPES.items()},
    **{f"20-rows-too-many-{k}": (compressed(v, Rows=128), "damaged") for k, v in CODECS.items()},
    **{f"21-rows-too-few-{k}": (compressed(v, Rows=32), "damaged") for k, v in CODECS.items()},
    "01-no-rescale": (whole(**NO_RESCALE), "Rescale"),
    "02-no-intercept": (whole(RescaleIntercept=None), "RescaleIntercept"),
    "04-intercept-inf": (whole(RescaleIntercept=b"-inf"), "RescaleIntercept"),
    "09-signed-as-unsigned": (whole(stored=HEAD), "unsigned"),
    "16-enhanced": (whole(SOPClassUID=EnhancedCTImageStorage), "multi-frame"),
    "16-frames-unplaced": (whole(1, **TWO_FRAMES), "without positions"),
    "18-cut-raw": (spoilt(lambda data: data[:-100]), "cut short"),
    "18-no-pixels": (whole(PixelData=None), "no pixel data"),
    "19-header-cut": (spoilt(lambda data: data[:600]), "header"),
    "20-rows-too-many": (whole(Rows=128), "bytes"),
    "21-rows-too-few": (whole(Rows=32), "bytes"),
    "21-two-bytes-too-many": (whole(PixelData=bytes(8194), Rows=64, Columns=64), "bytes"),
    "22-no-rows": (whole(Rows=None), "Rows"),
    "22-no-columns": (whole(Columns=0), "64 x 0"),
    "22-no-sign": (whole(PixelRepresentation=None), "PixelRepresentation"),
    "23-rows-of-three-bytes": (whole(Rows=b"\x40\0\0"), ""),
    "24-empty-file-alone": (file_beside("empty", b"", 0), "no axial CT"),
    "24-nothing": (lambda folder: None, "empty"),
    "25-no-preamble-alone": (spoilt(lambda data: data[132:]), "no axial CT"),
    "27-unknown-syntax": (replaced(EXPLICIT.encode(), b"1.2.840.10008.1.2.9"), "not supported"),
    "27-raw-called-rle": (replaced(EXPLICIT.encode(), RLE.encode()), "declared wrongly"),
    "27-jpeg-2000-called-jpeg-ls": (replaced(J2K.encode(), JLS.encode(), J2K), "no JPEG-LS image"),
    "27-jpeg-2000-called-deflated": (replaced(J2K.encode(), DEFLATED.encode(), J2K), "deflated"),
    "28-three-samples": (whole(SamplesPerPixel=3), "colour"),
    "28-called-32-bit": (whole(BitsAllocated=32), "32 bits"),
    "28-stored-over-allocated": (whole(BitsStored=32), "32 of 16 bits"),
    "63-anonymised-no-rescale": (whole(RescaleSlope=None, **ANONYMISED), "unknown object"),
    "63-class-of-another-object": (without_class(MR), "MR Image"),
    "64-wrapped-at-4096": (whole(stored=HEAD % 4096, RescaleIntercept=0, **TWELVE), "dcmodify"),
    "64-wrapped-of-slope-10": (whole(**TENTHS, **TWELVE), "dcmodify"),
    "65-bare-and-cut": (bare(lambda data: data[:-2]), "gdcmconv"),
    "65-bare-of-another-class": (bare(SOPClassUID=MR), "gdcmconv"),
    "65-bare-explicit": (bare(syntax=EXPLICIT), "gdcmconv"),
    "66-resent-with-other-pixels": (again(**RESENT, hu=with_peak(7)), "one position"),
    "42-no-position": (whole(ImagePositionPatient=None), "ImagePositionPatient"),
    "42-no-orientation": (whole(ImageOrientationPatient=None), "Orientation"),
    "45-odd-matrix": (odd(hu=of_size(64, 80)), "matrix"),
    "46-odd-pixel-spacing": (odd(PixelSpacing=[3.5, 3.4]), "pixel spacing"),
    "46-no-pixel-spacing": (odd(PixelSpacing=None), "PixelSpacing"),
    "47-mr-alone": (whole(SOPClassUID=MR, Modality="MR"), "MR Image"),
    "49-dicomdir-alone": (dicomdir, "a DICOMDIR"),
    "50-position-of-two": (odd(ImagePositionPatient=b"-112\\-11"), "ImagePosition"),
    "50-axes-skewed": (whole(ImageOrientationPatient=SKEWED), "unit axes"),
    "50-no-instance-uid": (whole(SOPInstanceUID=None), "SOPInstanceUID"),
    "50-no-series-uid": (whole(SeriesInstanceUID=None), "lacks its series"),
    "rescale-of-electron-density": (odd(RescaleType="ED"), "RescaleType"),
    "table-beside-rescale": (whole(ModalityLUTSequence=LUT), "ModalityLUT"),
    "frames-none": (whole(NumberOfFrames=0), "frames"),
    "palette": (whole(PhotometricInterpretation="PALETTE COLOR"), "palette"),
    "float-pixels-too": (whole(FloatPixelData=bytes(64 * 64 * 4)), "two kinds"),
    "no-transfer-syntax": (replaced(b"\x02\0\x10\0UI", b"\x02\0\x18\0UI"), "transfer syntax"),
    "two-files-in-one": (spoilt(lambda data: data + data), "more than one image"),
    "slope-twice": (spoilt(lambda data: data + b"\x28\x00\x53\x10DS\2\0002 "), "twice"),
    "big-called-little": (mislabelled(BIG, EXPLICIT), ""),
    "charset-of-junk": (replaced(b"ISO_IR 100", JUNK, SpecificCharacterSet="ISO_IR 100"), ""),
    "deflated-cut": (spoilt(lambda d: d[:-20], TransferSyntaxUID=DEFLATED), "deflated"),
    "no-end-of-items": (spoilt(lambda d: d[:-8], RLE), "ends early"),
    "two-offsets": (framed(lambda f: items(f, f, offsets=bytes(8)), J2K), "several images in one"),
    "fragment-missing": (framed(lambda f: items(f[: len(f) // 2]), J2K), "cut short"),
    "two-images": (framed(lambda f: items(f, f), J2K), "several images: damaged"),
    "colour-in-jpeg-ls": (framed(lambda _: items(COLOUR), JLS), "3 samples per pixel: damaged"),
    "run-missing": (framed(lambda f: items(f[:-200]), RLE), "of 4096 and [1-3]... bytes.* 4096:"),
    "jpeg-ls-12-bits-called-16": (compressed(JLS, NARROW, **SIXTEEN), "12 bits"),
    "jpeg-2000-called-unsigned": (compressed(J2K, NARROW, **SIXTEEN, **UNSIGNED), "12 bits"),
    "spacing-huge": (whole(PixelSpacing=[1e9, 1e9]), "PixelSpacing"),
    "spacing-tiny": (whole(PixelSpacing=[1e-5, 1e-5]), "PixelSpacing"),
    "axes-too-long": (whole(ImageOrientationPatient=[2, 0, 0, 0, 2, 0]), "unit"),
    "position-far-away": (at(5, 10, 1e30), r"1e\+30 mm; export"),
    "two-patients": (odd(PatientID="CANARY-2"), "two patients"),
    "two-patients-at-one-position": (again(**SECOND, PatientID="CANARY-2"), "two patients"),
    "two-studies": (odd(StudyInstanceUID=uid("other")), "two studies"),
    "copy-of-other-pixels": (again(hu=with_peak(7)), "share a SOP Instance UID"),
    "one-uid-at-two-positions": (whole(2, SOPInstanceUID=uid("one")), "place"),
    "copy-of-other-slope": (again(RescaleSlope=2, stored=STORED), "share"),
    "copy-of-other-orientation": (again(ImageOrientationPatient=TILT), "share"),
    "series-uid-of-two": (whole(SeriesInstanceUID=b"1.2\\3.4 "), "SeriesInstanceUID"),
    "no-modality": (whole(Modality=None), "header"),
}

WARNED = {
    **{
        f"69-scout-{k}": (beside(5, "scout.dcm", 6, **SCOUT, **v), "skipped scout.dcm: ")
        for k, v in ODD_ALONE.items()
    },
    "81-negative-slope": (whole(RescaleSlope=-1, RescaleIntercept=2000), "negative"),
    "07-slopes-differ": (whole(RescaleSlope=lambda n: 0.5**n), "rescale"),
    "08-half-hu-after-integers": (whole(**HALVES), "rescale", HALF_HU),
    "09-over-16000": (whole(hu=with_peak(20000)), "20000 HU", with_peak(20000)),
    "12-signed-12-bit-overflow": (whole(**OVERFLOW), "BitsStored", with_peak(-1096)),
    "13-high-bit-15": (whole(BitsStored=12, HighBit=15), "HighBit"),
    "15-extended-hu": (whole(RescaleIntercept=-8192, hu=EXTENDED), "57343 HU", EXTENDED),
    "17-lossy": (whole(LossyImageCompression="01"), "lossy"),
    "17-dropped-bit": (framed(with_dropped_bit, JPEG, **TWELVE, hu=DIM), "lossy", 2 * DIM + 3072),
    "24-empty-file": (file_beside("empty", b""), "not DICOM"),
    "24-text": (file_beside("notes.txt", b"seen, fine\n" * 50), "not DICOM"),
    "24-no-preamble": (spoilt(lambda data: data[132:], n=3), "not DICOM"),
    "36-slice-missing": (at(5, 10, 20, 25), "10.00 mm apart.*after slice 2"),
    "37-same-file-twice": (again(), "1 repeated file"),
    "38-two-at-one-position": (again(**SECOND), "skipped x.dcm: alone in AcquisitionNumber 2"),
    "63-class-only-in-meta": (without_class(CTImageStorage), "file meta information"),
    "63-class-anonymised": (whole(**ANONYMISED), "not a class of"),
    "65-no-preamble-no-meta": (bare(), "no preamble"),
    "66-resent-under-another-uid": (again(**RESENT), "same position and pixels"),
    "39-scout": (beside(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
    "39-sagittal-scout": (beside(ImageOrientationPatient=SAGITTAL), "not axial"),
    "43-tilt": (whole(**TILT_15), "tilted by 15.0 degrees"),
    "44-spacing-changes": (at(0, 2.5, 5, 7.5, 12.5, 17.5, 22.5), "2.50 to 5.00 mm"),
    "47-capture": (beside(SOPClassUID=CAPTURE), "Secondary"),
    "47-other-modality": (beside(Modality="PT"), "modality PT"),
    "47-dose": (beside(ImageType=["DERIVED", "SECONDARY", "DOSE_INFO"]), "dose_info"),
    "47-8-bit": (beside(BitsAllocated=8, BitsStored=8, HighBit=7), "8-bit"),
    "48-burned-in": (whole(BurnedInAnnotation="YES"), "burned-in"),
    "49-dicomdir": (lambda folder: [make_series(folder), dicomdir(folder)], "a DICOMDIR"),
    "intercept-forgotten": (whole(stored=STORED, RescaleIntercept=0), "no air", STORED),
    "rescale-type-unspecified": (whole(RescaleType="US"), "RescaleType"),
    "padding-no-pixel-has": (other_vr("UL", PixelPaddingValue=70000), "padding"),
    "padding-of-lung": (padded(-800, -800), "padding", cornered(-800)),
    "padding-up-to-tissue": (padded(-2000, -2000, 40), "padding", PADDING),
    "padding-of-words": (other_vr("LO", PixelPaddingValue="none"), "padding"),
    "overlay-of-another-size": (overlaid((0x0010, "US", 999)), "BitsStored"),
    "overlay-in-a-used-bit": (overlaid((0x0102, "US", 3)), "BitsStored"),
    "signs-mixed": (beside(**SIGNED, ImagePositionPatient=[-112, -112, 20]), "rescale differs"),
    "thickness-negative": (whole(1, SliceThickness=-5), "thickness"),
    "one-oblique": (beside(5, ImageOrientationPatient=TILT), "skipped 09.dcm: another orientation"),
    "two-frames-of-reference": (odd(FrameOfReferenceUID=uid("other")), "frames of reference"),
    "pipe": (special(os.mkfifo), "not DICOM"),
    "loop-of-links": (special(lambda path: path.symlink_to(".")), "not followed"),
}

HANDLED = {
    **{f"29-{r}x{c}": (whole(1, hu=of_size(r, c)), "", of_size(r, c)) for r, c in SIZES},
    "jpeg-lossless-of-any-predictor": (compressed(JPEG_57, TWELVE), ""),
    "jpeg-lossless-signed": (compressed(JPEG, TWELVE | SIGNED), ""),
    "names-of-all-kinds": (named("a\nb", "\x1b[2J.dcm", "K\u00e4 \u5934", "DICOMDIR", ".x"), ""),
    "06-half-slope": (whole(RescaleSlope=0.5), ""),
    "09-under-16000": (whole(hu=with_peak(15999)), "", with_peak(15999)),
    "10-overlay-raw": (overlaid(), ""),
    "10-overlay-rle": (overlaid(syntax=RLE), ""),
    "11-overlay-jpeg-ls": (overlaid(syntax=JLS), ""),
    "11-overlay-jpeg-2000": (overlaid(syntax=J2K), ""),
    "14-monochrome1": (whole(PhotometricInterpretation="MONOCHROME1"), ""),
    "21-one-byte-too-many": (spoilt(one_byte_more), ""),
    "41-number-missing": (whole(InstanceNumber=None), ""),
    "46-pixel-spacing-in-fewer-digits": (odd(PixelSpacing=["3.50004", "3.5"]), ""),
    "axes-of-two-decimals": (whole(ImageOrientationPatient=[0.98, 0.17, 0, -0.17, 0.98, 0]), ""),
    "one-kilometre-away": (at(1e6, 1e6 + 5, 1e6 + 10), ""),
    "empty-table-beside-rescale": (whole(ModalityLUTSequence=[]), ""),
    "rows-as-text": (other_vr("LO", Rows="64"), ""),
    "frames-one": (whole(NumberOfFrames=1), ""),
    "padding-near-air": (padded(-1060, -1060), "", PADDING),
    "padding-of-wrong-vr": (padded(-1060, 65536 - 1060, vr="US"), "", PADDING),
    "padding-without-tag": (padded(-1500), "", PADDING),
    "padding-range-downwards": (padded(-1060, -1050, -2000), "", PADDING),
    "padding-empty": (other_vr("US", PixelPaddingValue=None), ""),
    "zeros-behind": (spoilt(lambda data: data + bytes(1000)), ""),
    "implicit-called-explicit": (mislabelled(IMPLICIT, EXPLICIT), ""),
    "explicit-called-implicit": (mislabelled(EXPLICIT, IMPLICIT), ""),
    "fragments": (framed(lambda f: items(f[:1000], f[1000:]), J2K), ""),
    "fill-bytes-before-a-marker": (framed(lambda f: items(f[:2] + b"\xff\xff" + f[2:]), JPEG), ""),
    "start-bytes-inside-jpeg-2000": (framed(commented, J2K), ""),
    "syntaxes-mixed": (in_many_syntaxes, ""),
    "series-uid-of-words": (whole(SeriesInstanceUID="Kopf \u00e4\u00f6".encode("latin-1")), ""),
}

TABLE = {"refused": REFUSED, "warned": WARNED, "handled": HANDLED}
CASES = {
    name: (make, outcome, words, hu[0] if hu else HEAD)
    for outcome, cases in TABLE.items()
    for name, (make, words, *hu) in cases.items()
}
"""Name of each case to its maker, outcome, words and HU."""
