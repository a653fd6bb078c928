"""What one slice cannot tell a network, and the whole series can.

probability -> found -> without what is doubtful and lies on the patient -> without what flashes up
in one slice only -> without walls of the patient's own hollows -> with its soft edges -> without
what the body encloses -> with loose islands -> nothing, if that is crumbs in every slice -> device
"""

import numpy as np
from scipy import ndimage

from headrest.hounsfield import SUPPORT_HU
from headrest.segment.morphology import (
    ABSENT,
    EIGHT,
    FACES,
    FREE,
    RING_MM,
    TOUCHING,
    bounding_box,
    dilate,
    fill_holes,
    largest_component,
    open_mask,
    sum_by_label,
)

STEPS = ("doubts", "flashes", "hollows", "edges", "body", "islands", "crumbs")

FOUND = 0.75
"""Probability from which a voxel is found: the patient wins. At even odds twice as much of them is
lost, and hardly less of a support left."""

NEAR_MM, BETWEEN = 15.0, 0.5
"""A find of which so great a share is patient in the slices before and after, where these are as
near as this, is patient too: a support does not come and go."""

RIM_SHARE, SURE = 0.4, 0.95
"""A find with so great a share of its rim on what is kept has hardly a surface of its own: where
its mean probability is below `SURE`, the patient wins."""

HOLLOW_MM2, OWN, WALL_MM = 500.0, 0.75, 10.0
"""A hollow as large as this in a slice, whose rim is patient for so great a share, is the patient's
own (lungs, sinuses, the inside of a plastic skull), and its wall is this thick at most."""

BROKEN = 3
"""Pixels from a hollow within which a find has broken through its wall."""

ISLAND = 0.2
"""Mean probability from which what hangs on no patient goes with the support."""

EDGE_MM, ALONG = 1.0, 0.9
"""A thin layer of which so great a share lies within this of a find, or one pixel where these are
coarser, is its edge: there a voxel is half air, and a network sees less than half a support."""

CRUMBS_MM2 = 20.0
"""Less than this in every slice of a series is no support, where slices are as near as `NEAR_MM`:
the smallest strap shows twice as much somewhere, but may do so between slices that are not."""

AROUND = 2
"""Pixels of air around all that is not air, in which the steps work: half of a scan is more air."""

SEEN_MM2 = 4.0
"""Less support than this in a slice is none; less contact than this is no touching."""

SUSPECTED = 0.1
"""Probability from which a voxel counts for the confidence; less is the network's noise."""


def refine(probability, hu, spacing_mm, steps=STEPS):
    """Decide by the series which voxels are support.

    Parameters
    ----------
    probability : float array (slices, rows, columns), 0 at `SUPPORT_HU` HU and below, as
        `headrest.segment.predict.series_probability` gives it.
    hu : float array of that shape, in HU.
    spacing_mm : (z, y, x) in mm.
    steps : names of the steps that are taken, of `STEPS`.

    Returns
    -------
    (device, body) : bool arrays of that shape; the support, and the patient with what they
    enclose slice by slice.
    """
    solid = hu > SUPPORT_HU
    device, body = np.zeros((2, *hu.shape), bool)
    filled = bounding_box(solid, AROUND)  # what lies beyond changes nothing
    device[filled], body[filled] = _refined(solid[filled], probability[filled], spacing_mm, steps)
    return device, body


def _refined(solid, probability, spacing_mm, steps):
    found = probability >= FOUND
    hollows = _own_hollows(solid, found, spacing_mm[1:])
    if "doubts" in steps:
        _give_back(found, _doubts(found, solid & ~found | hollows, probability))
    if "flashes" in steps and spacing_mm[0] <= NEAR_MM:
        _give_back(found, _flashes(found, solid & ~found))
    if "hollows" in steps:
        _give_back(found, _walls(found, hollows, spacing_mm[1:]))
    if "edges" in steps:
        found |= _edges(solid & ~found, found, spacing_mm[1:])
    body = fill_holes(largest_component(solid & ~found), spacing_mm[1:])
    if "body" in steps:
        found &= ~body
    if "islands" in steps:
        found |= _likely_islands(solid & ~found & ~body, probability)
    if "crumbs" in steps and _crumbs(found, spacing_mm):
        return np.zeros_like(found), fill_holes(largest_component(solid), spacing_mm[1:])
    return found, body & ~found


def _give_back(found, pieces):
    """Take pieces of finds out again, each as soon as it is known: no step looks at the finds of
    another slice, only at what was kept before it began."""
    for here, piece in pieces:
        found[here] &= ~piece


def _around_finds(found, rim):
    """Index of each slice with finds, and of where in it they are with some pixels around them."""
    for i in np.flatnonzero(found.any((1, 2))):
        yield i, *bounding_box(found[i], rim)


def _crumbs(found, spacing_mm):
    """Whether a series that leaves nothing out shows crumbs, and nothing else, of a support."""
    whole = len(found) > 1 and spacing_mm[0] <= NEAR_MM
    most_mm2 = found.sum((1, 2)).max(initial=0) * spacing_mm[1] * spacing_mm[2]
    return whole and 0 < most_mm2 < CRUMBS_MM2


def _doubts(found, kept, probability):
    """Doubtful finds that lie on what is kept."""
    for here in _around_finds(found, 1):
        yield here, _doubtful(found[here], kept[here], probability[here])


