"""Training sets of synthetic patients, and the pretrained network trained on one from seeds alone.

Keras is loaded only to train: the processes that render import this module.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headrest.hounsfield import FLOOR
from headrest.phantom import LIVING, Study, limb_center, sample_parameters, synthesize
from headrest.segment.labels import label_image, label_series
from headrest.train.batches import SYNTHETIC
from headrest.train.checkpoints import Settings
from headrest.train.dataset import (
    LabelledStudy,
    read_training_set,
    slice_states,
    write_training_set,
)
from headrest.util import HeadrestError, __version__, machine, progress
from headrest.util.files import atomic_file, lock_folder, read_arrays
from headrest.util.workers import run_ordered, run_unordered

RELEASE_SETTINGS = Settings(
    preset="wide",
    epochs=40,
    slices_per_epoch=2400,
    half_resolution_epochs=24,
    loss="dice",
    optimizer="muon",
    learning_rate=1e-3,
    batch_size=16,
)
"""Settings of a network from seeds alone, but for the held-out patients."""

DENSE_SETTINGS: dict = dict(loss="dense", learning_rate=4e-4, average=0.1, encoder=True)
"""What is different in the second training, of 3/10 of the epochs, which keeps ears in foam: of 30
synthetic patients it halved the removed patient."""

RELEASE_HELD_OUT = 0.03
"""Share of the patients, the first ones, that are held out."""

FIVE = ("plain", "tips", "plain", "hair", "pressed")
PLASTIC = ("plain", "tips", "plain", "plastic", "pressed")
PATIENT_KINDS = (FIVE + PLASTIC) * 2 + ("plain", "tips", "plain", "limbs", "pressed")
"""Kinds of patients in turn: as sampled; with the tips of raised shoulders in view, often cut by
the border of the image; with thick, dense hair; of plastic; with ears pressed by the support, in a
slice through them; with arms or hands beside the head, in a wide field of view. All but the first
are rare or absent otherwise, and networks failed on them. With shoulders in a quarter of the
patients, half as much was removed of other living heads, but 2.6 times as much of plastic ones,
until more were added."""

SEED_OFFSET = dict(pressed=100_000, limbs=200_000, tips=300_000, plastic=400_000, hair=500_000)
"""Difference of the first seeds of the other kinds from that of plain patients."""

TIPS_MM, TIP_IN_VIEW_MM = (4.0, 75.0), 8.0
"""Depth of a slice below the top of the higher shoulder; least that the image shows of both."""

DENSE_HAIR_HU = -880.0
"""Least HU of hair that looks like foam."""

WIDE_FIELD_MM = 280.0
"""Smallest field of view for patients with limbs."""

EARS_Z_MM = (-62.0, -18.0)
"""Slices through the ears: position along the table, from the middle of the head."""


class SyntheticPatient(NamedTuple):
    """Arguments of `headrest.phantom.synthesize` that make a patient."""

    seed: int
    contact: str | None = None
    with_limbs: bool = False

    @property
    def name(self) -> str:
        """Name of the patient in a training set."""
        return f"{SYNTHETIC}{self.seed}"

    def render(self, matrix: int = 512) -> Study:
        """Render one slice of so many rows and columns."""
        return synthesize(**self._asdict(), matrix=matrix, slices=1)


def synthetic_studies(
    patients: int, seed: int = 0, jobs: int = 1, **options: Any
) -> Iterator[LabelledStudy]:
    """Render synthetic patients and label them by K-Means.

    Parameters
    ----------
    patients, seed, jobs : int, their number, the seed of the first, and processes.
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
    yield from progress(studies, "synthetic patients", patients, unit="patient")


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
            files = [rendered / f"{one.name}.npz" for one in patients]
            _render_missing(files, patients, jobs, matrix)
            write_training_set(folder / "set", map(_read_study, files), matrix)
        shutil.rmtree(rendered, ignore_errors=True)
    return folder / "set"


def _check_same_patients(path, patients, matrix):
    wanted = json.dumps({"headrest": __version__, "matrix": matrix, "patients": patients})
    if not path.exists():
        with atomic_file(path) as temporary:
            temporary.write_text(wanted, encoding="utf-8")
    if path.read_bytes() != wanted.encode():
        raise HeadrestError(f"{path}: lists other patients, or is damaged; choose another folder")


def _render_missing(files, patients, jobs, matrix):
    missing = [one for one in zip(files, patients) if not one[0].exists()]
    done = run_unordered(partial(_render, matrix=matrix), missing, jobs)
    there = len(files) - len(missing)
    for (file, _), success in progress(done, "synthetic patients", len(files), "patient", there):
        if not success:
            raise HeadrestError(f"{file.stem}: two processes died while rendering it")


def _render(task, matrix):
    file, patient = task
    study = patient.render(matrix)
    states = slice_states(study.labels, study.contact)
    with atomic_file(file) as temporary:
        np.savez_compressed(temporary, hu=study.hu, labels=study.labels, states=states)
    return True


def _read_study(file):
    hu, labels, states = read_arrays(file, ("hu", "labels", "states")).values()
    return LabelledStudy(file.stem, hu, {"truth": labels}, {"truth": states})


