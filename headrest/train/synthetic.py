"""Training sets of synthetic patients."""

import json
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from headrest.hounsfield import FLOOR
from headrest.phantom import Study, synthesize
from headrest.segment.labels import label_image, label_series
from headrest.train.batches import SYNTHETIC
from headrest.train.dataset import LabelledStudy, slice_states, write_training_set
from headrest.util import HeadrestError, __version__
from headrest.util.files import atomic_file, lock_folder, read_arrays
from headrest.util.workers import run_ordered, run_unordered


class SyntheticPatient(NamedTuple):
    """Arguments of `headrest.phantom.synthesize` that make a patient."""

    seed: int
    contact: str | None = None
    with_limbs: bool = False

    @property
    def name(self) -> str:
        """Name of the patient in a training set."""
        return f"{SYNTHETIC}{self.seed}"


def synthetic_studies(
    patients: int, seed: int = 0, jobs: int = 1, **options: Any
) -> Iterator[LabelledStudy]:
    """Render synthetic patients and label them by K-Means.

    Parameters
    ----------
    patients : int
    seed : int, of the first patient; the next ones follow.
    jobs : int, processes.
    **options : of `headrest.phantom.synthesize`: matrix, slices, region, contact, with_limbs.

    Yields
    ------
    LabelledStudy with labels "kmeans" and "truth", in the order of the seeds.

    Examples
    --------
    >>> (one,) = synthetic_studies(1, seed=3, matrix=256, slices=2)
    >>> one.patient, one.hu.shape, sorted(one.labels)
    ('synthetic-3', (2, 256, 256), ['kmeans', 'truth'])
    """
    studies = run_ordered(partial(_label, options=options), range(seed, seed + patients), jobs)
    yield from tqdm(studies, "synthetic patients", patients, unit="patient")


def _label(seed, options):
    return label_study(synthesize(seed, **options), SyntheticPatient(seed).name)


def label_study(study: Study, name: str) -> LabelledStudy:
    """Label a synthetic study by K-Means, beside its truth; `name` is that of the patient."""
    hu = np.maximum(study.hu, int(FLOOR))
    found = label_series(hu.astype(np.float32), study.spacing_mm)
    masks = np.array([one.mask for one in found])
    labels = {"kmeans": label_image(hu, masks, study.spacing_mm), "truth": study.labels}
    states = {
        "kmeans": [one.state for one in found],
        "truth": slice_states(study.support, study.contact),
    }
    return LabelledStudy(name, hu, labels, states)


def write_synthetic_set(
    folder: str | Path, patients: Sequence[SyntheticPatient], jobs: int = 1, matrix: int = 512
) -> Path:
    """Write a training set of one slice per synthetic patient; an interrupted call continues.

    Labels "truth" are those of `headrest.phantom.Study`. The folder gets patients.json, patients/
    until all of them are rendered, then set/, whose path is returned. Raises a HeadrestError if it
    holds other patients, or those of another version.
    """
    folder = Path(folder)
    with lock_folder(folder):
        _check_same_patients(folder / "patients.json", patients, matrix)
        rendered = folder / "patients"
        if not (folder / "set").exists():
            _render_missing(rendered, patients, jobs, matrix)
            studies = (_read_study(rendered, one) for one in patients)
            write_training_set(folder / "set", studies, matrix)
        shutil.rmtree(rendered, ignore_errors=True)
    return folder / "set"


def _check_same_patients(path, patients, matrix):
    wanted = {"headrest": __version__, "matrix": matrix, "patients": [list(p) for p in patients]}
    if not path.exists():
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(wanted), encoding="utf-8")
    try:
        same = json.loads(path.read_bytes()) == wanted
    except ValueError as error:
        raise HeadrestError(f"{path}: damaged ({error}); choose another folder") from error
    if not same:
        raise HeadrestError(f"{path.parent}: holds other patients; choose another folder")


def _render_missing(folder, patients, jobs, matrix):
    folder.mkdir(exist_ok=True)
    missing = [one for one in patients if not _file(folder, one).exists()]
    done = run_unordered(partial(_render, folder=folder, matrix=matrix), missing, jobs)
    first, total = len(patients) - len(missing), len(patients)
    for patient, success in tqdm(done, "synthetic patients", total, initial=first, unit="patient"):
        if not success:
            raise HeadrestError(f"{patient.name}: two processes died while rendering it")


def _render(patient, folder, matrix):
    study = synthesize(**patient._asdict(), matrix=matrix, slices=1)
    hu, states = np.maximum(study.hu, int(FLOOR)), slice_states(study.labels, study.contact)
    with atomic_file(_file(folder, patient)) as temporary:
        np.savez_compressed(temporary, hu=hu, labels=study.labels, states=states)
    return True


def _read_study(folder, patient):
    arrays = read_arrays(_file(folder, patient), ("hu", "labels", "states"))
    labels, states = {"truth": arrays["labels"]}, {"truth": arrays["states"]}
    return LabelledStudy(patient.name, arrays["hu"], labels, states)


def _file(folder, patient):
    return folder / f"{patient.name}.npz"
