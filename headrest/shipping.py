"""Make the weights that ship, from seeds alone, in one resumable command."""

from dataclasses import asdict, replace
from itertools import chain, count, islice
from pathlib import Path

import numpy as np

import headrest
from headrest.batches import split
from headrest.errors import HeadrestError
from headrest.fit import Settings, load_network, train
from headrest.network import PRESETS, get_weights
from headrest.phantom import draw_parameters
from headrest.ratios import machine
from headrest.shipped import write_weights
from headrest.synthetic import synthetic_studies
from headrest.training import read_training_set, write_training_set

SCHOOL = Settings(preset="standard", epochs=6, rate=2e-3, held_out=0.03)
"""What a network learns from heads as they come."""

EARS = replace(SCHOOL, epochs=4, rate=1.5e-3)
"""Then from these together with as many as a quarter whose ears a holder presses: what a first
network got wrong on real heads, and what is rare among drawn ones."""

PRACTICE = replace(SCHOOL, epochs=4, rate=1.5e-3)
"""And then from all of these together with as many again whom it has never seen."""

AGAIN = 90_000
"""So far behind the first patient's seed begin those of the patients of the last stage."""

EAR_MM = (-62.0, -18.0)
"""Where a slice crosses the ears, along the table from the middle of the head."""

ONE_SLICE = {"matrix": 512, "slices": 1}


def make_weights(
    folder, patients=4000, seed=10_000, jobs=2, school=SCHOOL, ears=EARS, practice=PRACTICE
):
    """Draw synthetic patients, train on them in three stages, and write weights and card.

    Parameters
    ----------
    folder : path
        Gets set/, school/, ears/ and practice/, headrest.npz and headrest.json. What is complete
        is not made again, and training goes on after its last epoch.
    patients : int
        Synthetic heads of the first stage, one slice of 512 x 512 each; a quarter as many with
        pressed ears are added for the second, and as many of both again for the third.
    seed : int, of the first patient.
    jobs : int, processes that draw.
    school, ears, practice : headrest.fit.Settings of the three stages.

    Returns
    -------
    dict, the card.
    """
    folder = Path(folder)
    halves = [_seeds(start, patients) for start in (seed, seed + AGAIN)]
    everyone = _drawn(folder / "set", halves, jobs)
    heads, first = everyone.take(slice(patients)), everyone.take(slice(len(everyone) // 2))
    kept = _kept(first, [patients], school)
    more = _kept(everyone, [patients, len(first), len(first) + patients], school)
    stages = {
        "school": (heads, school),
        "ears": (first, replace(ears, held_out=kept)),
        "practice": (everyone, replace(practice, held_out=more)),
    }
    known = None
    for name, (data, settings) in stages.items():
        history = train(data, folder / name, start=known, **asdict(settings))
        network = load_network(folder / name)
        known = get_weights(network)
    card = {
        "what": "probability of a head support in a CT slice",
        "headrest": headrest.__version__,
        "architecture": {"preset": school.preset} | PRESETS[school.preset],
        "data": {
            "patients": len(everyone),
            "pressed": len(everyone) - 2 * patients,
            "first_seeds": [seed, seed + AGAIN],
            "real": 0,
        },
        "training": [_summary(*stage) for stage in stages.values()],
        "training_hours": round(sum(_hours(folder / name) for name in stages), 2),
        "machine": machine(),
        "results": {"held-out synthetic patients, network alone": history[-1]},
        "licence": "MIT",
    }
    return write_weights(folder, network, card)


def _seeds(first, patients):
    """Of heads as they come, and of a quarter as many whose ears a holder presses."""
    pressed = filter(_crosses_pressed_ears, count(first + patients))
    return range(first, first + patients), list(islice(pressed, patients // 4))


def _drawn(folder, halves, jobs):
    if not folder.exists():
        studies = [
            synthetic_studies(seeds, jobs=jobs, contact=contact, **ONE_SLICE)
            for half in halves
            for seeds, contact in zip(half, (None, "pressed"))
        ]
        write_training_set(folder, chain.from_iterable(studies))
    data = read_training_set(folder)
    if list(data.patient) != [f"synthetic-{n}" for half in halves for n in chain(*half)]:
        raise HeadrestError(f"{folder}: holds other patients; choose another folder")
    return data


def _crosses_pressed_ears(seed):
    drawn = draw_parameters(seed, contact="pressed", **ONE_SLICE)
    low, high = EAR_MM
    flesh = drawn["kind"] not in ("plastic", "water")
    return flesh and low <= drawn["protocol"]["z_mm"][0] <= high


def _kept(data, ends, school):
    """Of each part of the patients the same share as the first stage keeps for judging."""
    share, parts = school.held_out, np.split(data.patient, ends)
    return [str(n) for part in parts for n in part[split(part, share, school.seed)[1]]]


def _summary(data, settings):
    learned, kept = split(data.patient, settings.held_out, settings.seed)
    steps = settings.epochs * (len(learned) // settings.batch)
    return asdict(settings) | {"held_out": len(kept), "learned": len(learned), "steps": steps}


def _hours(run):
    """From the first moment of a run, when its lock was made, to its last epoch."""
    last = max(path.stat().st_mtime for path in (run / "frames").glob("epoch_*"))
    return (last - (run / ".lock").stat().st_mtime) / 3600