def make_weights(
    folder: str | Path,
    patients: int = 8000,
    seed: int = 10_000,
    jobs: int = 2,
    settings: Settings = RELEASE_SETTINGS,
) -> dict:
    """Render synthetic patients, train on them, the second time with `DENSE_SETTINGS`, and write
    the network and its model card, which is returned.

    `folder` gets the training set, run, run-dense, headrest.onnx and headrest.json. The `patients`
    have one slice of 512 x 512 each; `seed` is that of the first, `jobs` processes render them.
    `settings` are those of the first training, but for `held_out`. Interrupted at any moment, the
    same call continues. Raises a HeadrestError if the patients are fewer than a batch, or the
    folder holds other ones.
    """
    from headrest.segment.export import write_release
    from headrest.segment.unet import PRESETS
    from headrest.train.loop import load_network, train

    folder = Path(folder)
    chosen = choose_patients(patients, seed)
    out = chosen[: max(round(RELEASE_HELD_OUT * patients), 1)]
    if patients - len(out) < settings.batch_size:
        raise HeadrestError(f"{patients} patients are too few for batches of {settings.batch_size}")
    settings = replace(settings, held_out=[one.name for one in out])
    data = read_training_set(write_synthetic_set(folder, chosen, jobs))
    first, run = folder / "run", folder / "run-dense"
    train(data, first, **asdict(settings))
    epochs = max(round(0.3 * settings.epochs), 1)
    more = {"epochs": epochs, "half_resolution_epochs": 0} | DENSE_SETTINGS
    history = train(data, run, **asdict(replace(settings, start_from=str(first), **more)))
    trained = patients - len(out)
    # From the creation of the first run's lock to the last epoch.
    last = max(path.stat().st_mtime for path in (run / "frames").glob("epoch_*"))
    hours = (last - (first / ".lock").stat().st_mtime) / 3600
    per_epoch = (settings.slices_per_epoch or trained) // settings.batch_size
    steps = (settings.epochs + epochs) * per_epoch
    training = {"held_out": len(out), "trained": trained, "steps": steps, "second": more}
    card = {
        "description": "background, support and patient in an axial CT slice of the head",
        "headrest": __version__,
        "architecture": {"preset": settings.preset} | PRESETS[settings.preset],
        "data": {
            "patients": patients,
            "kinds": dict(Counter(islice(cycle(PATIENT_KINDS), patients))),
            "first_seed": seed,
            "real": 0,
        },
        "training": asdict(settings) | training,
        "training_hours": round(hours, 2),
        "machine": machine(),
        "results": {"held-out synthetic patients, network alone": history[-1]},
        "licence": "MIT",
    }
    return write_release(folder, load_network(run), card)


def choose_patients(patients: int, seed: int) -> list[SyntheticPatient]:
    """Patients of the kinds of `PATIENT_KINDS`; more of them leave the first ones unchanged."""
    kinds = {kind: _of_kind(kind, seed + offset) for kind, offset in SEED_OFFSET.items()}
    kinds["plain"] = map(SyntheticPatient, count(seed))
    return [next(kinds[kind]) for kind in islice(cycle(PATIENT_KINDS), patients)]


def _of_kind(kind, seed):
    """Patients from a seed on whose sampled parameters are those of a kind."""
    options, is_of_kind = FILTERS[kind]
    for n in count(seed):
        patient = SyntheticPatient(n, **options)
        if is_of_kind(sample_parameters(**patient._asdict(), matrix=512, slices=1)):
            yield patient


def _shows_pressed_ears(sampled):
    low, high = EARS_Z_MM
    return sampled["kind"] in LIVING and low <= sampled["protocol"]["z_mm"][0] <= high


def _shows_limbs(sampled):
    protocol = sampled["protocol"]
    field_mm = protocol["pixel_mm"] * protocol["matrix"]
    centers = [limb_center(limb, protocol["z_mm"][0]) for limb in sampled["limbs"]]
    inside = any(at is not None and abs(at).max() < field_mm / 2 for at in centers)
    return inside and field_mm >= WIDE_FIELD_MM


def _shows_tips(sampled):
    if "shoulder_tips" not in sampled["effects"]:
        return False
    protocol, anatomy, (low, high) = sampled["protocol"], sampled["anatomy"], TIPS_MM
    neck, field_mm = anatomy["neck"], protocol["pixel_mm"] * protocol["matrix"]
    top = neck["tip_z"] + abs(neck["tip_shift_mm"]) / 2
    inner_mm = (neck["tip_x"] - neck["tip_axes_mm"]["x"]) * anatomy["width"]
    deep = low < top - protocol["z_mm"][0] / anatomy["height"] < high
    return deep and inner_mm < field_mm / 2 - TIP_IN_VIEW_MM


def _shows_dense_hair(sampled):
    foreign = sampled["foreign_objects"]
    return "pressed_hair" in foreign["present"] and foreign["layer_hu"] > DENSE_HAIR_HU


FILTERS: dict[str, tuple[dict, Callable[[dict], bool]]] = {
    "pressed": ({"contact": "pressed"}, _shows_pressed_ears),
    "limbs": ({"with_limbs": True}, _shows_limbs),
    "tips": ({}, _shows_tips),
    "plastic": ({}, lambda sampled: sampled["kind"] not in LIVING),
    "hair": ({}, _shows_dense_hair),
}
"""How patients of each kind but the plain are sampled, and which of these are of that kind."""
