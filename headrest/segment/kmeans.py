"""K-Means on the HU of a slice: exact, on the histogram."""

import numpy as np

from headrest.hounsfield import DENSE_HU, FLOOR
from headrest.util import HeadrestError

METAL_HU = 1500.0
"""HU above this count as this: otherwise metal gets a cluster of its own."""

FOAM_HU = -800.0
"""A threshold below this separates air from foam, in a slice that shows nothing else."""


def hu_histogram(hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels of each whole HU, clipped to `FLOOR` and `METAL_HU`.

    Parameters
    ----------
    hu : float array of any shape, in HU.

    Returns
    -------
    values : float array (n,), the HU that occur, ascending.
    counts : int array (n,)

    Raises
    ------
    HeadrestError
        For NaN.

    Examples
    --------
    >>> hu_histogram(np.array([-1000.0, -1000.0, 40.0]))
    (array([-1000.,    40.]), array([2, 1]))
    """
    if np.isnan(hu).any():
        raise HeadrestError("HU that are not a number: replace them, for example by np.nan_to_num")
    counts = np.bincount((np.clip(hu, FLOOR, METAL_HU) - FLOOR).ravel().astype(np.intp))
    occurring = np.flatnonzero(counts)
    return occurring + FLOOR, counts[occurring]


def kmeans_threshold(hu: np.ndarray, k: int = 3) -> float:
    """Find the HU that separates air from everything else.

    Parameters
    ----------
    hu : float array of any shape, in HU.
    k : int, number of clusters; 3 stand for air, soft tissue with plastic, and bone.

    Returns
    -------
    float, in HU: half-way between two neighbouring cluster centers, the lowest such place above
    `FOAM_HU`. -500 if there is none, or fewer different values than clusters.

    Raises
    ------
    HeadrestError
        If k is below 1, or for NaN.

    Examples
    --------
    >>> round(kmeans_threshold(np.repeat([-1000.0, 40.0, 1000.0], 100)), 6)
    -480.0
    """
    values, counts = hu_histogram(hu)
    centers = optimal_centers(values, counts, k) if len(values) >= k else np.empty(0)
    middles = (centers[1:] + centers[:-1]) / 2
    return float(next((t for t in middles if t > FOAM_HU), DENSE_HU))


def kmeans_centers(hu: np.ndarray, k: int = 3) -> np.ndarray:
    """Find the k cluster centers of HU, in HU, ascending: `optimal_centers` of `hu_histogram`."""
    return optimal_centers(*hu_histogram(hu), k)


def optimal_centers(values: np.ndarray, counts: np.ndarray, k: int) -> np.ndarray:
    """Find the k cluster centers of a histogram with the least sum of squared distances.

    Parameters
    ----------
    values : float array (n,), ascending.
    counts : array (n,), the weight of each value.
    k : int, from 1 to n.

    Returns
    -------
    float array (k,), ascending.

    Raises
    ------
    HeadrestError
        If k is below 1 or above n.

    Notes
    -----
    Clusters of numbers are intervals, so dynamic programming over their ends is exact, without a
    random start (W. D. Fisher, J. Am. Stat. Assoc. 53 (1958) 789; H. Wang and M. Song, The R
    Journal 3/2 (2011) 29).

    Examples
    --------
    >>> optimal_centers(np.array([0.0, 1.0, 9.0, 11.0]), np.ones(4), 2)
    array([ 0.5, 10. ])
    """
    n = len(values)
    if not 1 <= k <= n:
        raise HeadrestError(f"{k} clusters of {n} different values: choose from 1 to {n}")
    x = values - values.mean()  # keeps the digits when squared and summed
    weight, first, second = (np.r_[0.0, np.cumsum(counts * x**p)] for p in (0, 1, 2))

    def cost(start, end):
        """Sum of squared distances of the values start..end-1 to their mean."""
        total = first[end] - first[start]
        return second[end] - second[start] - total**2 / (weight[end] - weight[start])

    best, starts = np.r_[0.0, cost(0, np.arange(1, n + 1))], []
    for clusters in range(2, k):
        best, start = _add_cluster(best, cost, clusters)
        starts.append(start)
    edges = [n]
    if k > 1:  # the last cluster ends at n
        edges.append(k - 1 + int(np.argmin(best[k - 1 : n] + cost(np.arange(k - 1, n), n))))
    for start in reversed(starts):
        edges.append(start[edges[-1]])
    cuts = np.array([*edges, 0])[::-1]
    return values.mean() + np.diff(first[cuts]) / np.diff(weight[cuts])


def _add_cluster(best, cost, clusters):
    """Add a cluster: its least cost for the first 0..n values, and its start.

    The start never moves back as the end moves on. So the ends are solved by divide and conquer,
    each searched between the starts of its solved neighbours.
    """
    n, lowest = len(best) - 1, clusters - 1
    least, start = np.full(n + 1, np.inf), np.full(2 * n + 2, n)
    start[lowest] = lowest
    step = 1 << ((n - lowest).bit_length() - 1)
    while step:
        ends = np.arange(lowest + step, n + 1, 2 * step)
        low, high = start[ends - step], np.minimum(start[ends + step], ends - 1)
        least[ends], start[ends] = _least_of_ranges(best, cost, ends, low, high)
        step //= 2
    return least, start


def _least_of_ranges(best, cost, ends, low, high):
    """For each end the least total cost over the starts low..high, and the first such start."""
    sizes = high - low + 1
    offsets = np.cumsum(sizes) - sizes
    tried = np.arange(sizes.sum()) + np.repeat(low - offsets, sizes)
    total = best[tried] + cost(tried, np.repeat(ends, sizes))
    least = np.minimum.reduceat(total, offsets)
    hits = np.flatnonzero(total == np.repeat(least, sizes))
    return least, tried[hits[np.searchsorted(hits, offsets)]]
