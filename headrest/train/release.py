"""Train the pretrained network from seeds alone, in one command that can be interrupted."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import count, cycle, islice
from pathlib import Path

from headrest.phantom import LIVING, limb_center, sample_parameters
from headrest.segment.export import write_release
from headrest.segment.unet import PRESETS
from headrest.train.checkpoints import Settings
from headrest.train.dataset import read_training_set
from headrest.train.loop import load_network, train
from headrest.train.synthetic import SyntheticPatient, write_synthetic_set
from headrest.util import HeadrestError, __version__, machine

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

RELEASE_HELD_OUT = 0.03
"""Share of the patients, the first ones, that are held out."""

FIVE = ("plain",) * 4 + ("pressed",)
PATIENT_KINDS = FIVE * 4 + ("plain",) * 3 + ("limbs", "pressed")
"""Kinds of patients in turn: as sampled; with ears pressed by the support, in a slice through
them; with arms or hands beside the head, in a wide field of view. The last two are rare or absent
otherwise, and the first networks failed on them."""

SEED_OFFSET = {"pressed": 100_000, "limbs": 200_000}
"""Difference of the first seeds of the other kinds from that of plain patients."""

WIDE_FIELD_MM = 280.0
"""Smallest field of view for patients with limbs."""

EARS_Z_MM = (-62.0, -18.0)
"""Slices through the ears: position along the table, from the middle of the head."""


def make_weights(
    folder: str | Path,
    patients: int = 8000,
    seed: int = 10_000,
    jobs: int = 2,
    settings: Settings = RELEASE_SETTINGS,
) -> dict:
    """Render synthetic patients, train on them, and write the network and its model card.

    Interrupted at any moment, the same call continues.

    Parameters
    ----------
    folder : path, gets the training set, the run, headrest.onnx and headrest.json.
    patients : int, one slice of 512 x 512 each.
    seed : int, of the first patient.
    jobs : int, processes that render.
    settings : Settings; its `held_out` is replaced.

    Returns
    -------
    dict, the model card.

    Raises
    ------
    HeadrestError
        If the patients are fewer than a batch, or the folder holds other ones.
    """
    folder = Path(folder)
    chosen = choose_patients(patients, seed)
    out = chosen[: max(round(RELEASE_HELD_OUT * patients), 1)]
    if patients - len(out) < settings.batch_size:
        raise HeadrestError(f"{patients} patients are too few for batches of {settings.batch_size}")
    settings = replace(settings, held_out=[one.name for one in out])
    data = read_training_set(write_synthetic_set(folder, chosen, jobs))
    history = train(data, folder / "run", **asdict(settings))
    trained = patients - len(out)
    # From the creation of the run's lock to its last epoch.
    last = max(path.stat().st_mtime for path in (folder / "run" / "frames").glob("epoch_*"))
    hours = (last - (folder / "run" / ".lock").stat().st_mtime) / 3600
    steps = settings.epochs * ((settings.slices_per_epoch or trained) // settings.batch_size)
    card = {
        "description": "background, support and patient in an axial CT slice of the head",
        "headrest": __version__,
        "architecture": {"preset": settings.preset} | PRESETS[settings.preset],
        "data": {
            "patients": patients,
            "pressed": sum(one.contact == "pressed" for one in chosen),
            "limbs": sum(one.with_limbs for one in chosen),
            "first_seed": seed,
            "real": 0,
        },
        "training": asdict(settings) | {"held_out": len(out), "trained": trained, "steps": steps},
        "training_hours": round(hours, 2),
        "machine": machine(),
        "results": {"held-out synthetic patients, network alone": history[-1]},
        "licence": "MIT",
    }
    return write_release(folder, load_network(folder / "run"), card)


def choose_patients(patients: int, seed: int) -> list[SyntheticPatient]:
    """Patients of the kinds of `PATIENT_KINDS`; more of them leave the first ones unchanged."""
    pressed = filter(_shows_pressed_ears, count(seed + SEED_OFFSET["pressed"]))
    limbs = filter(_shows_limbs, count(seed + SEED_OFFSET["limbs"]))
    kinds: dict[str, Iterator[SyntheticPatient]] = {
        "plain": map(SyntheticPatient, count(seed)),
        "pressed": (SyntheticPatient(n, contact="pressed") for n in pressed),
        "limbs": (SyntheticPatient(n, with_limbs=True) for n in limbs),
    }
    return [next(kinds[kind]) for kind in islice(cycle(PATIENT_KINDS), patients)]


def _shows_pressed_ears(seed):
    sampled = sample_parameters(seed, contact="pressed", matrix=512, slices=1)
    low, high = EARS_Z_MM
    return sampled["kind"] in LIVING and low <= sampled["protocol"]["z_mm"][0] <= high


def _shows_limbs(seed):
    sampled = sample_parameters(seed, with_limbs=True, matrix=512, slices=1)
    protocol = sampled["protocol"]
    field_mm = protocol["pixel_mm"] * protocol["matrix"]
    centers = [limb_center(limb, protocol["z_mm"][0]) for limb in sampled["limbs"]]
    inside = any(at is not None and abs(at).max() < field_mm / 2 for at in centers)
    return inside and field_mm >= WIDE_FIELD_MM
