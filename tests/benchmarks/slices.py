"""What a slice and a series cost beside the usual ways: threshold, components, reading."""

import importlib.util
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.ratios import Line, in_turns
from headrest.hounsfield import FLOOR, SUPPORT_HU

SLICES = 40
"""Slices of the series that is read."""

FIELD_MM = 240
"""Field of view of a usual head CT."""

COARSE_HU = 64
"""Steps of the histogram whose best clusters are found by trying every partition."""


def slice_lines(hu: np.ndarray, repeats: int) -> Iterator[Line]:
    """Measure all of it on one slice (rows, columns) in HU."""
    yield from threshold_lines(hu, repeats)
    yield optimum_line(hu)
    yield components_line(hu, repeats)
    yield from reading_lines(hu, repeats)


def threshold_lines(hu: np.ndarray, repeats: int) -> Iterator[Line]:
    """Threshold of a slice beside scikit-learn's K-Means on its pixels, ten starts."""
    from sklearn.cluster import KMeans

    from headrest.segment.kmeans import METAL_HU, kmeans_centers, kmeans_threshold

    pixels = np.clip(np.floor(hu), None, METAL_HU).astype(np.float64).reshape(-1, 1)
    model = KMeans(3, n_init=10, random_state=0)
    ours, theirs = in_turns(repeats, lambda: kmeans_threshold(hu), lambda: model.fit(pixels))
    yield Line("threshold: scikit-learn on pixels / here", theirs / ours, "at least", 50)
    inertia = np.square(pixels - kmeans_centers(hu)).min(axis=1).sum()
    ratio = round(float(inertia / model.inertia_), 4)
    yield Line("threshold: inertia here / scikit-learn", ratio, "at most", 1)


def optimum_line(hu: np.ndarray) -> Line:
    """Clusters of a coarse histogram beside the best of all partitions, for k = 2 to 5."""
    from headrest.segment.kmeans import hu_histogram, optimal_centers

    values, counts = hu_histogram(COARSE_HU * np.floor(hu / COARSE_HU))
    ratios = []
    for k in (2, 3, 4, 5):
        apart = np.square(values[:, None] - optimal_centers(values, counts, k)).min(axis=1)
        ratios.append(float(counts @ apart) / least_inertia(values, counts, k))
    worst = round(max(ratios), 6)
    return Line("threshold: inertia here / best of all partitions", worst, "at most", 1)


def least_inertia(values: np.ndarray, counts: np.ndarray, k: int) -> float:
    """Least inertia of k clusters, by trying every way to cut the values into k runs."""
    n = len(values)
    cost = np.full((n + 1, n + 1), np.inf)
    for i, j in itertools.combinations(range(n + 1), 2):
        mean = np.average(values[i:j], weights=counts[i:j])
        cost[i, j] = counts[i:j] @ np.square(values[i:j] - mean)
    cuts = np.array(list(itertools.combinations(range(1, n), k - 1)))
    edges = np.pad(cuts, ((0, 0), (1, 1)), constant_values=((0, 0), (0, n)))
    return float(cost[edges[:, :-1], edges[:, 1:]].sum(axis=1).min())


def components_line(hu: np.ndarray, repeats: int) -> Line:
    """Area, mean, deviation and extent of every component beside pandas' groupby."""
    what = "component statistics: pandas / here"
    if importlib.util.find_spec("pandas") is None:
        return Line(what, None, "at least", 2)
    import pandas

    from headrest.segment.components import find_components, measure

    labels, count = find_components(hu > SUPPORT_HU)

    def theirs():
        row, column = np.nonzero(labels)
        here = row, column
        frame = {"label": labels[here], "hu": hu[here], "row": row, "column": column}
        groups = pandas.DataFrame(frame)[hu[here] > SUPPORT_HU].groupby("label")
        return groups.agg(
            {"hu": ["size", "mean", "std"], "row": ["min", "max"], "column": ["min", "max"]}
        )

    def ours():
        return measure(labels, count, hu, SUPPORT_HU, (0.5, 0.5))

    here, pandas_s = in_turns(4 * repeats, ours, theirs)
    return Line(what, pandas_s / here, "at least", 2)


def reading_lines(hu: np.ndarray, repeats: int) -> Iterator[Line]:
    """A folder of raw DICOM files to HU beside SimpleITK, and beside reading bytes and scaling."""
    from headrest.dicom import read_series

    with tempfile.TemporaryDirectory() as folder:
        paths = write_series(hu, folder, SLICES)
        calls = [lambda: read_series(folder).hu, lambda: bytes_to_hu(paths, hu.shape)]
        if importlib.util.find_spec("SimpleITK"):
            calls.append(lambda: simpleitk_to_hu(folder))
        ours, limit, *others = in_turns(repeats, *calls)
    ratio = others[0] / ours if others else None
    yield Line("reading a series: SimpleITK / here", ratio, "at least", 1.3)
    yield Line("reading a series: here / bytes and scaling", ours / limit, "at most", 6)


def write_series(hu: np.ndarray, folder: str | Path, slices: int) -> list[Path]:
    """Write one slice many times, as a series of uncompressed files 5 mm apart."""
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    from headrest.phantom import synthesize, write_dicom

    with tempfile.TemporaryDirectory() as aside:
        study = synthesize(0, matrix=64, slices=1)
        ds = dcmread(write_dicom(study, Path(aside, "one")) / "0001.dcm")
    ds.Rows, ds.Columns = hu.shape
    ds.PixelSpacing = [FIELD_MM / len(hu)] * 2
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, int(FLOOR)
    ds.PixelData = np.clip(hu - FLOOR, 0, 4095).astype("<u2").tobytes()
    paths = [Path(folder, f"{number:03d}.dcm") for number in range(slices)]
    for number, path in enumerate(paths):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.InstanceNumber, ds.ImagePositionPatient = number + 1, [-100, -100, 5 * number]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.save_as(path)
    return paths


def bytes_to_hu(paths: list[Path], shape: tuple[int, ...]) -> np.ndarray:
    """The limit: no header is looked at; the pixels are known to be the last bytes of a file."""
    out = np.empty((len(paths), *shape), np.float32)
    for path, one in zip(paths, out):
        pixels = np.frombuffer(path.read_bytes()[-2 * one.size :], np.uint16)
        np.multiply(pixels.reshape(shape), np.float32(1), out=one)
        one += np.float32(FLOOR)
    return out


def simpleitk_to_hu(folder: str | Path) -> np.ndarray:
    """The usual way."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute())
