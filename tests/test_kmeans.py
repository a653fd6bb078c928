from itertools import combinations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from headrest import HeadrestError
from headrest.segment.kmeans import hu_histogram, kmeans_centers, kmeans_threshold, optimal_centers


def inertia(values, counts, centers):
    return (counts * ((values[:, None] - centers) ** 2).min(axis=1)).sum()


def brute_force(values, counts, k):
    """The least inertia over every way to cut the sorted values into k intervals."""
    n, best = len(values), np.inf
    for cuts in combinations(range(1, n), k - 1):
        parts = list(zip((0, *cuts), (*cuts, n)))
        centers = [np.average(values[a:b], weights=counts[a:b]) for a, b in parts]
        best = min(best, inertia(values, counts, np.array(centers)))
    return best


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_centers_have_the_least_inertia(k, seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.choice(np.arange(-1024.0, 1500), 14, replace=False))
    counts = rng.integers(1, 1000, 14)
    ours = inertia(values, counts, optimal_centers(values, counts, k))
    assert ours == pytest.approx(brute_force(values, counts, k), rel=1e-9)


def test_as_many_clusters_as_values():
    values = np.array([-1000.0, 0.0, 700.0])
    assert optimal_centers(values, np.array([5, 1, 2]), 3) == pytest.approx(values)
    with pytest.raises(HeadrestError, match="4 clusters"):
        optimal_centers(values, np.ones(3), 4)


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 4])
def test_inertia_is_that_of_scikit_learn_or_less(k):
    rng = np.random.default_rng(k)
    parts = [(-1000, 20, 4000), (-100, 30, 400), (40, 15, 3000), (900, 250, 800)]
    hu = np.concatenate([rng.normal(m, s, n) for m, s, n in parts]).round()
    values, counts = hu_histogram(hu)
    pixels = np.clip(hu, -1024, 1500)[:, None]
    theirs = KMeans(k, n_init=10, random_state=0).fit(pixels).inertia_
    centers = kmeans_centers(hu, k)
    assert inertia(values, counts, centers) <= theirs * (1 + 1e-9)
    # Started at the exact optimum, the K-Means of scikit-learn stays there.
    oracle = KMeans(k, init=centers[:, None], n_init=1, tol=0)
    oracle.fit(values[:, None], sample_weight=counts)
    assert centers == pytest.approx(np.sort(oracle.cluster_centers_.ravel()), abs=1e-6)


def test_threshold_lies_between_air_and_tissue():
    hu = np.r_[np.full(600, -1000.0), np.full(300, 40.0), np.full(50, 1000.0)]
    assert kmeans_threshold(hu) == pytest.approx(-480)


@pytest.mark.parametrize("hu", [[-1000.0, -1000.0], [-1000.0] * 50 + [-960.0] * 30 + [-900.0] * 9])
def test_air_and_foam_alone_are_not_separated(hu):
    assert kmeans_threshold(np.array(hu)) == -500
