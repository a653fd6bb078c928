"""Sort the images of one series into stacks, each of which is a volume.

Rules, in order:

1. A stack has one matrix, pixel spacing and orientation.
2. An image that no stack fits is left out, unless it may fill a gap: then its series is damaged.
3. Two acquisitions that share one boundary position are one stack; the shared slice is kept once.
4. A stack has one image per position. Images that share positions, or acquisitions whose slices
   alternate, are separated by the first attribute of `SEPARATING_KEYWORDS` that does.
5. Where none does, any other attribute, also a private one, separates them if it has one value per
   part, each part has every position, and no other attribute separates them in another way.
6. Several different images at a single position (bolus monitoring) are no volume.
"""

from collections import defaultdict
from contextlib import suppress
from itertools import groupby, pairwise
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement

from headrest.dicom.geometry import (
    GAP_RATIO,
    SAME_POSITION_MM,
    SEPARATING_KEYWORDS,
    TOLERANCES,
    Image,
    is_same,
)
from headrest.dicom.header import PIXEL_DATA_TAGS, quiet, read_header
from headrest.util import plain

MIN_POSITIONS = 3  # of fewer, an attribute separates the images by chance too often
MAX_VALUE_BYTES = 64  # of an attribute that may separate them; long strings (LO) have no more


class Stack(NamedTuple):
    """Images of one volume, and warnings about how they were found."""

    images: list[Image]
    name: str
    warnings: list[str]


def sort_into_stacks(images: list[Image]) -> tuple[list[Stack], list[tuple[list[Image], str]]]:
    """Sort the images of one series into stacks.

    Returns
    -------
    stacks : list of Stack, the largest first; damaged images stay in it: the reader refuses them.
    rejected : list of (images, reason), images that form no volume.
    """
    owners = zip(*(image.owner for image in images))
    several = any(len(set(values) - {""}) > 1 for values in owners)
    groups = _by_grid([image for image in images if image.depth is not None])
    if several or not groups or (len(groups) > 1 and len(groups[0]) == 1):
        return [Stack(images, "", [])], []  # of two patients, or none fit: the reader refuses them
    main, others = list(groups[0]), groups[1:]
    others += [[image] for image in images if image.depth is None]
    candidates, left_out, stacks, rejected = [main], [], [], []
    for group in others:
        if any(_may_belong(image, groups[0]) for image in group):
            main += group
        elif len(group) > 1:
            candidates.append(group)
        else:
            left_out.append(_skipped(group[0], _difference(group[0], main)))
    for group in candidates:
        positions = _positions(group)
        distinct = {(image.number, *image.values) for image in positions[0]}
        if len(positions) == 1 and len(distinct) > 1:  # such as bolus monitoring
            rejected.append((group, f"{len(group)} images at one position, no volume"))
        else:
            stacks += _split(group, positions)
    lone = [stack for stack in stacks if len(stack.images) == 1]
    if len(lone) < len(stacks):
        left_out += [_skipped(s.images[0], f"alone in {s.name}") for s in lone]
        stacks = [stack for stack in stacks if len(stack.images) > 1]
    stacks.sort(key=lambda stack: -len(stack.images))
    if stacks:
        stacks[0].warnings.extend(left_out)
    return _named(stacks), rejected


def _skipped(image, reason):
    frame = f", frame {image.frame}" if image.frame else ""
    return f"skipped {plain(image.path.name)}{frame}: {reason}"  # reports omit such lines


def _by_grid(images):
    """Group images of one matrix, pixel spacing and orientation; the largest group first."""
    groups: list[list[Image]] = []
    for image in images:
        known = (group for group in groups if is_same(image, group[0], *TOLERANCES))
        if (group := next(known, None)) is None:
            groups.append(group := [])
        group.append(image)
    return sorted(groups, key=len, reverse=True)


def _may_belong(image, main):
    """Whether an image outside a stack may be a damaged member of it, which the reader refuses."""
    if image.malformed or (image.uid and image.uid in {other.uid for other in main}):
        return True
    gaps = _gaps(main)
    if image.depth is None:
        same = is_same(image, main[0], "matrix", "pixel_spacing")
        return bool(same and (gaps or len(main) == 1))
    inside = any(low < image.depth < high for low, high in gaps)
    return inside and is_same(image, main[0], "orientation")


def _gaps(images):
    """Ranges of depth in which a slice is missing; between two slices this is unknown."""
    depths = np.unique([image.depth for image in images])
    steps = np.diff(depths)
    wide = steps > GAP_RATIO * np.median(steps) if len(steps) > 1 else steps > 0
    near = SAME_POSITION_MM
    return [(depths[i] + near, depths[i + 1] - near) for i in np.flatnonzero(wide)]


def may_lack_slices(images: list[Image]) -> bool:
    """Whether a series has a gap, or too few images with positions to tell."""
    placed = [image for image in images if image.depth is not None]
    few = len(placed) < max(len(images), MIN_POSITIONS)
    return few or any(_gaps(group) for group in _by_grid(placed))


def _difference(image, main):
    if image.matrix != main[0].matrix:
        return "another matrix, {:g} x {:g}".format(*image.matrix)
    if image.depth is None:
        return "no position"
    same = is_same(image, main[0], "orientation")
    return "another pixel spacing" if same else "another orientation"


def _positions(images):
    """Images by position, in ascending order; files of one SOP Instance UID count once."""
    runs: list[dict[str, Image]] = []
    last = -np.inf
    placed = [image for image in images if image.depth is not None]
    for image in sorted(placed, key=attrgetter("depth")):
        if image.depth - last >= SAME_POSITION_MM:
            runs.append({})
        runs[-1].setdefault(image.uid, image)
        last = image.depth
    return [list(run.values()) for run in runs]


