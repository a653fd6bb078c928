"""Make the weights that ship, from seeds alone, in one resumable command."""

from dataclasses import asdict
from pathlib import Path

import headrest
from headrest.batches import split
from headrest.errors import HeadrestError
from headrest.fit import Settings, load_network, train
from headrest.network import PRESETS
from headrest.ratios import machine
from headrest.shipped import write_weights
from headrest.synthetic import synthetic_studies
from headrest.training import read_training_set, write_training_set

RECIPE = Settings(preset="standard", epochs=6, rate=2e-3, held_out=0.03)


def make_weights(folder, patients=4000, seed=10_000, jobs=2, settings=RECIPE):
    """Draw synthetic patients, train on them, and write weights and card.

    Parameters
    ----------
    folder : path
        Gets set/, run/, headrest.npz and headrest.json. What is complete is not made again, and
        training goes on after its last epoch.
    patients : int, synthetic heads, one slice of 512 x 512 each.
    seed : int, of the first patient.
    jobs : int, processes that draw.
    settings : headrest.fit.Settings

    Returns
    -------
    dict, the card.
    """
    folder = Path(folder)
    if not (folder / "set").exists():
        studies = synthetic_studies(patients, seed, jobs, matrix=512, slices=1)
        write_training_set(folder / "set", studies)
    data = read_training_set(folder / "set")
    if set(data.patient) != {f"synthetic-{n}" for n in range(seed, seed + patients)}:
        raise HeadrestError(f"{folder}: holds other patients; choose another folder")
    history = train(data, folder / "run", **asdict(settings))
    learned = len(split(data.patient, settings.held_out, settings.seed)[0])
    card = {
        "what": "probability of a head support in a CT slice",
        "headrest": headrest.__version__,
        "architecture": {"preset": settings.preset} | PRESETS[settings.preset],
        "data": {"patients": patients, "first_seed": seed, "slices": len(data), "real": 0},
        "training": asdict(settings) | {"steps": settings.epochs * (learned // settings.batch)},
        "training_hours": _hours(folder / "run"),
        "machine": machine(),
        "results": {"held-out synthetic patients, network alone": history[-1]},
        "licence": "MIT",
    }
    return write_weights(folder, load_network(folder / "run"), card)


def _hours(run):
    """From the first moment of a run, when its lock was made, to its last epoch."""
    last = max(path.stat().st_mtime for path in (run / "frames").glob("epoch_*"))
    return round((last - (run / ".lock").stat().st_mtime) / 3600, 2)
