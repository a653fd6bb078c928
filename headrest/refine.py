"""What one slice cannot tell a network, and the whole series can.

probability -> found -> without walls of the patient's own hollows -> without what the body
encloses -> with loose islands -> without crumbs
"""

import numpy as np
from scipy import ndimage

from headrest.hounsfield import DEVICE
from headrest.labels import ABSENT, FREE, TOUCHING, grown

FACES = ndimage.generate_binary_structure(3, 1)
CORNERS = ndimage.generate_binary_structure(3, 3)

HOLLOW_MM2, OWN, WALL_MM = 500.0, 0.75, 7.0
"""A hollow as large as this in a slice, whose rim is patient for so great a share, is the patient's
own (lungs, sinuses, the inside of a plastic skull), and so is everything this near to it."""

ISLAND = 0.2
"""Mean probability from which what hangs on no patient goes with the support."""

CRUMB_MM3 = 40.0
"""A find smaller than this that lies on the patient alone stays: the patient wins."""

SEEN_MM2 = 4.0
"""Less support than this in a slice is none; less contact than this is no touching."""


STEPS = ("hollows", "body", "islands", "crumbs")


def refine(probability, hu, spacing_mm, steps=STEPS):
    """Decide by the series which voxels are support.

    Parameters
    ----------
    probability : float array (slices, rows, columns), as `headrest.predict.probability`.
    hu : float array of that shape, in HU.
    spacing_mm : (z, y, x) in mm.
    steps : names of the steps that are taken.

    Returns
    -------
    (device, body) : bool arrays of that shape; the support, and the patient with what they
    enclose slice by slice.
    """
    solid, found = hu > DEVICE, probability >= 0.5
    if "hollows" in steps:
        found &= ~_walls(solid, found, spacing_mm)
    body = largest_body(solid, found)
    if "body" in steps:
        found &= ~body
    if "islands" in steps:
        found |= _likely_islands(solid & ~found & ~body, probability)
    if "crumbs" in steps:
        found &= ~_crumbs(found, body, spacing_mm)
    return found, body & ~found


def _walls(solid, found, spacing_mm):
    """What lies near to hollows of the patient."""
    near = np.zeros_like(solid)
    for i in np.flatnonzero(found.any((1, 2))):
        hollows = _own_hollows(solid[i], found[i], spacing_mm[1] * spacing_mm[2])
        if hollows.any():
            near[i] = grown(hollows, WALL_MM, spacing_mm[1:])
    return near


def _own_hollows(solid, found, area_mm2):
    """Enclosed air of one slice whose rim is mostly patient."""
    labels, count = ndimage.label(~solid)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * area_mm2
    rim, own = np.zeros((2, count + 1))
    for air, beside, taken in _neighbours(labels, solid, found):
        rim += np.bincount(air[beside], minlength=count + 1)
        own += np.bincount(air[beside & ~taken], minlength=count + 1)
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    chosen = (sizes >= HOLLOW_MM2) & (own >= OWN * rim)
    chosen[edges] = False
    chosen[0] = False
    return chosen[labels]


def _neighbours(labels, solid, found):
    """Each pixel's label, and whether its neighbour is solid and found, in four directions."""
    for axis in (0, 1):
        air, beside, taken = (np.moveaxis(v, axis, 0) for v in (labels, solid, found))
        yield air[:-1], beside[1:], taken[1:]
        yield air[1:], beside[:-1], taken[:-1]


def largest_body(solid, device):
    """The largest piece of what is solid and no device, and what it encloses in each slice.

    Parameters
    ----------
    solid, device : bool array (slices, rows, columns)

    Returns
    -------
    bool array of that shape.
    """
    labels, count = ndimage.label(solid & ~device, FACES)
    if not count:
        return np.zeros_like(solid)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return fill_slices(labels == sizes.argmax())


def fill_slices(mask):
    """Fill what a mask encloses in each slice.

    Parameters
    ----------
    mask : bool array (slices, rows, columns)

    Returns
    -------
    bool array of that shape.

    Examples
    --------
    >>> ring = np.pad([[[True] * 3, [True, False, True], [True] * 3]], 1)
    >>> int(ring.sum()), int(fill_slices(ring).sum())
    (8, 9)
    """
    filled = np.empty_like(mask)
    for one, out in zip(mask, filled):
        outside, _ = ndimage.label(np.pad(~one, 1, constant_values=True))
        out[...] = (outside != outside[0, 0])[1:-1, 1:-1]
    return filled


def _likely_islands(loose, probability):
    """Pieces of what is neither body nor found, where the network half believes in them."""
    labels, _ = ndimage.label(loose, FACES)
    sizes = np.maximum(np.bincount(labels.ravel()), 1)
    likely = np.bincount(labels.ravel(), probability.ravel()) / sizes >= ISLAND
    likely[0] = False
    return likely[labels]


def _crumbs(found, body, spacing_mm):
    """Small finds on the body."""
    labels, count = ndimage.label(found, CORNERS)
    on_body = labels[ndimage.binary_dilation(body, CORNERS)]
    crumb = np.bincount(on_body, minlength=count + 1) > 0
    crumb &= np.bincount(labels.ravel()) * np.prod(spacing_mm) < CRUMB_MM3
    crumb[0] = False
    return crumb[labels]


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
    contact = ndimage.binary_dilation(device, CORNERS[1]) & body
    return TOUCHING if contact.sum() * area_mm2 >= SEEN_MM2 else FREE


def confidence(probability, device):
    """The Dice that a network expects of itself in each slice, if its probabilities are right.

    Parameters
    ----------
    probability : float array (slices, rows, columns), 0 to 1.
    device : bool array of that shape, what was made of it.

    Returns
    -------
    tuple of float (slices,), 0 to 1; 1.0 where nothing is suspected and nothing found.

    Examples
    --------
    >>> confidence(np.array([[[0.9, 0.1]], [[0.5, 0.5]]]), np.array([[[1, 0]], [[1, 0]]], bool))
    (0.9, 0.5)
    """
    rows = []
    for p, mask in zip(probability.astype(np.float32), device):
        both = float(p.sum()) + int(mask.sum())
        rows.append(round(2 * float(p[mask].sum()) / both, 4) if both >= 1 else 1.0)
    return tuple(rows)