def _split(images, positions):
    """Stacks of images that share one grid."""
    parts = None
    if max(map(len, positions)) > 1:
        if joined := _join_at_boundary(images):
            return [joined]
        parts = _separate(images, list(range(len(SEPARATING_KEYWORDS))))
        placed = all(image.depth is not None for image in images)  # the reader refuses others
        if not parts and placed and len(set(map(len, positions))) == 1:
            parts = _passes(positions) or _by_other_attribute(positions)
    elif _alternate(positions):
        parts = _grouped(images, 0)
    if not parts:
        return [Stack(images, "", [])]  # the reader drops repeated images, or refuses
    return [Stack(part, name, []) for name, part in parts.items()]


def _join_at_boundary(images):
    """One stack of acquisitions that follow each other and share one position, or None."""
    parts = [_positions(part) for part in _grouped(images, 0).values()]
    if len(parts) < 2 or min(map(len, parts)) < 2:
        return None
    ordered = sorted(parts, key=lambda positions: positions[0][0].depth)
    dropped, notes = [], []
    for before, after in pairwise(ordered):
        overlap = before[-1][0].depth - after[0][0].depth
        if overlap >= SAME_POSITION_MM or max(map(len, before + after)) > 1:
            return None
        if abs(overlap) < SAME_POSITION_MM:
            both = f"{before[0][0].acquisition} and {after[0][0].acquisition}"
            notes += [_skipped(one, f"acquisitions {both} share its position") for one in after[0]]
            dropped += after[0]
    gone = {image.uid for image in dropped} - {""}  # others may lack one too
    return Stack([image for image in images if image.uid not in gone], "", notes)


def _grouped(images, index):
    """Images by the value of one of `SEPARATING_KEYWORDS`: dict of name to images."""
    parts = defaultdict(list)
    for image in images:
        value = plain(image.values[index]) or "missing"
        parts[f"{SEPARATING_KEYWORDS[index]} {value}"].append(image)
    return dict(parts)


def _separate(images, indices):
    """Parts with one image per position, by as few attributes as possible; None where none do."""
    positions = _positions(images)
    most = max(map(len, positions), default=1)
    if most == 1:
        return {"": images}
    if len(positions) == 1:
        return None
    for n, index in enumerate(indices):
        parts = _grouped(images, index)
        smallest = min(map(len, parts.values()))
        if len(parts) == 1 or len(parts) > (2 * most if smallest > 1 else most):
            continue  # a value that changes from slice to slice belongs to no stack
        found = {name: _separate(part, indices[n + 1 :]) for name, part in parts.items()}
        if all(found.values()):
            named = [(name, *each) for name, sub in found.items() for each in sub.items()]
            return {f"{name}, {inner}".strip(", "): part for name, inner, part in named}
    return None


def _passes(positions):
    """Parts by the order of Content Time at each position, where whole passes follow each other."""
    index = SEPARATING_KEYWORDS.index("ContentTime")
    if len(positions) < 2:
        return None
    ordered = [sorted(run, key=lambda image: image.values[index]) for run in positions]
    passes = list(zip(*ordered))
    for before, after in pairwise(passes):
        if max(i.values[index] for i in before) >= min(i.values[index] for i in after):
            return None
    return {f"pass {n} by ContentTime": list(one) for n, one in enumerate(passes, 1)}


def _by_other_attribute(positions):
    """Parts by the one way in which other attributes separate each position, or None."""
    if len(positions) < MIN_POSITIONS:
        return None
    count = len(positions[0])
    values = {image: _short_values(image) for run in positions for image in run}
    ways = {}
    for name in set.intersection(*map(set, values.values())):
        parts = defaultdict(list)
        for image, value in values.items():
            parts[value[name]].append(image)
        distinct = (len({values[image][name] for image in run}) for run in positions)
        if len(parts) == count and all(n == count for n in distinct):
            way = tuple(sorted(map(tuple, parts.values())))
            ways[way] = min(name, ways.get(way, name))
    if len(ways) != 1:
        return None
    ((way, name),) = ways.items()
    return {f"{name}, value {n}": list(part) for n, part in enumerate(way, 1)}


def _short_values(image):
    """Every short value in the header of a single-frame image, by keyword or tag."""
    with quiet(), suppress(Exception):  # a damaged header raises any exception
        read = None if image.frame else read_header(image.path, (), PIXEL_DATA_TAGS)
        header = read or Dataset()
        elements = map(header.get_item, header.keys())  # iterating a Dataset reads each element
        short = (
            e for e in elements if isinstance(e, RawDataElement) and e.length <= MAX_VALUE_BYTES
        )
        return {keyword_for_tag(e.tag) or str(e.tag): str(e.value) for e in short}
    return {}


def _alternate(positions):
    """Whether the slices of several acquisitions alternate along the normal."""
    acquisitions = [run[0].acquisition for run in positions]
    known = len(set(acquisitions) - {""})
    return known > 1 and len(list(groupby(acquisitions))) > 2 * known


def _named(stacks):
    """Name each of several stacks by its number and by the attribute that separates it."""
    if len(stacks) < 2:
        return stacks
    named = []
    for n, stack in enumerate(stacks, 1):
        size = (*stack.images[0].matrix, *stack.images[0].pixel_spacing)  # may lack if named
        about = stack.name or "{:g} x {:g} pixels of {:g} x {:g} mm".format(*size)
        name = f"stack {n} of {len(stacks)} ({about})"
        note = f"{name} of this series: {len(stack.images)} images"
        named.append(Stack(stack.images, name, [note, *stack.warnings]))
    return named
