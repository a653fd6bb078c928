"""The refinement with the neighbouring slices: each step has a case that it alone decides."""

import numpy as np
import pytest
from scipy import ndimage

from headrest.segment import morphology
from headrest.segment import refine as refine_module
from headrest.segment.morphology import partial_volume_boundary
from headrest.segment.refine import STEPS, confidence, refine, states

SPACING = (5.0, 1.0, 1.0)


def both_of(probability, hu, spacing_mm=SPACING, without=()):
    """Support and patient from a probability of support, with all steps but some."""
    assert set(without) <= set(STEPS)
    return refine(probability, hu, spacing_mm, [step for step in STEPS if step not in without])


def support_of(*arguments, **options):
    return both_of(*arguments, **options)[0]


@pytest.fixture
def support():
    """A rail that touches the head, and a sheet below it, in three slices."""
    mask = np.zeros((3, 64, 64), bool)
    mask[:, 10:45, 52:55] = mask[:, 54:56, 10:50] = True
    return mask


@pytest.fixture
def hu(support):
    """The support, and a head with an air-filled cavity."""
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 26, x - 32)
    return np.where(support, 120.0, np.where((radius >= 8) & (radius < 20), 40.0, -1000.0))


@pytest.fixture
def probability(support):
    return support.astype(float)


CAVITY, SKIN = np.s_[:, 24:28, 29:35], np.s_[:, 7:9, 31:33]
CASES = [
    ("enclosed by the patient", CAVITY, 0.99, True),  # on a plate of bone
    ("disconnected components", np.s_[1, 54:56, 10:50], 0.5, False),
    ("low-confidence components", SKIN, 0.9, True),
]


@pytest.mark.parametrize(("step", "where", "value", "found"), CASES)
def test_a_step_decides_a_case(hu, support, probability, step, where, value, found):
    if where == CAVITY:
        hu[CAVITY] = 700
    probability[where] = value
    assert np.array_equal(support_of(probability, hu), support)
    assert (support_of(probability, hu, without=[step])[where] == found).all()


def test_probability_and_distance_limit_the_steps(hu, support, probability):
    probability[:, 54:56, 10:50] = 0.3
    assert not support_of(probability, hu)[:, 54:56].any()
    probability[SKIN] = 0.99
    assert support_of(probability, hu)[SKIN].any()
    low = support_of(probability * 0.9, hu)
    assert low[:, 10:45, 52:55].all()  # the outline of the rail is mostly air


@pytest.fixture
def foam(hu):
    """Foam that is put on the sheet, with a cover, noise in the air, hair, and lung in the head."""
    hu += np.random.default_rng(3).normal(0, 12, hu.shape)
    foam = np.zeros(hu.shape, bool)
    foam[:, 56:62, 12:48] = True
    hu[foam] = hu[CAVITY] = -900
    hu[:, 61, 12:48] = -600  # a cover
    hu[:, 3:5, 28:36] = -700  # hair: thin, on the scalp
    return foam


def test_foam_and_its_cover_are_support_if_foam_has_a_probability(hu, support, probability, foam):
    probability[:, 56:61, 12:48] = 0.6  # not that of the cover
    probability[CAVITY] = 0.9
    found, patient = both_of(probability, hu)
    assert found[foam].mean() > 0.95
    assert patient[CAVITY].all()
    assert not (found & patient).any()
    air = (hu < -950) & ~np.stack([ndimage.binary_dilation(m, iterations=2) for m in foam])
    assert not found[air].any()
    assert np.array_equal(support_of(probability, hu, without=["faint support"]), support)
    assert not support_of(1.0 * support, hu)[:, 56:61].any()
    assert support_of(support + 0.9 * foam, hu)[:, 56:61].mean() > 0.5
    dense = (hu > -500) & ~support
    edge = np.stack([ndimage.binary_dilation(m, np.ones((3, 3))) for m in dense]) & ~dense
    hu[edge] = -650  # the soft edge of the skin is kept
    assert not support_of(probability, hu)[edge & ~support].any()


def test_foam_alone_is_support_if_it_is_larger_than_hair_or_cut_by_the_image(hu, support, foam):
    hu[support] = -1000
    assert not support_of(0.9 * foam, hu, (5.0, 0.5, 0.5)).any()
    near = support_of(0.9 * foam, hu, (5.0, 1.2, 1.2))
    assert near[foam].mean() > 0.9  # farther than most hair, and probable
    assert not support_of(0.7 * foam, hu, (5.0, 1.2, 1.2)).any()
    far = support_of(0.7 * foam, hu, (5.0, 8.0, 8.0))
    assert far[foam].mean() > 0.9
    assert not far[:, 3:5].any()
    few = 0.9 * foam * (np.arange(64) < 14)  # the cover beside it has no probability
    assert not support_of(few, hu, (5.0, 8.0, 8.0)).any()
    hu, foam = hu[:, :62], foam[:, :62]  # its last row is that of the image
    assert support_of(0.9 * foam, hu, (5.0, 0.5, 0.5))[foam].mean() > 0.9
    assert not support_of(0.7 * foam, hu, (5.0, 0.5, 0.5)).any()


def test_a_wide_soft_edge_is_kept_unless_it_meets_support_in_its_slice(hu, support, probability):
    edge, cover = np.zeros_like(support), np.zeros_like(support)
    edge[2, 47:52, 28:36] = True  # three pixels below the head, above a cover in the next slice
    cover[:2, 48:54, 28:36] = True
    hu[edge | cover], probability[cover] = -700, 0.9
    assert np.array_equal(support_of(probability, hu), support | cover)
    hu[2, 52:54, 28:36] = -700  # down to the sheet
    assert support_of(probability, hu)[edge].all()


