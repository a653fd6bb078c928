import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import f1_score, jaccard_score

from headrest import HeadrestError
from headrest.evaluate import metrics

EMPTY, FULL = np.zeros((2, 8, 8), bool), np.ones((2, 8, 8), bool)


def test_dice_and_iou_equal_scikit_learn():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 4, 16, 16)) < 0.3
    assert metrics.dice(a, b) == pytest.approx(f1_score(a.ravel(), b.ravel()))
    assert metrics.iou(a, b) == pytest.approx(jaccard_score(a.ravel(), b.ravel()))
    assert metrics.dice(EMPTY, EMPTY) == metrics.iou(EMPTY, EMPTY) == 1
    assert metrics.dice(FULL, EMPTY) == metrics.iou(EMPTY, FULL) == 0
    with pytest.raises(HeadrestError, match="shapes"):
        metrics.dice(FULL, FULL[0])


def test_accuracy_comes_with_that_of_an_empty_mask():
    scores = metrics.scores_from_counts([8, 0], [0, 0], [0, 0], [128, 0])
    assert list(scores["accuracy"]) == list(scores["all_background"]) == [1 - 8 / 128, 1]


def test_residual_and_lost_volumes():
    support, removed, patient = EMPTY.copy(), EMPTY.copy(), EMPTY.copy()
    support[:, :4], removed[:, 3:6], patient[:, 5:] = True, True, True
    spacing = (5, 2, 2.5)  # 25 cubic millimetres a voxel
    assert metrics.residual_ml(support, removed, spacing) == 2 * 3 * 8 * 25 / 1000
    assert metrics.lost_ml(patient, removed, spacing) == 2 * 1 * 8 * 25 / 1000
    assert metrics.residual_ml(EMPTY, FULL, spacing) == metrics.lost_ml(FULL, EMPTY, spacing) == 0


@pytest.mark.parametrize("percent", [50, 95, 100])
def test_surface_distance_equals_a_distance_transform(percent):
    """Borders by scikit-image, distances by a distance transform."""
    from skimage.segmentation import find_boundaries

    rng = np.random.default_rng(2)
    masks = [ndimage.gaussian_filter(rng.normal(size=(60, 70)), 4) > 0.01 for _ in range(2)]
    spacing = (0.7, 1.3)
    borders = [find_boundaries(np.pad(m, 1), 1, mode="inner")[1:-1, 1:-1] for m in masks]
    ways = [
        ndimage.distance_transform_edt(~there, spacing)[here]
        for here, there in (borders, borders[::-1])
    ]
    expected = np.percentile(np.concatenate(ways), percent)
    assert metrics.surface_distance_mm(*masks, spacing, percent) == pytest.approx(expected)


def test_surface_distance_of_empty_masks_and_other_shapes():
    full, empty = np.ones((4, 4)), np.zeros((4, 4))
    assert metrics.surface_distance_mm(empty, empty, (1, 1)) == 0
    assert metrics.surface_distance_mm(full, empty, (1, 1)) == float("inf")
    assert metrics.surface_distance_mm(empty, full, (1, 1)) == float("inf")
    with pytest.raises(HeadrestError, match="shapes"):
        metrics.surface_distance_mm(full, full[0], (1, 1))
