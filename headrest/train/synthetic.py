"""Synthetic patients to train on, with both labels: the exact one, and the one of K-Means."""

from functools import partial

import numpy as np
from tqdm.auto import tqdm

from headrest.phantom import synthesize
from headrest.segment.labels import label_series
from headrest.train.dataset import Labelled
from headrest.util.workers import run_ordered


def synthetic_studies(patients, seed=0, jobs=1, **drawn):
    """Draw patients, scan them, and label them.

    Parameters
    ----------
    patients : int
    seed : int, of the first patient; the next ones follow. A patient is one seed, so sets of
        different seeds share nobody.
    jobs : int, processes.
    **drawn : of `headrest.phantom.synthesize`: matrix, slices, region, contact, with_limbs.

    Yields
    ------
    headrest.train.dataset.Labelled, in the order of their seeds.

    Examples
    --------
    >>> one, = synthetic_studies(1, seed=3, matrix=256, slices=2)
    >>> one.patient, one.hu.shape
    ('synthetic-3', (2, 256, 256))
    """
    label = partial(_labelled, drawn=drawn)
    seeds = range(seed, seed + patients)
    progress = partial(tqdm, total=len(seeds), desc="patients", unit="patient")
    yield from progress(run_ordered(label, seeds, jobs))


def _labelled(seed, drawn):
    study = synthesize(seed, **drawn)
    hu = np.maximum(study.hu, -1024)
    labels = label_series(hu.astype(np.float32), study.spacing_mm)
    return Labelled(
        patient=f"synthetic-{seed}",
        hu=hu,
        labels=np.array([label.mask for label in labels]),
        states=[label.state for label in labels],
        truth=study.support,
        contact=study.contact,
    )
