"""K-Means on the HU of a slice, through its weighted histogram.

A slice has 262,144 pixels but a few thousand different HU. Clustering the histogram gives
the same clusters a hundred times faster, and in one dimension the best ones can be found
exactly, so nothing depends on a random start.
"""

from functools import cache

import numpy as np

from headrest.hounsfield import FLOOR, SUPPORT_HU
from headrest.util.errors import HeadrestError

BRIGHTEST = 1500.0
"""HU above this count as this: metal would otherwise be given a cluster of its own."""

LOWEST_THRESHOLD = -800.0
"""Below this lies foam. Where nothing but air and foam is in view K-Means parts those two."""


def hu_histogram(
    hu: np.ndarray, lowest: float = FLOOR, highest: float = BRIGHTEST
) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels of each whole HU.

    Parameters
    ----------
    hu : float array of any shape, in HU; values beyond the ends count at the ends.

    Returns
    -------
    values : float array (n,), the HU that occur, ascending.
    counts : int array (n,).

    Examples
    --------
    >>> hu_histogram(np.array([-1000.0, -1000.0, 40.0]))
    (array([-1000.,    40.]), array([2, 1]))
    """
    whole = np.clip(hu, lowest, highest)
    whole -= lowest
    counts = np.bincount(whole.ravel().astype(np.intp))
    occurring = np.flatnonzero(counts)
    return occurring + lowest, counts[occurring]


def kmeans_centers(hu: np.ndarray, k: int = 3) -> np.ndarray:
    """Cluster HU with scikit-learn's KMeans, started at the exact optimum.

    Parameters
    ----------
    hu : float array of any shape, in HU.
    k : int
        Number of clusters; 3 stand for air, soft tissue with plastic, and bone.

    Returns
    -------
    float array (k,), ascending: the cluster centres in HU.

    Raises
    ------
    HeadrestError
        Where there are fewer different values than clusters.
    """
    return _centers(*hu_histogram(hu), k)


def _centers(values, counts, k):
    # Imported where it is used: it takes a second, and not every user clusters.
    from sklearn import config_context
    from sklearn.cluster import KMeans

    # scikit-learn's K-Means, which ends where it starts from chance; from the best centres it ends
    # there at once, and always.
    start = optimal_centers(values, counts, k)[:, None]
    with _one_thread(), config_context(assume_finite=True, skip_parameter_validation=True):
        model = KMeans(k, init=start, n_init=1, tol=0).fit(values[:, None], sample_weight=counts)
    return np.sort(model.cluster_centers_.ravel())


@cache
def _thread_controller():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _one_thread():
    # For two thousand values a second thread only burns time, waiting.
    return _thread_controller().limit(limits=1, user_api="openmp")


def kmeans_threshold(hu: np.ndarray, k: int = 3) -> float:
    """Find the HU that parts air from everything else.

    It lies half-way between two neighbouring cluster centres; the lowest such place above
    -800 HU is taken, and -500 HU where there is none (nothing but air and foam in view).

    Parameters as for `kmeans_centers`.

    Returns
    -------
    float, in HU; -500 as well where there are fewer different values than clusters.

    Examples
    --------
    >>> round(kmeans_threshold(np.repeat([-1000.0, 40.0, 1000.0], 100)), 6)
    -480.0
    """
    values, counts = hu_histogram(hu)
    centers = _centers(values, counts, k) if len(values) >= k else np.empty(0)
    between = (centers[1:] + centers[:-1]) / 2
    return float(next((t for t in between if t > LOWEST_THRESHOLD), SUPPORT_HU))


def optimal_centers(values: np.ndarray, counts: np.ndarray, k: int) -> np.ndarray:
    """Find the best k centres of a weighted histogram, exactly.

    Parameters
    ----------
    values : float array (n,), ascending.
    counts : array (n,), the weight of each value.
    k : int, from 1 to n.

    Returns
    -------
    float array (k,), ascending: the centres with the least sum of squared distances.

    Notes
    -----
    In one dimension clusters are intervals, so a dynamic programme over their ends is exact
    (W. D. Fisher, J. Am. Stat. Assoc. 53 (1958) 789; H. Wang and M. Song, The R Journal 3/2
    (2011) 29).

    Examples
    --------
    >>> optimal_centers(np.array([0.0, 1.0, 9.0, 11.0]), np.ones(4), 2)
    array([ 0.5, 10. ])
    """
    n = len(values)
    if not 1 <= k <= n:
        raise HeadrestError(f"{k} clusters asked of {n} different values")
    x = values - values.mean()  # small numbers keep their digits when squared and summed
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
    if k > 1:  # of the last cluster only the one that ends at n is wanted
        edges.append(k - 1 + int(np.argmin(best[k - 1 : n] + cost(np.arange(k - 1, n), n))))
    for start in reversed(starts):
        edges.append(start[edges[-1]])
    cuts = np.array([*edges, 0])[::-1]
    return values.mean() + np.diff(first[cuts]) / np.diff(weight[cuts])


def _add_cluster(best, cost, clusters):
    """Least cost of one more cluster over the first 0..n values, and where it starts.

    The start never moves back as the end moves on. So the ends are solved in the order of
    divide and conquer, and each is searched between the starts of its solved neighbours.
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