def _doubtful(found, kept, probability):
    """Pieces of a slice's finds with much of their rim on what is kept, and a low probability."""
    labels, count = ndimage.label(found, EIGHT)
    sizes = np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
    mean = np.bincount(labels.ravel(), probability.ravel(), count + 1) / sizes
    doubtful = (_rim_share(labels, count, kept) >= RIM_SHARE) & (mean < SURE)
    return doubtful[labels]


def _rim_share(labels, count, beside):
    """Share of each label's rim that lies on a mask: float array (count + 1,), 0 for no label."""
    rim, on = np.zeros((2, count + 1))
    for axis in (0, 1):
        along, mask = np.moveaxis(labels, axis, 0), np.moveaxis(beside, axis, 0)
        for mine, other, there in (
            (along[:-1], along[1:], mask[1:]),
            (along[1:], along[:-1], mask[:-1]),
        ):
            edge = mine != other
            rim += np.bincount(mine[edge], minlength=count + 1)
            on += np.bincount(mine[edge & there], minlength=count + 1)
    share = on / np.maximum(rim, 1)
    share[0] = 0
    return share


def _flashes(found, kept):
    """Finds in the place of what is kept in the slice before and in the one after."""
    for i, *around in _around_finds(found, 0):
        if 0 < i < len(found) - 1:
            labels, count = ndimage.label(found[(i, *around)], EIGHT)
            sizes = np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
            both = kept[(i - 1, *around)] & kept[(i + 1, *around)]
            between = np.bincount(labels[both], minlength=count + 1)
            flashing = (between / sizes > BETWEEN) & (np.arange(count + 1) > 0)
            yield (i, *around), flashing[labels]


def _walls(found, hollows, spacing_mm):
    """The wall of hollows of the patient, where a find has broken through it."""
    for here in _around_finds(found, round(WALL_MM / min(spacing_mm)) + BROKEN):
        if hollows[here].any():
            labels, count = ndimage.label(found[here], EIGHT)
            broken = np.zeros(count + 1, bool)
            broken[labels[ndimage.binary_dilation(hollows[here], iterations=BROKEN)]] = True
            yield here, broken[labels] & found[here] & dilate(hollows[here], WALL_MM, spacing_mm)


def _edges(rest, found, spacing_mm):
    """Thin layers of what is not found that run along a find; they may hang on the patient."""
    edges = np.zeros_like(found)
    for i in np.flatnonzero(found.any((1, 2))):
        thin = rest[i] & ~open_mask(rest[i], EDGE_MM, spacing_mm)
        labels, count = ndimage.label(thin, EIGHT)
        beside = dilate(found[i], EDGE_MM, spacing_mm)
        size, along = (np.bincount(labels[of], minlength=count + 1) for of in (thin, thin & beside))
        edges[i] = (along >= ALONG * np.maximum(size, 1))[labels]
    return edges


def _own_hollows(solid, found, spacing_mm):
    """Enclosed air whose rim is mostly patient."""
    hollows = np.zeros_like(solid)
    for i in np.flatnonzero(found.any((1, 2))):
        closed = open_mask(solid[i], RING_MM, spacing_mm)
        labels, count = ndimage.label(~closed)
        chosen = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(spacing_mm) > HOLLOW_MM2
        chosen[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
        if chosen.any():
            chosen &= _rim_share(labels, count, closed & ~found[i]) >= OWN
            hollows[i] = chosen[labels]
    return hollows


def _likely_islands(loose, probability):
    """Pieces of what is neither body nor found, where the network half believes in them.

    They hang on no patient, so nothing but the network speaks for or against them.
    """
    labels, count = ndimage.label(loose, FACES)
    size = np.maximum(sum_by_label(labels, count), 1)
    chosen = sum_by_label(labels, count, probability) >= ISLAND * size
    return chosen[labels]


def states(device, body, spacing_mm):
    """Say of each slice whether its support is free, touches the patient, or is absent.

    Parameters
    ----------
    device, body : bool array (slices, rows, columns), as `refine` returns them.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    tuple of str (slices,)
    """
    area = spacing_mm[1] * spacing_mm[2]
    return tuple(_state(one, patient, area) for one, patient in zip(device, body))


def _state(device, body, area_mm2):
    if device.sum() * area_mm2 < SEEN_MM2:
        return ABSENT
    around = bounding_box(device, 1)
    contact = ndimage.binary_dilation(device[around], EIGHT) & body[around]
    return TOUCHING if contact.sum() * area_mm2 >= SEEN_MM2 else FREE


def confidence(probability, device, spacing_mm):
    """The Dice that a network expects of itself in each slice, if its probabilities are right.

    Parameters
    ----------
    probability : float array (slices, rows, columns), 0 to 1.
    device : bool array of that shape, what was made of it.
    spacing_mm : (z, y, x) in mm.

    Returns
    -------
    tuple of float (slices,), 0 to 1; 1.0 where next to nothing is suspected or found.

    Examples
    --------
    >>> device = np.array([[[1, 0]], [[1, 0]]], bool)
    >>> confidence(np.array([[[0.9, 0.1]], [[0.5, 0.5]]]), device, (5, 2, 2))
    (0.9, 0.5)
    """
    rows, pixels = [], SEEN_MM2 / (spacing_mm[1] * spacing_mm[2])
    for p, mask in zip(probability, device):
        p = p.astype(np.float32)  # NumPy is slow with the halves of `series_probability`
        p *= p >= SUSPECTED
        both = float(p.sum()) + int(np.count_nonzero(mask))
        rows.append(round(2 * float(np.vdot(p, mask)) / both, 4) if both >= pixels else 1.0)
    return tuple(rows)
