"""Synthetic patients to train on, with both labels: the exact one, and the one of K-Means."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial, partialmethod
from multiprocessing import get_context

import numpy as np
from tqdm.auto import tqdm

from headrest.labels import label_series
from headrest.phantom import synthesize
from headrest.training import Labelled


def synthetic_studies(patients, seed=0, jobs=1, **drawn):
    """Draw patients, scan them, and label them.

    Parameters
    ----------
    patients : int, or the seeds of the patients.
    seed : int, of the first patient, where their number is given; the next ones follow. A patient
        is one seed, so sets of different seeds share nobody.
    jobs : int, processes.
    **drawn : of `headrest.phantom.synthesize`: matrix, slices, region, contact.

    Yields
    ------
    headrest.training.Labelled, in the order of their seeds.

    Examples
    --------
    >>> one, = synthetic_studies(1, seed=3, matrix=256, slices=2)
    >>> one.patient, one.hu.shape
    ('synthetic-3', (2, 256, 256))
    """
    label = partial(_labelled, drawn=drawn)
    seeds = range(seed, seed + patients) if isinstance(patients, int) else patients
    progress = partial(tqdm, total=len(seeds), desc="patients", unit="patient")
    if jobs == 1:
        yield from progress(map(label, seeds))
        return
    # Not by fork: a notebook's kernel has threads, and may have a network in memory.
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_without_bars) as pool:
        yield from progress(pool.map(label, seeds))


def _without_bars():
    """In a process that works for another, whose progress is the one that is shown."""
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)


def _labelled(seed, drawn):
    study = synthesize(seed, **drawn)
    hu = np.maximum(study.hu, -1024)
    labels = label_series(hu.astype(np.float32), study.spacing_mm)
    return Labelled(
        patient=f"synthetic-{seed}",
        hu=hu,
        labels=np.array([label.mask for label in labels]),
        states=[label.state for label in labels],
        truth=study.device & ~study.ignore,
        contact=study.contact,
    )