def test_keeps_a_strand_of_the_patient_along_a_support(hu, support, probability):
    for pixel_mm in (1.0, 0.7, 0.45):
        hu[:, 10:24, 52 - round(2 / pixel_mm) : 52] = 40  # 2 mm, from the head along the rail
        found = support_of(probability, hu, (5.0, pixel_mm, pixel_mm))
        assert not (found & ~support)[:, 10:20].any()


def test_slices_filled_with_support_or_air():
    for full, value in ((True, 100.0), (False, -1000.0)):
        hu = np.full((2, 16, 16), value)
        found, patient = both_of(np.full(hu.shape, float(full)), hu)
        assert (found == full).all()
        assert not patient.any()
    assert states(found, patient, hu, SPACING) == ("absent", "absent")


def test_bounding_boxes_change_nothing(monkeypatch):
    boxed = [refined_blobs(seed) for seed in range(60)]
    for module in (morphology, refine_module):
        monkeypatch.setattr(module, "bounding_box", lambda mask, *_: (slice(None),) * mask.ndim)
    assert boxed == [refined_blobs(seed) for seed in range(60)]


def refined_blobs(seed):
    """The refinement, boundary and states of random blobs."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal((2, 4, 56, 60)), (0, 0.7, 2, 2))
    solid, sure = blobs / blobs.std((1, 2, 3), keepdims=True)
    radius = np.hypot(*np.mgrid[-28:28, -30:30])
    wall = (radius >= 14) & (radius < 18)  # of a cavity, partly detected as support
    solid = np.select([radius < 14, wall, radius < 26], [-1, 1, solid], 0)
    hu = np.where(solid > 0.1, 40.0, -1000 + 300 * (solid > 0))
    probability = np.where(hu > -500, np.clip(0.6 + 2 * (sure - 0.7 * wall), 0, 1), 0)
    probability[..., : rng.integers(50)] = 0  # detections in a part of the slice only
    found, patient = both_of(probability, hu)
    boundary = [partial_volume_boundary(m, one, SPACING[1:], -500) for m, one in zip(found, hu)]
    known = states(found, patient, hu, SPACING)
    return [array.tobytes() for array in (found, patient, *boundary)], known


def test_small_remnants_alone_are_no_support(hu, support, probability):
    remnants = np.zeros(hu.shape)
    remnants[1, 26, 48:52] = remnants[2, 40, 20:30] = 1.0  # 4 and 10 mm2, on the skin and in it
    for with_support in (False, True):
        found, patient = both_of(remnants + probability * with_support, hu)
        assert found[1, 26, 51] != patient[1, 26, 51]
        assert found[1, 26, 51] == with_support
    assert support_of(remnants, hu, without=["small remnants"]).any()
    few, fine = 1.0 * (support & (np.arange(64) < 24)[:, None]), (5.0, 0.5, 0.5)
    assert support_of(probability, hu, fine).any()  # 45 mm2 per slice
    assert not support_of(few, hu, fine).any()  # 10 mm2
    assert not support_of(few[:1], hu[:1], fine).any()


def test_a_missed_strap_encloses_no_support(hu, support):
    around = ((0, 0), (8, 8), (8, 8))
    hu, support = np.pad(hu, around, constant_values=-1000.0), np.pad(support, around)
    y, x = np.mgrid[:80, :80]
    hu[:, abs(np.hypot(y - 40, x - 40) - 37) < 0.8] = 0
    hu[:, 3:15, 39:41] = 0  # connected to the head
    assert np.array_equal(support_of(support.astype(float), hu), support)


def test_components_are_those_of_scipy_and_float16_is_compared_exactly_as_float32():
    mask = np.random.default_rng(2).random((4, 20, 20)) < 0.3
    labels, _ = morphology.label_voxels(mask)
    assert np.array_equal(np.concatenate(labels), ndimage.label(mask)[0][mask])
    values = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # all from 0 to 1
    for least in (0.1, 0.5, 0.75, 1.0):
        exact = values.astype(np.float64) >= least
        assert np.array_equal(refine_module._reaches(values, least), exact)


def test_states(hu, support):
    support[2] = support[1, :, 52:55] = False
    patient = morphology.fill_holes(morphology.largest_component(hu == 40), SPACING[1:])
    patient[0, 10:45, 51] = True
    assert states(support, patient, hu, SPACING) == ("touching", "free", "absent")
    hu[support] = -700  # foam
    assert states(support, patient, hu, SPACING) == ("free", "free", "absent")


def test_confidence_is_the_expected_dice_and_noise_of_the_network_does_not_lower_it():
    rng = np.random.default_rng(1)
    p = rng.random((1, 50, 50))
    mask = p >= 0.5
    p[p < 0.1] = 0
    sampled = [rng.random(p.shape) < p for _ in range(200)]
    dice = np.mean([2 * (t & mask).sum() / (t.sum() + mask.sum()) for t in sampled])
    assert confidence(p, mask, SPACING)[0] == pytest.approx(dice, abs=0.005)
    noise = np.full((1, 300, 300), 1e-3)
    assert confidence(noise, np.zeros(noise.shape, bool), SPACING) == (1.0,)
    noise[0, :9, :9] = 0.4  # a cushion just below the threshold
    assert confidence(noise, np.zeros(noise.shape, bool), SPACING) == (0.0,)
